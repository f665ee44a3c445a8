"""etcd's YAML configuration file: keys are flag names, TLS sits in sections of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sampan.cli.etcd_flags import FLAGS, Flag, Kind
from sampan.cli.etcd_values import did_you_mean, parse_value
from sampan.store.shell.config import ConfigError

__all__ = ["read_config_file"]

_CLIENT_SECURITY = {
    "cert-file": "cert-file",
    "key-file": "key-file",
    "client-cert-file": "client-cert-file",
    "client-key-file": "client-key-file",
    "client-cert-auth": "client-cert-auth",
    "client-crl-file": "client-crl-file",
    "trusted-ca-file": "trusted-ca-file",
    "auto-tls": "auto-tls",
    "allowed-hostname": "client-cert-allowed-hostname",
    "allowed-hostnames": "client-cert-allowed-hostname",
}
_PEER_SECURITY = {
    "cert-file": "peer-cert-file",
    "key-file": "peer-key-file",
    "client-cert-file": "peer-client-cert-file",
    "client-key-file": "peer-client-key-file",
    "client-cert-auth": "peer-client-cert-auth",
    "client-crl-file": "peer-crl-file",
    "trusted-ca-file": "peer-trusted-ca-file",
    "auto-tls": "peer-auto-tls",
    "allowed-cn": "peer-cert-allowed-cn",
    "allowed-cns": "peer-cert-allowed-cn",
    "allowed-hostname": "peer-cert-allowed-hostname",
    "allowed-hostnames": "peer-cert-allowed-hostname",
    "skip-client-san-verification": "peer-skip-client-san-verification",
}
_SECTIONS: dict[str, dict[str, str]] = {
    "client-transport-security": _CLIENT_SECURITY,
    "peer-transport-security": _PEER_SECURITY,
    "socket-options": {
        "reuse-port": "socket-reuse-port",
        "reuse-address": "socket-reuse-address",
    },
    "discovery-config": {
        "endpoints": "discovery-endpoints",
        "token": "discovery-token",
    },
}


def read_config_file(path: str, read_file: Callable[[str], str]) -> dict[str, str]:
    """Return the text given for each flag in the file at `path`.

    A duration is a number of nanoseconds, as etcd reads it, or Go's syntax. Raises ConfigError for
    an unreadable file, an unknown key (naming the nearest) and a wrong value.
    """
    import yaml

    try:
        document: Any = yaml.safe_load(read_file(path))
    except OSError as error:
        raise ConfigError(f"cannot read --config-file {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config-file {path} is not YAML: {error}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"--config-file {path} must hold a mapping of flag names to values")
    texts: dict[str, str] = {}
    for key, value in document.items():
        section = _SECTIONS.get(key)
        if section is None:
            if key not in FLAGS or key in ("config-file", "version"):
                hint = did_you_mean(str(key), (*FLAGS, *_SECTIONS), "")
                raise ConfigError(f'{path}: unknown key "{key}"{hint}')
            _put(texts, path, str(key), FLAGS[key], value)
            continue
        if not isinstance(value, dict | None):
            raise ConfigError(f"{path}: {key} must be a mapping")
        for inner, inner_value in (value or {}).items():
            if inner not in section:
                hint = did_you_mean(str(inner), section, "")
                raise ConfigError(f'{path}: unknown key "{key}.{inner}"{hint}')
            _put(texts, path, f"{key}.{inner}", FLAGS[section[inner]], inner_value)
    return texts


def _put(texts: dict[str, str], path: str, key: str, flag: Flag, value: object) -> None:
    """Write a YAML value as the flag's text; a null leaves the default."""
    if value is None or value == "":
        return
    if isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, int) and flag.kind is Kind.DURATION:
        text = f"{value}ns"
    elif isinstance(value, list) and flag.kind in (Kind.LIST, Kind.URLS):
        text = ",".join(map(str, value))
    elif isinstance(value, str | int | float):
        text = str(value)
    else:
        raise ConfigError(f"{path}: {key} must be a {flag.kind.value}")
    try:
        parse_value(flag, text)
    except (ValueError, ConfigError) as error:
        raise ConfigError(f'{path}: invalid value "{text}" for {key}: {error}') from None
    texts[flag.name] = text
