"""What a process sees of its isolation, as text: a script for busybox and a list of system calls.

Both run inside a container, of whatever engine, and are read back as values that can be compared.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence

__all__ = ["SCRIPT", "Seen", "answers", "probe_program", "read"]

Seen = Mapping[str, tuple[str, ...]]

_WRITABLE = (
    "/proc/sys/kernel/hostname /proc/sysrq-trigger /proc/irq /proc/bus /proc/fs /proc/asound "
    "/proc/self/oom_score_adj /sys/kernel /sys/fs/cgroup/memory "
    "/sys/fs/cgroup/memory/memory.limit_in_bytes /proc/sys/vm/swappiness /dev/shm /dev/mqueue / "
    "/etc/hosts /etc/hostname /etc/resolv.conf /proc/keys /proc/timer_list"
)
_SYSCTLS = (
    "kernel/shmmax kernel/msgmax kernel/sem net/ipv4/ip_forward net/ipv4/ping_group_range "
    "net/ipv4/ip_unprivileged_port_start fs/mqueue/msg_max"
)
_LIMITS = (
    "memory/memory.limit_in_bytes memory/memory.memsw.limit_in_bytes memory/memory.swappiness "
    "memory/memory.soft_limit_in_bytes memory/memory.oom_control cpu/cpu.shares "
    "cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us cpu/cpu.rt_runtime_us cpuset/cpuset.cpus "
    "cpuset/cpuset.mems pids/pids.max blkio/blkio.throttle.read_bps_device "
    "blkio/blkio.throttle.write_iops_device devices/devices.list"
)
_STATUS = "Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp:|Umask|SigIgn|SigBlk"

SCRIPT = f"""
section() {{ echo "== $1"; }}
section status; grep -E '^({_STATUS})' /proc/self/status
section limits; cat /proc/self/limits
section oom; cat /proc/self/oom_score_adj
section cgroup; cat /proc/self/cgroup
section environment; env | sort
section mounts; cat /proc/self/mountinfo
section devices; find /dev -exec stat -c '%n %F %a %u:%g %t:%T' {{}} \\; | sort
section links
for f in fd stdin stdout ptmx core; do echo $f $(readlink /dev/$f | sed 's/[0-9]*]//'); done
section proc; ls /proc | grep -v '^[0-9]'
section sys; ls /sys /sys/firmware /sys/fs /sys/fs/cgroup
section writable; for f in {_WRITABLE}; do [ -w $f ] && echo $f yes || echo $f no; done
section names; hostname; cat /proc/sys/kernel/domainname
section modes
stat -c '%n %a %u:%g' / /dev /dev/shm /dev/pts /dev/mqueue /proc /sys /etc /tmp /etc/host* \\
    /etc/resolv.conf /etc/mtab
section files; for f in hosts hostname resolv.conf; do echo $f; cat /etc/$f; done
section descriptors; for f in 0 1 2 3 4 5; do readlink /proc/$$/fd/$f; done
section namespaces; readlink /proc/self/ns/*
section sysctl; for f in {_SYSCTLS}; do echo $f $(cat /proc/sys/$f); done
section user; id; pwd
section network; ls /sys/class/net
for f in {_LIMITS}; do section $f; cat /sys/fs/cgroup/$f; done
section sets; cat /sys/fs/cgroup/cpuset/cpuset.mems
exit 0
"""

_ID = re.compile(r"[0-9a-f]{64}")


def read(text: str, places: Sequence[str] = ()) -> Seen:
    """Return the script's output by section; ids and the engine's own `places` are made equal."""
    for place in places:
        text = text.replace(place, "PLACE")
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in _ID.sub("ID", text).splitlines():
        if line.startswith("== "):
            lines = found.setdefault(line.removeprefix("== "), [])
        else:
            lines.append(line.rstrip())
    found["mounts"] = sorted(map(_mount, found.get("mounts", [])))
    found["devices/devices.list"] = sorted(found.get("devices/devices.list", []))
    found["descriptors"] = [one.partition(":")[0] for one in found.get("descriptors", [])]
    found["files"] = sorted(found.get("files", []))  # the order of options has changed over time
    found["cgroup"] = sorted(found.get("cgroup", []))
    return {name: tuple(lines) for name, lines in found.items()}


def _mount(line: str) -> str:
    """One line of mountinfo without what differs from mount to mount: ids and places on disk."""
    before, _, after = line.partition(" - ")
    words = before.split()
    kind, source, options = after.split(" ", 2)
    kept = [one for one in options.split(",") if not re.match("(lower|upper|work)dir", one)]
    peers = " ".join(word.partition(":")[0] for word in words[6:])
    return f"{words[4]} from {words[3]} {words[5]} {peers} {kind} {source} {','.join(kept)}"


def probe_program(calls: Sequence[Sequence[int]]) -> bytes:
    """Return an x86-64 program that makes each system call (number, then up to six arguments).

    Arguments not given are all ones. It writes the eight bytes of every result to descriptor 1.
    """
    count = struct.pack("<I", len(calls))
    loop = bytes.fromhex(
        "498b0424"  # mov rax, [r12]
        "498b7c2408498b742410498b542418"  # mov rdi, rsi, rdx from [r12 + 8...]
        "4d8b5424204d8b4424284d8b4c2430"  # mov r10, r8, r9
        "0f0550"  # syscall; push rax
        "b801000000bf010000004889e6ba080000000f05"  # write(1, rsp, 8)
        "584983c43841ffcd"  # pop rax; add r12, 56; dec r13d
    )
    loop += b"\x75" + struct.pack("b", -(len(loop) + 2))  # jnz
    end = bytes.fromhex("b8e700000031ff0f05")  # exit_group(0)
    base, header = 0x400000, 64 + 56
    size = 10 + 2 + len(count) + len(loop) + len(end)
    table = base + header + size
    code = b"\x49\xbc" + struct.pack("<Q", table) + b"\x41\xbd" + count + loop + end
    rows = [[value & (1 << 64) - 1 for value in [*call, *[-1] * 7][:7]] for call in calls]
    body = code + b"".join(struct.pack("<7Q", *row) for row in rows)
    total = header + len(body)
    elf = b"\x7fELF\x02\x01\x01" + bytes(9)
    elf += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, base + header, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    elf += struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, total, total, 0x1000)
    return elf + body


def answers(output: bytes) -> list[int]:
    """Return the results that the program wrote: negative ones are -errno."""
    return list(struct.unpack(f"<{len(output) // 8}q", output))
