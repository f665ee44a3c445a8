"""The other members as the services see them; `Alone` stands for a member that has none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from sampan.store.core import errors

__all__ = ["Alone", "Neighbours"]

Answerer = Callable[[bytes], Awaitable[bytes]]


class Neighbours(Protocol):
    """What a service asks of the other members, and about them."""

    def answer(self, subject: str, answerer: Answerer) -> None:
        """Answer what other members ask about `subject`."""

    async def ask_leader(self, subject: str, body: bytes) -> bytes:
        """Ask the leader, which may be this member. Raises RpcError."""

    async def ask(self, member_id: int, subject: str, body: bytes) -> bytes:
        """Ask one member. Raises RpcError."""

    def connected_for_s(self, member_id: int) -> float:
        """Return how long a member has been connected, 0 if it is not; infinite for this one."""

    def in_sync(self, member_id: int) -> bool:
        """Whether a member has nearly all of the log, as its leader sees it. Raises NOT_LEADER."""

    async def move_leader(self, target: int) -> None:
        """Let `target` lead. Raises RpcError: not the leader, or it did not happen in time."""


class Alone:
    """No other members: this one leads and is connected to itself."""

    def __init__(self) -> None:
        self._answerers: dict[str, Answerer] = {}

    def answer(self, subject: str, answerer: Answerer) -> None:
        """Answer what this member asks itself."""
        self._answerers[subject] = answerer

    async def ask_leader(self, subject: str, body: bytes) -> bytes:
        """Ask itself."""
        return await self._answerers[subject](body)

    async def ask(self, member_id: int, subject: str, body: bytes) -> bytes:
        """Raise: there is nobody to ask."""
        raise errors.MEMBER_NOT_FOUND()

    def connected_for_s(self, member_id: int) -> float:
        """Return infinity: it is about this member."""
        return float("inf")

    def in_sync(self, member_id: int) -> bool:
        """Return that it is: nobody else has a log."""
        return True

    async def move_leader(self, target: int) -> None:
        """Do nothing: it leads already."""
