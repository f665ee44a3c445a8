"""One run of the whole stack in a state directory, from its lock to the last service's end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TextIO
from urllib.parse import urlsplit

from sampan.up.core.services import Endpoints, Layout, services
from sampan.up.shell.output import Output
from sampan.up.shell.state import StateDir, free_port
from sampan.up.shell.supervisor import Supervisor

__all__ = ["Wishes", "serve"]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user may choose; a port of 0 is the last run's, or any that is free."""

    store_port: int = 0
    registry_port: int = 0
    build_from_host: bool = False


async def serve(
    state: StateDir,
    wishes: Wishes,
    terminal: TextIO | None,
    settled: Callable[[Mapping[str, Any]], None],
) -> int:
    """Run until SIGINT or SIGTERM; `settled` gets the services' states once they are known.

    `state` is held by the caller. Returns the exit code.
    """
    state.renew_runtime()
    endpoints = _endpoints(state, wishes)
    if not (state.path / "daemon.json").exists():
        state.write("daemon.json", {})
    output = Output(state.path / "up.log", terminal)
    supervisor: Supervisor

    def note() -> None:
        state.write("status.json", supervisor.document)

    supervisor = Supervisor(services(Layout(str(state.path)), endpoints), output.say, note)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    settling: asyncio.Task[None] | None = None
    try:
        state.write("endpoints.json", endpoints.document)
        supervisor.start()
        settling = asyncio.ensure_future(_tell(supervisor, output, settled))
        await stop.wait()
    finally:
        if settling is not None:
            settling.cancel()
        output.say("up", "ending the services")
        await supervisor.stop()
        (state.path / "endpoints.json").rename(state.path / "endpoints.last.json")
        output.say("up", "everything has ended")
        output.close()
    return 0


async def _tell(
    supervisor: Supervisor, output: Output, settled: Callable[[Mapping[str, Any]], None]
) -> None:
    if await supervisor.settle():
        output.say("up", "everything is ready")
    else:
        broken = [name for name, life in supervisor.lives.items() if life.state != "ready"]
        output.say("up", f"not ready: {', '.join(broken)}; the rest runs")
    settled(supervisor.document)


def _endpoints(state: StateDir, wishes: Wishes) -> Endpoints:
    """Return the addresses: the user's, else the last run's where they are free."""
    last = state.read("endpoints.json") or state.read("endpoints.last.json")

    def port(wanted: int, name: str) -> int:
        if wanted:
            return wanted
        return free_port(urlsplit(str(last.get(name, ""))).port or 0)

    store_port = port(wishes.store_port, "store")
    registry_port = port(wishes.registry_port, "registry")
    while registry_port == store_port:
        registry_port = free_port()
    return Endpoints(store_port, registry_port, state.socket, wishes.build_from_host)
