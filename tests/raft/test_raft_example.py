"""The example does what its README shows, in under a hundred lines."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.real import ROOT

EXAMPLE = ROOT / "examples" / "02-raft-register"


def test_the_register_prints_what_its_readme_says() -> None:
    command = [sys.executable, str(EXAMPLE / "register.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    shown = re.search(r"It prints\n\n```\n(.*?)```", (EXAMPLE / "README.md").read_text(), re.DOTALL)
    assert shown is not None
    assert done.stdout == shown[1]


def test_the_register_stays_small() -> None:
    assert len((EXAMPLE / "register.py").read_text().splitlines()) < 100
