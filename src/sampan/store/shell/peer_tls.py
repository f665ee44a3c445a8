"""TLS between members: from etcd's --peer-* flags to contexts for both sides."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

from sampan.base.errors import SampanError
from sampan.loop.tls import client_context
from sampan.store.shell.client_tls import context_for, self_signed
from sampan.store.shell.config import EtcdConfig, TlsConfig
from sampan.wire.grpc.service import Peer
from sampan.wire.grpc.status import Code, RpcError

__all__ = ["check_certificate", "peer_client_tls", "peer_server_tls"]


def peer_client_tls(config: EtcdConfig) -> Callable[[], ssl.SSLContext] | None:
    """Return what makes the context for talking to other members; None without TLS flags."""
    tls = config.peer_tls
    if not tls.has_certificate and not tls.auto_tls and not tls.trusted_ca_file:
        return None

    def make() -> ssl.SSLContext:
        own = not tls.has_certificate and tls.auto_tls
        if own:
            cert, key = map(str, self_signed(_directory(config), _hosts(config), _years(config)))
        else:
            cert, key = tls.connect_cert_file or tls.cert_file, tls.connect_key_file or tls.key_file
        try:
            # A certificate that a member made for itself proves nothing: as in etcd,
            # --peer-auto-tls keeps out listeners only.
            verify = not own or bool(tls.trusted_ca_file)
            return client_context(
                ca=tls.trusted_ca_file or None, cert=cert or None, key=key or None, verify=verify
            )
        except OSError as error:
            raise SampanError(f"cannot use the peer TLS files: {error}") from error

    return make


def peer_server_tls(config: EtcdConfig) -> ssl.SSLContext:
    """Return the context for listening to other members. Raises SampanError."""
    return context_for(config.peer_tls, _directory(config), _hosts(config))


def check_certificate(tls: TlsConfig, peer: Peer) -> None:
    """Raise RpcError unless a member's certificate is one that the flags allow."""
    if tls.allowed_names and peer.common_name not in tls.allowed_names:
        raise RpcError(
            Code.PERMISSION_DENIED,
            f"CommonName {peer.common_name!r} of the certificate is not one of those that "
            "--peer-cert-allowed-cn allows",
        )
    if tls.allowed_hostnames and not any(
        _stands_for(name, allowed) for name in peer.host_names for allowed in tls.allowed_hostnames
    ):
        raise RpcError(
            Code.PERMISSION_DENIED,
            f"the certificate, for {', '.join(peer.host_names) or 'no host'}, is not for one of "
            "those that --peer-cert-allowed-hostname allows",
        )


def _stands_for(name: str, allowed: str) -> bool:
    """Tell whether a certificate's name, maybe with a wildcard in front, covers a host."""
    name, allowed = name.lower(), allowed.lower()
    if name.startswith("*."):
        return allowed.partition(".")[2] == name[2:]
    return name == allowed


def _directory(config: EtcdConfig) -> Path:
    return Path(config.directory) / "fixtures" / "peer"


def _hosts(config: EtcdConfig) -> set[str]:
    urls = (*config.listen_peer_urls, *config.initial_advertise_peer_urls)
    return {url.host for url in urls if not url.unix} | {"localhost", "127.0.0.1"}


def _years(config: EtcdConfig) -> int:
    return config.peer_tls.self_signed_cert_validity_years
