"""The flags of `run` and `create`."""

from __future__ import annotations

from sampan.base.errors import InvalidError
from sampan.cli.containers.core.device import BPS, CGROUP_RULE, GPUS, IOPS, WEIGHT
from sampan.cli.containers.core.endpoint import NETWORK
from sampan.cli.containers.core.environment import ENVIRONMENT
from sampan.cli.containers.core.flags import Flag, Kind
from sampan.cli.containers.core.kinds import BOOL, BYTES, DURATION, INTEGER, LIST, STRING
from sampan.cli.containers.core.limits import RESOURCE_FLAGS, ULIMIT
from sampan.cli.containers.core.mount import MOUNT

__all__ = ["CREATE_FLAGS", "RUN_FLAGS"]

_SYSCTLS = frozenset(
    f"kernel.{name}"
    for name in (
        "msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced",
    )
)  # fmt: skip


def _stream(text: str) -> str:
    low = text.lower()
    if low not in ("stdin", "stdout", "stderr"):
        raise InvalidError("valid streams are STDIN, STDOUT and STDERR")
    return low


def _sysctl(text: str) -> str:
    name = text.partition("=")[0]
    if "=" in text and (name in _SYSCTLS or name.startswith(("net.", "fs.mqueue."))):
        return text
    raise InvalidError(f"sysctl '{text}' is not allowed")


def _extra_host(text: str) -> str:
    at = min((text.find(sign) for sign in "=:" if sign in text), default=-1)
    name, address = (text[:at], text[at + 1 :]) if at > 0 else ("", "")
    if not name:
        raise InvalidError(f'bad format for add-host: "{text}"')
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    if address != "host-gateway" and not _is_address(address):
        raise InvalidError(f'invalid IP address in add-host: "{address}"')
    return f"{name}:{address}"


def _is_address(text: str) -> bool:
    from ipaddress import ip_address

    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _name_server(text: str) -> str:
    if not _is_address(text.strip()):
        raise InvalidError(f"IP address is not correctly formatted: {text}")
    return text.strip()


def _search_domain(text: str) -> str:
    name = text.strip()
    labels = name.removesuffix(".").split(".")
    right = all(label and label.replace("-", "a").replace("_", "a").isalnum() for label in labels)
    if name != "." and (not right or len(name) > 255):
        raise InvalidError(f"{text} is not a valid domain")
    return name


def _link(text: str) -> str:
    if not text:
        raise InvalidError("empty string specified for links")
    if text.count(":") > 1:
        raise InvalidError(f"bad format for links: {text}")
    return text


_ATTACH = Kind("list", _stream, repeated=True)
_SYSCTL = Kind("map", _sysctl, repeated=True)
_HOST = Kind("list", _extra_host, repeated=True)
_DNS = Kind("list", _name_server, repeated=True)
_SEARCH = Kind("list", _search_domain, repeated=True)
_LINK = Kind("list", _link, repeated=True)

