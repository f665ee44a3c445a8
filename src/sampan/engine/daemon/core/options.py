"""What a daemon was told by its flags and its configuration file, in one value.

Rooms read the group that concerns them from `engine.options` at the moment of use, so that a reload
(SIGHUP) reaches them: `Engine.reload` puts a new value in place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sampan.images.core.registryoptions import RegistryOptions

__all__ = [
    "AddressPool",
    "ContainerDefaults",
    "EngineOptions",
    "NetworkOptions",
    "Ulimit",
]


@dataclass(frozen=True, slots=True)
class Ulimit:
    """A default limit of containers; -1 is unlimited."""

    name: str
    soft: int
    hard: int


@dataclass(frozen=True, slots=True)
class AddressPool:
    """Where networks get their subnets: `base` is cut into pieces with a prefix of `size` bits."""

    base: str
    size: int


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """Networks: the default bridge, and what holds for all of them. Empty texts mean not given."""

    bridge: str = ""
    bip: str = ""
    bip6: str = ""
    mtu: int = 0
    """0: as the bridge's driver decides, 1500."""

    fixed_cidr: str = ""
    fixed_cidr_v6: str = ""
    default_gateway: str = ""
    default_gateway_v6: str = ""
    icc: bool = True
    ip: str = ""
    """Where published ports listen when the client does not say, every address when empty."""

    ip_forward: bool = True
    ip_masq: bool = True
    iptables: bool = True
    ip6tables: bool = True
    ipv6: bool = False
    userland_proxy: bool = True
    address_pools: Sequence[AddressPool] = ()
    dns: Sequence[str] = ()
    dns_options: Sequence[str] = ()
    dns_search: Sequence[str] = ()
    host_gateway_ips: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ContainerDefaults:
    """What a container gets when the client does not say."""

    log_driver: str = "json-file"
    log_options: Mapping[str, str] = field(default_factory=dict)
    ulimits: Sequence[Ulimit] = ()
    shm_size_bytes: int = 64 << 20
    ipc_mode: str = "private"
    cgroupns_mode: str = ""
    """`host` or `private`; empty: `private` with cgroups of version 2, else `host`."""

    cgroup_parent: str = ""
    init: bool = False
    no_new_privileges: bool = False
    seccomp_profile: str = ""
    """A file, `unconfined`, or empty for the built-in policy."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Where everything is, and how the engine behaves."""

    data_root: Path
    exec_root: Path
    live_restore: bool = False
    shutdown_timeout_s: int = 15
    debug: bool = False
    labels: Sequence[str] = ()
    storage_driver: str = ""
    """Empty: the best one that works at `data_root`."""

    storage_options: Sequence[str] = ()
    userns_remap: str = ""
    """`default`, or a user, or `user:group`, whose subordinate ids containers are mapped to."""

    rootless: bool = False
    """The daemon runs in a user namespace of its own: no cgroups, no bridges."""

    oom_score_adj: int = 0
    build_from_host: bool = False
    """Builds may have stages `FROM host`, which see this machine's files."""

    cri_socket: Path | None = None
    """Where the kubelet's interface listens; None: not served."""

    network: NetworkOptions = field(default_factory=NetworkOptions)
    registry: RegistryOptions = field(default_factory=RegistryOptions)
    containers: ContainerDefaults = field(default_factory=ContainerDefaults)
