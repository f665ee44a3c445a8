"""Published ports: held on the host, led to containers by rules, copied where no rule can lead."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sampan.base.errors import SampanError
from sampan.engine.network.core.definition import NetworkOptions
from sampan.engine.network.core.model import PortMapping, Sandbox
from sampan.engine.network.core.nftables import Elements
from sampan.engine.network.core.ruleset import port_changes
from sampan.engine.network.shell.ports import Held, HostPorts
from sampan.engine.network.shell.proxy import TcpProxy, UdpProxy
from sampan.engine.network.shell.rules import PacketRules
from sampan.engine.network.shell.settings import has_ipv6

__all__ = ["Publishing", "udp_ports"]

_LOG = logging.getLogger(__name__)
Changes = list[tuple[int, Elements]]


class Publishing:
    """Ports of all sandboxes. Lives on the loop; changes of rules are returned for the thread."""

    def __init__(self, options: NetworkOptions, rules: PacketRules) -> None:
        self._copies = options.userland_proxy
        self._rules = rules
        self._ports = HostPorts(options.host_ip)
        self._proxies: dict[str, list[TcpProxy | UdpProxy]] = {}

    def open(
        self, sandbox: Sandbox, wishes: Sequence[PortMapping], default_ip: str, label: str
    ) -> tuple[list[PortMapping], Changes]:
        """Hold host ports for a sandbox; returns them, and what to add to the rules.

        A wish without an address is for `default_ip`. Raises in Docker's words, with `label` as the
        sandbox's name. A sandbox that nothing leads to from outside publishes nothing.
        """
        targets = _targets(sandbox)
        if not wishes or not targets:
            return [], []
        held: list[Held] = []
        try:
            for one in wishes:
                versions = self._versions(targets, one.protocol)
                held += self._ports.reserve(sandbox.key, [one], versions, default_ip)
        except SampanError as error:
            endpoint = sandbox.gateway_endpoint(4) or sandbox.endpoints[0]
            raise type(error)(
                "driver failed programming external connectivity on endpoint "
                f"{label} ({endpoint.id}): {error}"
            ) from error
        self._start_copying(sandbox.key, held, targets)
        ports = [one.mapping for one in held]
        return ports, port_changes(ports, targets)

    def _versions(self, targets: Sequence[str], protocol: str) -> set[int]:
        """Return the IP versions that ports can be published on; copied where they differ."""
        if self._copies and protocol != "sctp" and has_ipv6():
            return {4, 6}
        return {6 if ":" in one else 4 for one in targets}

    def _start_copying(self, key: str, held: Sequence[Held], targets: Sequence[str]) -> None:
        if not self._copies:
            return
        proxies = self._proxies.setdefault(key, [])
        for one in held:
            version6 = ":" in one.mapping.host_ip
            same = next((to for to in targets if (":" in to) == version6), None)
            # What comes from ::1 no rule can lead on.
            led = same is not None and not version6 and self._rules.leads(4)
            if one.socket is None or led:
                continue
            target = same or targets[0], one.mapping.port
            if one.mapping.protocol == "tcp":
                proxies.append(TcpProxy(one.socket, target))
            elif one.mapping.protocol == "udp":
                proxies.append(UdpProxy(one.socket, target))

    def _stop_copying(self, key: str) -> None:
        for proxy in self._proxies.pop(key, ()):
            proxy.close()

    def close(self, sandbox: Sandbox) -> Changes:
        """Let a sandbox's ports go; returns what to remove from the rules."""
        self.leave(sandbox.key)
        return self.changes(sandbox)

    def leave(self, key: str) -> None:
        """Hold and copy no more; the rules stay as they are."""
        self._stop_copying(key)
        self._ports.release(key)

    def changes(self, sandbox: Sandbox) -> Changes:
        """Return what a sandbox's ports are in the rules."""
        return port_changes(sandbox.ports, _targets(sandbox))

    def move(self, before: Sandbox, after: Sandbox) -> tuple[Changes, Changes]:
        """Copy to where ports lead now; returns what to remove from the rules and what to add."""
        targets = _targets(after)
        if not after.ports or _targets(before) == targets:
            return [], []
        self._stop_copying(after.key)
        if targets:
            self._start_copying(after.key, self._ports.held(after.key), targets)
        return self.changes(before), self.changes(after)

    def resume(self, sandbox: Sandbox) -> None:
        """Hold the ports of a sandbox again that has outlived an engine."""
        targets = _targets(sandbox)
        for one in sandbox.ports:
            versions = {6 if ":" in one.host_ip else 4}
            try:
                held = self._ports.reserve(sandbox.key, [one], versions)
            except SampanError as error:
                _LOG.warning("sandbox %s: %s", sandbox.key[:12], error)
                continue
            if targets:
                self._start_copying(sandbox.key, held, targets)


def _targets(sandbox: Sandbox) -> list[str]:
    """Return the addresses that published ports lead to: of the endpoint with the gateway."""
    found = []
    for version in (4, 6):
        endpoint = sandbox.gateway_endpoint(version)
        if endpoint is not None:
            found += [str(one) for one in endpoint.addresses() if one.version == version]
    return found


def udp_ports(sandbox: Sandbox) -> set[int]:
    """Return the host ports that a sandbox publishes for datagrams."""
    return {one.host_port for one in sandbox.ports if one.protocol == "udp"}
