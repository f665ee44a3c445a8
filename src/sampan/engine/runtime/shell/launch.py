"""Starting a process in a new container, or in one that runs.

The parent clones a child into new namespaces and speaks with it over a socket pair: the child waits
until its id maps and its cgroup are in place, builds its root, enters it, becomes who it is to be,
says "ready", and waits at a gate. After the gate comes execve; the socket closes with it, and that
is how the parent knows that the program runs. Whatever fails is told over the same socket, with the
step and the words for the user.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sampan.base.errors import InvalidError, SampanError
from sampan.engine.runtime.core.plan import CLONE_FLAGS, Join, Plan, Sysctl
from sampan.engine.runtime.core.spec import Process
from sampan.engine.runtime.shell import identity, idmap, syscalls
from sampan.engine.runtime.shell.birth import born
from sampan.engine.runtime.shell.child import (
    GO,
    HOOKS,
    MESSAGE_BYTES,
    PR_SET_DUMPABLE,
    PREPARED,
    READY,
    Child,
    Gate,
    Init,
    Placement,
    Stdio,
)
from sampan.engine.runtime.shell.handover import mounts_for_child, needs_handover

__all__ = [
    "Gate",
    "Init",
    "LaunchError",
    "Launched",
    "Placement",
    "Stdio",
    "create",
    "join",
    "pass_gate",
]


class LaunchError(SampanError):
    """The process could not be started; `exit_code` is 126, 127 or 128 as a shell's."""

    def __init__(self, message: str, exit_code: int = 128) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Launched:
    """A child at its gate. `pid` is in this process's namespace; the caller reaps it."""

    def __init__(self, pid: int, pidfd: int, channel: socket.socket, console_fd: int) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.console_fd = console_fd
        self._channel = channel

    def start(self) -> None:
        """Open the gate; returns when the program runs, raises LaunchError when it cannot."""
        pass_gate(self._channel)

    def leave(self) -> None:
        """Let a child go to the gate of its own; without this word it ends with its parent."""
        self._channel.send(PREPARED)
        self._channel.close()

    def abandon(self) -> None:
        """End a child that is not to be started."""
        self._channel.close()
        _end(self.pid, self.pidfd)

    def close(self) -> None:
        """Give the descriptors back."""
        os.close(self.pidfd)
        if self.console_fd >= 0:
            os.close(self.console_fd)


def pass_gate(channel: socket.socket) -> None:
    """Tell the child to go on; returns when its program runs, raises LaunchError when it cannot."""
    try:
        channel.send(GO)
        message = channel.recv(MESSAGE_BYTES)
    except OSError as error:
        raise LaunchError(f"the container's first process is gone: {error}") from error
    finally:
        channel.close()
    if message:
        raise _failure(message)


def create(
    plan: Plan,
    stdio: Stdio,
    *,
    placement: Placement | None = None,
    seccomp: bytes | None = None,
    seccomp_flags: int = 0,
    preserve_fds: int = 0,
    before_pivot: Callable[[], None] | None = None,
    init: Init | None = None,
    gate: Gate | None = None,
    outside: Callable[[int], None] | None = None,
    new_keyring: bool = True,
) -> Launched:
    """Clone a child and bring it to its gate.

    `init` runs in the child in place of the program, given a function that becomes the program: a
    reaper that forks. `outside` runs here, with the child's pid, when the root is made and not yet
    entered; `before_pivot` in the child right after it. With a `gate` it is not the caller who
    starts the program. Raises LaunchError with the step that failed; nothing of the child is left.
    """
    process = plan.process
    if process is None:
        raise InvalidError("$.process: is required to start a container")
    placement = placement or Placement()
    child = Child(plan, process, stdio, placement, seccomp, seccomp_flags, preserve_fds)
    child.before_pivot, child.init, child.gate = before_pivot, init, gate
    child.waits_before_pivot, child.new_keyring = outside is not None, new_keyring
    _check_maps(plan)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    user = plan.mapped
    given: dict[int, int] = {}
    there, owner = _opened(plan, "pid"), _opened(plan, "user")
    with _inside([one for one in plan.joins if user and one.type not in ("pid", "user")]):
        pid, pidfd = born(
            lambda: child.run(theirs, ours),
            plan.clone_flags,
            cgroup_fd=placement.cgroup_fd,
            pid_namespace=there,
            user_namespace=owner,
        )
        if user:
            given = _prepare_mapped(plan, process, pid, pidfd)
    for fd in {there, owner} - {-1}:
        os.close(fd)
    theirs.close()
    try:
        if not user and needs_handover(plan):
            given = mounts_for_child(plan, pid)
        _hand_over(ours, given)
        if outside is not None:
            _await_word(ours, HOOKS)
            outside(pid)
            ours.send(PREPARED)
        return Launched(pid, pidfd, ours, _await_word(ours, READY))
    except BaseException:
        ours.close()
        _end(pid, pidfd)
        os.close(pidfd)
        raise


