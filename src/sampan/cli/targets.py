"""Which engine and which store a command uses: the environment's, else the stack's."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

from sampan.engine.client import daemon_address
from sampan.ship.shell.shipping import Targets
from sampan.ship.shell.toolchain import find_go
from sampan.up.shell.state import StateDir

__all__ = ["host_go", "run_interruptible", "targets"]

T = TypeVar("T")


def targets(state: StateDir) -> Targets:
    """Return where engine and store are; UnavailableError when neither is named and none is up."""
    engine = os.environ.get("SAMPAN_HOST") or os.environ.get("DOCKER_HOST")
    store = os.environ.get("ETCDCTL_ENDPOINTS")
    if not (engine and store):
        found = state.endpoints()
        engine = engine or str(found["engine"])
        store = store or str(found["store"])
    return Targets(daemon_address(os.environ, engine), tuple(store.split(",")))


def host_go(state: StateDir) -> str:
    """Return where this machine's Go is, empty when there is none or the stack forbids its use."""
    if not state.holder() or not state.read("endpoints.json").get("build-from-host"):
        return ""
    found = find_go()
    return found.folder if found else ""


def run_interruptible(work: Coroutine[Any, Any, T]) -> T:
    """Run `work`; Ctrl-C cancels it and is a KeyboardInterrupt when that has been cleared up."""
    from sampan.loop.runner import run

    async def guarded() -> T:
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, task.cancel)
        return await task

    with contextlib.suppress(asyncio.CancelledError):
        return run(guarded())
    raise KeyboardInterrupt
