"""Everything of a member that is on disk, opened together and closed together.

A member in memory has the same parts with nothing behind them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from sampan.base.errors import SampanError
from sampan.base.histogram import Histogram, exponential
from sampan.base.log import Logger
from sampan.store.core import errors
from sampan.store.core.cluster import derive_cluster_id, derive_member_id
from sampan.store.core.log import LogSink
from sampan.store.shell.config import EtcdConfig
from sampan.store.shell.datadir import DataDir, DataDirError, Membership, read_membership
from sampan.store.shell.lmdb_backend import BackendFullError, LmdbBackend
from sampan.store.shell.lmdb_file import BackendError
from sampan.store.shell.memory_backend import MemoryBackend
from sampan.store.shell.single_log import LogReports, MemoryLog, SingleLog
from sampan.store.shell.wal_files import WalIdentity
from sampan.store.shell.wal_writer import Wal

if TYPE_CHECKING:
    from sampan.store.shell.snapshot import Snapshot

__all__ = ["AnyBackend", "AnyLog", "Storage", "StorageReports"]

AnyBackend: TypeAlias = LmdbBackend | MemoryBackend
AnyLog: TypeAlias = SingleLog | MemoryLog

_DEFAULT_QUOTA_BYTES: Final = 2 << 30
_UNLIMITED_BYTES: Final = 1 << 62
_DEFAULT_TOKEN: Final = "etcd-cluster"
_SECONDS = exponential(0.001, 2, 14)


class StorageReports(LogReports, Protocol):
    """What the owner of the storage tells it and hears from it."""

    def applied(self) -> tuple[int, int]:
        """Return index and term of the last applied entry."""


class Storage:
    """Data directory, backend and log of one member, and how much room is left in them."""

    def __init__(
        self,
        config: EtcdConfig,
        log: Logger,
        membership: Membership,
        backend: AnyBackend,
        data_dir: DataDir | None,
    ) -> None:
        self.backend = backend
        self.cluster_id = membership.cluster_id
        self.member_id = membership.member_id
        self.fsync_seconds = Histogram(_SECONDS)
        self.commit_seconds = Histogram(_SECONDS)
        self.defrag_seconds = Histogram(exponential(0.1, 2, 13))
        quota = config.quota_backend_bytes
        self.quota_bytes = _DEFAULT_QUOTA_BYTES if quota == 0 else quota
        self._config = config
        self._logger = log
        self._data_dir = data_dir
        self._log: AnyLog | None = None
        self._reports: StorageReports | None = None
        # What entries may still take by estimate; corrected whenever the backend has committed.
        self.room_bytes = 0
        self._measure()

    @classmethod
    def open(cls, config: EtcdConfig, log: Logger) -> Storage:
        """Open what `config` names, making it if need be. Raises SampanError."""
        membership = _membership(config)
        if config.memory:
            return cls(config, log, membership, MemoryBackend(), None)
        path = Path(config.directory)
        membership = _known_membership(path, config, membership)
        data_dir = DataDir.open(path, membership)
        try:
            quota = config.quota_backend_bytes or _DEFAULT_QUOTA_BYTES
            backend = LmdbBackend(
                data_dir.backend_path,
                quota_bytes=max(quota, _DEFAULT_QUOTA_BYTES),
                fsync=not config.unsafe_no_fsync,
            )
        except BaseException:
            data_dir.close()
            raise
        return cls(config, log, membership, backend, data_dir)

    def make_log(self, sink: LogSink, reports: StorageReports) -> AnyLog:
        """Open the log whose entries `sink` applies. Raises SampanError."""
        self._reports = reports
        if self._data_dir is None:
            self._log = MemoryLog(sink)
            return self._log
        directory = Path(self._config.wal_dir) if self._config.wal_dir else self._data_dir.wal_path
        wal = Wal.open(
            directory,
            WalIdentity(self.cluster_id, self.member_id),
            applied_index=self.backend.consistent_index,
            log=self._logger,
            fsync=not self._config.unsafe_no_fsync,
        )
        self._log = SingleLog(
            wal,
            sink,
            reports,
            term=max(self.backend.term, 1),
            observe_flush=self.fsync_seconds.observe,
        )
        return self._log

    def start(self) -> None:
        """Commit the backend in the background from now on."""
        self.backend.start(self, observe_commit=self.commit_seconds.observe)

    # ---- what the backend reports (`BackendReports`)

    def applied(self) -> tuple[int, int]:
        """Return index and term of the last applied entry."""
        return self._reports.applied() if self._reports is not None else (0, 0)

    def committed(self, index: int) -> None:
        """Let the log forget what the backend holds durably."""
        self._measure()
        if self._log is not None:
            self._log.release(index)

    def commit_failed(self, error: BackendError) -> None:
        """Say that the backend could not write; it tries again by itself."""
        self._logger.warning("the backend could not commit and will try again", error=str(error))
        if isinstance(error, BackendFullError) and self._reports is not None:
            self._reports.no_space(error)

    # ---- space

    def _measure(self) -> None:
        quota = self.quota_bytes
        self.room_bytes = quota - self.backend.size_bytes if quota > 0 else _UNLIMITED_BYTES

    # ---- copies and clean-up

    async def flush(self) -> None:
        """Commit everything written so far. Raises RpcError(NO_SPACE or so) when that fails."""
        try:
            await self.backend.commit()
        except BackendFullError:
            raise errors.NO_SPACE() from None

    async def defragment(self) -> None:
        """Give the space that deleted data still takes back to the file system."""
        started_s = perf_counter()
        before = self.backend.size_bytes
        await self.backend.defragment()
        self._measure()
        self.defrag_seconds.observe(perf_counter() - started_s)
        self._logger.info(
            "finished defragmenting",
            **{"size-before-bytes": before, "size-after-bytes": self.backend.size_bytes},
            took=f"{perf_counter() - started_s:.3f}s",
        )

    def snapshot(self) -> AbstractAsyncContextManager[Snapshot]:
        """Make a snapshot as of now in etcd's file format, and remove it at the end."""
        from sampan.store.shell import snapshot  # rarely wanted, and slow to import

        return snapshot.take(self.backend, self._data_dir.path if self._data_dir else None)

    # ---- beginning and end

    def announce(self, endpoints: Mapping[str, Sequence[str]]) -> None:
        """Write down where the server is found: URLs by what is served there."""
        content: dict[str, object] = {kind: list(urls) for kind, urls in endpoints.items()}
        content["name"] = self._config.name
        if self._data_dir is not None:
            try:
                self._data_dir.write_endpoints(content)
            except OSError as error:  # a full disk; reads are served all the same
                self._logger.warning("cannot write endpoints.json", error=str(error))
        if self._config.endpoints_file:
            file = Path(self._config.endpoints_file)
            temporary = file.with_name(file.name + ".tmp")
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            temporary.rename(file)

    async def close(self) -> None:
        """Commit what is left and let go of the directory; the log is closed before."""
        try:
            await self.backend.close()
        except SampanError as error:
            self._logger.error("the last commit failed; the log has it all", error=str(error))
        finally:
            if self._data_dir is not None:
                self._data_dir.close()

    def abandon(self) -> None:
        """Let go of the directory after a start that failed; nothing was changed."""
        if self._data_dir is not None:
            self._data_dir.close()


def _membership(config: EtcdConfig) -> Membership:
    """Return the ids that a new member with these settings gets."""
    peers = [str(url) for url in config.initial_advertise_peer_urls]
    member_id = derive_member_id(peers, config.initial_cluster_token)
    cluster_id = derive_cluster_id([member_id])
    return Membership(config.name, cluster_id, member_id, config.initial_cluster_token)


def _known_membership(path: Path, config: EtcdConfig, new: Membership) -> Membership:
    """Return whose data is in `path`, or `new` when there is none.

    A member that exists keeps its ids, whatever peer URLs it is started with; but to name another
    cluster's token is to ask for another cluster's data. Raises DataDirError then.
    """
    found = read_membership(path)
    if found is None:
        return new
    token = config.initial_cluster_token
    if found.token and token not in (found.token, _DEFAULT_TOKEN):
        raise DataDirError(
            f"data directory {path} belongs to the cluster with token {found.token!r}, not to one "
            f"with {token!r}: use another --data-dir, or the --initial-cluster-token it was made "
            "with"
        )
    return replace(found, name=config.name)
