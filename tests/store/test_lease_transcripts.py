"""Leases over time as text: see testdata/lease."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.store import transcript
from tests.store.buckets import Buckets

from sampan.store.core.lease import Lessor
from sampan.store.core.mvcc import Mvcc
from sampan.wire.grpc.status import RpcError

FILES = sorted((Path(__file__).parent / "testdata" / "lease").glob("*.txt"))


class Script:
    """The commands of a transcript; time stands still except in `wait`."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.backend = Buckets()
        self.begin()

    def begin(self) -> None:
        self.lessor = Lessor(self.backend, lambda: self.now_s)
        self.mvcc = Mvcc(self.backend, self.lessor)

    def execute(self, command: str) -> list[str]:
        (verb, *rest), named = transcript.words(command)
        try:
            return list(getattr(self, f"do_{verb}")(*rest, **named) or ())
        except RpcError as error:
            return [f"{error.code.name}: {error.message}"]

    def do_grant(self, lease_id: str, ttl_s: str) -> list[str]:
        return [f"ttl {self.lessor.grant(int(lease_id), int(ttl_s)).ttl_s}"]

    def do_put(self, key: str, lease: str = "0") -> None:
        self.mvcc.put(key.encode(), b"", int(lease))
        self.mvcc.commit()

    def do_revoke(self, lease_id: str) -> list[str]:
        self.lessor.revoke(int(lease_id), self.mvcc)
        return [f"revision {self.mvcc.revision}"]

    def do_renew(self, lease_id: str) -> list[str]:
        return [f"ttl {self.lessor.renew(int(lease_id))}"]

    def do_promote(self, extend: str = "0") -> None:
        self.lessor.promote(float(extend))

    def do_demote(self) -> None:
        self.lessor.demote()

    def do_restart(self) -> None:
        """Start again from the backend, on a clock that has begun anew."""
        self.now_s = 0.0
        self.begin()
        self.lessor.restore()
        self.mvcc.restore([sorted(self.backend.revisions.items())])

    def do_wait(self, seconds: str) -> list[str]:
        """Let time pass and apply what the lessor then proposes."""
        self.now_s += float(seconds)
        lines: list[str] = []
        for lease_id in self.lessor.expired(500):
            self.lessor.revoke(lease_id, self.mvcc)
            lines.append(f"lease {lease_id} expired, revision {self.mvcc.revision}")
        for lease_id, remaining_s in self.lessor.due_checkpoints():
            self.lessor.checkpoint(lease_id, remaining_s)
            lines.append(f"lease {lease_id} checkpoint {remaining_s}")
        return lines

    def do_leases(self) -> list[str]:
        return [
            f"lease {lease.lease_id} ttl {lease.ttl_s} left {self.lessor.remaining_s(lease):g}"
            f" keys {' '.join(key.decode() for key in sorted(lease.keys)) or '-'}"
            for lease in self.lessor.leases()
        ]

    def do_keys(self) -> list[str]:
        return [" ".join(key.decode() for key in sorted(self.mvcc.index.live)) or "-"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_transcript(path: Path) -> None:
    transcript.run(path, Script().execute)
