"""The channel over TLS, against a grpcio server that wants a client certificate."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from tests.certificates import Authority
from tests.wire.h2_peer import run
from tests.wire.test_channel import Peer, connected, serving

from sampan.loop.channel import Channel, NotProcessedError
from sampan.loop.tls import client_context
from sampan.wire.grpc.status import Code

pytestmark = pytest.mark.real


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def credentials(authority: Authority) -> grpc.ServerCredentials:
    cert, key = authority.issue("server", "server")
    return grpc.ssl_server_credentials(
        [(key.read_bytes(), cert.read_bytes())],
        root_certificates=authority.path.read_bytes(),
        require_client_auth=True,
    )


def test_calls_go_over_mutual_tls(authority: Authority) -> None:
    async def main() -> None:
        cert, key = authority.issue("client", "client")
        tls = client_context(ca=authority.path, cert=cert, key=key)
        async with serving(Peer(), credentials=credentials(authority)) as target:
            async with connected(target, tls=tls) as channel:
                message = bytes(range(256)) * 1_000
                assert await channel.unary("/t.T/Echo", message) == message
                stream = channel.stream("/t.T/Chat")
                stream.send(b"hello")
                assert await stream.receive() == b"HELLO"

    run(main())


def test_the_name_in_the_certificate_can_be_given(authority: Authority) -> None:
    async def main() -> None:
        cert, key = authority.issue("client", "client")
        tls = client_context(ca=authority.path, cert=cert, key=key)
        async with serving(Peer(), credentials=credentials(authority)) as target:
            async with connected(target, tls=tls, server_name="localhost") as channel:
                assert await channel.unary("/t.T/Echo", b"x") == b"x"
            async with connected(target, tls=tls, server_name="elsewhere") as channel:
                await refused(channel)

    run(main())


def test_an_unknown_authority_and_a_missing_client_certificate_are_no_connection(
    authority: Authority, tmp_path: Path
) -> None:
    async def main() -> None:
        folder = tmp_path / "stranger"
        folder.mkdir()
        stranger = Authority(folder)
        async with serving(Peer(), credentials=credentials(authority)) as target:
            async with connected(target, tls=client_context(ca=stranger.path)) as channel:
                await refused(channel)
            async with connected(target, tls=client_context(ca=authority.path)) as channel:
                await refused(channel)

    run(main())


def test_tls_to_a_plain_port_is_no_connection(authority: Authority) -> None:
    async def main() -> None:
        async with serving(Peer()) as target:
            async with connected(target, tls=client_context(ca=authority.path)) as channel:
                await refused(channel)

    run(main())


async def refused(channel: Channel) -> None:
    with pytest.raises(NotProcessedError) as caught:
        await channel.unary("/t.T/Echo", b"x", timeout_s=5)
    assert caught.value.code is Code.UNAVAILABLE
