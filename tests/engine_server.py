"""A running `sampan dockerd` for tests, and the real docker command line against it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.busybox import docker_archive, root_tar
from tests.real import require

__all__ = ["EngineServer", "busybox_archive", "busybox_root"]


def busybox_root() -> bytes:
    """A root file system with the machine's static busybox, as a tar."""
    return root_tar(require("busybox"))


def busybox_archive() -> bytes:
    """A docker archive of `busybox:latest`."""
    return docker_archive(busybox_root(), "busybox", ["latest"])


@dataclass(slots=True)
class EngineServer:
    """One daemon with everything below `place`; may be started again after it has ended.

    Without `netns` it shares the machine's network and makes no bridge in it; with it, a path, it
    lives in a network namespace of the test's.
    """

    place: Path
    flags: Sequence[str] = ()
    prefix: Sequence[str] = ()
    """A command that ends by executing the daemon: `env`, `unshare`."""

    python: str = sys.executable

    netns: Path | None = None
    output: list[bytes] = field(default_factory=list)
    _process: subprocess.Popen[bytes] | None = None
    _ready: threading.Event = field(default_factory=threading.Event)
    _said: threading.Condition = field(default_factory=threading.Condition)
    _reader: threading.Thread | None = None

    @property
    def socket(self) -> Path:
        """Its unix socket."""
        return self.place / "docker.sock"

    @property
    def url(self) -> str:
        """Its address for DOCKER_HOST."""
        return f"unix://{self.socket}"

    def start(self, timeout_s: float = 30) -> EngineServer:
        """Start it and wait for its word that it listens."""
        # Of each start its own: the reader of an earlier one ends when its last shim does.
        self._ready = ready = threading.Event()
        self.output.clear()
        inside = [str(require("nsenter")), f"--net={self.netns}"] if self.netns else []
        self._process = subprocess.Popen(
            [
                *self.prefix,
                *inside,
                self.python,
                "-m",
                "sampan.cli.main",
                "dockerd",
                f"--host={self.url}",
                f"--data-root={self.place / 'data'}",
                f"--exec-root={self.place / 'exec'}",
                *([] if self.netns else ["--bridge=none"]),
                *self.flags,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        pipe = self._process.stderr
        assert pipe is not None
        self._reader = threading.Thread(target=self._read, args=(pipe, ready), daemon=True)
        self._reader.start()
        # Its output ends a moment before the process does.
        if not ready.wait(timeout_s) or "API listen on" not in self.text():
            self.kill()
            raise RuntimeError(f"the engine did not get ready:\n{self.text()}")
        return self

    def _read(self, pipe: IO[bytes], ready: threading.Event) -> None:
        with pipe:
            for line in pipe:
                with self._said:
                    self.output.append(line)
                    self._said.notify_all()
                if b"API listen on" in line:
                    ready.set()
        ready.set()

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def wait_for(self, words: str, timeout_s: float = 30) -> None:
        """Wait until it has printed that."""
        with self._said:
            if not self._said.wait_for(lambda: words in self.text(), timeout_s):
                raise AssertionError(f"not said: {words}\n{self.text()[-2000:]}")

    def wait_for_event(self, container: str, action: str) -> None:
        """Wait until that has happened to a container."""
        filters = ("--filter", f"container={container}", "--filter", f"event={action}")
        command = [str(require("docker")), "-H", self.url, "events", "--since", "1", *filters]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as events:
            assert events.stdout is not None
            events.stdout.readline()
            events.kill()

    def text(self) -> str:
        """What it has printed."""
        return b"".join(self.output).decode(errors="replace")

    def stop(self) -> int:
        """Ask it to end; returns its exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> int:
        if self._process is None:
            return 0
        self._process.send_signal(how)
        code = self._process.wait(30)
        if self._reader is not None:
            # Shims inherit the pipe; the reader ends with them.
            self._reader.join(1)
        self._process = None
        return code

    def docker(
        self,
        *words: str,
        stdin: bytes | None = None,
        check: bool = True,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run the docker command line."""
        done = subprocess.run(
            [str(require("docker")), *words],
            input=stdin,
            stdin=None if stdin is not None else subprocess.DEVNULL,
            capture_output=True,
            env={
                **os.environ,
                "DOCKER_HOST": self.url,
                "DOCKER_CONFIG": str(self.place),
                **(env or {}),
            },
            timeout=60,
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"docker {' '.join(words)}: {done.returncode}\n{done.stderr.decode()}\n"
                f"{self.text()[-2000:]}"
            )
        return done

    def out(self, *words: str, stdin: bytes | None = None) -> str:
        """Run the docker command line and return what it printed."""
        return self.docker(*words, stdin=stdin).stdout.decode()

    def run(self, *words: str) -> str:
        """`docker run --rm --network none ...` and what it printed."""
        return self.out("run", "--rm", "--network", "none", *words)

    def load(self) -> None:
        """Load busybox."""
        self.docker("load", stdin=busybox_archive())

    def clear(self) -> None:
        """Remove all containers and volumes; some may be going by themselves already."""
        for attempts_left in range(20, -1, -1):
            ids = self.out("ps", "-aq").split()
            if not ids:
                break
            self.docker("rm", "-f", "-v", *ids, check=attempts_left == 0)
        self.docker("volume", "prune", "-af")