_SHARED = (
    Flag("add-host", _HOST, "Add a custom host-to-IP mapping (host:ip)"),
    Flag("annotation", LIST, "Add an annotation (passed through to the OCI runtime)"),
    Flag("attach", _ATTACH, "Attach to STDIN, STDOUT or STDERR", "a"),
    Flag("blkio-weight-device", WEIGHT, "Block IO weight (relative device weight)"),
    Flag("cap-add", LIST, "Add Linux capabilities"),
    Flag("cap-drop", LIST, "Drop Linux capabilities"),
    Flag("cgroup-parent", STRING, "Parent cgroup of the container"),
    Flag("cgroupns", STRING, "Cgroup namespace to use (host|private)"),
    Flag("cidfile", STRING, "Write the container ID to the file"),
    Flag("device", LIST, "Add a host device to the container"),
    Flag("device-cgroup-rule", CGROUP_RULE, "Add a rule to the list of allowed devices"),
    Flag("device-read-bps", BPS, "Limit read rate (bytes per second) from a device"),
    Flag("device-read-iops", IOPS, "Limit read rate (IO per second) from a device"),
    Flag("device-write-bps", BPS, "Limit write rate (bytes per second) to a device"),
    Flag("device-write-iops", IOPS, "Limit write rate (IO per second) to a device"),
    Flag("disable-content-trust", BOOL, "Skip image verification; the only way", default=True),
    Flag("dns", _DNS, "Set custom DNS servers"),
    Flag("dns-opt", LIST, hidden=True, alias="dns-option"),
    Flag("dns-option", LIST, "Set DNS options"),
    Flag("dns-search", _SEARCH, "Set custom DNS search domains"),
    Flag("domainname", STRING, "Container NIS domain name"),
    Flag("entrypoint", STRING, "Overwrite the default ENTRYPOINT of the image"),
    Flag("env", ENVIRONMENT, "Set environment variables", "e"),
    Flag("env-file", LIST, "Read in a file of environment variables"),
    Flag("expose", LIST, "Expose a port or a range of ports"),
    Flag("gpus", GPUS, "GPU devices to add to the container ('all' to pass all GPUs)"),
    Flag("group-add", LIST, "Add additional groups to join"),
    Flag("health-cmd", STRING, "Command to run to check health"),
    Flag("health-interval", DURATION, "Time between running the check"),
    Flag("health-retries", INTEGER, "Consecutive failures needed to report unhealthy"),
    Flag("health-start-interval", DURATION, "Time between checks during the start period"),
    Flag("health-start-period", DURATION, "Time to initialize before retries are counted"),
    Flag("health-timeout", DURATION, "Maximum time to allow one check to run"),
    Flag("hostname", STRING, "Container host name", "h"),
    Flag("init", BOOL, "Run an init that forwards signals and reaps processes"),
    Flag("interactive", BOOL, "Keep STDIN open even if not attached", "i"),
    Flag("ip", STRING, "IPv4 address (e.g., 172.30.100.104)"),
    Flag("ip6", STRING, "IPv6 address (e.g., 2001:db8::33)"),
    Flag("ipc", STRING, "IPC mode to use"),
    Flag("isolation", STRING, "Container isolation technology"),
    Flag("label", LIST, "Set meta data on a container", "l"),
    Flag("label-file", LIST, "Read in a line delimited file of labels"),
    Flag("link", _LINK, "Add link to another container"),
    Flag("link-local-ip", LIST, "Container IPv4/IPv6 link-local addresses"),
    Flag("log-driver", STRING, "Logging driver for the container"),
    Flag("log-opt", LIST, "Log driver options"),
    Flag("mac-address", STRING, "Container MAC address (e.g., 92:d0:c6:0a:29:33)"),
    Flag("memory-swappiness", INTEGER, "Memory swappiness (0 to 100)", default=-1),
    Flag("mount", MOUNT, "Attach a filesystem mount to the container"),
    Flag("name", STRING, "Assign a name to the container"),
    Flag("net", NETWORK, hidden=True, alias="network"),
    Flag("net-alias", LIST, hidden=True, alias="network-alias"),
    Flag("network", NETWORK, "Connect a container to a network"),
    Flag("network-alias", LIST, "Add network-scoped alias for the container"),
    Flag("no-healthcheck", BOOL, "Disable any container-specified HEALTHCHECK"),
    Flag("oom-kill-disable", BOOL, "Disable OOM Killer"),
    Flag("oom-score-adj", INTEGER, "Tune host's OOM preferences (-1000 to 1000)"),
    Flag("pid", STRING, "PID namespace to use"),
    Flag("platform", STRING, "Set platform if server is multi-platform capable"),
    Flag("privileged", BOOL, "Give extended privileges to this container"),
    Flag("publish", LIST, "Publish a container's port(s) to the host", "p"),
    Flag("publish-all", BOOL, "Publish all exposed ports to random ports", "P"),
    Flag("pull", STRING, 'Pull image before running ("always", "missing", "never")', "", "missing"),
    Flag("quiet", BOOL, "Suppress the pull output", "q"),
    Flag("read-only", BOOL, "Mount the container's root filesystem as read only"),
    Flag("rm", BOOL, "Remove the container and its anonymous volumes when it exits"),
    Flag("runtime", STRING, "Runtime to use for this container"),
    Flag("security-opt", LIST, "Security Options"),
    Flag("shm-size", BYTES, "Size of /dev/shm"),
    Flag("stop-signal", STRING, "Signal to stop the container"),
    Flag("stop-timeout", INTEGER, "Timeout (in seconds) to stop a container"),
    Flag("storage-opt", LIST, "Storage driver options for the container"),
    Flag("sysctl", _SYSCTL, "Sysctl options"),
    Flag("tmpfs", LIST, "Mount a tmpfs directory"),
    Flag("tty", BOOL, "Allocate a pseudo-TTY", "t"),
    Flag("ulimit", ULIMIT, "Ulimit options"),
    Flag("use-api-socket", BOOL, "Bind mount the API socket of the daemon"),
    Flag("user", STRING, "Username or UID (format: <name|uid>[:<group|gid>])", "u"),
    Flag("userns", STRING, "User namespace to use"),
    Flag("uts", STRING, "UTS namespace to use"),
    Flag("volume", LIST, "Bind mount a volume", "v"),
    Flag("volume-driver", STRING, "Optional volume driver for the container"),
    Flag("volumes-from", LIST, "Mount volumes from the specified container(s)"),
    Flag("workdir", STRING, "Working directory inside the container", "w"),
)

CREATE_FLAGS = tuple(sorted(_SHARED + RESOURCE_FLAGS, key=lambda flag: flag.name))

RUN_FLAGS = tuple(
    sorted(
        (
            *CREATE_FLAGS,
            Flag("detach", BOOL, "Run in background and print the container ID", "d"),
            Flag("detach-keys", STRING, "Override the key sequence for detaching"),
            Flag("sig-proxy", BOOL, "Proxy received signals to the process", default=True),
        ),
        key=lambda flag: flag.name,
    )
)
