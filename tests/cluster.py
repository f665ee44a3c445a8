"""Three members on loopback with ports that they keep, and their failpoints by HTTP."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import grpc
from tests.servers import SAMPAN, Flavour, Server

from sampan.store.pb import rpc_pb2

__all__ = ["Cluster", "ask", "call", "free_port", "refusal"]


Answer = TypeVar("Answer")


def free_port() -> int:
    """A port that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(port: int, method: str, path: str, body: str = "") -> tuple[int, str]:
    """One HTTP request; returns status and text."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, body)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def call(
    address: str, method: str, request: object, answer: type[Answer], timeout_s: float = 5
) -> Answer | None:
    """One call, `Service/Method`; None when it fails: the server may be gone."""
    with grpc.insecure_channel(address) as channel:
        method_ = channel.unary_unary(
            f"/etcdserverpb.{method}",
            request_serializer=type(request).SerializeToString,  # type: ignore[attr-defined]
            response_deserializer=answer.FromString,  # type: ignore[attr-defined]
        )
        try:
            found: Answer = method_(request, timeout=timeout_s)
        except grpc.RpcError:
            return None
        return found


def refusal(address: str, method: str, request: object) -> str:
    """Why a call fails; empty when it does not."""
    with grpc.insecure_channel(address) as channel:
        method_ = channel.unary_unary(
            f"/etcdserverpb.{method}",
            request_serializer=type(request).SerializeToString,  # type: ignore[attr-defined]
        )
        try:
            method_(request, timeout=5)
        except grpc.RpcError as error:
            return str(error.details())
        return ""


class Cluster:
    """The members as servers, one after the other by number from 0; all start together."""

    def __init__(
        self,
        place: Path,
        flags: Sequence[str] = (),
        flavour: Flavour = SAMPAN,
        *,
        peer_scheme: str = "http",
    ) -> None:
        self.ports = [free_port() for _ in range(3)]
        self.switches = [free_port() for _ in range(3)]
        peers = [f"{peer_scheme}://127.0.0.1:{free_port()}" for _ in range(3)]
        self.founders = ",".join(f"m{number}={url}" for number, url in enumerate(peers))
        self.servers = [
            Server(
                flavour,
                place / f"m{number}",
                [
                    f"--name=m{number}",
                    f"--listen-client-urls=http://127.0.0.1:{self.ports[number]}",
                    f"--advertise-client-urls=http://127.0.0.1:{self.ports[number]}",
                    f"--listen-peer-urls={peers[number]}",
                    f"--initial-advertise-peer-urls={peers[number]}",
                    f"--initial-cluster={self.founders}",
                    *flags,
                ],
                {"SAMPAN_FAILPOINTS_HTTP": f"127.0.0.1:{self.switches[number]}"},
            )
            for number in range(3)
        ]

    @property
    def endpoints(self) -> str:
        """The client addresses of all members."""
        return ",".join(self.address(number) for number in range(3))

    def address(self, number: int) -> str:
        """The client address of a member."""
        return f"127.0.0.1:{self.ports[number]}"

    def leader(self) -> int:
        """The number of the member that leads now; -1 when none says so."""
        for number in range(3):
            found = call(
                self.address(number),
                "Maintenance/Status",
                rpc_pb2.StatusRequest(),
                rpc_pb2.StatusResponse,
                1,
            )
            if found is not None and found.leader == found.header.member_id:
                return number
        return -1

    def fail(self, number: int, name: str, terms: str = "panic") -> None:
        """Switch a failpoint of a member on."""
        status, text = ask(self.switches[number], "PUT", f"/{name}", terms)
        assert status == 200, text

    def __enter__(self) -> Cluster:
        with ExitStack() as stack:
            for server in self.servers:
                stack.callback(server.kill)
                server.launch()
            for server in self.servers:
                server.until("ready to serve client requests", 30)
            stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        for server in self.servers:
            server.kill()
