"""Layers from a registry into the content store: a few at once, each once however many want it.

A download that breaks off goes on where it was, after a while, also when the daemon was restarted
in between. What is stored is verified as it comes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from sampan.base.errors import InvalidError, LimitError, SampanError, UnavailableError
from sampan.images.core.manifest import Descriptor
from sampan.images.core.progress import Progress
from sampan.images.core.refusal import BusyError
from sampan.images.core.registryoptions import RegistryOptions
from sampan.images.registry.options import Slots
from sampan.images.registry.repository import Repository, back_off_s
from sampan.images.registry.transport import ConnectError
from sampan.images.shell.blob_writer import BlobWriter
from sampan.images.shell.content import ContentStore
from sampan.images.shell.thread import in_thread

__all__ = ["Downloads", "Report"]

Report = Callable[[Progress], None]
"""Takes news."""

_BATCH_BYTES: Final = 1 << 20
_PROGRESS_BYTES: Final = 1 << 20


class _Transfer:
    """One blob on its way, and those who wait for it."""

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.reports: list[Callable[[str, int | None], None]] = []
        self.last: tuple[str, int | None] = ("Waiting", None)
        self.ending = False

    def tell(self, status: str, current: int | None = None) -> None:
        self.last = (status, current)
        for report in self.reports:
            report(status, current)


class Downloads:
    """All downloads of a daemon."""

    def __init__(
        self,
        content: ContentStore,
        options: Callable[[], RegistryOptions],
        first_wait_s: float = 1.0,
    ) -> None:
        self._content = content
        self._options = options
        self._first_wait_s = first_wait_s
        self._slots = Slots(lambda: options().max_concurrent_downloads)
        self._transfers: dict[str, _Transfer] = {}

    async def fetch(self, repository: Repository, blob: Descriptor, report: Report) -> None:
        """Have a blob in the content store; within an operation of it.

        Several callers for one blob share one download, which ends when the last of them is
        cancelled. Raises InvalidError when the registry sends something else.
        """
        short = blob.digest.partition(":")[2][:12]

        def tell(status: str, current: int | None) -> None:
            report(Progress(status, short, current, blob.size_bytes))

        while (transfer := self._transfers.get(blob.digest)) is not None and transfer.ending:
            assert transfer.task is not None
            await asyncio.wait((transfer.task,))
        if transfer is None:
            transfer = self._transfers[blob.digest] = _Transfer()
            transfer.task = asyncio.create_task(self._run(repository, blob, transfer))
        elif transfer.last[0] != "Waiting":
            tell(*transfer.last)
        task = transfer.task
        assert task is not None
        transfer.reports.append(tell)
        try:
            await asyncio.shield(task)
        finally:
            transfer.reports.remove(tell)
            if not transfer.reports and not task.done():
                transfer.ending = True
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task

    async def _run(self, repository: Repository, blob: Descriptor, transfer: _Transfer) -> None:
        try:
            if self._slots.full:
                transfer.tell("Waiting")
            async with self._slots.one(), repository.session():
                await self._attempts(repository, blob, transfer)
            transfer.tell("Download complete")
        finally:
            del self._transfers[blob.digest]

    async def _attempts(
        self, repository: Repository, blob: Descriptor, transfer: _Transfer
    ) -> None:
        attempt = 0
        writer = await in_thread(self._content.writer, blob.digest, resume=True)
        try:
            while True:
                resumed, before = writer.size_bytes > 0, writer.size_bytes
                try:
                    await self._once(repository, blob, writer, transfer)
                    transfer.tell("Verifying Checksum")
                    await in_thread(_commit, writer, blob)
                    return
                except _WrongContent:
                    if not resumed:
                        raise
                    writer = await in_thread(self._content.writer, blob.digest, resume=True)
                except (ConnectError, BusyError) as error:
                    attempt = 0 if writer.size_bytes > before + _PROGRESS_BYTES else attempt + 1
                    if attempt >= self._options().max_download_attempts:
                        raise
                    await self._wait(error, attempt, transfer)
        except LimitError:
            await in_thread(writer.abort)  # a full disk keeps no halves
            raise
        finally:
            await in_thread(writer.leave)

    async def _wait(self, error: UnavailableError, attempt: int, transfer: _Transfer) -> None:
        told_s = getattr(error, "retry_after_s", None)
        wait_s = told_s or back_off_s(max(attempt - 1, 0), self._first_wait_s)
        unit = "second" if round(wait_s) == 1 else "seconds"
        transfer.tell(f"Retrying in {max(round(wait_s), 1)} {unit}")
        await asyncio.sleep(wait_s)

    async def _once(
        self, repository: Repository, blob: Descriptor, writer: BlobWriter, transfer: _Transfer
    ) -> None:
        """Fetch what is missing of a blob; ConnectError when the answer ends before it is whole."""
        total = blob.size_bytes
        if writer.size_bytes > total:
            await in_thread(writer.restart)
        if writer.size_bytes == total and total:
            return
        async with repository.blob(blob.digest, writer.size_bytes) as (begins, response):
            if not begins:
                await in_thread(writer.restart)
            batch = bytearray()
            try:
                async for piece in response.content.iter_any():
                    batch += piece
                    if writer.size_bytes + len(batch) > total:
                        batch.clear()
                        await in_thread(writer.restart)
                        raise InvalidError(f"blob {blob.digest} is longer than its {total} bytes")
                    if len(batch) >= _BATCH_BYTES:
                        full, batch = batch, bytearray()
                        await in_thread(writer.write, full)
                    transfer.tell("Downloading", writer.size_bytes + len(batch))
            finally:
                await in_thread(writer.write, batch)  # what has come counts, whatever follows
        if writer.size_bytes < total:
            raise ConnectError(f"blob {blob.digest} ended after {writer.size_bytes} bytes")


class _WrongContent(InvalidError):
    """It does not hash to its digest."""


def _commit(writer: BlobWriter, blob: Descriptor) -> None:
    try:
        writer.commit()
    except SampanError:
        raise _WrongContent(
            f"filesystem layer verification failed for digest {blob.digest}"
        ) from None
