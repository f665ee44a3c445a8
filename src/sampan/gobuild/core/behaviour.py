"""What the standard library does at run time, by operating system and CGO_ENABLED.

Source: the package comments of net, os/user, time and crypto/x509 and their build constraints;
https://go.dev/wiki/MinimumRequirements and the release notes for the minimum systems.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sampan.base.record import record

__all__ = ["Behaviour", "behaviour", "minimum_system"]


@record
class Behaviour:
    """How a program finds names, users, time zones and root certificates, and how it is linked."""

    linking: str
    dns: str
    users: str
    zones: str
    certificates: str


_LIBC_ALWAYS: Final = frozenset({"aix", "darwin", "illumos", "ios", "openbsd", "solaris"})
_ZONEINFO: Final = "$ZONEINFO, /usr/share/zoneinfo, or built in by -tags timetzdata"
_MINIMUM: Final[Mapping[str, str]] = {
    "aix": "AIX 7.2",
    "android": "Android with a kernel of 3.2",
    "dragonfly": "DragonFly BSD 5.9",
    "freebsd": "FreeBSD 12.2",
    "illumos": "illumos, a current one",
    "ios": "iOS 12",
    "js": "a browser or Node.js with WebAssembly",
    "netbsd": "NetBSD 9.0",
    "openbsd": "OpenBSD 7.0",
    "plan9": "Plan 9, 4th edition",
    "solaris": "Solaris 11.4",
    "wasip1": "a runtime of WASI preview 1",
    "windows": "Windows 10 or Server 2016",
}
_LINUX_KERNEL: Final[Mapping[str, str]] = {
    "loong64": "Linux 5.19",
    "riscv64": "Linux 4.15",
    "mips64": "Linux 4.8",
    "mips64le": "Linux 4.8",
}
_MACOS: Final[Mapping[int, str]] = {25: "macOS 12", 26: "macOS 12", 27: "macOS 13"}


def minimum_system(goos: str, goarch: str, release_minor: int) -> str:
    """Return the oldest system that programs of Go 1.`release_minor` for a target run on."""
    if goos == "linux":
        oldest = "Linux 3.2" if release_minor >= 24 else "Linux 2.6.32"
        return _LINUX_KERNEL.get(goarch, oldest)
    if goos == "darwin":
        return _MACOS.get(release_minor, "macOS 11" if release_minor < 25 else "macOS 13")
    return _MINIMUM.get(goos, "unknown")


def behaviour(goos: str, cgo: bool) -> Behaviour:
    """Return what a program for `goos` does, with or without cgo."""
    if goos in _SPECIAL:
        return _SPECIAL[goos]
    if goos in ("darwin", "ios"):
        return Behaviour(
            "dynamic: libSystem, with and without cgo",
            "the system's resolver through libSystem",
            "the system's directory through libSystem",
            _ZONEINFO,
            "the system's keychain" if goos == "darwin" else "the system's trust store",
        )
    if cgo:
        dns = "Go's resolver, or libc's (nsswitch, mDNS, LDAP) where the configuration asks for it"
        users = "libc: nsswitch with LDAP and the like"
    else:
        dns = "Go's resolver: /etc/resolv.conf and /etc/hosts; no nsswitch modules, no mDNS"
        users = "/etc/passwd and /etc/group only"
    if goos in _LIBC_ALWAYS:
        linking = "dynamic: the system's libc, with and without cgo"
    elif cgo:
        linking = "dynamic: libc and its loader, if net, os/user or other cgo code is used"
    else:
        linking = "static"
    zones = _ZONEINFO
    roots = "the bundle or directory of the system (/etc/ssl/certs and the like), SSL_CERT_FILE"
    if goos == "android":
        linking = "dynamic: Bionic" if cgo else "static, its interpreter is /system/bin/linker64"
        zones = "/system/usr/share/zoneinfo/tzdata, or built in by -tags timetzdata"
        roots = "/system/etc/security/cacerts"
    return Behaviour(linking, dns, users, zones, roots)


_SPECIAL: Final[Mapping[str, Behaviour]] = {
    "windows": Behaviour(
        "dynamic: DLLs of the system; cgo adds those of the C compiler",
        "Windows' resolver",
        "Windows' accounts",
        "the registry for Local; others from $ZONEINFO, GOROOT or -tags timetzdata",
        "Windows' certificate store",
    ),
    "plan9": Behaviour("static", "/net/cs and ndb/dns", "/env/user", "/adm/timezone", "ca.pem"),
    "js": Behaviour("WebAssembly", "none: net is simulated", "none", "the host's offset", "none"),
    "wasip1": Behaviour("WebAssembly", "none", "none", "$ZONEINFO or -tags timetzdata", "none"),
}
