"""The example does what its README shows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.real import ROOT
from tests.servers import SAMPAN, Server

EXAMPLE = ROOT / "examples" / "01-store-client"


@pytest.mark.real
def test_the_example_prints_what_its_readme_says(tmp_path: Path) -> None:
    with Server(SAMPAN, tmp_path / "data", flags=["--memory"]) as server:
        command = [sys.executable, str(EXAMPLE / "store_client.py"), server.endpoint]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    shown = re.search(r"It prints\n\n```\n(.*?)```", (EXAMPLE / "README.md").read_text(), re.DOTALL)
    assert shown is not None
    assert done.stdout == shown[1]
