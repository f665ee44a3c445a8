"""Produce failures for the Go doctor's corpus: run what fails, and keep its words.

`python scripts/corpus.py` writes tests/gobuild/corpus/made/CAUSE[.VARIANT].log, one failure each: a
first line that says how it was made, then what was printed. It needs Go, gcc, busybox, runc, root,
the emulators that .ci/tools.sh unpacks, and for one failure the module proxy; a failure that cannot
be produced is left as it is.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
CORPUS: Final = ROOT / "tests" / "gobuild" / "corpus"
MADE: Final = CORPUS / "made"
SOURCES: Final = CORPUS / "sources"
TOOLS: Final = ROOT / ".tools" / "bin"
TIMEOUT_S: Final = 180

Recipe = Callable[["Kitchen"], "Dish"]
Dish = tuple[str, str]
"""How it was made, and what was printed."""

HELLO: Final = 'package main\n\nfunc main() { println("hello") }\n'
CGO: Final = """package main

// #include <stdio.h>
// static void f() { puts("c"); }
import "C"

func main() { C.f() }
"""


def source(name: str) -> str:
    """Return a program of corpus/sources."""
    return (SOURCES / f"{name}.go.txt").read_text()


class Kitchen:
    """A directory, a Go, and what they are asked for. Paths are taken out of what is printed."""

    def __init__(self, place: Path) -> None:
        self.place = place
        found = Path(sys.executable).parent / "go"
        self.go = str(found if found.exists() else shutil.which("go"))
        version = subprocess.check_output([self.go, "version"], text=True).split()[2]
        self.version = version.removeprefix("go")

    def program(self, name: str, source: str, gomod: str = "") -> Path:
        """Write a module and return its directory."""
        folder = self.place / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "go.mod").write_text(gomod or f"module example.com/{name}\n\ngo 1.22\n")
        (folder / "main.go").write_text(source)
        return folder

    def run(
        self,
        *words: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        shell: str = "",
    ) -> str:
        """Run a command, or `shell` by bash, and return what it printed on both streams."""
        command = ["bash", "-c", shell] if shell else [str(word) for word in words]
        environment = {**os.environ, "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local", **(env or {})}
        done = subprocess.run(
            command,
            cwd=cwd or self.place,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S,
            check=False,
        )
        text = done.stdout.decode("utf-8", "replace").replace(str(self.place), "/src")
        text = re.sub(r"/src/[\w.-]+/(?=\S*(?:app|\.go))", "/src/", text)
        goroot = subprocess.check_output([self.go, "env", "GOROOT"], text=True).strip()
        return text.replace(goroot, "/usr/local/go")

    def build(self, folder: Path, *flags: str, **env: str) -> str:
        """Build into `app` there."""
        return self.run(self.go, "build", "-o", "app", *flags, ".", cwd=folder, env=env)

    def emulated(self, folder: Path, emulator: str, *words: str) -> str:
        """Run `app` under an emulator of .tools."""
        return self.run(TOOLS / f"qemu-{emulator}-static", *words, "./app", cwd=folder)


def _foreign(kitchen: Kitchen, name: str) -> Path:
    folder = kitchen.program(name, HELLO)
    kitchen.build(folder, CGO_ENABLED="0", GOARCH="arm64")
    return folder


def _exec_format_bash(k: Kitchen) -> Dish:
    folder = _foreign(k, "a")
    return "a linux/arm64 program, run by bash on amd64", k.run(shell=f"{folder}/app")


def _exec_format_python(k: Kitchen) -> Dish:
    folder = _foreign(k, "a")
    script = f"import os; os.execv('{folder}/app', ['app'])"
    return "a linux/arm64 program, started by Python on amd64", k.run("python3", "-c", script)


def _exec_format_runc(k: Kitchen) -> Dish:
    folder = _foreign(k, "a")
    bundle = k.place / "bundle"
    (bundle / "rootfs").mkdir(parents=True, exist_ok=True)
    shutil.copy(folder / "app", bundle / "rootfs" / "app")
    k.run("runc", "spec", cwd=bundle)
    config = (bundle / "config.json").read_text().replace('"sh"', '"/app"')
    (bundle / "config.json").write_text(config.replace('"terminal": true', '"terminal": false'))
    return "a linux/arm64 program in a container of runc", k.run("runc", "run", "c", cwd=bundle)


def _shell_reads_binary_dash(k: Kitchen) -> Dish:
    folder = _foreign(k, "a")
    return "a linux/arm64 program, read by dash", k.run("dash", f"{folder}/app")


def _shell_reads_binary_busybox(k: Kitchen) -> Dish:
    folder = _foreign(k, "a")
    return "a linux/arm64 program, read by busybox", k.run("busybox", "sh", f"{folder}/app")


def _exec_format_windows(k: Kitchen) -> Dish:
    folder = k.program("w", HELLO)
    k.build(folder, CGO_ENABLED="0", GOOS="windows")
    return "a windows/amd64 program, run by bash", k.run(shell=f"{folder}/app")


def _with_loader(k: Kitchen) -> Path:
    folder = k.program("c", CGO)
    flags = "-linkmode=external -extldflags=-Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1"
    k.build(folder, f"-ldflags={flags}", CGO_ENABLED="1")
    return folder


def _missing_loader_bash(k: Kitchen) -> Dish:
    return "a cgo program for musl on glibc, run by bash", k.run(shell=f"{_with_loader(k)}/app")


def _missing_loader_busybox(k: Kitchen) -> Dish:
    app = f"{_with_loader(k)}/app"
    return "a cgo program for musl on glibc, run by busybox", k.run("busybox", "sh", "-c", app)


def _missing_loader_qemu(k: Kitchen) -> Dish:
    folder = k.program("p", HELLO)
    k.build(folder, "-buildmode=pie", CGO_ENABLED="0", GOARCH="arm64")
    return "a linux/arm64 -buildmode=pie program under qemu-user", k.emulated(folder, "aarch64")


def _illegal_instruction_armv6(k: Kitchen) -> Dish:
    folder = k.program("l", HELLO)
    k.build(folder, CGO_ENABLED="0", GOARCH="arm", GOARM="7")
    return "GOARM=7 on an arm1176 (Raspberry Pi Zero)", k.emulated(folder, "arm", "-cpu", "arm1176")


def _illegal_instruction_armv5(k: Kitchen) -> Dish:
    folder = k.program("l", HELLO)
    k.build(folder, CGO_ENABLED="0", GOARCH="arm", GOARM="6")
    return "GOARM=6 on an arm926", k.emulated(folder, "arm", "-cpu", "arm926")


def _illegal_instruction_lse(k: Kitchen) -> Dish:
    folder = k.program("l", HELLO)
    k.build(folder, CGO_ENABLED="0", GOARCH="arm64", GOARM64="v8.1,lse")
    emulated = k.emulated(folder, "aarch64", "-cpu", "cortex-a53")
    return "GOARM64=v8.1,lse on a cortex-a53", emulated


def _amd64_level_v4(k: Kitchen) -> Dish:
    folder = k.program("l", HELLO)
    k.build(folder, CGO_ENABLED="0", GOAMD64="v4")
    return "GOAMD64=v4 on a qemu64", k.emulated(folder, "x86_64", "-cpu", "qemu64")


def _amd64_level_v2(k: Kitchen) -> Dish:
    folder = k.program("l", HELLO)
    k.build(folder, CGO_ENABLED="0", GOAMD64="v2")
    return "GOAMD64=v2 on a qemu64", k.emulated(folder, "x86_64", "-cpu", "qemu64")


def _unaligned_atomic_386(k: Kitchen) -> Dish:
    folder = k.program("u", source("unaligned-atomic"))
    k.build(folder, CGO_ENABLED="0", GOARCH="386")
    return "sync/atomic on an int64 behind an int32, GOARCH=386", k.run("./app", cwd=folder)


def _unaligned_atomic_arm(k: Kitchen) -> Dish:
    folder = k.program("u", source("unaligned-atomic"))
    k.build(folder, CGO_ENABLED="0", GOARCH="arm")
    return "sync/atomic on an int64 behind an int32, GOARCH=arm", k.emulated(folder, "arm")


def _c_compiler_missing(k: Kitchen) -> Dish:
    folder = k.program("c", CGO)
    return "cgo with a CC that is not there", k.build(folder, CGO_ENABLED="1", CC="arm-cc")


def _host_compiler(k: Kitchen) -> Dish:
    folder = k.program("c", CGO)
    return "cgo for arm64 with the host's gcc", k.build(
        folder, CGO_ENABLED="1", GOARCH="arm64", CC="gcc"
    )


def _host_compiler_arm(k: Kitchen) -> Dish:
    folder = k.program("c", CGO)
    return "cgo for arm with the host's gcc", k.build(
        folder, CGO_ENABLED="1", GOARCH="arm", CC="gcc"
    )


def _host_compiler_darwin(k: Kitchen) -> Dish:
    folder = k.program("c", CGO)
    return "cgo for macOS with gcc", k.build(folder, CGO_ENABLED="1", GOOS="darwin", CC="gcc")


def _host_compiler_windows(k: Kitchen) -> Dish:
    folder = k.program("c", CGO)
    return "cgo for Windows with gcc", k.build(folder, CGO_ENABLED="1", GOOS="windows", CC="gcc")


def _c_header_missing(k: Kitchen) -> Dish:
    folder = k.program("h", CGO.replace("stdio.h", "nowhere.h"))
    return "cgo with a header that is not installed", k.build(folder, CGO_ENABLED="1")


def _c_library_missing(k: Kitchen) -> Dish:
    folder = k.program("y", CGO.replace("// #include", "// #cgo LDFLAGS: -lnowhere\n// #include"))
    return "cgo with a library that is not installed", k.build(folder, CGO_ENABLED="1")


def _requires_cgo_sqlite(k: Kitchen) -> Dish:
    gomod = "module example.com/s\n\ngo 1.22\n\nrequire github.com/mattn/go-sqlite3 v1.14.24\n"
    folder = k.program("s", source("requires-cgo"), gomod)
    k.run(k.go, "mod", "tidy", cwd=folder)
    k.build(folder, CGO_ENABLED="0")
    return "go-sqlite3 1.14.24 with CGO_ENABLED=0", k.run("./app", cwd=folder)


def _roots_missing(k: Kitchen) -> Dish:
    folder = k.program("x", source("roots-missing"))
    k.build(folder, CGO_ENABLED="0")
    return "HTTPS without a root that signs the server's certificate", k.run("./app", cwd=folder)


def _zones_missing(k: Kitchen) -> Dish:
    folder = k.program("z", source("zones-missing"))
    k.build(folder, "-trimpath", CGO_ENABLED="0")
    root = k.place / "empty"
    root.mkdir(exist_ok=True)
    shutil.copy(folder / "app", root / "app")
    return "time.LoadLocation in an empty root", k.run("chroot", root, "/app", env={"GOROOT": ""})


def _user_without_cgo(k: Kitchen) -> Dish:
    folder = k.program("n", source("user-without-cgo"))
    k.build(folder, CGO_ENABLED="0")
    root = k.place / "empty"
    root.mkdir(exist_ok=True)
    shutil.copy(folder / "app", root / "app")
    return (
        "os/user without cgo in an empty root, as a user without a name",
        k.run("chroot", "--userspec=4711:4711", root, "/app", env={"USER": "", "HOME": ""}),
    )


def _plugin_without_cgo(k: Kitchen) -> Dish:
    folder = k.program("g", source("plugin"))
    k.build(folder, CGO_ENABLED="0")
    return "plugin.Open with CGO_ENABLED=0", k.run("./app", cwd=folder)


def _plugin_version(k: Kitchen) -> Dish:
    folder = k.program("g", source("plugin"))
    k.build(folder, CGO_ENABLED="1")
    other = k.program(
        "gp",
        HELLO.replace(
            "func main() {", 'import "fmt"\n\nfunc F() { fmt.Println() }\n\nfunc main() {'
        ),
    )
    k.run(
        k.go,
        "build",
        "-trimpath",
        "-buildmode=plugin",
        "-o",
        folder / "p.so",
        ".",
        cwd=other,
        env={"CGO_ENABLED": "1"},
    )
    return "a plugin built with -trimpath by a program without", k.run("./app", cwd=folder)


def _race_needs_cgo(k: Kitchen) -> Dish:
    folder = k.program("r", HELLO)
    return "-race with CGO_ENABLED=0", k.build(folder, "-race", CGO_ENABLED="0")


def _race_unsupported(k: Kitchen) -> Dish:
    folder = k.program("r", HELLO)
    return "-race for linux/arm", k.build(folder, "-race", CGO_ENABLED="1", GOARCH="arm")


def _sanitizer_unsupported(k: Kitchen) -> Dish:
    folder = k.program("r", HELLO)
    return "-msan for linux/arm", k.build(folder, "-msan", CGO_ENABLED="1", GOARCH="arm")


def _buildmode_unsupported(k: Kitchen) -> Dish:
    folder = k.program("r", HELLO)
    return "-buildmode=plugin for Windows", k.build(folder, "-buildmode=plugin", GOOS="windows")


def _constraints_exclude(k: Kitchen) -> Dish:
    folder = k.program("t", "//go:build windows\n\n" + HELLO)
    return "a package for Windows only, built for Linux", k.build(folder, CGO_ENABLED="0")


def _undefined_by_constraints(k: Kitchen) -> Dish:
    source = "package main\n\nfunc main() { answer() }\n"
    folder = k.program("d", source)
    (folder / "answer_cgo.go").write_text(
        CGO.replace("func main() { C.f() }", "func answer() { C.f() }")
    )
    return "a function whose file imports C, with CGO_ENABLED=0", k.build(folder, CGO_ENABLED="0")


def _platform_pair(k: Kitchen) -> Dish:
    folder = k.program("r", HELLO)
    return "GOOS=darwin GOARCH=386", k.build(folder, GOOS="darwin", GOARCH="386")


def _platform_pair_unknown(k: Kitchen) -> Dish:
    folder = k.program("r", HELLO)
    return "GOARCH=x86_64", k.build(folder, GOARCH="x86_64")


def _level_value_arm64(k: Kitchen) -> Dish:
    folder = k.program("r", HELLO)
    return "GOARM64=v8", k.build(folder, GOARCH="arm64", GOARM64="v8")


def _go_too_old(k: Kitchen) -> Dish:
    folder = k.program("o", HELLO, "module example.com/o\n\ngo 1.99\n")
    return "go.mod asks for Go 1.99, GOTOOLCHAIN=local", k.build(folder)


def _toolchain_missing(k: Kitchen) -> Dish:
    folder = k.program("o", HELLO, "module example.com/o\n\ngo 1.99\n")
    env = {"GOTOOLCHAIN": "auto", "GOPROXY": "off", "GOFLAGS": ""}
    return "go.mod asks for Go 1.99, without a proxy", k.run(
        k.go, "build", ".", cwd=folder, env=env
    )


def _go_sum_missing(k: Kitchen) -> Dish:
    gomod = "module example.com/s\n\ngo 1.22\n\nrequire github.com/mattn/go-sqlite3 v1.14.24\n"
    folder = k.program("q", source("requires-cgo"), gomod)
    env = {"GOFLAGS": "-mod=readonly"}
    return "a requirement without its line in go.sum", k.run(
        k.go, "build", ".", cwd=folder, env=env
    )


def _vendor_inconsistent(k: Kitchen) -> Dish:
    gomod = "module example.com/v\n\ngo 1.22\n\nrequire example.com/w v1.0.0\n"
    folder = k.program("v", HELLO, gomod)
    (folder / "vendor").mkdir(exist_ok=True)
    (folder / "vendor" / "modules.txt").write_text("# example.com/w v0.9.0\n## explicit\n")
    env = {"GOFLAGS": ""}
    return "vendor/modules.txt of an older go.mod", k.run(k.go, "build", ".", cwd=folder, env=env)


def _static_glibc(k: Kitchen) -> Dish:
    source = CGO.replace("// static void", "// #include <netdb.h>\n// static void").replace(
        'puts("c");', 'getaddrinfo("a", 0, 0, 0);'
    )
    folder = k.program("k", source)
    flags = "-linkmode=external -extldflags=-static"
    return "getaddrinfo in a program linked statically with glibc", k.build(
        folder, f"-ldflags={flags}", CGO_ENABLED="1"
    )


def _glibc_version(k: Kitchen) -> Dish:
    folder = k.program(
        "i",
        CGO.replace('puts("c");', "extern void newer(); newer();").replace(
            "// #include", "// #cgo LDFLAGS: -L${SRCDIR} -lm99\n// #include"
        ),
    )
    (folder / "version").write_text("GLIBC_2.99 { newer; };\n")
    (folder / "lib.c.txt").write_text("void newer() {}\n")
    soname = "-Wl,-soname,libm.so.6,--version-script=version"
    k.run("gcc", "-shared", "-fPIC", "-x", "c", "lib.c.txt", soname, "-o", "libm99.so", cwd=folder)
    k.build(folder, CGO_ENABLED="1")
    return "a symbol of a glibc that is newer than the machine's", k.run("./app", cwd=folder)


def _library_missing(k: Kitchen) -> Dish:
    folder = k.program(
        "j",
        CGO.replace('puts("c");', "extern void other(); other();").replace(
            "// #include", "// #cgo LDFLAGS: -L${SRCDIR} -lother\n// #include"
        ),
    )
    (folder / "lib.c.txt").write_text("void other() {}\n")
    k.run(
        "gcc",
        "-shared",
        "-fPIC",
        "-x",
        "c",
        "lib.c.txt",
        "-Wl,-soname,libother.so.1",
        "-o",
        "libother.so",
        cwd=folder,
    )
    k.build(folder, CGO_ENABLED="1")
    return "a shared library that is not on the machine", k.run("./app", cwd=folder)


def _permission_mode(k: Kitchen) -> Dish:
    folder = k.program("a", HELLO)
    k.build(folder, CGO_ENABLED="0")
    (folder / "app").chmod(0o644)
    return "a program without its executable bit", k.run(shell=f"{folder}/app")


def _permission_noexec(k: Kitchen) -> Dish:
    folder = k.program("a", HELLO)
    k.build(folder, CGO_ENABLED="0")
    mounted = k.place / "noexec"
    mounted.mkdir(exist_ok=True)
    mount = f"mount -t tmpfs -o noexec tmpfs {mounted}"
    script = f"{mount} && cp {folder}/app {mounted}/app && {mounted}/app"
    return "a program on a file system mounted noexec", k.run("unshare", "-m", "bash", "-c", script)


@dataclass(frozen=True, slots=True)
class Crash:
    """A program of corpus/sources that fails when it runs, after the shell did `limit`."""

    name: str
    how: str
    limit: str = ""
    flags: tuple[str, ...] = ()
    cgo: str = "0"

    def __call__(self, k: Kitchen) -> Dish:
        """Build it, run it, and keep the beginning of what it says."""
        folder = k.program(self.name, source(self.name))
        k.build(folder, *self.flags, CGO_ENABLED=self.cgo)
        return self.how, k.run(shell=f"{self.limit}./app 2>&1 | head -c 6000", cwd=folder)


CRASHES: Final = (
    Crash("nil-dereference", "a nil pointer"),
    Crash("out-of-range", "an index behind the end"),
    Crash("nil-map", "an entry into a nil map"),
    Crash("deadlock", "nobody sends"),
    Crash("stack-overflow", "a recursion without an end"),
    Crash("map-race", "a map written by several goroutines"),
    Crash("out-of-memory", "allocations under ulimit -v", limit="ulimit -v 1000000; "),
    Crash("data-race", "-race finds two writers", flags=("-race",), cgo="1"),
    Crash("asked-for-dump", "SIGQUIT"),
    Crash("bus-error", "a mapped file that was cut"),
    Crash("threads-exhausted", "more threads than debug.SetMaxThreads"),
)

RECIPES: Final[dict[str, Recipe]] = {
    "exec-format.bash": _exec_format_bash,
    "exec-format.python": _exec_format_python,
    "exec-format.runc": _exec_format_runc,
    "exec-format.windows": _exec_format_windows,
    "shell-reads-binary.dash": _shell_reads_binary_dash,
    "shell-reads-binary.busybox": _shell_reads_binary_busybox,
    "missing-loader.bash": _missing_loader_bash,
    "missing-loader.busybox": _missing_loader_busybox,
    "missing-loader.qemu": _missing_loader_qemu,
    "illegal-instruction.armv6": _illegal_instruction_armv6,
    "illegal-instruction.armv5": _illegal_instruction_armv5,
    "illegal-instruction.lse": _illegal_instruction_lse,
    "amd64-level.v4": _amd64_level_v4,
    "amd64-level.v2": _amd64_level_v2,
    "unaligned-atomic.386": _unaligned_atomic_386,
    "unaligned-atomic.arm": _unaligned_atomic_arm,
    "c-compiler-missing": _c_compiler_missing,
    "host-compiler.arm64": _host_compiler,
    "host-compiler.arm": _host_compiler_arm,
    "host-compiler.darwin": _host_compiler_darwin,
    "host-compiler.windows": _host_compiler_windows,
    "c-header-missing": _c_header_missing,
    "c-library-missing": _c_library_missing,
    "requires-cgo.sqlite": _requires_cgo_sqlite,
    "roots-missing": _roots_missing,
    "zones-missing": _zones_missing,
    "user-without-cgo": _user_without_cgo,
    "plugin-without-cgo": _plugin_without_cgo,
    "plugin-version": _plugin_version,
    "race-needs-cgo": _race_needs_cgo,
    "race-unsupported": _race_unsupported,
    "sanitizer-unsupported": _sanitizer_unsupported,
    "buildmode-unsupported": _buildmode_unsupported,
    "constraints-exclude": _constraints_exclude,
    "undefined-by-constraints": _undefined_by_constraints,
    "platform-pair": _platform_pair,
    "platform-pair.unknown": _platform_pair_unknown,
    "level-value.arm64": _level_value_arm64,
    "go-too-old": _go_too_old,
    "toolchain-missing": _toolchain_missing,
    "go-sum-missing": _go_sum_missing,
    "vendor-inconsistent": _vendor_inconsistent,
    "static-glibc": _static_glibc,
    "glibc-version": _glibc_version,
    "library-missing": _library_missing,
    "permission.mode": _permission_mode,
    "permission.noexec": _permission_noexec,
    **{crash.name: crash for crash in CRASHES},
}


def main() -> int:
    """Produce all failures, or those named, and write them."""
    wanted = sys.argv[1:] or list(RECIPES)
    MADE.mkdir(parents=True, exist_ok=True)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="corpus-") as name:
        kitchen = Kitchen(Path(name))
        for case in wanted:
            try:
                how, text = RECIPES[case](kitchen)
            except (OSError, subprocess.SubprocessError) as error:
                sys.stdout.write(f"left as it is: {case}: {error}\n")
                failed += 1
                continue
            head = f"# made with Go {kitchen.version}: {how}\n"
            (MADE / f"{case}.log").write_text(head + text)
            sys.stdout.write(f"{case}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
