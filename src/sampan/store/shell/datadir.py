"""The data directory: who may use it, whose data it holds and in which format.

<data-dir>/                 0700
  LOCK                      locked while a server uses the directory; holds its process id
  format.json               format version, member name, cluster id, member id
  endpoints.json            the addresses that the running server listens on
  member/wal/               write-ahead log segments
  member/snap/db            the backend
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Final

from sampan.base.errors import SampanError
from sampan.store.core import bolt
from sampan.store.shell.wal_files import fsync_directory, make_directory

__all__ = ["FORMAT_VERSION", "DataDir", "DataDirError", "Membership", "lock", "read_membership"]

FORMAT_VERSION: Final = 1
KIND: Final = "sampan-etcd"


class DataDirError(SampanError):
    """The data directory cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Membership:
    """Whose data it is. The ids are unsigned 64-bit numbers; `token` is the cluster's token."""

    name: str
    cluster_id: int
    member_id: int
    token: str = ""


class DataDir:
    """A data directory that this process holds the lock of, until `close`."""

    def __init__(self, path: Path, held: BinaryIO, membership: Membership, *, fresh: bool) -> None:
        self.path = path
        self.membership = membership
        self.fresh = fresh
        self._lock = held

    @property
    def wal_path(self) -> Path:
        """The directory of the write-ahead log."""
        return self.path / "member" / "wal"

    @property
    def backend_path(self) -> Path:
        """The backend's file."""
        return self.path / "member" / "snap" / "db"

    @classmethod
    def open(cls, path: Path, membership: Membership) -> DataDir:
        """Lock the directory for this member, making it if need be.

        Raises DataDirError: in use, of a newer format, of another cluster or member, or an etcd's.
        """
        path = path.absolute()
        try:
            make_directory(path)
            held = lock(path)
        except OSError as error:
            raise DataDirError(f"cannot use data directory {path}: {error.strerror}") from error
        try:
            found = read_membership(path)
            if found is None:
                _refuse_foreign(path)
                _write_membership(path, membership)
            else:
                _check(path, found, membership)
        except BaseException:
            held.close()
            raise
        return cls(path, held, membership, fresh=found is None)

    def write_endpoints(self, endpoints: Mapping[str, object]) -> Path:
        """Write `endpoints.json` in one step; returns its path."""
        return _write_json(self.path / "endpoints.json", endpoints)

    def close(self) -> None:
        """Take `endpoints.json` away and release the lock."""
        (self.path / "endpoints.json").unlink(missing_ok=True)
        self._lock.close()


def read_membership(path: Path) -> Membership | None:
    """Return what `format.json` says, None if there is none. Raises DataDirError."""
    file = path / "format.json"
    try:
        content = json.loads(file.read_bytes())
        version = int(content["format"])
        if content["kind"] != KIND:
            raise ValueError(f"kind {content['kind']}")
        if version > FORMAT_VERSION:
            raise DataDirError(
                f"data directory {path} has format {version}, newer than this program's"
                f" {FORMAT_VERSION}: use the version of Sampan that wrote it, or a newer one"
            )
        ids = int(content["cluster_id"], 16), int(content["member_id"], 16)
        return Membership(str(content["name"]), *ids, str(content.get("token", "")))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataDirError(f"cannot read {file}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataDirError(f"{file} is damaged: {error}") from error


def lock(path: Path) -> BinaryIO:
    """Take the directory's lock until the file is closed. Raises DataDirError if it is taken."""
    file = os.fdopen(os.open(path / "LOCK", os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = file.read().decode("ascii", "replace").strip()
        file.close()
        raise DataDirError(
            f"data directory {path} is in use by process {owner or '(unknown)'}:"
            " stop that server or use another directory"
        ) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n".encode())
    return file


def _refuse_foreign(path: Path) -> None:
    """Raise if the directory holds data that is not ours."""
    backend = path / "member" / "snap" / "db"
    if not backend.exists():
        return
    with open(backend, "rb") as file:
        if bolt.is_bolt(file.read(bolt.PAGE_BYTES)):
            raise DataDirError(
                f"data directory {path} was written by etcd, whose files Sampan does not open."
                f" Take a snapshot (`etcdctl snapshot save FILE`) or use {backend} itself, and"
                " import it: `sampan etcd restore FILE --data-dir NEW`"
            )
    raise DataDirError(
        f"data directory {path} has data but no format.json: restore that file, or save what is"
        " sound with `sampan etcd repair --data-dir X --to Y`"
    )


def _check(path: Path, found: Membership, wanted: Membership) -> None:
    if found.cluster_id != wanted.cluster_id:
        raise DataDirError(
            f"data directory {path} belongs to cluster {found.cluster_id:x}, not to"
            f" {wanted.cluster_id:x}: use another directory, or the --name,"
            " --initial-cluster and --initial-cluster-token that it was made with"
        )
    if found.member_id != wanted.member_id:
        raise DataDirError(
            f"data directory {path} belongs to member {found.member_id:x} ({found.name}), not to"
            f" {wanted.member_id:x} ({wanted.name}): each member needs a directory of its own"
        )


def _write_membership(path: Path, membership: Membership) -> None:
    content = asdict(membership)
    content |= {name: f"{content[name]:x}" for name in ("cluster_id", "member_id")}
    _write_json(path / "format.json", {"kind": KIND, "format": FORMAT_VERSION, **content})


def _write_json(path: Path, content: Mapping[str, object]) -> Path:
    """Write a file so that a reader, also after a crash, sees the old or the new content."""
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    fsync_directory(path.parent)
    return path
