"""A container's root seen from outside, by a thread that can do no harm to the host's mounts.

The root of a running container is reached through its first process, with all that is mounted
there. That of a stopped one is mounted, volumes and binds included, by a thread in a mount
namespace of its own: it ends with the thread, however that comes. Paths are resolved by openat2
with RESOLVE_IN_ROOT on a descriptor; the thread's own root stays the host's, so nothing of the
container is ever loaded or executed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from sampan.base.errors import LimitError, SampanError, invariant
from sampan.engine.runtime.core.mount_options import parse_options
from sampan.engine.runtime.core.plan import AttachMount, RootMount
from sampan.engine.runtime.shell import identity, mounts, syscalls

__all__ = ["RootView", "in_thread", "mount_of", "opened"]

T = TypeVar("T")

_CLONE_NEWNS: Final = 0x00020000
_MS_REC_PRIVATE: Final = 0x4000 | 1 << 18
_NAMESPACE: Final = "/proc/thread-self/ns/mnt"
_FULL: Final = (28, 122)  # ENOSPC, EDQUOT


@dataclass(frozen=True, slots=True)
class RootView:
    """Whose root: of a process, or what is to be mounted at a directory of the host."""

    directory: Path
    """An empty directory to mount at, seen so by the thread only."""

    pid: int = 0
    root_mounts: Sequence[Mapping[str, Any]] = ()
    binds: Sequence[AttachMount] = field(default=())
    acts_as: tuple[int, int] | None = None
    """The user and group whose files are made; None: root's."""


@contextlib.contextmanager
def opened(view: RootView) -> Iterator[int]:
    """Open the root, a descriptor for paths below it; only in a thread made by `in_thread`."""
    if view.acts_as is not None:
        identity.act_as(*view.acts_as)
    if view.pid:
        root_fd = _open_directory(f"/proc/{view.pid}/root")
    else:
        root_fd = _mounted(view)
    try:
        yield root_fd
    finally:
        os.close(root_fd)


def _open_directory(path: str) -> int:
    return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _mounted(view: RootView) -> int:
    """Mount everything in a namespace of this thread."""
    before = os.stat(_NAMESPACE).st_ino
    syscalls.unshare(_CLONE_NEWNS)
    invariant(os.stat(_NAMESPACE).st_ino != before, "the thread is in the host's mount namespace")
    syscalls.mount(None, "/", None, _MS_REC_PRIVATE)
    view.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for one in view.root_mounts:
        mount = RootMount(one["type"], one["source"], tuple(one["options"]))
        mounts.mount_root(mount, parse_options(mount.options), str(view.directory))
    root_fd = _open_directory(str(view.directory))
    try:
        for bind in view.binds:
            mounts.attach(bind, root_fd)
    except BaseException:
        os.close(root_fd)
        raise
    return root_fd


def mount_of(fd: int) -> int:
    """Return the id of the mount that a descriptor is on."""
    with open(f"/proc/thread-self/fdinfo/{fd}") as lines:
        for line in lines:
            if line.startswith("mnt_id:"):
                return int(line.split()[1])
    raise SampanError(f"descriptor {fd} has no mount")


async def in_thread(work: Callable[[], T]) -> T:
    """Run blocking work in a new thread; a full disk becomes a LimitError.

    Cancelling the caller does not stop the thread: its work ends by itself, or because the
    sockets that it works on are closed.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)  # type: ignore[arg-type]
        else:
            future.set_exception(error)

    def run() -> None:
        result: T | None = None
        failed: BaseException | None = None
        try:
            result = work()
        except OSError as error:
            failed = LimitError("no space left on device") if error.errno in _FULL else error
        except BaseException as error:
            failed = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(settle, result, failed)

    # Not a pooled thread: it may have left the host's mount namespace for good.
    threading.Thread(target=run, name="root view", daemon=True).start()
    return await future
