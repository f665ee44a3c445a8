"""Network namespaces of containers and pods: wired up, published, found again, taken down."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from sampan.base.errors import ConflictError, DeniedError, NotFoundError, SampanError
from sampan.engine.network.core.definition import NetworkOptions
from sampan.engine.network.core.model import (
    AS_THE_HOST,
    DnsSettings,
    Endpoint,
    EndpointRequest,
    NetworkRecord,
    PortMapping,
    Sandbox,
    mac_of,
)
from sampan.engine.network.core.names import NameTable
from sampan.engine.network.core.network import Network
from sampan.engine.network.core.nftables import Elements
from sampan.engine.network.shell import namespace
from sampan.engine.network.shell.kernel import Kernel
from sampan.engine.network.shell.plugs import Wiring
from sampan.engine.network.shell.publishing import Publishing, udp_ports
from sampan.engine.network.shell.questions import ResolverSockets
from sampan.engine.network.shell.records import Records
from sampan.engine.network.shell.worker import KernelThread

__all__ = ["NameService", "Sandboxes"]

_LOG = logging.getLogger(__name__)
_SWEEP_AFTER_S: Final = 2.0


class NameService(Protocol):
    """Answers the questions of sandboxes."""

    def serve(self, key: str, sockets: ResolverSockets) -> None:
        """Answer what arrives at these sockets, which it owns from now on."""
        ...

    def drop(self, key: str) -> None:
        """Answer a sandbox no more; no harm when it never was."""
        ...

    def serves(self, key: str) -> bool:
        """Tell whether a sandbox's questions are answered."""
        ...


