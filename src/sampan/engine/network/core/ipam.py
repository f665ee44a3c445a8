"""Which subnet a network gets, and which address in it an endpoint.

The allocator is a value in memory: what is taken is told to it again at a start, from the records
of networks and sandboxes, so that it cannot disagree with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from sampan.base.errors import DeniedError, InvalidError, LimitError

__all__ = [
    "DEFAULT_POOLS",
    "Address",
    "AddressPool",
    "PoolSource",
    "Subnet",
    "choose_subnet",
    "overlaps",
    "parse_address",
    "parse_pool",
    "parse_subnet",
    "refuse_overlap",
    "unique_local",
]

Address = IPv4Address | IPv6Address
Subnet = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class PoolSource:
    """Subnets of `size` bits are cut out of `base`."""

    base: Subnet
    size: int


DEFAULT_POOLS: Final = tuple(
    PoolSource(ip_network(base), size)
    for base, size in (
        ("172.17.0.0/16", 16),
        ("172.18.0.0/16", 16),
        ("172.19.0.0/16", 16),
        ("172.20.0.0/14", 16),
        ("172.24.0.0/14", 16),
        ("172.28.0.0/14", 16),
        ("192.168.0.0/16", 20),
    )
)
"""Docker's, in its order."""


def parse_pool(text: str) -> PoolSource:
    """Return the pool of `base=10.0.0.0/8,size=24`; InvalidError when it is none."""
    fields = dict(word.strip().partition("=")[::2] for word in text.split(","))
    try:
        base, size = ip_network(fields["base"]), int(fields["size"])
    except (KeyError, ValueError):
        raise InvalidError(f"invalid default address pool: {text!r}") from None
    if not base.prefixlen <= size <= base.max_prefixlen:
        raise InvalidError(f"invalid default address pool: {text!r}: size is out of range")
    return PoolSource(base, size)


def unique_local(seed: bytes) -> PoolSource:
    """Return the pool of local IPv6 subnets that belongs to 5 random bytes (RFC 4193)."""
    packed = b"\xfd" + seed[:5] + bytes(10)
    return PoolSource(IPv6Network((packed, 48)), 64)


def overlaps(one: Subnet, other: Subnet) -> bool:
    """Tell whether two subnets share an address."""
    if isinstance(one, IPv4Network):
        return isinstance(other, IPv4Network) and one.overlaps(other)
    return isinstance(other, IPv6Network) and one.overlaps(other)


def choose_subnet(
    sources: Sequence[PoolSource], taken: Iterable[Subnet], *, version: int = 4
) -> Subnet:
    """Return the first subnet that overlaps nothing taken: networks, and routes of the host.

    Raises LimitError in Docker's words when there is none.
    """
    busy = sorted(
        (one for one in taken if one.version == version),
        key=lambda one: int(one.network_address),
    )
    for source in sources:
        if source.base.version == version:
            found = _first_free(source, busy)
            if found is not None:
                return found
    raise LimitError(
        f"could not find an available, non-overlapping IPv{version} address pool among the "
        "defaults to assign to the network"
    )


def _first_free(source: PoolSource, busy: Sequence[Subnet]) -> Subnet | None:
    """Go over the pool, from each overlapping subnet to behind its end."""
    bits = source.base.max_prefixlen
    step = 1 << (bits - source.size)
    at, end = int(source.base.network_address), int(source.base.broadcast_address)
    while at + step - 1 <= end:
        for one in busy:
            first, last = int(one.network_address), int(one.broadcast_address)
            if first < at + step and last >= at:
                at = (last // step + 1) * step
                break
        else:
            return IPv4Network((at, source.size)) if bits == 32 else IPv6Network((at, source.size))
    return None


class AddressPool:
    """The addresses of one subnet. One that was given back is the last to be given out again."""

    def __init__(self, subnet: Subnet, within: Subnet | None = None) -> None:
        self.subnet = subnet
        range_ = within or subnet
        first, last = int(range_.network_address), int(range_.broadcast_address)
        if subnet.max_prefixlen - subnet.prefixlen > 1:
            # Without the subnet's own number, and without the broadcast address of IPv4.
            first = max(first, int(subnet.network_address) + 1)
            if subnet.version == 4:
                last = min(last, int(subnet.broadcast_address) - 1)
        self._first, self._last, self._next = first, last, first
        self._taken: set[int] = set()

    def take(self, address: Address) -> None:
        """Take one address; raises InvalidError outside the subnet, DeniedError when taken."""
        if address not in self.subnet:
            raise InvalidError(
                f"no configured subnet contains IP address {address}"
                if address.version == self.subnet.version
                else f"invalid address {address}: it is not of IPv{self.subnet.version}"
            )
        number = int(address)
        if number in self._taken:
            raise DeniedError("Address already in use")
        self._taken.add(number)

    def allocate(self) -> Address:
        """Take the next free address; LimitError when there is none."""
        if len(self._taken) <= self._last - self._first:
            return self._search()
        inside = sum(self._first <= number <= self._last for number in self._taken)
        if inside <= self._last - self._first:
            return self._search()
        raise LimitError(
            f"no available IPv{self.subnet.version} addresses on this network's "
            f"address pools: {self.subnet}"
        )

    def _search(self) -> Address:
        at = self._next
        while at in self._taken:
            at = at + 1 if at < self._last else self._first
        self._taken.add(at)
        self._next = at + 1 if at < self._last else self._first
        return IPv4Address(at) if self.subnet.version == 4 else IPv6Address(at)

    def release(self, address: Address) -> None:
        """Give an address back; no harm when it was free."""
        self._taken.discard(int(address))

    def is_taken(self, address: Address) -> bool:
        """Tell whether an address is taken."""
        return int(address) in self._taken

    def continue_after(self, address: Address) -> None:
        """Give out next what follows an address: the one that was given out last."""
        number = int(address)
        if self._first <= number < self._last:
            self._next = number + 1


def parse_subnet(text: str) -> Subnet:
    """Return a subnet; raises InvalidError in Docker's words."""
    try:
        return ip_network(text)
    except ValueError:
        pass
    try:
        meant = ip_network(text, strict=False)
    except ValueError:
        raise InvalidError(f"invalid subnet {text}: invalid CIDR address") from None
    raise InvalidError(f"invalid subnet {text}: it should be {meant}")


def parse_address(text: str, what: str) -> Address:
    """Return an address; raises InvalidError that says what it was for."""
    try:
        return ip_address(text)
    except ValueError:
        raise InvalidError(f"invalid {what} address: {text}") from None


def refuse_overlap(wanted: Subnet, taken: Iterable[Subnet]) -> None:
    """Raise DeniedError, as Docker, when a subnet is not free."""
    if any(overlaps(wanted, one) for one in taken):
        raise DeniedError(
            "invalid pool request: Pool overlaps with other one on this address space"
        )
