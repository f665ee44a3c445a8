"""Releases in the store, and the turn that a ship takes: one at a time for every application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from sampan.base.errors import ConflictError, UnavailableError
from sampan.ship.core.release import PREFIX, Release, decode, encode, key_of
from sampan.store.client import Client, RpcError

__all__ = ["Ledger"]

_TURN_S: Final = 3.0
_TIMEOUT_S: Final = 5.0
_LOCKS: Final = "/sampan/locks/ship/"


class Ledger:
    """Reads and writes releases of one store."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @classmethod
    @asynccontextmanager
    async def open(cls, endpoints: Sequence[str]) -> AsyncIterator[Ledger]:
        """Connect; UnavailableError when the store cannot be reached while it is used."""
        try:
            async with Client(list(endpoints), timeout_s=_TIMEOUT_S) as client:
                yield cls(client)
        except RpcError as error:
            raise UnavailableError(
                f"the store at {', '.join(endpoints)} does not answer ({error}): `sampan status`"
            ) from None

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[None]:
        """Hold the application's turn; ConflictError while another ship has it."""
        lock = self._client.lock(_LOCKS + name)
        try:
            async with asyncio.timeout(_TURN_S):
                await lock.__aenter__()
        except TimeoutError:
            raise ConflictError(f"{name} is being shipped already: wait for it to end") from None
        try:
            yield
        finally:
            await lock.__aexit__(None, None, None)

    async def releases(self, name: str = "") -> list[Release]:
        """Return the releases of one application, or of all, by number."""
        prefix = f"{PREFIX}{name}/" if name else PREFIX
        return decode([kv.value for kv in await self._client.get_prefix(prefix)])

    async def write(self, release: Release) -> None:
        """Write a release's record."""
        await self._client.put(key_of(release.name, release.number), encode(release))

    async def forget(self, release: Release) -> None:
        """Remove a release's record."""
        await self._client.delete(key_of(release.name, release.number))
