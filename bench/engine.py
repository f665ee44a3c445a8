"""Measure `sampan dockerd` beside a real dockerd; runc and crun are timed for comparison.

Everything runs in a network namespace of its own. Prints a table and writes it into
docs/benchmarks.md. `--only NAME` picks measurements.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Final

from bench.engine_peers import Engine, RunningEngine, own_network
from bench.peers import installed
from bench.report import MIB, Metric, Results, machine, spread, write_section
from tests.busybox import docker_archive, root_tar

IMAGE: Final = "bench:latest"
BUSYBOX: Final = Path("/bin/busybox")

METRICS: Final = {
    "run_none": Metric("`docker run --rm --network none`, CLI included", "ms", 60, False, True),
    "run_host": Metric("`docker run --rm --network host`", "ms", 60, False, True),
    "cycle": Metric("API create, start, wait, remove", "ms", 20, False, True),
    "start": Metric("API start alone", "ms", 1, False),
    "cycle_500": Metric("create to remove with 500 images", "ms", 20, False, True),
    "exec": Metric("`docker exec`", "ms", 40, False, True),
    "hundred": Metric("100 containers started at once", "ms", 1, False),
    "memory": Metric("memory of the idle engine, PSS of all its processes", "MiB", 60, False, True),
}
RUNTIMES: Final = {
    "runc": "runc",
    "crun": "crun",
    "sampan": f"{Path(sys.executable).with_name('sampan')} runc",
}


def median_of(count: int, measure: Callable[[], float]) -> float:
    """The median of `count` runs after one that warms up."""
    measure()
    return statistics.median(measure() for _ in range(count))


def figure(name: str, server: RunningEngine, count: int) -> float:
    """One round's figure of one engine."""
    api = server.api()
    try:
        match name:
            case "run_none" | "run_host":
                network = name.removeprefix("run_")
                words = ("run", "--rm", "--network", network, IMAGE, "true")
                return median_of(count, lambda: server.docker(*words))
            case "cycle" | "cycle_500":
                return median_of(count, lambda: sum(api.cycle(IMAGE).values()))
            case "start":
                return median_of(count, lambda: api.cycle(IMAGE)["start"])
            case "exec":
                alone = {"NetworkMode": "none"}
                body = {"Image": IMAGE, "Cmd": ["sleep", "600"], "HostConfig": alone}
                id_ = api.call("POST", "/containers/create", body)["Id"]
                api.call("POST", f"/containers/{id_}/start")
                try:
                    return median_of(count, lambda: server.docker("exec", id_, "true"))
                finally:
                    api.call("DELETE", f"/containers/{id_}?force=1")
            case "hundred":
                return server.cycles_at_once(IMAGE, 100)
            case _:
                return server.memory_bytes() / MIB
    finally:
        api.close()


def run_round(
    peers: Sequence[Engine], names: Sequence[str], place: Path, results: Results, count: int
) -> None:
    """Both engines up, measurements in turns."""
    running: list[RunningEngine] = []
    try:
        for peer in peers:
            running.append(peer.start(place / peer.name))
            running[-1].load(docker_archive(root_tar(BUSYBOX), "bench", ["latest"]))
        if "memory" in names:
            for server in running:
                results.add("memory", server.engine.name, figure("memory", server, 1))
        for name in names:
            if name == "memory":
                continue
            for server in running:
                if name == "cycle_500":
                    tags = [f"v{number}" for number in range(500)]
                    server.load(docker_archive(root_tar(BUSYBOX), "many", tags, different=True))
                results.add(name, server.engine.name, figure(name, server, count))
    finally:
        for server in running:
            server.stop()


def bundle(place: Path) -> Path:
    """An OCI bundle: a busybox root and runc's own default specification running `true`."""
    root = place / "rootfs"
    root.mkdir(parents=True)
    with tarfile.open(fileobj=BytesIO(root_tar(BUSYBOX))) as tar:
        tar.extractall(root, filter="tar")
    subprocess.run(["runc", "spec"], cwd=place, check=True)
    path = place / "config.json"
    spec = json.loads(path.read_text())
    spec["process"] |= {"terminal": False, "args": ["true"]}
    path.write_text(json.dumps(spec))
    return place


