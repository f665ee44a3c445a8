"""The `sampan` command: finds out which program is meant and imports only that one.

A program can also be reached by a link with its name: an `etcd` that points to `sampan` is an etcd.
"""

from __future__ import annotations

import os.path
import sys

from sampan.cli.programs import LINKS, OWN_FLAGS, run

__all__ = ["main"]


def main() -> None:
    """Run the program that the name of the link or the first word names, and exit with its code."""
    words = sys.argv[1:]
    name = os.path.basename(sys.argv[0])
    if name not in LINKS:
        # Programs with flags of their own are not parsed by click, nor wait for its import.
        if not words or words[0] not in OWN_FLAGS:
            _own_command(words)
            return
        name = words.pop(0)
    sys.exit(run(name, words))


def _own_command(words: list[str]) -> None:
    from sampan.cli.containers.table import is_container_command

    if words and is_container_command(words[0]):
        from sampan.cli.containers.main import main as containers

        sys.exit(containers(words))
    from sampan.cli.group import group

    group(prog_name="sampan")


if __name__ == "__main__":
    main()
