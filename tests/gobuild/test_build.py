"""`sampan go build`: targets are validated first; what comes out is looked at."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.gobuild.test_targets import sampan_go

from sampan.base.errors import InvalidError
from sampan.gobuild.core.buildplan import (
    Cell,
    cell_environment,
    plan_cells,
    proving_device,
    split_targets,
    zig_target,
)
from sampan.gobuild.shell.catalogue import release_named

RELEASE = release_named("1.26")


def cells(targets: str, cgo: bool = False) -> list[Cell]:
    return plan_cells(split_targets(targets), "app", RELEASE, cgo)


def test_targets_become_files_and_environments() -> None:
    found = cells("linux/arm64,linux/arm/v6,linux/arm64/v8.0,lse,windows/arm64,linux/arm64")
    assert [one.file for one in found] == [
        "app-linux-arm64",
        "app-linux-arm-6",
        "app-linux-arm64-v8.0-lse",
        "app-windows-arm64.exe",
    ]
    environment = cell_environment(found[1])
    assert (environment["GOARCH"], environment["GOARM"]) == ("arm", "6")
    # A level of the caller's environment must not come through.
    assert environment["CGO_ENABLED"] == "0" and environment["GOAMD64"] == ""


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ("linux/amd64/v5", "does not exist"),
        ("linux/x86_64", "no GOARCH"),
        ("darwin/386", "no darwin/386"),
        ("linux", "is no target"),
        ("ios/arm64", "external linking"),
    ],
)
def test_what_cannot_exist_is_refused_before_go_runs(targets: str, message: str) -> None:
    with pytest.raises(InvalidError, match=message):
        cells(targets)


def test_zig_has_a_name_for_each_libc() -> None:
    def named(target: str, glibc: str = "") -> str:
        return zig_target(cells(target, True)[0].row, glibc)

    assert named("linux/arm64") == "aarch64-linux-musl"
    assert named("linux/amd64", "2.17") == "x86_64-linux-gnu.2.17"
    assert named("linux/arm/v7") == "arm-linux-musleabihf"
    assert named("linux/arm/v5", "2.28") == "arm-linux-gnueabi.2.28"
    assert named("windows/arm64") == "aarch64-windows-gnu"
    with pytest.raises(InvalidError, match="no C library"):
        named("freebsd/amd64")


def test_the_oldest_device_of_a_target() -> None:
    devices = [proving_device(one.row) for one in cells("linux/arm,linux/arm/v5,linux/arm64")]
    assert devices == ["pi-2", "armv5", "pi-3"]
    assert proving_device(cells("linux/arm64/v8.0,lse")[0].row) == "graviton2"
    assert proving_device(cells("linux/arm64/v9.0")[0].row) == ""
    assert proving_device(cells("windows/arm64")[0].row) == ""


def test_a_missing_compiler_is_said_before_go_runs() -> None:
    answer = sampan_go("build", "--target", "linux/mips64", "--cgo", "gcc")
    assert answer.returncode == 2 and "mips64-linux-gnuabi64-gcc" in answer.stderr
    assert sampan_go("build").returncode == 2


@pytest.mark.slow
def test_a_real_matrix(tmp_path: Path) -> None:
    if shutil.which("go") is None:
        pytest.skip("go is not installed")
    (tmp_path / "go.mod").write_text("module example.com/app\n\ngo 1.21\n")
    (tmp_path / "main.go").write_text("package main\n\nfunc main() { println(1) }\n")
    command = [sys.executable, "-m", "sampan.cli.main", "go", "build", "--format", "json"]
    command += ["--target", "linux/arm/v6,windows/arm64"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    listed = json.loads(done.stdout)
    assert [one["file"] for one in listed] == ["dist/app-linux-arm-6", "dist/app-windows-arm64.exe"]
    assert all(one["fine"] and (tmp_path / one["file"]).exists() for one in listed)
    (tmp_path / "main.go").write_text('package main\n\nimport "C"\n\nfunc main() { C.puts(nil) }\n')
    done = subprocess.run(
        [*command, "--cgo", "off"], cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 1
    assert b"[constraints-exclude]" in done.stderr
