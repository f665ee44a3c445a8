"""The rest of the Docker Engine API: system, events, volumes, networks, and what is not there."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from sampan import __version__
from sampan.base.errors import ConflictError, InvalidError, NotFoundError, UnsupportedError
from sampan.base.moment import instant
from sampan.engine.api.routing import (
    API_VERSION,
    MINIMUM_VERSION,
    Call,
    Route,
    json_response,
)
from sampan.engine.daemon.core.bodies import NETWORK_CREATE, VOLUME_CREATE
from sampan.engine.daemon.core.filters import Filters, parse_filters
from sampan.engine.daemon.core.moment import parse_moment
from sampan.engine.daemon.shell.engine import Engine
from sampan.engine.daemon.shell.lifecycle import now_text
from sampan.engine.runtime.shell.cgroups import layout
from sampan.images.core.reference import parse_reference
from sampan.loop.rest import Response

__all__ = ["HEADERS", "SystemRoutes"]

HEADERS: Final = (
    ("Api-Version", API_VERSION),
    ("Docker-Experimental", "false"),
    ("Ostype", "linux"),
    ("Server", f"Sampan/{__version__} (linux)"),
)
"""What every answer says."""

_SWARM: Final = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect '
    "this node to swarm and try again."
)
_PREDEFINED: Final = ("none", "host")


class SystemRoutes:
    """The handlers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._since = now_text()

    def routes(self) -> Sequence[Route]:
        """Return the endpoints."""
        swarm = ("swarm", "nodes", "services", "tasks", "secrets", "configs")
        return (
            Route("GET", "/_ping", self._ping),
            Route("HEAD", "/_ping", self._ping),
            Route("GET", "/version", self._version),
            Route("GET", "/info", self._info),
            Route("GET", "/events", self._events),
            Route("GET", "/system/df", self._usage),
            Route("GET", "/plugins", self._no_plugins),
            Route("GET", "/volumes", self._volumes),
            Route("POST", "/volumes/create", self._volume_create),
            Route("POST", "/volumes/prune", self._volume_prune),
            Route("GET", "/volumes/{name}", self._volume),
            Route("DELETE", "/volumes/{name}", self._volume_remove),
            Route("GET", "/networks", self._networks),
            Route("POST", "/networks/create", self._network_refuse),
            Route("POST", "/networks/prune", self._network_prune),
            Route("GET", "/networks/{id}", self._network),
            Route("DELETE", "/networks/{id}", self._network_remove),
            Route("POST", "/networks/{id}/connect", self._network_refuse),
            Route("POST", "/networks/{id}/disconnect", self._network_refuse),
            Route("POST", "/build", self._not_yet),
            Route("POST", "/build/prune", self._build_prune),
            Route("POST", "/session", self._not_yet),
            Route("POST", "/grpc", self._not_yet),
            Route("GET", "/containers/{id}/attach/ws", self._not_yet),
            *(Route(m, f"/{one}", self._swarm) for one in swarm for m in ("GET", "POST")),
            *(
                Route(m, f"/{one}/{{rest...}}", self._swarm)
                for one in swarm
                for m in ("GET", "POST", "DELETE")
            ),
        )

    async def _ping(self, call: Call) -> Response:
        headers = (
            ("Builder-Version", "1"),
            ("Swarm", "inactive"),
            ("Cache-Control", "no-cache, no-store, must-revalidate"),
            ("Pragma", "no-cache"),
            ("Content-Type", "text/plain; charset=utf-8"),
        )
        return Response(200, b"OK" if call.request.method == "GET" else b"", headers)

    async def _version(self, _: Call) -> Response:
        uname = os.uname()
        details = {
            "GitCommit": "",
            "GoVersion": f"Python {platform.python_version()}",
            "BuildTime": "",
            "ApiVersion": API_VERSION,
            "Arch": self._engine.architecture,
            "KernelVersion": uname.release,
            "MinAPIVersion": MINIMUM_VERSION,
            "Os": "linux",
        }
        component = {"Name": "Engine", "Version": __version__, "Details": details}
        return json_response(
            {
                "Platform": {"Name": "Sampan"},
                "Components": [component],
                "Version": __version__,
                "GitCommit": "",
                "GoVersion": f"Python {platform.python_version()}",
                "Experimental": False,
                "BuildTime": "",
                **details,
            }
        )

    async def _info(self, _: Call) -> Response:
        engine = self._engine
        states = [one.record.state for one in engine.registry]
        paused = sum(state.status == "paused" for state in states)
        running = sum(state.status == "running" for state in states)
        uname = os.uname()
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return json_response(
            {
                "ID": engine.id,
                "Containers": len(states),
                "ContainersRunning": running,
                "ContainersPaused": paused,
                "ContainersStopped": len(states) - running - paused,
                "Images": len(engine.images.index.entries()),
                "Driver": engine.images.snapshots.driver.name,
                "DriverStatus": engine.images.snapshots.driver.status(),
                "Plugins": {
                    "Volume": ["local"],
                    "Network": ["host", "null"],
                    "Authorization": None,
                    "Log": ["json-file", "local", "none"],
                },
                "MemoryLimit": True,
                "SwapLimit": True,
                "CpuCfsPeriod": True,
                "CpuCfsQuota": True,
                "CPUShares": True,
                "CPUSet": True,
                "PidsLimit": True,
                "IPv4Forwarding": True,
                "OomKillDisable": layout().version == 1,
                "NFd": len(os.listdir("/proc/self/fd")),
                "NGoroutines": 1,
                "SystemTime": now_text(),
                "LoggingDriver": "json-file",
                "CgroupDriver": "cgroupfs",
                "CgroupVersion": str(layout().version),
                "NEventsListener": 0,
                "KernelVersion": uname.release,
                "OperatingSystem": platform.platform(),
                "OSType": "linux",
                "Architecture": uname.machine,
                "IndexServerAddress": "https://index.docker.io/v1/",
                "RegistryConfig": {
                    "InsecureRegistryCIDRs": ["127.0.0.0/8"],
                    "IndexConfigs": {},
                    "Mirrors": [],
                },
                "NCPU": os.cpu_count(),
                "MemTotal": pages,
                "DockerRootDir": str(engine.options.data_root),
                "Name": uname.nodename,
                "Labels": list(engine.options.labels),
                "Debug": engine.options.debug,
                "ExperimentalBuild": False,
                "ServerVersion": __version__,
                "Runtimes": {"runc": {"path": "sampan"}},
                "DefaultRuntime": "runc",
                "Swarm": {"LocalNodeState": "inactive", "ControlAvailable": False},
                "LiveRestoreEnabled": engine.options.live_restore,
                "Isolation": "",
                "InitBinary": "sampan",
                "SecurityOptions": ["name=seccomp,profile=builtin"],
                "Warnings": None,
            }
        )

    async def _events(self, call: Call) -> Response:
        filters = parse_filters(call.text("filters"))
        since, until = parse_moment(call.text("since")), parse_moment(call.text("until"))
        events = self._engine.events.subscribe(since, until, filters)

        async def lines() -> AsyncIterator[bytes]:
            yield b""
            async for event in events:
                yield json.dumps(event).encode() + b"\n"

        return Response(200, lines(), (("Content-Type", "application/json"),))

    async def _usage(self, _: Call) -> Response:
        engine = self._engine
        images = []
        for entry in engine.images.index.entries():
            users = engine.image_users(entry.image.id)
            images.append(
                {
                    "Id": entry.image.id,
                    "ParentId": entry.parent,
                    "RepoTags": [parse_reference(name).familiar for name in entry.tags],
                    "RepoDigests": [],
                    "Created": int(instant(entry.image.created)),
                    "Size": engine.images.size(entry),
                    "SharedSize": 0,
                    "Labels": entry.image.config.get("Labels"),
                    "Containers": len(users),
                }
            )
        containers = engine.listing.summaries(Filters({}), everything=True, limit=0, size=True)
        volumes = [
            {
                **volume,
                "UsageData": {
                    "Size": engine.volumes.size(volume["Name"]),
                    "RefCount": len(engine.volume_users(volume["Name"])),
                },
            }
            for volume in engine.volumes.list(Filters({}), lambda name: False)
        ]
        return json_response(
            {
                "LayersSize": sum(one["Size"] for one in images),
                "Images": images,
                "Containers": containers,
                "Volumes": volumes,
                "BuildCache": [],
            }
        )

    async def _no_plugins(self, _: Call) -> Response:
        return json_response([])

    async def _swarm(self, _: Call) -> Response:
        return json_response({"message": _SWARM}, 503)

    async def _not_yet(self, call: Call) -> Response:
        raise UnsupportedError(f"{call.request.method} {call.request.path}: not supported yet")

    async def _build_prune(self, _: Call) -> Response:
        return json_response({"CachesDeleted": None, "SpaceReclaimed": 0})

    def _used(self, name: str) -> bool:
        return bool(self._engine.volume_users(name))

    async def _volumes(self, call: Call) -> Response:
        found = self._engine.volumes.list(parse_filters(call.text("filters")), self._used)
        return json_response({"Volumes": found, "Warnings": None})

    async def _volume_create(self, call: Call) -> Response:
        body = await call.body(VOLUME_CREATE)
        volume = self._engine.volumes.create(
            body.get("Name") or "",
            body.get("Driver") or "local",
            body.get("DriverOpts"),
            body.get("Labels"),
        )
        return json_response(volume, 201)

    async def _volume(self, call: Call) -> Response:
        return json_response(self._engine.volumes.get(call.values["name"]))

    async def _volume_remove(self, call: Call) -> Response:
        name = call.values["name"]
        users = self._engine.volume_users(name)
        self._engine.volumes.remove(name, users, force=call.flag("force"))
        return Response(204)

    async def _volume_prune(self, call: Call) -> Response:
        filters = parse_filters(call.text("filters"))
        gone, freed = self._engine.volumes.prune(filters, self._used)
        return json_response({"VolumesDeleted": gone or None, "SpaceReclaimed": freed})

    def _predefined(self, name: str) -> dict[str, Any]:
        members = {
            one.id: {
                "Name": one.record.name,
                "EndpointID": "",
                "MacAddress": "",
                "IPv4Address": "",
                "IPv6Address": "",
            }
            for one in self._engine.registry
            if one.record.state.running and one.record.host_config["NetworkMode"] == name
        }
        return {
            "Name": name,
            "Id": (name.encode().hex() * 16)[:64],
            "Created": self._since,
            "Scope": "local",
            "Driver": "null" if name == "none" else name,
            "EnableIPv4": True,
            "EnableIPv6": False,
            "IPAM": {"Driver": "default", "Options": None, "Config": None},
            "Internal": False,
            "Attachable": False,
            "Ingress": False,
            "ConfigFrom": {"Network": ""},
            "ConfigOnly": False,
            "Containers": members,
            "Options": {},
            "Labels": {},
        }

    async def _networks(self, call: Call) -> Response:
        filters = parse_filters(call.text("filters"))
        filters.check(("dangling", "driver", "id", "label", "name", "scope", "type"))
        found = [self._predefined(name) for name in _PREDEFINED]
        return json_response([one for one in found if _network_meant(one, filters)])

    def _find_network(self, text: str) -> dict[str, Any]:
        for name in _PREDEFINED:
            network = self._predefined(name)
            if text == name or network["Id"].startswith(text):
                return network
        raise NotFoundError(f"network {text} not found")

    async def _network(self, call: Call) -> Response:
        return json_response(self._find_network(call.values["id"]))

    async def _network_remove(self, call: Call) -> Response:
        network = self._find_network(call.values["id"])
        raise ConflictError(f"{network['Name']} is a pre-defined network and cannot be removed")

    async def _network_refuse(self, call: Call) -> Response:
        body = await call.body(NETWORK_CREATE)
        if call.request.path.endswith("/create") and not body.get("Name"):
            raise InvalidError("network name cannot be empty")
        raise UnsupportedError("bridge networks are not supported yet: use none or host")

    async def _network_prune(self, _: Call) -> Response:
        return json_response({"NetworksDeleted": None})


def _network_meant(network: Mapping[str, Any], filters: Filters) -> bool:
    dangling = filters.flag("dangling")
    if dangling is not None and dangling == bool(network["Containers"]):
        return False
    kinds = filters.values("type")
    return (
        filters.exact("driver", network["Driver"])
        and filters.prefix("id", network["Id"])
        and filters.matches("name", network["Name"])
        and filters.exact("scope", network["Scope"])
        and filters.labels(network["Labels"])
        and (not kinds or "builtin" in kinds)
    )
