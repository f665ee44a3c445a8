"""The system calls that a container runtime needs and Python's library does not have.

Each is declared once; a failure raises OSError with the call's name. The library is loaded without
giving up the interpreter's lock around a call: a forked child is single-threaded, and `clone3` must
return into it with the lock held.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import Any, Final

__all__ = [
    "bpf",
    "capability_sets",
    "clone3",
    "close_range",
    "filesystem_type",
    "fsconfig_create",
    "fsconfig_flag",
    "fsconfig_string",
    "fsmount",
    "fsopen",
    "inotify_changes",
    "ioprio_set",
    "keyctl_join_session",
    "mount",
    "mount_setattr",
    "move_mount",
    "open_tree",
    "openat2",
    "personality",
    "pidfd_open",
    "pidfd_send_signal",
    "pivot_root",
    "prctl",
    "sched_setattr",
    "seccomp_install",
    "set_filesystem_ids",
    "setdomainname",
    "sethostname",
    "setns",
    "umount2",
    "unshare",
    "write_file",
]

_ARM64: Final = os.uname().machine == "aarch64"
_libc = ctypes.PyDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long

_NR_CAPSET: Final = 91 if _ARM64 else 126
_NR_PIVOT_ROOT: Final = 41 if _ARM64 else 155
_NR_SECCOMP: Final = 277 if _ARM64 else 317
_NR_IOPRIO_SET: Final = 30 if _ARM64 else 251
_NR_SCHED_SETATTR: Final = 274 if _ARM64 else 314
_NR_BPF: Final = 280 if _ARM64 else 321
_NR_KEYCTL: Final = 219 if _ARM64 else 250
_NR_PIDFD_SEND_SIGNAL: Final = 424
_NR_OPEN_TREE: Final = 428
_NR_MOVE_MOUNT: Final = 429
_NR_FSOPEN: Final = 430
_NR_FSCONFIG: Final = 431
_NR_FSMOUNT: Final = 432
_NR_PIDFD_OPEN: Final = 434
_NR_CLONE3: Final = 435
_NR_CLOSE_RANGE: Final = 436
_NR_OPENAT2: Final = 437
_NR_MOUNT_SETATTR: Final = 442

AT_FDCWD: Final = -100
_RESOLVE_ATTEMPTS: Final = 1_000
AT_EMPTY_PATH: Final = 0x1000


def _call(name: str, number: int, *arguments: Any) -> int:
    result = int(_syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def _check(name: str, result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def _path(path: str | bytes | None) -> bytes | None:
    return os.fsencode(path) if path is not None else None


def clone3(flags: int, *, cgroup_fd: int = -1) -> tuple[int, int]:
    """Fork into new namespaces (CLONE_NEW*); return (0, -1) in the child, (pid, pidfd) here.

    With `cgroup_fd` the child starts in that version 2 cgroup. The caller must have one thread.
    """
    pidfd = ctypes.c_int(-1)
    flags |= 0x1000  # CLONE_PIDFD
    if cgroup_fd >= 0:
        flags |= 0x200000000  # CLONE_INTO_CGROUP
    arguments = struct.pack(
        "=11Q",
        flags,
        ctypes.addressof(pidfd),
        0,
        0,
        0 if flags & 0x8000 else 17,  # SIGCHLD; with CLONE_PARENT it is the parent's signal
        0,
        0,
        0,
        0,
        0,
        cgroup_fd if cgroup_fd >= 0 else 0,
    )
    pid = _call("clone3", _NR_CLONE3, arguments, ctypes.c_size_t(len(arguments)))
    return (0, -1) if pid == 0 else (pid, pidfd.value)


def unshare(flags: int) -> None:
    """Leave shared namespaces for new ones."""
    _check("unshare", _libc.unshare(ctypes.c_int(flags)))


def setns(fd: int, flags: int) -> None:
    """Join namespaces: of a namespace file, or with a pidfd all that `flags` name at once."""
    _check("setns", _libc.setns(ctypes.c_int(fd), ctypes.c_int(flags)))


def mount(
    source: str | None, target: str, kind: str | None, flags: int, data: str | None = None
) -> None:
    """Mount(2)."""
    result = _libc.mount(
        _path(source), _path(target), _path(kind), ctypes.c_ulong(flags), _path(data)
    )
    _check(f"mount {kind or source or ''} at {target}", result)


def umount2(target: str, flags: int) -> None:
    """Unmount; flags as MNT_DETACH (2)."""
    _check(f"umount {target}", _libc.umount2(_path(target), ctypes.c_int(flags)))


def pivot_root(new_root: str, put_old: str) -> None:
    """Make `new_root` the root of this mount namespace."""
    _call("pivot_root", _NR_PIVOT_ROOT, _path(new_root), _path(put_old))


def fsopen(kind: str) -> int:
    """Begin a mount of a file system; returns its context's descriptor."""
    return _call(f"fsopen {kind}", _NR_FSOPEN, _path(kind), ctypes.c_uint(1))


