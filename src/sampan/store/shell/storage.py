"""Everything of a member that is on disk, opened together and closed together.

A member in memory has the same parts with nothing behind them.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from sampan.base.errors import SampanError
from sampan.base.histogram import Histogram, exponential
from sampan.base.log import Logger
from sampan.raft import HardState
from sampan.store.core import errors
from sampan.store.core.cluster import derive_cluster_id
from sampan.store.core.confstate import load_conf_state
from sampan.store.core.wal import RecordFlag, RecordKind
from sampan.store.shell.bootstrap import Start
from sampan.store.shell.config import EtcdConfig
from sampan.store.shell.datadir import DataDir
from sampan.store.shell.install import finish_install
from sampan.store.shell.lmdb_backend import BackendFullError, LmdbBackend
from sampan.store.shell.lmdb_file import BackendError
from sampan.store.shell.memory_backend import MemoryBackend
from sampan.store.shell.raft_wal import Recovered, recover
from sampan.store.shell.single_log import LogReports
from sampan.store.shell.wal_files import WalIdentity
from sampan.store.shell.wal_writer import Wal

if TYPE_CHECKING:
    from sampan.store.shell.snapshot import Snapshot

__all__ = ["AnyBackend", "Storage", "StorageReports", "WalLostError"]

AnyBackend: TypeAlias = LmdbBackend | MemoryBackend

_DEFAULT_QUOTA_BYTES: Final = 2 << 30
_UNLIMITED_BYTES: Final = 1 << 62
_SECONDS = exponential(0.001, 2, 14)


class WalLostError(SampanError):
    """The log does not hold what the backend came from."""


class StorageReports(LogReports, Protocol):
    """What the owner of the storage tells it and hears from it."""

    def applied(self) -> tuple[int, int]:
        """Return index and term of the last applied entry."""

    def release(self, index: int) -> None:
        """Let the log forget entries up to `index`: the backend holds them durably."""


class Storage:
    """Data directory, backend and log of one member, and how much room is left in them."""

    def __init__(
        self,
        config: EtcdConfig,
        log: Logger,
        start: Start,
        backend: AnyBackend,
        data_dir: DataDir | None,
    ) -> None:
        self.backend = backend
        self.start_as = start
        self.cluster_id = start.membership.cluster_id
        self.member_id = start.membership.member_id
        self.fsync_seconds = Histogram(_SECONDS)
        self.commit_seconds = Histogram(_SECONDS)
        self.defrag_seconds = Histogram(exponential(0.1, 2, 13))
        quota = config.quota_backend_bytes
        self.quota_bytes = _DEFAULT_QUOTA_BYTES if quota == 0 else quota
        self._config = config
        self._logger = log
        self._data_dir = data_dir
        self._wal: Wal | None = None
        self._reports: StorageReports | None = None
        # What entries may still take by estimate; corrected whenever the backend has committed.
        self.room_bytes = 0
        self._measure()

    @classmethod
    def open(cls, config: EtcdConfig, log: Logger, start: Start) -> Storage:
        """Open what `config` names, making it if need be. Raises SampanError."""
        if config.memory:
            return cls(config, log, start, MemoryBackend(), None)
        data_dir = DataDir.open(Path(config.directory), start.membership)
        try:
            finish_install(data_dir.backend_path, _wal_path(config, data_dir))
            quota = config.quota_backend_bytes or _DEFAULT_QUOTA_BYTES
            backend = LmdbBackend(
                data_dir.backend_path,
                quota_bytes=max(quota, _DEFAULT_QUOTA_BYTES),
                fsync=not config.unsafe_no_fsync,
            )
        except BaseException:
            data_dir.close()
            raise
        return cls(config, log, start, backend, data_dir)

    def open_wal(self) -> Wal | None:
        """Open the write-ahead log; None for a member in memory. Raises SampanError."""
        if self._data_dir is not None:
            self._wal = Wal.open(
                _wal_path(self._config, self._data_dir),
                WalIdentity(self.cluster_id, self.member_id),
                applied_index=self.backend.consistent_index,
                log=self._logger,
                fsync=not self._config.unsafe_no_fsync,
            )
        return self._wal

    def recover(self) -> Recovered:
        """Read what the write-ahead log holds; for a log just opened."""
        if self._wal is None:
            return Recovered((0, 0), (), HardState())
        backend = self.backend
        return recover(self._wal, self.member_id, backend.consistent_index, backend.term)

    @property
    def replicated(self) -> bool:
        """Whether the data are those of a member among several, as far as can be told from them."""
        state = load_conf_state(self.backend)
        if len(state.voters) + len(state.learners) + len(state.voters_outgoing) > 1:
            return True
        if not state.voters and self.cluster_id != derive_cluster_id([self.member_id]):
            return True  # a cluster that others founded, or founded with this member
        if self._wal is None or self._wal.hard_state is None:
            return False
        if state.voters != (self.member_id,):
            return True
        return any(
            record.flags & RecordFlag.CONF_CHANGE
            and record.last_index > self.backend.consistent_index
            for record in self._wal.records()
            if record.kind == RecordKind.ENTRIES
        )

    def check_promises(self, state: HardState) -> None:
        """Raise if this member, one among several, cannot know any more what it vouched for.

        A member that votes twice in a term, or denies having an entry, lets two members lead.
        """
        backend = self.backend
        if backend.consistent_index and state.term < max(backend.term, 1):
            raise WalLostError(
                f"the write-ahead log of member {self.member_id:x} is gone, or older than the "
                f"backend (term {state.term} against {backend.term}): what it promised to the "
                f"others is lost. Remove it (`etcdctl member remove {self.member_id:x}`) and add "
                "it again, with an empty data directory; if no other member is left, start it with "
                "--force-new-cluster"
            )

    @property
    def snapshot_directory(self) -> Path:
        """Where snapshots from other members arrive."""
        if self._data_dir is not None:
            return self._data_dir.backend_path.parent
        return Path(tempfile.gettempdir())

    def start(self, reports: StorageReports) -> None:
        """Commit the backend in the background from now on."""
        self._reports = reports
        self.backend.start(self, observe_commit=self.commit_seconds.observe)

    # ---- what the backend reports (`BackendReports`)

    def applied(self) -> tuple[int, int]:
        """Return index and term of the last applied entry."""
        return self._reports.applied() if self._reports is not None else (0, 0)

    def committed(self, index: int) -> None:
        """Let the log forget what the backend holds durably."""
        self._measure()
        if self._reports is not None:
            self._reports.release(index)

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


def _wal_path(config: EtcdConfig, data_dir: DataDir) -> Path:
    return Path(config.wal_dir) if config.wal_dir else data_dir.wal_path
