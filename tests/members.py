"""Three members of a cluster as processes, each in a network namespace of its own around a bridge.

What goes wrong is done to them here: killing, pausing, and cutting the network by packet rules in
the members' own namespaces, both ways or one way.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.netns import NetworkNamespace
from tests.real import require
from tests.servers import Flavour

__all__ = ["Member", "Members"]

RULES = """
table ip cut
delete table ip cut
table ip cut {
  set from { type ipv4_addr; }
  chain input { type filter hook input priority 0; ip saddr @from drop; }
}
"""


@dataclass(slots=True)
class Member:
    """One member: its namespace, its process if it runs, and whom it does not hear."""

    number: int
    flavour: Flavour
    data_dir: Path
    flags: Sequence[str]
    space: NetworkNamespace
    process: subprocess.Popen[bytes] | None = None
    paused: bool = False
    deaf_to: set[int] = field(default_factory=set)

    @property
    def ip(self) -> str:
        """Its address on the bridge."""
        return address(self.number)

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return self.data_dir.with_suffix(".log")

    def start(self) -> None:
        """Start the process; no waiting."""
        if self.process is not None:
            return
        client, peer = f"http://{self.ip}:2379", f"http://{self.ip}:2380"
        command = [
            str(require("nsenter")),
            f"--net={self.space.path}",
            *self.flavour.command,
            *self.flavour.flags,
            f"--name=m{self.number}",
            f"--data-dir={self.data_dir}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            *self.flags,
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def kill(self) -> None:
        """SIGKILL."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()
        self.paused = False

    def pause(self, paused: bool) -> None:
        """Stop it where it stands, or let it go on as if no time had passed."""
        if self.process is not None and self.paused is not paused:
            self.process.send_signal(signal.SIGSTOP if paused else signal.SIGCONT)
            self.paused = paused

    def hear(self, deaf_to: set[int]) -> None:
        """From now on let nothing in from these members."""
        if deaf_to == self.deaf_to:
            return
        self.deaf_to = deaf_to
        addresses = ", ".join(sorted(map(address, deaf_to)))
        more = f"add element ip cut from {{ {addresses} }}\n" if deaf_to else ""
        self.space.run(str(require("nft")), "-f", "-", stdin=(RULES + more).encode())

    @property
    def ended(self) -> bool:
        """True when the process has ended by itself: nobody asked it to."""
        return self.process is not None and self.process.poll() is not None


def address(number: int) -> str:
    return f"10.77.0.{10 + number}"


class Members:
    """The cluster and the namespace in the middle, from which clients reach all members."""

    def __init__(self, flavour: Flavour, place: Path, *flags: str, count: int = 3) -> None:
        self._stack = ExitStack()
        self.hub = self._space()
        self.hub.run(ip(), "link", "add", "bridge", "type", "bridge", "forward_delay", "0")
        self.hub.run(ip(), "address", "add", "10.77.0.1/24", "dev", "bridge")
        self.hub.run(ip(), "link", "set", "bridge", "up")
        urls = ",".join(f"m{n}=http://{address(n)}:2380" for n in range(1, count + 1))
        every = [f"--initial-cluster={urls}", "--initial-cluster-state=new", *flags]
        self.members = [
            Member(n, flavour, place / f"m{n}", every, self._plugged(n))
            for n in range(1, count + 1)
        ]

    def _space(self) -> NetworkNamespace:
        space = NetworkNamespace.make()
        self._stack.callback(space.close)
        return space

    def _plugged(self, number: int) -> NetworkNamespace:
        """A namespace with a cable to the bridge."""
        space, port = self._space(), f"port{number}"
        holder = re.sub(r"\D", "", str(space.path))
        self.hub.run(ip(), "link", "add", port, "type", "veth", "peer", "name", "eth0")
        self.hub.run(ip(), "link", "set", "eth0", "netns", holder)
        self.hub.run(ip(), "link", "set", port, "master", "bridge", "up")
        space.run(ip(), "address", "add", f"{address(number)}/24", "dev", "eth0")
        space.run(ip(), "link", "set", "eth0", "up")
        return space

    @property
    def endpoints(self) -> str:
        """The client addresses of all members."""
        return ",".join(f"{one.ip}:2379" for one in self.members)

    def program(self, *words: str) -> list[str]:
        """The command line of a `sampan` program that runs in the middle."""
        inside = [str(require("nsenter")), f"--net={self.hub.path}"]
        return [*inside, sys.executable, "-m", "sampan.cli.main", *words]

    def heal(self) -> None:
        """All run and hear each other."""
        for one in self.members:
            one.pause(False)
            one.hear(set())
            one.start()

    def __enter__(self) -> Members:
        self.heal()
        return self

    def __exit__(self, *exc: object) -> None:
        for one in self.members:
            one.pause(False)
            one.kill()
        self._stack.close()

    def logs(self, lines: int = 15) -> str:
        """The last words of every member."""
        return "\n".join(
            f"--- m{one.number}\n"
            + "\n".join(one.log.read_text("utf-8", "replace").splitlines()[-lines:])
            for one in self.members
        )


def ip() -> str:
    return str(require("ip"))
