"""What the standard library does differently with CGO_ENABLED=0, and what to do instead.

Source: the package documentation and build constraints of net, os/user, plugin, crypto/x509, time
and runtime/cgo in Go 1.24 to 1.27; `go help build` for -race.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Final

from sampan.base.record import record
from sampan.gobuild.core.check.gofiles import GoSource
from sampan.gobuild.core.grid import markdown_table

__all__ = ["DIFFERENCES", "Difference", "Use", "nocgo_json", "nocgo_text", "uses"]

_UNIX: Final = "linux, freebsd, netbsd, openbsd, dragonfly, solaris, aix"


@record
class Difference:
    """One package on some systems: with cgo, without, and the safe alternative."""

    package: str
    touched_by: tuple[str, ...]
    systems: str
    with_cgo: str
    without: str
    alternative: str


@record
class Use:
    """A difference and the files of the project that touch it; none means it does not matter."""

    difference: Difference
    files: tuple[str, ...]


DIFFERENCES: Final = (
    Difference(
        "net",
        ("net", "net/http", "crypto/tls"),
        _UNIX,
        "names by libc where nsswitch.conf, resolv.conf or the environment ask for it",
        "names by Go: /etc/hosts and DNS; no nsswitch modules (LDAP, NIS, mDNS, systemd-resolved)",
        "let resolv.conf name a DNS server that knows the names; test with GODEBUG=netdns=go+2",
    ),
    Difference(
        "net",
        ("net", "net/http", "crypto/tls"),
        "darwin, ios, windows",
        "names by the system",
        "the same: the system is called without C",
        "nothing to do",
    ),
    Difference(
        "os/user",
        ("os/user",),
        _UNIX,
        "users and groups by libc: nsswitch with LDAP and the like",
        "/etc/passwd and /etc/group only; Current falls back to $USER and $HOME",
        "ship /etc/passwd in the image and set USER and HOME; use numeric ids; -tags osusergo "
        "makes both builds alike",
    ),
    Difference(
        "os/user",
        ("os/user",),
        "darwin, ios, windows",
        "users by the system",
        "the same: the system is called without C",
        "nothing to do",
    ),
    Difference(
        "plugin",
        ("plugin",),
        "linux, darwin, freebsd",
        "plugins are loaded by dlopen",
        "Open always fails: plugin: not implemented",
        "processes that speak RPC, or WebAssembly",
    ),
    Difference(
        "crypto/x509",
        ("crypto/x509", "crypto/tls", "net/http"),
        "all",
        "root certificates by files or the system",
        "the same; macOS and Windows ask the system without C",
        "bring the files: scratch has none; SSL_CERT_FILE, or x/crypto/x509roots/fallback",
    ),
    Difference(
        "time",
        ("time",),
        "all",
        "zones by files",
        "the same; only the image matters",
        '-tags timetzdata or import _ "time/tzdata" where there are no files',
    ),
    Difference(
        'runtime/cgo, import "C"',
        ("C", "runtime/cgo"),
        "all",
        "C code is compiled and linked",
        'files with import "C" are left out without a word',
        "a file with //go:build !cgo that does the same in Go, or fails with a clear message",
    ),
    Difference(
        "-race",
        (),
        "linux, darwin, freebsd, windows",
        "the race detector works",
        "go: -race requires cgo (macOS excepted)",
        "test with CGO_ENABLED=1, ship with 0",
    ),
    Difference(
        "linking",
        (),
        "linux, freebsd, netbsd, dragonfly",
        "dynamic when net, os/user or C is used: needs the loader and a libc that is new enough",
        "static: runs on scratch and alpine",
        "nothing to do",
    ),
)


def uses(sources: Iterable[GoSource]) -> list[Use]:
    """Return every difference with the files of a project that import what it is about."""
    listed = list(sources)
    return [
        Use(
            one,
            tuple(source.path for source in listed if set(source.packages) & set(one.touched_by)),
        )
        for one in DIFFERENCES
    ]


def _touched(one: Use) -> str:
    if not one.difference.touched_by:
        return "every program"
    if not one.files:
        return "no"
    more = f" and {len(one.files) - 3} more" if len(one.files) > 3 else ""
    return f"{', '.join(one.files[:3])}{more}"


def nocgo_text(found: Sequence[Use], markdown: bool) -> str:
    """Return the differences for people."""
    names = ("package", "systems", "with cgo", "CGO_ENABLED=0", "alternative", "this project")
    lines = [
        (
            one.difference.package,
            one.difference.systems,
            one.difference.with_cgo,
            one.difference.without,
            one.difference.alternative,
            _touched(one),
        )
        for one in found
    ]
    if markdown:
        return markdown_table(names, lines)
    blocks = []
    for line in lines:
        width = max(len(name) for name in names[2:])
        rest = zip(names[2:], line[2:], strict=True)
        body = "\n".join(f"  {name:<{width}}  {value}" for name, value in rest)
        blocks.append(f"{line[0]} ({line[1]})\n{body}")
    return "\n\n".join(blocks)


def nocgo_json(found: Sequence[Use]) -> str:
    """Return the differences as a JSON array."""
    return json.dumps(
        [
            {
                "package": one.difference.package,
                "systems": one.difference.systems,
                "with_cgo": one.difference.with_cgo,
                "without_cgo": one.difference.without,
                "alternative": one.difference.alternative,
                "files": one.files,
            }
            for one in found
        ],
        indent=1,
    )
