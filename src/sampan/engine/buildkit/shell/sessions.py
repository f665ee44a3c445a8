"""Sessions: connections that clients have opened so that they can be asked.

A client serves gRPC on it and is called from here; the id in its headers is how builds name it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from sampan.base.errors import ConflictError, InvalidError, NotFoundError, UnavailableError
from sampan.loop.adopted_channel import AdoptedChannel
from sampan.loop.channel import ClientStream
from sampan.loop.raw_stream import RawStream
from sampan.wire.grpc.status import Metadata

__all__ = ["Session", "Sessions"]

_MESSAGE_BYTES: Final = 16 << 20
_WAIT_S: Final = 5.0
_MOST: Final = 512
_ID_BYTES: Final = 256


class Session:
    """One client: `shared_key` is the same for builds of the same directory."""

    def __init__(self, id_: str, shared_key: str) -> None:
        self.id = id_
        self.shared_key = shared_key
        self.channel = AdoptedChannel(max_receive_bytes=_MESSAGE_BYTES)

    async def ask(
        self, method: str, request: bytes, *, metadata: Metadata = (), timeout_s: float = 30.0
    ) -> bytes:
        """Call a method of the client; RpcError as the client has answered."""
        return await self.channel.unary(method, request, metadata=metadata, timeout_s=timeout_s)

    def open(self, method: str, metadata: Metadata = ()) -> ClientStream:
        """Begin a call with streams."""
        return self.channel.stream(method, metadata=metadata)


class Sessions:
    """The sessions by their ids."""

    def __init__(self) -> None:
        self._open: dict[str, Session] = {}
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def _listed(self, session: Session) -> AsyncIterator[None]:
        async with self._changed:
            self._open[session.id] = session
            self._changed.notify_all()
        try:
            yield
        finally:
            if self._open.get(session.id) is session:
                del self._open[session.id]

    def check(self, id_: str) -> None:
        """Refuse an id before its connection is taken over."""
        if not id_ or len(id_) > _ID_BYTES:
            raise InvalidError("a session needs an id: X-Docker-Expose-Session-Uuid is missing")
        if id_ in self._open:
            raise ConflictError(f"session {id_} is open already")
        if len(self._open) >= _MOST:
            raise UnavailableError(f"{_MOST} sessions are open already")

    async def serve(self, raw: RawStream, id_: str, shared_key: str) -> None:
        """Keep a session until its connection ends."""
        session = Session(id_, shared_key)
        raw.hand_to(session.channel.protocol)
        try:
            async with self._listed(session):
                await raw.wait_gone()
        finally:
            await session.channel.close()

    async def get(self, id_: str) -> Session:
        """Return a session, waiting a little for one that is on its way; NotFoundError then."""
        async with self._changed:
            try:
                async with asyncio.timeout(_WAIT_S):
                    await self._changed.wait_for(lambda: id_ in self._open)
            except TimeoutError:
                raise NotFoundError(f"no active session for {id_}") from None
            found = self._open[id_]
        await found.channel.ready
        return found
