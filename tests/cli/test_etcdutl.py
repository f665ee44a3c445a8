"""The commands that work on a store's files: etcdutl, repair, restore."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sampan.base.log import Logger
from sampan.loop.runner import run
from sampan.store.api.server import EtcdServer
from sampan.store.client import Client
from sampan.store.shell.config import EtcdConfig, Url

SAMPAN = str(Path(sys.executable).parent / "sampan")
KEYS = 50
ANY_PORT = (Url("http", "127.0.0.1", 0),)


def sampan(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SAMPAN, *words], capture_output=True, text=True, timeout=60, check=False)


def config(data_dir: Path) -> EtcdConfig:
    return EtcdConfig(
        data_dir=str(data_dir), listen_client_urls=ANY_PORT, advertise_client_urls=ANY_PORT
    )


async def fill(data_dir: Path, snapshot: Path) -> int:
    """Make a store with a history, save a snapshot of it, and return its hash."""
    server = await EtcdServer.start(config(data_dir), Logger(lambda _: 0, lambda: 0.0))
    try:
        async with Client(server.endpoints) as client:
            for i in range(KEYS):
                await client.put(f"key/{i:03}", "x" * 1000)
            await client.delete("key/000")
            await client.compact(KEYS // 2, physical=True)
            hashed, _ = await client.maintenance.hash_kv()
            with open(snapshot, "wb") as file:  # noqa: ASYNC230
                async for piece in client.maintenance.snapshot():
                    file.write(piece)
    finally:
        await server.stop(grace_s=0)
    return hashed


async def read_all(data_dir: Path) -> list[str]:
    server = await EtcdServer.start(config(data_dir), Logger(lambda _: 0, lambda: 0.0))
    try:
        async with Client(server.endpoints) as client:
            return [kv.key.decode() for kv in await client.get_prefix("key/")]
    finally:
        await server.stop(grace_s=0)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, int]:
    """Data directory, snapshot, and hash of a stopped store."""
    directory = tmp_path_factory.mktemp("store")
    data, snapshot = directory / "data", directory / "snap.db"
    return data, snapshot, run(fill(data, snapshot))


def test_a_snapshot_is_described(store: tuple[Path, Path, int]) -> None:
    _, snapshot, _ = store
    done = sampan("etcdutl", "snapshot", "status", str(snapshot))
    assert re.fullmatch(rf"[0-9a-f]+, {KEYS + 2}, \d+, \d+ kB\n", done.stdout), done
    told = json.loads(sampan("etcdutl", "snapshot", "status", str(snapshot), "-w=json").stdout)
    assert told["revision"] == KEYS + 2 and told["totalSize"] > 50_000
    table = sampan("etcdutl", "snapshot", "status", str(snapshot), "-w", "table").stdout
    assert [line[0] for line in table.splitlines()] == list("+|+|+")
    assert "TOTAL KEYS" in table


def test_the_hash_is_that_of_the_running_server(store: tuple[Path, Path, int]) -> None:
    data, snapshot, hashed = store
    for path in (data, snapshot):
        told = json.loads(sampan("etcdutl", "hashkv", str(path), "-w", "json").stdout)
        assert told == {
            "hash": hashed,
            "hashRevision": KEYS + 2,
            "compactRevision": KEYS // 2,
        }


def test_a_revision_that_is_not_kept_has_no_hash(store: tuple[Path, Path, int]) -> None:
    done = sampan("etcdutl", "hashkv", str(store[1]), "--rev", "3")
    assert (done.returncode, done.stdout) == (1, "")
    assert "required revision has been compacted" in done.stderr


def test_defragmentation_keeps_the_data(store: tuple[Path, Path, int]) -> None:
    data, _, hashed = store
    done = sampan("etcdutl", "defrag", "--data-dir", str(data))
    assert done.returncode == 0, done
    assert re.search(r"defragmented .* [\d.]+ \wB -> [\d.]+ \wB in \d+ ms", done.stdout)
    told = json.loads(sampan("etcdutl", "hashkv", str(data), "-w", "json").stdout)
    assert told["hash"] == hashed


@pytest.mark.parametrize("command", [("etcdutl", "snapshot", "restore"), ("etcd", "restore")])
def test_a_snapshot_is_restored(
    store: tuple[Path, Path, int], tmp_path: Path, command: tuple[str, ...]
) -> None:
    new = tmp_path / "new"
    done = sampan(*command, str(store[1]), f"--data-dir={new}")
    assert done.returncode == 0, done
    assert run(read_all(new)) == [f"key/{i:03}" for i in range(1, KEYS)]
    again = sampan(*command, str(store[1]), f"--data-dir={new}")
    assert again.returncode == 1
    assert "is not empty" in again.stderr


@pytest.mark.parametrize("flag", ["--bump-revision=5", "--mark-compacted"])
def test_revisions_are_skipped_only_when_all_before_count_as_compacted(
    store: tuple[Path, Path, int], flag: str
) -> None:
    done = sampan("etcdutl", "snapshot", "restore", str(store[1]), flag)
    assert done.returncode == 2
    assert "--bump-revision and --mark-compacted go together" in done.stderr


def test_what_is_not_supported_yet_says_so() -> None:
    assert "not supported yet" in sampan("etcdutl", "migrate", "--data-dir=x").stderr


def test_a_damaged_directory_is_repaired_into_a_new_one(tmp_path: Path) -> None:
    data, saved = tmp_path / "data", tmp_path / "saved"
    run(fill(data, tmp_path / "snap.db"))
    done = sampan("etcd", "repair", "--data-dir", str(data), "--to", str(saved))
    assert done.returncode == 0, done
    assert "saved backend" in done.stdout and "LOST" not in done.stdout
    assert run(read_all(saved)) == [f"key/{i:03}" for i in range(1, KEYS)]


@pytest.mark.parametrize(
    "words",
    [
        ("etcdutl", "defrag", "--data-dir", "{missing}"),
        ("etcdutl", "hashkv", "{missing}"),
        ("etcdutl", "snapshot", "status", "{missing}"),
        ("etcdutl", "snapshot", "restore", "{missing}", "--data-dir={missing}.new"),
        ("etcd", "repair", "--data-dir", "{missing}", "--to", "{missing}.new"),
    ],
)
def test_missing_files_are_named(tmp_path: Path, words: tuple[str, ...]) -> None:
    missing = str(tmp_path / "missing")
    done = sampan(*(word.format(missing=missing) for word in words))
    assert (done.returncode, done.stdout) == (1, "")
    assert missing in done.stderr and "Traceback" not in done.stderr


def test_a_directory_in_use_is_left_alone(tmp_path: Path) -> None:
    async def scenario() -> subprocess.CompletedProcess[str]:
        data = tmp_path / "data"
        server = await EtcdServer.start(config(data), Logger(lambda _: 0, lambda: 0.0))
        try:
            return await asyncio.to_thread(sampan, "etcdutl", "defrag", "--data-dir", str(data))
        finally:
            await server.stop(grace_s=0)

    done = run(scenario())
    assert done.returncode == 1
    assert "is in use by process" in done.stderr
