"""Measure `sampan registry` beside Debian's docker-registry: one large blob sent, and fetched.

The client is a bare HTTP connection, so that the figures are the servers' own. Both are up at the
same time and take turns.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from bench.registry import registry
from bench.report import Metric, Results, machine, write_section

METRICS: Final = {
    "push": Metric("a blob sent in one PATCH, verified", "MB/s", 1, True),
    "pull": Metric("the blob fetched again", "MB/s", 1, True),
}
_PEER: Final = "docker-registry"
_PIECE_BYTES: Final = 1 << 20


@contextmanager
def own_registry(place: Path) -> Iterator[str]:
    """`sampan registry`; gives its address."""
    command = [sys.executable, "-m", "sampan.cli.main", "registry", f"--root={place}"]
    process = subprocess.Popen(
        [*command, "--listen=127.0.0.1:0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if found := re.search(r"(127\.0\.0\.1:\d+)", line):
                yield found[1]
                return
        raise RuntimeError("sampan registry did not get ready")
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def push(host: str, data: bytes) -> tuple[str, float]:
    """Send a blob; returns its path and the seconds from the first request to the last answer."""
    digest = hashlib.sha256(data).hexdigest()
    connection = http.client.HTTPConnection(host, blocksize=_PIECE_BYTES)
    began = time.perf_counter()
    connection.request("POST", "/v2/bench/blob/blobs/uploads/")
    location = _answer(connection, 202)
    headers = {"Content-Type": "application/octet-stream"}
    connection.request("PATCH", location, data, headers)
    location = _answer(connection, 202)
    mark = "&" if "?" in location else "?"
    connection.request("PUT", f"{location}{mark}digest=sha256%3A{digest}", b"")
    _answer(connection, 201)
    spent_s = time.perf_counter() - began
    connection.close()
    return f"/v2/bench/blob/blobs/sha256:{digest}", spent_s


def _answer(connection: http.client.HTTPConnection, status: int) -> str:
    """Return where the answer leads to."""
    response = connection.getresponse()
    response.read()
    if response.status != status:
        raise RuntimeError(f"{response.status} instead of {status}")
    parts = urlsplit(response.headers.get("Location", ""))
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def pull(host: str, path: str) -> float:
    """Fetch a blob; seconds."""
    connection = http.client.HTTPConnection(host)
    began = time.perf_counter()
    connection.request("GET", path)
    response = connection.getresponse()
    buffer = bytearray(_PIECE_BYTES)
    while response.readinto(buffer):
        pass
    spent_s = time.perf_counter() - began
    connection.close()
    return spent_s


def report(results: Results, args: argparse.Namespace) -> str:
    arguments = " ".join(["hosting", *sys.argv[2:]])
    return f"""Written by `make bench ARGS="{arguments}"` on {datetime.now(UTC):%Y-%m-%d}.

{results.table()}

Every cell is the median of {args.rounds} rounds, with the least and the greatest in parentheses; a
ratio is taken within one round. A blob is {args.megabytes} MB of random bytes; the client is a bare
HTTP connection.

- Machine: {machine()}.
- Both keep blobs on the same file system and verify the digest before they answer.
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench hosting", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds, 3 at least for a report")
    parser.add_argument("--megabytes", type=int, default=256, help="how large a blob is")
    parser.add_argument("--no-report", action="store_true", help="print, do not write the report")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the report's section."""
    args = parse(arguments)
    if shutil.which("docker-registry") is None:
        print("needs docker-registry", file=sys.stderr)
        return 2
    results = Results(METRICS, _PEER)
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        hosts = {
            _PEER: stack.enter_context(registry(place / "theirs")),
            "sampan": stack.enter_context(own_registry(place / "own")),
        }
        for round_ in range(args.rounds):
            for name in list(hosts) if round_ % 2 == 0 else list(hosts)[::-1]:
                data = os.urandom(args.megabytes * 1_000_000)
                path, spent_s = push(hosts[name], data)
                results.add("push", name, args.megabytes / spent_s)
                results.add("pull", name, args.megabytes / pull(hosts[name], path))
    print(results.table())
    if not args.no_report:
        write_section("A registry's server", report(results, args))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
