"""The state directory: one supervisor holds it; what it says of itself stands in files there.

lock             held while a supervisor runs; has its process number
endpoints.json   where the services listen
status.json      the services' states
up.log           what the services print, and up.log.1 what they printed before
run/             what belongs to this boot
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from sampan.base.errors import ConflictError, InvalidError, SampanError, UnavailableError

__all__ = ["StateDir", "default_state_dir", "free_port"]

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_MAX_SOCKET_PATH_BYTES: Final = 107


def default_state_dir(environment: Mapping[str, str]) -> Path:
    """Return the directory that is used unless the user names one."""
    if os.geteuid() == 0:
        return Path("/var/lib/sampan")
    base = environment.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(base) / "sampan"


def free_port(wanted: int = 0) -> int:
    """Return `wanted` if it is free on 127.0.0.1, else another port that is."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return int(probe.getsockname()[1])
    raise UnavailableError("no free port on 127.0.0.1")


class StateDir:
    """Reads and writes the files; `path` may not exist yet."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    @property
    def socket(self) -> str:
        """Where the engine listens. InvalidError when the kernel takes no path so long."""
        found = str(self.path / "docker.sock")
        if len(os.fsencode(found)) > _MAX_SOCKET_PATH_BYTES:
            raise InvalidError(
                f"{found}: the path of a socket has at most {_MAX_SOCKET_PATH_BYTES} bytes: "
                "use a shorter --state-dir"
            )
        return found

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the directory, making it if need be; ConflictError while another one does."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
            fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SampanError(
                f"cannot use the state directory {self.path}: {error.strerror}; name another one "
                "with --state-dir"
            ) from None
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = os.pread(fd, 20, 0).decode().strip() or "?"
                raise ConflictError(
                    f"the stack in {self.path} is up already (process {pid}): `sampan status` "
                    "shows it, `sampan down` ends it"
                ) from None
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(fd)

    def holder(self) -> int:
        """Return the process number of the supervisor, 0 when none runs."""
        try:
            fd = os.open(self.path / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return 0
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.pread(fd, 20, 0).decode().strip()
            return int(text) if text.isdigit() else 0
        finally:
            os.close(fd)
        return 0

    def renew_runtime(self) -> None:
        """Make `run/`, without what an earlier boot has left there."""
        boot_id = _BOOT_ID.read_text().strip()
        place = self.path / "run"
        noted = place / "boot"
        with contextlib.suppress(OSError):
            if noted.read_text() != boot_id:
                shutil.rmtree(place, ignore_errors=True)
        place.mkdir(mode=0o700, exist_ok=True)
        noted.write_text(boot_id)

    def write(self, name: str, document: Mapping[str, Any]) -> None:
        """Write a JSON file in one step, for its owner only."""
        fresh = self.path / f".{name}.new"
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=2)
            file.write("\n")
        fresh.rename(self.path / name)

    def read(self, name: str) -> dict[str, Any]:
        """Return a JSON file, empty when there is none that can be read."""
        try:
            found = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def endpoints(self) -> dict[str, Any]:
        """Return where the services listen; UnavailableError when no supervisor runs."""
        found = self.read("endpoints.json") if self.holder() else {}
        if not found:
            raise UnavailableError(f"nothing is up in {self.path}: `sampan up -d` starts the stack")
        return found