def fsconfig_string(fd: int, key: str, value: str) -> None:
    """Set one option to a text."""
    _call(
        f"fsconfig {key}={value}",
        _NR_FSCONFIG,
        ctypes.c_int(fd),
        ctypes.c_uint(1),
        _path(key),
        _path(value),
        ctypes.c_int(0),
    )


def fsconfig_flag(fd: int, key: str) -> None:
    """Set one option without a value."""
    _call(
        f"fsconfig {key}",
        _NR_FSCONFIG,
        ctypes.c_int(fd),
        ctypes.c_uint(0),
        _path(key),
        None,
        ctypes.c_int(0),
    )


def fsconfig_create(fd: int) -> None:
    """Make the file system of the options given."""
    _call(
        "fsconfig create",
        _NR_FSCONFIG,
        ctypes.c_int(fd),
        ctypes.c_uint(6),
        None,
        None,
        ctypes.c_int(0),
    )


def fsmount(fd: int, attributes: int) -> int:
    """Return the descriptor of a detached mount (MOUNT_ATTR_*)."""
    return _call(
        "fsmount", _NR_FSMOUNT, ctypes.c_int(fd), ctypes.c_uint(1), ctypes.c_uint(attributes)
    )


def move_mount(from_fd: int, to_fd: int, to_path: str) -> None:
    """Attach a detached mount at a path below `to_fd`, or at `to_fd` itself when it is empty."""
    flags = 0x04 | (0x40 if not to_path else 0)
    _call(
        f"move_mount to {to_path}",
        _NR_MOVE_MOUNT,
        ctypes.c_int(from_fd),
        b"",
        ctypes.c_int(to_fd),
        _path(to_path),
        ctypes.c_uint(flags),
    )


def open_tree(path: str, *, recursive: bool, dir_fd: int = AT_FDCWD) -> int:
    """Return a detached copy of the mount at `path`, with those below it when `recursive`."""
    flags = 1 | os.O_CLOEXEC | (0x8000 if recursive else 0) | (0 if path else AT_EMPTY_PATH)
    return _call(
        f"open_tree {path}", _NR_OPEN_TREE, ctypes.c_int(dir_fd), _path(path), ctypes.c_uint(flags)
    )


def mount_setattr(
    fd: int,
    *,
    set_: int = 0,
    clear: int = 0,
    propagation: int = 0,
    userns_fd: int = 0,
    recursive: bool = False,
) -> None:
    """Change attributes (MOUNT_ATTR_*) and propagation of the mount that `fd` is."""
    attributes = struct.pack("=4Q", set_, clear, propagation, userns_fd)
    _call(
        "mount_setattr",
        _NR_MOUNT_SETATTR,
        ctypes.c_int(fd),
        b"",
        ctypes.c_uint(AT_EMPTY_PATH | (0x8000 if recursive else 0)),
        attributes,
        ctypes.c_size_t(len(attributes)),
    )


