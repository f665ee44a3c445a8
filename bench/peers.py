"""The two servers of a comparison, started alike: etcd and ours, with fsync, on loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bench.raw_client import first_answer_s

__all__ = ["Peer", "Running"]


@dataclass(frozen=True, slots=True)
class Peer:
    """One server program."""

    name: str
    command: tuple[str, ...]

    @classmethod
    def etcd(cls, path: str) -> Peer:
        """A real etcd."""
        return cls("etcd", (path,))

    @classmethod
    def sampan(cls) -> Peer:
        """Ours, as installed beside this Python."""
        return cls("sampan", (str(Path(sys.executable).with_name("sampan")), "etcd"))

    def start(self, data_dir: Path, probe: bytes, timeout_s: float = 120) -> Running:
        """Start it and ask for a Range until it answers."""
        port, peer_port = free_port(), free_port()
        urls = f"http://127.0.0.1:{port}"
        peers = f"http://127.0.0.1:{peer_port}"
        argv = [
            *self.command,
            f"--data-dir={data_dir}",
            f"--listen-client-urls={urls}",
            f"--advertise-client-urls={urls}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
            "--quota-backend-bytes=8589934592",
        ]
        with open(data_dir.with_name(data_dir.name + ".log"), "ab") as log:
            started = time.monotonic()
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=installed()
            )
        try:
            ready_s = first_answer_s(port, probe, started, timeout_s)
        except BaseException:
            process.kill()
            process.wait()
            raise
        return Running(self, process, port, ready_s)

    def version(self) -> str:
        """Which program it is, by its `--version`; ours also tells the API that it reports."""
        done = subprocess.run(
            [*self.command, "--version"], capture_output=True, text=True, check=True
        )
        lines = [line.strip() for line in done.stdout.splitlines()]
        own = [line for line in lines if line.lower().startswith("sampan")]
        return ", ".join([*own, lines[0]])


def installed() -> dict[str, str]:
    """The environment of an installed program: Python may keep the bytecode it has compiled."""
    return {name: v for name, v in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


@dataclass(frozen=True, slots=True)
class Running:
    """A started server; `ready_s` is the time from exec to the first answered request."""

    peer: Peer
    process: subprocess.Popen[bytes]
    port: int
    ready_s: float

    def resident_bytes(self) -> int:
        """Its resident memory once that has settled: the same within 1 % for a second."""
        last, since = 0, time.monotonic()
        deadline = since + 20
        while time.monotonic() < min(since + 1, deadline):
            pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
            now = pages * os.sysconf("SC_PAGE_SIZE")
            if abs(now - last) > last / 100:
                last, since = now, time.monotonic()
            time.sleep(0.05)
        return last

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()


def free_port() -> int:
    """A port that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
