"""The smallest things that satisfy the core's protocols, for tests of the core alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


class Buckets:
    """A backend of dicts."""

    def __init__(self) -> None:
        self.revisions: dict[bytes, bytes] = {}
        self.buckets: dict[tuple[str, bytes], bytes] = {}
        self.size_bytes = self.size_in_use_bytes = 0

    def revision(self, rev_key: bytes) -> bytes | None:
        return self.revisions.get(rev_key)

    def scan_revisions(self, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        for key in sorted(self.revisions):
            if key >= start and (end is None or key < end):
                yield key, self.revisions[key]

    def delete_revisions(self, rev_keys: Iterable[bytes]) -> None:
        for key in rev_keys:
            self.revisions.pop(key, None)

    def put(self, bucket: str, key: bytes, value: bytes) -> None:
        self.buckets[bucket, key] = value

    def delete(self, bucket: str, key: bytes) -> None:
        self.buckets.pop((bucket, key), None)

    def get(self, bucket: str, key: bytes) -> bytes | None:
        return self.buckets.get((bucket, key))

    def scan(
        self, bucket: str, start: bytes = b"", end: bytes | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        yield from ((k, v) for (b, k), v in sorted(self.buckets.items()) if b == bucket)


class Leases:
    """Which keys each lease holds."""

    def __init__(self) -> None:
        self.held: set[tuple[bytes, int]] = set()

    def attach(self, key: bytes, lease_id: int) -> None:
        assert (key, lease_id) not in self.held
        self.held.add((key, lease_id))

    def detach(self, key: bytes, lease_id: int) -> None:
        self.held.remove((key, lease_id))

    def __contains__(self, lease_id: int) -> bool:
        return lease_id in (1, 2)
