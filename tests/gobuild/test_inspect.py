"""`sampan go inspect`: headers, build info, evidence of the code, and where a program runs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gobuild import binaries
from tests.gobuild.test_targets import sampan_go

from sampan.base.errors import InvalidError
from sampan.gobuild.core.baseimages import base_image, image_refusal
from sampan.gobuild.core.binary.inspection import Inspection, inspect_binary
from sampan.gobuild.core.binary.lines import place_of
from sampan.gobuild.core.binary.report import compared, facts
from sampan.gobuild.shell.binaries import inspected

AMD64, ARM, ARM64 = 62, 40, 183
LDAXR = b"\x40\xfc\x5f\x88"
LDADDAL = b"\x20\x00\xe1\xb8"
MOVW = b"\x2a\x10\x00\xe3"
VADD = b"\x00\x0b\x30\xee"
NOP_ARM = b"\x00\x00\xa0\xe1"


def only(data: bytes) -> Inspection:
    (found,) = inspect_binary("app", data)
    return found


def go_elf(machine: int, text: bytes = b"", align: int = 0x10000, **set_: str) -> bytes:
    return binaries.elf(machine, text, binaries.inline_buildinfo(set_), align=align)


def devices(one: Inspection) -> set[str]:
    return {verdict.name for verdict in one.devices if verdict.runs}


def test_the_build_info_is_read_in_both_forms_and_byte_orders() -> None:
    set_ = {"GOOS": "linux", "GOARCH": "mips64", "CGO_ENABLED": "0", "-ldflags": '"-s -w"'}
    inline = binaries.elf(8, b"", binaries.inline_buildinfo(set_), big=True)
    pointers = binaries.elf(8, b"", binaries.pointer_buildinfo(set_, 0x800000, 8, True), big=True)
    narrow = binaries.elf(
        8, b"", binaries.pointer_buildinfo(set_, 0x800000, 4, True), big=True, bits=32
    )
    for data, version in ((inline, "go1.26.8"), (pointers, "go1.16.7"), (narrow, "go1.16.7")):
        build = only(data).build
        assert build is not None
        assert (build.go_version, build.module, build.module_version) == (
            version,
            "example.com/app",
            "v1.2.3",
        )
        assert build.dependencies == (("example.com/dep", "v0.1.0"),)
        assert build.setting("-ldflags") == "-s -w"


def test_a_level_that_go_accepted_and_ignored_is_an_error() -> None:
    one = only(go_elf(AMD64, GOOS="linux", GOARCH="amd64", GOAMD64="v5"))
    assert one.level.level == "v1"
    assert [finding.rule for finding in one.findings] == ["level-invalid"]


def test_the_start_check_of_amd64_says_the_level() -> None:
    message = b"This program can only be run on AMD64 processors with v3 microarchitecture support."
    one = only(go_elf(AMD64, message, GOOS="linux", GOARCH="amd64", GOAMD64="v1"))
    assert (one.level.level, one.level.sure) == ("v3", "certain")
    assert [finding.rule for finding in one.findings] == ["level-differs"]
    assert devices(one) == {"x86-64-v3", "x86-64-v4"}


def test_arm64_without_a_way_around_lse_needs_lse() -> None:
    both = only(go_elf(ARM64, (LDAXR + LDADDAL) * 200, GOOS="linux", GOARCH="arm64"))
    assert (both.level.level, both.level.sure) == ("v8.0", "likely")
    lse = only(go_elf(ARM64, LDADDAL * 200, GOOS="linux", GOARCH="arm64", GOARM64="v8.2"))
    assert (lse.level.level, lse.level.sure) == ("v8.2", "likely")
    assert "pi-4" in devices(both) and "pi-4" not in devices(lse)


@pytest.mark.parametrize(
    ("text", "level"),
    [
        (NOP_ARM * 50_000, "5"),
        ((NOP_ARM * 100 + VADD) * 500, "6"),
        ((NOP_ARM * 100 + VADD + MOVW) * 500, "7"),
    ],
)
def test_arm_code_says_its_level_by_its_instructions(text: bytes, level: str) -> None:
    one = only(go_elf(ARM, text, GOOS="linux", GOARCH="arm", GOARM="8"))
    assert (one.level.level, one.level.sure) == (level, "likely")


RISCV, PPC, MIPS = 243, 21, 8


@pytest.mark.parametrize(
    ("machine", "word", "big", "setting", "recorded", "level"),
    [
        (RISCV, 0x20B52533, False, "GORISCV64", "rva22u64", "rva22u64"),
        (RISCV, 0x20B52533, False, "GORISCV64", "rva23u64", "rva23u64"),
        (RISCV, 0x20B52533, False, "GORISCV64", "rva20u64", "rva22u64"),
        (RISCV, 0x00B50533, False, "GORISCV64", "rva22u64", "rva20u64"),
        (PPC, 0xF4030011, False, "GOPPC64", "power8", "power9"),
        (PPC, 0xF4030011, True, "GOPPC64", "power8", "power9"),
        (PPC, 0x06100000, True, "GOPPC64", "power10", "power10"),
        (PPC, 0x7C632214, False, "GOPPC64", "power10", "power8"),
        (MIPS, 0x46000000, True, "GOMIPS", "softfloat", "hardfloat"),
        (MIPS, 0x00000000, False, "GOMIPS", "hardfloat", "softfloat"),
    ],
)
def test_the_code_of_other_architectures_says_its_level(
    machine: int, word: int, big: bool, setting: str, recorded: str, level: str
) -> None:
    text = (bytes(396) + word.to_bytes(4, "big" if big else "little")) * 500
    info = binaries.inline_buildinfo({"GOOS": "linux", setting: recorded})
    one = only(binaries.elf(machine, text, info, big=big, bits=32 if machine == MIPS else 64))
    assert (one.level.level, one.level.sure) == (level, "likely")


def test_a_rare_instruction_is_one_that_is_asked_for_before() -> None:
    text = bytes(200_000) + (0x20B52533).to_bytes(4, "little") * 5
    info = binaries.inline_buildinfo({"GOOS": "linux", "GORISCV64": "rva20u64"})
    assert only(binaries.elf(RISCV, text, info)).level.level == "rva20u64"


def test_small_pages_are_refused_by_kernels_with_large_ones() -> None:
    one = only(go_elf(ARM64, LDAXR * 200, align=0x1000, GOOS="linux", GOARCH="arm64"))
    assert [finding.rule for finding in one.findings] == ["small-pages"]
    assert devices(one) == {"pi-3", "pi-4"}


def test_cgo_is_what_is_linked_and_not_what_was_set() -> None:
    info = binaries.inline_buildinfo({"CGO_ENABLED": "1", "GOOS": "linux"})
    pure = only(binaries.elf(AMD64, b"", info))
    assert pure.cgo == "no" and "nothing of C" in pure.cgo_evidence[0]
    linked = only(binaries.elf(AMD64, b"", info, interpreter="/lib64/ld-linux-x86-64.so.2"))
    assert linked.cgo == "yes" and linked.linking == "dynamic"
    assert only(binaries.elf(AMD64, b"main._Cfunc_puts", info)).cgo == "yes"


def test_base_images_by_loader_libc_and_libraries() -> None:
    def refused(name: str, loader: str, needed: tuple[str, ...], glibc: str) -> str | None:
        image = base_image(name)
        assert image is not None
        return image_refusal(image, loader, needed, glibc)

    gnu, musl = "/lib64/ld-linux-x86-64.so.2", "/lib/ld-musl-x86_64.so.1"
    assert refused("scratch", "", (), "") is None
    assert "no loader" in str(refused("scratch", gnu, ("libc.so.6",), "2.17"))
    assert "musl" in str(refused("docker.io/library/alpine:3.20", gnu, (), ""))
    assert refused("golang:1.26-alpine3.22", musl, ("libc.musl-x86_64.so.1",), "") is None
    assert refused("debian:bookworm-slim", gnu, ("libc.so.6",), "2.36") is None
    assert "needs 2.34" in str(refused("debian:bullseye", gnu, ("libc.so.6",), "2.34"))
    assert "libsqlite3" in str(refused("ubuntu:24.04", gnu, ("libsqlite3.so.0",), "2.4"))


def test_pe_and_thin_and_fat_macho() -> None:
    info = binaries.inline_buildinfo({"GOOS": "windows", "GOARCH": "arm64"})
    windows = only(binaries.pe(0xAA64, info))
    assert (windows.goos, windows.goarch, windows.executable.pie) == ("windows", "arm64", True)
    assert (
        devices(windows) == {"windows-arm"} and windows.executable.minimum_system == "Windows 6.1"
    )
    thin = {
        cpu: binaries.macho(cpu, binaries.inline_buildinfo({"GOOS": "darwin", "GOARCH": goarch}))
        for cpu, goarch in ((0x0100000C, "arm64"), (0x01000007, "amd64"))
    }
    found = inspect_binary("app", binaries.fat(thin))
    assert [(one.goos, one.goarch) for one in found] == [("darwin", "arm64"), ("darwin", "amd64")]
    assert all(one.build and one.build.go_version == "go1.26.8" for one in found)
    assert found[0].executable.minimum_system == "macOS 12.0"


def test_a_file_whose_headers_contradict_its_build_info_is_an_error() -> None:
    one = only(go_elf(ARM64, LDAXR * 64, GOOS="linux", GOARCH="amd64"))
    assert "platform-differs" in [finding.rule for finding in one.findings]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"#!/bin/sh\n", "a script"),
        (b"\x7fELF", "no ELF file"),
        (b"\x7fELF\x09\x01" + bytes(60), "class 9"),
        (b"MZ" + bytes(100), "no PE signature"),
        (b"\xca\xfe\xba\xbe\0\0\0\x41", "65 architectures"),
        (b"\xcf\xfa\xed\xfe" + b"\xff" * 40, "outside"),
    ],
)
def test_what_is_no_executable_is_said_in_one_line(data: bytes, message: str) -> None:
    with pytest.raises(InvalidError, match=message):
        inspect_binary("app", data)


SEEDS = (
    go_elf(AMD64, b"x" * 64, GOOS="linux", GOAMD64="v1"),
    binaries.elf(ARM, MOVW * 20, binaries.pointer_buildinfo({}, 0x800000, 4), bits=32),
    binaries.pe(0x8664, binaries.inline_buildinfo({"GOOS": "windows"})),
    binaries.fat({7: binaries.macho(0x0100000C, binaries.inline_buildinfo({}))}),
)


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 700), st.binary(min_size=1, max_size=8)), max_size=6),
    st.integers(0, 1200),
)
def test_damaged_files_are_read_or_refused_and_nothing_else(
    seed: bytes, changes: list[tuple[int, bytes]], cut: int
) -> None:
    data = bytearray(seed)
    for at, piece in changes:
        data[at : at + len(piece)] = piece
    try:
        for one in inspect_binary("app", bytes(data[: max(4, len(data) - cut)])):
            facts(one)
            compared(one, one, False)
    except InvalidError:
        pass


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(
        [b"\x7fELF\x02\x01\x01", b"\x7fELF\x01\x02\x01", b"MZ", *[b"\xcf\xfa\xed\xfe"]]
    ),
    st.binary(max_size=600),
)
def test_noise_behind_a_magic_is_read_or_refused(magic: bytes, noise: bytes) -> None:
    try:
        inspect_binary("app", magic + noise)
    except InvalidError:
        pass


def test_a_large_file_is_mapped_and_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.write(go_elf(AMD64, b"x" * 64, GOOS="linux", GOAMD64="v1"))
        file.truncate(3 << 30)
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_DATA, (200 << 20,) * 2)\n"
        "from sampan.cli.go import main; sys.exit(main(['inspect', sys.argv[1]]))"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=True, stdout=subprocess.DEVNULL)


def test_go_itself_agrees() -> None:
    go = shutil.which("go")
    if go is None:
        pytest.skip("go is not installed")
    root = subprocess.check_output([go, "env", "GOROOT"], text=True).strip()
    path = str(Path(root, "bin", "gofmt"))
    said = subprocess.check_output([go, "version", "-m", path], text=True)
    with inspected(path) as (one,):
        assert one.build is not None
        for key, value in one.build.settings:
            assert f"build\t{key}={value}" in said.replace('"', "")
        assert said.startswith(f"{path}: {one.build.go_version}")
        assert f"path\t{one.build.path}" in said


def test_the_command_in_all_forms_and_exit_codes(tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_bytes(go_elf(AMD64, GOOS="linux", GOARCH="amd64", GOAMD64="v1"))
    bad.write_bytes(go_elf(AMD64, GOOS="linux", GOARCH="amd64", GOAMD64="V3"))
    assert sampan_go("inspect", str(good)).returncode == 0
    table = json.loads(sampan_go("inspect", str(good), "--format", "json").stdout)
    assert table[0]["platform"] == {"goos": "linux", "goarch": "amd64"}
    assert table[0]["images"]["scratch"] == "runs"
    report = sampan_go("inspect", str(bad), "--format", "sarif")
    assert report.returncode == 1
    (result,) = json.loads(report.stdout)["runs"][0]["results"]
    assert (result["ruleId"], result["level"]) == ("level-invalid", "error")
    on = sampan_go("inspect", str(good), "--on", "pi-4")
    assert on.returncode == 1 and "does not run linux/amd64" in on.stderr
    both = sampan_go("inspect", "--compare", str(good), str(bad)).stdout
    assert "setting GOAMD64" in both and "V3" in both
    missing = sampan_go("inspect", str(tmp_path / "none"))
    assert missing.returncode == 2 and missing.stderr.count("\n") == 1
    assert sampan_go("inspect", str(tmp_path)).returncode == 2


@pytest.fixture(scope="module")
def real_files() -> tuple[bytes, ...]:
    """What is a program or library on this machine: its Python, and Go's gofmt when it is there."""
    paths = [Path(sys.executable).resolve()]
    if go := shutil.which("go"):
        root = subprocess.check_output([go, "env", "GOROOT"], text=True).strip()
        paths.append(Path(root, "bin", "gofmt"))
    return tuple(path.read_bytes() for path in paths)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_real_files_that_were_damaged_are_read_or_refused_soon(
    real_files: tuple[bytes, ...], data: st.DataObject
) -> None:
    whole = data.draw(st.sampled_from(real_files))
    tables = (0, 64, int.from_bytes(whole[40:48], "little"))  # header, segments, sections
    changed = bytearray(whole[: len(whole) - data.draw(st.sampled_from((0, 0, 5000, 500_000)))])
    for _ in range(data.draw(st.integers(1, 12))):
        at = data.draw(st.sampled_from(tables)) + data.draw(st.integers(0, 2000))
        piece = data.draw(st.binary(min_size=1, max_size=8))
        changed[at : at + len(piece)] = piece
    begun = time.process_time()
    try:
        for one in inspect_binary("app", bytes(changed)):
            facts(one)
            place_of(one.executable, one.executable.entry)
    except InvalidError:
        pass
    assert time.process_time() - begun < 10
