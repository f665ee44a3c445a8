"""Measure pull and push beside dockerd, with Debian's docker-registry on loopback.

The image has several layers of the machine's own /usr. Both engines are up at the same time and
take turns.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench.engine_peers import Engine, RunningEngine, own_network
from bench.layers import chosen
from bench.report import MIB, Metric, Results, machine, write_section

METRICS: Final = {
    "push": Metric("docker push of what was loaded: compressed and sent", "s", 1, False),
    "pull": Metric("docker pull: downloaded, verified, unpacked", "s", 1, False),
    "again": Metric("docker pull of what is there", "ms", 1, False),
    "memory": Metric("memory after the pulls (PSS)", "MiB", 60, False, True),
}


@contextmanager
def registry(place: Path) -> Iterator[str]:
    """Debian's registry; gives its address."""
    place.mkdir()
    config = {
        "version": 0.1,
        "log": {"level": "info", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(place / "blobs")}},
        "http": {"addr": "127.0.0.1:0", "secret": "bench"},
    }
    path = place / "config.yml"
    path.write_text(json.dumps(config))
    process = subprocess.Popen(
        ["docker-registry", "serve", str(path)],
        stdout=subprocess.DEVNULL,
        stderr=open(place / "log", "w"),
    )
    try:
        while (found := re.search(r"listening on (127\.0\.0\.1:\d+)", _text(place))) is None:
            if process.poll() is not None:
                raise RuntimeError(_text(place))
            time.sleep(0.05)
        yield found[1]
    finally:
        process.terminate()
        process.wait()


def _text(place: Path) -> str:
    return (place / "log").read_text()


def make_archive(megabytes: int, count: int, mark: str) -> tuple[bytes, int, int]:
    """A docker archive of an image with so many layers; its size plain, and by gzip.

    Another mark makes other layers of the same files.
    """
    paths, _ = chosen(megabytes * 1_000_000)
    layers = []
    for at in range(count):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            tar.addfile(tarfile.TarInfo(f"{mark}-{at}"))
            for path in paths[at * len(paths) // count : (at + 1) * len(paths) // count]:
                tar.add(path, path.lstrip("/"), recursive=False)
        layers.append(buffer.getvalue())
    diff_ids = ["sha256:" + hashlib.sha256(layer).hexdigest() for layer in layers]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["true"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created_by": "bench"} for _ in layers],
    }
    manifest = [
        {
            "Config": "config.json",
            "RepoTags": ["usr:1"],
            "Layers": [f"{at}.tar" for at in range(count)],
        }
    ]
    files = {f"{at}.tar": layer for at, layer in enumerate(layers)}
    files |= {"config.json": json.dumps(config).encode()}
    files |= {"manifest.json": json.dumps(manifest).encode()}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    packed = sum(len(gzip.compress(layer, 1)) for layer in layers)
    return buffer.getvalue(), sum(map(len, layers)), packed


def forget(engine: RunningEngine, *names: str) -> None:
    """Remove images, so that nothing of their layers is left."""
    for name in names:
        engine.docker("rmi", "-f", name)


def one_round(results: Results, engine: RunningEngine, host: str, common: str) -> None:
    """Push what was loaded, and pull what the other registry's repository has."""
    peer = engine.engine.name
    name = f"{host}/{peer}/usr:1"
    engine.docker("tag", "usr:1", name)
    results.add("push", peer, engine.docker("push", "-q", name) / 1e3)
    os.sync()
    results.add("pull", peer, engine.docker("pull", "-q", common) / 1e3)
    results.add("again", peer, engine.docker("pull", "-q", common))
    # At the end: ext4 makes files slowly where many were removed just before.
    forget(engine, common, name, "usr:1")


def report(results: Results, sizes: tuple[int, int], args: argparse.Namespace) -> str:
    arguments = " ".join(["registry", *sys.argv[2:]])
    return f"""Written by `make bench ARGS="{arguments}"` on {datetime.now(UTC):%Y-%m-%d}.

{results.table()}

Every cell is the median of {args.rounds} rounds, with the least and the greatest in parentheses; a
ratio is taken within one round. The docker command line is part of each figure.

- Machine: {machine()}.
- The image: {args.layers} layers of files of /usr, {sizes[0] / 1e6:,.0f} MB as plain tars,
  {sizes[1] / 1e6:,.0f} MB by `gzip -1`. Both pull what dockerd has pushed.
- The registry is Debian's docker-registry on loopback, with its blobs on the same file system.
- Both engines verify the digests of blobs and of plain tars; dockerd compresses by gzip's default.
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench registry", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds, 3 at least for a report")
    parser.add_argument("--megabytes", type=int, default=300, help="about how large the image is")
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--no-report", action="store_true", help="print, do not write the report")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the report's section."""
    args = parse(arguments)
    dockerd = shutil.which("dockerd")
    if dockerd is None or shutil.which("docker-registry") is None or os.geteuid() != 0:
        print("needs dockerd, docker-registry and root", file=sys.stderr)
        return 2
    own_network()
    results = Results(METRICS, "docker")
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        host = stack.enter_context(registry(place / "registry"))
        engines: list[RunningEngine] = []
        for engine in (Engine.docker(dockerd), Engine.sampan()):
            engines.append(engine.start(place / engine.name))
            stack.callback(engines[-1].stop)
        archive, *sizes = make_archive(args.megabytes, args.layers, "common")
        common = f"{host}/common/usr:1"
        engines[0].load(archive)
        engines[0].docker("tag", "usr:1", common)
        engines[0].docker("push", "-q", common)
        forget(engines[0], common, "usr:1")
        for round_ in range(args.rounds):
            print(f"round {round_ + 1} of {args.rounds}", flush=True)
            archive, *_ = make_archive(args.megabytes, args.layers, f"round{round_}")
            for running in engines if round_ % 2 == 0 else engines[::-1]:
                running.load(archive)
                one_round(results, running, host, common)
        for running in engines:
            results.add("memory", running.engine.name, running.memory_bytes() / MIB)
    print()
    print(results.table())
    if not args.no_report:
        write_section("Registry", report(results, (sizes[0], sizes[1]), args))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
