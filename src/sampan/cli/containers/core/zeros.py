"""What Go prints for a field that the daemon's JSON has as null or not at all.

Docker's command line fills templates with values of Go's types, which have a zero; JSON has not.
"""

from __future__ import annotations

__all__ = ["ZEROS", "zero"]

_POINTERS = (
    "Health", "Healthcheck", "StopTimeout", "Init", "OomKillDisable", "PidsLimit",
    "MemorySwappiness", "SizeRw", "SizeRootFs", "UsageData", "IPAMConfig", "ContainerConfig",
)  # fmt: skip
_MAPS = (
    "Labels", "Volumes", "ExposedPorts", "PortBindings", "Ports", "Tmpfs", "Sysctls",
    "Annotations", "StorageOpt", "Options", "DriverOpts", "Containers",
)  # fmt: skip
_LISTS = ("Shell", "OnBuild", "Mounts", "Entrypoint")
_TEXTS = ("StopSignal", "MacAddress", "Runtime", "Isolation", "Author", "Comment", "Variant")

ZEROS: dict[str, str] = {
    **dict.fromkeys(_POINTERS, "<nil>"),
    **dict.fromkeys(_MAPS, "map[]"),
    **dict.fromkeys(_LISTS, "[]"),
    **dict.fromkeys(_TEXTS, ""),
}
"""The fields that may be left out, and how their zero is printed."""


def zero(name: str) -> str:
    """Return how a null field is printed: most of what can be null is a list."""
    return ZEROS.get(name, "[]")
