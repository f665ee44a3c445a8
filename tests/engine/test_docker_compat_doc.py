"""docs/compat/docker.md lists what there is: no more, no less."""

from __future__ import annotations

import re
from pathlib import Path

from tests.real import ROOT

from sampan.cli.dockerd import parser
from sampan.engine.api.server import api_routes
from sampan.engine.daemon.shell.engine import Engine, EngineOptions

DOCUMENT = (ROOT / "docs/compat/docker.md").read_text()
SWARM = ("swarm", "nodes", "services", "tasks", "secrets", "configs")


def test_every_endpoint_is_listed(tmp_path: Path) -> None:
    engine = Engine(EngineOptions(tmp_path / "data", tmp_path / "exec"))
    served = {
        f"{route.method} {route.path}"
        for route in api_routes(engine)
        if route.path.split("/")[1] not in SWARM
    }
    listed = set(
        re.findall(r"^\| `([A-Z]+ /\S+)` \| (?:supported|partly|not yet) \|", DOCUMENT, re.M)
    )
    assert listed == served


def test_every_flag_is_listed() -> None:
    flags = {
        option
        for action in parser()._actions
        for option in action.option_strings
        if option.startswith("--") and option != "--help"
    }
    assert set(re.findall(r"^\| `(--[a-z-]+)` \|", DOCUMENT, re.M)) == flags
