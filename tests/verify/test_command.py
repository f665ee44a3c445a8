"""`sampan verify` from outside: its exit codes and what it prints."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.verify.test_jsonl import HEAD, written
from tests.verify.test_linear import Script, hard, x

from sampan.verify import History


def verify(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sampan.cli.main", "verify", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def saved(path: Path, history: History) -> str:
    path.write_text("\n".join(written(history)))
    return str(path)


@pytest.fixture
def right(tmp_path: Path) -> str:
    return saved(tmp_path / "right.jsonl", Script().put("1", 2).get(2, x("1", 2)).recorder.history)


@pytest.fixture
def wrong(tmp_path: Path) -> str:
    script = Script().put("1", 2).put("2", 3).get(2, x("1", 2))
    return saved(tmp_path / "wrong.jsonl", script.recorder.history)


def test_a_right_history_is_ok(right: str) -> None:
    done = verify(right)
    assert done.returncode == 0
    assert done.stdout == (
        f"{right}: ok: 2 operations are linearizable, 0 notices to 0 watchers are right\n"
    )


def test_a_wrong_one_fails_with_the_part_that_shows_it(right: str, wrong: str) -> None:
    done = verify(right, wrong)
    assert done.returncode == 1
    assert f"{wrong}: not linearizable: stale read" in done.stdout
    assert 'process 1: put "x" "2" -> revision 3' in done.stdout


def test_one_that_is_too_hard_is_undecided(tmp_path: Path) -> None:
    done = verify(saved(tmp_path / "hard.jsonl", hard(24)), "--states", "500")
    assert done.returncode == 3
    assert "undecided: more states to remember than allowed" in done.stdout


def test_no_history_is_an_error_that_says_where(tmp_path: Path) -> None:
    path = tmp_path / "broken.jsonl"
    path.write_text(HEAD + "\nnonsense")
    done = verify(str(path))
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: {path} is no history: line 2: ")
    assert verify(str(tmp_path / "none")).stderr.startswith("Error: cannot read ")
