"""A `sampan up` of a test's own: a state directory and a network namespace."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.netns import NetworkNamespace
from tests.real import require

__all__ = ["SAMPAN", "Stack"]

SAMPAN = (sys.executable, "-m", "sampan.cli.main")
_TIMEOUT_S = 90


@dataclass(slots=True)
class Stack:
    """Commands that run in the namespace, for the stack in the state directory."""

    place: Path
    netns: NetworkNamespace

    def words(self, *words: str) -> Sequence[str]:
        """A `sampan` command line."""
        return (str(require("nsenter")), f"--net={self.netns.path}", *SAMPAN, *words)

    @property
    def environment(self) -> Mapping[str, str]:
        """What every command gets."""
        return {
            **os.environ,
            "SAMPAN_STATE_DIR": str(self.place),
            "DOCKER_CONFIG": str(self.place),
            "NO_COLOR": "1",
        }

    def run(self, *words: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run a `sampan` command to its end, which must have that exit code."""
        done = subprocess.run(
            self.words(*words),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=_TIMEOUT_S,
            check=False,
        )
        if code is not None and done.returncode != code:
            log = self.place / "up.log"
            raise AssertionError(
                f"sampan {' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}\n"
                f"{log.read_text()[-2000:] if log.exists() else ''}"
            )
        return done

    def shell(self, script: str) -> str:
        """Run a shell script with what `sampan env` says and return what it printed."""
        sampan = " ".join(SAMPAN)
        done = subprocess.run(
            (
                str(require("nsenter")),
                f"--net={self.netns.path}",
                *("sh", "-ec", f'eval "$({sampan} env)"\n{script}'),
            ),
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def status(self, code: int | None = 0) -> dict[str, Any]:
        """What `sampan status` tells."""
        found: dict[str, Any] = json.loads(self.run("status", "--json", code=code).stdout)
        return found

    def close(self) -> None:
        """End it."""
        self.run("down", code=None)
