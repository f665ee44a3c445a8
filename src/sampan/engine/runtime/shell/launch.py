"""Starting a process in a new container, or in one that runs.

The parent clones a child into new namespaces and speaks with it over a socket pair: the child waits
until its id maps and its cgroup are in place, builds its root, enters it, becomes who it is to be,
says "ready", and waits at a gate. After the gate comes execve; the socket closes with it, and that
is how the parent knows that the program runs. Whatever fails is told over the same socket, with the
step and the words for the user.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import struct
import termios
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NoReturn

from sampan.base.errors import InvalidError, SampanError
from sampan.base.record import record
from sampan.engine.runtime.core import capability
from sampan.engine.runtime.core.plan import CLONE_FLAGS, Join, Plan, Sysctl
from sampan.engine.runtime.core.spec import Process
from sampan.engine.runtime.shell import executable, identity, idmap, inside, syscalls
from sampan.engine.runtime.shell.birth import born
from sampan.engine.runtime.shell.handover import mounts_for_child, needs_handover
from sampan.engine.runtime.shell.rootfs import RootBuilder
from sampan.engine.runtime.shell.title import set_command_line

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


@record
class Init:
    """What runs as process 1 in place of the program, and what process lists call it.

    `run` is given a function that becomes the program in a forked child, and one that makes the
    caller as unprivileged as the program.
    """

    run: Callable[[Callable[[], NoReturn], Callable[[], None]], NoReturn]
    title: tuple[str, ...] = ()


Gate = Callable[[], socket.socket]
"""Waits in the child for the one who will start the program, when that is not its parent; returns
the connection."""

_READY, _GO, _PREPARED, _FAILED, _HOOKS = b"R", b"G", b"P", b"E", b"H"
_MESSAGE_BYTES: Final = 64 * 1024
_MOST_FDS: Final = 250
_PR_SET_DUMPABLE: Final = 4
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NAME: Final = 15
_NULL_DEVICE: Final = os.makedev(1, 3)


class LaunchError(SampanError):
    """The process could not be started; `exit_code` is 126, 127 or 128 as a shell's."""

    def __init__(self, message: str, exit_code: int = 128) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@record
class Stdio:
    """Descriptors that become 0, 1 and 2; unused with a terminal."""

    stdin: int = -1
    stdout: int = -1
    stderr: int = -1


@record
class Placement:
    """Where the process goes before it does anything.

    `enter` is called by the child, single-threaded, in the parent's namespaces but for new ones;
    `cgroup_fd` starts it in a version 2 cgroup; `views` are the container's cgroups by mount
    point, for mounts of cgroups.
    """

    enter: Callable[[], None] | None = None
    cgroup_fd: int = -1
    views: dict[str, str] | None = None


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
        self._channel.send(_PREPARED)
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
        channel.send(_GO)
        message = channel.recv(_MESSAGE_BYTES)
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
    child = _Child(plan, process, stdio, placement, seccomp, seccomp_flags, preserve_fds)
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
            _await_word(ours, _HOOKS)
            outside(pid)
            ours.send(_PREPARED)
        return Launched(pid, pidfd, ours, _await_word(ours, _READY))
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
    child = _Child(plan, process, stdio, placement, seccomp, seccomp_flags, preserve_fds)
    child.join_pidfd, child.join_flags = target_pidfd, namespaces & ~CLONE_FLAGS["pid"]
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.geteuid() == 0:
        # The child is among the container's processes from its first moment on.
        syscalls.prctl(_PR_SET_DUMPABLE, 0)
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
        ours.send(_PREPARED)
        return Launched(pid, pidfd, ours, _await_word(ours, _READY))
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
            _write(f"/proc/{pid}/oom_score_adj", str(process.oom_score_adj))
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
                    _write("/proc/sys/" + key.replace(".", "/"), value)


def _hand_over(channel: socket.socket, given: Mapping[int, int]) -> None:
    """Tell the child to begin, with its mounts and the numbers of the steps that they are for."""
    numbers = ",".join(map(str, given))
    try:
        socket.send_fds(channel, [_PREPARED + numbers.encode()], list(given.values()))
    finally:
        for fd in given.values():
            os.close(fd)


def _await_word(channel: socket.socket, word: bytes) -> int:
    """Wait for the child's word; return the terminal's descriptor, -1 without one."""
    message, fds, _, _ = socket.recv_fds(channel, _MESSAGE_BYTES, 1)
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


