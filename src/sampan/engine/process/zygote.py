"""The daemon's handle on the zygote: it is started once, and asked for a shim per container."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sampan.base.errors import UnavailableError
from sampan.engine.process.shim import ShimHandle
from sampan.engine.runtime.shell.interpreter import start_python
from sampan.engine.shim.shim import LAUNCH_FILE

__all__ = ["ContainerLaunch", "Zygote"]


@dataclass(frozen=True, slots=True)
class ContainerLaunch:
    """What a shim is told: `directory` is the container's own below the exec root."""

    id: str
    directory: Path
    spec: dict[str, Any]
    root_mounts: Sequence[dict[str, Any]]
    log: dict[str, Any]
    stdin: bool = False
    stdin_once: bool = False
    attachments: Sequence[tuple[socket.socket, dict[str, bool]]] = field(default=())


class Zygote:
    """A warm process that forks shims. Started again when it has died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._starting = asyncio.Lock()
        self._most_descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)

    def raise_descriptor_limit(self) -> None:
        """Let this process have as many descriptors as it may; a container takes some.

        The zygote, and so containers, keep the limit that this process was started with.
        """
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    async def start(self) -> None:
        """Start the process, unless it runs."""
        async with self._starting:
            if self._process is not None and self._process.poll() is None:
                return
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            limit = str(self._most_descriptors)
            words = ["-m", "sampan.engine.shim.zygote", str(theirs.fileno()), limit]
            self._process = await asyncio.to_thread(start_python, words, [theirs.fileno()])
            theirs.close()
            if self._channel is not None:
                self._channel.close()
            self._channel = ours

    async def launch(self, launch: ContainerLaunch) -> ShimHandle:
        """Start a container; returns when its program runs.

        Raises LaunchError with the exit code that Docker gives, UnavailableError without a shim.
        """
        await self.start()
        assert self._channel is not None
        request = {
            "id": launch.id,
            "spec": launch.spec,
            "root_mounts": list(launch.root_mounts),
            "log": launch.log,
            "stdin": launch.stdin,
            "stdin_once": launch.stdin_once,
            "attachments": [wants for _, wants in launch.attachments],
        }
        launch.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = launch.directory / LAUNCH_FILE
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb", buffering=0) as file:
            file.write(json.dumps(request).encode())
        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        fds = [theirs.fileno(), *(sock.fileno() for sock, _ in launch.attachments)]
        try:
            socket.send_fds(self._channel, [str(launch.directory).encode()], fds)
        except OSError as error:
            control.close()
            raise UnavailableError(f"the process that starts containers is gone: {error}") from None
        finally:
            theirs.close()
            for sock, _ in launch.attachments:
                sock.close()
        handle = ShimHandle(control, launch.directory)
        await handle.started()
        return handle

    async def close(self) -> None:
        """End the zygote; shims stay."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._process is not None:
            await asyncio.to_thread(self._process.wait)
            self._process = None
