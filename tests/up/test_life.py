"""What the supervisor decides, without a process: lives, back-off, addresses, lines, variables."""

from __future__ import annotations

import subprocess

from hypothesis import given
from hypothesis import strategies as st

from sampan.up.core import life as lives
from sampan.up.core.environment import exports, variables
from sampan.up.core.life import Life
from sampan.up.core.lines import prefixed, shown_safely
from sampan.up.core.services import NAMES, Endpoints, Layout, services

ENDPOINTS = Endpoints(2379, 5000, "/s/docker.sock")


def crashed(times: int) -> Life:
    life = Life()
    for now_s in range(times):
        life = lives.exited(lives.began(life, now_s), now_s, "exit code 1")
    return life


def test_a_service_that_ends_again_and_again_is_a_crash_loop() -> None:
    assert [crashed(times).state for times in (1, 2, 3, 9)] == [
        "waiting",
        "waiting",
        "crash loop",
        "crash loop",
    ]
    assert lives.is_settled(crashed(3)) and not lives.is_settled(crashed(2))


def test_the_wait_doubles_up_to_a_bound() -> None:
    waits = [lives.restart_delay_s(crashed(times)) for times in range(1, 12)]
    assert waits[:4] == [0.25, 0.5, 1.0, 2.0]
    assert waits[-1] == 30.0
    assert lives.restart_delay_s(Life(failures=10_000)) == 30.0


def test_one_that_was_ready_for_long_has_a_clean_record() -> None:
    ready = lives.became_ready(lives.began(crashed(5), 100), 101)
    assert lives.exited(ready, 110, "x").failures == 6
    assert lives.exited(ready, 140, "x").failures == 1
    assert lives.exited(ready, 140, "x").starts == 6


def test_every_service_stays_below_the_state_directory_and_on_loopback() -> None:
    found = services(Layout("/s"), ENDPOINTS, {"engine": ("--debug",)})
    assert tuple(one.name for one in found) == NAMES
    for one in found:
        for word in one.command[1:]:
            assert (
                "/s/" in word
                or "127.0.0.1" in word
                or word
                in (
                    "--debug",
                    "--name=sampan",
                    "--log-format=console",
                )
            )
    assert not any("--build-from-host" in one.command for one in found)


def test_variables_for_docker_and_etcdctl() -> None:
    assert variables(ENDPOINTS.document) == {
        "DOCKER_HOST": "unix:///s/docker.sock",
        "ETCDCTL_API": "3",
        "ETCDCTL_ENDPOINTS": "http://127.0.0.1:2379",
        "SAMPAN_REGISTRY": "127.0.0.1:5000",
    }


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20))
def test_what_a_shell_evaluates_is_what_was_meant(value: str) -> None:
    script = exports({"X": value}) + 'printf %s "$X"'
    done = subprocess.run(["sh", "-c", script], capture_output=True, check=True)
    assert done.stdout.decode() == value


def test_a_line_of_a_service_cannot_steer_the_terminal() -> None:
    assert (
        shown_safely(b"a\x1b]0;x\x07b\tc\xff\r\n") == "a\\x1b]0;x\\x07b\tc\N{REPLACEMENT CHARACTER}"
    )
    assert len(shown_safely(b"x" * 100_000)) < 5000
    assert prefixed("store", "x", colour=False) == "store    | x\n"
    assert "\x1b[36mstore" in prefixed("store", "x", colour=True)
