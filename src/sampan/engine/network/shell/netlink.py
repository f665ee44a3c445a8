"""A netlink socket that talks in batches; it stays in the namespace that it was opened in."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Collection, Sequence
from typing import Final

from sampan.base.errors import UnavailableError
from sampan.engine.network.core.netlink import (
    ACK,
    DONE,
    ERROR,
    Frame,
    Message,
    acknowledgement,
    frames,
    pack,
)

__all__ = ["NETFILTER", "ROUTE", "NetlinkError", "NetlinkSocket"]

ROUTE: Final = 0
NETFILTER: Final = 12
_SOL_NETLINK, _CAP_ACK, _EXT_ACK = 270, 10, 11
_RECEIVE_BYTES: Final = 1 << 17
_TIMEOUT_S: Final = 20


class NetlinkError(OSError):
    """The kernel refused a request; `index` is its place in the batch."""

    def __init__(self, code: int, words: str, index: int) -> None:
        super().__init__(code, words or os.strerror(code))
        self.index = index


class NetlinkSocket:
    """Blocks for as long as the kernel works: some ten microseconds to milliseconds a request."""

    def __init__(self, protocol: int = ROUTE) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol
        )
        self._socket.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
        self._socket.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", _TIMEOUT_S, 0)
        )
        self._socket.bind((0, 0))
        self._sequence = 1

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def _send(self, messages: Sequence[Message]) -> int:
        first = self._sequence
        self._sequence = (first + len(messages)) & 0x7FFFFFFF or 1
        datagram = pack(messages, first)
        if len(datagram) > 100_000:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, len(datagram) * 2)
        self._socket.send(datagram)
        return first

    def _receive(self) -> list[Frame]:
        try:
            return list(frames(self._socket.recv(_RECEIVE_BYTES)))
        except BlockingIOError:
            raise UnavailableError("the kernel does not answer a netlink request") from None

    def change(self, messages: Sequence[Message], tolerate: Collection[int] = ()) -> None:
        """Carry out requests that are all acknowledged; `tolerate` are errnos that do no harm.

        Those after a failed one are carried out nevertheless. Raises NetlinkError for the first.
        """
        if not messages:
            return
        first = self._send(messages)
        left = {first + number for number, one in enumerate(messages) if one.flags & ACK}
        failed: NetlinkError | None = None
        while left:
            for frame in self._receive():
                if frame.kind != ERROR or frame.sequence not in left:
                    continue
                left.discard(frame.sequence)
                code, words = acknowledgement(frame)
                if code and code not in tolerate and failed is None:
                    failed = NetlinkError(code, words, frame.sequence - first)
        if failed is not None:
            raise failed

    def transact(self, messages: Sequence[Message]) -> None:
        """Carry out one netfilter batch: all of it or nothing. The last command asks for an ACK."""
        first = self._send(messages)
        last = first + len(messages) - 2  # the end of the batch is not acknowledged
        failed: NetlinkError | None = None
        while True:
            for frame in self._receive():
                if frame.kind != ERROR or not first <= frame.sequence <= last:
                    continue
                code, words = acknowledgement(frame)
                if code and failed is None:
                    failed = NetlinkError(code, words, frame.sequence - first)
                if frame.sequence in (first, last):
                    if failed is not None:
                        raise failed
                    return

    def ask(self, message: Message) -> bytes:
        """Return the payload of the one answer."""
        first = self._send([message])
        while True:
            for frame in self._receive():
                if frame.sequence != first:
                    continue
                if frame.kind == ERROR:
                    raise NetlinkError(*acknowledgement(frame), 0)
                return frame.payload

    def dump(self, message: Message) -> list[bytes]:
        """Return the payloads of all answers."""
        first = self._send([message])
        found: list[bytes] = []
        while True:
            for frame in self._receive():
                if frame.sequence != first:
                    continue
                if frame.kind == DONE:
                    return found
                if frame.kind == ERROR:
                    raise NetlinkError(*acknowledgement(frame), 0)
                found.append(frame.payload)
