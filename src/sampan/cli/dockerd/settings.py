"""From flags and `daemon.json` to one checked value that the daemon runs by."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from sampan.base.errors import InvalidError, UnsupportedError
from sampan.base.units import parse_size_bytes
from sampan.cli.dockerd.checks import pool_of, ulimit_of
from sampan.cli.dockerd.configuration import merge, read_document
from sampan.cli.dockerd.flags import FLAGS, data_root, exec_root
from sampan.cli.dockerd.flagset import parse_flags
from sampan.engine.daemon.core.options import (
    AddressPool,
    ContainerDefaults,
    EngineOptions,
    NetworkOptions,
    Ulimit,
)
from sampan.images.core.registryoptions import RegistryOptions

__all__ = ["Settings", "TlsFiles", "load", "reloaded"]

_LEVELS: Final = ("debug", "info", "warn", "error", "fatal")
_ONLY_WARNED: Final = ("feature", "builder", "add-runtime", "default-network-opt")
"""What configuration files of Docker commonly say, and what changes nothing about containers."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Certificate, key and authority; `verify` asks clients for a certificate."""

    cert: str
    key: str
    ca: str
    verify: bool


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that `sampan dockerd` was told."""

    engine: EngineOptions
    hosts: Sequence[str]
    group: str
    pidfile: Path
    config_file: Path
    tls: TlsFiles | None
    plain_tcp: bool
    """The user has said `--tls=false` or `--tlsverify=false`: TCP without certificates is meant."""

    log_level: str
    log_format: str
    validate: bool
    version: bool
    warnings: Sequence[str]


def load(words: Sequence[str]) -> Settings:
    """Return the settings of a command line and the file that it names.

    Raises InvalidError or UnsupportedError with dockerd's words, HelpWanted.
    """
    given = parse_flags(FLAGS, words)
    path = Path(given.get("config-file", "/etc/docker/daemon.json"))
    values: Mapping[str, Any] = given
    if not given.get("version"):
        values = _with_file(given, path)
    return _Values(values, given, path).settings()


def _with_file(given: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError as error:
        if "config-file" not in given:
            return given
        raise InvalidError(_file_error(path, f"open {path}: {_reason(error)}")) from None
    except OSError as error:
        raise InvalidError(_file_error(path, f"open {path}: {_reason(error)}")) from None
    if not text.strip():
        return given
    try:
        return merge(FLAGS, given, read_document(text))
    except InvalidError as error:
        raise InvalidError(_file_error(path, str(error))) from None


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _file_error(path: Path, reason: str) -> str:
    return f"unable to configure the Docker daemon with file {path}: {reason}"


def reloaded(now: EngineOptions, fresh: EngineOptions) -> EngineOptions:
    """Return the options after a reload: what may change in a running daemon comes from `fresh`."""
    registry = fresh.registry
    kept = now.registry
    return replace(
        now,
        debug=fresh.debug,
        labels=fresh.labels,
        live_restore=fresh.live_restore,
        shutdown_timeout_s=fresh.shutdown_timeout_s,
        registry=replace(
            registry,
            http_proxy=kept.http_proxy,
            https_proxy=kept.https_proxy,
            no_proxy=kept.no_proxy,
        ),
    )


class _Values:
    """Typed access to what was said, with defaults."""

    def __init__(
        self, values: Mapping[str, Any], given: Mapping[str, Any], config_file: Path
    ) -> None:
        self._values = {flag.name: flag.default for flag in FLAGS} | dict(values)
        self._said = frozenset(values)
        self._given = frozenset(given)
        self._config_file = config_file
        self._warnings: list[str] = []

    def settings(self) -> Settings:
        """Check and return everything."""
        self._refuse_what_is_later()
        level = self._values["log-level"].lower()
        if level not in _LEVELS:
            raise InvalidError(f"invalid logging level: {self._values['log-level']}")
        engine = self._engine()
        return Settings(
            engine=engine,
            hosts=tuple(self._values["host"]),
            group=self._values["group"],
            pidfile=Path(self._values["pidfile"] or engine.exec_root / "docker.pid").absolute(),
            config_file=self._config_file,
            tls=self._tls(),
            plain_tcp=self._refuses("tls") or self._refuses("tlsverify"),
            log_level="debug" if engine.debug else level,
            log_format=self._values["log-format"],
            validate=self._values["validate"],
            version=self._values["version"],
            warnings=tuple(self._warnings),
        )

    def _refuse_what_is_later(self) -> None:
        for flag in FLAGS:
            value = self._values[flag.name]
            if not flag.later or value == flag.default or not value:
                continue
            if flag.name in _ONLY_WARNED and flag.name not in self._given:
                self._warnings.append(f"{flag.key or flag.name} has no effect yet")
            else:
                raise UnsupportedError(f"--{flag.name} is not supported yet")
        for key in ("swarm-raft-heartbeat-tick", "swarm-raft-election-tick", "builder"):
            if self._values.get(key):
                self._warnings.append(f"{key} has no effect yet")

    def _refuses(self, name: str) -> bool:
        return name in self._said and not self._values[name]

    def _tls(self) -> TlsFiles | None:
        verify = bool(self._values["tlsverify"])
        if not (self._values["tls"] or "tlsverify" in self._said) or self._refuses("tls"):
            return None
        place = Path(os.environ.get("DOCKER_CERT_PATH") or Path.home() / ".docker")
        named = {
            name: self._values[name] or str(place / file)
            for name, file in (
                ("tlscert", "cert.pem"),
                ("tlskey", "key.pem"),
                ("tlscacert", "ca.pem"),
            )
        }
        return TlsFiles(named["tlscert"], named["tlskey"], named["tlscacert"], verify)

    def _engine(self) -> EngineOptions:
        value = self._values
        self._check_exec_options(value["exec-opt"])
        self._check_storage_options(value["storage-opt"])
        timeout_s = value["shutdown-timeout"]
        if timeout_s < -1:
            raise InvalidError(f"invalid shutdown-timeout: {timeout_s}")
        return EngineOptions(
            data_root=Path(value["data-root"] or data_root()).absolute(),
            exec_root=Path(value["exec-root"] or exec_root()).absolute(),
            live_restore=value["live-restore"],
            shutdown_timeout_s=timeout_s,
            debug=value["debug"],
            labels=self._labels(value["label"]),
            storage_driver=value["storage-driver"],
            storage_options=tuple(value["storage-opt"]),
            userns_remap=value["userns-remap"],
            oom_score_adj=value["oom-score-adjust"],
            build_from_host=value["build-from-host"],
            cri_socket=Path(value["cri-socket"]).absolute() if value["cri-socket"] else None,
            network=self._network(),
            registry=self._registry(),
            containers=self._containers(),
        )

    @staticmethod
    def _labels(labels: Sequence[str]) -> tuple[str, ...]:
        found: dict[str, str] = {}
        for label in labels:
            key, _, text = label.partition("=")
            if found.setdefault(key, text) != text:
                raise InvalidError(f"conflict labels for {key}={text} and {key}={found[key]}")
        return tuple(f"{key}={text}" for key, text in found.items())

    @staticmethod
    def _check_exec_options(options: Sequence[str]) -> None:
        for option in options:
            key, equals, value = option.partition("=")
            if not equals:
                raise InvalidError(f"unable to parse key/value option: {option}")
            if key.lower() != "native.cgroupdriver":
                raise InvalidError(f"unknown exec option: {key}")
            if value == "systemd":
                raise UnsupportedError("native.cgroupdriver option systemd is not supported yet")
            if value not in ("", "cgroupfs"):
                raise InvalidError(f"native.cgroupdriver option {value} not supported")

    @staticmethod
    def _check_storage_options(options: Sequence[str]) -> None:
        """Refuse options of storage drivers, but for the one that means nothing any more."""
        for option in options:
            key, equals, _ = option.partition("=")
            if not equals:
                raise InvalidError(f"unable to parse key/value option: {option}")
            if key.lower() != "overlay2.override_kernel_check":
                raise UnsupportedError(f"storage option {key} is not supported yet")

    def _network(self) -> NetworkOptions:
        value = self._values
        if value["bridge"] and value["bip"]:
            raise InvalidError(
                "you specified -b & --bip, mutually exclusive options; please specify only one"
            )
        if not value["iptables"] and not value["icc"]:
            raise InvalidError(
                "you specified --iptables=false with --icc=false; ICC=false uses iptables to "
                "function; please set --icc or --iptables to true"
            )
        if value["mtu"] < 0:
            raise InvalidError(f"invalid default MTU: {value['mtu']}")
        return NetworkOptions(
            bridge=value["bridge"],
            bip=value["bip"],
            bip6=value["bip6"],
            mtu=value["mtu"],
            fixed_cidr=value["fixed-cidr"],
            fixed_cidr_v6=value["fixed-cidr-v6"],
            default_gateway=value["default-gateway"],
            default_gateway_v6=value["default-gateway-v6"],
            icc=value["icc"],
            ip="" if value["ip"] == "0.0.0.0" else value["ip"],
            ip_forward=value["ip-forward"],
            ip_masq=value["ip-masq"],
            iptables=value["iptables"],
            ip6tables=value["ip6tables"],
            ipv6=value["ipv6"],
            userland_proxy=value["userland-proxy"],
            address_pools=self._pools(value["default-address-pool"]),
            dns=tuple(value["dns"]),
            dns_options=tuple(value["dns-opt"]),
            dns_search=tuple(value["dns-search"]),
            host_gateway_ips=tuple(value["host-gateway-ip"]),
        )

    @staticmethod
    def _pools(given: Sequence[Any]) -> tuple[AddressPool, ...]:
        return tuple(pool_of(one) for one in given)

    def _registry(self) -> RegistryOptions:
        value = self._values
        for name in ("max-concurrent-downloads", "max-concurrent-uploads"):
            if value[name] < 0:
                raise InvalidError(f"invalid {name.replace('-', ' ')}: {value[name]}")
        if value["max-download-attempts"] < 1:
            raise InvalidError(f"invalid max download attempts: {value['max-download-attempts']}")
        return RegistryOptions(
            mirrors=tuple(value["registry-mirror"]),
            insecure=tuple(value["insecure-registry"]),
            max_concurrent_downloads=value["max-concurrent-downloads"],
            max_concurrent_uploads=value["max-concurrent-uploads"],
            max_download_attempts=value["max-download-attempts"],
            http_proxy=value["http-proxy"],
            https_proxy=value["https-proxy"],
            no_proxy=value["no-proxy"],
        )

    def _containers(self) -> ContainerDefaults:
        value = self._values
        ipc, cgroupns = value["default-ipc-mode"], value["default-cgroupns-mode"]
        if ipc not in ("shareable", "private"):
            raise InvalidError(
                f'default IPC mode setting ({ipc}) is invalid; use "shareable" or "private"'
            )
        if cgroupns not in ("", "host", "private"):
            raise InvalidError(
                f'default cgroup namespace mode ({cgroupns}) is invalid; use "host" or "private"'
            )
        if value["default-runtime"] not in ("runc", "io.containerd.runc.v2"):
            raise InvalidError(
                f"specified default runtime '{value['default-runtime']}' does not exist"
            )
        return ContainerDefaults(
            log_driver=value["log-driver"],
            log_options=_texts(value["log-opt"]),
            ulimits=_ulimits(value["default-ulimit"]),
            shm_size_bytes=_size(value["default-shm-size"]),
            ipc_mode=ipc,
            cgroupns_mode=cgroupns,
            cgroup_parent=value["cgroup-parent"],
            init=value["init"],
            no_new_privileges=value["no-new-privileges"],
            seccomp_profile=value["seccomp-profile"],
        )


def _texts(options: Mapping[str, Any]) -> dict[str, str]:
    for name, value in options.items():
        if not isinstance(value, str):
            raise InvalidError(f"log-opts: the value of {name} is not a string")
    return dict(options)


def _size(value: str | int) -> int:
    if isinstance(value, int):
        return value
    try:
        return parse_size_bytes(value)
    except ValueError:
        raise InvalidError(f"invalid size: '{value}'") from None


def _ulimits(given: Sequence[str] | Mapping[str, Any]) -> tuple[Ulimit, ...]:
    """Read the flag's texts, or the file's `{"nofile": {"Name": ..., "Soft": 1, "Hard": 2}}`."""
    if not isinstance(given, Mapping):
        return tuple({one.name: one for one in map(ulimit_of, given)}.values())
    found = []
    for name, value in given.items():
        fields = {key.lower(): number for key, number in dict(value).items()}
        soft, hard = fields.get("soft", 0), fields.get("hard", 0)
        found.append(ulimit_of(f"{fields.get('name') or name}={soft}:{hard}"))
    return tuple(found)