class Sandboxes:
    """The sandboxes by key. One caller at a time may change one of them."""

    def __init__(
        self,
        directory: Path,
        networks: Mapping[str, Network],
        kernel: Kernel,
        thread: KernelThread,
        options: NetworkOptions,
        names: NameService,
        table: NameTable,
    ) -> None:
        self._directory = directory
        self._networks = networks
        self._kernel = kernel
        self._thread = thread
        self._names = names
        self._table = table
        self._records = Records(directory, durable=False)
        self._publishing = Publishing(options, kernel.rules)
        self._open: dict[str, Sandbox] = {}
        self._going: list[Endpoint] = []
        self._sweeping: asyncio.Task[None] | None = None

    def __iter__(self) -> Iterator[Sandbox]:
        return iter(list(self._open.values()))

    def get(self, key: str) -> Sandbox | None:
        """Return the open sandbox of a key."""
        return self._open.get(key)

    async def open(
        self,
        key: str,
        requests: Sequence[EndpointRequest],
        ports: Sequence[PortMapping] = (),
        *,
        dns: DnsSettings = AS_THE_HOST,
        label: str = "",
        owner: str = "container",
    ) -> Sandbox:
        """Make a sandbox; see `Networks.open_sandbox`."""
        if key in self._open:
            raise ConflictError(f"sandbox {key} is open already")
        path = self._directory / key
        sandbox = Sandbox(key, str(path), dns=dns, owner=owner)
        self._open[key] = sandbox
        try:
            for request in requests:
                endpoint = self._allocate(key, request, sandbox.endpoints)
                sandbox = dataclasses.replace(sandbox, endpoints=(*sandbox.endpoints, endpoint))
                self._open[key] = sandbox
            default_ip = self._host_ip(sandbox)
            held, changes = self._publishing.open(sandbox, ports, default_ip, label or key)
            sandbox = self._open[key] = dataclasses.replace(sandbox, ports=tuple(held))
            sockets = await self._thread.call(self._make, sandbox, changes)
            if sockets is not None:
                self._names.serve(key, sockets)
        except BaseException:
            await self.close(key)
            raise
        return sandbox

    def _make(
        self, sandbox: Sandbox, changes: Sequence[tuple[int, Elements]]
    ) -> ResolverSockets | None:
        """Do the kernel's part of an opening; on the thread."""
        self._records.put(sandbox.key, sandbox.document())
        published = bool(sandbox.ports)
        wirings = [Wiring(one, self._record(one.network), published) for one in sandbox.endpoints]
        sockets = self._kernel.plugs.make_sandbox(
            Path(sandbox.path), wirings, names=self._wants_names(sandbox)
        )
        self._kernel.rules.check_passage()
        self._kernel.rules.change(changes)
        self._kernel.rules.forget_flows(udp_ports(sandbox))
        return sockets

    def _record(self, network: str) -> NetworkRecord:
        return self._networks[network].record

    def _host_ip(self, sandbox: Sandbox) -> str:
        """Return where the sandbox's main network publishes ports, empty when it does not say."""
        gateway = sandbox.gateway_endpoint(4)
        return self._record(gateway.network).host_ip if gateway is not None else ""

    def _wants_names(self, sandbox: Sandbox) -> bool:
        return any(self._record(one.network).has_names for one in sandbox.endpoints)

    def _allocate(self, key: str, request: EndpointRequest, others: Sequence[Endpoint]) -> Endpoint:
        """Take the addresses of an endpoint and make it a member of its network.

        Its device is the first of its name that none of the `others` has.
        """
        network = self._networks.get(request.network)
        if network is None:
            raise NotFoundError(f"network {request.network} not found")
        if key in network.members:
            raise DeniedError(f"endpoint already exists in network {network.record.name}")
        prefix, used = network.record.interface_prefix, {one.interface for one in others}
        numbers = range(len(used) + 1)
        chosen = next(f"{prefix}{n}" for n in numbers if f"{prefix}{n}" not in used)
        interface = request.interface or chosen
        if interface in used:
            raise ConflictError(f"interface {interface} is in use already in this sandbox")
        address = network.allocate(4, request.address)
        endpoint = Endpoint(
            id=secrets.token_hex(32),
            network=request.network,
            interface=interface,
            device=f"veth{secrets.token_hex(4)}",
            mac="",
            address=address,
            gateway=network.gateway(4),
            gateway6=network.gateway(6),
            names=tuple(request.names),
            links=dict(request.links),
            priority=request.priority,
            settings=tuple(request.settings),
        )
        network.members[key] = endpoint
        try:
            address6 = network.allocate(6, request.address6)
        except BaseException:
            del network.members[key]
            network.release(endpoint)
            raise
        endpoint = dataclasses.replace(endpoint, address6=address6)
        mac = request.mac or mac_of(endpoint.addresses()[0])
        endpoint = dataclasses.replace(endpoint, mac=mac)
        network.members[key] = endpoint
        self._table.add(endpoint)
        return endpoint

    def _leave(self, key: str, endpoint: Endpoint) -> None:
        """Make an endpoint a member no more; its addresses are released by `_release`."""
        self._table.remove(endpoint)
        network = self._networks.get(endpoint.network)
        if network is not None:
            network.members.pop(key, None)

    def _release(self, endpoint: Endpoint) -> None:
        network = self._networks.get(endpoint.network)
        if network is not None:
            network.release(endpoint)

    async def close(self, key: str) -> None:
        """Take a sandbox down: names, ports, addresses, namespace. No harm when there is none."""
        sandbox = self._open.get(key)
        if sandbox is None:
            return
        self._names.drop(key)
        changes = self._publishing.close(sandbox)
        for endpoint in sandbox.endpoints:
            self._leave(key, endpoint)
        try:
            await self._thread.call(self._unmake, sandbox, changes)
        finally:
            del self._open[key]
            for endpoint in sandbox.endpoints:
                self._release(endpoint)
            self._sweep_later(sandbox.endpoints)

    def _sweep_later(self, endpoints: Sequence[Endpoint]) -> None:
        """Remove devices a while later, should something still hold their namespace."""
        self._going += endpoints
        if self._going and self._sweeping is None:
            self._sweeping = asyncio.ensure_future(self._sweep())

    async def _sweep(self) -> None:
        await asyncio.sleep(_SWEEP_AFTER_S)
        self._sweeping = None
        going, self._going = self._going, []
        await self._thread.call(self._kernel.plugs.unplug, going)

    def _unmake(self, sandbox: Sandbox, changes: Sequence[tuple[int, Elements]]) -> None:
        """Do the kernel's part of a closing; on the thread."""
        try:
            self._kernel.rules.change(changes, remove=True)
            self._kernel.rules.forget_flows(udp_ports(sandbox))
            self._kernel.plugs.silence(sandbox.endpoints)
        except OSError as error:
            _LOG.warning("sandbox %s: %s", sandbox.key[:12], error)
        namespace.release(Path(sandbox.path))
        self._records.remove(sandbox.key)

    async def connect(self, key: str, request: EndpointRequest) -> Endpoint:
        """Add an endpoint to an open sandbox."""
        before = self._open[key]
        endpoint = self._allocate(key, request, before.endpoints)
        after = dataclasses.replace(before, endpoints=(*before.endpoints, endpoint))
        names = self._wants_names(after) and not self._names.serves(key)
        try:
            sockets = await self._thread.call(self._add, after, endpoint, names)
        except BaseException:
            self._leave(key, endpoint)
            self._release(endpoint)
            self._records.put(key, before.document())
            raise
        self._open[key] = after
        if sockets is not None:
            self._names.serve(key, sockets)
        await self._moved(before, after)
        return endpoint

    def _add(self, after: Sandbox, endpoint: Endpoint, names: bool) -> ResolverSockets | None:
        self._records.put(after.key, after.document())
        path = Path(after.path)
        wiring = Wiring(endpoint, self._record(endpoint.network), bool(after.ports))
        self._kernel.plugs.add_endpoint(path, wiring, after.endpoints)
        return self._kernel.plugs.reopen_resolver(path) if names else None

    async def disconnect(self, key: str, network_id: str) -> None:
        """Take an endpoint out of an open sandbox; NotFoundError when it has none there."""
        before = self._open[key]
        endpoint = before.endpoint(network_id)
        if endpoint is None:
            raise NotFoundError(f"sandbox {key} is not in network {network_id}")
        left = tuple(one for one in before.endpoints if one.network != network_id)
        after = dataclasses.replace(before, endpoints=left)
        self._open[key] = after
        self._leave(key, endpoint)
        await self._thread.call(self._take_out, after, endpoint)
        self._release(endpoint)
        await self._moved(before, after)

    def _take_out(self, after: Sandbox, endpoint: Endpoint) -> None:
        self._kernel.plugs.remove_endpoint(Path(after.path), endpoint, after.endpoints)
        self._records.put(after.key, after.document())

    async def _moved(self, before: Sandbox, after: Sandbox) -> None:
        """Lead published ports to the endpoint that has the gateway now."""
        gone, new = self._publishing.move(before, after)
        rules = self._kernel.rules
        if gone:
            await self._thread.call(rules.change, gone, remove=True)
        if new:
            await self._thread.call(rules.change, new)

    def rename(self, key: str, names: Mapping[str, Sequence[str]]) -> None:
        """Change what a sandbox is called: names by network."""
        sandbox = self._open[key]
        endpoints = []
        for endpoint in sandbox.endpoints:
            self._table.remove(endpoint)
            called = tuple(names.get(endpoint.network, endpoint.names))
            endpoint = dataclasses.replace(endpoint, names=called)
            self._networks[endpoint.network].members[key] = endpoint
            self._table.add(endpoint)
            endpoints.append(endpoint)
        self._open[key] = dataclasses.replace(sandbox, endpoints=tuple(endpoints))
        self._records.put(key, self._open[key].document())

    # At a start: what an earlier engine has left.

    def load(self) -> list[Sandbox]:
        """Read the sandboxes of an earlier engine and take their addresses again."""
        for key, document in self._records:
            try:
                sandbox = Sandbox.of_document(document)
            except SampanError as error:
                _LOG.warning("sandbox %s: %s", key, error)
                continue
            known = tuple(one for one in sandbox.endpoints if one.network in self._networks)
            sandbox = dataclasses.replace(sandbox, endpoints=known)
            self._open[key] = sandbox
            for endpoint in known:
                self._networks[endpoint.network].restore(key, endpoint)
                self._table.add(endpoint)
        return list(self._open.values())

    def rules(self) -> list[tuple[int, Elements]]:
        """Return what the published ports of all sandboxes add to the rules."""
        return [
            change
            for sandbox in self._open.values()
            for change in self._publishing.changes(sandbox)
        ]

    async def resume(self) -> None:
        """Serve loaded sandboxes again; those whose namespace is gone are taken down."""
        for sandbox in list(self._open.values()):
            try:
                sockets = await self._thread.call(self._reenter, sandbox)
            except OSError:
                await self.close(sandbox.key)
                continue
            if sockets is not None:
                self._names.serve(sandbox.key, sockets)
            self._publishing.resume(sandbox)

    def _reenter(self, sandbox: Sandbox) -> ResolverSockets | None:
        path = Path(sandbox.path)
        if self._wants_names(sandbox):
            return self._kernel.plugs.reopen_resolver(path)
        with namespace.entered(path):
            return None

    async def close_unclaimed(self, owner: str, keys: Collection[str]) -> None:
        """Take down every sandbox of an owner that is not among those named."""
        for sandbox in list(self._open.values()):
            if sandbox.owner == owner and sandbox.key not in keys:
                await self.close(sandbox.key)

    def leave(self) -> None:
        """Stop answering and copying; the sandboxes stay for the next engine."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        for sandbox in self._open.values():
            self._names.drop(sandbox.key)
            self._publishing.leave(sandbox.key)

    def remove_strays(self) -> None:
        """Let go of namespaces that no record tells of: an engine died while it made them."""
        if not self._directory.is_dir():
            return
        for path in self._directory.iterdir():
            if path.suffix == ".new":
                path.unlink(missing_ok=True)
            elif path.suffix != ".json" and path.name not in self._open:
                namespace.release(path)
