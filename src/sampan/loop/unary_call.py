"""One message in, one message out: the hot path of the server."""

from __future__ import annotations

import logging
import struct

from sampan.loop.rpc_call import GZIP_HEAD, HEAD, OK_TRAILERS, RpcCall
from sampan.wire.grpc.framing import MessageReader, pack
from sampan.wire.grpc.service import UnaryMethod
from sampan.wire.grpc.status import Code, RpcError
from sampan.wire.h2.codes import END_HEADERS, END_STREAM, HEADERS

__all__ = ["UnaryServerCall"]

_LOG = logging.getLogger(__name__)

# A small answer is three frames around the message; all but stream and length is constant.
_HEADERS_FRAME = struct.pack(">IB", len(HEAD) << 8 | HEADERS, END_HEADERS)
_TRAILERS_FRAME = struct.pack(">IB", len(OK_TRAILERS) << 8 | HEADERS, END_HEADERS | END_STREAM)
_BEFORE = struct.Struct(f">5sI{len(HEAD)}sIBIBI").pack
_AFTER = struct.Struct(f">5sI{len(OK_TRAILERS)}s").pack


class UnaryServerCall(RpcCall):
    """Implements `UnaryCall`."""

    _reader: MessageReader | None = None
    _message: bytes | None = None

    def on_request(self, body: bytes) -> None:
        """Take a request that arrived in one piece."""
        size = len(body) - 5
        if (
            size < 0
            or body[0]
            or int.from_bytes(body[1:5], "big") != size
            or size > self.host.limits.receive_message_bytes
        ):
            self.on_head(False)
            self.on_data(body, True)
            return
        self._dispatch(body[5:])
        if self.route.timeout_s is not None and not self.done:
            self.arm()

    def on_head(self, end_stream: bool) -> None:
        """Take the headers of a request that arrives in pieces."""
        self.arm()
        self._reader = MessageReader(self.host.limits.receive_message_bytes, self.route.gzip_in)
        if end_stream:
            self._end_request()

    def on_data(self, data: bytes, end_stream: bool) -> None:
        """Take a piece of the request."""
        if self.done or self._reader is None:
            return
        try:
            messages = self._reader.feed(data)
            self.hold(self._reader.pending_bytes)
            for message in messages:
                if self._message is not None:
                    raise RpcError(Code.INTERNAL, "grpc: more than one message in a unary call")
                self._message = message
        except RpcError as error:
            self.fail(error.code, error.message)
            return
        if end_stream:
            self._end_request()
        else:
            self.credit(len(data))

    def on_trailers(self, trailers: object) -> None:
        """The request ends with trailers, which gRPC ignores."""
        if not self.done:
            self._end_request()

    def _end_request(self) -> None:
        message, self._message = self._message, None
        incomplete = self._reader is None or self._reader.pending_bytes
        self._reader = None
        self.hold(0)
        if message is None or incomplete:
            self.fail(Code.INTERNAL, "grpc: unary call without a complete message")
        else:
            self._dispatch(message)

    def _dispatch(self, message: bytes) -> None:
        method = self.route.method
        try:
            assert type(method) is UnaryMethod
            method.handler(self, message)
        except RpcError as error:
            self.fail(error.code, error.message, error.metadata)
        except Exception:
            _LOG.exception("%s failed", self.path)
            self.fail(Code.INTERNAL, "internal error")

    def reply(self, message: bytes) -> None:
        """Answer with `message` and status OK."""
        if self.done:
            return
        link = self.link
        size = len(message) + 5
        if (
            link.fast
            and size <= self.send_window
            and size <= link.send_window
            and size <= link.peer_max_frame_bytes
            and self.remote_done
            and not self.route.gzip_out
        ):
            stream_id = self.stream_id
            link.send_window -= size
            self.local_done = True
            del link.streams[stream_id]
            before = _BEFORE(_HEADERS_FRAME, stream_id, HEAD, size << 8, 0, stream_id, 0, size - 5)
            after = _AFTER(_TRAILERS_FRAME, stream_id, OK_TRAILERS)
            out = link.out
            if not out:
                link.wake()
            out += (before, message, after)
            if self._timer is None and self._callbacks is None:
                self.done = True
                self.route.stats.handled[0] += 1
                return
        else:
            gzip = self.route.gzip_out
            self.send_headers(GZIP_HEAD if gzip else HEAD)
            self.send_data(pack(message, gzip))
            self.send_headers(OK_TRAILERS, end_stream=True)
        self.finish(Code.OK)

    def finish(self, code: Code | int) -> None:
        """Let go of what an incomplete request held."""
        self._reader = self._message = None
        super().finish(code)
