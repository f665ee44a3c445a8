"""Measure image builds beside dockerd's classic builder, by the same command line.

Both engines are up at the same time and take turns; `docker build` runs without BuildKit.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench.engine_peers import Engine, RunningEngine, own_network
from bench.report import Metric, Results, machine, write_section
from tests.busybox import docker_archive, root_tar

METRICS: Final = {
    "cold": Metric("two COPY and two RUN, nothing known", "ms", 200, False, True),
    "cached": Metric("the same again, nothing changed", "ms", 60, False, True),
    "context": Metric("a context of 200 MB, one file changed", "s", 1, False),
    "huge": Metric("a context of 1 GB, one file changed", "s", 1, False),
    "diamond": Metric("20 stages that sleep 100 ms, one that needs them all", "s", 1, False),
}
_TRIVIAL: Final = "FROM busybox\nCOPY a /a\nRUN cat /a > /b\nCOPY c /c\nRUN cat /b /c > /d\n"
_FILES: Final = 2_000
_FILE_BYTES: Final = 100_000
_HUGE_FILES: Final = 1_000
_HUGE_FILE_BYTES: Final = 1_000_000


def build(engine: RunningEngine, place: Path, tag: str, *flags: str) -> float:
    """One `docker build`; milliseconds."""
    return engine.docker("build", "-q", "-t", tag, *flags, str(place))


def trivial(engine: RunningEngine, place: Path, round_: int, results: Results) -> None:
    """Build a small image that is new, and again."""
    place.mkdir()
    (place / "Dockerfile").write_text(_TRIVIAL)
    (place / "a").write_text(f"{engine.engine.name} {round_}")
    (place / "c").write_text(str(round_))
    results.add("cold", engine.engine.name, build(engine, place, "trivial"))
    results.add("cached", engine.engine.name, build(engine, place, "trivial"))


def large_context(engine: RunningEngine, place: Path, round_: int, results: Results) -> None:
    """Send many files again of which one has changed."""
    (place / "data-0").write_text(f"{engine.engine.name} {round_}")
    results.add("context", engine.engine.name, build(engine, place, "large") / 1e3)


def huge_context(engine: RunningEngine, place: Path, round_: int, results: Results) -> None:
    """The same with five times as much, in larger files."""
    (place / "data-0").write_text(f"{engine.engine.name} {round_}")
    results.add("huge", engine.engine.name, build(engine, place, "huge") / 1e3)


def diamond(engine: RunningEngine, place: Path, round_: int, results: Results) -> None:
    """Build stages that do not depend on each other."""
    place.mkdir()
    stages = [
        f"FROM busybox AS s{n}\nRUN sleep 0.1; echo {engine.engine.name} {round_} > /o{n}\n"
        for n in range(20)
    ]
    copies = "".join(f"COPY --from=s{n} /o{n} /\n" for n in range(20))
    (place / "Dockerfile").write_text("".join(stages) + "FROM busybox\n" + copies)
    results.add("diamond", engine.engine.name, build(engine, place, "diamond") / 1e3)


def make_context(place: Path, files: int, size_bytes: int) -> None:
    """Files of random bytes, with a Dockerfile that copies them all."""
    place.mkdir()
    (place / "Dockerfile").write_text("FROM busybox\nCOPY . /all/\n")
    for number in range(files):
        (place / f"data-{number}").write_bytes(os.urandom(size_bytes))


def report(results: Results, args: argparse.Namespace) -> str:
    arguments = " ".join(["build", *sys.argv[2:]])
    return f"""Written by `make bench ARGS="{arguments}"` on {datetime.now(UTC):%Y-%m-%d}.

{results.table()}

Every cell is the median of {args.rounds} rounds, with the least and the greatest in parentheses; a
ratio is taken within one round. The docker command line, which sends the context, is part of each
figure; both engines are asked by the classic builder's call (`DOCKER_BUILDKIT=0`).

- Machine: {machine()}.
- The contexts: {_FILES} files of {_FILE_BYTES // 1000} kB, and {_HUGE_FILES} of
  {_HUGE_FILE_BYTES // 1000} kB; all copied by one COPY.
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench build", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds, 3 at least for a report")
    parser.add_argument("--no-report", action="store_true", help="print, do not write the report")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the report's section."""
    args = parse(arguments)
    dockerd, busybox = shutil.which("dockerd"), shutil.which("busybox")
    if dockerd is None or busybox is None or os.geteuid() != 0:
        print("needs dockerd, busybox-static and root", file=sys.stderr)
        return 2
    os.environ["DOCKER_BUILDKIT"] = "0"
    own_network()
    results = Results(METRICS, "docker")
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        engines: list[RunningEngine] = []
        archive = docker_archive(root_tar(Path(busybox)), "busybox", ["latest"])
        for engine in (Engine.docker(dockerd), Engine.sampan()):
            engines.append(engine.start(place / engine.name))
            stack.callback(engines[-1].stop)
            engines[-1].load(archive)
        make_context(place / "large", _FILES, _FILE_BYTES)
        make_context(place / "huge", _HUGE_FILES, _HUGE_FILE_BYTES)
        for running in engines:
            build(running, place / "large", "large")
            build(running, place / "huge", "huge")
        for round_ in range(args.rounds):
            print(f"round {round_ + 1} of {args.rounds}", flush=True)
            for running in engines if round_ % 2 == 0 else engines[::-1]:
                name = f"{running.engine.name}-{round_}"
                trivial(running, place / f"trivial-{name}", round_, results)
                large_context(running, place / "large", round_, results)
                huge_context(running, place / "huge", round_, results)
                diamond(running, place / f"diamond-{name}", round_, results)
    print()
    print(results.table())
    if not args.no_report:
        write_section("Building images", report(results, args))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