def openat2(dir_fd: int, path: str, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """Open with bounds on the resolution (RESOLVE_*)."""
    how = struct.pack("=3Q", flags | os.O_CLOEXEC, mode, resolve)
    number, size = ctypes.c_int(dir_fd), ctypes.c_size_t(len(how))
    attempts_left = _RESOLVE_ATTEMPTS
    while True:
        try:
            return _call(f"openat2 {path}", _NR_OPENAT2, number, _path(path), how, size)
        except BlockingIOError:
            # A rename or a mount somewhere made it unsure where `..` leads; openat2(2) says: again.
            attempts_left -= 1
            if not attempts_left:
                raise
            os.sched_yield()


def pidfd_open(pid: int) -> int:
    """Return a descriptor of the process."""
    return _call("pidfd_open", _NR_PIDFD_OPEN, ctypes.c_int(pid), ctypes.c_uint(0))


def pidfd_send_signal(pidfd: int, signal: int) -> None:
    """Send a signal to exactly that process."""
    _call(
        "pidfd_send_signal",
        _NR_PIDFD_SEND_SIGNAL,
        ctypes.c_int(pidfd),
        ctypes.c_int(signal),
        None,
        ctypes.c_uint(0),
    )


def bpf(command: int, attributes: bytes) -> int:
    """Bpf(2): a command with its part of the union of attributes."""
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    return _call("bpf", _NR_BPF, ctypes.c_int(command), buffer, ctypes.c_uint(len(attributes)))


def close_range(first: int) -> None:
    """Close every descriptor from `first` on."""
    _call(
        "close_range",
        _NR_CLOSE_RANGE,
        ctypes.c_uint(first),
        ctypes.c_uint(0xFFFFFFFF),
        ctypes.c_uint(0),
    )


def filesystem_type(fd: int) -> int:
    """Return the magic number of the file system that a descriptor's file is on, as fstatfs(2)."""
    buffer = ctypes.create_string_buffer(256)
    _check("fstatfs", _libc.fstatfs(ctypes.c_int(fd), buffer))
    return int.from_bytes(buffer.raw[:8], "little")


def prctl(option: int, *arguments: int) -> int:
    """Prctl(2) with up to four numbers."""
    padded = [*arguments, 0, 0, 0, 0][:4]
    return _check(
        f"prctl {option}", _libc.prctl(ctypes.c_int(option), *map(ctypes.c_ulong, padded))
    )


def capability_sets(effective: int, permitted: int, inheritable: int) -> None:
    """Set this thread's capability sets, as bit masks."""
    header = struct.pack("=Ii", 0x20080522, 0)
    low = [effective & 0xFFFFFFFF, permitted & 0xFFFFFFFF, inheritable & 0xFFFFFFFF]
    high = [effective >> 32, permitted >> 32, inheritable >> 32]
    _call("capset", _NR_CAPSET, header, struct.pack("=6I", *low, *high))


def inotify_changes(path: str, events: int = 0x2) -> int:
    """Return a descriptor that is readable when a file has been modified, or other IN_* events of
    it or in a directory have come; never blocks.
    """
    fd = _check("inotify_init1", _libc.inotify_init1(ctypes.c_int(os.O_CLOEXEC | os.O_NONBLOCK)))
    try:
        result = _libc.inotify_add_watch(ctypes.c_int(fd), _path(path), ctypes.c_uint(events))
        _check(f"inotify_add_watch {path}", result)
    except OSError:
        os.close(fd)
        raise
    return fd


def keyctl_join_session() -> None:
    """Begin a new session keyring; a kernel without keyrings is no error."""
    try:
        _call("keyctl", _NR_KEYCTL, ctypes.c_int(1), None)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EPERM, errno.EDQUOT):
            raise


def seccomp_install(program: bytes, flags: int = 0) -> None:
    """Install a filter: `program` is an array of `struct sock_filter`, 8 bytes each."""
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("=HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer))
    _call("seccomp", _NR_SECCOMP, ctypes.c_uint(1), ctypes.c_uint(flags), header)


def set_filesystem_ids(uid: int, gid: int) -> None:
    """Act on files as this user; the capabilities about files go with a change from root."""
    _libc.setfsgid(ctypes.c_uint(gid))
    _libc.setfsuid(ctypes.c_uint(uid))


def sethostname(name: str) -> None:
    """Set the host name of this UTS namespace."""
    data = os.fsencode(name)
    _check("sethostname", _libc.sethostname(data, ctypes.c_size_t(len(data))))


def setdomainname(name: str) -> None:
    """Set the NIS domain name of this UTS namespace."""
    data = os.fsencode(name)
    _check("setdomainname", _libc.setdomainname(data, ctypes.c_size_t(len(data))))


def personality(domain: int) -> None:
    """Set the execution domain of this process."""
    _check("personality", _libc.personality(ctypes.c_ulong(domain)))


def ioprio_set(priority: int) -> None:
    """Set this thread's I/O priority: class << 13 | level."""
    _call("ioprio_set", _NR_IOPRIO_SET, ctypes.c_int(1), ctypes.c_int(0), ctypes.c_int(priority))


def sched_setattr(
    policy: int, flags: int, nice: int, priority: int, times_ns: tuple[int, int, int]
) -> None:
    """Set this thread's scheduling; `times_ns` are a deadline's runtime, deadline and period."""
    attributes = struct.pack("=IIQiIQQQ", 48, policy, flags, nice, priority, *times_ns)
    _call("sched_setattr", _NR_SCHED_SETATTR, ctypes.c_int(0), attributes, ctypes.c_uint(0))


def write_file(path: str, text: str) -> None:
    """Write a text to a file of the kernel's, in one call."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
