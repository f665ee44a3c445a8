"""The commands that bring a container to life: create, start, and run, which is both."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import Final

from sampan.base.errors import ConflictError, SampanError
from sampan.engine.oci.core.record import Record
from sampan.engine.oci.shell import creation
from sampan.engine.oci.shell.creation import CreateOptions
from sampan.engine.oci.shell.gate import open_gate
from sampan.engine.oci.shell.hooks import run_hooks
from sampan.engine.oci.shell.runtime import Runtime
from sampan.engine.oci.shell.store import Place
from sampan.engine.oci.shell.terminal import Foreground
from sampan.engine.runtime.core.spec import parse_spec
from sampan.engine.runtime.shell import syscalls

__all__ = ["create", "run", "start"]

_PR_SET_CHILD_SUBREAPER: Final = 36


def create(runtime: Runtime, container_id: str, options: CreateOptions) -> None:
    """Make a container that waits for `start`."""
    created = creation.create(runtime.store, container_id, options)
    created.launched.leave()
    created.launched.close()


def start(runtime: Runtime, container_id: str) -> None:
    """Let a created container run its program."""
    with runtime.store.locked(container_id) as place:
        record = place.load()
        match runtime.status(record):
            case "created":
                _open(runtime, place, record)
            case "stopped":
                raise ConflictError("cannot start a container that has stopped")
            case _:
                raise ConflictError("cannot start an already running container")


def _open(runtime: Runtime, place: Place, record: Record) -> None:
    try:
        open_gate(place.gate)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(place.gate)
    _started(runtime, record)


def _started(runtime: Runtime, record: Record) -> None:
    """Run the hooks after the start; one that fails ends the container."""
    hooks = (record.document.get("hooks") or {}).get("poststart")
    if not hooks:
        return
    try:
        spec = parse_spec(record.document)
        run_hooks("poststart", spec.hooks["poststart"], record.state("running", record.pid))
    except SampanError:
        runtime.signal(record, signal.SIGKILL)
        raise


def run(
    runtime: Runtime, container_id: str, options: CreateOptions, *, keep: bool, subreaper: bool
) -> int:
    """Create and start a container; in the foreground also wait for it and return its code."""
    if not options.foreground:
        create(runtime, container_id, options)
        try:
            start(runtime, container_id)
        except BaseException:
            runtime.delete(container_id, force=True)
            raise
        return 0
    if subreaper:
        syscalls.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    waiting = Foreground()
    created = creation.create(runtime.store, container_id, options)
    record = created.record
    try:
        waiting.prepare(created.launched.console_fd)
        created.launched.start()
        _started(runtime, record)
        code = waiting.wait(record.pid, created.launched.pidfd, created.launched.console_fd)
    except BaseException:
        with suppress(ProcessLookupError):
            syscalls.pidfd_send_signal(created.launched.pidfd, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(record.pid, 0)
        runtime.destroy(created.place, record)
        raise
    if not keep:
        runtime.destroy(created.place, record)
    return code
