"""A data directory made of a snapshot, this server's or etcd's."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sampan.base.log import Logger
from sampan.raft import ConfState
from sampan.store.core import revision
from sampan.store.core.backend import KEY_BUCKET, META_BUCKET
from sampan.store.core.bolt import BoltReader
from sampan.store.core.cluster import Member
from sampan.store.core.confstate import CONF_STATE, format_conf_state
from sampan.store.core.mvcc import SCHEDULED_COMPACTION
from sampan.store.core.wal import HardState, SnapshotMark
from sampan.store.shell.datadir import DataDir, Membership
from sampan.store.shell.lmdb_file import CONSISTENT_INDEX, TERM, LmdbFile
from sampan.store.shell.snapshot import (
    SnapshotError,
    SnapshotStatus,
    buckets_of,
    check_digest,
    reading,
    status,
)
from sampan.store.shell.wal_files import WalIdentity, fsync_directory
from sampan.store.shell.wal_writer import Wal
from sampan.store.shell.write_buffer import WriteBuffer

__all__ = ["Restoration", "restore"]


@dataclass(frozen=True, slots=True)
class Restoration:
    """What a new data directory is to be.

    It belongs to `membership`, in a cluster of `members` (none: of its own). With `wal_dir` its log
    is there. `skip_revisions` is added to the newest revision and all before counts as compacted:
    who watched the store of before, or cached what it said, notices instead of reading on.
    """

    data_dir: Path
    membership: Membership
    members: Sequence[Member] = ()
    wal_dir: Path | None = None
    skip_revisions: int = 0
    skip_hash_check: bool = False


def restore(path: Path, wanted: Restoration) -> SnapshotStatus:
    """Make a new data directory of a snapshot file; return what is in it.

    The old members are left out. It appears whole or not at all. Raises SnapshotError.
    """
    data_dir = wanted.data_dir.absolute()
    wal_dir = wanted.wal_dir.absolute() if wanted.wal_dir is not None else None
    for place, what in ((data_dir, "data"), (wal_dir, "log")):
        if place is not None and place.exists() and any(place.iterdir()):
            raise SnapshotError(f"{what} directory {place} is not empty: restore into a new one")
    if not wanted.skip_hash_check:
        check_digest(path)
    found = status(path)
    partial = _partial(data_dir)
    partial_log = _partial(wal_dir) if wal_dir is not None else None
    try:
        _remove(partial, partial_log)
        _fill(path, partial, partial_log, wanted)
        if wal_dir is not None and partial_log is not None and partial_log.exists():
            _put(partial_log, wal_dir)
        _put(partial, data_dir)
    except OSError as error:
        raise SnapshotError(f"cannot restore into {data_dir}: {error.strerror}") from error
    finally:
        _remove(partial, partial_log)
    return found


def _partial(place: Path) -> Path:
    return place.with_name(place.name + ".part")


def _remove(*places: Path | None) -> None:
    for place in places:
        if place is not None:
            shutil.rmtree(place, ignore_errors=True)


def _put(made: Path, place: Path) -> None:
    """Give a finished directory its name, durably."""
    if place.exists():
        place.rmdir()
    made.rename(place)
    fsync_directory(place.parent)


def _fill(path: Path, data_dir: Path, wal_dir: Path | None, wanted: Restoration) -> None:
    directory = DataDir.open(data_dir, wanted.membership)
    directory.backend_path.parent.mkdir(mode=0o700, parents=True)
    with reading(path) as reader:
        meta = dict(reader.items(META_BUCKET.encode()))
        index = int.from_bytes(meta.get(CONSISTENT_INDEX, b""), "big")
        term = int.from_bytes(meta.get(TERM, b""), "big")
        backend = LmdbFile(directory.backend_path, map_bytes=4 * reader.size_bytes)
        try:
            for buffer in buckets_of(reader, members=False):
                backend.write(buffer, index, max(term, 1))
            if wanted.skip_revisions:
                backend.write(_compacted(reader, wanted.skip_revisions), index, max(term, 1))
            if len(wanted.members) > 1:
                index, term = max(index, 1), max(term, 1)
                backend.write(_cluster_of(wanted.members), index, term)
                _begin_log(wal_dir or directory.wal_path, wanted.membership, index, term)
        finally:
            backend.close()
    directory.close()


def _compacted(reader: BoltReader, skip: int) -> WriteBuffer:
    """Return what says that a compaction is due, so many revisions behind the newest."""
    newest = 1
    for key, _ in reader.items(KEY_BUCKET.encode()):
        newest = max(newest, revision.main_of(key))
    buffer = WriteBuffer()
    buffer.small[META_BUCKET] = {SCHEDULED_COMPACTION: revision.pack(newest + skip, 0)}
    return buffer


def _begin_log(place: Path, membership: Membership, index: int, term: int) -> None:
    """Write the log of a member that begins with a snapshot and has voted for nobody."""
    identity = WalIdentity(membership.cluster_id, membership.member_id)
    silent = Logger(lambda text: None, lambda: 0.0)
    log = Wal.open(place, identity, applied_index=index, log=silent)
    try:
        log.begin_behind(SnapshotMark(index, term), HardState(term, 0, index))
    finally:
        log.close()


def _cluster_of(members: Sequence[Member]) -> WriteBuffer:
    """Return what a backend says of members that begin with the same content."""
    buffer = WriteBuffer()
    buffer.small["members"] = {f"{each.id:x}".encode(): each.to_json() for each in members}
    state = ConfState(voters=tuple(each.id for each in members))
    buffer.small[META_BUCKET] = {CONF_STATE: format_conf_state(state)}
    return buffer
