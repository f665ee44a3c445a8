"""Three members that are killed, paused and cut off from each other while clients write down all.

Whatever the clients were told must have been possible: the checkers of `sampan.verify` decide.
"""

from __future__ import annotations

import random
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.members import Member, Members
from tests.real import require, require_root
from tests.servers import SAMPAN, Flavour, debian_etcd

from sampan.verify import Budget, check
from sampan.verify.shell.files import load

TIMING = ("--heartbeat-interval=50", "--election-timeout=500")


def kill(members: list[Member], dice: random.Random) -> str:
    """One of them, or all at once."""
    killed = members if dice.random() < 0.2 else [dice.choice(members)]
    for one in killed:
        one.kill()
    return "kill -9 of " + names(killed)


def pause(members: list[Member], dice: random.Random) -> str:
    one = dice.choice(members)
    one.pause(True)
    return "pause of " + names([one])


def isolate(members: list[Member], dice: random.Random) -> str:
    """Both ways, from all others."""
    alone = dice.choice(members)
    others = [one for one in members if one is not alone]
    alone.hear({one.number for one in others})
    for one in others:
        one.hear({alone.number})
    return "isolation of " + names([alone])


def deafen(members: list[Member], dice: random.Random) -> str:
    """One way: it hears nobody, or nobody hears it."""
    one = dice.choice(members)
    others = [other for other in members if other is not one]
    if dice.random() < 0.5:
        one.hear({other.number for other in others})
        return names([one]) + " hears nobody"
    for other in others:
        other.hear({one.number})
    return "nobody hears " + names([one])


def cut(members: list[Member], dice: random.Random) -> str:
    """Two of them from each other; the third still hears both."""
    one, other = dice.sample(members, 2)
    one.hear({other.number})
    other.hear({one.number})
    return "cut between " + names([one, other])


def names(members: list[Member]) -> str:
    return ", ".join(f"m{one.number}" for one in members)


TROUBLES: tuple[Callable[[list[Member], random.Random], str], ...] = (
    kill,
    kill,
    pause,
    isolate,
    deafen,
    cut,
)


def trouble(cluster: Members, seconds: float, dice: random.Random) -> list[str]:
    """One thing after the other goes wrong, sometimes two at once, and gets well in between."""
    done, spent, wait = [], 0.0, threading.Event().wait
    while spent < seconds:
        done += [
            f"{spent:5.1f} s: {dice.choice(TROUBLES)(cluster.members, dice)}"
            for _ in range(dice.choice((1, 1, 1, 2)))
        ]
        bad, good = dice.uniform(0.3, 3.0), dice.uniform(0.5, 2.0)
        wait(bad)
        cluster.heal()
        wait(good)
        assert not [one.number for one in cluster.members if one.ended], cluster.logs()
        spent += bad + good
    return done


def torture(flavour: Flavour, place: Path, seconds: float, seed: int, *words: str) -> None:
    """Record while there is trouble, then check what was recorded."""
    require_root()
    out = place / "history.jsonl"
    with Members(flavour, place, *TIMING) as cluster:
        command = cluster.program("record", f"--endpoints={cluster.endpoints}", f"--out={out}")
        more = [f"--seconds={seconds}", f"--seed={seed}", "--timeout=2", "--clients=6", *words]
        with subprocess.Popen(
            [*command, *more], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as recording:
            begun(out, recording)
            done = trouble(cluster, seconds, random.Random(seed))
            text, _ = recording.communicate(timeout=120)
        assert recording.returncode == 0, f"{text}\n{cluster.logs()}"
    report = check(load(out), Budget(steps=100_000_000))
    assert report.ok, "\n".join([f"seed {seed}", *done, str(report)])
    print(text, *done, report, sep="\n")


def begun(out: Path, recording: subprocess.Popen[str]) -> None:
    """Wait until the cluster has answered for the first time."""
    for _ in range(600):
        if out.exists() or recording.poll() is not None:
            return
        threading.Event().wait(0.1)


@pytest.mark.root
@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_real_etcd_survives_it(seed: int, tmp_path: Path) -> None:
    """The test itself: on what is right it finds nothing wrong."""
    torture(debian_etcd(require("etcd")), tmp_path, 30, seed, "--no-bookmarks")


@pytest.mark.root
@pytest.mark.timeout(240)
def test_three_members_survive_it(tmp_path: Path) -> None:
    torture(SAMPAN, tmp_path, 60, seed=1)


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(2, 12))
def test_three_members_survive_it_for_long(seed: int, tmp_path: Path) -> None:
    torture(SAMPAN, tmp_path, 180, seed)
