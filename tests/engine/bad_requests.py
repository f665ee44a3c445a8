"""Requests that cannot be carried out, or only just, for `POST /containers/create`."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["ENDPOINTS", "Request", "requests"]

JSON = ("Content-Type", "application/json")


@dataclass(frozen=True, slots=True)
class Request:
    """One request; its name is what is special about it."""

    name: str
    body: bytes
    query: str = ""
    content_type: str = "application/json"


def created(special: Mapping[str, Any]) -> bytes:
    host = {"NetworkMode": "none", **special.get("HostConfig", {})}
    return json.dumps({"Image": "busybox", "Cmd": ["true"], **special, "HostConfig": host}).encode()


TEXTS = (
    *("{", '{"Image"', '{"Image" 1}', "[]", "1", '"x"', "null", "{}", '{"Image":1}'),
    *('{"a":tru}', r'{"a":"\x"}', '{"a":-}', '{"a":1.}', '{"a":1e}', '{"a":[1 2]}', '{"a":1,}'),
    *('{"a":"\n"}', "{1:2}", "{'a':1}", r'{"a":"\u12x4"}', '{"a":nul}', '{"a":01}', "", "x"),
)
TYPES: tuple[Mapping[str, Any], ...] = (
    *({"Tty": "x"}, {"Cmd": [1]}, {"Cmd": {"a": 1}}, {"Env": "x"}, {"Labels": {"a": 1}}),
    *({"Healthcheck": {"Test": "x"}}, {"StopTimeout": "1"}, {"ExposedPorts": ["80"]}),
    *({"Entrypoint": 5}, {"Volumes": []}, {"OpenStdin": 1}, {"NetworkingConfig": []}),
)
HOST_TYPES: tuple[Mapping[str, Any], ...] = (
    *({"Memory": "x"}, {"Memory": 1.5}, {"Memory": 1e30}, {"Binds": [1]}, {"Privileged": "no"}),
    *({"RestartPolicy": "always"}, {"Devices": [{"PathOnHost": 1}]}, {"Mounts": [1]}),
    *({"LogConfig": {"Config": {"a": 1}}}, {"PortBindings": {"80/tcp": "x"}}),
    *({"Ulimits": [{"Name": 1}]}, {"PidsLimit": "x"}, {"CapAdd": "ALL"}, {"Sysctls": ["a"]}),
)
CONFIG: tuple[Mapping[str, Any], ...] = (
    *({"StopSignal": "FOO"}, {"StopSignal": "SIGRTMIN+3"}, {"Env": [""]}, {"Env": ["=x"]}),
    *({"Env": ["A"]}, {"WorkingDir": "x"}, {"WorkingDir": "C:\\x"}, {"User": "nope:nope"}),
    *({"Cmd": []}, {"Cmd": None}, {"Cmd": "true"}, {"Entrypoint": [], "Cmd": []}),
    *({"Image": "nope"}, {"Image": "nope@sha256:x"}, {"Image": "nope:a b"}, {"image": "busybox"}),
    *({"Healthcheck": {"Interval": -1}}, {"Healthcheck": {"Timeout": 1}}, {"Unknown": 5}),
    *({"Healthcheck": {"Retries": -1}}, {"Healthcheck": {"StartPeriod": 5}}, {"Labels": {"": "x"}}),
)
LIMITS: tuple[Mapping[str, Any], ...] = (
    *({"Memory": 1}, {"Memory": -1}, {"Memory": 6 << 20, "MemorySwap": 5 << 20}),
    *({"MemorySwap": 1 << 30}, {"Memory": 8 << 20, "MemoryReservation": 9 << 20}),
    *({"MemoryReservation": 1}, {"MemorySwappiness": 101}, {"NanoCpus": 10**13}, {"NanoCpus": -1}),
    *({"NanoCpus": 10**9, "CpuQuota": 1000}, {"NanoCpus": 10**9, "CpuPeriod": 1000}),
    *({"CpuPeriod": 1}, {"CpuPeriod": 2_000_000}, {"CpuQuota": 1}, {"CpusetCpus": "8000"}),
    *({"CpusetMems": "800"}, {"ShmSize": -1}, {"OomScoreAdj": 2000}, {"OomKillDisable": True}),
)
RESTARTS: tuple[Mapping[str, Any], ...] = (
    {"RestartPolicy": {"Name": "always"}, "AutoRemove": True},
    {"RestartPolicy": {"Name": "", "MaximumRetryCount": 3}},
    {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}},
)


def logs() -> Iterator[Mapping[str, Any]]:
    for options in (
        *({"foo": "1"}, {"max-size": "1m"}, {"mode": "x"}, {"max-buffer-size": "1m"}, {"tag": "x"}),
        {"mode": "non-blocking", "max-buffer-size": "x"},
    ):
        yield {"LogConfig": {"Type": "json-file", "Config": options}}
    yield {"LogConfig": {"Type": "local", "Config": {"labels": "x"}}}
    yield {"LogConfig": {"Type": "", "Config": {"foo": "x"}}}


def mounts() -> Iterator[Mapping[str, Any]]:
    change: Mapping[str, Any]
    for bind in (
        *("", "/a:b", "a/b:/c", "/a:/", "/a:/b:foo", "/a:/b:ro,rw", "/a:/b:ro:x", ":/b", "/a:"),
        *("/tmp:/b:shared,slave", "/tmp:/b:nocopy", "x:/b", "vol:/b:rshared", ".:/b", "..:/b"),
    ):
        yield {"Binds": [bind]}
    yield {"Binds": ["/tmp:/b", "/tmp:/b"]}
    bind_ = {"Type": "bind", "Source": "/tmp", "Target": "/x"}
    for change in (
        *({"Source": "/no/such"}, {"Source": "nope"}, {"Source": ""}, {"Target": ""}),
        *({"Target": "x"}, {"Target": "/"}, {"Type": "nope"}, {"Type": "npipe"}, {"Type": ""}),
        *({"VolumeOptions": {}}, {"BindOptions": {"Propagation": "foo"}}, {"Type": "tmpfs"}),
        *({"Type": "volume"}, {"Type": "volume", "Source": "a/b"}, {"TmpfsOptions": {}}),
    ):
        yield {"Mounts": [{**bind_, **change}]}
    yield {"Mounts": [bind_, bind_]}
    yield {"Mounts": [{"Type": "tmpfs", "Target": "/x", "BindOptions": {}}]}
    yield {"Mounts": [{"Type": "volume", "Target": "/x", "ReadOnly": True}]}
    yield {"Mounts": [{"Type": "volume", "Source": "vv", "Target": "/x", "BindOptions": {}}]}
    for tmpfs in ({"x": ""}, {"/": ""}):
        yield {"Tmpfs": tmpfs}
    yield {"Tmpfs": {"/x": ""}, "Binds": ["/tmp:/x"]}
    for text in ("nope", "", "a:b:c", "nope:foo", "nope:nocopy"):
        yield {"VolumesFrom": [text]}


OPTIONS: tuple[Mapping[str, Any], ...] = (
    *({"CapAdd": ["foo"]}, {"CapDrop": ["foo"]}, {"CapAdd": [""]}, {"CgroupnsMode": "foo"}),
    *({"SecurityOpt": ["foo"]}, {"SecurityOpt": ["foo=bar"]}, {"SecurityOpt": ["label:disable"]}),
    *({"IpcMode": "container:nope"}, {"PidMode": "container:nope"}, {"Isolation": "hyperv"}),
    *({"DeviceRequests": [{"Capabilities": [["gpu"]]}]}, {"Links": ["zz:b"]}, {"Links": ["a:b:c"]}),
    {"Devices": [{"PathOnHost": "/dev/nope", "PathInContainer": "/x", "CgroupPermissions": "rwm"}]},
)


def network() -> Iterator[Mapping[str, Any]]:
    host: Mapping[str, Any]
    config: Mapping[str, Any]
    for host in (
        *({"Links": ["zz:b"]}, {"Dns": ["1.1.1.1"]}, {"ExtraHosts": ["a:1.1.1.1"]}),
        *({"PortBindings": {"80/tcp": [{"HostPort": "80"}]}}, {"PublishAllPorts": True}),
    ):
        yield {"HostConfig": {"NetworkMode": "container:x", **host}}
        yield {"HostConfig": {"NetworkMode": "host", **host}}
    for config in (
        *({"Hostname": "x"}, {"ExposedPorts": {"80/tcp": {}}}),
        {"MacAddress": "02:42:ac:11:00:02"},
    ):
        yield {**config, "HostConfig": {"NetworkMode": "container:x"}}
        yield {**config, "HostConfig": {"NetworkMode": "host"}}
    yield {"HostConfig": {"NetworkMode": "container:"}}
    yield {"Hostname": "x", "HostConfig": {"UTSMode": "host"}}
    for host in (
        *({"ExtraHosts": ["x"]}, {"ExtraHosts": ["x:y"]}, {"ExtraHosts": ["x:host-gateway"]}),
        *({"PortBindings": {"x": []}}, {"PortBindings": {"99999": []}}),
        {"PortBindings": {"80/tcp": [{"HostPort": "x"}]}},
        {"PortBindings": {"80/tcp": [{"HostPort": "99999"}]}},
        {"PortBindings": {"80-70/tcp": [{"HostPort": "80"}]}},
    ):
        yield {"HostConfig": host}


def requests() -> Iterator[Request]:
    """Every request."""
    yield from (Request(text, text.encode()) for text in TEXTS)
    for kind in ("text/plain", ";;"):
        yield Request(f"Content-Type: {kind}", created({}), content_type=kind)
    yield Request("charset", created({}), content_type="application/json; charset=utf-8")
    for special in (*TYPES, *CONFIG, *network()):
        yield Request(json.dumps(special), created(special))
    hosts = (*HOST_TYPES, *LIMITS, *RESTARTS, *logs(), *mounts(), *OPTIONS)
    for host in hosts:
        yield Request(json.dumps(host), created({"HostConfig": host}))
    for name in ("a", "a%20b", "-a", "%2Fa1", "%2F%2Fa", "%C3%A91", "a%2Fb", "", ".a", "_a"):
        yield Request(f"name={name}", created({}), f"?name={name}")
    for platform in ("linux", "linux/amd64", "linux/arm64", "windows", "foo", "a/b/c/d"):
        yield Request(f"platform={platform}", created({}), f"?platform={platform}")


def _filtered(path: str, *documents: Any) -> Iterator[tuple[str, str, Any]]:
    for document in documents:
        text = urllib.parse.quote(json.dumps(document))
        yield "POST" if path.endswith("prune") else "GET", f"{path}?filters={text}", None


NOBODY = "/containers/zz"
VOLUMES: tuple[Mapping[str, Any], ...] = (
    *({"DriverOpts": {"foo": "1"}}, {"DriverOpts": {"type": "tmpfs"}}, {"Name": "b/d"}),
    *({"DriverOpts": {"size": "1m"}}, {"DriverOpts": {"o": "bind"}}, {"Labels": {"a": 1}}),
    *({"Name": "x"}, {"Name": 1}, {"Name": ".x"}),
)
ENDPOINTS: tuple[tuple[str, str, Any], ...] = (
    *_filtered(
        "/containers/json",
        *({"foo": ["x"]}, {"status": ["x"]}, {"exited": ["x"]}, {"health": ["x"]}),
        *({"publish": ["x"]}, {"expose": ["80/foo"]}, {"is-task": ["x"]}, {"ancestor": ["zz"]}),
    ),
    *_filtered("/volumes", {"foo": ["x"]}, {"dangling": ["x"]}, {"driver": ["x"]}),
    *_filtered("/containers/prune", {"foo": ["x"]}, {"until": ["x"]}),
    *_filtered("/volumes/prune", {"foo": ["x"]}, {"label": ["zz"]}),
    *(("GET", f"/containers/json?{query}", None) for query in ("limit=x", "all=0", "limit=-1")),
    *(("GET", f"{NOBODY}/{one}", None) for one in ("json", "top", "changes", "stats", "export")),
    *(("GET", f"{NOBODY}/{one}", None) for one in ("logs", "logs?stdout=1", "archive?path=x")),
    *(("POST", f"{NOBODY}/{one}", None) for one in ("stop", "start", "pause", "unpause", "wait")),
    *(("POST", f"{NOBODY}/{one}", None) for one in ("stop?t=x", "restart?t=x", "kill?signal=FOO")),
    *(("POST", f"{NOBODY}/{one}", None) for one in ("kill", "rename", "rename?name=x", "resize")),
    *(("POST", f"{NOBODY}/{one}", None) for one in ("resize?h=1", "resize?h=1&w=1", "attach")),
    ("POST", f"{NOBODY}/attach?detachKeys=foo", None),
    ("DELETE", NOBODY, None),
    ("DELETE", f"{NOBODY}?link=1", None),
    ("POST", f"{NOBODY}/exec", {"Cmd": ["x"]}),
    ("POST", f"{NOBODY}/exec", {}),
    ("POST", f"{NOBODY}/exec", {"Cmd": []}),
    *(("POST", "/exec/zz/start", {}), ("POST", "/exec/zz/start", {"Detach": True})),
    *(("GET", "/exec/zz/json", None), ("POST", "/exec/zz/resize", None)),
    ("POST", "/exec/zz/resize?h=1&w=1", None),
    ("POST", f"{NOBODY}/update", {"Memory": "x"}),
    ("POST", f"{NOBODY}/update", {"Memory": 1}),
    *(("GET", "/volumes/zz", None), ("DELETE", "/volumes/zz", None)),
    ("DELETE", "/volumes/zz?force=1", None),
    *(("POST", "/volumes/create", {"Name": "bad", **one}) for one in VOLUMES),
    *(("GET", "/zz", None), ("POST", "/_ping", None), ("PUT", "/containers/json", {})),
    *(("GET", f"/events?{query}", None) for query in ("since=x", "until=x", "since=5&until=2")),
    *(("GET", f"/{one}", None) for one in ("swarm", "nodes", "services", "tasks", "secrets")),
    *(("GET", f"/{one}", None) for one in ("configs", "services/x", "swarm/unlockkey")),
    *(("POST", "/swarm/leave", None), ("POST", "/services/create", {"Name": "x"})),
    *(("GET", "/plugins/zz/json", None), ("DELETE", "/plugins/zz", None)),
    ("POST", "/commit", {}),
    ("POST", "/commit?container=zz", {}),
)
"""Requests to other endpoints, about things that are not there."""
