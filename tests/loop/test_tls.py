"""TLS on the server's port: ALPN, client certificates, certificates that change on disk."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from tests.certificates import Authority
from tests.wire.echo_service import EchoServer, serve

from sampan.loop.tls import client_context, server_context

pytestmark = pytest.mark.real
WAIT_S = 20


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def credentials(
    authority: Authority, pair: tuple[Path, Path] | None = None
) -> grpc.ChannelCredentials:
    cert, key = (pair[0].read_bytes(), pair[1].read_bytes()) if pair else (None, None)
    return grpc.ssl_channel_credentials(authority.path.read_bytes(), key, cert)


def echo(server: EchoServer, channel_credentials: grpc.ChannelCredentials) -> bytes:
    with grpc.secure_channel(server.address, channel_credentials) as channel:
        return bytes(channel.unary_unary("/test.Echo/Echo")(b"secret", timeout=WAIT_S))


def served_name(server: EchoServer, authority: Authority) -> str:
    """The common name of the certificate that a new handshake shows."""
    context = client_context(ca=authority.path)
    with socket.create_connection((server.host, server.port), timeout=WAIT_S) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as secure:
            assert secure.selected_alpn_protocol() == "h2"
            encoded = secure.getpeercert(binary_form=True)
    assert encoded is not None
    subject = x509.load_der_x509_certificate(encoded).subject
    return str(subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def test_a_grpc_client_over_tls(authority: Authority) -> None:
    context = server_context(*authority.issue("server", "server"))
    with serve(tls=context) as server:
        assert echo(server, credentials(authority)) == b"secret"
        assert server.peer_name is None


def test_mutual_tls_names_the_client(authority: Authority) -> None:
    pair = authority.issue("server", "server")
    context = server_context(*pair, client_ca=authority.path, require_client_cert=True)
    with serve(tls=context) as server:
        assert echo(server, credentials(authority, authority.issue("alice", "alice"))) == b"secret"
        assert server.peer_name == "alice"


def test_mutual_tls_refuses_a_client_without_certificate(authority: Authority) -> None:
    pair = authority.issue("server", "server")
    context = server_context(*pair, client_ca=authority.path, require_client_cert=True)
    with serve(tls=context) as server:
        with pytest.raises(grpc.RpcError) as caught:
            echo(server, credentials(authority))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_plain_text_on_a_tls_port_harms_nobody(authority: Authority) -> None:
    context = server_context(*authority.issue("server", "server"))
    with serve(tls=context) as server:
        with socket.create_connection((server.host, server.port), timeout=WAIT_S) as plain:
            plain.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0" * 100)
            while plain.recv(1000):
                pass
        assert echo(server, credentials(authority)) == b"secret"


def test_http_1_1_by_alpn(authority: Authority) -> None:
    context = server_context(*authority.issue("server", "server"))
    with serve(tls=context) as server:
        client = ssl.create_default_context(cafile=authority.path)
        client.set_alpn_protocols(["http/1.1"])
        with socket.create_connection((server.host, server.port), timeout=WAIT_S) as plain:
            with client.wrap_socket(plain, server_hostname="localhost") as secure:
                assert secure.selected_alpn_protocol() == "http/1.1"
                secure.sendall(b"GET /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
                answer = b""
                while part := secure.recv(1000):
                    answer += part
        assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"GET /x 0\n")


def test_a_certificate_that_changes_on_disk_is_served(authority: Authority) -> None:
    context = server_context(*authority.issue("before", "server"))
    with serve(tls=context) as server:
        assert served_name(server, authority) == "before"
        authority.issue("after", "server")
        assert served_name(server, authority) == "after"
        assert served_name(server, authority) == "after"


def test_a_broken_new_certificate_keeps_the_old_one(authority: Authority) -> None:
    cert, key = authority.issue("before", "server")
    with serve(tls=server_context(cert, key)) as server:
        cert.write_text("no certificate")
        assert served_name(server, authority) == "before"
        authority.issue("after", "server")
        assert served_name(server, authority) == "after"