def join(
    target_pidfd: int,
    process: Process,
    stdio: Stdio,
    *,
    namespaces: int,
    placement: Placement | None = None,
    seccomp: bytes | None = None,
    seccomp_flags: int = 0,
    preserve_fds: int = 0,
) -> Launched:
    """Bring a further process of a running container to its gate; `namespaces` are CLONE_NEW*."""
    placement = placement or Placement()
    plan = Plan(0, 0, (), (), (), "/", (), (), process)
    child = Child(plan, process, stdio, placement, seccomp, seccomp_flags, preserve_fds)
    child.join_pidfd, child.join_flags = target_pidfd, namespaces & ~CLONE_FLAGS["pid"]
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.geteuid() == 0:
        # The child is among the container's processes from its first moment on.
        syscalls.prctl(PR_SET_DUMPABLE, 0)
    try:
        pid, pidfd = born(
            lambda: child.run(theirs, ours),
            0,
            cgroup_fd=placement.cgroup_fd,
            pid_namespace=target_pidfd if namespaces & CLONE_FLAGS["pid"] else -1,
        )
    except OSError as error:
        raise LaunchError(f"unable to enter the container: {error.strerror}") from error
    theirs.close()
    try:
        ours.send(PREPARED)
        return Launched(pid, pidfd, ours, _await_word(ours, READY))
    except BaseException:
        ours.close()
        _end(pid, pidfd)
        os.close(pidfd)
        raise


def _opened(plan: Plan, kind: str) -> int:
    """Open the namespace of a type that is to be joined; -1 without one."""
    path = next((one.path for one in plan.joins if one.type == kind), None)
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC) if path else -1


def _check_maps(plan: Plan) -> None:
    if plan.mapped and not (plan.uid_maps and plan.gid_maps):
        raise InvalidError("user namespaces enabled, but no uid and gid mappings found")


@contextmanager
def _inside(joins: Sequence[Join]) -> Iterator[None]:
    """Be in other namespaces, for a child in a user namespace of its own has no right to enter."""
    back: list[tuple[int, int]] = []
    try:
        for one in joins:
            name = {"network": "net", "mount": "mnt"}.get(one.type, one.type)
            own = os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
            back.append((own, CLONE_FLAGS[one.type]))
            fd = os.open(one.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                syscalls.setns(fd, CLONE_FLAGS[one.type])
            finally:
                os.close(fd)
        yield
    finally:
        for own, flag in back:
            syscalls.setns(own, flag)
            os.close(own)


def _prepare_mapped(plan: Plan, process: Process, pid: int, pidfd: int) -> dict[int, int]:
    """Do for a child in a user namespace what it cannot do itself; returns mounts to hand over."""
    try:
        if plan.clone_flags & CLONE_FLAGS["user"]:
            idmap.write(pid, plan.uid_maps, plan.gid_maps)
        if process.oom_score_adj is not None:
            syscalls.write_file(f"/proc/{pid}/oom_score_adj", str(process.oom_score_adj))
        identity.apply_limits(process.rlimits, pid)
        if any(one.type == "network" for one in plan.joins):
            _write_network_settings(plan)
        # Without privileges there is nothing that the child could not do better.
        return mounts_for_child(plan, pid) if os.geteuid() == 0 else {}
    except BaseException:
        _end(pid, pidfd)
        os.close(pidfd)
        raise


def _write_network_settings(plan: Plan) -> None:
    """Write the settings of a network that belongs to the host's user namespace; we are in it."""
    for step in plan.after_pivot:
        if isinstance(step, Sysctl):
            for key, value in step.settings:
                if key.startswith("net."):
                    syscalls.write_file("/proc/sys/" + key.replace(".", "/"), value)


def _hand_over(channel: socket.socket, given: Mapping[int, int]) -> None:
    """Tell the child to begin, with its mounts and the numbers of the steps that they are for."""
    numbers = ",".join(map(str, given))
    try:
        socket.send_fds(channel, [PREPARED + numbers.encode()], list(given.values()))
    finally:
        for fd in given.values():
            os.close(fd)


def _await_word(channel: socket.socket, word: bytes) -> int:
    """Wait for the child's word; return the terminal's descriptor, -1 without one."""
    message, fds, _, _ = socket.recv_fds(channel, MESSAGE_BYTES, 1)
    if message == word:
        return fds[0] if fds else -1
    for fd in fds:
        os.close(fd)
    if not message:
        raise LaunchError("the container's first process ended before it was ready")
    raise _failure(message)


def _failure(message: bytes) -> LaunchError:
    told: dict[str, Any] = json.loads(message[1:])
    return LaunchError(told["message"], told["exit_code"])


def _end(pid: int, pidfd: int) -> None:
    try:
        syscalls.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass
