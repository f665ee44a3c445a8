"""The one-member log: order, durability before acknowledgement, a full disk, closing."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.store.disk import IDENTITY, Lines, Recorder, entries_of, open_wal, run

from sampan.store.shell.single_log import LogClosedError, MemoryLog, SingleLog
from sampan.store.shell.wal_files import NoSpaceError, WalFailedError
from sampan.store.shell.wal_writer import Wal
from sampan.wire.grpc.status import RpcError


def test_entries_are_applied_in_order_with_their_contexts(tmp_path: Path) -> None:
    async def main() -> None:
        sink = Recorder(3)
        log = SingleLog(open_wal(tmp_path), sink, sink)
        for number in range(3):
            log.propose(b"%d" % number, f"context {number}")
        assert (log.last_index, log.pending) == (3, 3)
        assert not sink.entries, "nothing is applied before it is durable"
        await sink.settled.wait()
        assert sink.entries == [b"0", b"1", b"2"]
        assert sink.contexts == ["context 0", "context 1", "context 2"]
        assert sink.indexes == [1, 2, 3]
        assert (log.last_index, log.pending) == (3, 0)
        await log.close()

    run(main())
    assert entries_of(tmp_path) == [b"0", b"1", b"2"]


@pytest.mark.parametrize("latency_s", [0.0, 10.0], ids=["inline", "worker"])
def test_whatever_is_applied_is_on_disk(tmp_path: Path, latency_s: float) -> None:
    async def main() -> None:
        sink = Recorder()
        log = SingleLog(open_wal(tmp_path), sink, sink)
        monkey = pytest.MonkeyPatch()
        monkey.setattr(log._worker, "latency_s", latency_s)
        proposed = 0
        for turn in range(30):
            for _ in range(turn * 11 % 17):
                proposed += 1
                log.propose(b"entry %d" % proposed, proposed)
            await asyncio.sleep(0)
            applied = list(sink.entries)
            assert scanned(tmp_path)[: len(applied)] == applied
        await log.close()
        assert sink.contexts == list(range(1, proposed + 1))
        assert sink.indexes == sink.contexts

    run(main())


def scanned(directory: Path) -> list[bytes]:
    """What a server would find if the power went off now."""
    copy = directory.with_name("copy")
    copy.mkdir()
    for path in directory.glob("*.wal"):
        (copy / path.name).write_bytes(path.read_bytes())
    found = entries_of(copy)
    for path in copy.iterdir():
        path.unlink()
    copy.rmdir()
    return found


def test_proposals_made_while_applying_are_not_forgotten(tmp_path: Path) -> None:
    class Chain(Recorder):
        def apply(self, first_index, entries, contexts):  # type: ignore[no-untyped-def]
            super().apply(first_index, entries, contexts)
            if len(self.entries) < 500:
                for _ in range(200):  # more than what is flushed inline
                    logs[0].propose(b"next", None)

    logs: list[SingleLog] = []

    async def main() -> None:
        sink = Chain(500)
        log = SingleLog(open_wal(tmp_path), sink, sink)
        logs.append(log)
        log.propose(b"first", None)
        await sink.settled.wait()
        await log.close()
        assert sink.indexes == list(range(1, len(sink.entries) + 1))

    run(main())


def test_restart_replays_with_empty_contexts(tmp_path: Path) -> None:
    async def first() -> None:
        sink = Recorder(2)
        log = SingleLog(open_wal(tmp_path), sink, sink)
        log.propose(b"a", 1)
        log.propose(b"b", 2)
        await log.close()

    async def second() -> None:
        sink = Recorder()
        log = SingleLog(open_wal(tmp_path), sink, sink)
        assert log.replay(1) == 1
        assert (sink.entries, sink.contexts, sink.indexes) == ([b"b"], [None], [2])
        log.propose(b"c", 3)
        await log.close()
        assert sink.indexes == [2, 3]

    run(first())
    run(second())


def test_after_closing_proposals_are_refused(tmp_path: Path) -> None:
    async def main() -> None:
        sink = Recorder(1)
        log = SingleLog(open_wal(tmp_path), sink, sink)
        await log.close()
        log.propose(b"late", "late")
        await sink.settled.wait()
        ((context, error),) = sink.refused
        assert context == "late"
        assert isinstance(error, LogClosedError)

    run(main())
    assert entries_of(tmp_path) == []


def test_read_barrier_is_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        sink = Recorder()
        called = []
        refused: list[RpcError] = []
        for log in (SingleLog(open_wal(tmp_path), sink, sink), MemoryLog(sink)):
            log.read_barrier(lambda: called.append(1), refused.append)
            await log.close()
        assert (called, refused) == ([1, 1], [])

    run(main())


def test_a_failed_disk_refuses_everything_and_is_reported_once(tmp_path: Path) -> None:
    async def main() -> None:
        sink = Recorder(2)
        wal = open_wal(tmp_path)
        log = SingleLog(wal, sink, sink)
        os.close(wal._fd)  # the disk goes away
        log.propose(b"a", "a")
        await asyncio.sleep(0)
        log.propose(b"b", "b")
        await sink.settled.wait()
        assert [context for context, _ in sink.refused] == ["a", "b"]
        assert all(isinstance(error, WalFailedError) for _, error in sink.refused)
        assert len(sink.failures) == 1
        wal._fd = -1
        await log.close()

    run(main())


def test_a_state_machine_that_fails_stops_the_log(tmp_path: Path) -> None:
    class Broken(Recorder):
        def apply(self, first_index, entries, contexts):  # type: ignore[no-untyped-def]
            raise ValueError("our bug")

    async def main() -> None:
        seen: list[object] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: seen.append(context["exception"])
        )
        sink = Broken(1)
        log = SingleLog(open_wal(tmp_path), sink, sink)
        log.propose(b"a", "a")
        await asyncio.sleep(0)
        log.propose(b"b", "b")
        await sink.settled.wait()
        assert isinstance(seen[0], ValueError)
        assert [context for context, _ in sink.refused] == ["b"]
        assert "our bug" in str(sink.failures[0])
        await log.close()

    run(main())


@contextmanager
def file_size_limit(limit_bytes: int) -> Iterator[None]:
    """Let no file grow beyond that, which fails a write as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def test_no_space_for_a_segment_refuses_what_does_not_fit_and_goes_on(tmp_path: Path) -> None:
    async def main() -> None:
        sink = Recorder(1)
        log = SingleLog(open_wal(tmp_path), sink, sink)
        log.propose(bytes(900_000), "fits")
        await asyncio.sleep(0)
        with file_size_limit(950_000):
            log.propose(bytes(100_000), "too much")
            await asyncio.sleep(0)
            log.propose(bytes(200), "small")  # the rest of the segment still takes it
            await asyncio.sleep(0)
        await log.close()
        assert sink.contexts == ["fits", "small"]
        assert sink.indexes == [1, 2]
        ((context, error),) = sink.refused
        assert context == "too much"
        assert isinstance(error, NoSpaceError)
        assert "free some space" in str(error)
        assert sink.full
        assert not sink.failures

    run(main())
    assert [len(entry) for entry in entries_of(tmp_path)] == [900_000, 200]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting a tiny tmpfs needs root")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_loses_nothing_acknowledged(tiny_disk: Path) -> None:
    async def main() -> None:
        sink = Recorder(60)
        log = SingleLog(open_wal(tiny_disk / "wal"), sink, sink)
        for number in range(60):
            log.propose(bytes([number]) * 100_000, number)
            await asyncio.sleep(0)
        await sink.settled.wait()
        accepted.extend(sink.entries)
        assert sink.full
        assert not sink.failures
        assert {type(error) for _, error in sink.refused} == {NoSpaceError}
        (tiny_disk / "wal" / "spare.tmp").unlink(missing_ok=True)
        await log.close()

    accepted: list[bytes] = []
    run(main())
    assert 10 < len(accepted) < 31
    assert entries_of(tiny_disk / "wal") == accepted


