"""Failures while running: what the environment lacks, and what is the program's own fault.

Sources: Go's runtime, net, os/user, time, crypto/x509; the kernel's and kubelet's messages.
"""

from __future__ import annotations

from typing import Final

from sampan.gobuild.core.explain.signature import Signature as S

__all__ = ["RUNNING"]

RUNNING: Final = (
    S(
        "unaligned-atomic",
        ("unaligned 64-bit atomic operation",),
        99,
        "sync/atomic on a 64-bit field that is not aligned to 8 bytes, on a 32-bit target",
        "Use atomic.Int64 or atomic.Uint64, or put the field first in its struct; vet is silent.",
        check="word-size",
    ),
    S(
        "roots-missing",
        ("failed to load system roots", "no such file or directory: ca-cert"),
        98,
        "there are no root certificates: scratch, or an image without ca-certificates",
        "COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/, or install them.",
    ),
    S(
        "roots-missing",
        ("certificate signed by unknown authority",),
        82,
        "the image has no root certificates, or a proxy or private CA signs here",
        "COPY ca-certificates.crt into the last stage, or install ca-certificates; add the private "
        "CA to it, or set SSL_CERT_FILE.",
    ),
    S(
        "clock",
        ("certificate has expired or is not yet valid",),
        90,
        "the clock is wrong (boards without a battery), or the certificate has expired",
        "Set the clock (NTP) before the program starts, or renew the certificate.",
    ),
    S(
        "zones-missing",
        ("unknown time zone",),
        97,
        "there is no time zone database in the image",
        "Build with -tags timetzdata, or COPY /usr/share/zoneinfo, or install tzdata.",
    ),
    S(
        "user-lookup",
        (
            "user: unknown user",
            "user: unknown userid",
            "user: lookup userid",
            "group: unknown group",
        ),
        85,
        "os/user without cgo reads /etc/passwd only, and the user is not there",
        "Add the user to /etc/passwd of the image, or build with cgo for LDAP and the like.",
    ),
    S(
        "user-without-cgo",
        ("requires cgo or $user", "user: current requires cgo", "$home is not defined"),
        92,
        "os/user without cgo needs $USER and $HOME when there is no /etc/passwd",
        "Set USER and HOME in the image, or add /etc/passwd.",
    ),
    S(
        "names-differ",
        ("no such host", "server misbehaving"),
        55,
        "a name is not found: without cgo Go asks DNS itself, not nsswitch (mDNS, LDAP)",
        "Compare GODEBUG=netdns=go+2 with netdns=cgo+2; build with cgo if nsswitch modules matter. "
        "Otherwise the name or the resolver is wrong.",
        r"lookup .*(?:no such host|server misbehaving)",
    ),
    S(
        "crash-in-c",
        ("signal arrived during cgo execution", "signal arrived during external code execution"),
        94,
        "the crash is in C code that cgo called",
        "Debug the C library: same version and libc at build and run time? Compile it with "
        "-fsanitize=address, or get the C stack with gdb.",
    ),
    S(
        "cgo-pointer",
        ("cgo argument has go pointer to", "cgo result is unpinned go pointer"),
        98,
        "a Go pointer within Go memory was passed to C: a fault of the program, on any platform",
        "Pass C memory or runtime.Pinner'ed memory.",
    ),
    S(
        "checkptr",
        ("checkptr: ",),
        96,
        "unsafe pointer arithmetic of the program is wrong; it may work on one architecture only",
        "Repair the conversion that the trace names.",
    ),
    S(
        "bus-error",
        ("sigbus",),
        72,
        "a misaligned access on ARM or MIPS by unsafe code, or a mapped file that became shorter",
        "Look at the first frame of the program: unsafe.Pointer casts, or mmap.",
    ),
    S(
        "nil-dereference",
        ("invalid memory address or nil pointer dereference",),
        88,
        "a nil pointer of the program: not a matter of build settings",
        "Look at the first frame of the program. If only one platform fails, look for errors that "
        "are ignored there (files, users, names).",
    ),
    S(
        "out-of-range",
        ("index out of range", "slice bounds out of range"),
        88,
        "an index of the program is wrong: not a matter of build settings",
        "On 32-bit targets look for int that holds more than 2^31.",
        r"panic: runtime error|runtime error: ",
    ),
    S(
        "deadlock",
        ("all goroutines are asleep - deadlock",),
        92,
        "a deadlock of the program: not a matter of build settings",
        "Read what each goroutine waits for.",
    ),
    S(
        "map-race",
        ("concurrent map ",),
        92,
        "a data race of the program; a processor with a weaker memory order (ARM) shows it sooner",
        "Guard the data with a mutex; test with -race.",
    ),
    S(
        "data-race",
        ("warning: data race",),
        93,
        "the race detector saw two goroutines use the same memory, one of them writing",
        "Guard the data with a mutex or a channel: the report names both places. A processor with "
        "a weaker memory order (ARM) shows such races sooner.",
    ),
    S(
        "nil-map",
        ("assignment to entry in nil map",),
        97,
        "the program writes into a map that was never made: not a matter of build settings",
        "Make the map before the first write: m := map[K]V{}.",
    ),
    S(
        "stack-overflow",
        ("goroutine stack exceeds",),
        95,
        "endless recursion of the program: not a matter of build settings",
        "Look at the frames that repeat. The limit is 250 MB on 32-bit targets, 1 GB on others.",
    ),
    S(
        "out-of-memory",
        ("runtime: out of memory", "cannot allocate memory", "runtime: cannot allocate"),
        85,
        "memory is exhausted: of the machine, the container, or of a 32-bit address space",
        "Raise the limit, set GOMEMLIMIT, or use a 64-bit target.",
        check="word-size",
    ),
    S(
        "oom-killed",
        ("oomkilled", "out of memory: killed process", "exit code", "exited ("),
        82,
        "killed for want of memory (137 = 128 + 9)",
        "Raise the container's limit, and set GOMEMLIMIT below it.",
        r"oomkilled|killed process|(?:exit code|exited):?\s*\(?137\b",
    ),
    S(
        "bad-pointer",
        ("found bad pointer in go heap", "unexpected fault address", "bad pointer in frame"),
        70,
        "memory was damaged: unsafe or C code, an assembly file for the wrong level, or hardware",
        "Test with -race and GODEBUG=cgocheck=1; look for unsafe and cgo in the frames.",
    ),
    S(
        "segmentation-fault",
        ("segfault at", "sigsegv: segmentation violation", "exit code", "exited ("),
        50,
        "a memory fault, which the text does not explain further",
        "Give the whole trace, and the program by --binary.",
        r"segfault|sigsegv|(?:exit code|exited):?\s*\(?139\b",
        unless=("nil pointer",),
    ),
    S(
        "asked-for-dump",
        ("sigquit: quit",),
        75,
        "a dump that somebody asked for (SIGQUIT), or a test that ran out of time",
        "Read what the goroutines wait for; a liveness probe may have killed a hanging program.",
    ),
    S(
        "test-timeout",
        ("panic: test timed out after",),
        92,
        "a test took too long: emulation makes programs ten times slower",
        "Raise -timeout, or test on a real machine.",
    ),
)
