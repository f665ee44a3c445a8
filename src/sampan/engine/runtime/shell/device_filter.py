"""Attaching a program about devices to a group of the unified hierarchy."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Final

from sampan.engine.runtime.shell import syscalls

__all__ = ["attach_device_program"]

_PROG_LOAD, _PROG_ATTACH = 5, 8
_CGROUP_DEVICE_PROGRAM: Final = 15
_CGROUP_DEVICE: Final = 6
_ALLOW_MULTI: Final = 2
_LICENSE: Final = ctypes.create_string_buffer(b"Apache-2.0")


def attach_device_program(cgroup: str, program: bytes) -> None:
    """Let the program decide about the devices of a group; it stays as long as the group.

    Raises OSError: EPERM without CAP_BPF in the first user namespace.
    """
    code = ctypes.create_string_buffer(program, len(program))
    load = struct.pack(
        "=IIQQ104x",
        _CGROUP_DEVICE_PROGRAM,
        len(program) // 8,
        ctypes.addressof(code),
        ctypes.addressof(_LICENSE),
    )
    loaded = syscalls.bpf(_PROG_LOAD, load)
    try:
        group = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            attach = struct.pack("=4I", group, loaded, _CGROUP_DEVICE, _ALLOW_MULTI)
            syscalls.bpf(_PROG_ATTACH, attach)
        finally:
            os.close(group)
    finally:
        os.close(loaded)
