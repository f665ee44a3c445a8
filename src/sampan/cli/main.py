"""The `sampan` command: finds out which program is meant and imports only that one.

A program can also be reached by a link with its name: an `etcd` that points to `sampan` is an etcd.
"""

from __future__ import annotations

import os.path
import sys

from sampan.cli.containers.table import is_container_command
from sampan.cli.programs import LINKS, run

__all__ = ["main"]


def main() -> None:
    """Run the program that the name of the link or the first word names, and exit with its code."""
    words = sys.argv[1:]
    name = os.path.basename(sys.argv[0])
    if name not in LINKS:
        # Programs with flags of their own are not parsed by click, nor wait for its import.
        if words and is_container_command(words[0]):
            from sampan.cli.containers.main import main as containers

            sys.exit(containers(words))
        if not words or words[0] not in LINKS:
            from sampan.cli.group import group

            group(prog_name="sampan")
            return
        name = words.pop(0)
    sys.exit(run(name, words))


if __name__ == "__main__":
    main()
