"""Kernel settings of the network namespace that the calling thread is in."""

from __future__ import annotations

from pathlib import Path

__all__ = ["bridges_ask", "forward_ipv6", "has_ipv6", "read_setting", "write_setting"]


def write_setting(path: str, value: str) -> bool:
    """Write a setting below /proc/sys/net; False when it is not there."""
    try:
        with open(f"/proc/sys/net/{path}", "w") as file:
            file.write(value)
    except OSError:
        return False
    return True


def read_setting(path: str) -> str:
    """Return a setting below /proc/sys/net, empty without it."""
    try:
        return Path(f"/proc/sys/net/{path}").read_text().strip()
    except OSError:
        return ""


def bridges_ask() -> bool:
    """Tell whether packets within a bridge pass the packet rules (br_netfilter)."""
    return read_setting("bridge/bridge-nf-call-iptables") == "1"


def forward_ipv6() -> None:
    """Let this host forward IPv6, and go on to learn its own routes from routers.

    A host that forwards does not listen to router advertisements unless it is told to (2).
    """
    if read_setting("ipv6/conf/all/forwarding") == "1":
        return
    for path in Path("/proc/sys/net/ipv6/conf").glob("*/accept_ra"):
        device = path.parent.name
        name = f"ipv6/conf/{device}/accept_ra"
        if device not in ("all", "default") and read_setting(name) == "1":
            write_setting(name, "2")
    write_setting("ipv6/conf/all/forwarding", "1")


def has_ipv6() -> bool:
    """Tell whether there is IPv6."""
    return read_setting("ipv6/conf/all/disable_ipv6") == "0"
