"""Failures of the build: compilers, linkers, constraints, toolchains.

Sources: messages of cmd/go, cmd/cgo, cmd/link and internal/platform of Go; gcc, clang, GNU ld.
"""

from __future__ import annotations

from typing import Final

from sampan.gobuild.core.explain.signature import Signature as S

__all__ = ["BUILDING"]

_CC: Final = "Set CC to a compiler for the target (CC='zig cc -target aarch64-linux-musl'), or "

BUILDING: Final = (
    S(
        "c-compiler-missing",
        ("cgo: c compiler", 'exec: "gcc": executable file not found', '"cc": executable file not'),
        99,
        "CGO_ENABLED=1 and no C compiler",
        f"{_CC}install gcc, or set CGO_ENABLED=0 when no C is needed.",
        r"not found",
    ),
    S(
        "host-compiler",
        (
            "no such instruction",
            "unrecognized command-line option",
            "unrecognized command line option",
        ),
        97,
        "the host's gcc compiles for a foreign target",
        f"{_CC}set CGO_ENABLED=0.",
        r"gcc_\w+\.S|no such instruction|-marm|-mthumb|-m64|-m32|-mabi|-arch",
    ),
    S(
        "host-linker",
        (
            "relocations in generic elf",
            "file in wrong format",
            "is incompatible with",
            "file not recognized",
        ),
        95,
        "the linker of the host got objects of another architecture",
        f"{_CC}set CGO_ENABLED=0.",
        r"generic ELF|wrong format|incompatible with|not recognized",
    ),
    S(
        "c-library-missing",
        ("cannot find -l", "skipping incompatible", "unable to find library -l"),
        95,
        "a C library for the target is not there",
        "Install its development package for the target, or drop the cgo dependency.",
    ),
    S(
        "host-compiler",
        ("windows.h: no such file", "'windows.h' file not found"),
        98,
        "the C compiler is the host's and not one for Windows",
        "Set CC to a cross compiler: CC=x86_64-w64-mingw32-gcc, or CC='zig cc -target "
        "x86_64-windows-gnu'; or CGO_ENABLED=0.",
    ),
    S(
        "c-header-missing",
        (".h: no such file or directory", ".h' file not found", ".h: no such file"),
        95,
        "a C header is not there: on alpine gcc comes without libc's",
        "Install musl-dev (alpine), libc6-dev (debian) or the library's -dev package.",
    ),
    S(
        "requires-cgo",
        ("requires cgo to work", "binary was compiled with 'cgo_enabled=0'"),
        99,
        "built with CGO_ENABLED=0, which cross compiling implies, and the driver needs cgo",
        "Set CGO_ENABLED=1 and CC for the target, or use a pure Go driver (modernc.org/sqlite).",
        check="cgo-off",
    ),
    S(
        "constraints-exclude",
        ("build constraints exclude all go files",),
        90,
        "no file of a package is for this target: it needs cgo, or another GOOS or GOARCH",
        "Set CGO_ENABLED=1 with CC, or use a package that has files for the target.",
    ),
    S(
        "external-linking",
        ("requires external (cgo) linking",),
        99,
        "this target or build mode needs a C linker, and cgo is off",
        "Set CGO_ENABLED=1 and CC (for android the NDK's clang).",
    ),
    S(
        "platform-pair",
        ("unsupported goos/goarch pair",),
        99,
        "GOOS and GOARCH do not exist together, or are misspelt (x86_64 is amd64, aarch64 arm64)",
        "See `sampan go targets` for what exists.",
    ),
    S(
        "level-value",
        (
            "invalid goarm",
            "invalid goamd64",
            "invalid go386",
            "invalid goarm64",
            "invalid goppc64",
            "invalid gomips",
            "invalid goriscv64",
        ),
        99,
        "the level does not exist",
        "See `sampan go targets GOOS/GOARCH` for the values.",
    ),
    S(
        "race-needs-cgo",
        ("-race requires cgo",),
        99,
        "the race detector is C code, and cgo is off",
        "Set CGO_ENABLED=1 and have a C compiler, or test without -race.",
    ),
    S(
        "race-unsupported",
        ("-race is not supported on", "-race is only supported on"),
        99,
        "the race detector does not exist for this target",
        "Test with -race on amd64 or arm64.",
    ),
    S(
        "sanitizer-unsupported",
        ("-msan is not supported on", "-asan is not supported on"),
        99,
        "the memory or address sanitizer does not exist for this target",
        "Build with -asan on linux/amd64, arm64, riscv64 or ppc64le, with -msan on linux/amd64.",
    ),
    S(
        "buildmode-unsupported",
        (" not supported on ",),
        98,
        "this target does not have the build mode that was asked for",
        "Leave -buildmode out, or build for a target that has it: `go help buildmode`.",
        r"-buildmode=\S+ not supported on ",
    ),
    S(
        "static-glibc",
        ("in statically linked applications requires at runtime the shared libraries",),
        93,
        "linked statically with glibc, whose name service still loads libraries at run time",
        "Build with CGO_ENABLED=0 or -tags netgo,osusergo, or link statically against musl.",
    ),
    S(
        "go-sum-missing",
        ("missing go.sum entry", "go: updates to go.sum needed", "verifying module: missing"),
        98,
        "go.sum lacks a module that is needed: it was not copied, or a dependency is new",
        "Run `go mod tidy` and commit go.sum; in a Dockerfile COPY go.mod go.sum together.",
    ),
    S(
        "vendor-inconsistent",
        ("inconsistent vendoring in",),
        99,
        "vendor/modules.txt does not fit go.mod",
        "Run `go mod vendor` and commit it, or build with -mod=mod.",
    ),
    S(
        "undefined-by-constraints",
        (": undefined: ",),
        72,
        "a name that the package does not have here: its file may be left out by GOOS, GOARCH, a "
        'build tag, or by CGO_ENABLED=0 when it imports "C"',
        "Look at the file that defines it: its name, //go:build line and imports; build with the "
        "GOOS and CGO_ENABLED it is for, or write one for the others.",
        r"\.go:\d+:\d+: undefined: \w",
    ),
    S(
        "race-address-space",
        ("threadsanitizer: unsupported vma range", "threadsanitizer: unexpected memory mapping"),
        98,
        "the race detector does not work with this kernel's address space (39 or 47 bits, ASLR)",
        "Use a kernel with 48 bits on arm64, or sysctl vm.mmap_rnd_bits=28 on amd64; update Go.",
    ),
    S(
        "plugin-without-cgo",
        ("plugin: not implemented",),
        98,
        "plugins need cgo, which is off, or the system has none",
        "Build with CGO_ENABLED=1 on Linux, macOS or FreeBSD.",
    ),
    S(
        "plugin-version",
        ("plugin was built with a different version of package",),
        99,
        "plugin and program were built with different Go, flags or modules",
        "Build both with the same Go, -trimpath, tags and go.sum.",
    ),
    S(
        "go-too-old",
        (
            "go.mod requires go >=",
            "requires go >= ",
            "note: module requires go",
            "invalid go version",
        ),
        97,
        "the Go of the build is older than go.mod asks for",
        "Use a newer golang image, or GOTOOLCHAIN=auto with access to the module proxy.",
    ),
    S(
        "toolchain-missing",
        ("toolchain not available", "gotoolchain=local"),
        96,
        "Go wants to switch to another toolchain, and cannot get it",
        "Install the Go that go.mod names, or allow GOTOOLCHAIN=auto.",
    ),
    S(
        "import-c",
        (
            "could not import c (no metadata",
            "undefined: c.",
            "c source files not allowed when not using cgo",
        ),
        90,
        "files with C in a build without cgo",
        "Set CGO_ENABLED=1 with a C compiler, or give the C files a build constraint.",
    ),
    S(
        "sdk-missing",
        ("xcrun: error", "ld: framework not found", "library not found for -lsystem"),
        93,
        "cgo for macOS or iOS without Apple's SDK",
        "Build on macOS, give clang an SDK (-isysroot), or set CGO_ENABLED=0 for darwin.",
    ),
    S(
        "disk-full",
        ("no space left on device",),
        95,
        "the disk is full",
        "Free space; GOCACHE and GOTMPDIR may point to another disk. `go clean -cache`.",
    ),
)
