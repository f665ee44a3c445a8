"""From addresses to functions and lines: as Go's own tools say, and of damaged tables."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gobuild import binaries

from sampan.base.errors import InvalidError
from sampan.gobuild.core.binary.inspection import inspect_binary
from sampan.gobuild.core.binary.lines import line_table, place_of
from sampan.gobuild.core.explain.fault import printed_address
from sampan.gobuild.shell.binaries import inspected


@pytest.fixture(scope="module")
def gofmt() -> str:
    go = shutil.which("go")
    if go is None:
        pytest.skip("go is not installed")
    root = subprocess.check_output([go, "env", "GOROOT"], text=True).strip()
    return str(Path(root, "bin", "gofmt"))


def test_functions_and_lines_are_those_of_go(gofmt: str) -> None:
    with inspected(gofmt) as (one,):
        table = line_table(one.executable)
        assert table is not None
        functions = [f for f in table.functions() if f.end - f.start > 16]
        assert len(functions) > 1000
        chosen = random.Random(1).sample(functions, 50)
        places = [table.at(f.start) for f in chosen]
    asked = "\n".join(f"{f.start:#x}" for f in chosen)
    said = subprocess.run(
        ["go", "tool", "addr2line", gofmt], input=asked, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for number, place in enumerate(places):
        name, where = said[2 * number], said[2 * number + 1]
        assert place is not None
        assert (place.function, place.offset) == (name, 0)
        assert place.line == int(where.rpartition(":")[2])
        assert Path(place.file).name == Path(where.rpartition(":")[0]).name


def test_an_address_outside_is_nowhere(gofmt: str) -> None:
    with inspected(gofmt) as (one,):
        assert place_of(one.executable, 0) is None
        assert place_of(one.executable, 1 << 60) is None


HEAD = (0xFFFFFFF1).to_bytes(4, "little") + b"\0\0\1\x08"


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 1 << 24))
def test_a_damaged_table_is_read_or_refused(noise: bytes, address: int) -> None:
    (one,) = inspect_binary("app", binaries.elf(62, HEAD + noise, bytes(64)))
    place_of(one.executable, 0x400000 + address)
    try:
        if table := line_table(one.executable):
            for _, _ in zip(range(100), table.functions(), strict=False):
                pass
    except InvalidError:
        pass


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("SIGILL: illegal instruction\nPC=0x63ed0 m=0 sigcode=1\n", 0x63ED0),
        ("app | [signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0xa8454]\n", 0xA8454),
        (
            "traps: app[7] trap invalid opcode ip:401a2f sp:7ffd00 error:0 in app[400000+9000]",
            0x401A2F,
        ),
        ("PC=0x12 no more\nPC=0x34 m=1", 0x34),
        ("nothing of the kind", None),
    ],
)
def test_the_address_that_go_or_the_kernel_prints(text: str, address: int | None) -> None:
    assert printed_address(text) == address
