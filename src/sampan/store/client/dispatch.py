"""Which endpoint a call goes to, with which token, and what happens when that fails.

Endpoints are tried in a circle from the last good one. A round that found none usable is followed
by a delay (exponential, with jitter) and another round, until the deadline or `retry_rounds`.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

from sampan.loop.channel import Channel, ClientStream
from sampan.store.client.backoff import Backoff
from sampan.store.client.endpoint import Endpoint, parse_endpoint
from sampan.store.client.retry import Rotation, Verdict, judge
from sampan.store.pb import rpc_pb2
from sampan.wire.grpc.status import Code, Metadata, RpcError

__all__ = ["Dispatcher", "Options"]

_AUTHENTICATE = "/etcdserverpb.Auth/Authenticate"


@dataclass(frozen=True, slots=True)
class Options:
    """How a client connects; see `Client` for the meaning of each."""

    username: str | None = None
    password: str | None = None
    tls: ssl.SSLContext | None = None
    server_name: str | None = None
    connect_timeout_s: float = 2.0
    keepalive_time_s: float | None = 10.0
    keepalive_timeout_s: float = 3.0
    retry_rounds: int = 5
    user_agent: str = "sampan-store"


class Dispatcher:
    """The channels to all endpoints and the auth token. Belongs to one event loop."""

    def __init__(self, endpoints: Sequence[str], options: Options) -> None:
        if not endpoints:
            raise ValueError("a client needs at least one endpoint")
        self.endpoints = tuple(parse_endpoint(url) for url in endpoints)
        self._options = options
        self._channels = [self._channel(endpoint) for endpoint in self.endpoints]
        self._rotation = Rotation(len(self.endpoints))
        self._token: str | None = None
        self._token_lock = asyncio.Lock()
        self.closed = False

    @property
    def authenticated(self) -> bool:
        """True when calls carry a token got with a user name and password."""
        return self._options.username is not None

    def backoff(self, minimum_s: float, maximum_s: float) -> Backoff:
        """Return a new back-off with this dispatcher's source of randomness."""
        return Backoff(random.random, minimum_s=minimum_s, maximum_s=maximum_s)

    async def call(
        self,
        path: str,
        request: bytes,
        *,
        repeatable: bool,
        timeout_s: float | None,
        endpoint: str | None = None,
    ) -> bytes:
        """Call `path` and return the response message; raises RpcError.

        `repeatable` allows another try after a failure that leaves open whether the call took
        effect. `endpoint` pins the call to one of the client's endpoints.
        """
        deadline = None if timeout_s is None else asyncio.get_running_loop().time() + timeout_s
        # The first attempt is told the round figure: equal header blocks are cheap for both sides.
        limit_s = timeout_s
        backoff = self.backoff(0.025, 1.0)
        refreshed = False
        rounds = 0
        order = list(self._order(endpoint))
        while True:
            index = order.pop(0)
            token = await self._current_token(path, deadline)
            try:
                reply = await self._channels[index].unary(
                    path, request, metadata=_metadata(token), timeout_s=limit_s
                )
            except RpcError as error:
                limit_s = _remaining_s(deadline)
                verdict = judge(error, repeatable=repeatable)
                if verdict is Verdict.REFRESH_TOKEN and self.authenticated and not refreshed:
                    refreshed = True
                    self._forget_token(token)
                    order.insert(0, index)
                    continue
                self._note_failure(index, error)
                if verdict is not Verdict.RETRY:
                    raise
                if not order:
                    rounds += 1
                    order = list(self._order(endpoint))
                    if not await self._pause(backoff, deadline, rounds):
                        raise
                    limit_s = _remaining_s(deadline)
            else:
                self._rotation.succeeded(index)
                return reply

    async def stream(self, path: str, *, metadata: Metadata = ()) -> tuple[int, ClientStream]:
        """Open a stream on the current endpoint; returns its index too, for `note_failure`."""
        token = await self._current_token(path, None)
        index = self._rotation.current
        headers = (*_metadata(token), *metadata)
        return index, self._channels[index].stream(path, metadata=headers)

    async def refresh_token(self) -> None:
        """Get a new token, whatever the old one is worth."""
        self._forget_token(self._token)
        await self._current_token("", None)

    def note_failure(self, index: int, error: RpcError) -> None:
        """Note that a stream on endpoint `index` failed, so that the next goes elsewhere."""
        self._note_failure(index, error)

    async def close(self) -> None:
        """Close every connection; calls under way fail with CANCELLED."""
        self.closed = True
        await asyncio.gather(*(channel.close() for channel in self._channels))

    def _channel(self, endpoint: Endpoint) -> Channel:
        options = self._options
        tls = None if endpoint.secure is False else options.tls
        if endpoint.secure and tls is None:
            tls = ssl.create_default_context()
        return Channel(
            endpoint.target,
            tls=tls,
            server_name=options.server_name,
            connect_timeout_s=options.connect_timeout_s,
            keepalive_time_s=options.keepalive_time_s,
            keepalive_timeout_s=options.keepalive_timeout_s,
            user_agent=options.user_agent,
        )

    def _order(self, endpoint: str | None) -> list[int]:
        if endpoint is None:
            return list(self._rotation.round())
        urls = [known.url for known in self.endpoints]
        if endpoint not in urls:
            raise ValueError(f"{endpoint!r} is not one of the client's endpoints {urls}")
        return [urls.index(endpoint)]

    def _note_failure(self, index: int, error: RpcError) -> None:
        if error.code in (Code.UNAVAILABLE, Code.INTERNAL, Code.UNKNOWN, Code.CANCELLED):
            self._rotation.failed(index)

    async def _pause(self, backoff: Backoff, deadline: float | None, rounds: int) -> bool:
        """Wait before another round; False when there is no time or no round left."""
        delay_s = backoff.next_delay_s()
        remaining_s = _remaining_s(deadline)
        if rounds >= self._options.retry_rounds:
            return False
        if remaining_s is not None and remaining_s <= delay_s:
            return False
        await asyncio.sleep(delay_s)
        return True

    def _forget_token(self, token: str | None) -> None:
        # Another call may have got a newer one meanwhile; that one stays.
        if self._token == token:
            self._token = None

    async def _current_token(self, path: str, deadline: float | None) -> str | None:
        if not self.authenticated or path == _AUTHENTICATE:
            return None
        if self._token is not None:
            return self._token
        async with self._token_lock:
            if self._token is None:
                self._token = await self._authenticate(_remaining_s(deadline))
            return self._token

    async def _authenticate(self, timeout_s: float | None) -> str:
        """Return a token, or "" from a store that has authentication switched off."""
        request = rpc_pb2.AuthenticateRequest(
            name=self._options.username or "", password=self._options.password or ""
        )
        try:
            reply = await self.call(
                _AUTHENTICATE, request.SerializeToString(), repeatable=True, timeout_s=timeout_s
            )
        except RpcError as error:
            if error.message == "etcdserver: authentication is not enabled":
                return ""
            raise
        return rpc_pb2.AuthenticateResponse.FromString(reply).token


def _metadata(token: str | None) -> Metadata:
    return (("token", token),) if token else ()


def _remaining_s(deadline: float | None) -> float | None:
    if deadline is None:
        return None
    return max(0.0, deadline - asyncio.get_running_loop().time())