def runtimes(place: Path, rounds: int, count: int) -> dict[str, list[float] | str]:
    """Milliseconds of `RUNTIME run` of the bundle; the error text where one does not start."""
    where = bundle(place)
    took: dict[str, list[float] | str] = {}
    for name, words in RUNTIMES.items():
        argv = words.split()
        if shutil.which(argv[0]) is None:
            took[name] = "not installed"

    def once(name: str, number: int) -> float:
        argv = [*RUNTIMES[name].split(), "run", "--bundle", str(where), f"bench-{name}-{number}"]
        began = time.perf_counter()
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, check=False, env=installed()
        )
        if done.returncode != 0:
            raise RuntimeError(done.stderr.decode(errors="replace").strip().splitlines()[-1])
        return (time.perf_counter() - began) * 1e3

    for round_ in range(rounds):
        for name in RUNTIMES:
            figures = took.setdefault(name, [])
            if isinstance(figures, str):
                continue
            try:
                numbers = iter(range(round_ * 1000, round_ * 1000 + 1000))
                figures.append(median_of(count, lambda n=name, i=numbers: once(n, next(i))))  # type: ignore[misc]
            except RuntimeError as error:
                took[name] = str(error)
    return took


def runtime_table(took: dict[str, list[float] | str]) -> str:
    rows = ["| `run` of a bundle with a static true | ms |", "| --- | --- |"]
    for name, figures in took.items():
        rows.append(
            f"| {RUNTIMES[name].rsplit('/', 1)[-1]} | "
            f"{figures if isinstance(figures, str) else spread(figures)} |"
        )
    return "\n".join(rows)


def report(results: Results, second: str, peers: Sequence[Engine], args: argparse.Namespace) -> str:
    arguments = " ".join(["engine", *sys.argv[2:]])
    versions = " and ".join(f"`{peer.version()}`" for peer in peers)
    return f"""Written by `make bench ARGS="{arguments}"` on {datetime.now(UTC):%Y-%m-%d}.

{results.table()}

{second}

Every cell is the median of {args.rounds} rounds, with the least and the greatest in parentheses; a
round's figure is the median of {args.count} runs. A ratio is taken within one round.

- Machine: {machine()}.
- Engines: {versions}, with overlay2 on the same file system, each on a bridge of its own in one
  network namespace, up at the same time and measured in turns by the same command line
  (`{docker_version()}`) and the same raw client on a unix socket.
- The image has one layer with a static busybox; containers run `true`.
- 100 at once: created before, then 100 connections start them at the same moment; the clock stops
  with the last answer. Memory is summed over the daemon and what it started for itself.
"""


def docker_version() -> str:
    return subprocess.run(
        ["docker", "--version"], capture_output=True, text=True, check=True
    ).stdout.strip()


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench engine", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds, 3 at least for a report")
    parser.add_argument("--count", type=int, default=11, help="runs of each measurement a round")
    parser.add_argument("--only", action="append", choices=[*METRICS, "runtimes"])
    parser.add_argument("--dockerd", default=shutil.which("dockerd"), help="the real dockerd")
    parser.add_argument("--no-report", action="store_true", help="print, do not write the report")
    parser.add_argument("--alone", choices=["sampan", "docker"], help="measure one engine only")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the report's section."""
    args = parse(arguments)
    if args.dockerd is None or shutil.which("docker") is None or shutil.which("runc") is None:
        print("needs dockerd, docker and runc (Debian: docker.io, runc)", file=sys.stderr)
        return 2
    own_network()
    peers = [Engine.docker(args.dockerd), Engine.sampan()]
    if args.alone:
        peers = [peer for peer in peers if peer.name == args.alone]
    names = args.only or [*METRICS, "runtimes"]
    results = Results(METRICS, "docker")
    engine_names = [name for name in names if name in METRICS]
    second = ""
    with tempfile.TemporaryDirectory(prefix="bench-") as text:
        for round_ in range(args.rounds if engine_names else 0):
            print(f"round {round_ + 1} of {args.rounds}", flush=True)
            turn = peers if round_ % 2 == 0 else peers[::-1]
            run_round(turn, engine_names, Path(text) / str(round_), results, args.count)
        if "runtimes" in names:
            second = runtime_table(runtimes(Path(text) / "bundle", args.rounds, args.count))
            print(second)
    if args.alone:
        return 0
    print()
    print(results.table())
    if not args.no_report:
        write_section("The engine", report(results, second, peers, args))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
