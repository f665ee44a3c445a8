"""A member in memory whose services are called directly, without a network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from random import Random
from typing import TypeVar

from google.protobuf.message import Message
from tests.store.buckets import Buckets

from sampan.raft import ConfChange
from sampan.store.api import auth, cluster, maintenance
from sampan.store.api.service import Context
from sampan.store.core.access import Access
from sampan.store.core.alarm import AlarmStore
from sampan.store.core.apply import StateMachine
from sampan.store.core.auth import AuthStore
from sampan.store.core.cluster import ClusterInfo
from sampan.store.core.lease import Lessor
from sampan.store.core.mvcc import Mvcc
from sampan.store.core.watch import WatchHub
from sampan.store.pb import rpc_pb2 as rpc
from sampan.store.pb.auth_pb2 import UserAddOptions
from sampan.store.shell.auth_tokens import Authenticator, SimpleTokens, TokenProvider
from sampan.store.shell.config import EtcdConfig
from sampan.store.shell.passwords import Passwords
from sampan.wire.grpc.service import Peer, StreamMethod, UnaryMethod
from sampan.wire.grpc.status import Code, Metadata, RpcError

_M = TypeVar("_M", bound=Message)

MEMBER = 0xABC
PEER_URL = "http://localhost:2380"
FILE = bytes(range(256)) * 300
"""What the storage gives out as its snapshot: two whole chunks and a part."""


class Now:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Turns:
    """A log of one member: what is proposed is applied in the next turn of the loop, in order."""

    def __init__(self, sink: StateMachine) -> None:
        self.term = self.applied_term = 1
        self.leader = MEMBER
        self.leads = True
        self.last_index = 0
        self.entries: list[bytes] = []
        self.pending = 0
        self._sink = sink

    def propose(self, entry: bytes, context: object) -> None:
        self.last_index += 1
        self.entries.append(entry)
        loop = asyncio.get_running_loop()
        loop.call_soon(self._sink.apply, self.last_index, [entry], [context])

    @property
    def committed_index(self) -> int:
        return self.last_index

    def propose_as_leader(self, entry: bytes, context: object) -> None:
        self.propose(entry, context)

    def propose_membership(self, change: ConfChange, entry: bytes, context: object) -> None:
        raise NotImplementedError

    def read_barrier(self, ready: Callable[[], None], failed: Callable[[RpcError], None]) -> None:
        asyncio.get_running_loop().call_soon(ready)


class Call:
    """A unary or streaming call; `outcome` ends with the answer or the error."""

    def __init__(self, requests: Iterable[bytes] = (), token: str = "", name: str = "") -> None:
        self.metadata: Metadata = (("token", token),) if token else ()
        self.peer = Peer("127.0.0.1:1", name or None)
        self.path = ""
        self.timeout_s: float | None = None
        self.sent: list[bytes] = []
        self.buffered_bytes = 0
        self.outcome: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._requests = list(requests)

    @property
    def done(self) -> bool:
        return self.outcome.done()

    def fail(self, code: Code, message: str, metadata: Metadata = ()) -> None:
        if not self.done:
            self.outcome.set_exception(RpcError(code, message, metadata))

    def on_done(self, callback: Callable[[], None]) -> None:
        self.outcome.add_done_callback(lambda _: callback())

    def reply(self, message: bytes) -> None:
        if not self.done:
            self.outcome.set_result(message)

    async def receive(self) -> bytes | None:
        return self._requests.pop(0) if self._requests else None

    async def consume(self, take: Callable[[bytes], None]) -> None:
        async for message in self:
            take(message)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (message := await self.receive()) is not None:
            yield message

    def send(self, message: bytes) -> None:
        self.sent.append(message)

    def send_all(self, messages: Iterable[bytes]) -> None:
        for message in messages:
            self.send(message)

    async def drain(self) -> None:
        await asyncio.sleep(0)

    def send_metadata(self, metadata: Metadata) -> None:
        raise NotImplementedError


class Files:
    """A storage whose one file is `FILE`."""

    def __init__(self) -> None:
        self.defragmented = 0
        self.open = 0
        self.size_bytes = len(FILE)

    async def defragment(self) -> None:
        self.defragmented += 1

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Files]:
        self.open += 1
        try:
            yield self
        finally:
            self.open -= 1

    async def blocks(self, block_bytes: int) -> AsyncIterator[bytes]:
        for at in range(0, len(FILE), block_bytes):
            yield FILE[at : at + block_bytes]


class Member:
    """The state, the log and the services of mine; `token` is shown with every call."""

    def __init__(self, tokens: TokenProvider | None = None) -> None:
        self.clock = Now()
        self.backend = Buckets()
        self.tokens: TokenProvider = tokens or SimpleTokens(self.clock, Random(7))
        self.lessor = Lessor(self.backend, self.clock)
        self.mvcc = Mvcc(self.backend, self.lessor)
        self.auth = AuthStore(self.backend, self.tokens)
        self.files = Files()
        self.token = ""
        self.state = StateMachine(
            self.backend,
            self.mvcc,
            self.lessor,
            self.auth,
            Access(self.auth, self._lease_keys),
            AlarmStore(self.backend),
            ClusterInfo(self.backend, 7, MEMBER, "m", [PEER_URL], ["http://localhost:2379"]),
        )
        self.log = Turns(self.state)
        self.authenticator = Authenticator(self.auth, self.tokens, Passwords(4))
        self.context = Context(
            config=EtcdConfig(),
            state=self.state,
            log=self.log,
            hub=WatchHub(self.mvcc, lambda revision: self.state.header_bytes()),
            authenticator=self.authenticator,
            clock=self.clock,
            may_grow=lambda size_bytes: None,
            compacted=self._compacted,
            storage=self.files,
        )
        self.methods = {
            **auth.methods(self.context),
            **cluster.methods(self.context),
            **maintenance.methods(self.context),
        }

    def _lease_keys(self, lease_id: int) -> Iterable[bytes]:
        lease = self.lessor.lookup(lease_id)
        return lease.keys if lease is not None else ()

    async def _compacted(self, revision: int) -> None:
        raise NotImplementedError

    async def raw(self, method: str, body: bytes) -> bytes:
        """Call a unary method of package etcdserverpb."""
        found = self.methods[f"/etcdserverpb.{method}"]
        assert isinstance(found, UnaryMethod)
        call = Call(token=self.token)
        found.handler(call, body)
        return await call.outcome

    async def ask(self, method: str, request: Message, answer: type[_M]) -> _M:
        """Call a unary method with messages."""
        return answer.FromString(await self.raw(method, request.SerializeToString()))

    async def stream(self, method: str, request: Message) -> list[bytes]:
        """Call a method that streams its answer."""
        found = self.methods[f"/etcdserverpb.{method}"]
        assert isinstance(found, StreamMethod)
        call = Call([request.SerializeToString()], token=self.token)
        await found.handler(call)
        return call.sent

    async def login(self, user: str, password: str) -> str:
        """Authenticate, and show the token from now on."""
        self.token = ""
        request = rpc.AuthenticateRequest(name=user, password=password)
        self.token = (await self.ask("Auth/Authenticate", request, rpc.AuthenticateResponse)).token
        return self.token

    async def add_user(self, name: str, password: str = "", *roles: str) -> None:
        """Add a user with roles; without a password it can only come by certificate."""
        options = UserAddOptions(no_password=not password)
        request = rpc.AuthUserAddRequest(name=name, password=password, options=options)
        await self.ask("Auth/UserAdd", request, rpc.AuthUserAddResponse)
        for role in roles:
            await self.ask(
                "Auth/UserGrantRole",
                rpc.AuthUserGrantRoleRequest(user=name, role=role),
                rpc.AuthUserGrantRoleResponse,
            )

    async def enable_auth(self) -> None:
        """Switch authentication on, root's password being `rootpw`, and log in as root."""
        await self.add_user("root", "rootpw", "root")
        await self.ask("Auth/AuthEnable", rpc.AuthEnableRequest(), rpc.AuthEnableResponse)
        await self.login("root", "rootpw")

    async def close(self) -> None:
        await self.context.stop()
        self.authenticator.close()


def with_member(test: Callable[[Member], Awaitable[None]]) -> None:
    """Run a test's coroutine with a fresh member."""

    async def run() -> None:
        member = Member()
        try:
            await test(member)
        finally:
            await member.close()

    asyncio.run(run())
