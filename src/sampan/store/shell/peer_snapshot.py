"""Sending a snapshot to another member: a call of its own, as fast as it may go."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Final

from sampan.loop.channel import Channel
from sampan.store.core.peerwire import encode_message
from sampan.store.pb import peer_pb2 as pb
from sampan.store.shell.replication import SnapshotSource

__all__ = ["SNAPSHOT", "send_snapshot"]

SNAPSHOT: Final = "/sampan.peer.v1.Peer/Snapshot"
BLOCK_BYTES: Final = 256 << 10


async def send_snapshot(
    channel: Channel,
    greeting: pb.Greeting,
    source: SnapshotSource,
    throttle: Callable[[int], Awaitable[None]],
) -> bool:
    """Send the content; returns whether it was taken over. Raises RpcError.

    `throttle` waits as long as so many bytes may take. They are hashed beside the loop.
    """
    stream = channel.stream(SNAPSHOT)
    stream.send(pb.SnapshotPiece(greeting=greeting).SerializeToString())
    stream.send(pb.SnapshotPiece(message=encode_message(source.message)).SerializeToString())
    digest = sha256()
    async for block in source.blocks(BLOCK_BYTES):
        await asyncio.to_thread(digest.update, block)
        stream.send(pb.SnapshotPiece(block=block).SerializeToString())
        await stream.drain()
        if stream.done:
            break
        await throttle(len(block))
    stream.send(pb.SnapshotPiece(sha256=digest.digest()).SerializeToString())
    stream.close_send()
    return await stream.receive() is not None
