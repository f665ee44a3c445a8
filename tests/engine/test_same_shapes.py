"""The same container in a real dockerd and in ours: answers have the same fields of the same types.

Clients in typed languages decode them. Values are compared where they say the same in both engines.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.docker_api import DockerApi
from tests.engine_server import EngineServer
from tests.real_dockerd import RealDockerd

pytestmark = [pytest.mark.real, pytest.mark.root]

BODY = {
    "Image": "busybox",
    "Cmd": ["sh", "-c", "trap 'exit 0' TERM; echo hi; sleep 600 & wait"],
    "Labels": {"k": "v"},
    "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 300_000_000_000},
    "ExposedPorts": {"80/tcp": {}},
    "HostConfig": {
        "NetworkMode": "none",
        "Binds": ["shaped:/data:ro", "/usr:/host"],
        "Tmpfs": {"/x": ""},
        "Memory": 64 << 20,
        "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2},
        "Mounts": [{"Type": "tmpfs", "Target": "/tm", "TmpfsOptions": {"SizeBytes": 1 << 20}}],
        "Ulimits": [{"Name": "nofile", "Soft": 100, "Hard": 200}],
        "Dns": ["127.0.0.1"],
    },
}
"""A container with a bit of everything."""

ON_PURPOSE = {
    # What API 1.42 and later have no more, or have in addition.
    "missing": {
        *("info.BridgeNfIp6tables", "info.BridgeNfIptables", "info.KernelMemory"),
        *("info.KernelMemoryTCP", "info.RegistryConfig.AllowNondistributableArtifactsCIDRs"),
        "info.RegistryConfig.AllowNondistributableArtifactsHostnames",
        "info.Runtimes.io.containerd.runtime.v1.linux",
        *("container.HostConfig.KernelMemory", "container.HostConfig.KernelMemoryTCP"),
    },
    "extra": {
        *("info.CDISpecDirs", "info.DefaultAddressPools", "networks[].EnableIPv4"),
        "container.GraphDriver.Data.ID",
    },
    # A list or an object that says nothing is empty here, null there.
    "kind": {
        *("container.HostConfig.BlkioDeviceReadBps", "container.HostConfig.BlkioDeviceReadIOps"),
        *("container.HostConfig.BlkioDeviceWriteBps", "container.HostConfig.BlkioDeviceWriteIOps"),
        *("container.HostConfig.BlkioWeightDevice", "container.HostConfig.Devices"),
        *("container.HostConfig.DnsOptions", "container.HostConfig.DnsSearch"),
        *("container.HostConfig.PortBindings", "df.BuildCache", "df.Images[].RepoDigests"),
        *("images[].RepoDigests", "images[].Labels", "df.Images[].Labels"),
        "networks[].IPAM.Config",
        # dockerd warns where nobody has switched forwarding on yet.
        "info.Warnings",
    },
}
DATA = ("Labels", "Networks", "Containers", "Names", "stats", "Runtimes", "IndexConfigs")
"""Objects whose names are data."""


def kind(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return type(value).__name__
    return "number" if isinstance(value, int | float) else type(value).__name__


def differences(real: Any, ours: Any, path: str) -> Iterator[tuple[str, str]]:
    """Paths at which the shapes differ, and how."""
    if kind(real) != kind(ours):
        yield "kind", path
    elif isinstance(real, dict):
        data = path.rpartition(".")[2] in DATA
        for key in [] if data else sorted(set(real) | set(ours)):
            below = f"{path}.{key}"
            if key not in ours:
                yield "missing", below
            elif key not in real:
                yield "extra", below
            else:
                yield from differences(real[key], ours[key], below)
    elif isinstance(real, list) and real and ours:
        yield from differences(real[0], ours[0], f"{path}[]")


def fill(api: DockerApi) -> str:
    """Make and start the container; returns an exec session of it."""
    api.call("POST", "/volumes/create", {"Name": "shaped", "Labels": {"a": "b"}})
    made = api.call("POST", "/containers/create?name=shape", BODY)
    assert made.status == 201, made.message
    assert api.call("POST", "/containers/shape/start").status == 204
    command = {"Cmd": ["sleep", "9"], "AttachStdout": True, "DetachKeys": "ctrl-x"}
    session = str(api.call("POST", "/containers/shape/exec", command).document["Id"])
    assert api.call("POST", f"/exec/{session}/start", {"Detach": True}).status == 200
    return session


@pytest.fixture(scope="module")
def shapes(
    real_dockerd: RealDockerd, shared_engine: EngineServer
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    apis = DockerApi(real_dockerd.place / "docker.sock"), DockerApi(shared_engine.socket)
    try:
        with ThreadPoolExecutor(2) as pool:
            real, ours = pool.map(collected, apis)
        yield real, ours
    finally:
        for api in apis:
            api.call("DELETE", "/containers/shape?force=1&v=1")
            api.call("DELETE", "/volumes/shaped")


def collected(api: DockerApi) -> dict[str, Any]:
    """Every answer about the container, by a short name."""
    session = fill(api)
    paths = {
        "container": "/containers/shape/json",
        "images": "/images/json",
        "info": "/info",
        "version": "/version",
        "volume": "/volumes/shaped",
        "networks": '/networks?filters={"name":["none"]}',
        "stats": "/containers/shape/stats?stream=0",
        "top": "/containers/shape/top?ps_args=-eo%20pid,comm,args",
        "changes": "/containers/shape/changes",
        "exec": f"/exec/{session}/json",
        "df": "/system/df",
        "plugins": "/plugins",
    }
    found = {name: api.call("GET", path).document for name, path in paths.items()}
    listed = api.call("GET", "/containers/json?size=1").document
    found["list"] = [one for one in listed if one["Names"] == ["/shape"]]
    for one in (found["container"], *found["df"]["Containers"], *found["list"]):
        one["Mounts"].sort(key=lambda mount: str(mount["Destination"]))
    events = api.call("GET", f"/events?since=1&until={int(time.time()) + 1}").raw.splitlines()
    found["events"] = [json.loads(line) for line in events]
    return found


def test_answers_have_the_same_fields(shapes: tuple[dict[str, Any], dict[str, Any]]) -> None:
    real, ours = shapes
    found = [
        one
        for name in real
        if name != "events"
        for one in differences(real[name], ours[name], name)
        if one[1] not in ON_PURPOSE[one[0]]
    ]
    assert found == [], "\n".join(map(str, found))


def test_what_a_container_is_told_to_be(shapes: tuple[dict[str, Any], dict[str, Any]]) -> None:
    real, ours = (one["container"] for one in shapes)
    for key in ("Path", "Args", "Name", "RestartCount", "Driver", "Platform"):
        assert ours[key] == real[key]
    for key in BODY["HostConfig"]:
        assert ours["HostConfig"][key] == real["HostConfig"][key], key
    for key in ("Env", "Cmd", "Entrypoint", "Healthcheck", "Labels", "ExposedPorts", "WorkingDir"):
        assert ours["Config"][key] == real["Config"][key], key
    assert {one["Destination"]: {**one, "Source": ""} for one in ours["Mounts"]} == {
        one["Destination"]: {**one, "Source": ""} for one in real["Mounts"]
    }


def test_events_tell_the_same_story(shapes: tuple[dict[str, Any], dict[str, Any]]) -> None:
    stories = []
    for shape in shapes:
        id_ = shape["container"]["Id"]
        story = [
            (one["Type"], one["Action"], sorted(set(one["Actor"]["Attributes"]) - {"execID"}))
            for one in shape["events"]
            if one["Type"] in ("container", "volume")
            and id_ in (one["Actor"]["ID"], one["Actor"]["Attributes"].get("container"))
        ]
        stories.append(story[:8])
    assert stories[1] == stories[0]
