"""What an executable file says of itself, in the same words for ELF, PE and Mach-O."""

from __future__ import annotations

from typing import Final

from sampan.base.record import record
from sampan.gobuild.core.binary.window import BinaryError, Window

__all__ = ["Executable", "Region"]

_SEARCHED: Final = 16
_SEARCHED_BYTES: Final = 256 << 20


@record
class Region:
    """A section or segment: where it is in the file and in memory."""

    name: str
    offset: int
    size: int
    address: int
    executable: bool = False
    writable: bool = False


@record
class Executable:
    """One program of one architecture.

    `goos` is empty when the headers do not tell. `regions` are what is loaded, `sections` the named
    parts. `alignment` is the smallest alignment of the loaded segments in bytes, 0 when unknown.
    `needed` are shared libraries by name, `imports` undefined dynamic symbols, `versions` the
    symbol versions they ask for (`GLIBC_2.34`). `names` is the table of the symbols' names.
    `values` are small variables that were read by their symbols (`runtime.goarm`). `entry` is the
    address where an ELF program begins, `symbols` the table of its symbols, named by `names`.
    """

    format: str
    goos: str
    goarch: str
    bits: int
    big_endian: bool
    window: Window
    regions: tuple[Region, ...]
    sections: tuple[Region, ...]
    kind: str = "executable"
    pie: bool = False
    interpreter: str = ""
    needed: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    stripped: bool = True
    debug: bool = False
    alignment: int = 0
    names: Region | None = None
    minimum_system: str = ""
    float_abi: str = ""
    values: tuple[tuple[str, int], ...] = ()
    entry: int = 0
    symbols: Region | None = None

    def section(self, name: str) -> Region | None:
        """Return the first section of a name."""
        return next((one for one in self.sections if one.name == name), None)

    def find(self, what: bytes) -> int:
        """Return the offset of bytes in what is loaded or names symbols, -1 when nowhere."""
        places = [*self.regions[:_SEARCHED], *([self.names] if self.names else [])]
        for place in places:
            end = place.offset + min(place.size, _SEARCHED_BYTES)
            if (at := self.window.find(what, place.offset, end)) >= 0:
                return at
        return -1

    def at(self, address: int, size: int) -> bytes:
        """Return bytes by their address in memory; BinaryError when it is not of the file."""
        for region in self.regions:
            if region.address <= address < region.address + region.size:
                room = region.address + region.size - address
                return self.window.take(region.offset + address - region.address, min(size, room))
        raise BinaryError(f"address {address:#x} is not in the file")
