"""The client: one object per store, used from one event loop."""

from __future__ import annotations

import ssl
from collections.abc import Sequence

from sampan.store.client.admin import AuthAdmin, Cluster, Maintenance
from sampan.store.client.dispatch import Dispatcher, Options
from sampan.store.client.kv import Kv
from sampan.store.client.lock import Locks
from sampan.store.client.watch import Watches

__all__ = ["Client"]


class Client(Kv, Watches, Locks):
    """A client of an etcd v3 store.

        async with Client(["http://127.0.0.1:2379"]) as client:
            await client.put("k", "v")
            async for batch in client.watch("k", prefix=True):
                ...

    `endpoints` are `host:port`, `http://...`, `https://...` or `unix:path`; a call goes to the last
    one that worked and moves on when that fails. A failed call is repeated only when that is safe:
    reads always, writes when they surely had no effect. `timeout_s` is the default limit of a call,
    None for none. `username` and `password` are turned into a token when first needed and again
    when it went stale. `tls` is used for `https` endpoints and those without a scheme; an `https`
    endpoint without it is verified against the system's authorities. `server_name` overrides the
    name in the certificate. `keepalive_time_s` of silence lead to a ping, `keepalive_timeout_s`
    without its answer to a new connection; etcd wants at least 5 s between pings.

    Key-value, lease, watch, lock and election calls are methods of the client itself; the rest is
    in `auth`, `cluster` and `maintenance`. Failed calls raise `RpcError` with the server's own code
    and message.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        username: str | None = None,
        password: str | None = None,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
        timeout_s: float | None = 5.0,
        connect_timeout_s: float = 2.0,
        keepalive_time_s: float | None = 10.0,
        keepalive_timeout_s: float = 3.0,
        retry_rounds: int = 5,
    ) -> None:
        options = Options(
            username=username,
            password=password,
            tls=tls,
            server_name=server_name,
            connect_timeout_s=connect_timeout_s,
            keepalive_time_s=keepalive_time_s,
            keepalive_timeout_s=keepalive_timeout_s,
            retry_rounds=retry_rounds,
        )
        dispatcher = Dispatcher(endpoints, options)
        super().__init__(dispatcher, timeout_s)
        self.auth = AuthAdmin(dispatcher, timeout_s)
        self.cluster = Cluster(dispatcher, timeout_s)
        self.maintenance = Maintenance(dispatcher, timeout_s)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The endpoints as given."""
        return tuple(endpoint.url for endpoint in self.dispatcher.endpoints)

    async def close(self) -> None:
        """Close all connections; calls and watches under way end with RpcError CANCELLED."""
        await self.dispatcher.close()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()
