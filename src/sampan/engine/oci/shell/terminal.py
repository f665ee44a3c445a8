"""A container's terminal: handed to who asked for it, or joined to the one we are run in."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import struct
import sys
import termios
from typing import Any

from sampan.base.errors import SampanError

__all__ = ["Foreground", "connect_console", "send_console"]

_READ_BYTES = 32 * 1024
_FORWARDED = frozenset(signal.Signals) - {
    signal.SIGKILL,
    signal.SIGSTOP,
    signal.SIGCHLD,
    signal.SIGWINCH,
    signal.SIGURG,
    signal.SIGPIPE,
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
}


def connect_console(path: str) -> socket.socket:
    """Connect to the socket that takes the terminal; SampanError when nobody listens."""
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        channel.connect(path)
    except OSError as error:
        channel.close()
        raise SampanError(f"dial unix {path}: {error.strerror}") from error
    return channel


def send_console(channel: socket.socket, master: int) -> None:
    """Hand the terminal's master over."""
    with channel:
        socket.send_fds(channel, [b"/dev/ptmx"], [master])


class Foreground:
    """A process that this one waits for: signals and the terminal's size are passed on."""

    def __init__(self) -> None:
        self._watched = {*_FORWARDED, signal.SIGCHLD, signal.SIGWINCH}
        # From now on, so that nothing is lost between the start and the wait.
        signal.pthread_sigmask(signal.SIG_BLOCK, self._watched)

    def prepare(self, console_fd: int) -> None:
        """Give the process's terminal, if it has one, our own size before the program looks."""
        if console_fd >= 0:
            _copy_size(console_fd)

    def wait(self, pid: int, pidfd: int, console_fd: int = -1) -> int:
        """Return the exit code, 128 and the signal's number for one that was killed."""
        if console_fd >= 0:
            return self._with_terminal(pid, pidfd, console_fd)
        while True:
            number = signal.sigwait(self._watched)
            if number == signal.SIGCHLD:
                code = self._reap(pid)
                if code is not None:
                    return code
            elif number != signal.SIGWINCH:
                _send(pid, number)

    def _reap(self, pid: int) -> int | None:
        """Collect all children that have ended: with a subreaper they are more than one."""
        while True:
            try:
                found, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return 0
            if found == 0:
                return None
            if found == pid:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code

    def _with_terminal(self, pid: int, pidfd: int, master: int) -> int:
        wake, woken = os.pipe()
        os.set_blocking(woken, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        for number in self._watched:
            signal.signal(number, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._watched)
        saved = _make_raw(0)
        try:
            return self._copy(pid, pidfd, master, wake)
        finally:
            if saved is not None:
                termios.tcsetattr(0, termios.TCSADRAIN, saved)

    def _copy(self, pid: int, pidfd: int, master: int, wake: int) -> int:
        poll = select.poll()
        poll.register(wake, select.POLLIN)
        poll.register(pidfd, select.POLLIN)
        poll.register(master, select.POLLIN)
        poll.register(0, select.POLLIN)
        code: int | None = None
        while True:
            for fd, _ in poll.poll():
                if fd == wake:
                    for number in os.read(wake, 512):
                        if number == signal.SIGWINCH:
                            _copy_size(master)
                        elif number != signal.SIGCHLD:
                            _send(pid, number)
                elif fd == 0:
                    data = _read(0)
                    if data:
                        _write_all(master, data)
                    else:
                        poll.unregister(0)
                elif fd == master:
                    data = _read(master)
                    if data:
                        _write_all(1, data)
                    elif code is not None:
                        return code
                    else:
                        poll.unregister(master)
                elif fd == pidfd:
                    poll.unregister(pidfd)
                    code = self._reap(pid) or 0
                    while data := _read_ready(master):
                        _write_all(1, data)
                    return code


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, _READ_BYTES)
    except OSError:  # a terminal whose other side is closed answers EIO
        return b""


def _read_ready(fd: int) -> bytes:
    ready, _, _ = select.select([fd], [], [], 0)
    return _read(fd) if ready else b""


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _make_raw(fd: int) -> list[Any] | None:
    """Switch our own terminal to raw; returns what it was, None when it is none."""
    if not os.isatty(fd):
        return None
    import tty

    saved: list[Any] = termios.tcgetattr(fd)
    tty.setraw(fd)
    return saved


def _copy_size(master: int) -> None:
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        try:
            size = fcntl.ioctl(stream.fileno(), termios.TIOCGWINSZ, bytes(8))
        except (OSError, ValueError, AttributeError):
            continue
        if any(struct.unpack("HHHH", size)[:2]):
            fcntl.ioctl(master, termios.TIOCSWINSZ, size)
        return
