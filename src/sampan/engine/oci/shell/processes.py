"""A container's processes, as a list of ids or as `ps` shows them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence

from sampan.base.errors import InvalidError, NotFoundError, SampanError

__all__ = ["process_lines"]


def process_lines(pids: Sequence[int], kind: str, options: Sequence[str]) -> list[str]:
    """Return the ids as JSON, or the lines of `ps` (by default `-ef`) that are about them."""
    if kind == "json":
        return [json.dumps(list(pids))]
    if kind != "table":
        raise InvalidError("invalid format option")
    import subprocess

    program = shutil.which("ps")
    if program is None:
        raise NotFoundError('exec: "ps": executable file not found in $PATH')
    done = subprocess.run(
        [program, *(options or ["-ef"])], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SampanError(f"exit status {done.returncode}: {done.stderr.strip()}")
    lines = done.stdout.splitlines()
    columns = lines[0].split() if lines else []
    if "PID" not in columns:
        raise InvalidError("couldn't find PID field in ps output")
    at, wanted = columns.index("PID"), {str(pid) for pid in pids}
    about = [line for line in lines[1:] if len(line.split()) > at and line.split()[at] in wanted]
    return [lines[0], *about]
