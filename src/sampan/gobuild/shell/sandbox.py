"""Starting a command in a root of its own, where the right to make namespaces is there."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from sampan.base.record import record

__all__ = ["LIMITS", "Cell", "Running", "started"]

_JAIL: Final = Path(__file__).with_name("jail.py")
_TMP_BYTES: Final = 64 << 20
LIMITS: Final[Mapping[str, int]] = {
    "RLIMIT_CORE": 0,
    "RLIMIT_FSIZE": 16 << 20,
    "RLIMIT_DATA": 4 << 30,
    "RLIMIT_NOFILE": 1024,
    "RLIMIT_NPROC": 4096,
}
"""For each process: files of 16 MiB, 4 GiB of data, as many descriptors, processes and threads."""


@record
class Cell:
    """What runs: a command with absolute paths, and what it sees of this machine, read only.

    `binds` are pairs of a path here and a path there. `exchange` is a directory here that both
    sides write: `/exchange` there.
    """

    command: tuple[str, ...]
    binds: tuple[tuple[str, str], ...]
    exchange: str


class Running:
    """A command that runs; `refused` is why it has no root of its own, once that is known."""

    def __init__(self, process: subprocess.Popen[bytes], report: BinaryIO | None):
        self.process = process
        self.report = report
        self.refused = ""

    def wait(self, timeout_s: float) -> int | None:
        """Return the exit code, below 0 a signal; None when it runs on, or could not begin."""
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        if self.report is None:
            return code
        line = self.report.readline(4096)
        said = json.loads(line) if line else {"refused": "the process that makes it has ended"}
        self.refused = str(said.get("refused", ""))
        return None if self.refused else os.waitstatus_to_exitcode(int(said["status"]))

    def end(self) -> None:
        """Kill it and whatever it has started."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


@contextmanager
def started(cell: Cell, output: BinaryIO, *, alone: bool) -> Iterator[Running]:
    """Run a command, its output into a file; in a root of its own if `alone`. It ends with this."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "TMPDIR": "/tmp"}
    with tempfile.TemporaryDirectory(prefix="prove-") as place:
        receive, send = os.pipe()
        spec = {
            "command": cell.command,
            "binds": cell.binds,
            "exchange": cell.exchange,
            "place": place,
            "tmp_bytes": _TMP_BYTES,
            "limits": LIMITS,
            "environment": environment,
            "report_fd": send,
        }
        command: Sequence[str] = cell.command
        if alone:
            command = [sys.executable, "-I", "-S", str(_JAIL), json.dumps(spec)]
        with open(receive, "rb") as report:
            try:
                # A session of its own, so that what the program has started ends with it.
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=(send,) if alone else (),
                    preexec_fn=None if alone else _limited,
                    start_new_session=True,
                )
            finally:
                os.close(send)
            running = Running(process, report if alone else None)
            try:
                yield running
            finally:
                running.end()


def _limited() -> None:
    for name, value in LIMITS.items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (value if hard < 0 else min(value, hard), hard))
