"""A channel over a connection that the server made: it turned an HTTP request into HTTP/2.

raw = await request.hijack()
channel = AdoptedChannel()
raw.hand_to(channel.protocol)
await channel.unary(...)
"""

from __future__ import annotations

import asyncio

from sampan.loop.channel import Channel
from sampan.loop.channel_errors import NotProcessedError
from sampan.loop.channel_link import Link

__all__ = ["AdoptedChannel"]


class AdoptedChannel(Channel):
    """Calls over one connection that cannot be made anew: once lost, calls fail as UNAVAILABLE."""

    def __init__(self, *, max_receive_bytes: int) -> None:
        super().__init__("localhost", max_receive_bytes=max_receive_bytes)
        link = Link(self._keepalive, self._unusable)
        self._link = link
        self._links.add(link)
        link.closed.add_done_callback(lambda _: self._links.discard(link))
        self.protocol: asyncio.Protocol = link
        self.ready = link.ready
        """Done once the peer speaks HTTP/2; fails with NotProcessedError if it never does."""

    async def _dial(self) -> Link:
        raise NotProcessedError("the connection that the client had opened is gone")
