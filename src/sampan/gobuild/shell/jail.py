"""A program in a root of its own: run as a script, with the standard library only.

Its argument is a JSON object; see `Cell` in sandbox.py. It makes user, mount, process, network,
IPC and host name namespaces, a root of a small tmpfs with what it is given bound read-only, sets
limits, and runs the command as nobody. One line of JSON at `report_fd` says how it went:
`{"refused": why}` when the namespaces cannot be made, else `{"status": wait status}`.

Source: user_namespaces(7), mount_namespaces(7), pid_namespaces(7).
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import sys
from typing import Any, NoReturn

__all__ = ["main"]

_NEW = 0x10000000 | 0x00020000 | 0x20000000 | 0x40000000 | 0x08000000 | 0x04000000
_RDONLY, _NOSUID, _NODEV, _REMOUNT = 1, 2, 4, 32
_BIND, _MOVE, _REC, _PRIVATE = 4096, 8192, 16384, 1 << 18
_NO_NEW_PRIVILEGES = 38
_NOBODY = 65534
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def _mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    done = _libc.mount(
        source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()
    )
    _check(done, f"mount {target}")


def _unshared() -> None:
    user, group = os.getuid(), os.getgid()
    _check(_libc.unshare(_NEW), "unshare")
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{_NOBODY} {user} 1"),
        ("gid_map", f"{_NOBODY} {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def _bound(source: str, target: str, *, writable: bool = False) -> None:
    """Bind a file or directory, or copy a link; what the mount had forbidden stays so."""
    if os.path.islink(source):
        os.symlink(os.readlink(source), target)
        return
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        open(target, "w").close()
    _mount(source, target, "", _BIND | _REC)
    if not writable:
        forbidden = os.statvfs(target).f_flag & (_NOSUID | _NODEV | 8 | 1024 | 2048)
        _mount("", target, "", _BIND | _REMOUNT | _RDONLY | forbidden)


def _rooted(spec: dict[str, Any]) -> None:
    """Make the root, enter it, and leave no way to the old one."""
    root = spec["place"]
    _mount("", "/", "", _REC | _PRIVATE)
    _mount("tmpfs", root, "tmpfs", _NOSUID | _NODEV, f"size={spec['tmp_bytes']},mode=755")
    for name in ("proc", "dev", "tmp"):
        os.mkdir(f"{root}/{name}")
    os.chmod(f"{root}/tmp", 0o1777)
    for name in ("null", "zero", "random", "urandom"):
        _bound(f"/dev/{name}", f"{root}/dev/{name}", writable=True)
    for source, target in spec["binds"]:
        _bound(source, root + target)
    _bound(spec["exchange"], f"{root}/exchange", writable=True)
    try:
        _mount("proc", f"{root}/proc", "proc", _NOSUID | _NODEV | 8)
    except OSError:
        pass  # refused inside of many containers; the emulator does without
    os.chdir(root)
    _mount(root, "/", "", _MOVE)
    os.chroot(".")
    os.chdir("/tmp")


def _run(spec: dict[str, Any]) -> NoReturn:
    _libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    for name, value in spec["limits"].items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))
    os.execve(spec["command"][0], spec["command"], spec["environment"])


def _first(spec: dict[str, Any], report: int) -> None:
    """The first process: the kernel protects it from signals, so the command is its child."""
    _rooted(spec)
    child = os.fork()
    if child == 0:
        os.close(report)
        try:
            _run(spec)
        finally:
            os._exit(127)
    while True:
        pid, status = os.wait()
        if pid == child:
            os.write(report, json.dumps({"status": status}).encode() + b"\n")
            os._exit(0)


def main() -> None:
    """Run what the argument says."""
    spec = json.loads(sys.argv[1])
    report = int(spec["report_fd"])
    try:
        _unshared()
        pid = os.fork()
        if pid == 0:
            _first(spec, report)
    except OSError as error:
        said = f"{error.filename or error.filename2 or ''}: {error.strerror}".lstrip(": ")
        os.write(report, json.dumps({"refused": said}).encode() + b"\n")
        os._exit(1)
    os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
