"""docs/compat/buildkit.md lists what there is: no more, no less."""

from __future__ import annotations

import re
from pathlib import Path

from tests.real import ROOT

from sampan.engine.build.service import build_service
from sampan.engine.buildkit.api.server import BuildkitServer
from sampan.engine.buildkit.core.exports import KINDS
from sampan.engine.buildkit.core.options import OPTIONS, REFUSED
from sampan.engine.daemon.shell.engine import Engine, EngineOptions

DOCUMENT = (ROOT / "docs/compat/buildkit.md").read_text()


def listed(heading: str) -> dict[str, str]:
    part = DOCUMENT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.+?`) \| (supported|partly|not yet) \|", part, re.M)
    return {name: status for names, status in rows for name in re.findall(r"`(.+?)`", names)}


def test_every_method_is_listed(tmp_path: Path) -> None:
    engine = Engine(EngineOptions(tmp_path / "data", tmp_path / "exec"))
    served = BuildkitServer(engine, build_service(engine)).methods
    told = listed("Services")
    assert {f"/{one}" for one, status in told.items() if status != "not yet"} == set(served)


def test_every_option_is_listed() -> None:
    told = listed("Options of the front end")
    assert {one for one, status in told.items() if status == "not yet"} == set(REFUSED)
    assert set(told) == {*OPTIONS, *REFUSED}


def test_every_exporter_is_listed() -> None:
    assert set(listed("Exporters")) == set(KINDS)
