"""All networks and sandboxes of one engine.

A network is a record on disk and a bridge. A sandbox is a network namespace that is kept by a mount
below the run directory, whoever lives in it: a container, or the containers of a pod one after the
other. For a sandbox:

    sandbox = await networks.open_sandbox(key, [EndpointRequest(network.id)], ports)
    ...                     # processes join the namespace at `sandbox.path`
    await networks.close_sandbox(key)

Records are written before what they describe is made, and removed after it is gone. So an engine
that starts finds every leftover of one that was killed.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sampan.base.errors import ConflictError, DeniedError, InvalidError, NotFoundError, SampanError
from sampan.engine.network.core.definition import Definition, NetworkOptions
from sampan.engine.network.core.model import (
    AS_THE_HOST,
    DnsSettings,
    Endpoint,
    EndpointRequest,
    NetworkRecord,
    PortMapping,
    Sandbox,
)
from sampan.engine.network.core.names import NameTable
from sampan.engine.network.core.network import Network
from sampan.engine.network.core.nftables import IPV4, IPV6
from sampan.engine.network.core.ruleset import FAMILIES, network_elements
from sampan.engine.network.core.subnets import Space, default_network, network_subnets
from sampan.engine.network.shell.kernel import Kernel
from sampan.engine.network.shell.records import Records
from sampan.engine.network.shell.resolver import HostResolution, Resolver
from sampan.engine.network.shell.sandboxes import Sandboxes
from sampan.engine.network.shell.settings import forward_ipv6, write_setting
from sampan.engine.network.shell.worker import KernelThread

__all__ = ["Networks"]

_LOG = logging.getLogger(__name__)
_DEFAULT: Final = "bridge"


class Networks:
    """Lives on one event loop; what the kernel has to do, one thread does, in order."""

    def __init__(self, data: Path, run: Path, options: NetworkOptions) -> None:
        self._data = data
        self._options = options
        self._records = Records(data / "networks", durable=True)
        self._networks: dict[str, Network] = {}
        self._by_name: dict[str, str] = {}
        self._mark = ""
        self._changing = asyncio.Lock()
        self._thread = KernelThread()
        self._kernel: Kernel | None = None
        self._run = run
        self.host_resolution = HostResolution()
        self._table = NameTable()
        settings = DnsSettings(options.dns, options.dns_search, options.dns_options)
        self._names = Resolver(self._table, self.sandbox, settings, self.host_resolution)
        self._sandboxes: Sandboxes | None = None

    async def open(self) -> None:
        """Get ready: find again what an earlier engine had, and remove what it left by mistake."""
        self._mark = self._read_mark()
        options = self._options
        families = [IPV4] if options.rules else []
        families += [IPV6] if options.rules and options.rules6 else []
        self._kernel = Kernel(self._mark, families)
        self._kernel.rules.make_anew = self._make_rules
        self._sandboxes = Sandboxes(
            self._run,
            self._networks,
            self._kernel,
            self._thread,
            self._options,
            self._names,
            self._table,
        )
        for name, document in self._records:
            try:
                record = NetworkRecord.of_document(document)
            except SampanError as error:
                _LOG.warning("network %s cannot be read: %s", name, error)
                continue
            if not record.predefined or record.id == self._own_id(record.name):
                self._add(record)
        await self._open_predefined()
        sandboxes = self._sandboxes.load()
        bridges = {one.record.bridge for one in self._bridges()}
        devices = {endpoint.device for one in sandboxes for endpoint in one.endpoints}
        await self._thread.call(self._restore, bridges, devices)
        self._sandboxes.remove_strays()
        await self._sandboxes.resume()

    async def close(self) -> None:
        """Let go of the kernel; networks and sandboxes stay as they are."""
        if self._sandboxes is not None:
            self._sandboxes.leave()
        if self._kernel is not None:
            await self._thread.call(self._kernel.close)
        self._thread.close()

    def _read_mark(self) -> str:
        """Return what marks this engine's devices: made once for a data directory."""
        records = Records(self._data, durable=True)
        known = dict(records).get("mark")
        if known is None:
            known = {"mark": secrets.token_hex(6)}
            records.put("mark", known)
        return str(known["mark"])

    def _restore(self, bridges: Collection[str], devices: Collection[str]) -> None:
        """Put the kernel into the state that the records tell; on the thread."""
        assert self._kernel is not None and self._sandboxes is not None
        self._kernel.bridges.remove_leftovers(bridges, devices)
        for network in self._bridges():
            self._kernel.bridges.ensure(network.record, network.bridge_addresses())
        if bridges:
            self._make_rules()

    def _make_rules(self) -> None:
        """Put the rules in place, and let this host forward; on the thread."""
        assert self._kernel is not None and self._sandboxes is not None
        records = [one.record for one in self._bridges()]
        self._kernel.rules.make(records, self._sandboxes.rules())
        self._kernel.rules.let_pass([record.bridge for record in records])
        for record in records:
            self._kernel.bridges.lead_loopback(record.bridge)
        if self._options.ip_forward:
            write_setting("ipv4/ip_forward", "1")
            if any(record.ipv6 for record in records):
                forward_ipv6()

    # Networks.

    def __iter__(self) -> Iterator[NetworkRecord]:
        return iter([one.record for one in self._networks.values()])

    def _bridges(self) -> list[Network]:
        return [one for one in self._networks.values() if one.record.driver == "bridge"]

    def _add(self, record: NetworkRecord) -> Network:
        network = self._networks[record.id] = Network(record)
        self._by_name[record.name] = record.id
        self._table.name_network(record.id, record.name)
        return network

    def find(self, text: str) -> NetworkRecord:
        """Return the network of an id, a name or the beginning of an id.

        Raises NotFoundError, or InvalidError when several ids begin so.
        """
        id_ = text if text in self._networks else self._by_name.get(text)
        if id_ is not None:
            return self._networks[id_].record
        found = [one for one in self._networks if text and one.startswith(text)]
        if not found:
            raise NotFoundError(f"network {text} not found")
        if len(found) > 1:
            raise InvalidError(
                f"network {text} is ambiguous ({len(found)} matches found based on ID prefix)"
            )
        return self._networks[found[0]].record

    def members(self, network_id: str) -> dict[str, Endpoint]:
        """Return the endpoints in a network by the key of their sandbox."""
        return dict(self._networks[network_id].members)

    def check_address(self, network_id: str, address: str) -> None:
        """Raise InvalidError unless an endpoint may ask for that address in a network."""
        self._networks[network_id].check_text(address)

    async def create(self, definition: Definition) -> NetworkRecord:
        """Make a network; raises ConflictError for its name, DeniedError for its subnet."""
        async with self._changing:
            if definition.name in self._by_name:
                raise ConflictError(f"network with name {definition.name} already exists")
            id_ = secrets.token_hex(32)
            record = NetworkRecord(
                id=id_,
                name=definition.name,
                driver=definition.driver,
                created=_now(),
                ipam=network_subnets(definition, await self._space(), id_),
                ipv4=definition.ipv4,
                ipv6=definition.ipv6,
                internal=definition.internal,
                attachable=definition.attachable,
                labels=definition.labels,
                options=definition.options,
                ipam_options=definition.ipam_options,
            )
            if any(one.record.bridge == record.bridge for one in self._bridges()):
                raise DeniedError(f"bridge {record.bridge} is another network's already")
            await self._thread.call(self._make, record)
            self._add(record)
            return record

    def _make(self, record: NetworkRecord) -> None:
        """Do the disk's and the kernel's part of a creation; on the thread."""
        kernel = self._kernel
        assert kernel is not None
        self._records.put(record.id, record.document())
        try:
            kernel.bridges.ensure(record, Network(record).bridge_addresses())
            if not kernel.rules.in_force:
                self._make_rules()
            self._change_rules(record)
        except BaseException:
            kernel.bridges.remove(record.bridge)
            self._records.remove(record.id)
            raise

    def _change_rules(self, record: NetworkRecord, *, remove: bool = False) -> None:
        assert self._kernel is not None
        changes = [(one, change) for one in FAMILIES for change in network_elements(record, one)]
        self._kernel.rules.change(changes, remove=remove)
        bridges = {one.record.bridge for one in self._bridges()} - {record.bridge}
        self._kernel.rules.let_pass(bridges if remove else {*bridges, record.bridge})
        if not remove:
            self._kernel.bridges.lead_loopback(record.bridge)
        if record.ipv6 and self._options.ip_forward and not remove:
            forward_ipv6()

    async def _space(self) -> Space:
        assert self._kernel is not None
        routes = await self._thread.call(self._kernel.bridges.routes)
        own = [subnet for one in self._networks.values() for subnet in one.subnets]
        return Space(self._options.pools, own, routes)

    async def remove(self, text: str) -> NetworkRecord:
        """Remove a network; DeniedError while it is predefined or somebody is in it."""
        async with self._changing:
            record = self.find(text)
            if record.predefined:
                raise DeniedError(f"{record.name} is a pre-defined network and cannot be removed")
            network = self._networks[record.id]
            if network.members:
                inside = ", ".join(
                    f'name:"{one.names[0] if one.names else key[:12]}" id:"{one.id[:12]}"'
                    for key, one in network.members.items()
                )
                raise DeniedError(
                    f"error while removing network: network {record.name} has active endpoints "
                    f"({inside})"
                )
            del self._networks[record.id]
            del self._by_name[record.name]
            await self._thread.call(self._unmake, record)
            return record

    def _unmake(self, record: NetworkRecord) -> None:
        assert self._kernel is not None
        self._records.remove(record.id)
        self._change_rules(record, remove=True)
        self._kernel.bridges.remove(record.bridge)

    async def _open_predefined(self) -> None:
        """Make the networks that are always there; their ids belong to the data directory."""
        assert self._kernel is not None
        for name, driver in (("host", "host"), ("none", "null")):
            self._add(NetworkRecord(self._own_id(name), name, driver, _now(), predefined=True))
        known = self._networks.pop(self._own_id(_DEFAULT), None)
        device = self._options.bridge
        if device == "none":
            if known is not None:
                self._records.remove(known.record.id)
                del self._by_name[_DEFAULT]
            return
        blank = NetworkRecord(self._own_id(_DEFAULT), _DEFAULT, "bridge", _now(), predefined=True)
        record = default_network(
            self._options,
            blank,
            known.record if known is not None else None,
            await self._space(),
            await self._thread.call(self._kernel.bridges.addresses_of_others, device),
        )
        self._records.put(record.id, record.document())
        self._add(record)

    def _own_id(self, name: str) -> str:
        return hashlib.sha256(f"{self._mark} {name}".encode()).hexdigest()

    # Sandboxes.

    async def open_sandbox(
        self,
        key: str,
        requests: Sequence[EndpointRequest],
        ports: Sequence[PortMapping] = (),
        *,
        dns: DnsSettings = AS_THE_HOST,
        label: str = "",
        owner: str = "container",
    ) -> Sandbox:
        """Make a network namespace, plug it into networks and publish its ports.

        `key` names it until `close_sandbox`, also for an engine that comes after this one; `owner`
        is who will claim it then. Without requests there is a loopback device only. `label` is the
        name for messages. When it fails nothing stays; it raises InvalidError, NotFoundError,
        DeniedError, ConflictError or LimitError in Docker's words, UnavailableError for the kernel.
        """
        return await self._all.open(key, requests, ports, dns=dns, label=label, owner=owner)

    async def close_sandbox(self, key: str) -> None:
        """Take a sandbox down, with its addresses, ports and names; no harm when there is none.

        The namespace itself ends with the last process in it.
        """
        await self._all.close(key)

    def sandbox(self, key: str) -> Sandbox | None:
        """Return an open sandbox."""
        return self._all.get(key)

    async def connect(self, key: str, request: EndpointRequest) -> Endpoint:
        """Plug an open sandbox into one more network."""
        return await self._all.connect(key, request)

    async def disconnect(self, key: str, network_id: str) -> None:
        """Unplug an open sandbox from a network."""
        await self._all.disconnect(key, network_id)

    def rename(self, key: str, names: Mapping[str, Sequence[str]]) -> None:
        """Change what an open sandbox is called; `names` are by the id of the network."""
        self._all.rename(key, names)

    async def close_unclaimed(self, owner: str, keys: Collection[str]) -> None:
        """Take down all sandboxes of an owner but those named. To be called after `open`."""
        await self._all.close_unclaimed(owner, keys)

    @property
    def _all(self) -> Sandboxes:
        assert self._sandboxes is not None
        return self._sandboxes


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
