"""Running a program under QEMU's user emulation with the processor of a device."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from typing import Final

from sampan.base.errors import InvalidError
from sampan.base.record import record
from sampan.gobuild.core.binary.inspection import Inspection
from sampan.gobuild.core.devices import DEVICES, refusal
from sampan.gobuild.core.emulators import Model, model_of
from sampan.gobuild.core.explain.diagnosis import Diagnosis, diagnose

__all__ = ["Proof", "find_emulator", "prove"]

_OUTPUT_LIMIT: Final = 64 << 10


@record
class Proof:
    """How a run went. `outcome` is `exited`, `killed` or `running` (stopped after the time).

    `predicted` is why the device should refuse the program, empty when it should not.
    """

    device: str
    model: Model
    outcome: str
    exit_code: int
    signal: str
    output: str
    predicted: str
    diagnosis: Diagnosis | None

    @property
    def fine(self) -> bool:
        """Whether it started, and neither failed nor was killed."""
        return self.outcome == "running" or (self.outcome == "exited" and self.exit_code == 0)


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
) -> Proof:
    """Run a Linux program as a device would; InvalidError when that cannot be done here."""
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
    command = [find_emulator(model.emulator), "-cpu", model.processor]
    command += ["-L", root] if root else []
    outcome, code, output = _run([*command, os.path.abspath(one.path), *arguments], timeout_s)
    name = signal.Signals(-code).name if code < 0 else ""
    failed = outcome == "killed" or (outcome == "exited" and code != 0)
    return Proof(
        device,
        model,
        outcome,
        max(code, 0),
        name,
        output,
        refusal(known, "linux", one.goarch, one.level.level) or "",
        diagnose(output, one) if failed else None,
    )


def _run(command: list[str], timeout_s: float) -> tuple[str, int, str]:
    """Outcome, exit code (below 0 a signal) and the end of the output, which goes to a file."""

    def confine() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (16 << 20, 16 << 20))

    with tempfile.TemporaryFile() as output:
        # A session of its own, so that what the program has started ends with it.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            preexec_fn=confine,
            start_new_session=True,
        )
        try:
            code = process.wait(timeout_s)
            outcome = "killed" if code < 0 else "exited"
        except subprocess.TimeoutExpired:
            outcome, code = "running", 0
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
        size = output.seek(0, os.SEEK_END)
        output.seek(max(0, size - _OUTPUT_LIMIT))
        return outcome, code, output.read().decode("utf-8", "replace")
