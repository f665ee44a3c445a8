"""Commands of a build as containers of their own: the engine's defaults, no record, no log."""

from __future__ import annotations

import asyncio
import platform
import shutil
import socket
import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol

from sampan.base.errors import UnsupportedError
from sampan.engine.daemon.core.config import fill_config, fill_host_config
from sampan.engine.daemon.core.record import ContainerRecord
from sampan.engine.daemon.core.translate import Surroundings, specification
from sampan.engine.process.shim import ShimHandle
from sampan.engine.process.zygote import ContainerLaunch, Zygote
from sampan.images.build.execution import Bind, Execution, Sink

__all__ = ["BuildNetwork", "ContainerExecutor"]

_READ_BYTES: Final = 64 * 1024
_FRAME: Final = struct.Struct(">BxxxL")
_STREAMS: Final = {1: "stdout", 2: "stderr"}
_BINFMT: Final = Path("/proc/sys/fs/binfmt_misc")
_NATIVE: Final = {"amd64": ("amd64", "386"), "arm64": ("arm64", "arm")}
_QEMU: Final = {"amd64": "x86_64", "arm64": "aarch64", "386": "i386"}


class BuildNetwork(Protocol):
    """Networks for the commands of builds; `shared` tells that they have the machine's own."""

    shared: bool

    async def open(self, key: str) -> str | None:
        """Make a network; returns the path of its namespace, None for the machine's own."""
        ...

    async def close(self, key: str) -> None:
        """Take it down."""
        ...


class ContainerExecutor:
    """Runs commands through the zygote, below `run_root`."""

    def __init__(
        self,
        zygote: Zygote,
        run_root: Path,
        architecture: str,
        network: BuildNetwork,
        *,
        rootless: bool = False,
    ) -> None:
        self._zygote = zygote
        self._run_root = run_root
        self._architecture = architecture
        self._network = network
        self._rootless = rootless

    async def execute(self, execution: Execution, sink: Sink) -> int:
        """Run a command to its end; see `Executor`."""
        self._check_platform(execution.platform.architecture)
        if execution.network == "default" and self._network.shared:
            execution = replace(execution, network="host")
        place = self._run_root / execution.key
        (place / "rootfs").mkdir(mode=0o700, parents=True)
        networked = execution.network == "default"
        try:
            netns = await self._network.open(execution.key) if networked else None
            launch = self._launch(execution, place, netns)
            return await self._run(launch, sink)
        finally:
            if networked:
                await self._network.close(execution.key)
            shutil.rmtree(place, ignore_errors=True)

    def _check_platform(self, wanted: str) -> None:
        """Refuse a foreign machine's programs, unless the kernel knows who runs them."""
        if wanted in _NATIVE.get(self._architecture, (self._architecture,)):
            return
        name = "qemu-" + _QEMU.get(wanted, wanted)
        if (_BINFMT / name).exists():
            return
        raise UnsupportedError(
            f"a command for {wanted} cannot run on this machine ({platform.machine()}): install "
            f"qemu-user-static and register {name} with binfmt_misc, or let the stage run on "
            "--platform=$BUILDPLATFORM and cross-compile"
        )

    def _launch(self, execution: Execution, place: Path, netns: str | None) -> ContainerLaunch:
        record = _record(execution)
        around = Surroundings(
            root_path=str(place / "rootfs"),
            cgroup_path=f"/docker/{execution.key}",
            architecture=self._architecture,
            netns_path=netns,
            files=_name_files(execution, place),
            rootless=self._rootless,
        )
        spec = specification(record, around)
        spec["mounts"] += [mount for bind in execution.binds for mount in _mounts(bind)]
        return ContainerLaunch(
            id=execution.key,
            directory=place,
            spec=spec,
            root_mounts=[dict(one) for one in execution.root_mounts],
            log={"driver": "none", "path": ""},
        )

    async def _run(self, launch: ContainerLaunch, sink: Sink) -> int:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        client = (theirs, {"stdin": False, "stdout": True, "stderr": True})
        launch = ContainerLaunch(
            launch.id,
            launch.directory,
            launch.spec,
            launch.root_mounts,
            launch.log,
            attachments=(client,),
        )
        with ours:
            shim = await self._zygote.launch(launch)
            try:
                await _forward(ours, sink)
                ended = await shim.exited
            except BaseException:
                await asyncio.shield(_end(shim))
                raise
            await shim.dismiss()
        return ended.exit_code


async def _end(shim: ShimHandle) -> None:
    """Kill a command whose build has ended."""
    await shim.kill(9)
    await shim.exited
    await shim.dismiss()


async def _forward(sock: socket.socket, sink: Sink) -> None:
    """Give the sink what comes in frames until the end."""
    loop = asyncio.get_running_loop()
    pending = bytearray()
    while data := await loop.sock_recv(sock, _READ_BYTES):
        pending += data
        while len(pending) >= _FRAME.size:
            number, size = _FRAME.unpack_from(pending)
            if len(pending) < _FRAME.size + size:
                break
            sink(_STREAMS.get(number, "stdout"), bytes(pending[_FRAME.size : _FRAME.size + size]))
            del pending[: _FRAME.size + size]


def _record(execution: Execution) -> ContainerRecord:
    """Return a record that has nothing but what the specification is made of."""
    network = {"none": "none", "host": "host"}.get(execution.network, "none")
    host = {
        "NetworkMode": network,
        "Privileged": execution.insecure,
        "ExtraHosts": list(execution.extra_hosts),
        **execution.limits,
    }
    config = {
        "Image": "build",
        "Hostname": execution.hostname,
        "Env": list(execution.env),
        "WorkingDir": execution.cwd,
        "User": execution.user,
    }
    path, *args = execution.args
    return ContainerRecord(
        id=execution.key,
        name=execution.key,
        created="",
        image_id="",
        image_name="build",
        diff_ids=[],
        config=fill_config(config),
        host_config=fill_host_config(host, 1),
        path=path,
        args=args,
    )


def _mounts(bind: Bind) -> list[dict[str, Any]]:
    """Return the mounts of the specification for something that a command sees."""
    if not bind.source and not bind.mounts:
        size = [f"size={bind.size_bytes}"] if bind.size_bytes else []
        options = ["nosuid", "nodev", "mode=1777", *size]
        return [_mount(bind.target, "tmpfs", "tmpfs", options)]
    if bind.mounts:
        return [
            _mount(bind.target, one["type"], one["source"], one["options"]) for one in bind.mounts
        ]
    options = ["rbind", "rprivate", *(["rro", "ro"] if bind.read_only else [])]
    return [_mount(bind.target, "bind", bind.source, options)]


def _mount(target: str, kind: str, source: str, options: list[str]) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": source, "options": list(options)}


def _name_files(execution: Execution, place: Path) -> Mapping[str, str]:
    """Write the files about names: a build asks the machine's own resolvers."""
    hosts = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
    for line in execution.extra_hosts:
        name, _, address = line.partition(":")
        hosts += f"{address}\t{name}\n"
    texts = {"hosts": hosts, "hostname": f"{execution.hostname}\n", "resolv.conf": _resolvers()}
    for name, text in texts.items():
        (place / name).write_text(text)
    return {f"/etc/{name}": str(place / name) for name in texts}


def _resolvers() -> str:
    try:
        return Path("/etc/resolv.conf").read_text()
    except OSError:
        return ""
