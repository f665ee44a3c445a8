"""Blobs from the content store to a registry: looked for, mounted from a neighbour, or sent.

Source: OCI distribution specification 1.1, "Pushing blobs". What breaks off goes on from where the
registry says that it is.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import BinaryIO, Final
from urllib.parse import urljoin

from sampan.base.errors import InvalidError
from sampan.images.core.challenge import pull_scope
from sampan.images.core.manifest import Descriptor
from sampan.images.core.refusal import (
    BusyError,
    ForbiddenError,
    MissingError,
    RejectedError,
    UnauthorizedError,
)
from sampan.images.registry.repository import Repository, back_off_s
from sampan.images.registry.transport import ConnectError
from sampan.images.shell.content import ContentStore
from sampan.images.shell.thread import in_thread

__all__ = ["Sent", "upload"]

Sent = Callable[[int], None]
"""Is told how many bytes have gone."""

_PIECE_BYTES: Final = 256 << 10
_RANGE: Final = re.compile(r"(?:bytes=)?0-(\d+)")
_OCTETS: Final = {"Content-Type": "application/octet-stream"}


async def upload(
    repository: Repository,
    content: ContentStore,
    blob: Descriptor,
    *,
    neighbours: Sequence[str] = (),
    attempts: int,
    first_wait_s: float,
    sent: Sent,
) -> str:
    """Have a blob in a registry's repository; returns how, in Docker's words.

    `neighbours` are repositories of the same registry that may have it already.
    """
    if await repository.has(blob.digest):
        return "Layer already exists"
    for neighbour in neighbours:
        if await _mount(repository, blob.digest, neighbour):
            return f"Mounted from {neighbour}"
    session = _Upload(repository, content, blob, sent)
    attempt = 0
    while True:
        before = session.offset
        try:
            await session.run()
            return "Pushed"
        except (ConnectError, BusyError) as error:
            attempt = 0 if session.offset > before else attempt + 1
            if attempt >= attempts:
                raise
            told_s = getattr(error, "retry_after_s", None)
            await asyncio.sleep(told_s or back_off_s(attempt, first_wait_s))


async def _mount(repository: Repository, digest: str, neighbour: str) -> bool:
    url, params = f"{repository.base}/blobs/uploads/", {"mount": digest, "from": neighbour}
    try:
        async with repository.call(
            "POST", url, (201, 202), params=params, also=[pull_scope(neighbour)]
        ) as answer:
            if answer.status == 201:
                return True
            # The registry has begun an upload instead, which nobody will use.
            location = urljoin(str(answer.url), answer.headers.get("Location", ""))
        async with repository.call("DELETE", location, (200, 202, 204)):
            pass
    except (ForbiddenError, MissingError, RejectedError, UnauthorizedError, BusyError):
        pass
    return False


class _Upload:
    """One blob on its way."""

    def __init__(
        self, repository: Repository, content: ContentStore, blob: Descriptor, sent: Sent
    ) -> None:
        self._repository = repository
        self._content = content
        self._blob = blob
        self._sent = sent
        self._location = ""
        self.offset = 0

    async def run(self) -> None:
        """Send what is missing; ConnectError and BusyError leave it to be gone on with."""
        if self._location:
            await self._find_again()
        if not self._location:
            await self._begin()
        if self.offset < self._blob.size_bytes:
            await self._send()
        mark = "&" if "?" in self._location else "?"
        url = f"{self._location}{mark}digest={self._blob.digest.replace(':', '%3A')}"
        headers = {**_OCTETS, "Content-Length": "0"}
        async with self._repository.call("PUT", url, (201, 204), headers=headers):
            pass

    async def _begin(self) -> None:
        self.offset = 0
        url = f"{self._repository.base}/blobs/uploads/"
        async with self._repository.call(
            "POST", url, (202,), headers={"Content-Length": "0"}
        ) as answer:
            self._follow(str(answer.url), answer.headers)
        if not self._location:
            raise InvalidError("the registry does not say where to upload to")

    def _follow(self, url: str, headers: Mapping[str, str]) -> None:
        location = headers.get("Location", "")
        if location:
            self._location = urljoin(url, location)

    async def _find_again(self) -> None:
        """Ask how far the registry is; where it cannot tell, begin anew."""
        try:
            async with self._repository.call("GET", self._location, (204,)) as answer:
                self._follow(str(answer.url), answer.headers)
                found = _RANGE.fullmatch(answer.headers.get("Range", ""))
        except (MissingError, RejectedError):
            found = None
        # "0-0" is one byte to some and none to others.
        self.offset = int(found[1]) + 1 if found is not None and found[1] != "0" else 0
        if not 0 < self.offset <= self._blob.size_bytes:
            self._location, self.offset = "", 0

    async def _send(self) -> None:
        begin, total = self.offset, self._blob.size_bytes
        headers = {**_OCTETS, "Content-Length": str(total - begin)}
        if begin:
            headers["Content-Range"] = f"{begin}-{total - 1}"
        with await in_thread(self._content.open, self._blob.digest) as file:
            async with self._repository.call(
                "PATCH",
                self._location,
                (202, 204),
                headers=headers,
                body=lambda: self._pieces(file, begin),
            ) as answer:
                self._follow(str(answer.url), answer.headers)
        self.offset = total

    async def _pieces(self, file: BinaryIO, begin: int) -> AsyncIterator[bytes]:
        await in_thread(file.seek, begin)
        gone = begin
        while piece := await in_thread(file.read, _PIECE_BYTES):
            yield piece
            gone += len(piece)
            self._sent(gone)
