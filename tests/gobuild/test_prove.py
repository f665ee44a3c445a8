"""`sampan go prove`: a few instructions on emulated processors that have them or not."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.gobuild import binaries
from tests.gobuild.test_targets import sampan_go
from tests.real import absent, require

from sampan.gobuild.core.devices import DEVICES
from sampan.gobuild.core.emulators import model_of
from sampan.gobuild.shell.binaries import inspected
from sampan.gobuild.shell.proof import prove

ARM, ARM64 = 40, 183
ARM_EXIT = [0xE3A00000, 0xE3A07001, 0xEF000000]  # mov r0, #0; mov r7, #1; svc 0
ARM_MOVW = 0xE300102A  # movw r1, #42
ARM64_EXIT = [0xD2800000, 0xD2800BA8, 0xD4000001]  # mov x0, #0; mov x8, #93; svc 0
ARM64_LSE = 0xB8E103E0  # ldaddal w1, w0, [sp]
ARM64_LOOP = 0x14000000  # b .


@pytest.fixture
def on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(require("qemu-arm-static").parent), prepend=":")


def program(tmp_path: Path, machine: int, *words: int) -> str:
    path = tmp_path / "app"
    path.write_bytes(binaries.runnable(machine, list(words), 32 if machine == ARM else 64))
    path.chmod(0o755)
    return str(path)


@pytest.mark.usefixtures("on_path")
@pytest.mark.parametrize(
    ("machine", "words", "device", "outcome"),
    [
        (ARM, ARM_EXIT, "armv5", "exited"),
        (ARM, [ARM_MOVW, *ARM_EXIT], "pi-zero", "killed"),
        (ARM, [ARM_MOVW, *ARM_EXIT], "pi-2", "exited"),
        (ARM64, ARM64_EXIT, "pi-3", "exited"),
        (ARM64, [ARM64_LSE, *ARM64_EXIT], "pi-4", "killed"),
        (ARM64, [ARM64_LSE, *ARM64_EXIT], "graviton2", "exited"),
        (ARM64, [ARM64_LOOP], "pi-5", "running"),
    ],
)
def test_a_processor_runs_what_it_knows(
    tmp_path: Path, machine: int, words: list[int], device: str, outcome: str
) -> None:
    path = program(tmp_path, machine, *words)
    with inspected(path) as (one,):
        proof = prove(one, device, timeout_s=0.5 if outcome == "running" else 30)
    assert (proof.outcome, proof.fine) == (outcome, outcome != "killed")
    if outcome == "killed":
        assert proof.signal == "SIGILL" and proof.diagnosis
        assert proof.diagnosis.causes[0].rule == "illegal-instruction"


@pytest.mark.usefixtures("on_path")
def test_the_command(tmp_path: Path) -> None:
    path = program(tmp_path, ARM, ARM_MOVW, *ARM_EXIT)
    bad = sampan_go("prove", path, "--on", "pi-zero")
    assert bad.returncode == 1
    assert "-cpu arm1176): killed by SIGILL" in bad.stdout and "[illegal-instruction]" in bad.stdout
    good = sampan_go("prove", path, "--on", "pi-2", "--format", "json", "--", "an", "argument")
    assert good.returncode == 0 and json.loads(good.stdout)["outcome"] == "exited"
    assert "no emulated processor" in sampan_go("prove", path, "--on", "graviton2").stderr
    assert "no device" in sampan_go("prove", path, "--on", "pi-9").stderr


def test_a_program_with_a_loader_needs_a_root(tmp_path: Path) -> None:
    path = tmp_path / "app"
    info = binaries.inline_buildinfo({"GOOS": "linux"})
    path.write_bytes(binaries.elf(ARM64, b"", info, interpreter="/lib/ld-linux-aarch64.so.1"))
    answer = sampan_go("prove", str(path), "--on", "pi-4")
    assert answer.returncode == 2 and "--root" in answer.stderr


def test_models_are_of_known_devices() -> None:
    found = {one.name for one in DEVICES if any(model_of(one.name, arch) for arch in one.levels)}
    missing = {"apple-silicon", "windows-arm", "x86-64-v4"}
    assert {one.name for one in DEVICES} - found == missing


@pytest.mark.slow
@pytest.mark.usefixtures("on_path")
@pytest.mark.parametrize(
    ("goarch", "level", "device", "fine"),
    [
        ("arm", "GOARM=6", "pi-zero", True),
        ("arm", "GOARM=7", "pi-zero", False),
        ("arm64", "GOARM64=v8.0", "pi-3", True),
        ("arm64", "GOARM64=v8.0,lse", "pi-3", False),
    ],
)
def test_real_go_programs(tmp_path: Path, goarch: str, level: str, device: str, fine: bool) -> None:
    go = shutil.which("go")
    if go is None:
        pytest.skip("go is not installed")
    (tmp_path / "go.mod").write_text("module example.com/app\n\ngo 1.21\n")
    (tmp_path / "main.go").write_text("package main\n\nfunc main() { println(1) }\n")
    subprocess.run(
        ["env", f"GOARCH={goarch}", level, "CGO_ENABLED=0", go, "build", "-o", "app", "."],
        cwd=tmp_path,
        check=True,
    )
    with inspected(str(tmp_path / "app")) as (one,):
        proof = prove(one, device, timeout_s=60)
    assert proof.fine is fine and bool(proof.predicted) is not fine


@pytest.mark.usefixtures("on_path")
@pytest.mark.parametrize(
    ("machine", "words", "device", "index", "name", "needs"),
    [
        (ARM, [ARM_EXIT[0], ARM_MOVW], "pi-zero", 1, "SIGILL", "GOARM=7"),
        (ARM64, [*ARM64_EXIT[:2], ARM64_LSE], "pi-4", 2, "SIGILL", "LSE"),
        (ARM64, [0xD2800000, 0xF9400000], "pi-4", 1, "SIGSEGV", ""),  # ldr x0, [x0]
    ],
)
def test_the_instruction_that_failed_is_named(
    tmp_path: Path, machine: int, words: list[int], device: str, index: int, name: str, needs: str
) -> None:
    path = program(tmp_path, machine, *words)
    with inspected(path) as (one,):
        proof = prove(one, device, timeout_s=30)
    assert proof.fault is not None
    assert proof.fault_signal == proof.signal == name
    assert proof.fault.address == one.executable.entry + 4 * index
    assert proof.fault.code[:4] == words[index].to_bytes(4, "little")
    assert needs in proof.fault.needs


# openat(AT_FDCWD, "/etc/passwd", O_RDONLY), and its result as exit code.
ARM64_READS = [0x92800C60, 0x100000C1, 0xD2800002, 0xD2800708, 0xD4000001, 0xD2800BA8, 0xD4000001]
ENOENT = 256 - 2


@pytest.mark.usefixtures("on_path")
def test_a_program_sees_only_itself_unless_told(tmp_path: Path) -> None:
    named = [int.from_bytes(b"/etc/passwd\0"[at : at + 4], "little") for at in (0, 4, 8)]
    path = program(tmp_path, ARM64, *ARM64_READS, *named)
    with inspected(path) as (one,):
        alone = prove(one, "pi-4", timeout_s=30)
        shared = prove(one, "pi-4", timeout_s=30, alone=False)
    if "no root of its own" in alone.shared:
        absent(alone.shared)
    assert (alone.exit_code, alone.shared) == (ENOENT, "")
    assert shared.exit_code < 128 and "sees the files" in shared.shared


@pytest.mark.usefixtures("on_path")
def test_libraries_are_seen_where_the_program_looks_for_them(tmp_path: Path) -> None:
    (tmp_path / "root" / "etc").mkdir(parents=True)
    (tmp_path / "root" / "etc" / "passwd").touch()
    named = [int.from_bytes(b"/etc/passwd\0"[at : at + 4], "little") for at in (0, 4, 8)]
    path = program(tmp_path, ARM64, *ARM64_READS, *named)
    with inspected(path) as (one,):
        assert prove(one, "pi-4", root=str(tmp_path / "root"), timeout_s=30).exit_code < 128
