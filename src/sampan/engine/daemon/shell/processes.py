"""The processes of a container, as the machine's own `ps` shows them."""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import shutil
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final

from sampan.base.errors import ConflictError, InvalidError, SampanError
from sampan.engine.daemon.shell.container import Container
from sampan.engine.daemon.shell.lifecycle import cgroup_path
from sampan.engine.runtime.shell.cgroups import Cgroups

__all__ = ["processes_of"]

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_CUSTOM_PID: Final = re.compile(r"\s+(\w+,)*pid=\S+|(?<=o)pid=\S+", re.IGNORECASE)
_OUTPUT_BYTES: Final = 16 << 20


async def processes_of(container: Container, words: str) -> dict[str, Any]:
    """Return titles and rows of `ps` with any arguments, of this container's processes only.

    Raises ConflictError unless it runs, InvalidError when the output has no PID column.
    """
    state = container.record.state
    if not state.running:
        raise ConflictError(f"container {container.id} is not running")
    if found := _CUSTOM_PID.search(f" {words}"):
        raise InvalidError(f'specifying "{found[0].strip()}" is not allowed')
    pids = Cgroups(cgroup_path(container)).pids() or _in_namespace_of(state.pid)
    program = shutil.which("ps")
    if program is None:
        return _own_table(pids, words)
    arguments = words.split()
    listed = ",".join(map(str, pids))
    code, output, reason = await _run(program, [*arguments, "-q", listed])
    if code != 0:
        # Some options contradict `-q`: then all processes are listed and looked through.
        code, output, reason = await _run(program, arguments)
    if code != 0:
        raise SampanError(f"ps: {reason}")
    return _table(output, {str(pid) for pid in pids})


def _in_namespace_of(pid: int) -> list[int]:
    """Return the processes of one's PID namespace: without cgroups there is no other list."""
    found = []
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and os.path.samefile(f"/proc/{name}/ns/pid", f"/proc/{pid}/ns/pid"):
                found.append(int(name))
        except OSError:
            continue
    return found


async def _run(program: str, arguments: Sequence[str]) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, reason = await process.communicate()
    lines = reason.decode(errors="replace").strip().splitlines()
    text = output[:_OUTPUT_BYTES].decode(errors="replace")
    return process.returncode or 0, text, lines[0] if lines else ""


def _table(output: str, pids: Collection[str]) -> dict[str, Any]:
    lines = output.splitlines()
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise InvalidError("Couldn't find PID field in ps output")
    at, rows, ours = titles.index("PID"), list[list[str]](), False
    for line in lines[1:]:
        fields = line.split(None, len(titles) - 1)
        if len(fields) <= at:
            continue
        # A thread's line has a dash in this place and follows its process.
        ours = ours if fields[at] == "-" else fields[at] in pids
        if ours:
            rows.append(fields)
    return {"Titles": titles, "Processes": rows}


def _own_table(pids: Sequence[int], words: str) -> dict[str, Any]:
    """Return what `ps -ef` or `ps aux` would show, on a machine that has no ps."""
    options = words.replace("-", "").strip()
    if options not in ("", "ef", "aux", "e", "A", "f"):
        raise InvalidError(f"ps {words}: this machine has no ps, only -ef and aux are known")
    rows = [row for pid in pids if (row := _process(pid, options == "aux"))]
    titles = "UID PID PPID C STIME TTY TIME CMD"
    if options == "aux":
        titles = "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"
    return {"Titles": titles.split(), "Processes": rows}


def _process(pid: int, wide: bool) -> list[str] | None:
    """Return one line of `ps`; None when the process has gone in between."""
    place = Path(f"/proc/{pid}")
    try:
        fields = (place / "stat").read_text().rpartition(")")[2].split()
        command = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        uid = place.stat().st_uid
        name = (place / "comm").read_text().strip()
    except OSError:
        return None
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    used_s = (int(fields[11]) + int(fields[12])) // _TICKS
    clock = f"{used_s // 3600:02}:{used_s // 60 % 60:02}:{used_s % 60:02}"
    shown = command.strip() or f"[{name}]"
    began = time.strftime("%H:%M", time.localtime(_boot_time() + int(fields[19]) / _TICKS))
    if wide:
        size_kib, resident_kib = int(fields[20]) // 1024, int(fields[21]) * 4
        memory = [str(size_kib), str(resident_kib)]
        return [user, str(pid), "0.0", "0.0", *memory, "?", fields[0], began, clock, shown]
    return [user, str(pid), fields[1], "0", began, "?", clock, shown]


def _boot_time() -> float:
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
