"""The store as a server: a node, its services, and the sockets that clients come in by."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sampan.base.errors import SampanError
from sampan.base.log import Logger
from sampan.loop.health import HealthService
from sampan.loop.server import RpcServer
from sampan.loop.server_limits import ServerLimits
from sampan.store.api import auth, cluster, election, kv, lease, lock, maintenance, peer, watch
from sampan.store.api.gate import Gate
from sampan.store.api.service import Context
from sampan.store.core.greeting import Identity
from sampan.store.shell.client_tls import context_for
from sampan.store.shell.config import EtcdConfig, Url
from sampan.store.shell.node import Node
from sampan.store.shell.peer_tls import check_certificate, peer_server_tls
from sampan.wire.grpc.reflection import Reflection
from sampan.wire.grpc.service import (
    HttpHandler,
    HttpRequest,
    HttpResponse,
    MethodTable,
    StreamMethod,
    UnaryMethod,
)
from sampan.wire.h2.settings import Limits
from sampan.wire.protobuf import POOL

if TYPE_CHECKING:
    from sampan.store.api.web import Web

__all__ = ["EtcdServer"]

_GRACE_S: Final = 5.0


class EtcdServer:
    """One store, serving. `endpoints` are the client URLs with their real ports."""

    def __init__(self, node: Node, log: Logger) -> None:
        self.node = node
        self.endpoints: list[str] = []
        self._log = log
        self._context = Context(
            config=node.config,
            state=node.state,
            log=node.log,
            hub=node.hub,
            authenticator=node.authenticator,
            clock=node.clock,
            may_grow=node.may_grow,
            compacted=node.compacted,
            storage=node.storage,
            random=node.random,
            neighbours=node.membership,
        )
        self._gate = Gate(self._context, _services(self._context))
        self._services = self._gate.table()
        self._health = HealthService()
        self._made_web: Web | None = None
        self._listens_to_peers = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[RpcServer] = []
        self._peer_servers: list[RpcServer] = []
        self._tls_context: ssl.SSLContext | None = None

    @classmethod
    async def start(cls, config: EtcdConfig, log: Logger) -> EtcdServer:
        """Open the data and listen. Raises SampanError or OSError; nothing is left open then."""
        node = await Node.open(config, log)
        server = cls(node, log)
        try:
            await server._listen()
        except BaseException:
            await server.stop(grace_s=0)
            raise
        return server

    async def stop(self, grace_s: float = _GRACE_S) -> None:
        """Finish what is under way for at most `grace_s` seconds, then close everything."""
        self._health.shut_down()
        self._gate.stop()
        await asyncio.gather(*(server.close(grace_s) for server in self._servers))
        await self._context.stop()
        await self.node.close()
        # To the last: the others get this member's word on who leads when it goes.
        await asyncio.gather(*(server.close(0) for server in self._peer_servers))

    async def _listen(self) -> None:
        config = self.node.config
        if self._config_wants_peers():
            await self._listen_to_peers()
        if config.feature_gates.initial_corrupt_check:
            await self.node.corruption.refuse_if_differing()
        http_urls = config.listen_client_http_urls
        main = self._rpc_server(http=None if http_urls else self._client_http)
        self.endpoints = await self._open_all(main, config.listen_client_urls)
        found = {"client": self.endpoints}
        if http_urls:
            found["http"] = await self._open_all(RpcServer({}, http=self._client_http), http_urls)
        if config.listen_metrics_urls:
            plain = RpcServer({}, http=self._metrics_http)
            found["metrics"] = await self._open_all(plain, config.listen_metrics_urls)
        self.node.membership.on_replicated = self._become_reachable
        self._watch_standing()
        self.node.state.cluster.advertise(
            [str(url) for url in _advertised(config.advertise_client_urls, self.endpoints)]
        )
        self.node.publish()
        self.node.storage.announce(found)
        self._health.set_all_serving()
        self._log.info("ready to serve client requests")
        for endpoint in (*self.endpoints, *found.get("http", ())):
            insecure = endpoint.startswith(("http:", "unix:"))
            message = "serving client traffic "
            message += "insecurely; this is strongly discouraged!" if insecure else "securely"
            self._log.info(message, address=endpoint)
        for endpoint in found.get("metrics", ()):
            self._log.info("serving metrics", address=endpoint)

    def _watch_standing(self) -> None:
        """Have the gate look whenever what it goes by changes."""
        auth = self.node.state.auth
        recheck = auth.observer

        def changed() -> None:
            if recheck is not None:
                recheck()
            self._gate.look()

        auth.observer = changed
        self.node.on_standing = self._gate.look
        self._gate.look()

    # ---- peers

    def _config_wants_peers(self) -> bool:
        """A member that is alone needs no peers' port, unless it was told which one to take."""
        config = self.node.config
        told = config.listen_peer_urls != EtcdConfig().listen_peer_urls
        return told or self.node.membership.raft is not None

    async def _listen_to_peers(self) -> None:
        if self._listens_to_peers:
            return
        self._listens_to_peers = True
        node = self.node
        me = Identity(node.storage.cluster_id, node.storage.member_id)
        limits = ServerLimits(
            http2=peer.HTTP2,
            receive_message_bytes=peer.RECEIVE_BYTES,
            partial_request_bytes=2 * peer.RECEIVE_BYTES,
            keepalive_without_calls=True,
        )
        server = RpcServer(
            peer.methods(node.membership, me, partial(check_certificate, node.config.peer_tls)),
            limits=limits,
        )
        self._peer_servers.append(server)
        context = None
        for url in node.config.listen_peer_urls:
            if url.tls and context is None:
                context = peer_server_tls(node.config)
            if url.unix:
                await server.listen_unix(url.host, context)
            else:
                await server.listen(url.host, url.port, context if url.tls else None)
            self._log.info("serving peer traffic", address=str(url))

    def _become_reachable(self) -> None:
        """The member has others now: listen to them."""
        task = asyncio.get_running_loop().create_task(self._listen_late())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _listen_late(self) -> None:
        try:
            await self._listen_to_peers()
        except (OSError, SampanError) as error:
            self._log.error(
                "cannot listen to other members; free the address or give another one by "
                "--listen-peer-urls, and restart",
                error=str(error),
            )

    async def _open_all(self, server: RpcServer, urls: Sequence[Url]) -> list[str]:
        self._servers.append(server)
        return [str(await self._open(server, url)) for url in urls]

    def _rpc_server(self, http: HttpHandler | None) -> RpcServer:
        config = self.node.config
        methods = self._gate.table()
        methods.update(self._health.methods())
        names = sorted({path[1:].partition("/")[0] for path in methods})
        methods.update(Reflection(names, POOL).methods())
        limits = ServerLimits(
            http2=Limits(max_concurrent_streams=config.max_concurrent_streams),
            receive_message_bytes=config.max_message_bytes,
            http_body_bytes=config.max_message_bytes,
            keepalive_min_time_s=config.grpc_keepalive_min_time_s,
            keepalive_interval_s=config.grpc_keepalive_interval_s,
            keepalive_timeout_s=config.grpc_keepalive_timeout_s,
        )
        return RpcServer(methods, http=http, limits=limits)

    def _web(self) -> Web:
        if self._made_web is None:
            from sampan.store.api.web import Web

            self._made_web = Web(
                self.node, self._context, self._services, lambda: self._servers[0].stats, self._log
            )
        return self._made_web

    async def _client_http(self, request: HttpRequest) -> HttpResponse:
        return await self._web().client(request)

    async def _metrics_http(self, request: HttpRequest) -> HttpResponse:
        return await self._web().metrics(request)

    async def _open(self, server: RpcServer, url: Url) -> Url:
        context = self._client_tls() if url.tls else None
        if url.unix:
            await server.listen_unix(url.host, context)
            return url
        host, port = await server.listen(url.host, url.port, context)
        return Url(url.scheme, url.host or host, port)

    def _client_tls(self) -> ssl.SSLContext:
        if self._tls_context is None:
            self._tls_context = self._make_tls()
        return self._tls_context

    def _make_tls(self) -> ssl.SSLContext:
        config = self.node.config
        hosts = {url.host for url in config.listen_client_urls if not url.unix}
        directory = Path(config.directory) / "fixtures" / "client"
        return context_for(config.client_tls, directory, hosts | {"localhost", "127.0.0.1"})


def _advertised(urls: Sequence[Url], endpoints: Sequence[str]) -> Iterator[Url]:
    """Yield what to advertise; port 0 stands for the port of a listener with the same scheme."""
    bound = [Url.parse(endpoint) for endpoint in endpoints]
    for url in urls:
        found = [each for each in bound if each.scheme == url.scheme]
        found.sort(key=lambda each: each.host != url.host)
        yield replace(url, port=found[0].port) if found and not url.unix and not url.port else url


def _services(context: Context) -> MethodTable:
    table: dict[str, UnaryMethod | StreamMethod] = {}
    for make in (
        kv.methods,
        watch.methods,
        lease.methods,
        cluster.methods,
        maintenance.methods,
        auth.methods,
        election.methods,
        lock.methods,
    ):
        table.update(make(context))
    return table
