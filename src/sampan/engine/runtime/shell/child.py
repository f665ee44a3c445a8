"""The child's side of a launch, from the clone to execve.

It waits until its id maps and its cgroup are in place, builds its root, enters it, becomes who it
is to be, says "ready", and waits at a gate. Whatever fails it tells over its channel, with the step
and the words for the user.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import struct
import termios
from collections.abc import Callable
from typing import Final, NoReturn

from sampan.base.errors import InvalidError
from sampan.base.record import record
from sampan.engine.runtime.core import capability
from sampan.engine.runtime.core.plan import CLONE_FLAGS, Plan
from sampan.engine.runtime.core.spec import Process
from sampan.engine.runtime.shell import executable, identity, inside, syscalls
from sampan.engine.runtime.shell.rootfs import RootBuilder
from sampan.engine.runtime.shell.title import set_command_line

__all__ = [
    "FAILED",
    "GO",
    "HOOKS",
    "MESSAGE_BYTES",
    "MOST_FDS",
    "PREPARED",
    "PR_SET_DUMPABLE",
    "READY",
    "Child",
    "Gate",
    "Init",
    "Placement",
    "Stdio",
]

READY, GO, PREPARED, FAILED, HOOKS = b"R", b"G", b"P", b"E", b"H"
MESSAGE_BYTES: Final = 64 * 1024
MOST_FDS: Final = 250
PR_SET_DUMPABLE: Final = 4
_NULL_DEVICE: Final = os.makedev(1, 3)


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


class Child:
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
                syscalls.prctl(PR_SET_DUMPABLE, 0)
            self._take_over()
            syscalls.prctl(PR_SET_DUMPABLE, 0)
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
            syscalls.write_file("/proc/self/oom_score_adj", str(process.oom_score_adj))
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
            self._wait_for(PREPARED)
            self._use_stdio()
            self._stdio = Stdio()
            self._channel.close()
            self._channel = self.gate()
        self._wait_for(GO)
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
                self._channel.send(HOOKS)
                self._wait_for(PREPARED)
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
        syscalls.prctl(PR_SET_DUMPABLE, 0)

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
            socket.send_fds(self._channel, [READY], [console])
            os.close(console)
        else:
            self._channel.send(READY)

    def _take_over(self) -> None:
        """Wait until the parent has prepared everything, and take what it hands over."""
        message, fds, _, _ = socket.recv_fds(self._channel, MESSAGE_BYTES, MOST_FDS)
        if message[:1] != PREPARED:
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
            self._channel.send(FAILED + told[: MESSAGE_BYTES - 1])
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
