"""Measure `sampan ship` of examples/03-orders: nothing changed, one line changed, a rollback.

What a changed line costs is shown beside `go build` alone, with its caches, on the same machine.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench.engine_peers import own_network
from bench.report import machine, write_section

ROOT: Final = Path(__file__).resolve().parent.parent
SAMPAN: Final = (sys.executable, "-m", "sampan.cli.main")
MOMENTS: Final = {
    "unchanged": ("nothing changed", "<= 1"),
    "changed": ("one line changed", "compiler + 1"),
    "compiler": ("`go build` alone, one line changed", ""),
    "rollback": ("back to the release before", ""),
    "up": ("`sampan up -d`: store, engine, registry ready", ""),
}


class Shipper:
    """A stack and a source directory below `place`."""

    def __init__(self, place: Path) -> None:
        self.source = place / "orders"
        self._environment = {**os.environ, "SAMPAN_STATE_DIR": str(place / "state")}
        self._lines = 0
        shutil.copytree(ROOT / "examples" / "03-orders", self.source)

    def timed(self, *words: str) -> float:
        """Seconds of a `sampan` command."""
        return self._timed([*SAMPAN, *words])

    def change(self) -> None:
        """Change one line of the source."""
        self._lines += 1
        (self.source / "changed.go").write_text(
            f'package main\n\nfunc init() {{ version += "{self._lines}" }}\n'
        )

    def compile(self) -> float:
        """Seconds of the compiler alone."""
        flags = ("-trimpath", "-ldflags", "-s -w")
        return self._timed(["go", "build", *flags, "-o", "/dev/null", "."])

    def _timed(self, words: Sequence[str]) -> float:
        began_s = time.perf_counter()
        subprocess.run(
            words,
            check=True,
            cwd=self.source,
            env={**self._environment, "CGO_ENABLED": "0"},
            stdout=subprocess.DEVNULL,
        )
        return time.perf_counter() - began_s


def measure(place: Path, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of every moment, by round."""
    shipper = Shipper(place)
    ship = ("ship", str(shipper.source))
    found: dict[str, list[float]] = {name: [] for name in MOMENTS}
    found["up"].append(shipper.timed("up", "-d", "--build-from-host"))
    try:
        shipper.timed(*ship)
        shipper.compile()
        for round_ in range(rounds):
            print(f"round {round_ + 1} of {rounds}", flush=True)
            found["unchanged"].append(shipper.timed(*ship))
            shipper.change()
            found["changed"].append(shipper.timed(*ship))
            found["compiler"].append(shipper.compile())
            found["rollback"].append(shipper.timed("rollback", "orders"))
            shipper.change()
            shipper.timed(*ship)
    finally:
        shipper.timed("down")
    return found


def table(found: dict[str, list[float]]) -> str:
    """Return the medians with the least and the greatest."""
    lines = ["| | s | wanted |", "|---|---:|---:|"]
    for name, (words, wanted) in MOMENTS.items():
        values = found[name]
        middle, least, most = statistics.median(values), min(values), max(values)
        lines.append(f"| {words} | {middle:.2f} ({least:.2f} to {most:.2f}) | {wanted} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the report's section."""
    parser = argparse.ArgumentParser(prog="bench ship", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-report", action="store_true", help="print, do not write the report")
    args = parser.parse_args(arguments)
    if shutil.which("go") is None or os.geteuid() != 0:
        print("needs go and root", file=sys.stderr)
        return 2
    own_network()
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        found = measure(Path(place), args.rounds)
    print(table(found))
    if not args.no_report:
        words = " ".join(["ship", *sys.argv[2:]])
        write_section(
            "From source to a running service",
            f"""Written by `make bench ARGS="{words}"` on {datetime.now(UTC):%Y-%m-%d}.

{table(found)}

Every cell is the median of {args.rounds} rounds, with the least and the greatest in parentheses,
of the whole command: check, build, verify, start, health, switch, record. No peer does the same.

- Machine: {machine()}.
""",
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
