"""Starting and ending real server processes: Debian's etcd and our own, on ports they choose.

A server is ready when it has printed both the line "ready to serve client requests" and the
address it listens on. Its output is kept in memory and shown when it does not get that far.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

__all__ = ["PEERS", "SAMPAN", "Flavour", "Server", "StartError", "Tls", "debian_etcd", "etcd36"]

READY: Final = re.compile(rb"ready to serve client requests")
ADDRESS: Final = re.compile(
    rb"serving (?:insecure |secure )?client (?:requests|traffic)\b.*?(127\.0\.0\.1:\d+)"
)
LOCAL: Final = "127.0.0.1:0"


class StartError(RuntimeError):
    """The server ended, or said nothing, before it was ready; the text holds its output."""


@dataclass(frozen=True, slots=True)
class Flavour:
    """One kind of server: its name in test ids and how its command line begins."""

    name: str
    command: tuple[str, ...]
    flags: tuple[str, ...] = ()


def debian_etcd(path: Path) -> Flavour:
    """Debian's etcd (3.4): the JSON gateway off, as it would dial port 0 for ever."""
    return Flavour("etcd", (str(path),), ("--enable-grpc-gateway=false",))


def etcd36(path: Path) -> Flavour:
    """A later etcd, for what 3.4 does not have."""
    return Flavour("etcd36", (str(path),), ("--enable-grpc-gateway=false",))


SAMPAN: Final = Flavour("sampan", (sys.executable, "-m", "sampan.cli.main", "etcd"))
"""Our own server, run by the interpreter that runs the tests."""

PEERS: Final = {"etcd": debian_etcd, "etcd36": etcd36}
"""Real servers by the name of their executable."""


@dataclass(frozen=True, slots=True)
class Tls:
    """Certificate files: the server's own, and the authority that signs client certificates."""

    authority: Path
    cert: Path
    key: Path
    client_auth: bool = False

    def flags(self) -> list[str]:
        """etcd's flags that turn TLS on."""
        flags = [f"--cert-file={self.cert}", f"--key-file={self.key}"]
        if self.client_auth:
            flags += ["--client-cert-auth", f"--trusted-ca-file={self.authority}"]
        return flags


@dataclass(slots=True)
class Server:
    """One server process over a data directory; may be started again after it has ended."""

    flavour: Flavour
    data_dir: Path
    flags: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    tls: Tls | None = None
    address: str = ""
    output: list[bytes] = field(default_factory=list)
    _process: subprocess.Popen[bytes] | None = None
    _drain: threading.Thread | None = None
    _ready: threading.Event = field(default_factory=threading.Event)
    _printed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def endpoint(self) -> str:
        """The client URL, for `--endpoints`."""
        return f"{'https' if self.tls else 'http'}://{self.address}"

    @property
    def port(self) -> int:
        """The client port."""
        return int(self.address.rpartition(":")[2])

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self._process is None:
            raise StartError("the server is not running")
        return self._process.pid

    def command(self) -> list[str]:
        """The full command line: loopback only, every port 0."""
        scheme = "https" if self.tls else "http"
        return [
            *self.flavour.command,
            *self.flavour.flags,
            f"--data-dir={self.data_dir}",
            f"--listen-client-urls={scheme}://{LOCAL}",
            f"--advertise-client-urls={scheme}://{LOCAL}",
            f"--listen-peer-urls=http://{LOCAL}",
            *(self.tls.flags() if self.tls else ()),
            *self.flags,
        ]

    def start(self, timeout_s: float = 20.0) -> Server:
        """Start the process and wait until it serves; raises StartError with its output."""
        self.launch()
        ready = self._ready.wait(timeout_s)
        if not ready or not self.address:
            self.kill()
            raise StartError(f"{self.command()} did not get ready:\n{self.text()}")
        return self

    def launch(self) -> None:
        """Start the process without waiting for it."""
        self.address = ""
        self.output.clear()
        self._ready.clear()
        self._process = subprocess.Popen(
            self.command(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **self.env},
        )
        pipe = self._process.stdout
        if pipe is None:
            raise StartError("no output pipe")
        self._drain = threading.Thread(target=self._read, args=(pipe,), daemon=True)
        self._drain.start()

    def _read(self, pipe: IO[bytes]) -> None:
        """Collect the output; tell `start` when the server is ready or has ended."""
        ready = False
        with pipe:
            for line in pipe:
                with self._printed:
                    self.output.append(line)
                    self._printed.notify_all()
                ready = ready or READY.search(line) is not None
                found = ADDRESS.search(line)
                if found:
                    self.address = found[1].decode()
                if ready and self.address:
                    self._ready.set()
        self._ready.set()

    def text(self) -> str:
        """What the server has printed so far."""
        return b"".join(self.output).decode(errors="replace")

    def until(self, text: str, timeout_s: float = 10.0) -> str:
        """Wait until it has printed `text`; returns all that it printed."""
        with self._printed:
            if not self._printed.wait_for(lambda: text in self.text(), timeout_s):
                raise StartError(f"waited for {text!r}, got:\n{self.text()}")
        return self.text()

    def wait(self, timeout_s: float = 20.0) -> int:
        """Wait until the process ends by itself; returns its exit code."""
        if self._process is None:
            raise StartError("the server is not running")
        code = self._process.wait(timeout_s)
        self._collect()
        return code

    def stop(self, timeout_s: float = 20.0) -> int:
        """Ask it to end (SIGTERM) and wait; returns the exit code."""
        return self._end(signal.SIGTERM, timeout_s)

    def kill(self) -> None:
        """End it at once (SIGKILL), as a crash would."""
        self._end(signal.SIGKILL, 20.0)

    def _end(self, how: signal.Signals, timeout_s: float) -> int:
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(how)
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired as late:
            self._process.kill()
            self._process.wait()
            self._collect()
            text = f"did not end within {timeout_s} s of {how.name}:\n{self.text()}"
            raise StartError(text) from late
        self._collect()
        return code

    def _collect(self) -> None:
        """Join the reader, so that neither a thread nor a pipe outlives the process."""
        if self._drain is not None:
            self._drain.join()
        self._process = None
        self._drain = None

    def __enter__(self) -> Server:
        return self.start() if self._process is None else self

    def __exit__(self, *exc: object) -> None:
        self.kill()
