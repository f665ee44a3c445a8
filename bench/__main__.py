"""`python -m bench [SUBJECT] ...`: one subject with its options, or all.

Subjects: store, cluster, engine, layers, registry, hosting, build, ship, gobuild.
"""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

SUBJECTS = (
    "store",
    "cluster",
    "engine",
    "layers",
    "registry",
    "hosting",
    "build",
    "ship",
    "gobuild",
)


def main(arguments: list[str]) -> int:
    """Run one benchmark with its arguments, or each in a process of its own."""
    if arguments and arguments[0] in SUBJECTS:
        return int(import_module(f"bench.{arguments[0]}").main(arguments[1:]))
    codes = [
        subprocess.run([sys.executable, "-m", f"bench.{subject}", *arguments], check=False)
        for subject in SUBJECTS
    ]
    return max(done.returncode for done in codes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
