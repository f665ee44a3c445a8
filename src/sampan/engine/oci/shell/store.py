"""The state directory: one directory a container, 0700, locked while a command changes it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from sampan.base.errors import ConflictError, InvalidError, NotFoundError
from sampan.engine.oci.core.bundle import check_id, decode
from sampan.engine.oci.core.record import Record
from sampan.engine.runtime.shell.idmap import in_user_namespace

__all__ = ["Place", "Store", "default_root"]

_STATE_FILE: Final = "state.json"
_GATE_FILE: Final = "gate"


def default_root() -> str:
    """Return where state is kept: below /run for root, else below the user's runtime directory."""
    uid = os.geteuid()
    own = os.environ.get("XDG_RUNTIME_DIR")
    if uid == 0 and not (own and in_user_namespace()):
        return "/run/sampan/runc"
    return f"{own or f'/tmp/sampan-{uid}'}/sampan/runc"


class Place:
    """The directory of one container."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.gate = f"{path}/{_GATE_FILE}"

    def save(self, record: Record) -> None:
        """Write the record, at once or not at all."""
        path = f"{self.path}/{_STATE_FILE}"
        fd = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, json.dumps(record.to_json()).encode())
        finally:
            os.close(fd)
        os.replace(path + ".new", path)

    def load(self) -> Record:
        """Read the record; NotFoundError when there is none, InvalidError when it is damaged."""
        path = f"{self.path}/{_STATE_FILE}"
        try:
            with open(path, "rb") as file:
                text = file.read().decode(errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            raise NotFoundError("container does not exist") from None
        return Record.from_json(decode(text, path))

    def remove(self) -> None:
        """Remove the directory with all in it."""
        with suppress(FileNotFoundError):
            for name in os.listdir(self.path):
                os.unlink(f"{self.path}/{name}")
            os.rmdir(self.path)


class Store:
    """All containers below one root."""

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)

    def add(self, container_id: str) -> Place:
        """Make the place of a new container; ConflictError when the id is in use."""
        place = Place(f"{self.root}/{check_id(container_id)}")
        try:
            os.mkdir(place.path, 0o700)
        except FileNotFoundError:
            os.makedirs(self.root, 0o700, exist_ok=True)
            os.mkdir(place.path, 0o700)
        except FileExistsError:
            raise ConflictError("container with given ID already exists") from None
        return place

    def find(self, container_id: str) -> Place:
        """Return the place of a container, there or not."""
        return Place(f"{self.root}/{check_id(container_id)}")

    @contextmanager
    def locked(self, container_id: str) -> Iterator[Place]:
        """Hold the container's lock; NotFoundError when there is no such container."""
        place = self.find(container_id)
        try:
            fd = os.open(place.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            raise NotFoundError("container does not exist") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield place
        finally:
            # A container at its gate was cloned with this descriptor open.
            fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)

    def records(self) -> list[Record]:
        """Return every container that is fully made, by id; damaged ones are left out."""
        found = []
        try:
            names = sorted(os.listdir(self.root))
        except FileNotFoundError:
            return []
        for name in names:
            try:
                found.append(self.find(name).load())
            except (NotFoundError, InvalidError):
                continue
        return found