def test_the_alarm_comes_while_there_is_room_for_the_cure(tiny_disk: Path) -> None:
    async def main() -> None:
        sink = Recorder()
        wal = Wal.open(tiny_disk / "wal", IDENTITY, applied_index=0, log=Lines().log)
        (tiny_disk / "ballast").write_bytes(bytes(2 << 20))
        log = SingleLog(wal, sink, sink)
        log.propose(bytes(700_000), "half full")
        await sink.was_full.wait()
        for _ in range(20):
            log.propose(b"delete, compact, disarm", "cure")
            await asyncio.sleep(0)
        await log.close()
        assert not sink.refused
        assert len(sink.entries) == 21

    run(main())


def test_memory_log_applies_on_the_next_turn() -> None:
    async def main() -> None:
        sink = Recorder(2)
        log = MemoryLog(sink, applied_index=7)
        log.propose(b"a", 1)
        log.propose(b"b", 2)
        assert (log.last_index, log.pending, sink.entries) == (9, 2, [])
        await sink.settled.wait()
        assert (sink.entries, sink.contexts, sink.indexes) == ([b"a", b"b"], [1, 2], [8, 9])
        await log.close()
        log.propose(b"c", 3)
        await asyncio.sleep(0)
        assert isinstance(sink.refused[0][1], LogClosedError)

    run(main())
