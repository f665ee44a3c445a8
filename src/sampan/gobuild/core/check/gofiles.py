"""What a project's Go sources and go.mod need: cgo, certificates, time zones, names."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from sampan.base.record import record
from sampan.gobuild.core.gosyntax import GoFile, read_head
from sampan.gobuild.core.modfile import ModFile

__all__ = [
    "CGO_MODULES",
    "GoNeeds",
    "GoSource",
    "always_built",
    "read_source",
    "summed",
]

CGO_MODULES: Final[Mapping[str, str]] = {
    "github.com/mattn/go-sqlite3": "use modernc.org/sqlite for a driver without cgo",
    "gorm.io/driver/sqlite": "use github.com/glebarez/sqlite for a driver without cgo",
    "github.com/mutecomm/go-sqlcipher": "",
    "github.com/marcboeker/go-duckdb": "",
    "github.com/confluentinc/confluent-kafka-go": "use github.com/segmentio/kafka-go or franz-go",
    "github.com/h2non/bimg": "",
    "github.com/davidbyttow/govips": "",
    "github.com/godror/godror": "use github.com/sijms/go-ora",
    "github.com/DataDog/zstd": "use github.com/klauspost/compress/zstd",
    "github.com/libgit2/git2go": "use github.com/go-git/go-git",
    "github.com/linxGnu/grocksdb": "use github.com/cockroachdb/pebble",
    "github.com/tecbot/gorocksdb": "use github.com/cockroachdb/pebble",
    "github.com/miekg/pkcs11": "",
    "github.com/seccomp/libseccomp-golang": "",
    "github.com/pebbe/zmq4": "use github.com/go-zeromq/zmq4",
    "github.com/go-gl/glfw": "",
    "github.com/veandco/go-sdl2": "",
    "github.com/webview/webview_go": "",
    "github.com/go-vgo/robotgo": "",
    "github.com/tensorflow/tensorflow": "",
    "gocv.io/x/gocv": "",
    "fyne.io/fyne": "",
}
"""Modules that do not work without cgo, and what does."""
_SYSTEMS: Final = frozenset(
    "aix android darwin dragonfly freebsd illumos ios js netbsd openbsd plan9 solaris wasip1 "
    "windows".split()
)
_USUAL_TAGS: Final = frozenset(
    "cgo linux unix gc 386 amd64 arm arm64 loong64 mips mips64 mips64le mipsle ppc64 ppc64le "
    "riscv64 s390x wasm".split()
)
_TLS_CLIENT: Final = re.compile(
    rb"\bhttp\.(?:Get|Post|PostForm|Head|Client\b|DefaultClient|NewRequest)|\btls\.Dial"
)
_ZONE: Final = re.compile(rb'\btime\.LoadLocation\((?!"(?:UTC|Local)?"\))')


@record
class GoSource:
    """What one file uses; `cgo` is the line of `import "C"`, 0 without."""

    path: str
    cgo: int = 0
    without_cgo: bool = False
    libc_names: bool = False
    tls_client: bool = False
    zones: bool = False
    zones_built_in: bool = False
    roots_built_in: bool = False
    constraint: str = ""
    main: bool = False
    cgo_modules: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """The directory of its package, empty for the root."""
        return self.path.rpartition("/")[0]


@record
class GoNeeds:
    """The sum of the sources and go.mod. `cgo` says why it is needed, empty when it is not."""

    go_version: str = ""
    cgo: str = ""
    cgo_remedy: str = ""
    libc_names: bool = False
    tls_client: bool = False
    zones: bool = False


def read_source(path: str, data: bytes) -> GoSource | None:
    """Return what a Go file uses; None when nothing of interest, or it is a test."""
    if path.endswith("_test.go"):
        return None
    file = read_head(path, data) or GoFile(path, "", ())
    imports = frozenset(file.imports)
    return GoSource(
        path,
        0 if re.search(r"\bignore\b", file.constraint) else file.line_of_c,
        "!cgo" in file.constraint,
        not imports.isdisjoint(("net", "net/http", "os/user")),
        not imports.isdisjoint(("net/http", "crypto/tls"))
        and bool(_TLS_CLIENT.search(data))
        and not _only_plain(data),
        b"LoadLocation" in data and bool(_ZONE.search(data)),
        "time/tzdata" in imports,
        any(one.endswith("x509roots/fallback") for one in imports),
        file.constraint,
        file.package == "main",
        tuple(dict.fromkeys(name for one in file.imports if (name := _cgo_module(one)))),
        file.imports,
    )


@functools.lru_cache(maxsize=10_000)
def _cgo_module(path: str) -> str:
    """Return which of `CGO_MODULES` a module or package belongs to, empty when none."""
    return next((name for name in CGO_MODULES if f"{path}/".startswith(f"{name}/")), "")


def _only_plain(data: bytes) -> bool:
    """Tell whether all addresses that a file names are without TLS, as a health check's are."""
    return b'"http://' in data and b"https" not in data and b"tls." not in data


def summed(
    sources: Iterable[GoSource],
    modules: Sequence[ModFile],
    programs: Collection[str] | None = None,
) -> GoNeeds:
    """Put together what files need, which are built with what `modules` require.

    `programs` are the directories of programs of which not all need be built; by default all.
    """
    listed = list(sources)
    optional = {one.folder for one in listed if one.without_cgo}
    if programs is None:
        programs = {one.folder for one in listed if one.main}
    cgo, remedy = "", ""
    for path in (path for module in modules for path in module.direct):
        known = _cgo_module(path)
        # What only tests import is not in the program.
        imported = any(known in one.cgo_modules and always_built(one, programs) for one in listed)
        if known and (imported or not listed):
            cgo, remedy = f"{path} needs it (go.mod)", CGO_MODULES[known]
            break
    for one in listed:
        if not cgo and one.cgo and one.folder not in optional and always_built(one, programs):
            cgo = f'{one.path}:{one.cgo} has import "C"'
    return GoNeeds(
        next((one.go for one in modules if one.go), ""),
        cgo,
        remedy,
        any(one.libc_names for one in listed),
        any(one.tls_client for one in listed) and not any(one.roots_built_in for one in listed),
        any(one.zones for one in listed) and not any(one.zones_built_in for one in listed),
    )


def always_built(source: GoSource, programs: Collection[str] = ()) -> bool:
    """Tell whether a file is in usual Linux builds: no tag of its own, no other system.

    A program in C beside others (`package main` in one of several folders) is a build of its own.
    """
    if source.main and len(programs) > 1:
        return False
    stem = source.path.rpartition("/")[2].removesuffix(".go").split("_")[1:]
    if any(part in _SYSTEMS for part in stem):
        return False
    words = set(re.findall(r"!?[\w.]+", source.constraint))
    named = {word.lstrip("!") for word in words}
    if any(word not in _USUAL_TAGS and not word.startswith("go1.") for word in named - _SYSTEMS):
        return False
    return not (words & _SYSTEMS) or bool(words & {"linux", "unix"})
