"""A further process in a running container."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from sampan.base.errors import ConflictError, InvalidError
from sampan.base.record import record
from sampan.engine.oci.core.bundle import Extras, check_process, read_extras
from sampan.engine.oci.core.further import Changes, process_of
from sampan.engine.oci.core.record import Record
from sampan.engine.oci.shell import machine
from sampan.engine.oci.shell.creation import apply_extras, filter_of, in_cgroups, write_pid_file
from sampan.engine.oci.shell.runtime import Runtime
from sampan.engine.oci.shell.specification import read_json
from sampan.engine.oci.shell.terminal import Foreground, connect_console, send_console
from sampan.engine.runtime.core.fields import Fields
from sampan.engine.runtime.core.plan import CLONE_FLAGS
from sampan.engine.runtime.core.spec import Process, parse_process
from sampan.engine.runtime.shell import launch, syscalls
from sampan.engine.runtime.shell.cgroups import Cgroups

__all__ = ["ExecOptions", "execute"]

_PR_SET_DUMPABLE: Final = 4


@record
class ExecOptions:
    """What `exec` was told beside the process itself."""

    pid_file: str = ""
    console_socket: str = ""
    process_file: str = ""
    detach: bool = False
    preserve_fds: int = 0
    ignore_paused: bool = False
    cgroups: tuple[str, ...] = ()


def execute(runtime: Runtime, container_id: str, changes: Changes, options: ExecOptions) -> int:
    """Start a process in a container; wait for it and return its code unless detached."""
    record = runtime.store.find(container_id).load()
    status = runtime.status(record)
    if status == "stopped":
        raise ConflictError("cannot exec in a stopped container")
    if status == "paused" and not options.ignore_paused:
        raise ConflictError("cannot exec in a paused container (use --ignore-paused to override)")
    document = _document(record, changes, options)
    process = parse_process(document)
    check_process(process)
    _check_console(process, options)
    console = connect_console(options.console_socket) if options.console_socket else None
    # Nobody in the container may look at a process that is about to enter it.
    syscalls.prctl(_PR_SET_DUMPABLE, 0)
    waiting = None if options.detach else Foreground()
    launched = _join(record, process, read_extras(Fields(document), Fields({})), options)
    try:
        if console is not None:
            send_console(console, launched.console_fd)
        if options.pid_file:
            write_pid_file(os.path.abspath(options.pid_file), launched.pid)
        if waiting is not None:
            waiting.prepare(launched.console_fd)
        launched.start()
    except BaseException:
        with suppress(ProcessLookupError):
            syscalls.pidfd_send_signal(launched.pidfd, signal.SIGKILL)
        raise
    if waiting is None:
        return 0
    return waiting.wait(launched.pid, launched.pidfd, launched.console_fd)


def _document(record: Record, changes: Changes, options: ExecOptions) -> Mapping[str, Any]:
    if options.process_file:
        return read_json(options.process_file)
    if not changes.args:
        raise InvalidError("process args cannot be empty")
    return process_of(record.document.get("process") or {}, changes)


def _check_console(process: Process, options: ExecOptions) -> None:
    if process.terminal and options.detach and not options.console_socket:
        raise InvalidError("cannot allocate tty if runc will detach without setting console socket")
    if options.console_socket and not (process.terminal and options.detach):
        raise InvalidError("cannot use console socket if runc will not detach or allocate tty")


def _join(
    record: Record, process: Process, extras: Extras, options: ExecOptions
) -> launch.Launched:
    linux = record.document.get("linux") or {}
    flags = 0
    for one in linux.get("namespaces") or ():
        flags |= CLONE_FLAGS[one["type"]]
    program, filter_flags = filter_of(linux.get("seccomp"))
    try:
        target = machine.open_process(record.pid, record.start_ticks)
    except ProcessLookupError:
        raise ConflictError("cannot exec in a stopped container") from None
    if os.geteuid() != 0 and flags & CLONE_FLAGS["user"]:
        # Without privileges outside, the way into the others is from within the user namespace.
        syscalls.setns(target, CLONE_FLAGS["user"])
        flags &= ~CLONE_FLAGS["user"]
    with in_cgroups(_cgroups(record, options)) as placement:
        return launch.join(
            target,
            process,
            launch.Stdio(),
            namespaces=flags,
            placement=apply_extras(placement, extras, exec_affinity=True),
            seccomp=program,
            seccomp_flags=filter_flags,
            preserve_fds=options.preserve_fds,
        )


def _cgroups(record: Record, options: ExecOptions) -> Cgroups | None:
    if not record.cgroup:
        return None
    below = ""
    for word in options.cgroups:
        controller, colon, path = word.rpartition(":")
        if colon and controller:
            raise InvalidError(f"--cgroup {word}: one path for all controllers is supported")
        if ".." in path.split("/"):
            raise InvalidError(f"--cgroup {word}: '..' leads out of the container's cgroup")
        below = path
    return Cgroups(f"{record.cgroup}/{below}" if below else record.cgroup)
