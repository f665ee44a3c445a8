"""The real etcdctl 3.6 and a cluster: commands, their answers, and waiting for the members."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

from tests import real
from tests.cluster import Cluster

__all__ = [
    "PACE",
    "PAUSE",
    "argv",
    "clean_env",
    "etcdctl",
    "followers",
    "member_ids",
    "ok",
    "parsed",
    "refused",
    "until",
]

PAUSE = threading.Event()
"""Never set: between two questions to a member, which tells of nothing by itself."""

PACE = ("--heartbeat-interval=50", "--election-timeout=500")


def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Wait until something that only the members decide on is so."""
    end_s = monotonic() + timeout_s
    while not condition():
        assert monotonic() < end_s, "it did not come about"
        PAUSE.wait(0.05)


def clean_env() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name[:8] != "ETCDCTL_"}


def argv(endpoints: str, *words: str) -> list[str]:
    return [str(real.require("etcdctl36")), f"--endpoints={endpoints}", *words]


def etcdctl(endpoints: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv(endpoints, *words),
        capture_output=True,
        text=True,
        env=clean_env(),
        timeout=40,
        check=False,
    )


def ok(endpoints: str, *words: str) -> str:
    """What a command prints that must succeed."""
    done = etcdctl(endpoints, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def parsed(endpoints: str, *words: str) -> Any:
    return json.loads(ok(endpoints, *words, "-w", "json"))


def refused(endpoints: str, *words: str) -> str:
    """Why a command fails."""
    done = etcdctl(endpoints, *words)
    assert done.returncode != 0, done.stdout
    return done.stderr.splitlines()[-1]


def followers(cluster: Cluster) -> list[int]:
    until(lambda: cluster.leader() >= 0)
    leader = cluster.leader()
    return [number for number in range(3) if number != leader]


def member_ids(endpoints: str) -> dict[str, str]:
    rows = (line.split(", ") for line in ok(endpoints, "member", "list").splitlines())
    return {row[2] or row[3]: row[0] for row in rows}
