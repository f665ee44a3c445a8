"""kill -9 and a power cut at any moment: no acknowledged write is lost, nothing is made up."""

from __future__ import annotations

import random
import shutil
import sys
import threading
from pathlib import Path

import pytest
from tests.servers import Flavour, Server
from tests.store.load import Ledger, events, write_until_it_fails
from tests.store.power import cut_power

WORKERS = 3
TRACED = str(Path(__file__).with_name("traced_etcd.py"))


def traced(trace: Path) -> Flavour:
    return Flavour("sampan", (sys.executable, TRACED, str(trace)))


def run_and_kill(server: Server, ledger: Ledger, dice: random.Random, round_: int) -> None:
    """Write with all workers until the server is killed after a moment."""
    workers = [
        threading.Thread(
            target=write_until_it_fails,
            args=(server.address, ledger, worker, dice.randrange(1 << 30), round_),
        )
        for worker in range(WORKERS)
    ]
    for thread in workers:
        thread.start()
    threading.Event().wait(dice.uniform(0.05, 0.5))
    server.kill()
    for thread in workers:
        thread.join()


def torture(place: Path, kills: int, seed: int, *flags: str) -> None:
    """Kill, cut the power, start, and check everything, `kills` times."""
    dice = random.Random(seed)
    data_dir, trace, older = place / "data", place / "trace", place / "older"
    server = Server(traced(trace), data_dir, flags)
    ledger, checked = Ledger(), 1
    for round_ in range(kills):
        with server:
            history = events(server.address, checked)
            ledger.check(history, checked)
            checked = max(history, default=checked)
            run_and_kill(server, ledger, dice, round_)
        cut_power(data_dir, trace, dice)
        if dice.random() < 0.25 and older.exists():
            for path in older.iterdir():  # commits of the backend that never reached the disk
                shutil.copy2(path, backend(data_dir).with_name(path.name))
        elif dice.random() < 0.5:
            shutil.rmtree(older, ignore_errors=True)
            older.mkdir()
            shutil.copy2(backend(data_dir), older)
    with server:
        everything = events(server.address, 1)
        assert set(everything) >= set(ledger.acknowledged)
        Ledger(dict(ledger.acknowledged), list(ledger.unanswered)).check(everything, 1)
    assert len(ledger.acknowledged) > kills


def backend(data_dir: Path) -> Path:
    """The file of the key-value backend."""
    return data_dir / "member" / "snap" / "db"


@pytest.mark.timeout(180)
def test_no_acknowledged_write_is_lost_in_a_crash(tmp_path: Path) -> None:
    torture(tmp_path, 12, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", [11, 12, 13])
def test_no_acknowledged_write_is_lost_in_hundreds_of_crashes(seed: int, tmp_path: Path) -> None:
    torture(tmp_path, 150, seed)


@pytest.mark.timeout(180)
def test_a_lost_flush_is_noticed(tmp_path: Path) -> None:
    """The test itself: when a flush is not waited for, writes do get lost and are missed."""
    with pytest.raises(AssertionError, match="acknowledged revisions are gone"):
        torture(tmp_path, 8, 1, "--unsafe-no-fsync")
