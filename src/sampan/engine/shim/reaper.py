"""Process 1 of a container: forwards signals, reaps what is left behind, ends with its child."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Final, NoReturn

from sampan.engine.runtime.shell.launch import Init

__all__ = ["PAUSE", "REAPER"]


def _reap(become: Callable[[], NoReturn], settle: Callable[[], None]) -> NoReturn:
    """Fork, run the program in the child, and look after everything else until it ends.

    `settle` makes this process as unprivileged as the program and closes its descriptors.
    """
    every = set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}
    signal.pthread_sigmask(signal.SIG_BLOCK, every)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, every)
        become()
    settle()
    while True:
        number = signal.sigwait(every)
        if number == signal.SIGCHLD:
            code = _collect(child)
            if code is not None:
                os._exit(code)
        elif number not in (signal.SIGTTIN, signal.SIGTTOU):
            try:
                os.kill(child, number)
            except ProcessLookupError:
                continue


def _hold(become: Callable[[], NoReturn], settle: Callable[[], None]) -> NoReturn:
    """Keep the namespaces alive, reaping, until a signal says that the end has come."""
    every = set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}
    signal.pthread_sigmask(signal.SIG_BLOCK, every)
    settle()
    while True:
        number = signal.sigwait(every)
        if number == signal.SIGCHLD:
            _collect(-1)
        elif number in (signal.SIGTERM, signal.SIGINT):
            os._exit(0)


REAPER: Final = Init(_reap, ("/sbin/docker-init",))
"""Runs the program of `--init`."""

PAUSE: Final = Init(_hold, ("/pause",))
"""Keeps a pod's namespaces."""


def _collect(child: int) -> int | None:
    """Reap all that has ended; the exit code when the child is among them."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            found = code if code >= 0 else 128 - code
