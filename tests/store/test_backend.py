"""The backends: what is written is read, before, during and after a commit, and after a crash."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import lmdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.store.disk import rev_key, run

from sampan.store.shell import lmdb_file
from sampan.store.shell.lmdb_backend import BackendFullError, LmdbBackend
from sampan.store.shell.lmdb_file import BackendError, LmdbFile
from sampan.store.shell.memory_backend import MemoryBackend
from sampan.store.shell.write_buffer import WriteBuffer

AnyBackend = LmdbBackend | MemoryBackend


class Owner:
    """Tells the applied index, remembers the reports."""

    def __init__(self, index: int = 0, term: int = 1) -> None:
        self.index = index
        self.term = term
        self.done: list[int] = []
        self.failures: list[BackendError] = []
        self.failed = asyncio.Event()

    def applied(self) -> tuple[int, int]:
        return self.index, self.term

    def committed(self, index: int) -> None:
        self.done.append(index)

    def commit_failed(self, error: BackendError) -> None:
        self.failures.append(error)
        self.failed.set()


@pytest.fixture(params=["lmdb", "memory"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], AnyBackend]:
    def backend() -> AnyBackend:
        return MemoryBackend() if request.param == "memory" else LmdbBackend(tmp_path / "db")

    return backend


def test_revisions_are_read_whatever_their_stage(make: Callable[[], AnyBackend]) -> None:
    async def main() -> None:
        backend = make()
        everything = []
        for main_rev in range(1, 3000):
            key, raw = rev_key(main_rev), b"raw %d" % main_rev
            backend.revisions[key] = raw
            everything.append((key, raw))
            if main_rev in (700, 2000):
                await backend.commit()
        assert all(backend.revision(key) == raw for key, raw in everything)
        assert backend.revision(rev_key(4000)) is None
        assert list(backend.scan_revisions(b"", None)) == everything
        assert list(backend.scan_revisions(rev_key(600), rev_key(2500))) == everything[599:2499]
        assert list(backend.scan_revisions(rev_key(2999), None)) == everything[2998:]
        assert list(backend.scan_revisions(rev_key(5), rev_key(5))) == []
        await backend.close()

    run(main())


def test_deleted_revisions_are_gone_at_once(make: Callable[[], AnyBackend]) -> None:
    async def main() -> None:
        backend = make()
        for main_rev in range(1, 21):
            backend.revisions[rev_key(main_rev)] = b"x"
            if main_rev == 10:
                await backend.commit()
        backend.delete_revisions(rev_key(each) for each in (*range(1, 9), 15, 99))
        kept = [rev_key(each) for each in range(9, 21) if each != 15]
        for _ in range(2):
            assert [key for key, _ in backend.scan_revisions(b"", None)] == kept
            assert backend.revision(rev_key(3)) is None
            assert backend.revision(rev_key(15)) is None
            await backend.commit()
        await backend.close()

    run(main())


def test_small_buckets_see_their_own_writes(make: Callable[[], AnyBackend]) -> None:
    async def main() -> None:
        backend = make()
        backend.put("lease", b"a", b"1")
        backend.put("lease", b"c", b"")
        backend.put("auth", b"b", b"other bucket")
        await backend.commit()
        backend.put("lease", b"b", b"2")
        backend.put("lease", b"a", b"3")
        backend.delete("lease", b"c")
        backend.delete("lease", b"unknown")
        for _ in range(2):
            assert backend.get("lease", b"a") == b"3"
            assert backend.get("lease", b"c") is None
            assert list(backend.scan("lease")) == [(b"a", b"3"), (b"b", b"2")]
            assert list(backend.scan("lease", b"b", b"c")) == [(b"b", b"2")]
            assert list(backend.scan("auth")) == [(b"b", b"other bucket")]
            await backend.commit()
        await backend.close()

    run(main())


def test_names_longer_than_the_database_allows(make: Callable[[], AnyBackend]) -> None:
    async def main() -> None:
        backend = make()
        names = [b"u" * length for length in (1, 510, 511, 512, 5000)]
        for name in names:
            backend.put("authUsers", name, b"user " + name[:1])
        await backend.commit()
        assert list(backend.scan("authUsers")) == [(name, b"user u") for name in names]
        assert all(backend.get("authUsers", name) == b"user u" for name in names)
        backend.delete("authUsers", names[3])
        await backend.commit()
        assert [name for name, _ in backend.scan("authUsers")] == names[:3] + names[4:]
        async with backend.view() as view:
            assert [name for name, _ in view.items("authUsers")] == names[:3] + names[4:]
        await backend.close()

    run(main())


def test_a_view_stays_as_it_was(make: Callable[[], AnyBackend]) -> None:
    async def main() -> None:
        backend = make()
        backend.revisions[rev_key(1)] = b"one"
        async with backend.view() as view:
            backend.revisions[rev_key(2)] = b"two"
            await backend.commit()
            assert list(view.items("key")) == [(rev_key(1), b"one")]
        assert len(list(backend.scan_revisions(b"", None))) == 2
        await backend.close()

    run(main())


def test_a_scan_goes_on_while_commits_happen(tmp_path: Path) -> None:
    async def main() -> None:
        backend = LmdbBackend(tmp_path / "db")
        for main_rev in range(1, 5001):
            backend.revisions[rev_key(main_rev)] = b"x"
            if main_rev == 2500:
                await backend.commit()
        seen = []
        for number, (key, _) in enumerate(backend.scan_revisions(b"", None)):
            seen.append(key)
            if number % 1000 == 500:
                backend.revisions[rev_key(6000 + number)] = b"later"
                await backend.commit()
        assert seen[:5000] == [rev_key(each) for each in range(1, 5001)]
        assert seen == sorted(set(seen))
        await backend.close()

    run(main())


OPS = st.lists(
    st.one_of(
        st.just("commit"),
        st.tuples(st.just("put"), st.integers(0, 5), st.binary(max_size=3)),
        st.tuples(st.just("delete"), st.integers(0, 5)),
        st.tuples(st.just("write"), st.binary(max_size=3)),
        st.tuples(st.just("purge"), st.integers(0, 12)),
        st.just("defragment"),
        st.just("reopen"),
    ),
    max_size=30,
)


@settings(max_examples=40, deadline=None)
@given(OPS)
def test_any_sequence_of_operations_matches_two_dicts(ops: list[object]) -> None:
    async def main() -> None:
        place = Path(os.environ.get("TMPDIR", "/tmp")) / f"sampan-backend-{os.getpid()}"
        shutil.rmtree(place, ignore_errors=True)
        backend = LmdbBackend(place / "db", fsync=False)
        revisions: dict[bytes, bytes] = {}
        leases: dict[bytes, bytes] = {}
        main_rev = 0
        for op in ops:
            match op:
                case "commit":
                    await backend.commit()
                case "defragment":
                    await backend.defragment()
                case "reopen":
                    await backend.close()
                    backend = LmdbBackend(place / "db", fsync=False)
                case ("put", int(name), bytes(value)):
                    backend.put("lease", b"%d" % name, value)
                    leases[b"%d" % name] = value
                case ("delete", int(name)):
                    backend.delete("lease", b"%d" % name)
                    leases.pop(b"%d" % name, None)
                case ("write", bytes(value)):
                    main_rev += 1
                    backend.revisions[rev_key(main_rev)] = revisions[rev_key(main_rev)] = value
                case ("purge", int(target)):
                    backend.delete_revisions([rev_key(target)])
                    revisions.pop(rev_key(target), None)
            assert list(backend.scan("lease")) == sorted(leases.items())
            assert list(backend.scan_revisions(b"", None)) == sorted(revisions.items())
        await backend.close()
        shutil.rmtree(place)

    run(main())


def test_index_and_term_come_back(tmp_path: Path) -> None:
    async def main() -> None:
        backend = LmdbBackend(tmp_path / "db")
        assert (backend.consistent_index, backend.term) == (0, 0)
        backend.start(Owner(1234, 5))
        backend.revisions[rev_key(1)] = b"x"
        await backend.close()
        backend = LmdbBackend(tmp_path / "db")
        assert (backend.consistent_index, backend.term) == (1234, 5)
        assert backend.get("meta", b"consistent_index") == (1234).to_bytes(8, "big")
        await backend.close()

    run(main())


def test_the_log_is_needed_until_the_next_commit(tmp_path: Path) -> None:
    async def main() -> None:
        backend = LmdbBackend(tmp_path / "db")
        owner = Owner()
        backend.start(owner, interval_s=3600)
        for owner.index in (10, 20, 30):
            backend.revisions[rev_key(owner.index)] = b"x"
            await backend.commit()
        assert owner.done == [0, 10, 20]
        await backend.close()

    run(main())


def test_commits_happen_by_themselves(tmp_path: Path) -> None:
    async def main() -> None:
        committed = asyncio.Event()
        backend = LmdbBackend(tmp_path / "db")
        owner = Owner(7)
        backend.start(owner, interval_s=0.001, observe_commit=lambda _: committed.set())
        backend.revisions[rev_key(1)] = b"x"
        await committed.wait()
        await backend.commit()
        assert backend.consistent_index == 7
        await backend.close()

    run(main())


def test_a_commit_that_fails_loses_nothing_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise lmdb.DiskError("mdb_txn_commit", 28)

    async def main() -> None:
        backend = LmdbBackend(tmp_path / "db")
        owner = Owner(5)
        backend.revisions[rev_key(1)] = b"one"
        with monkeypatch.context() as broken:
            broken.setattr(LmdbFile, "write", full)
            backend.start(owner, interval_s=0.001)
            await owner.failed.wait()
            with pytest.raises(BackendError):
                await backend.commit()
            backend.revisions[rev_key(2)] = b"two"
            assert backend.consistent_index == 0
            assert list(backend.scan_revisions(b"", None)) == [
                (rev_key(1), b"one"),
                (rev_key(2), b"two"),
            ]
        await backend.close()
        backend = LmdbBackend(tmp_path / "db")
        assert backend.consistent_index == 5
        assert len(list(backend.scan_revisions(b"", None))) == 2
        await backend.close()

    run(main())


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting a tiny tmpfs needs root")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_is_told_and_over_when_there_is_space(tiny_disk: Path) -> None:
    async def main() -> None:
        backend = LmdbBackend(tiny_disk / "db")
        ballast = tiny_disk / "ballast"
        ballast.write_bytes(bytes(3 << 20))
        for main_rev in range(1, 201):
            backend.revisions[rev_key(main_rev)] = bytes(10_000)
        with pytest.raises(BackendFullError):
            await backend.commit()
        assert len(list(backend.scan_revisions(b"", None))) == 200, "reads go on"
        ballast.unlink()
        await backend.close()
        backend = LmdbBackend(tiny_disk / "db")
        assert len(list(backend.scan_revisions(b"", None))) == 200
        await backend.close()

    run(main())


def test_on_a_full_disk_a_compaction_helps(tiny_disk: Path) -> None:
    async def main() -> None:
        backend = LmdbBackend(tiny_disk / "db")
        written = 0
        with pytest.raises(BackendFullError):
            while True:
                for _ in range(10):
                    written += 1
                    backend.revisions[rev_key(written)] = bytes(30_000)
                await backend.commit()
        backend.delete_revisions([rev_key(each) for each in range(1, written)])
        await backend.commit()
        await backend.defragment()
        assert backend.size_bytes < 200_000
        assert [key for key, _ in backend.scan_revisions(b"", None)] == [rev_key(written)]
        await backend.close()

    run(main())


def test_defragment_gives_space_back_and_stops_nobody(tmp_path: Path) -> None:
    async def main() -> None:
        backend = LmdbBackend(tmp_path / "db")
        for main_rev in range(1, 5001):
            backend.revisions[rev_key(main_rev)] = bytes(500)
        await backend.commit()
        backend.delete_revisions(rev_key(each) for each in range(1, 4901))
        await backend.commit()
        before = backend.size_bytes
        assert backend.size_in_use_bytes < before // 10
        task = asyncio.create_task(backend.defragment())
        written = 5000
        while not task.done():
            written += 1
            backend.revisions[rev_key(written)] = b"meanwhile"
            assert backend.revision(rev_key(4950)) == bytes(500)
            assert backend.revision(rev_key(written)) == b"meanwhile"
            await asyncio.sleep(0)
        await task
        await backend.commit()
        assert backend.size_bytes < before // 5
        assert (tmp_path / "db").stat().st_size < before // 5
        kept = [rev_key(each) for each in range(4901, written + 1)]
        assert [key for key, _ in backend.scan_revisions(b"", None)] == kept
        await backend.close()

    run(main())
    assert not list(tmp_path.glob("*.tmp"))


def test_defragment_waits_for_open_views(tmp_path: Path) -> None:
    async def main() -> None:
        backend = LmdbBackend(tmp_path / "db")
        backend.revisions[rev_key(1)] = b"x"
        async with backend.view() as view:
            task = asyncio.create_task(backend.defragment())
            done, _ = await asyncio.wait([task], timeout=0.05)
            assert not done
            assert list(view.items("key")) == [(rev_key(1), b"x")]
        await task
        assert backend.revision(rev_key(1)) == b"x"
        await backend.close()

    run(main())


@pytest.mark.parametrize("moment", ["copying", "copied", "replaced"])
def test_a_crash_while_defragmenting_leaves_a_whole_backend(tmp_path: Path, moment: str) -> None:
    """The process is killed at that moment; what is there then is opened."""
    code = f"""
