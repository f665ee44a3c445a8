"""Running a program under QEMU's user emulation with the processor of a device."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Final

from sampan.base.errors import InvalidError
from sampan.base.record import record
from sampan.gobuild.core.binary.inspection import Inspection
from sampan.gobuild.core.devices import DEVICES, Device, refusal
from sampan.gobuild.core.emulators import Model, model_of
from sampan.gobuild.core.explain.diagnosis import Diagnosis, diagnose
from sampan.gobuild.core.explain.fault import Fault, fault_at
from sampan.gobuild.shell.debugger import Debugger, Halt
from sampan.gobuild.shell.disassembly import disassembled
from sampan.gobuild.shell.sandbox import Cell, Running, started

__all__ = ["Proof", "find_emulator", "prove"]

_OUTPUT_LIMIT: Final = 64 << 10
_SHARED: Final = "the program sees the files, processes and network of this machine"


@record
class Proof:
    """How a run went. `outcome` is `exited`, `killed` or `running` (stopped after the time).

    `predicted` is why the device should refuse the program, empty when it should not. `fault` is
    where the last signal came from that its code caused, when it failed; `fault_signal` which.
    `shared` says what was not kept from the program; empty in a root of its own.
    """

    device: str
    model: Model
    outcome: str
    exit_code: int
    signal: str
    output: str
    predicted: str
    diagnosis: Diagnosis | None
    fault: Fault | None = None
    fault_signal: str = ""
    shared: str = ""

    @property
    def fine(self) -> bool:
        """Whether it started, and neither failed nor was killed."""
        return self.outcome == "running" or (self.outcome == "exited" and self.exit_code == 0)


@record
class _Run:
    """Exit code, below 0 a signal, None when it ran on; what it wrote; where it stopped."""

    code: int | None
    output: str
    halt: Halt | None
    refused: str = ""


def find_emulator(name: str) -> str:
    """Return the path of `qemu-NAME`, linked statically or not; InvalidError without."""
    for candidate in (f"qemu-{name}-static", f"qemu-{name}"):
        if path := shutil.which(candidate):
            return path
    raise InvalidError(f"qemu-{name} is not installed (Debian: qemu-user-static)")


def prove(
    one: Inspection,
    device: str,
    arguments: Sequence[str] = (),
    root: str = "",
    timeout_s: float = 5,
    alone: bool = True,
) -> Proof:
    """Run a Linux program as a device would; InvalidError when that cannot be done here.

    With `alone` it runs in a root of its own, where it sees itself, its emulator and `root`; when
    the kernel does not permit that, it runs without, and the proof says so.
    """
    known, model = _checked(one, device, root)
    emulator = find_emulator(model.emulator)
    run = _run(one, model, emulator, arguments, root, timeout_s, alone)
    shared = "" if alone else _SHARED
    if run.refused:
        shared = f"{_SHARED}: no root of its own ({run.refused})"
        run = _run(one, model, emulator, arguments, root, timeout_s, False)
    code = run.code
    outcome = "running" if code is None else "killed" if code < 0 else "exited"
    failed = bool(code)
    halt = run.halt if failed else None
    fault = (
        fault_at(one.executable, one.goarch, halt.address, halt.code, disassembled)
        if halt
        else None
    )
    return Proof(
        device,
        model,
        outcome,
        max(code or 0, 0),
        signal.Signals(-code).name if code and code < 0 else "",
        run.output,
        refusal(known, "linux", one.goarch, one.level.level) or "",
        diagnose(run.output, one, fault) if failed else None,
        fault,
        halt.name if halt else "",
        shared,
    )


def _checked(one: Inspection, device: str, root: str) -> tuple[Device, Model]:
    known = next((d for d in DEVICES if d.name == device), None)
    if known is None:
        raise InvalidError(f"no device {device!r}: there are {', '.join(d.name for d in DEVICES)}")
    if one.goos != "linux" and not (one.goos == "" and one.executable.format == "ELF"):
        raise InvalidError(f"{one.path} is for {one.goos}: only Linux programs are emulated")
    model = model_of(device, one.goarch)
    if model is None:
        raise InvalidError(f"no emulated processor stands for {device} and {one.goarch}")
    if one.executable.interpreter and not root:
        raise InvalidError(
            f"{one.path} needs {one.executable.interpreter}: give a directory that has it (--root)"
        )
    return known, model


def _run(
    one: Inspection,
    model: Model,
    emulator: str,
    arguments: Sequence[str],
    root: str,
    timeout_s: float,
    alone: bool,
) -> _Run:
    program = os.path.abspath(one.path)
    deadline = time.monotonic() + timeout_s
    with tempfile.TemporaryDirectory(prefix="prove-") as exchange, tempfile.TemporaryFile() as out:
        seen = {emulator: emulator, program: program, exchange: exchange}
        binds: tuple[tuple[str, str], ...] = ()
        if alone:
            os.chmod(exchange, 0o777)
            seen = {emulator: "/emulator", program: f"/app/{os.path.basename(program)}"}
            binds = (*seen.items(), *_libraries(root))
        libraries = ["-L", root] if root and not alone else []
        stub = "/exchange/gdb" if alone else f"{exchange}/gdb"
        command = [seen[emulator], "-cpu", model.processor, "-g", stub, *libraries]
        cell = Cell((*command, seen[program], *arguments), binds, exchange)
        with started(cell, out, alone=alone) as running:
            halt = _watched(running, f"{exchange}/gdb", one, deadline)
            code = running.wait(max(0.0, deadline - time.monotonic()))
        return _Run(code, _tail(out), halt, running.refused)


def _libraries(root: str) -> Iterator[tuple[str, str]]:
    """What of a directory stands in the root of its own: its `lib*`, `usr` and `etc`."""
    if not root:
        return
    try:
        with os.scandir(root) as entries:
            for one in entries:
                if one.name.startswith("lib") or one.name in ("usr", "etc", "system"):
                    yield os.path.abspath(one.path), f"/{one.name}"
    except OSError as error:
        raise InvalidError(f"{root}: {error.strerror}") from None


def _watched(running: Running, path: str, one: Inspection, deadline: float) -> Halt | None:
    gone = os.pidfd_open(running.process.pid)
    try:
        with Debugger(path, one.executable, deadline) as debugger:
            return debugger.follow() if debugger.connect(gone) else None
    finally:
        os.close(gone)


def _tail(output: BinaryIO) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - _OUTPUT_LIMIT))
    return output.read().decode("utf-8", "replace")
