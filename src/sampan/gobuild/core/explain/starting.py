"""Failures of the start: the wrong machine, the wrong libc, the wrong kernel.

Sources: the messages of Linux, glibc, musl, QEMU, macOS, Windows and container runtimes; Go's
runtime (os_linux_arm.go, asm_amd64.s, asm_arm64.s, lfstack).
"""

from __future__ import annotations

from typing import Final

from sampan.gobuild.core.explain.signature import Signature as S

__all__ = ["STARTING"]

_NOT_A_FILE: Final = ("stat ", "open ", "getwd", "chdir", "lstat", "mkdir", "cannot stat")

STARTING: Final = (
    S(
        "exec-format",
        ("exec format error", "cannot execute binary file"),
        95,
        "the program is for another architecture (GOARCH), or the image for another platform",
        "Build with the GOARCH of the machine. In a Dockerfile declare ARG TARGETOS TARGETARCH in "
        "the stage, and write GOOS=$TARGETOS GOARCH=$TARGETARCH go build.",
        check="platform",
    ),
    S(
        "shell-reads-binary",
        (
            "\x7felf",
            "syntax error: word unexpected",
            "syntax error: unexpected",
            'syntax error: ")" unexpected',
            'syntax error: "(" unexpected',
        ),
        90,
        "a shell reads the program as a script: it is for another architecture",
        "Build with the GOARCH of the machine; in a Dockerfile pass TARGETARCH on.",
        r"\x7fELF|line 1: syntax error|: 1: Syntax error",
        check="platform",
    ),
    S(
        "cpu-type-macos",
        ("bad cpu type in executable",),
        97,
        "the program is for another processor than this Mac's",
        "Build with GOARCH=arm64 for Apple silicon, or install Rosetta for amd64.",
    ),
    S(
        "not-win32",
        ("not a valid win32 application", "not compatible with the version of windows"),
        97,
        "the program is for another architecture, or not for Windows",
        "Build with GOOS=windows and the GOARCH of the machine.",
    ),
    S(
        "no-manifest",
        ("no matching manifest for", "no match for platform in manifest"),
        98,
        "the image was not built for this platform",
        "Build it with --platform for all of them (docker buildx build --platform ...).",
    ),
    S(
        "image-platform",
        ("does not match the detected host platform", "was found but does not match the specified"),
        90,
        "the image is for another platform than the host",
        "Build it for the host's platform; check TARGETARCH and --platform in the Dockerfile.",
    ),
    S(
        "missing-loader",
        ("could not open '/lib", "failed to open elf at /lib", "/lib64/ld-linux", "/lib/ld-linux"),
        96,
        "the program needs glibc's loader, which the image does not have: it was linked by cgo",
        "Build with CGO_ENABLED=0, or statically against musl, or use a base image with glibc.",
        r"Could not open|failed to open|no such file|not found",
        check="loader",
    ),
    S(
        "missing-loader",
        ("no such file or directory",),
        75,
        "the file is there, its loader is not: a program linked by cgo on alpine or scratch",
        "Build with CGO_ENABLED=0, or statically against musl, or use a base image with the same "
        "libc. If the file itself is missing, look at COPY and ENTRYPOINT.",
        r"(?:exec|run|start|entrypoint|process caused|sh: \d*:?).*no such file or directory",
        unless=_NOT_A_FILE,
        check="loader",
    ),
    S(
        "missing-loader",
        ("cannot execute: required file not found",),
        97,
        "the file is there, its loader is not: a program linked by cgo on alpine or scratch",
        "Build with CGO_ENABLED=0, or statically against musl, or use a base image with the same "
        "libc. For a script it is the interpreter of its first line.",
        check="loader",
    ),
    S(
        "missing-loader",
        (": not found",),
        72,
        "the file is there, its loader is not: a program linked by cgo on alpine or scratch",
        "Build with CGO_ENABLED=0, or use a base image with the same libc.",
        r"^\S*(?:sh|ash|exec)\S*: (?:line \d+: |\d+: |exec: )*/?[\w./-]*/[\w.-]+: not found\s*$",
        check="loader",
    ),
    S(
        "file-missing",
        ("no such file or directory", "executable file not found"),
        85,
        "the program is not where the image looks for it",
        "Compare ENTRYPOINT with the target of COPY --from, and WORKDIR with -o of go build.",
        r"exec: \"[^\"]+\": stat .*no such file or directory|executable file not found",
    ),
    S(
        "script-line-ends",
        ("^m", "bad interpreter", "\r: no such file"),
        90,
        "a script has Windows line ends or names an interpreter that is not there",
        "Save it with LF (git: *.sh text eol=lf), and use an interpreter of the image.",
        r"bad interpreter|\^M",
    ),
    S(
        "glibc-version",
        ("glibc_",),
        98,
        "built on a newer glibc than it runs on",
        "Build on an older distribution (golang:...-bookworm), with zig cc -target ...-gnu.2.17, "
        "or with CGO_ENABLED=0.",
        r"GLIBC_[\d.]+.? not found",
        check="glibc",
    ),
    S(
        "musl-relocation",
        ("error relocating",),
        96,
        "a program for glibc on musl (alpine)",
        "Build with CGO_ENABLED=0, or in an alpine image, or run it on a base image with glibc.",
        r"symbol not found",
        check="loader",
    ),
    S(
        "library-missing",
        ("error while loading shared libraries", "error loading shared library", "image not found"),
        96,
        "a shared library that cgo code needs is not in the image",
        "Install the library's package in the last stage, or link it statically.",
        check="libraries",
    ),
    S(
        "kernel-too-old",
        ("fatal: kernel too old", "epollcreate failed with 38", "epoll_create1 failed with 38"),
        97,
        "the kernel is older than the libc or Go need",
        "See `sampan go targets` for the oldest kernel; use an older Go or a newer kernel.",
    ),
    S(
        "page-size",
        ("not page-aligned", "not properly aligned", "unsupported system page size"),
        96,
        "the kernel has larger pages than the program is aligned to (16 or 64 KiB on arm64)",
        "Do not pass -R or -z max-page-size to the linker, do not pack with UPX; build C libraries "
        "with -z max-page-size=65536.",
        r"ELF load command|page size",
        check="alignment",
    ),
    S(
        "permission",
        ("permission denied",),
        75,
        "the program is not executable, or on a file system mounted noexec",
        "chmod +x (COPY --chmod=755), and look at the mount's options.",
        r"exec.*permission denied|^\S*sh: .*permission denied",
    ),
    S(
        "amd64-level",
        ("can only be run on amd64 processors with v",),
        99,
        "GOAMD64 is above what the processor can do",
        "Build with a lower GOAMD64 (v1 runs everywhere).",
        check="level",
    ),
    S(
        "arm64-lse",
        ("can only run on arm64 processors with lse",),
        99,
        "GOARM64 asks for LSE atomics, which the processor does not have",
        "Build with GOARM64=v8.0.",
        check="level",
    ),
    S(
        "arm-float",
        ("this cpu has no floating point hardware", "this cpu has no vfpv3"),
        99,
        "GOARM is above what the processor's floating point can do",
        "Build with GOARM=5 without floating point, GOARM=6 without VFPv3.",
        check="level",
    ),
    S(
        "illegal-instruction",
        (
            "sigill",
            "illegal instruction",
            "trap invalid opcode",
            "undefined instruction",
            "uncaught target signal 4",
        ),
        80,
        "the code uses instructions that the processor does not have: the level is too high",
        "Lower the level: GOARM=6 or 5 on old ARM boards, GOARM64=v8.0 on Cortex-A53 and A72, "
        "GOAMD64=v1 on old PCs. For C code lower -march.",
        check="level",
    ),
    S(
        "illegal-instruction",
        ("exit code", "exited", "exit status", "status 132"),
        75,
        "ended by SIGILL (132 = 128 + 4): instructions that the processor does not have",
        "Lower the level: GOARM, GOARM64 or GOAMD64; run `sampan go inspect` on the program.",
        r"(?:exit code|exited|status)(?: with code)?:?\s*\(?132\b",
        check="level",
    ),
    S(
        "emulator-crash",
        ("lfstack.push",),
        98,
        "Go's compiler or program runs under QEMU's user emulation, whose address space breaks it",
        "Do not emulate the compiler: FROM --platform=$BUILDPLATFORM and cross-compile.",
    ),
    S(
        "emulator-crash",
        ("uncaught target signal 11", "qemu: uncaught target signal"),
        88,
        "the program crashed under QEMU's user emulation",
        "Build on $BUILDPLATFORM by cross compiling; run the program on a real machine or a newer "
        "QEMU.",
        unless=("signal 4",),
    ),
    S(
        "system-call",
        ("sigsys: bad system call", "bad system call"),
        93,
        "a system call is forbidden by seccomp, or unknown to the kernel",
        "Update the container runtime and libseccomp, or the kernel; on Android use GOOS=android.",
    ),
    S(
        "thread-forbidden",
        ("pthread_create failed: operation not permitted",),
        98,
        "an old container runtime forbids clone3, which a newer glibc uses",
        "Update Docker (20.10.10 and newer) and libseccomp on the host, or use an older image.",
    ),
    S(
        "threads-exhausted",
        (
            "pthread_create failed: resource temporarily unavailable",
            "failed to create new os thread",
            "fatal error: thread exhaustion",
        ),
        96,
        "the limit of processes or threads is reached",
        "Raise --pids-limit or ulimit -u; under QEMU's emulation build natively.",
    ),
)
