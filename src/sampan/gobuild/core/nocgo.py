"""What the standard library does differently with CGO_ENABLED=0, and what to do instead.

Source: the package documentation and build constraints of net, os/user, plugin, crypto/x509, time
and runtime/cgo in Go 1.24 to 1.27; `go help build` for -race.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from sampan.base.record import record
from sampan.gobuild.core.gosyntax import built_for
from sampan.gobuild.core.grid import markdown_table
from sampan.gobuild.core.importgraph import GoPackage, Reached, reached_packages

__all__ = ["DIFFERENCES", "Difference", "Unread", "Use", "nocgo_json", "nocgo_text", "uses"]

_TLS: Final = (
    "crypto/tls expvar net/http net/http/cgi net/http/cookiejar net/http/fcgi net/http/httptest "
    "net/http/httptrace net/http/httputil net/http/pprof net/rpc net/rpc/jsonrpc net/smtp"
)
# By package, those of the standard library that are built with it: `go list -deps std`.
_WITHIN: Final[Mapping[str, Sequence[str]]] = {
    "net": f"{_TLS} crypto/x509 log/syslog mime/multipart net/mail net/textproto".split(),
    "crypto/x509": _TLS.split(),
    "os/user": ["archive/tar"],
    # What else is built with these says nothing: almost all programs are.
    **dict.fromkeys(("time", "plugin", "C", "runtime/cgo"), ()),
}
_LOOKED_AT: Final = ("linux", "freebsd", "darwin", "windows")
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
    """A difference, the files of the project that touch it, and how dependencies do.

    A chain leads from the project by packages to the one that the difference is about; there is
    one for every package of others that touches it, the shortest first.
    """

    difference: Difference
    files: tuple[str, ...]
    chains: tuple[tuple[str, ...], ...] = ()


@record
class Unread:
    """Modules whose sources are not there; `complete` is False when a bound of reading was met."""

    modules: tuple[str, ...] = ()
    complete: bool = True


DIFFERENCES: Final = (
    Difference(
        "net",
        ("net",),
        _UNIX,
        "names by libc where nsswitch.conf, resolv.conf or the environment ask for it",
        "names by Go: /etc/hosts and DNS; no nsswitch modules (LDAP, NIS, mDNS, systemd-resolved)",
        "let resolv.conf name a DNS server that knows the names; test with GODEBUG=netdns=go+2",
    ),
    Difference(
        "net",
        ("net",),
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
        ("crypto/x509",),
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


def uses(own: Sequence[GoPackage], load: Callable[[str], GoPackage | None]) -> list[Use]:
    """Return every difference with the project's files and the chains that come to it.

    `own` is the packages of the project, `load` gives those of others, see `reached_packages`.
    """
    reached = {goos: list(reached_packages(own, load, goos)) for goos in _LOOKED_AT}
    return [_use(one, reached) for one in DIFFERENCES]


def _use(one: Difference, reached: Mapping[str, Sequence[Reached]]) -> Use:
    files: set[str] = set()
    chains: dict[str, tuple[str, ...]] = {}
    for goos in _LOOKED_AT:
        if one.systems != "all" and goos not in one.systems.split(", "):
            continue
        for found in reached[goos]:
            package = found.package
            if package.folder is not None:
                files.update(_touching(package, one, goos))
            elif package.path not in chains:
                last = next(filter(None, (_last(n, one) for n in package.imports(goos))), ())
                if last:
                    chains[package.path] = (*found.chain, *last)
    return Use(one, tuple(sorted(files)), tuple(sorted(chains.values(), key=lambda c: (len(c), c))))


def _touching(package: GoPackage, one: Difference, goos: str) -> Iterator[str]:
    for file in package.files:
        if built_for(file, goos) and any(_last(name, one) for name in file.imports):
            yield f"{package.folder}/{file.name}" if package.folder else file.name


def _last(imported: str, one: Difference) -> tuple[str, ...]:
    """The end of a chain: an import and what the difference is about, if it comes to it."""
    if imported in one.touched_by:
        return (imported,)
    return next(((imported, name) for name in one.touched_by if imported in _WITHIN[name]), ())


def _touched(one: Use, paragraphs: bool) -> str:
    if not one.difference.touched_by:
        return "every program"
    parts = []
    if one.files:
        more = f" and {len(one.files) - 3} more" if len(one.files) > 3 else ""
        parts.append(f"{', '.join(one.files[:3])}{more}")
    if one.chains:
        others = len(one.chains) - 1
        more = f" and {others} more package{'s' if others > 1 else ''}" if others else ""
        parts.append(f"{' -> '.join(one.chains[0])}{more}")
    return ("\n" if paragraphs else "; ").join(parts) or "no"


def nocgo_text(found: Sequence[Use], unread: Unread, markdown: bool) -> str:
    """Return the differences for people."""
    names = ("package", "systems", "with cgo", "CGO_ENABLED=0", "alternative", "this project")
    lines = [
        (
            one.difference.package,
            one.difference.systems,
            one.difference.with_cgo,
            one.difference.without,
            one.difference.alternative,
            _touched(one, not markdown),
        )
        for one in found
    ]
    notes = _notes(unread)
    if markdown:
        return "\n\n".join([markdown_table(names, lines), *notes])
    blocks = []
    for line in lines:
        width = max(len(name) for name in names[2:])
        rest = zip(names[2:], line[2:], strict=True)
        body = "\n".join(
            f"  {name:<{width}}  " + value.replace("\n", f"\n  {'':<{width}}  ")
            for name, value in rest
        )
        blocks.append(f"{line[0]} ({line[1]})\n{body}")
    return "\n\n".join([*blocks, *notes])


def _notes(unread: Unread) -> list[str]:
    notes = []
    if unread.modules:
        names = ", ".join(unread.modules[:5]) + (", ..." if len(unread.modules) > 5 else "")
        count = f"{len(unread.modules)} module{'s' if len(unread.modules) > 1 else ''}"
        notes.append(f"not looked into: {count} ({names}), run go mod download")
    if not unread.complete:
        notes.append("not looked into: packages beyond the bounds of files and bytes that are read")
    return notes


def nocgo_json(found: Sequence[Use], unread: Unread) -> str:
    """Return the differences, and what was not looked into, as a JSON object."""
    differences = [
        {
            "package": one.difference.package,
            "systems": one.difference.systems,
            "with_cgo": one.difference.with_cgo,
            "without_cgo": one.difference.without,
            "alternative": one.difference.alternative,
            "files": one.files,
            "chains": one.chains,
        }
        for one in found
    ]
    return json.dumps(
        {
            "differences": differences,
            "not_looked_into": unread.modules,
            "complete": unread.complete,
        },
        indent=1,
    )
