"""Snapshots: made while writes go on; exchanged with the real etcd in both directions."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest
from tests.real import require
from tests.servers import Server, debian_etcd
from tests.store.disk import rev_key, run

from sampan.store.core.bolt import BoltReader
from sampan.store.pb.kv_pb2 import KeyValue
from sampan.store.shell import snapshot
from sampan.store.shell.datadir import DataDir, Membership
from sampan.store.shell.lmdb_backend import LmdbBackend
from sampan.store.shell.memory_backend import MemoryBackend
from sampan.store.shell.restore import Restoration, restore
from sampan.store.shell.snapshot import SnapshotError

MEMBER = Membership("m", 0xC1, 0xA1)


def raw(name: bytes, value: bytes, rev: int) -> bytes:
    message = KeyValue(key=name, value=value, create_revision=rev, mod_revision=rev, version=1)
    return message.SerializeToString()


def fill(backend: LmdbBackend | MemoryBackend, count: int) -> None:
    for rev in range(2, count + 2):
        backend.revisions[rev_key(rev)] = raw(b"key%05d" % rev, b"v" * (rev % 700), rev)
    backend.put("cluster", b"clusterVersion", b"3.4.0")
    backend.put("auth", b"authRevision", (1).to_bytes(8, "big"))


@pytest.fixture(params=["lmdb", "memory"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def make(kind: str, path: Path) -> LmdbBackend | MemoryBackend:
    return MemoryBackend() if kind == "memory" else LmdbBackend(path / "backend" / "db")


def saved(path: Path, *, kind: str = "lmdb", count: int = 1000) -> Path:
    async def main() -> None:
        backend = make(kind, path)
        fill(backend, count)
        await snapshot.save(backend, path / "snap.db")
        await backend.close()

    run(main())
    return path / "snap.db"


def test_a_saved_snapshot_has_everything_and_its_digest(tmp_path: Path, kind: str) -> None:
    data = saved(tmp_path, kind=kind).read_bytes()
    assert sha256(data[:-32]).digest() == data[-32:]
    assert len(data) % 512 == 32
    reader = BoltReader(data)
    assert len(list(reader.items(b"key"))) == 1000
    assert b"members_removed" in reader.buckets()
    assert dict(reader.items(b"cluster")) == {b"clusterVersion": b"3.4.0"}
    found = snapshot.status(tmp_path / "snap.db")
    assert (found.revision, found.total_size_bytes) == (1001, len(data) - 32)


def test_a_snapshot_is_of_one_moment_while_writes_go_on(tmp_path: Path, kind: str) -> None:
    async def main() -> None:
        backend = make(kind, tmp_path)
        fill(backend, 3000)
        taking = asyncio.create_task(collect(backend))
        rev = 3002
        while not taking.done():
            backend.revisions[rev_key(rev)] = raw(b"later", b"", rev)
            rev += 1
            await asyncio.sleep(0)
        revisions = [key for key, _ in BoltReader(await taking).items(b"key")]
        assert revisions[:3000] == [rev_key(each) for each in range(2, 3002)]
        assert revisions == [rev_key(each) for each in range(2, len(revisions) + 2)]
        await backend.close()

    async def collect(backend: LmdbBackend | MemoryBackend) -> bytes:
        async with snapshot.take(backend) as made:
            blocks = [block async for block in made.blocks(32 << 10)]
            assert all(len(block) == 32 << 10 for block in blocks[:-1])
            data = b"".join(blocks)
            assert len(data) == made.size_bytes
            return data

    run(main())


def test_restore_gives_a_directory_of_the_new_member(tmp_path: Path) -> None:
    path = saved(tmp_path)
    target = tmp_path / "restored"
    assert restore(path, Restoration(target, MEMBER)).revision == 1001
    assert target.stat().st_mode & 0o777 == 0o700

    async def main() -> None:
        data_dir = DataDir.open(target, MEMBER)
        backend = LmdbBackend(data_dir.backend_path)
        assert len(list(backend.scan_revisions(b"", None))) == 1000
        assert backend.get("auth", b"authRevision") == (1).to_bytes(8, "big")
        assert list(backend.scan("cluster")) == []
        await backend.close()
        data_dir.close()

    run(main())


def test_restore_refuses_damage_and_full_directories(tmp_path: Path) -> None:
    path = saved(tmp_path)
    data = bytearray(path.read_bytes())
    with pytest.raises(SnapshotError, match="not empty"):
        restore(path, Restoration(tmp_path, MEMBER))
    target = tmp_path / "new"
    path.write_bytes(data[:-32])
    with pytest.raises(SnapshotError, match="skip-hash-check"):
        restore(path, Restoration(target, MEMBER))
    unchecked = Restoration(tmp_path / "copy", MEMBER, skip_hash_check=True)
    assert restore(path, unchecked).revision == 1001
    data[20_000] ^= 1
    path.write_bytes(data)
    with pytest.raises(SnapshotError, match="SHA-256 does not match"):
        restore(path, Restoration(target, MEMBER))
    path.write_bytes(b"garbage" * 100)
    with pytest.raises(SnapshotError, match="not a sound snapshot"):
        restore(path, Restoration(target, MEMBER, skip_hash_check=True))
    assert not target.exists()
    assert not list(tmp_path.glob("*.part"))


def test_hash_of_buckets_is_that_of_the_status(tmp_path: Path) -> None:
    async def main() -> None:
        backend = make("lmdb", tmp_path)
        fill(backend, 10)
        async with backend.view() as view:
            whole = snapshot.hash_buckets(view)
            part = snapshot.hash_buckets(view, frozenset({("meta", b"term")}))
        await snapshot.save(backend, tmp_path / "s")
        assert snapshot.status(tmp_path / "s").hash == whole != part
        await backend.close()

    run(main())


# ---- the real etcd


def etcdctl(*arguments: str, check: bool = True) -> str:
    command = [str(require("etcdctl")), *arguments]
    environment = {**os.environ, "ETCDCTL_API": "3"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, done.stderr
    return done.stdout


def etcd(data_dir: Path) -> Server:
    """The real etcd, to run on that directory."""
    return Server(debian_etcd(require("etcd")), data_dir)


@pytest.mark.real
def test_etcdctl_sees_in_our_snapshot_what_we_see(tmp_path: Path) -> None:
    path = saved(tmp_path, count=5000)
    theirs = json.loads(etcdctl("snapshot", "status", str(path), "--write-out", "json"))
    ours = snapshot.status(path)
    assert theirs == {
        "hash": ours.hash,
        "revision": ours.revision,
        "totalKey": ours.total_key,
        "totalSize": ours.total_size_bytes,
    }


@pytest.mark.real
def test_etcd_starts_on_our_snapshot(tmp_path: Path) -> None:
    path = saved(tmp_path, count=5000)
    etcdctl("snapshot", "restore", str(path), "--data-dir", str(tmp_path / "etcd"))
    with etcd(tmp_path / "etcd") as server:
        at = ("--endpoints", server.endpoint)
        listed = etcdctl("get", "", "--prefix", "--keys-only", *at).split()
        assert listed == [f"key{rev:05d}" for rev in range(2, 5002)]
        assert etcdctl("get", "key00699", "--print-value-only", *at).strip() == "v" * 699
        assert etcdctl("get", "key00002", "--write-out", "json", *at).count('"mod_revision":2') == 1
        assert etcdctl("put", "new", "one", *at).strip() == "OK"
        etcdctl("compact", "4000", *at)
        etcdctl("defrag", *at)
        assert etcdctl("get", "new", "--print-value-only", *at).strip() == "one"


@pytest.mark.real
def test_we_restore_what_etcd_saved(tmp_path: Path) -> None:
    path = tmp_path / "real.db"
    with etcd(tmp_path / "etcd") as server:
        at = ("--endpoints", server.endpoint)
        for number in range(20):
            etcdctl("put", f"k{number}", "v" * number * 400, *at)
        etcdctl("del", "k3", *at)
        etcdctl("lease", "grant", "1000", *at)
        etcdctl("snapshot", "save", str(path), *at)
    theirs = json.loads(etcdctl("snapshot", "status", str(path), "--write-out", "json"))
    found = restore(path, Restoration(tmp_path / "ours", MEMBER))
    assert (found.hash, found.revision) == (theirs["hash"], theirs["revision"])

    async def main() -> None:
        backend = LmdbBackend(tmp_path / "ours" / "member" / "snap" / "db")
        rows = [KeyValue.FromString(each) for _, each in backend.scan_revisions(b"", None)]
        assert [(row.key, len(row.value)) for row in rows] == [
            *((b"k%d" % number, 400 * number) for number in range(20)),
            (b"k3", 0),
        ]
        assert len(list(backend.scan("lease"))) == 1
        assert backend.consistent_index > 20
        await backend.close()

    run(main())
