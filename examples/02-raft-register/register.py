"""A register replicated over three members with sampan.raft: set it, read it, lose the leader."""

from __future__ import annotations

import random

from sampan.raft import ConfState, MemoryStorage, Message, Node, Options, Ready, Role


class Member:
    """One replica: a Raft node, what it keeps, and the register itself."""

    def __init__(self, member: int, storage: MemoryStorage) -> None:
        draw = random.Random(member).randrange
        self.node = Node(Options(id=member, storage=storage, draw=draw))
        self.storage = storage
        self.value = b"nothing"
        self.applied = 0
        self.readable: dict[bytes, int] = {}

    def work(self, send: list[Message]) -> None:
        """Do what the node wants done: the order is the contract (see sampan.raft)."""
        while self.node.has_ready():
            ready: Ready = self.node.ready()
            send.extend(ready.messages)
            self.storage.append(ready.entries)  # a real storage is durable from here on
            if ready.hard_state:
                self.storage.set_hard_state(ready.hard_state)
            send.extend(ready.messages_after_append)
            for entry in ready.committed_entries:
                self.value = entry.data or self.value  # a new leader's entry is empty
                self.applied = entry.index
            self.readable.update((state.context, state.index) for state in ready.read_states)
            self.node.advance(ready)


class Register:
    """Three members in one process; the network is a list."""

    def __init__(self) -> None:
        founders = ConfState(voters=(1, 2, 3))
        self.members = {n: Member(n, MemoryStorage(founders)) for n in founders.voters}
        self.network: list[Message] = []

    def run(self, ticks: int) -> None:
        """Let time pass, and deliver everything sent."""
        for _ in range(ticks):
            for member in self.members.values():
                member.node.tick()
            self.settle()

    def settle(self) -> None:
        """Deliver messages until there are none left."""
        for member in self.members.values():
            member.work(self.network)
        while self.network:
            message = self.network.pop(0)
            if message.to in self.members:  # else it is lost: the member is down
                self.members[message.to].node.step(message)
                self.members[message.to].work(self.network)

    def leader(self) -> Member:
        """Wait for a leader and return it."""
        while True:
            for member in self.members.values():
                if member.node.status().role is Role.LEADER:
                    return member
            self.run(ticks=1)

    def set(self, value: bytes) -> None:
        """Replace the value; returns once a majority has it."""
        self.leader().node.propose(value)
        self.settle()

    def get(self, at: int) -> bytes:
        """Read linearizably from any member, without writing to the log."""
        member = self.members[at]
        member.node.read_index(b"one read")
        self.settle()
        assert member.applied >= member.readable.pop(b"one read")
        return member.value


register = Register()
first = register.leader()
print(f"member {first.node.status().id} leads term {first.node.status().hard_state.term}")

register.set(b"blue")
print("every member reads:", *(register.get(at=n).decode() for n in (1, 2, 3)))

del register.members[first.node.status().id]
print(f"member {first.node.status().id} is gone")
second = register.leader()
print(f"member {second.node.status().id} leads term {second.node.status().hard_state.term}")

register.set(b"green")
print("the others read:", *(register.get(at=n).decode() for n in register.members))
print("the one that is gone still has:", first.value.decode())
