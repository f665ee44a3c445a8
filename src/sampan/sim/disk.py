"""A disk that keeps what was flushed, most of the time: the write-ahead log's bytes in memory.

The records are those of the production format, and are read as a start reads them. A crash loses
what was not flushed, all of it or from some byte on; a flipped bit is found by a checksum.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from sampan.base.errors import SampanError
from sampan.store.core import wal
from sampan.store.core.wal import HardState, Record, RecordFlag, SnapshotMark, Tail

__all__ = ["DiskDamaged", "DiskFull", "SimWal"]

_SALT = 0x5A


class DiskFull(SampanError):
    """There is no room for a record."""


class DiskDamaged(SampanError):
    """A record is damaged and sound ones follow: something acknowledged is gone."""


class SimWal:
    """A log on a simulated disk, with the methods of `sampan.store.shell.wal_writer.Wal`."""

    def __init__(self) -> None:
        self.full = False
        self.hard_state: HardState | None = None
        self._durable = bytearray()
        self._written = bytearray()

    # ---- writing

    def append(
        self,
        term: int,
        first_index: int,
        entries: Sequence[bytes],
        *,
        flags: int = RecordFlag.NONE,
        hard_state: HardState | None = None,
    ) -> None:
        """Write entries; durable with the next `flush`. Raises DiskFull."""
        self._put(
            wal.encode_entries(
                _SALT, term, first_index, entries, flags=flags, hard_state=hard_state
            )
        )
        self.hard_state = hard_state or self.hard_state

    def save_hard_state(self, state: HardState) -> None:
        """Write term, vote and commit index. Raises DiskFull."""
        self._put(wal.encode_hard_state(_SALT, state))
        self.hard_state = state

    def begin_behind(self, mark: SnapshotMark, state: HardState) -> None:
        """Let the log begin anew behind a snapshot; what came before is given back.

        Raises DiskFull, and then nothing has changed.
        """
        if self.full:
            raise DiskFull("no space on the simulated disk")
        self._durable.clear()
        self._written.clear()
        self._put(wal.encode_snapshot_mark(_SALT, mark))
        self.save_hard_state(state)
        self.flush()

    def _put(self, record: bytes) -> None:
        if self.full:
            raise DiskFull("no space on the simulated disk")
        self._written += record

    def flush(self) -> None:
        """Make everything written durable."""
        self._durable += self._written
        self._written.clear()

    @property
    def size_bytes(self) -> int:
        """How much is durable."""
        return len(self._durable)

    # ---- what goes wrong

    def crash(self, random: Random) -> None:
        """Lose what was not flushed: all, none, or from some byte on, with garbage behind it."""
        kept = random.randrange(len(self._written) + 1) if self._written else 0
        self._durable += self._written[:kept]
        if self._written and random.random() < 0.3:
            self._durable += random.randbytes(random.randrange(1, 64))
        self._written.clear()

    def flip_bit(self, random: Random) -> bool:
        """Damage a record that is not the last one; False when there is none."""
        ends = [record.end for record in wal.read_records(bytes(self._durable), _SALT, 0)]
        if len(ends) < 3:
            return False
        bit = random.randrange(8 * ends[-2])
        self._durable[bit // 8] ^= 1 << bit % 8
        return True

    # ---- reading

    def recover(self) -> None:
        """Read the log as a start does: cut a torn tail off. Raises DiskDamaged."""
        data = bytes(self._durable)
        end, self.hard_state = 0, None
        for record in wal.read_records(data, _SALT, 0):
            end = record.end
            self.hard_state = record.hard_state() or self.hard_state
        if wal.classify_tail(data, _SALT, end) is Tail.DAMAGED:
            raise DiskDamaged("the log has an unsound record with sound records behind it")
        del self._durable[end:]

    def records(self) -> Iterator[Record]:
        """Yield all records; call `recover` before."""
        return wal.read_records(bytes(self._durable), _SALT, 0)
