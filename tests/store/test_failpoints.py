"""Failpoints: their terms and their switches; `test_crash_points` crashes at each of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster import ask, free_port
from tests.servers import SAMPAN, Server, StartError

from sampan.store.shell.failpoints import NAMES, FailpointError, Failpoints


def test_a_term_applies_as_often_as_it_says() -> None:
    points = Failpoints()
    points.enable("beforeApply", "2*off->1*return(full)->off")
    points.hit("beforeApply")
    points.hit("beforeApply")
    with pytest.raises(OSError, match="full"):
        points.hit("beforeApply")
    points.hit("beforeApply")


def test_the_environment_switches_several_on() -> None:
    points = Failpoints()
    points.arm({"SAMPAN_FAILPOINTS": "beforeApply=sleep(1);walAfterSync=50%return(x)"})
    assert points.terms("beforeApply") == "sleep(1)"
    points.hit("beforeApply")
    points.disable("walAfterSync")
    points.hit("walAfterSync")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("nowhere=panic", "there is no failpoint nowhere; there are walBeforeSave"),
        ("beforeApply=explode", "'explode' is no term; terms are panic"),
        ("beforeApply=sleep(soon)", "sleep needs milliseconds, not 'soon'"),
        ("beforeApply", "'' is no term"),
    ],
)
def test_nonsense_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(FailpointError, match=re.escape(complaint)):
        Failpoints().arm({"SAMPAN_FAILPOINTS": text})


def test_every_place_is_somewhere_in_the_store() -> None:
    shell = Path(__file__).parents[2] / "src" / "sampan" / "store" / "shell"
    source = "".join(path.read_text() for path in shell.glob("*.py"))
    assert [name for name in NAMES if f'hit("{name}")' not in source] == []


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def server(port: int, tmp_path: Path) -> Iterator[Server]:
    env = {"SAMPAN_FAILPOINTS_HTTP": f"127.0.0.1:{port}"}
    with Server(SAMPAN, tmp_path / "data", env=env) as running:
        yield running


def test_they_are_switched_by_http(server: Server, port: int) -> None:
    assert ask(port, "GET", "/beforeApply") == (404, "failpoint beforeApply is off\n")
    assert ask(port, "PUT", "/beforeApply", "sleep(1)") == (200, "")
    assert ask(port, "GET", "/beforeApply") == (200, "sleep(1)\n")
    assert "beforeApply=sleep(1)\nafterApply=\n" in ask(port, "GET", "/")[1]
    assert ask(port, "PUT", "/beforeApply", "explode")[0] == 400
    assert ask(port, "DELETE", "/beforeApply") == (200, "")
    assert "failpoints are on" in server.text()


def test_without_the_environment_nobody_listens(tmp_path: Path) -> None:
    with Server(SAMPAN, tmp_path / "data") as server:
        assert "failpoint" not in server.text()


@pytest.mark.parametrize("address", ["0.0.0.0:1", "127.0.0.1", "somewhere:1"])
def test_nobody_listens_beyond_loopback(address: str, tmp_path: Path) -> None:
    env = {"SAMPAN_FAILPOINTS_HTTP": address}
    with pytest.raises(StartError, match=re.escape(f"SAMPAN_FAILPOINTS_HTTP is '{address}'")):
        Server(SAMPAN, tmp_path / "data", env=env).start()
