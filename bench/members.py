"""Three members of one server program on loopback: killed, and started again."""

from __future__ import annotations

import statistics
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from bench.peers import Peer, Running, free_port, installed
from bench.raw_client import first_answer_s

from sampan.store.pb import rpc_pb2 as pb

__all__ = ["Members", "NoAnswer"]

STATUS_S = 1.0


class NoAnswer(RuntimeError):
    """The cluster did not get where it should within the time."""


@dataclass(slots=True)
class Members:
    """A cluster; `running` holds the members that run, by number."""

    peer: Peer
    place: Path
    flags: tuple[str, ...] = ()
    ports: list[int] = field(default_factory=lambda: [free_port() for _ in range(3)])
    peer_ports: list[int] = field(default_factory=lambda: [free_port() for _ in range(3)])
    running: dict[int, Running] = field(default_factory=dict)

    def start_all(self, probe: bytes) -> None:
        """Start all three and wait until each answers a linearizable range."""
        started = {number: self._spawn(number) for number in range(3)}
        for number, (process, began) in started.items():
            self.running[number] = Running(self.peer, process, self.ports[number], 0)
            first_answer_s(self.ports[number], probe, began, 60)

    def start(self, number: int) -> Running:
        """Start one again, without waiting."""
        process, _ = self._spawn(number)
        self.running[number] = Running(self.peer, process, self.ports[number], 0)
        return self.running[number]

    def _spawn(self, number: int) -> tuple[subprocess.Popen[bytes], float]:
        urls = [f"http://127.0.0.1:{port}" for port in self.peer_ports]
        client = f"http://127.0.0.1:{self.ports[number]}"
        argv = [
            *self.peer.command,
            f"--name=m{number}",
            f"--data-dir={self.place / f'{self.peer.name}-{number}'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={urls[number]}",
            f"--initial-advertise-peer-urls={urls[number]}",
            "--initial-cluster=" + ",".join(f"m{n}={url}" for n, url in enumerate(urls)),
            "--quota-backend-bytes=8589934592",
            *self.flags,
        ]
        with open(self.place / f"{self.peer.name}-{number}.log", "ab") as log:
            began = time.monotonic()
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=installed()
            )
        return process, began

    def leader(self, timeout_s: float = 30) -> int:
        """The number of the member that leads."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for number, member in self.running.items():
                status = status_of(member.port)
                if status is not None and status.leader == status.header.member_id:
                    return number
        raise NoAnswer(f"{self.peer.name}: no leader within {timeout_s} s")

    def leading(self) -> Running:
        """The leader."""
        return self.running[self.leader()]

    def following(self) -> Running:
        """One that does not lead."""
        leader = self.leader()
        return next(one for number, one in self.running.items() if number != leader)

    def resident_bytes(self) -> float:
        """Memory of a member, the mean of all."""
        return statistics.mean(one.resident_bytes() for one in self.running.values())

    def kill(self, number: int) -> None:
        """kill -9 of one."""
        self.running.pop(number).kill()

    def close(self) -> None:
        """End all."""
        for number in list(self.running):
            self.kill(number)


def status_of(port: int) -> pb.StatusResponse | None:
    """What a member says of itself; None when it says nothing."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(
            "/etcdserverpb.Maintenance/Status",
            request_serializer=pb.StatusRequest.SerializeToString,
            response_deserializer=pb.StatusResponse.FromString,
        )
        try:
            status: pb.StatusResponse = call(pb.StatusRequest(), timeout=STATUS_S)
        except grpc.RpcError:
            return None
        return status
