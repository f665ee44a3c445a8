"""Logs that are read while things go away."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
from pathlib import Path

from sampan.engine.process.logs import LogQuery, read_logs


def record(text: str) -> bytes:
    found = {"log": f"{text}\n", "stream": "stdout", "time": "2026-01-02T03:04:05.000000006Z"}
    return json.dumps(found).encode() + b"\n"


def append(path: Path, text: str) -> None:
    with open(path, "ab") as file:
        file.write(record(text))


def test_following_ends_when_the_container_has_gone(tmp_path: Path) -> None:
    path = tmp_path / "container" / "json.log"
    path.parent.mkdir()
    path.write_bytes(record("first"))

    async def main() -> list[bytes]:
        batches = read_logs(path, LogQuery(follow=True), lambda: True)
        found = [entry.line for entry in await anext(batches)]
        append(path, "last")
        shutil.rmtree(path.parent)
        async for batch in batches:
            found += [entry.line for entry in batch]
        return found

    assert asyncio.run(main()) == [b"first\n", b"last\n"]


def test_following_goes_on_where_the_kernel_has_no_more_watches(tmp_path: Path) -> None:
    path = tmp_path / "json.log"
    path.write_bytes(record("first"))
    alive = True

    async def main() -> list[bytes]:
        nonlocal alive
        batches = read_logs(path, LogQuery(follow=True), lambda: alive)
        found = [entry.line for entry in await anext(batches)]
        writer = os.open(path, os.O_WRONLY | os.O_APPEND)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        try:
            following = asyncio.ensure_future(anext(batches))
            await asyncio.sleep(0)
            os.write(writer, record("more"))
            found += [entry.line for entry in await following]
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            os.close(writer)
        alive = False
        return found + [entry.line for batch in [b async for b in batches] for entry in batch]

    assert asyncio.run(main()) == [b"first\n", b"more\n"]
