"""What the daemon's own flags say about the isolation of containers that say nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engine_server import EngineServer
from tests.real import require_root

pytestmark = [pytest.mark.real, pytest.mark.root]

FLAGS = (
    "--no-new-privileges --cgroup-parent=/daemon-isolation --default-ipc-mode=shareable --init "
    "--default-ulimit=nofile=77:88 --default-shm-size=1m --default-cgroupns-mode=private"
)
PROFILE = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}],
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineServer]:
    require_root()
    place = tmp_path_factory.mktemp("strict")
    (place / "profile.json").write_text(json.dumps(PROFILE))
    flags = (*FLAGS.split(), f"--seccomp-profile={place / 'profile.json'}")
    server = EngineServer(place, flags).start()
    try:
        server.load()
        yield server
        server.clear()
    finally:
        server.stop()
        for folder, _, _ in os.walk("/sys/fs/cgroup", topdown=False):
            if folder.endswith("/daemon-isolation"):
                os.rmdir(folder)


def test_containers_have_the_daemon_s_defaults(engine: EngineServer) -> None:
    script = (
        "grep -E 'NoNewPrivs|Seccomp:' /proc/self/status; ulimit -n; mkdir /x 2>&1; "
        "df /dev/shm | tail -1; grep pids /proc/self/cgroup || grep ^0: /proc/self/cgroup; echo $$"
    )
    shown = engine.run("busybox", "sh", "-c", script)
    assert "NoNewPrivs:\t1" in shown
    assert "Seccomp:\t2" in shown
    assert "\n77\n" in shown
    assert "Function not implemented" in shown
    assert " 1024 " in shown
    assert ":/\n" in shown, "a view of cgroups of its own"
    assert shown.split()[-1] != "1", "something else is process 1"


def test_a_container_s_own_words_win(engine: EngineServer) -> None:
    words = (
        "--security-opt no-new-privileges=false --security-opt seccomp=builtin --init=false "
        "--ulimit nofile=99 --cgroupns host --cgroup-parent /daemon-isolation/own busybox sh -c"
    )
    script = (
        "grep NoNewPrivs /proc/self/status; ulimit -n; mkdir /x && echo made; cat /proc/self/cgroup"
    )
    shown = engine.run(*words.split(), script)
    assert "NoNewPrivs:\t0" in shown
    assert "\n99\nmade\n" in shown
    assert "/daemon-isolation/own/" in shown
    for folder, _, _ in os.walk("/sys/fs/cgroup", topdown=False):
        if folder.endswith("/daemon-isolation/own"):
            os.rmdir(folder)


def test_what_the_daemon_tells_of_itself(engine: EngineServer) -> None:
    told = engine.out("info", "-f", "{{json .SecurityOptions}}")
    assert "name=no-new-privileges" in told
    assert "profile.json" in told


def test_a_profile_that_is_none_stops_the_daemon(tmp_path: Path) -> None:
    require_root()
    (tmp_path / "broken.json").write_text("{")
    for name, message in (("broken.json", "Decoding seccomp profile failed"), ("gone", "no such")):
        with pytest.raises(RuntimeError, match=message):
            EngineServer(tmp_path, (f"--seccomp-profile={tmp_path / name}",)).start()
