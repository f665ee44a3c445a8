"""docs/compat/cri.md lists every RPC of CRI v1 with what is there of it."""

from __future__ import annotations

import re

from tests.real import ROOT

from sampan.engine.cri.pb import service_pb2

DOCUMENT = (ROOT / "docs/compat/cri.md").read_text()


def test_every_rpc_is_listed() -> None:
    there = {
        f"{service.name}/{method.name}"
        for service in service_pb2.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    row = re.compile(r"^\| `(\w+/\w+)` \| (?:supported|partly|not yet) \|", re.M)
    assert set(row.findall(DOCUMENT)) == there
