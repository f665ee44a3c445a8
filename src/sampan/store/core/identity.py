"""Who asks: the identity of a request, and what keeps the tokens that stand for one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

__all__ = ["ANONYMOUS", "ROOT", "Credentials", "Identity", "NoTokens", "TokenBook"]

ROOT: Final = "root"
"""The name of the user and of the role that may do everything."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks, and the auth revision at which that was established."""

    user: str
    revision: int


ANONYMOUS: Final = Identity("", 0)
"""A request that came without a token while authentication is on."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A stored password hash and the auth revision at which it was read."""

    password_hash: bytes
    revision: int


class TokenBook(Protocol):
    """What the auth store tells the keeper of tokens as it changes."""

    def enable(self) -> None:
        """Authentication is on: tokens may be assigned."""

    def disable(self) -> None:
        """Authentication is off: forget all tokens."""

    def invalidate_user(self, user: str) -> None:
        """Forget this user's tokens: the user is gone or has a new password."""

    def assign(self, user: str, token: str) -> None:
        """From now on `token` stands for `user`."""


class NoTokens:
    """A token book that keeps none, for tools that only look at the state."""

    def enable(self) -> None:
        """Do nothing."""

    def disable(self) -> None:
        """Do nothing."""

    def invalidate_user(self, user: str) -> None:
        """Do nothing."""

    def assign(self, user: str, token: str) -> None:
        """Do nothing."""
