"""The networks of pods: which one they are in, their addresses, connections into them."""

from __future__ import annotations

import logging
import os
import socket
from ipaddress import ip_network
from typing import Final

from sampan.base.errors import SampanError, UnavailableError
from sampan.engine.cri.core.sandbox import pod_subnets
from sampan.engine.daemon.shell.container import Container
from sampan.engine.daemon.shell.rootview import in_thread
from sampan.engine.network.core.definition import Definition
from sampan.engine.network.core.model import IpamConfig
from sampan.engine.network.shell.networks import Networks
from sampan.engine.runtime.core.plan import CLONE_FLAGS
from sampan.engine.runtime.shell import syscalls

__all__ = ["PodNetworking", "connect"]

_LOG = logging.getLogger(__name__)
_PODS: Final = "pods"
_DEFAULT: Final = "bridge"

_CONNECT_S: Final = 10.0
_LOOPBACKS: Final = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


class PodNetworking:
    """The bridge network that pods with an address of their own are in.

    It is the daemon's default network, or one of the node's pod subnets once a kubelet has told
    them.
    """

    def __init__(self, networks: Networks) -> None:
        self._networks = networks

    def for_pods(self) -> str:
        """Return the name of the network; `none` when the daemon makes no bridges."""
        for name in (_PODS, _DEFAULT):
            if self._is_there(name):
                return name
        return "none"

    def _is_there(self, name: str) -> bool:
        try:
            return self._networks.find(name).name == name
        except SampanError:
            return False

    async def use_subnets(self, text: str) -> None:
        """Make a network of the node's pod subnets; once there is one it stays as it is."""
        subnets = pod_subnets(text)
        if not subnets:
            return
        if self._is_there(_PODS):
            known = {one.subnet for one in self._networks.find(_PODS).ipam}
            if not known.issuperset(subnets):
                _LOG.warning("the pods' network keeps its subnets, %s", ", ".join(sorted(known)))
            return
        versions = {ip_network(subnet).version for subnet in subnets}
        await self._networks.create(
            Definition(
                name=_PODS,
                ipam=tuple(IpamConfig(str(ip_network(subnet))) for subnet in subnets),
                ipv4=4 in versions,
                ipv6=6 in versions,
            )
        )

    def addresses(self, sandbox: Container) -> list[str]:
        """Return the addresses of a pod with a network of its own, the first one its main one."""
        found = self._networks.sandbox(sandbox.id)
        if found is None:
            return []
        return [str(one) for endpoint in found.endpoints for one in endpoint.addresses()]


async def connect(pid: int, port: int) -> socket.socket:
    """Connect to a port on the loopback addresses of the namespace that a process is in.

    Raises UnavailableError when nobody listens there.
    """
    return await in_thread(lambda: _connect(pid, port))


def _connect(pid: int, port: int) -> socket.socket:
    """Enter the namespace and connect; only in a thread of its own, which it never leaves."""
    fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.setns(fd, CLONE_FLAGS["network"])
    finally:
        os.close(fd)
    told = ""
    for family, address in _LOOPBACKS:
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
        except OSError:
            continue  # this kernel has no such addresses
        sock.settimeout(_CONNECT_S)
        try:
            sock.connect((address, port))
        except OSError as error:
            sock.close()
            told = told or (error.strerror or str(error)).lower()
        else:
            sock.setblocking(False)
            return sock
    raise UnavailableError(f"failed to connect to localhost:{port} inside namespace: {told}")
