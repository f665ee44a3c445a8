"""Who is called what in which network."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from sampan.engine.network.core.model import Endpoint, Sandbox

__all__ = ["NameTable"]

Address = IPv4Address | IPv6Address


class NameTable:
    """Names by network. Several endpoints may share one: all of them answer to it."""

    def __init__(self) -> None:
        self._by_name: dict[str, dict[str, dict[str, Endpoint]]] = {}
        self._by_address: dict[str, dict[Address, Endpoint]] = {}
        self._network_names: dict[str, str] = {}

    def name_network(self, network: str, name: str) -> None:
        """Say what a network is called: `web.mynet` is `web` in `mynet`."""
        self._network_names[network] = name

    def add(self, endpoint: Endpoint) -> None:
        """Let an endpoint be found by its names and addresses."""
        by_name = self._by_name.setdefault(endpoint.network, {})
        for name in endpoint.names:
            by_name.setdefault(name.lower(), {})[endpoint.id] = endpoint
        by_address = self._by_address.setdefault(endpoint.network, {})
        for address in endpoint.addresses():
            by_address[address] = endpoint

    def remove(self, endpoint: Endpoint) -> None:
        """Forget an endpoint; no harm when it is not known."""
        by_name = self._by_name.get(endpoint.network, {})
        for name in endpoint.names:
            holders = by_name.get(name.lower(), {})
            holders.pop(endpoint.id, None)
            if not holders:
                by_name.pop(name.lower(), None)
        by_address = self._by_address.get(endpoint.network, {})
        for address in endpoint.addresses():
            if (found := by_address.get(address)) is not None and found.id == endpoint.id:
                del by_address[address]
        if not by_name:
            self._by_name.pop(endpoint.network, None)
        if not by_address:
            self._by_address.pop(endpoint.network, None)

    def lookup(self, sandbox: Sandbox, name: str) -> list[Address] | None:
        """Return the addresses of a name as a sandbox sees it; None when the name is not known.

        The first of its networks that knows the name decides; links come before names.
        """
        for own in sandbox.endpoints:
            known = self._by_name.get(own.network, {})
            links = {alias.lower(): target.lower() for alias, target in own.links.items()}
            suffix = "." + self._network_names.get(own.network, "").lower()
            bare = name.removesuffix(suffix) if len(suffix) > 1 else name
            found = known.get(links.get(name, name)) or known.get(bare)
            if found:
                return [address for one in found.values() for address in one.addresses()]
        return None

    def reverse(self, sandbox: Sandbox, address: Address) -> str | None:
        """Return the name of an address, with its network's: `web.mynet`."""
        for own in sandbox.endpoints:
            found = self._by_address.get(own.network, {}).get(address)
            if found is not None and found.names:
                return f"{found.names[0]}.{self._network_names.get(own.network, '')}".rstrip(".")
        return None
