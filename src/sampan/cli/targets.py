"""Which engine and which store a command uses: the environment's, else the stack's."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

from sampan.engine.client import daemon_address
from sampan.ship.shell.shipping import Targets
from sampan.up.shell.state import StateDir

__all__ = ["may_build_from_host", "run_interruptible", "targets"]

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


def may_build_from_host(state: StateDir) -> bool:
    """Tell whether builds may use this machine's Go: it is here, and the stack allows it."""
    allowed = state.holder() and state.read("endpoints.json").get("build-from-host")
    return bool(allowed) and shutil.which("go") is not None


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
