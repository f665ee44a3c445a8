"""The window of append messages that one follower has not answered yet."""

from __future__ import annotations

from collections import deque

from sampan.base.errors import invariant

__all__ = ["Inflights"]


class Inflights:
    """Messages under way, each with the index of its last entry, bounded in number and bytes.

    The byte bound may be exceeded by the last message let through.
    """

    __slots__ = ("_messages", "max_bytes", "max_messages", "size_bytes")

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self.max_messages = max_messages
        self.max_bytes = max_bytes
        self.size_bytes = 0
        self._messages: deque[tuple[int, int]] = deque()

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def full(self) -> bool:
        """Whether nothing more may be sent."""
        return len(self._messages) >= self.max_messages or self.size_bytes >= self.max_bytes

    def add(self, last_index: int, size_bytes: int) -> None:
        """A message was sent whose last entry is `last_index`."""
        invariant(not self.full, "a message was sent into a full window")
        self._messages.append((last_index, size_bytes))
        self.size_bytes += size_bytes

    def free_to(self, index: int) -> None:
        """The follower has everything up to `index`."""
        messages = self._messages
        while messages and messages[0][0] <= index:
            self.size_bytes -= messages.popleft()[1]

    def reset(self) -> None:
        """Nothing is under way."""
        self._messages.clear()
        self.size_bytes = 0
