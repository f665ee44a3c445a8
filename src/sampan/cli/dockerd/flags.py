"""Every flag of `sampan dockerd`: dockerd's own names, defaults and help, and two of ours."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from sampan.cli.dockerd.checks import (
    check_address,
    check_host,
    check_insecure_registry,
    check_label,
    check_log_format,
    check_mirror,
    check_pool,
    check_search,
    check_ulimit,
)
from sampan.cli.dockerd.flagset import Flag

__all__ = ["FLAGS", "data_root", "exec_root"]


def data_root() -> str:
    """Return where state is kept unless the user says otherwise."""
    if os.geteuid() == 0:
        return "/var/lib/sampan/engine"
    base = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return str(Path(base) / "sampan" / "engine")


def exec_root() -> str:
    """Return where the state of one run is kept unless the user says otherwise."""
    if os.geteuid() == 0:
        return "/run/sampan/engine"
    base = os.environ.get("XDG_RUNTIME_DIR") or f"/tmp/sampan-{os.geteuid()}"
    return str(Path(base) / "engine")


def _string(name: str, help_: str, default: str = "", *, short: str = "") -> Flag:
    return Flag(name, "string", help_, default, short)


def _bool(name: str, help_: str, default: bool = False, *, short: str = "") -> Flag:
    return Flag(name, "bool", help_, default, short)


def _int(name: str, help_: str, default: int = 0) -> Flag:
    return Flag(name, "int", help_, default)


def _later(name: str, kind: str, help_: str, default: object = None, key: str = "") -> Flag:
    empty = {"bool": False, "int": 0, "list": (), "map": {}}.get(kind, "")
    return Flag(name, kind, help_, empty if default is None else default, key=key, later=True)


_DAEMON: Final = (
    Flag("host", "list", "Daemon socket(s) to connect to", (), "H", "hosts", check_host),
    _string("config-file", "Daemon configuration file", "/etc/docker/daemon.json"),
    _string("data-root", "Root directory of persistent state"),
    _string("exec-root", "Root directory for execution state files"),
    _string("pidfile", "Path to use for daemon PID file", short="p"),
    _string("group", "Group for the unix socket", "docker", short="G"),
    _bool("tls", "Use TLS; implied by --tlsverify"),
    _string("tlscacert", "Trust certs signed only by this CA"),
    _string("tlscert", "Path to TLS certificate file"),
    _string("tlskey", "Path to TLS key file"),
    _bool("tlsverify", "Use TLS and verify the remote"),
    _bool("debug", "Enable debug mode", short="D"),
    _string("log-level", "Set the logging level (debug|info|warn|error|fatal)", "info", short="l"),
    Flag(
        "log-format", "string", "Set the logging format (text|json)", "text", check=check_log_format
    ),
    _bool("raw-logs", "Full timestamps without ANSI coloring"),
    Flag(
        "label", "list", "Set key=value labels to the daemon", (), key="labels", check=check_label
    ),
    _bool("live-restore", "Containers live on while the daemon does not run"),
    _int("shutdown-timeout", "Seconds that containers have to end with the daemon", 15),
    _int("oom-score-adjust", "Set the oom_score_adj for the daemon"),
    _bool("rootless", "Enable rootless mode, which is how it runs without root anyway"),
    _bool("validate", "Validate daemon configuration and exit"),
    _bool("version", "Print version information and quit", short="v"),
    Flag("build-from-host", "bool", "Let builds use this machine's files: FROM host", False),
    Flag("cri-socket", "string", "Serve the kubelet's runtime interface at this path", ""),
)
_STORAGE: Final = (
    _string("storage-driver", "Storage driver to use", short="s"),
    Flag("storage-opt", "list", "Storage driver options", (), key="storage-opts"),
)
_CONTAINERS: Final = (
    _string("log-driver", "Default driver for container logs", "json-file"),
    Flag("log-opt", "map", "Default log driver options for containers", {}, key="log-opts"),
    Flag(
        "default-ulimit",
        "ulimits",
        "Default ulimits for containers",
        {},
        key="default-ulimits",
        check=check_ulimit,
    ),
    Flag("default-shm-size", "bytes", "Default shm size for containers", 64 << 20),
    _string("default-ipc-mode", "Default mode for containers ipc (shareable|private)", "private"),
    _string("default-cgroupns-mode", "Default mode for containers cgroup namespace (host|private)"),
    _string("default-runtime", "Default OCI runtime for containers", "runc"),
    _string("cgroup-parent", "Set parent cgroup for all containers"),
    Flag("exec-opt", "list", "Runtime execution options", (), key="exec-opts"),
    _bool("init", "Run an init in the container to forward signals and reap processes"),
    _bool("no-new-privileges", "Set no-new-privileges by default for new containers"),
    _string("seccomp-profile", "Path to seccomp profile, or unconfined"),
    _string("userns-remap", "User/Group setting for user namespaces"),
)
_NETWORK: Final = (
    _string("bridge", "Attach containers to a network bridge", short="b"),
    _string("bip", "Specify network bridge IP"),
    _string("bip6", "Specify IPv6 address of the bridge"),
    _int("mtu", "Set the MTU of containers' networks"),
    _string("fixed-cidr", "IPv4 subnet for fixed IPs"),
    _string("fixed-cidr-v6", "IPv6 subnet for fixed IPs"),
    Flag(
        "default-gateway",
        "string",
        "Container default gateway IPv4 address",
        "",
        check=check_address,
    ),
    Flag(
        "default-gateway-v6",
        "string",
        "Container default gateway IPv6 address",
        "",
        check=check_address,
    ),
    _bool("icc", "Enable inter-container communication", True),
    Flag("ip", "string", "Default IP when binding container ports", "0.0.0.0", check=check_address),
    _bool("ip-forward", "Enable IP forwarding in system configuration", True),
    _bool("ip-masq", "Enable IP masquerading", True),
    _bool("iptables", "Enable addition of packet filter rules", True),
    _bool("ip6tables", "Enable addition of packet filter rules for IPv6", True),
    _bool("ipv6", "Enable IPv6 networking"),
    _bool("userland-proxy", "Use userland proxy for loopback traffic", True),
    Flag(
        "default-address-pool",
        "pools",
        "Default address pools for node specific local networks",
        (),
        key="default-address-pools",
        check=check_pool,
    ),
    Flag("dns", "list", "DNS server to use", (), check=check_address),
    Flag("dns-opt", "list", "DNS options to use", (), key="dns-opts"),
    Flag("dns-search", "list", "DNS search domains to use", (), check=check_search),
    Flag(
        "host-gateway-ip",
        "list",
        "Address that host-gateway in --add-host stands for",
        (),
        key="host-gateway-ips",
        check=check_address,
    ),
)
_REGISTRY: Final = (
    Flag(
        "registry-mirror",
        "list",
        "Preferred registry mirror",
        (),
        key="registry-mirrors",
        check=check_mirror,
    ),
    Flag(
        "insecure-registry",
        "list",
        "Enable insecure registry communication",
        (),
        key="insecure-registries",
        check=check_insecure_registry,
    ),
    _int("max-concurrent-downloads", "Set the max concurrent downloads", 3),
    _int("max-concurrent-uploads", "Set the max concurrent uploads", 5),
    _int("max-download-attempts", "Set the max download attempts for each pull", 5),
    _string("http-proxy", "HTTP proxy URL to use for outgoing traffic"),
    _string("https-proxy", "HTTPS proxy URL to use for outgoing traffic"),
    _string("no-proxy", "Comma-separated list of hosts that are reached without a proxy"),
)
_LATER: Final = (
    _later("add-runtime", "list", "Register an additional OCI compatible runtime", key="runtimes"),
    _later("allow-direct-routing", "bool", "Allow remote access to published ports by address"),
    _later(
        "authorization-plugin", "list", "Authorization plugins to load", key="authorization-plugins"
    ),
    _later("cdi-spec-dir", "list", "CDI specification directories to use", key="cdi-spec-dirs"),
    _later("containerd", "string", "containerd grpc address"),
    _later("containerd-namespace", "string", "Containerd namespace to use", "moby"),
    _later(
        "containerd-plugins-namespace",
        "string",
        "Containerd namespace for plugins",
        "plugins.moby",
        key="containerd-plugin-namespace",
    ),
    _later("cpu-rt-period", "int", "Limit the CPU real-time period in microseconds"),
    _later("cpu-rt-runtime", "int", "Limit the CPU real-time runtime in microseconds"),
    _later("default-network-opt", "map", "Default network options", key="default-network-opts"),
    _later("experimental", "bool", "Enable experimental features"),
    _later("feature", "map", "Enable feature in the daemon", key="features"),
    _later("init-path", "string", "Path to the docker-init binary"),
    _later("ip-forward-no-drop", "bool", "Do not set the filter-FORWARD policy to DROP"),
    _later("metrics-addr", "string", "Set default address and port to serve the metrics api on"),
    _later("network-control-plane-mtu", "int", "Network Control plane MTU", 1500),
    _later(
        "node-generic-resource",
        "list",
        "Advertise user-defined resource",
        key="node-generic-resources",
    ),
    _later("selinux-enabled", "bool", "Enable selinux support"),
    _later("swarm-default-advertise-addr", "string", "Set default address for swarm"),
    _later("userland-proxy-path", "string", "Path to the userland proxy binary"),
)
FLAGS: Final = (*_DAEMON, *_STORAGE, *_CONTAINERS, *_NETWORK, *_REGISTRY, *_LATER)
"""The whole table."""
