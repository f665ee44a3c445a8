"""One process of a container under the shim's care: the first one, or one of `exec`."""

from __future__ import annotations

import fcntl
import os
import selectors
import socket
import struct
import termios
from collections.abc import Callable, Mapping
from typing import Any

from sampan.engine.runtime.core.spec import Process
from sampan.engine.runtime.shell.launch import Launched, Stdio
from sampan.engine.shim.streams import ProcessStreams, Reactor

__all__ = ["Pipes", "Session"]


class Pipes:
    """The pipes of a process without a terminal; `ours` and `theirs` are closed by their users."""

    def __init__(self, *, stdin: bool) -> None:
        self.stdin, self._stdin_theirs = -1, -1
        if stdin:
            self._stdin_theirs, self.stdin = os.pipe()
        else:
            self._stdin_theirs = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        self.stdout, self._stdout_theirs = os.pipe()
        self.stderr, self._stderr_theirs = os.pipe()

    @property
    def theirs(self) -> Stdio:
        """What becomes the descriptors 0, 1 and 2 of the process."""
        return Stdio(self._stdin_theirs, self._stdout_theirs, self._stderr_theirs)

    def started(self) -> None:
        """Close the process's ends here."""
        for fd in (self._stdin_theirs, self._stdout_theirs, self._stderr_theirs):
            os.close(fd)

    def abandon(self) -> None:
        """Close everything."""
        self.started()
        for fd in {self.stdin, self.stdout, self.stderr} - {-1}:
            os.close(fd)


class Session:
    """A started process: its streams, and what to do when it has ended and said all."""

    def __init__(
        self,
        reactor: Reactor,
        process: Process,
        *,
        stdin: bool,
        stdin_once: bool,
        sink: Callable[[str, bytes], None],
        finished: Callable[[int], None],
    ) -> None:
        self._reactor = reactor
        self._terminal = process.terminal
        self._wants_stdin = stdin
        self._finished = finished
        self.exit_code: int | None = None
        self.pid = 0
        self._launched: Launched | None = None
        self._streams = ProcessStreams(
            reactor,
            terminal=process.terminal,
            # Who leaves a terminal has not ended its input: it is for the next one to type on.
            keep_stdin=not stdin_once or process.terminal,
            sink=sink,
            ended=self._maybe_finished,
        )

    def attach(self, sock: socket.socket, wants: Mapping[str, Any]) -> None:
        """Add a client."""
        self._streams.attach(sock, dict(wants))

    def start(self, launch: Callable[[Stdio], Launched]) -> None:
        """Launch with pipes or a terminal, and open the gate; raises LaunchError."""
        pipes = None if self._terminal else Pipes(stdin=self._wants_stdin)
        try:
            launched = launch(pipes.theirs if pipes else Stdio())
        except BaseException:
            if pipes:
                pipes.abandon()
            raise
        self._launched, self.pid = launched, launched.pid
        if pipes:
            pipes.started()
            outputs = {pipes.stdout: "stdout", pipes.stderr: "stderr"}
            self._streams.connect(pipes.stdin, outputs)
        else:
            master = os.dup(launched.console_fd)
            self._streams.connect(master, {master: "stdout"})
        self._reactor.watch(launched.pidfd, selectors.EVENT_READ, self._exited)
        launched.start()

    def _exited(self, _: int) -> None:
        launched = self._launched
        assert launched is not None
        self._reactor.watch(launched.pidfd, 0, self._exited)
        _, status = os.waitpid(launched.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        self.exit_code = code if code >= 0 else 128 - code
        self._maybe_finished()

    def _maybe_finished(self) -> None:
        if self.exit_code is not None and not self._streams.open:
            self._finished(self.exit_code)

    def give_up_on_output(self) -> None:
        """Stop waiting for output: somebody else still holds the other end."""
        if self._streams.open:
            self._streams.close()
            self._maybe_finished()

    def resize(self, width: int, height: int) -> None:
        """Change the terminal's size."""
        if self._launched is not None and self._launched.console_fd >= 0:
            size = struct.pack("HHHH", height, width, 0, 0)
            fcntl.ioctl(self._launched.console_fd, termios.TIOCSWINSZ, size)

    def close_stdin(self) -> None:
        """End the input."""
        self._streams.close_stdin()

    def drained(self) -> bool:
        """Tell whether every client has been sent all."""
        return self._streams.drained()

    def close(self) -> None:
        """Let go of the streams and descriptors; clients see the end."""
        self._streams.close()
        if self._launched is not None:
            self._launched.close()
            self._launched = None
