"""The transport between members: who is connected to whom, and what is on its way.

Every member dials every other one and sends on its own connections, so a pair has two in each
direction: one for entries, and one for everything that must not wait behind them (heartbeats,
votes, answers). Snapshots have a call of their own on a third. A queue that grows too long is
dropped as a whole, and Raft is told: it sends again what matters.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from time import time
from typing import Final

from sampan.base.errors import SampanError
from sampan.base.histogram import Histogram, exponential
from sampan.base.log import Logger
from sampan.loop.channel import Channel, ClientStream, NotProcessedError
from sampan.raft import Message, MsgType
from sampan.store.core.greeting import Identity, greet
from sampan.store.core.peerwire import encode_frame
from sampan.store.pb import peer_pb2 as pb
from sampan.store.shell.clocks import CLOCK, ClockWatch, clock_of
from sampan.store.shell.config import Url
from sampan.store.shell.peer_snapshot import send_snapshot
from sampan.store.shell.replication import PeerSink
from sampan.wire.grpc.status import Code, RpcError

__all__ = ["ASK", "MESSAGES", "PeerTraffic", "Peers", "ask"]

MESSAGES: Final = "/sampan.peer.v1.Peer/Messages"
ASK: Final = "/sampan.peer.v1.Peer/Ask"

QUEUE_BYTES: Final = 64 << 20
"""What may wait for one member before it is dropped."""

FIRST_RETRY_S: Final = 0.05
LAST_RETRY_S: Final = 1.0
PROBE_S: Final = 30.0
ROUND_TRIP_BOUNDS_S: Final = exponential(0.0001, 2, 16)
ASK_TIMEOUT_S: Final = 5.0


@dataclass(slots=True)
class PeerTraffic:
    """What went to and came from one member since the start."""

    sent_bytes: int = 0
    sent_failures: int = 0
    received_bytes: int = 0
    active: bool = False
    disconnected: int = 0
    round_trip: Histogram = field(default_factory=lambda: Histogram(ROUND_TRIP_BOUNDS_S))
    snapshots_sent: int = 0
    snapshot_failures: int = 0


@dataclass(slots=True)
class _Lane:
    """One stream of messages to one member, connected anew whenever it ends."""

    channel: Channel
    stream: ClientStream | None = None
    welcome: bool = False
    task: asyncio.Task[None] | None = None
    heard: asyncio.Event = field(default_factory=asyncio.Event)


class _Link:
    """Everything that goes to one member."""

    def __init__(self, peers: Peers, member_id: int, urls: Sequence[str]) -> None:
        self.member_id = member_id
        self.urls = tuple(urls)
        self.active_since_s: float | None = None
        self._peers = peers
        self._turn = 0
        self._lanes = {bulk: self._lane() for bulk in (False, True)}
        self._snapshot: asyncio.Task[None] | None = None
        self._questions: Channel | None = None
        self._prober: asyncio.Task[None] | None = None
        self._told = ""

    def _lane(self) -> _Lane:
        return _Lane(self._peers.channel(self.urls[self._turn % len(self.urls)]))

    def start(self) -> None:
        for bulk, lane in self._lanes.items():
            lane.task = asyncio.create_task(self._keep(bulk), name=f"peer-{self.member_id:x}")
        self._prober = asyncio.create_task(self._probe(), name=f"probe-{self.member_id:x}")

    def heard(self) -> None:
        """The member is there, for it talks to us: whoever waits to connect again does so now."""
        for lane in self._lanes.values():
            lane.heard.set()

    # ---- messages

    def send(self, messages: Sequence[Message]) -> None:
        quick: list[Message] = []
        bulk: list[Message] = []
        for message in messages:
            if message.type is MsgType.SNAPSHOT:
                self._send_snapshot(message)
            else:
                (bulk if message.entries else quick).append(message)
        for lane, batch in ((self._lanes[False], quick), (self._lanes[True], bulk)):
            if batch:
                self._put(lane, batch)

    def _put(self, lane: _Lane, batch: Sequence[Message]) -> None:
        stream = lane.stream
        traffic = self._peers.traffic_of(self.member_id)
        if stream is None or not lane.welcome or stream.buffered_bytes > QUEUE_BYTES:
            traffic.sent_failures += len(batch)
            self._peers.lost(self.member_id)
            return
        data = encode_frame(batch)
        traffic.sent_bytes += len(data)
        stream.send_now(data)

    async def _keep(self, bulk: bool) -> None:
        """Connect, wait for the end of the stream, and begin again, later each time."""
        wait_s = FIRST_RETRY_S
        while True:
            lane = self._lanes[bulk]
            try:
                await self._converse(lane)
                wait_s = FIRST_RETRY_S
            except RpcError as error:
                if lane.welcome:
                    wait_s = FIRST_RETRY_S
                self._say(error)
            self._ended(lane)
            self._peers.lost(self.member_id)
            await lane.channel.close()
            lane.heard.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await lane.heard.wait()
            wait_s = min(2 * wait_s, LAST_RETRY_S)
            self._turn += 1
            renewed = self._lane()
            lane.channel = renewed.channel

    def _ended(self, lane: _Lane) -> None:
        lane.welcome = False
        lane.stream = None
        if self.active_since_s is not None and not any(
            each.welcome for each in self._lanes.values()
        ):
            self.active_since_s = None
            traffic = self._peers.traffic_of(self.member_id)
            traffic.active = False
            traffic.disconnected += 1

    async def _converse(self, lane: _Lane) -> None:
        stream = lane.channel.stream(MESSAGES)
        lane.stream = stream
        try:
            sent = time()
            stream.send(pb.Packet(greeting=self._greeting()).SerializeToString())
            async with asyncio.timeout(ASK_TIMEOUT_S):
                answer = await stream.receive()
            if answer is None:
                raise RpcError(Code.UNAVAILABLE, "the member ended the conversation at once")
            self._welcomed(lane, pb.Welcome.FromString(answer), sent)
            while await stream.receive() is not None:
                pass
        except TimeoutError:
            raise RpcError(Code.UNAVAILABLE, "the member does not answer") from None
        finally:
            stream.cancel()

    def _greeting(self) -> pb.Greeting:
        return greet(self._peers.me, self.member_id, int(time() * 1000))

    def _welcomed(self, lane: _Lane, welcome: pb.Welcome, sent: float) -> None:
        lane.welcome = True
        now = time()
        traffic = self._peers.traffic_of(self.member_id)
        traffic.round_trip.observe(now - sent)
        traffic.active = True
        if self.active_since_s is None:
            self.active_since_s = asyncio.get_running_loop().time()
            self._peers.log.info(
                "established TCP streaming connection with remote peer",
                **{"remote-peer-id": f"{self.member_id:x}"},
            )
        self._told = ""
        self._peers.clocks.heard(self.member_id, sent, now, welcome.unix_ms / 1000)

    def _say(self, error: RpcError) -> None:
        """Log why there is no connection, once for each reason."""
        if error.message == self._told:
            return
        self._told = error.message
        peers = self._peers
        if error.code is Code.PERMISSION_DENIED and "removed" in error.message:
            peers.on_removed(error.message)
        peers.log.warning(
            "cannot talk to a member",
            **{"remote-peer-id": f"{self.member_id:x}"},
            urls=",".join(self.urls),
            error=error.message,
        )

    # ---- questions

    async def _probe(self) -> None:
        """Ask for the member's time now and then: how far it is away, and whether clocks agree."""
        while True:
            await asyncio.sleep(PROBE_S)
            asked = time()
            with suppress(RpcError):
                answer = await self.ask(CLOCK, b"", ASK_TIMEOUT_S)
                answered = time()
                self._peers.traffic_of(self.member_id).round_trip.observe(answered - asked)
                self._peers.clocks.heard(self.member_id, asked, answered, clock_of(answer))

    async def ask(self, subject: str, body: bytes, timeout_s: float) -> bytes:
        """Ask the member something, on one connection for all questions. Raises RpcError."""
        channel = self._questions
        if channel is None:
            url = self.urls[self._turn % len(self.urls)]
            channel = self._questions = self._peers.channel(url)
        question = pb.Question(greeting=self._greeting(), subject=subject, body=body)
        try:
            answer = await channel.unary(ASK, question.SerializeToString(), timeout_s=timeout_s)
        except NotProcessedError:
            if self._questions is channel:
                self._questions = None  # the next one may find the member at another URL
            await channel.close()
            raise
        return pb.Answer.FromString(answer).body

    # ---- snapshots

    def _send_snapshot(self, message: Message) -> None:
        if self._snapshot is not None and not self._snapshot.done():
            return
        self._snapshot = asyncio.create_task(self._stream_snapshot(message), name="snapshot-send")

    async def _stream_snapshot(self, message: Message) -> None:
        peers = self._peers
        traffic = peers.traffic_of(self.member_id)
        channel = peers.channel(self.urls[self._turn % len(self.urls)])
        delivered = False
        try:
            async with peers.sink.snapshot_source(message) as source:
                greeting = self._greeting()
                delivered = await send_snapshot(channel, greeting, source, peers.throttle)
                traffic.sent_bytes += source.size_bytes
                traffic.snapshots_sent += 1
        except (RpcError, SampanError) as error:
            traffic.snapshot_failures += 1
            peers.log.warning(
                "failed to send a snapshot",
                **{"remote-peer-id": f"{self.member_id:x}"},
                error=str(error),
            )
        finally:
            await channel.close()
            peers.sink.snapshot_sent(self.member_id, delivered=delivered)

    async def close(self) -> None:
        tasks = [lane.task for lane in self._lanes.values()] + [self._snapshot, self._prober]
        running = [task for task in tasks if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        channels = [lane.channel for lane in self._lanes.values()]
        if self._questions is not None:
            channels.append(self._questions)
        await asyncio.gather(*(channel.close() for channel in channels))


@dataclass(slots=True)
class Peers:
    """The `PeerTransport` of one member.

    `tls` is made anew for each connection to an https URL, so that changed certificates count.
    `throttle_bytes_s` bounds what snapshots take of the network; 0: all they can get. With `gzip`
    everything is sent compressed.
    """

    me: Identity
    sink: PeerSink
    log: Logger
    tls: Callable[[], ssl.SSLContext] | None = None
    on_removed: Callable[[str], None] = lambda reason: None
    throttle_bytes_s: int = 0
    gzip: bool = False
    traffic: dict[int, PeerTraffic] = field(default_factory=dict)
    clocks: ClockWatch = field(init=False)
    _links: dict[int, _Link] = field(default_factory=dict)
    _ending: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.clocks = ClockWatch(self.log)

    def connect(self, addresses: Mapping[int, Sequence[str]]) -> None:
        """Talk to these members and to no others."""
        for member_id, link in list(self._links.items()):
            urls = addresses.get(member_id)
            if urls is None or tuple(urls) != link.urls:
                del self._links[member_id]
                task = asyncio.create_task(link.close())
                self._ending.add(task)
                task.add_done_callback(self._ending.discard)
        for member_id, urls in addresses.items():
            if member_id not in self._links and member_id != self.me.member_id and urls:
                link = self._links[member_id] = _Link(self, member_id, urls)
                link.start()

    def send(self, messages: Sequence[Message]) -> None:
        """Send messages to whom they are for; see `PeerTransport`."""
        if len(messages) == 1:
            self._send_to(messages[0].to, messages)
            return
        batches: dict[int, list[Message]] = {}
        for message in messages:
            batches.setdefault(message.to, []).append(message)
        for member_id, batch in batches.items():
            self._send_to(member_id, batch)

    def _send_to(self, member_id: int, messages: Sequence[Message]) -> None:
        link = self._links.get(member_id)
        if link is not None:
            link.send(messages)

    def active_since_s(self, member_id: int) -> float | None:
        """Return since when a member is connected, None if it is not."""
        link = self._links.get(member_id)
        return link.active_since_s if link is not None else None

    def heard_from(self, member_id: int) -> None:
        """Hear that a member has connected to this one."""
        link = self._links.get(member_id)
        if link is not None:
            link.heard()

    def traffic_of(self, member_id: int) -> PeerTraffic:
        """Return the counters of one member."""
        return self.traffic.setdefault(member_id, PeerTraffic())

    def lost(self, member_id: int) -> None:
        """Tell Raft that messages did not arrive."""
        self.sink.unreachable(member_id)

    async def throttle(self, size_bytes: int) -> None:
        """Wait as long as `size_bytes` of a snapshot may take."""
        if self.throttle_bytes_s:
            await asyncio.sleep(size_bytes / self.throttle_bytes_s)

    def channel(self, url: str) -> Channel:
        """Return a channel to a peer URL."""
        return channel_to(url, self.tls, gzip=self.gzip)

    async def ask(
        self, member_id: int, subject: str, body: bytes = b"", timeout_s: float = ASK_TIMEOUT_S
    ) -> bytes:
        """Ask a member for something and return the answer. Raises RpcError."""
        link = self._links.get(member_id)
        if link is None:
            raise RpcError(Code.UNAVAILABLE, f"member {member_id:x} is not known here")
        return await link.ask(subject, body, timeout_s)

    async def close(self) -> None:
        """Let go of all connections."""
        links, self._links = list(self._links.values()), {}
        await asyncio.gather(*(link.close() for link in links))
        await asyncio.gather(*self._ending, return_exceptions=True)


def channel_to(
    url: str, tls: Callable[[], ssl.SSLContext] | None, *, gzip: bool = False
) -> Channel:
    """Return a channel to a peer URL. Raises RpcError for https without certificates."""
    parsed = Url.parse(url)
    context = None
    if parsed.tls:
        if tls is None:
            raise RpcError(Code.FAILED_PRECONDITION, f"{url} needs --peer-trusted-ca-file or so")
        context = tls()
    host = f"[{parsed.host}]" if ":" in parsed.host else parsed.host
    target = f"unix:{parsed.host}" if parsed.unix else f"{host}:{parsed.port}"
    return Channel(target, tls=context, keepalive_time_s=10.0, keepalive_timeout_s=5.0, gzip=gzip)


async def ask(
    urls: Sequence[str],
    me: Identity,
    subject: str,
    body: bytes = b"",
    *,
    receiver: int = 0,
    tls: Callable[[], ssl.SSLContext] | None = None,
    timeout_s: float = ASK_TIMEOUT_S,
) -> bytes:
    """Ask whoever listens at one of `urls` for something. Raises the last RpcError."""
    question = pb.Question(
        greeting=greet(me, receiver, int(time() * 1000)), subject=subject, body=body
    ).SerializeToString()
    failure = RpcError(Code.UNAVAILABLE, "no URL to ask")
    for url in urls:
        channel = channel_to(url, tls)
        try:
            answer = await channel.unary(ASK, question, timeout_s=timeout_s)
            return pb.Answer.FromString(answer).body
        except RpcError as error:
            failure = error
        finally:
            await channel.close()
    raise failure
