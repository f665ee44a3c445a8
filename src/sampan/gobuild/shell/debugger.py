"""Watching an emulated program by QEMU's GDB stub: where the signals that kill it come from."""

from __future__ import annotations

import select
import socket
import time
from typing import Final

from sampan.gobuild.core.binary.executable import Executable
from sampan.gobuild.core.gdbremote import (
    FATAL,
    PC_REGISTERS,
    Packets,
    Stop,
    auxiliary,
    packet,
    stop_of,
)
from sampan.gobuild.core.isa.instruction import DECODED_BYTES

__all__ = ["Debugger", "Halt"]

_AT_ENTRY: Final = 9
_OWN: Final = ("SIGABRT", "SIGTRAP")
_STOPS: Final = 100_000
_LOOK_S: Final = 0.01


class Halt:
    """A signal that the code caused: its name, the address in the file's terms, and the code."""

    def __init__(self, name: str, address: int, code: bytes):
        self.name = name
        self.address = address
        self.code = code


class Debugger:
    """One program under the stub that listens at a path. Every wait ends at `deadline`."""

    def __init__(self, path: str, executable: Executable, deadline: float):
        self._path = path
        self._executable = executable
        self._deadline = deadline
        self._packets = Packets()
        self._waiting: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def __enter__(self) -> Debugger:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def connect(self, gone: int) -> bool:
        """Wait for the stub; False when `gone`, a descriptor, becomes readable before."""
        while time.monotonic() < self._deadline:
            try:
                self._socket.connect(self._path)
                return True
            except OSError:
                if select.select([gone], [], [], _LOOK_S)[0]:
                    return False
        return False

    def follow(self) -> Halt | None:
        """Let it run to its end or the deadline; returns the last signal that its code caused."""
        last: Halt | None = None
        try:
            # QEMU answers for single registers only after it was asked for their description.
            self._ask("qXfer:features:read:target.xml:0,fff")
            bias = self._bias()
            self._send("c")
            for _ in range(_STOPS):
                stop = self._stop()
                if stop is None or stop.ended:
                    break
                name = FATAL.get(stop.signal, "")
                # A program that dies of a signal often ends itself by another one.
                if name and not (last and name in _OWN):
                    last = self._halt(name, bias) or last
                self._send(f"C{stop.signal:02x}")
        except (OSError, ValueError):
            pass  # it has ended, or the time is over
        return last

    def _halt(self, name: str, bias: int) -> Halt | None:
        address = self._counter()
        if address is None:
            return None
        raw = self._ask(f"m{address:x},{DECODED_BYTES:x}") or self._ask(f"m{address:x},4")
        code = bytes.fromhex(raw) if not raw.startswith("E") else b""
        return Halt(name, address - bias, code)

    def _counter(self) -> int | None:
        number = PC_REGISTERS.get(self._executable.goarch)
        if number is None:
            return None
        raw = bytes.fromhex(self._ask(f"p{number:x}"))
        return int.from_bytes(raw, "big" if self._executable.big_endian else "little")

    def _bias(self) -> int:
        """How far the program was moved from where its file says: position independent ones are."""
        raw = self._ask("qXfer:auxv:read::0,800")
        if not raw.startswith(("l", "m")):
            return 0
        found = auxiliary(
            raw[1:].encode("latin-1"), self._executable.bits, self._executable.big_endian
        )
        return found.get(_AT_ENTRY, self._executable.entry) - self._executable.entry

    def _ask(self, text: str) -> str:
        self._send(text)
        return self._receive()

    def _send(self, text: str) -> None:
        self._socket.sendall(packet(text))

    def _stop(self) -> Stop | None:
        while True:
            text = self._receive()
            if stop := stop_of(text):
                return stop

    def _receive(self) -> str:
        """The next packet; OSError at the deadline or the end."""
        while not self._waiting:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionError
            self._waiting = self._packets.feed(data)
            self._socket.sendall(b"+" * len(self._waiting))
        return self._waiting.pop(0)
