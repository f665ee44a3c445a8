"""TLS of the client listeners: from etcd's flags to a context, with a certificate made if asked."""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from sampan.base.errors import SampanError
from sampan.base.nearest import nearest
from sampan.loop.tls import server_context
from sampan.store.shell.config import TlsConfig

__all__ = ["context_for", "openssl_ciphers", "self_signed"]

_VERSIONS: Final = {"TLS1.2": ssl.TLSVersion.TLSv1_2, "TLS1.3": ssl.TLSVersion.TLSv1_3}
_DAYS_PER_YEAR: Final = 365

# IANA's names of the TLS 1.2 suites that are worth offering, and OpenSSL's.
_SUITES: Final = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_RSA_WITH_AES_128_GCM_SHA256": "AES128-GCM-SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384": "AES256-GCM-SHA384",
}


def context_for(config: TlsConfig, directory: Path, hosts: Iterable[str]) -> ssl.SSLContext:
    """Return the context for the settings; a self-signed certificate goes into `directory`.

    `hosts` are the names and addresses that such a certificate stands for. Raises SampanError.
    """
    if config.has_certificate:
        cert, key = Path(config.cert_file), Path(config.key_file)
    else:
        years = config.self_signed_cert_validity_years
        cert, key = self_signed(directory, hosts, years)
    try:
        return server_context(
            cert,
            key,
            client_ca=config.trusted_ca_file or None,
            client_crl=config.client_crl_file or None,
            # As in etcd, an authority to verify against means that a certificate is asked for.
            require_client_cert=config.client_cert_auth or bool(config.trusted_ca_file),
            min_version=_VERSIONS[config.min_version or "TLS1.2"],
            max_version=_VERSIONS[config.max_version] if config.max_version else None,
            ciphers=openssl_ciphers(config.cipher_suites) if config.cipher_suites else None,
        )
    except OSError as error:
        files = f"{cert}, {key}, {config.trusted_ca_file or '(no CA)'}"
        raise SampanError(f"cannot use the TLS files {files}: {error}") from error


def openssl_ciphers(names: Sequence[str]) -> str:
    """Return IANA suite names in OpenSSL's syntax. Raises SampanError for an unknown one."""
    for name in names:
        if name not in _SUITES:
            hint = nearest(name, list(_SUITES))
            meant = f"; did you mean {hint}?" if hint else ""
            raise SampanError(f'--cipher-suites: unexpected TLS cipher suite "{name}"{meant}')
    return ":".join(_SUITES[name] for name in names)


def self_signed(directory: Path, hosts: Iterable[str], years: int) -> tuple[Path, Path]:
    """Return certificate and key files in `directory`, made unless they are there already."""
    cert_file, key_file = directory / "cert.pem", directory / "key.pem"
    if cert_file.exists() and key_file.exists():
        return cert_file, key_file
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    cert, key = _make_certificate(sorted(set(hosts)), years)
    _write_secret(key_file, key)
    _write_secret(cert_file, cert)
    return cert_file, key_file


def _write_secret(path: Path, data: bytes) -> None:
    temporary = path.with_name(path.name + ".tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(fd, "wb") as file:
        file.write(data)
    temporary.rename(path)


def _make_certificate(hosts: Sequence[str], years: int) -> tuple[bytes, bytes]:
    """Return a self-signed certificate for `hosts` and its key, both as PEM."""
    # Here, because a server without it starts faster.
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "etcd")])
    now = datetime.now(UTC)
    names: list[x509.GeneralName] = []
    for host in hosts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=_DAYS_PER_YEAR * years))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
