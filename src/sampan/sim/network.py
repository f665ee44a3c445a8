"""A network that delays, loses, repeats and reorders messages, and can be cut one way or both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sampan.raft import Message, MsgType
from sampan.sim.world import World

__all__ = ["Network", "Weather"]


@dataclass(frozen=True, slots=True)
class Weather:
    """How bad it is: delays in milliseconds, the rest as shares of all messages."""

    least_ms: float = 0.2
    most_ms: float = 2.0
    lost: float = 0.0
    repeated: float = 0.0
    late: float = 0.0
    late_ms: float = 300.0


class Network:
    """Carries messages between members; `deliver` is what happens at the other end."""

    def __init__(self, world: World, deliver: Callable[[Message], None]) -> None:
        self.weather = Weather()
        self._world = world
        self._deliver = deliver
        self._cut: set[tuple[int, int]] = set()

    def cut(self, sender: int, receiver: int) -> None:
        """Let nothing more through from one to another."""
        self._cut.add((sender, receiver))

    def heal(self) -> None:
        """Let everything through."""
        self._cut.clear()

    def connects(self, sender: int, receiver: int) -> bool:
        """Say whether messages get through at all."""
        return (sender, receiver) not in self._cut

    def send(self, message: Message) -> None:
        """Take a message; it may arrive once, twice or never, and in any order."""
        if (message.sender, message.to) in self._cut:
            return
        weather, draw = self.weather, self._world.random.random
        if weather.lost and draw() < weather.lost:
            return
        self._carry(message)
        # A proposal on its way to the leader comes at most once, as a stream's bytes do: what is
        # proposed twice is applied twice.
        once = message.type is MsgType.PROPOSE
        if weather.repeated and not once and draw() < weather.repeated:
            self._carry(message)

    def _carry(self, message: Message) -> None:
        weather, draw = self.weather, self._world.random.random
        delay_ms = weather.least_ms + draw() * (weather.most_ms - weather.least_ms)
        if weather.late and draw() < weather.late:
            delay_ms += draw() * weather.late_ms
        self._world.after(delay_ms, lambda: self._arrive(message))

    def _arrive(self, message: Message) -> None:
        if (message.sender, message.to) not in self._cut:
            self._deliver(message)