class _Child:
    """The child's side, from the clone to execve. It never returns and never raises."""

    def __init__(
        self,
        plan: Plan,
        process: Process,
        stdio: Stdio,
        placement: Placement,
        seccomp: bytes | None,
        seccomp_flags: int,
        preserve_fds: int,
    ) -> None:
        self._plan = plan
        self._process = process
        self._stdio = stdio
        self._placement = placement
        self._seccomp = seccomp
        self._seccomp_flags = seccomp_flags
        self._preserve_fds = preserve_fds
        self.join_pidfd = -1
        self.join_flags = 0
        self.before_pivot: Callable[[], None] | None = None
        self.init: Init | None = None
        self.gate: Gate | None = None
        self.waits_before_pivot = False
        self.new_keyring = True
        self._given: dict[int, int] = {}
        self._host_mounts = os.stat("/proc/self/ns/mnt").st_ino
        self._step = "prepare"
        self._home = ""
        # All that is computed from the input is computed before the fork.
        self._masks = _masks(process)

    def run(self, channel: socket.socket, parents: socket.socket) -> NoReturn:
        """Everything, in the child; `parents` is the other end."""
        self._channel = channel
        try:
            parents.close()
            # A parent without privileges may not write the maps of one that it cannot look at.
            if not self._plan.mapped or os.geteuid() == 0:
                syscalls.prctl(_PR_SET_DUMPABLE, 0)
            self._take_over()
            syscalls.prctl(_PR_SET_DUMPABLE, 0)
            self._run()
        except BaseException as error:
            self._report(error)
        finally:
            os._exit(1)

    def _run(self) -> None:
        process, plan = self._process, self._plan
        if self._placement.enter is not None:
            self._step = "enter the cgroups"
            self._placement.enter()
        if self.init is not None and self.init.title:
            set_command_line(self.init.title)
        os.setsid()
        mapped = plan.mapped
        if process.oom_score_adj is not None and not mapped:
            self._step = "oom_score_adj"
            _write("/proc/self/oom_score_adj", str(process.oom_score_adj))
        if self.join_pidfd >= 0:
            self._step = "enter the container's namespaces"
            syscalls.setns(self.join_pidfd, self.join_flags)
            if self.join_flags & CLONE_FLAGS["user"]:
                os.setresgid(0, 0, 0)
                os.setresuid(0, 0, 0)
            root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        else:
            root_fd = self._build(plan)
        console = self._console() if process.terminal else -1
        self._step = "process"
        if self.new_keyring:
            syscalls.keyctl_join_session()
        if not mapped:
            self._step = "limits"
            identity.apply_limits(process.rlimits)
        self._step = "process"
        who = identity.lookup_user(root_fd, process.user)
        self._home = who.home
        if not who.home and not any(one.startswith("HOME=") for one in process.env):
            self._home = identity.home_of(root_fd, who.uid)
        self._own_stdio(who.uid)
        identity.apply_identity(who, self._masks, process.user.umask)
        self._step = "chdir"
        self._change_directory()
        self._step = "exec"
        env = self._environment()
        target = None if process.pause else executable.find(process.args[0], env)
        self._ready(console)
        if self.gate is not None:
            self._wait_for(_PREPARED)
            self._use_stdio()
            self._stdio = Stdio()
            self._channel.close()
            self._channel = self.gate()
        self._wait_for(_GO)
        if self.init is not None:
            self.init.run(lambda: self._become(target, env), self._settle)
        self._become(target, env)

    def _build(self, plan: Plan) -> int:
        """Enter the namespaces and make the root; return a descriptor of it."""
        self._step = "namespaces"
        user = plan.mapped
        for one in plan.joins:
            if one.type != "pid" and not user:
                fd = os.open(one.path, os.O_RDONLY | os.O_CLOEXEC)
                syscalls.setns(fd, CLONE_FLAGS[one.type])
                os.close(fd)
        if user:
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
        if plan.late_clone_flags:
            syscalls.unshare(plan.late_clone_flags)
        if plan.clone_flags & CLONE_FLAGS["network"]:
            _raise_loopback()
        builder = RootBuilder(plan, self._host_mounts, self._given, in_user_namespace=user)
        try:
            builder.build(self._placement.views or {})
            if self.waits_before_pivot:
                self._channel.send(_HOOKS)
                self._wait_for(_PREPARED)
            if self.before_pivot is not None:
                self.before_pivot()
            builder.enter()
        except OSError as error:
            raise OSError(error.errno, f"{builder.step}: {error.strerror}") from error
        root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        os.close(inside.make_directory(root_fd, self._process.cwd))
        return root_fd

    def _console(self) -> int:
        """Open a terminal of the container's own devpts and make it this session's."""
        self._step = "terminal"
        master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        if os.fstat(master).st_rdev != os.makedev(5, 2):
            raise InvalidError("/dev/ptmx: not the multiplexer of terminals")
        fcntl.ioctl(master, 0x40045431, struct.pack("i", 0))  # TIOCSPTLCK
        # By the master itself: what lies at the path of the other end may have been exchanged.
        slave = fcntl.ioctl(master, 0x5441, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)  # TIOCGPTPEER
        size = self._process.console_size
        if size is not None:
            fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        if self.join_pidfd < 0:
            _bind_console(slave)
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        self._stdio = Stdio(slave, slave, slave)
        return master

    def _change_directory(self) -> None:
        """Enter the working directory: below the root, and by no descriptor of this process."""
        root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        cwd = inside.open_path(root_fd, self._process.cwd, os.O_PATH | os.O_DIRECTORY)
        os.fchdir(cwd)
        os.close(cwd)
        os.close(root_fd)
        if not os.getcwd().startswith("/"):
            raise InvalidError("the working directory is outside the container's root")

    def _environment(self) -> dict[str, str]:
        env = dict(entry.partition("=")[::2] for entry in self._process.env if "=" in entry)
        if not env.get("HOME"):
            env["HOME"] = self._home or "/"
        return env

    def _settle(self) -> None:
        """Make this process as unprivileged as the program would be; the channel ends here."""
        self._use_stdio()
        self._channel.detach()
        syscalls.close_range(3)
        self._step = "seccomp and capabilities"
        masks = self._masks
        if masks is not None and os.getuid() != 0:
            masks = identity.NO_CAPABILITIES  # as execve would leave it; there is none here
        identity.drop_capabilities(self._process, masks, self._seccomp, self._seccomp_flags)
        syscalls.prctl(_PR_SET_DUMPABLE, 0)

    def _own_stdio(self, uid: int) -> None:
        """Let another user than root open its own standard streams anew, as /dev/stdout."""
        if uid == 0:
            return
        stdio = self._stdio
        for number, fd in enumerate((stdio.stdin, stdio.stdout, stdio.stderr)):
            try:
                status = os.fstat(fd if fd >= 0 else number)
                if status.st_uid != uid and status.st_rdev != _NULL_DEVICE:
                    os.fchown(fd if fd >= 0 else number, uid, -1)
            except OSError:
                continue  # closed, or the kernel has no owner for it: as good as it gets

    def _use_stdio(self) -> None:
        self._step = "stdio"
        stdio = self._stdio
        for number, fd in enumerate((stdio.stdin, stdio.stdout, stdio.stderr)):
            if fd >= 0 and fd != number:
                os.dup2(fd, number)

    def _become(self, target: str | None, env: dict[str, str]) -> NoReturn:
        """Drop what is to be dropped and execute the program."""
        try:
            self._use_stdio()
            self._close_others()
            for number in range(1, signal.NSIG):
                if number not in (signal.SIGKILL, signal.SIGSTOP) and (
                    signal.getsignal(number) == signal.SIG_IGN
                ):
                    signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            self._step = "seccomp and capabilities"
            identity.drop_capabilities(
                self._process, self._masks, self._seccomp, self._seccomp_flags
            )
            self._step = "exec"
            assert target is not None
            os.execve(target, list(self._process.args), env)
        except BaseException as error:
            self._report(error)
            os._exit(1)

    def _close_others(self) -> None:
        """Close every descriptor but standard ones, preserved ones and the channel."""
        keep = 3 + self._preserve_fds
        channel = self._channel.fileno()
        if channel != keep:
            os.dup2(channel, keep, inheritable=False)
            self._channel.detach()
            self._channel = socket.socket(fileno=keep)
        syscalls.close_range(keep + 1)
        for fd in range(3, keep):
            os.set_inheritable(fd, True)

    def _ready(self, console: int) -> None:
        if console >= 0:
            socket.send_fds(self._channel, [_READY], [console])
            os.close(console)
        else:
            self._channel.send(_READY)

    def _take_over(self) -> None:
        """Wait until the parent has prepared everything, and take what it hands over."""
        message, fds, _, _ = socket.recv_fds(self._channel, _MESSAGE_BYTES, _MOST_FDS)
        if message[:1] != _PREPARED:
            os._exit(1)  # the parent is gone or wants no more of this child
        numbers = message[1:].decode().split(",") if len(message) > 1 else []
        self._given = dict(zip(map(int, numbers), fds, strict=True))

    def _wait_for(self, word: bytes) -> None:
        if self._channel.recv(16) != word:
            os._exit(1)  # the parent is gone or wants no more of this child

    def _report(self, error: BaseException) -> None:
        message, exit_code = executable.words_for(
            self._step, self._process.args, error, self._process.cwd
        )
        told = json.dumps({"message": message, "exit_code": exit_code}).encode()
        try:
            self._channel.send(_FAILED + told[: _MESSAGE_BYTES - 1])
        except OSError:
            pass


def _raise_loopback() -> None:
    """Switch the loopback interface of a new network namespace on."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        up_running = struct.pack("16sH14x", b"lo", 0x1 | 0x40)
        fcntl.ioctl(any_socket, 0x8914, up_running)  # SIOCSIFFLAGS


def _masks(process: Process) -> identity.CapabilityMasks | None:
    sets = process.capabilities
    if sets is None:
        return None
    return identity.CapabilityMasks(
        capability.mask(sets.bounding),
        capability.mask(sets.effective),
        capability.mask(sets.inheritable),
        capability.mask(sets.permitted),
        capability.mask(sets.ambient),
    )


def _bind_console(slave: int) -> None:
    """Make /dev/console the terminal."""
    root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    target = inside.make_file(root_fd, "/dev/console")
    fd = syscalls.open_tree("", recursive=False, dir_fd=slave)
    syscalls.move_mount(fd, target, "")
    for one in (root_fd, target, fd):
        os.close(one)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
