"""docs/compat/docker.md lists what there is: no more, no less."""

from __future__ import annotations

import re
from pathlib import Path

from tests.real import ROOT

from sampan.cli.dockerd.flags import FLAGS
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
    """A flag that the parser refuses is listed as not there yet, and only such a one."""
    listed = dict(
        re.findall(r"^\| `--([a-z0-9-]+)` \| (supported|partly|not yet) \|", DOCUMENT, re.M)
    )
    assert set(listed) == {flag.name for flag in FLAGS}
    later = {flag.name for flag in FLAGS if flag.later}
    assert {name for name, status in listed.items() if status == "not yet"} == later
