"""docs/compat/cri.md lists every RPC of CRI v1 with what is there of it."""

from __future__ import annotations

import re

from tests.real import ROOT

from sampan.engine.cri.pb import service_pb2
from sampan.engine.cri.pb.container_pb2 import (
    ContainerConfig,
    LinuxContainerSecurityContext,
    Mount,
)
from sampan.engine.cri.pb.resources_pb2 import LinuxContainerResources
from sampan.engine.cri.pb.sandbox_pb2 import (
    LinuxPodSandboxConfig,
    LinuxSandboxSecurityContext,
    PodSandboxConfig,
    PortMapping,
)
from sampan.engine.cri.pb.security_pb2 import NamespaceOption

MESSAGES = (
    PodSandboxConfig,
    LinuxPodSandboxConfig,
    LinuxSandboxSecurityContext,
    PortMapping,
    NamespaceOption,
    ContainerConfig,
    LinuxContainerSecurityContext,
    LinuxContainerResources,
    Mount,
)
DOCUMENT = (ROOT / "docs/compat/cri.md").read_text()


def test_every_rpc_is_listed() -> None:
    there = {
        f"{service.name}/{method.name}"
        for service in service_pb2.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    row = re.compile(r"^\| `(\w+/\w+)` \| (?:supported|partly|not yet) \|", re.M)
    assert set(row.findall(DOCUMENT)) == there


def test_every_field_of_what_is_to_be_made_is_listed() -> None:
    there = {
        f"{message.DESCRIPTOR.name}.{field.name}"
        for message in MESSAGES
        for field in message.DESCRIPTOR.fields
    }
    row = re.compile(r"^\| `(\w+\.\w+)` \| (?:supported|partly|not yet) \|", re.M)
    assert set(row.findall(DOCUMENT)) == there