import asyncio, os
from pathlib import Path
from sampan.store.shell import lmdb_file
from sampan.store.shell.lmdb_backend import LmdbBackend
from tests.store.disk import rev_key

def die(*_, **__): os._exit(7)

async def main():
    backend = LmdbBackend(Path({str(tmp_path / "db")!r}))
    for number in range(1, 101):
        backend.revisions[rev_key(number)] = b"x"
    if {moment!r} == "copying": lmdb_file.os.fsync = die
    if {moment!r} == "copied": lmdb_file.LmdbFile.reopen = die
    if {moment!r} == "replaced": lmdb_file.fsync_directory = die
    await backend.defragment()

asyncio.run(main())
"""
    root = Path(__file__).resolve().parents[2]
    child = subprocess.run([sys.executable, "-c", code], cwd=root, check=False)
    assert child.returncode == 7

    async def main() -> None:
        backend = LmdbBackend(tmp_path / "db")
        assert len(list(backend.scan_revisions(b"", None))) == 100
        await backend.close()

    run(main())
    assert not list(tmp_path.glob("*.tmp"))


def test_a_map_that_is_too_small_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        monkeypatch.setattr(lmdb_file, "MIN_MAP_BYTES", 1 << 18)
        backend = LmdbBackend(tmp_path / "db")
        for main_rev in range(1, 1001):
            backend.revisions[rev_key(main_rev)] = bytes(1000)
        await backend.commit()
        assert len(list(backend.scan_revisions(b"", None))) == 1000
        assert backend.size_bytes > 1 << 20
        await backend.close()

    run(main())


def test_load_gives_everything_in_order(tmp_path: Path) -> None:
    async def main() -> None:
        backend = LmdbBackend(tmp_path / "db")
        for main_rev in range(1, 10_001):
            backend.revisions[rev_key(main_rev)] = b"x"
        await backend.close()
        backend = LmdbBackend(tmp_path / "db")
        loaded = [key for chunk in backend.load() for key, _ in chunk]
        assert loaded == [rev_key(each) for each in range(1, 10_001)]
        assert backend.revision(rev_key(77)) == b"x"
        await backend.close()

    run(main())


def test_a_backend_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "db"
    file = LmdbFile(path)
    buffer = WriteBuffer(revisions={rev_key(each): bytes(3000) for each in range(1, 50)})
    file.write(buffer, 1, 1)
    file.close()
    os.truncate(path, path.stat().st_size - 8192)
    with pytest.raises(BackendError, match="cut short"):
        LmdbFile(path)


def test_a_file_that_is_no_backend_is_refused(tmp_path: Path) -> None:
    (tmp_path / "db").write_bytes(b"something else " * 1000)
    with pytest.raises(BackendError, match="sampan etcd repair"):
        LmdbFile(tmp_path / "db")
