"""TLS between members: from etcd's --peer-* flags to contexts for both sides."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

from sampan.base.errors import SampanError
from sampan.loop.tls import client_context
from sampan.store.shell.client_tls import context_for, self_signed
from sampan.store.shell.config import EtcdConfig

__all__ = ["peer_client_tls", "peer_server_tls"]


def peer_client_tls(config: EtcdConfig) -> Callable[[], ssl.SSLContext] | None:
    """Return what makes the context for talking to other members; None without TLS flags."""
    tls = config.peer_tls
    if not tls.has_certificate and not tls.auto_tls and not tls.trusted_ca_file:
        return None

    def make() -> ssl.SSLContext:
        cert, key = tls.cert_file or None, tls.key_file or None
        if not tls.has_certificate and tls.auto_tls:
            made = self_signed(_directory(config), _hosts(config), _years(config))
            cert, key = map(str, made)
        try:
            # A certificate that a member made for itself proves nothing: as in etcd,
            # --peer-auto-tls keeps out listeners only.
            verify = bool(tls.trusted_ca_file)
            return client_context(ca=tls.trusted_ca_file or None, cert=cert, key=key, verify=verify)
        except OSError as error:
            raise SampanError(f"cannot use the peer TLS files: {error}") from error

    return make


def peer_server_tls(config: EtcdConfig) -> ssl.SSLContext:
    """Return the context for listening to other members. Raises SampanError."""
    return context_for(config.peer_tls, _directory(config), _hosts(config))


def _directory(config: EtcdConfig) -> Path:
    return Path(config.directory) / "fixtures" / "peer"


def _hosts(config: EtcdConfig) -> set[str]:
    urls = (*config.listen_peer_urls, *config.initial_advertise_peer_urls)
    return {url.host for url in urls if not url.unix} | {"localhost", "127.0.0.1"}


def _years(config: EtcdConfig) -> int:
    return config.peer_tls.self_signed_cert_validity_years
