"""A container's network: none, the host's, another container's, or places in bridge networks."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from sampan.base.errors import (
    ConflictError,
    DeniedError,
    InvalidError,
    NotFoundError,
    SampanError,
    UnsupportedError,
)
from sampan.engine.daemon.core.attachment import (
    check_settings,
    dns_names,
    endpoint_request,
    endpoint_settings,
    links_of,
)
from sampan.engine.daemon.core.network_views import network_settings
from sampan.engine.daemon.core.options import EngineOptions
from sampan.engine.daemon.core.published import port_wishes
from sampan.engine.daemon.core.record import ContainerRecord
from sampan.engine.daemon.shell.container import Container
from sampan.engine.daemon.shell.events import EventBus
from sampan.engine.daemon.shell.namefiles import extra_hosts, files_of, own_hosts, write_files
from sampan.engine.daemon.shell.registry import Registry
from sampan.engine.network.core.definition import NetworkOptions
from sampan.engine.network.core.ipam import DEFAULT_POOLS, parse_pool
from sampan.engine.network.core.model import DnsSettings, EndpointRequest, NetworkRecord, Sandbox
from sampan.engine.network.core.resolvconf import resolv_text, settled
from sampan.engine.network.shell.networks import Networks
from sampan.engine.network.shell.questions import NAMES_ADDRESS

__all__ = ["ContainerNetworking"]


class _Engine(Protocol):
    options: EngineOptions
    registry: Registry
    events: EventBus

    def find(self, text: str) -> Container:
        """Return a container by name or id."""
        ...


def _shares(mode: str) -> bool:
    """Tell whether a network mode means no place in a bridge network."""
    return mode in ("none", "host") or mode.startswith("container:")


class ContainerNetworking:
    """Gives containers their networks and says what they have."""

    def __init__(self, engine: _Engine) -> None:
        self._engine = engine
        options = engine.options
        self.networks = Networks(
            options.data_root / "network", options.exec_root / "network", _options(options)
        )

    async def open(self) -> None:
        """Find networks and sandboxes of an earlier engine again."""
        await self.networks.open()

    async def close(self) -> None:
        """Let go; what containers have stays."""
        await self.networks.close()

    async def settle(self) -> None:
        """Take down what belongs to no running container; called when all are known."""
        running = [one.id for one in self._engine.registry if one.record.state.running]
        await self.networks.close_unclaimed("container", running)
        await self.networks.close_unclaimed(
            "build", ()
        )  # no command of a build outlives its engine

    def check_bridges(self) -> None:
        """Raise UnsupportedError where no bridge can be made."""
        if self._engine.options.rootless:
            raise UnsupportedError(
                "bridge networks and published ports need a daemon with root: without it, "
                "use --network none, host or container:NAME"
            )

    # When a container is made.

    def prepare(self, record: ContainerRecord, config: Mapping[str, Any]) -> None:
        """Check the networks that a new container asks for, and keep their settings."""
        host = record.host_config
        port_wishes(host, record.config["ExposedPorts"])
        mode = host["NetworkMode"]
        if record.config["NetworkDisabled"] and not mode.startswith("container:"):
            mode = host["NetworkMode"] = "none"
        if mode == "default":
            mode = host["NetworkMode"] = "bridge"
        endpoints = config.get("EndpointsConfig") or {}
        if not isinstance(endpoints, Mapping):
            raise InvalidError("invalid JSON: EndpointsConfig: expected an object")
        if _shares(mode):
            self._prepare_shared(record, mode, endpoints)
            return
        self.check_bridges()
        called = {"bridge" if name == "default" else name: one for name, one in endpoints.items()}
        wanted = {mode: None, **called}
        for name, given in wanted.items():
            try:
                network = self._network(name)
            except NotFoundError:
                # Docker finds that out at the start. (To be told so now would make clients pull.)
                record.networks[name] = endpoint_settings(given, None)
                continue
            self._check_driver(network)
            settings = endpoint_settings(given, network)
            if name == mode and not settings["MacAddress"]:
                settings["MacAddress"] = record.config.get("MacAddress") or ""
            self._check_settings(settings, network)
            if given is not None or network.name not in record.networks:
                record.networks[network.name] = settings

    def _prepare_shared(
        self, record: ContainerRecord, mode: str, endpoints: Mapping[str, Any]
    ) -> None:
        if mode.startswith("container:"):
            return
        if any(name != mode for name in endpoints):
            raise InvalidError(
                "conflicting options: cannot attach both user-defined and non-user-defined "
                "network-modes"
            )
        network = self.networks.find(mode)
        settings = endpoint_settings(endpoints.get(mode), network)
        self._check_settings(settings, network)
        record.networks[mode] = settings

    def _check_settings(self, settings: Mapping[str, Any], network: NetworkRecord) -> None:
        check_settings(
            settings, network, lambda text: self.networks.check_address(network.id, text)
        )

    def _network(self, name: str) -> NetworkRecord:
        return self.networks.find(name)

    def _check_driver(self, network: NetworkRecord) -> None:
        if network.driver != "bridge":
            raise DeniedError(
                "container cannot be disconnected from host network or connected to host network"
                if network.driver == "host"
                else "container cannot be connected to multiple networks with one of the networks "
                "in private (none) mode"
            )

    def _linked(self, target: str) -> Container:
        try:
            return self._engine.find(target)
        except NotFoundError:
            raise InvalidError(f"could not get container for {target}") from None

    # When it starts and ends.

    async def attach(self, container: Container) -> Mapping[str, Any]:
        """Make the container's network; returns its namespace and the files that belong to it."""
        record = container.record
        mode = record.host_config["NetworkMode"]
        if mode.startswith("container:"):
            return self._join(mode.partition(":")[2])
        if _shares(mode):
            self._write_files(container, None)
            return {"files": files_of(container)}
        await self.networks.close_sandbox(container.id)
        try:
            sandbox = await self.networks.open_sandbox(
                container.id,
                [self._request(record, name) for name in self._in_order(record)],
                port_wishes(record.host_config, record.config["ExposedPorts"]),
                dns=_dns(record.host_config),
                label=record.name,
            )
        except SampanError as error:
            raise type(error)(f"failed to set up container networking: {error}") from error
        self._write_files(container, sandbox)
        for endpoint in sandbox.endpoints:
            self._publish("connect", self.networks.find(endpoint.network), container)
        return {"netns": sandbox.path, "files": files_of(container)}

    def _join(self, other_id: str) -> Mapping[str, Any]:
        other = self._engine.find(other_id)
        if not other.record.state.running:
            raise ConflictError(
                f"cannot join network namespace of a non running container: {other.id}"
            )
        return {"netns": f"/proc/{other.record.state.pid}/ns/net", "files": files_of(other)}

    def _in_order(self, record: ContainerRecord) -> list[str]:
        """Return the names of a container's networks, that of its mode first."""
        mode = record.host_config["NetworkMode"]
        first = mode
        if mode not in record.networks:
            with contextlib.suppress(NotFoundError):
                first = self._network(mode).name
        return sorted(record.networks, key=lambda name: (name != first, name))

    def _request(self, record: ContainerRecord, name: str) -> EndpointRequest:
        network, settings = self._network(name), record.networks[name]
        settings["NetworkID"] = network.id
        linked = {}
        if network.has_names:
            for target, alias in links_of(settings["Links"]):
                linked[alias] = self._linked(target).record.name
            linked |= {alias: other.record.name for alias, other in self._links(record)}
        return endpoint_request(record, settings, network, linked)

    def _write_files(self, container: Container, sandbox: Sandbox | None) -> None:
        record = container.record
        host, mode = record.host_config, record.host_config["NetworkMode"]
        options = self._engine.options.network
        daemon = DnsSettings(options.dns, options.dns_search, options.dns_options)
        found = settled(_dns(host), daemon, self.networks.host_resolution.get())
        addresses: list[str] = []
        extra = extra_hosts(host, self.host_gateway())
        resolver = ""
        if sandbox is not None:
            addresses = [str(one) for each in sandbox.endpoints for one in each.addresses()]
            extra += self._link_lines(record)
            if any(self.networks.find(one.network).has_names for one in sandbox.endpoints):
                resolver = NAMES_ADDRESS
        resolv = resolv_text(found, resolver, unchanged=mode == "host")
        own = own_hosts(container, addresses)
        write_files(container, resolv, extra, own, of_the_host=mode == "host")

    def host_gateway(self) -> str:
        """Return the address that `host-gateway` stands for, "" when there is none."""
        given = self._engine.options.network.host_gateway_ips
        if given:
            return given[0]
        try:
            return next((one.gateway for one in self.networks.find("bridge").ipam), "")
        except NotFoundError:
            return ""

    def _links(self, record: ContainerRecord) -> list[tuple[str, Container]]:
        """Return the containers that a container is linked to, and what it calls them."""
        found = []
        for alias, id_ in record.links.items():
            with contextlib.suppress(NotFoundError):
                found.append((alias, self._engine.find(id_)))
        return found

    def _link_lines(self, record: ContainerRecord) -> list[tuple[str, str]]:
        """Return the hosts of links in the default network, where no resolver knows them."""
        lines = []
        for alias, other in self._links(record):
            sandbox = self.networks.sandbox(other.id)
            for endpoint in sandbox.endpoints if sandbox is not None else ():
                if self.networks.find(endpoint.network).predefined:
                    names = dict.fromkeys((alias, other.id[:12], other.record.name))
                    lines += [(str(one), " ".join(names)) for one in endpoint.addresses()]
        return lines

    async def restored(self, container: Container) -> None:
        """A container runs on: its sandbox has been found by `open`."""

    async def detach(self, container: Container) -> None:
        """Take the container's network back."""
        sandbox = self.networks.sandbox(container.id)
        if sandbox is None:
            return
        await self.networks.close_sandbox(container.id)
        for endpoint in sandbox.endpoints:
            self._publish("disconnect", self.networks.find(endpoint.network), container)

    def removed(self, container: Container) -> None:
        """Forget a container."""

    # While it runs.

    async def connect(self, container: Container, text: str, given: Mapping[str, Any]) -> None:
        """Put a container into one more network, now or when it starts."""
        network, record = self._network(text), container.record
        self._check_connectable(container, network)
        async with container.lock:
            if network.name in record.networks:
                raise DeniedError(
                    f"endpoint with name {record.name} already exists in network {network.name}"
                )
            settings = endpoint_settings(given, network)
            self._check_settings(settings, network)
            record.networks[network.name] = settings
            try:
                if self.networks.sandbox(container.id) is not None:
                    request = self._request(record, network.name)
                    await self.networks.connect(container.id, request)
                    self._write_files(container, self.networks.sandbox(container.id))
            except BaseException:
                del record.networks[network.name]
                raise
            container.save()
        self._publish("connect", network, container)

    def _check_connectable(self, container: Container, network: NetworkRecord) -> None:
        mode = container.record.host_config["NetworkMode"]
        if mode.startswith("container:"):
            raise DeniedError(
                "container sharing network namespace with another container or host cannot be "
                "connected to any other network"
            )
        for one in (network, *([self.networks.find(mode)] if _shares(mode) else ())):
            self._check_driver(one)

    async def disconnect(self, container: Container, text: str) -> None:
        """Take a container out of a network."""
        network, record = self._network(text), container.record
        if network.driver == "host":
            self._check_driver(network)
        async with container.lock:
            if network.name not in record.networks:
                raise DeniedError(
                    f"container {container.id} is not connected to network {network.name}"
                )
            sandbox = self.networks.sandbox(container.id)
            if sandbox is not None and sandbox.endpoint(network.id) is not None:
                await self.networks.disconnect(container.id, network.id)
                self._write_files(container, self.networks.sandbox(container.id))
            del record.networks[network.name]
            container.save()
        self._publish("disconnect", network, container)

    def renamed(self, container: Container) -> None:
        """Let others in its networks find a container by its new name."""
        if self.networks.sandbox(container.id) is None:
            return
        names = {}
        for settings in container.record.networks.values():
            if self.networks.find(settings["NetworkID"]).has_names:
                names[settings["NetworkID"]] = dns_names(container.record, settings)
        self.networks.rename(container.id, names)

    def _publish(self, action: str, network: NetworkRecord, container: Container) -> None:
        attributes = {"name": network.name, "type": network.driver, "container": container.id}
        self._engine.events.publish("network", action, network.id, attributes)

    # What is shown.

    def settings(self, container: Container) -> dict[str, Any]:
        """Return Docker's NetworkSettings."""
        record = container.record
        known = {one.name: one for one in self.networks if one.name in record.networks}
        return network_settings(record, self.networks.sandbox(container.id), known)


def _dns(host: Mapping[str, Any]) -> DnsSettings:
    return DnsSettings(
        tuple(host["Dns"] or ()), tuple(host["DnsSearch"] or ()), tuple(host["DnsOptions"] or ())
    )


def _options(options: EngineOptions) -> NetworkOptions:
    given = options.network
    pools = tuple(parse_pool(f"base={one.base},size={one.size}") for one in given.address_pools)
    made = NetworkOptions(
        bip=given.bip,
        bip6=given.bip6,
        fixed_cidr=given.fixed_cidr,
        fixed_cidr6=given.fixed_cidr_v6,
        default_gateway=given.default_gateway,
        default_gateway6=given.default_gateway_v6,
        mtu=given.mtu or 1500,
        icc=given.icc,
        ip_forward=given.ip_forward,
        ip_masq=given.ip_masq,
        rules=given.iptables,
        rules6=given.ip6tables,
        ipv6=given.ipv6,
        userland_proxy=given.userland_proxy,
        host_ip=given.ip or "0.0.0.0",
        dns=given.dns,
        dns_search=given.dns_search,
        dns_options=given.dns_options,
        pools=pools or DEFAULT_POOLS,
    )
    return replace(made, bridge=given.bridge) if given.bridge else made
