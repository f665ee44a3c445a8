"""Measure unpacking a layer beside GNU tar, which verifies nothing.

A tree of the machine's own /usr, the same files in the same order every time, becomes a layer:
plain, by gzip and by zstd. Both unpack it in turns on the same file system.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench.report import Metric, Results, machine, write_section

from sampan.images.shell.layers import Form, unpack_layer

METRICS: Final = {
    "zstd": Metric("zstd", "MB/s", 400, True, True),
    "gzip": Metric("gzip", "MB/s", 1.5, True),
    "plain": Metric("plain", "MB/s", 0.8, True),
    "zstd-cpu": Metric("zstd, CPU time of all threads", "s/GB", 1.5, False),
    "gzip-cpu": Metric("gzip, CPU time of all threads", "s/GB", 1, False),
    "plain-cpu": Metric("plain, CPU time of all threads", "s/GB", 1.5, False),
}
WORDS: Final = {"zstd": ["--zstd"], "gzip": ["-z"], "plain": []}
COMPRESS: Final = {"zstd": ["zstd", "-3", "-q", "-c"], "gzip": ["gzip", "-6", "-c"]}
TOPS: Final = ("/usr/bin", "/usr/sbin", "/usr/lib", "/usr/share", "/usr/include", "/usr/libexec")


def chosen(limit_bytes: int) -> tuple[list[str], int]:
    """Paths below /usr in the order of their names, of every n-th package's worth of files."""
    found: list[tuple[str, int]] = []
    for top in TOPS:
        for folder, folders, files in os.walk(top):
            folders.sort()
            for name in sorted(files):
                path = os.path.join(folder, name)
                size = 0 if os.path.islink(path) else os.lstat(path).st_size
                # One huge file would be a benchmark of copying.
                if size < 64 << 20:
                    found.append((path, size))
    step = max(1, sum(size for _, size in found) // limit_bytes)
    taken = found[::step]
    return [path for path, _ in taken], sum(size for _, size in taken)


def make_layers(place: Path, limit_bytes: int) -> tuple[dict[str, Path], int]:
    """The layer in each form, and how many entries it has."""
    paths, _ = chosen(limit_bytes)
    listing = place / "list"
    listing.write_bytes(b"\0".join(os.fsencode(path.lstrip("/")) for path in paths))
    plain = place / "plain.tar"
    words = ["tar", "-C", "/", "--null", "--no-recursion", "-T", str(listing), "--format=gnu"]
    fixed = ["--owner=0", "--group=0", "--mtime=@1000000000"]
    subprocess.run([*words, *fixed, "-cf", str(plain)], check=True, stderr=subprocess.DEVNULL)
    layers = {"plain": plain}
    for form, command in COMPRESS.items():
        layers[form] = place / f"{form}.tar"
        with open(plain, "rb") as source, open(layers[form], "wb") as target:
            subprocess.run(command, stdin=source, stdout=target, check=True)
    return layers, len(paths)


def unpack(peer: str, form: str, layer: Path, target: Path) -> tuple[float, float]:
    """Seconds, and seconds of CPU time, to unpack into a new directory.

    Nothing is left to be written before.
    """
    target.mkdir()
    os.sync()
    worked, began = cpu_s(), time.perf_counter()
    if peer == "tar":
        subprocess.run(["tar", *WORDS[form], "-xpf", str(layer), "-C", str(target)], check=True)
    else:
        with open(layer, "rb") as file:
            unpack_layer(file, target, Form())
    return time.perf_counter() - began, cpu_s() - worked


def cpu_s() -> float:
    """CPU time of this process, and of its children that have ended."""
    return sum(os.times()[:4])


def report(results: Results, entries: int, size: int, args: argparse.Namespace) -> str:
    arguments = " ".join(["layers", *sys.argv[2:]])
    return f"""Written by `make bench ARGS="{arguments}"` on {datetime.now(UTC):%Y-%m-%d}.

{results.table()}

Megabytes of the plain tar a second. Every cell is the median of {args.rounds} rounds, with the
least and the greatest in parentheses; a ratio is taken within one round.

- Machine: {machine()}.
- The layer: every n-th file of /usr, {entries:,} entries, {size / 1e6:,.0f} MB as a plain tar;
  `zstd -3` and `gzip -6`.
- Ours decompresses, verifies the digests of the blob and of the plain tar, and sets owners, modes,
  times and attributes. GNU tar (`tar -xpf`) decompresses in a process of its own and verifies
  nothing.
- Each unpacks into a new directory on the same file system, in turns; nothing is removed before the
  end, since ext4 makes files slowly where many were removed just before.
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench layers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds, 3 at least for a report")
    parser.add_argument("--megabytes", type=int, default=600, help="about how large the layer is")
    parser.add_argument("--only", action="append", choices=[*WORDS])
    parser.add_argument("--place", help="where to unpack, the temporary directory by default")
    parser.add_argument("--no-report", action="store_true", help="print, do not write the report")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the report's section."""
    args = parse(arguments)
    if shutil.which("zstd") is None or os.geteuid() != 0:
        print("needs zstd, and root to set owners", file=sys.stderr)
        return 2
    results = Results(METRICS, "tar")
    with tempfile.TemporaryDirectory(prefix="bench-", dir=args.place) as text:
        place = Path(text)
        layers, entries = make_layers(place, args.megabytes * 1_000_000)
        size = layers["plain"].stat().st_size
        print(f"{entries:,} entries, {size / 1e6:,.0f} MB", flush=True)
        for round_ in range(args.rounds):
            print(f"round {round_ + 1} of {args.rounds}", flush=True)
            turn = ("tar", "sampan") if round_ % 2 == 0 else ("sampan", "tar")
            for form in args.only or WORDS:
                for peer in turn:
                    target = place / f"{form}-{peer}-{round_}"
                    took_s, worked_s = unpack(peer, form, layers[form], target)
                    results.add(form, peer, size / 1e6 / took_s)
                    results.add(f"{form}-cpu", peer, worked_s / (size / 1e9))
    print()
    print(results.table())
    if not args.no_report:
        write_section("Layers", report(results, entries, size, args))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
