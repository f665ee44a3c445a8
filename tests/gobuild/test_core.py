"""Core files: real ones of QEMU and the kernel, and made ones for what those do not show."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gobuild import binaries, dumps
from tests.gobuild.test_targets import sampan_go
from tests.real import absent, require

from sampan.base.errors import InvalidError
from sampan.gobuild.core.binary.inspection import inspect_binary
from sampan.gobuild.core.dump.corefile import read_core
from sampan.gobuild.core.dump.report import core_text
from sampan.gobuild.core.dump.story import diagnosed, told
from sampan.gobuild.shell.binaries import inspected, mapped

LSE = 0xB8E103E0  # ldaddal w1, w0, [sp]
LDAXR = 0x885FFC20


def dying(place: Path, *command: str) -> None:
    def allowed() -> None:
        hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))

    subprocess.run(command, cwd=place, preexec_fn=allowed, capture_output=True, check=False)


def test_a_core_of_qemu_with_its_program(tmp_path: Path) -> None:
    path = tmp_path / "app"
    path.write_bytes(binaries.runnable(dumps.ARM64, [0xD2800000, LSE]))
    path.chmod(0o755)
    dying(tmp_path, str(require("qemu-aarch64-static")), "-cpu", "cortex-a53", str(path))
    (core,) = tmp_path.glob("*.core")
    answer = sampan_go("explain", str(core), "--binary", str(path), "--format", "json")
    assert answer.returncode == 0, answer.stderr
    document = json.loads(answer.stdout)
    assert document["causes"][0]["rule"] == "illegal-instruction"
    assert document["causes"][0]["sure"] == "certain"
    seen = document["core"]
    assert (seen["platform"]["goarch"], seen["signal"], seen["program"]) == (
        "arm64",
        "SIGILL",
        "app",
    )
    assert "ldaddal" in seen["fault"]["instruction"] and "LSE" in seen["fault"]["needs"]
    with inspected(str(path)) as (one,):
        assert seen["fault"]["address"] == f"{one.executable.entry + 4:#x}"


def test_a_core_of_the_kernel(tmp_path: Path) -> None:
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if not pattern or pattern[0] in "|/" or resource.getrlimit(resource.RLIMIT_CORE)[1] == 0:
        absent(f"cores of the kernel go elsewhere: core_pattern is {pattern!r}")
    dying(tmp_path, sys.executable, "-c", "import os; os.abort()")
    cores = list(tmp_path.iterdir())
    if not cores:
        absent("the kernel has written no core file")
    with mapped(str(cores[0])) as data:
        story = told(read_core(str(cores[0]), data))
        text = core_text(story, False)
    program = story.core.executable()
    assert program is not None and os.path.samefile(program.path, sys.executable)
    assert "SIGABRT" in text and "sent by itself" in text
    assert story.core.threads[0].counter > 0
    with inspected(program.path) as (one,), mapped(str(cores[0])) as data:
        assert told(read_core("core", data), one).mismatch == ""
    shown = sampan_go("inspect", str(cores[0]))
    assert shown.returncode == 0 and "kind" in shown.stdout


def crashed(code: int, *, signal: int = 6, stack: bytes = b"", recorded: str = "v8.0,lse") -> bytes:
    """A core of a Go program: code at 0x400000, a stack, and data with build info."""
    info = binaries.inline_buildinfo(
        {"GOOS": "linux", "GOARCH": "arm64", "GOARM64": recorded, "CGO_ENABLED": "0"}
    )
    notes = dumps.status(7, signal, dumps.arm64_registers(0x400000, 0x900000))
    notes += dumps.auxiliary(0x400000) + dumps.files((0x400000, 0x401000, "/app"))
    text = code.to_bytes(4, "little") * 16
    return dumps.core(
        dumps.ARM64,
        notes,
        [(0x400000, 5, text), (0x800000, 6, info), (0x900000, 6, stack or bytes(64))],
    )


def test_a_core_after_a_trace_of_go_names_the_first_signal() -> None:
    stack = bytes(4096) + dumps.arm64_frame(4, 0x400004)
    story = told(read_core("core", crashed(LSE, stack=stack)))
    assert (story.earlier, story.signal) == (4, 4)
    assert story.fault and story.fault.address == 0x400004 and "LSE" in story.fault.needs
    one = diagnosed(story)
    assert one.causes[0].rule == "illegal-instruction" and one.causes[0].sure == "certain"
    assert story.build and story.build.setting("GOARM64") == "v8.0,lse"


def test_a_stack_without_a_signal_frame_names_none() -> None:
    story = told(read_core("core", crashed(LSE, stack=bytes(4096))))
    assert (story.earlier, story.signal) == (0, 6)


def test_the_wrong_program_is_not_believed() -> None:
    core = read_core("core", crashed(LSE, signal=4))
    other = binaries.inline_buildinfo({"GOOS": "linux", "GOARCH": "arm64", "GOARM64": "v8.0"})
    text = LDAXR.to_bytes(4, "little") * 64
    (wrong,) = inspect_binary("other", binaries.elf(dumps.ARM64, text, other))
    story = told(core, wrong)
    assert "another build info" in story.mismatch
    assert any(story.mismatch in one for one in diagnosed(story, wrong).causes[0].against)
    (foreign,) = inspect_binary("foreign", binaries.elf(dumps.AMD64, b"x" * 64, b""))
    assert "the core is of arm64" in told(core, foreign).mismatch


def test_a_core_of_an_emulator_is_told_from_one_of_its_program() -> None:
    info = binaries.inline_buildinfo({"GOOS": "linux", "GOARCH": "riscv64"})
    core = dumps.core(dumps.AMD64, dumps.status(1, 4, [0] * 27), [(0x800000, 6, info)])
    story = told(read_core("core", core))
    assert story.emulated == "riscv64" and "for riscv64" in core_text(story, True)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 6000), st.binary(min_size=1, max_size=8)), max_size=8),
    st.integers(0, 6000),
)
def test_damaged_cores_are_read_or_refused_and_nothing_else(
    changes: list[tuple[int, bytes]], cut: int
) -> None:
    data = bytearray(crashed(LSE, stack=bytes(512) + dumps.arm64_frame(4, 0x400004)))
    for at, piece in changes:
        data[at : at + len(piece)] = piece
    try:
        story = told(read_core("core", bytes(data[: max(18, len(data) - cut)])))
        core_text(story, False)
        diagnosed(story)
    except InvalidError:
        pass
