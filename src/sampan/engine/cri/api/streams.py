"""RuntimeService of CRI: commands in containers, and the streams that kubelets are sent to."""

from __future__ import annotations

import functools
import socket

from sampan.base.errors import InvalidError, UnavailableError
from sampan.engine.cri.pb.streaming_pb2 import (
    AttachRequest,
    AttachResponse,
    ExecRequest,
    ExecResponse,
    ExecSyncRequest,
    ExecSyncResponse,
    PortForwardRequest,
    PortForwardResponse,
)
from sampan.engine.cri.shell.catalogue import Catalogue
from sampan.engine.cri.shell.execution import Execution
from sampan.engine.cri.shell.podnet import connect
from sampan.engine.cri.streaming.remote import Wanted
from sampan.engine.cri.streaming.server import Command, Forward, StreamingServer
from sampan.engine.daemon.shell.container import Container
from sampan.wire.grpc.status import Code, RpcError

__all__ = ["StreamCalls"]


class StreamCalls:
    """One coroutine an RPC."""

    def __init__(
        self, catalogue: Catalogue, execution: Execution, streaming: StreamingServer
    ) -> None:
        self._catalogue = catalogue
        self._execution = execution
        self._streaming = streaming

    async def exec_sync(self, request: ExecSyncRequest) -> ExecSyncResponse:
        """Run a command to its end."""
        done = await self._execution.run(request.container_id, request.cmd, request.timeout)
        return ExecSyncResponse(stdout=done.stdout, stderr=done.stderr, exit_code=done.exit_code)

    async def exec(self, request: ExecRequest) -> ExecResponse:
        """Agree on the streams of a command."""
        wanted = _wanted(request)
        if not request.cmd:
            raise InvalidError("cmd: must not be empty")
        container = self._execution.running(request.container_id)
        words = list(request.cmd)
        run = functools.partial(
            self._execution.exec, container=container, words=words, wanted=wanted
        )
        return ExecResponse(url=self._streaming.url("exec", Command(wanted, run)))

    async def attach(self, request: AttachRequest) -> AttachResponse:
        """Agree on the streams of a container's first process."""
        wanted = _wanted(request)
        container = self._execution.running(request.container_id)
        run = functools.partial(self._execution.attach, container=container, wanted=wanted)
        return AttachResponse(url=self._streaming.url("attach", Command(wanted, run)))

    async def port_forward(self, request: PortForwardRequest) -> PortForwardResponse:
        """Agree on streams to a pod's ports."""
        sandbox = self._catalogue.sandbox(request.pod_sandbox_id)
        if not sandbox.record.state.running:
            raise RpcError(
                Code.FAILED_PRECONDITION, f'sandbox container "{sandbox.id}" is not running'
            )
        for port in request.port:
            if not 0 < port < 65536:
                raise InvalidError(f"port {port}")
        forward = Forward(list(request.port), functools.partial(_connect, sandbox))
        return PortForwardResponse(url=self._streaming.url("portforward", forward))


async def _connect(sandbox: Container, port: int) -> socket.socket:
    if not sandbox.record.state.running:
        raise UnavailableError("the pod is not running")
    return await connect(sandbox.record.state.pid, port)


def _wanted(request: ExecRequest | AttachRequest) -> Wanted:
    """Return the channels; InvalidError for none, and for error output beside a terminal."""
    if not (request.stdin or request.stdout or request.stderr):
        raise InvalidError("one of stdin, stdout, or stderr must be set")
    if request.tty and request.stderr:
        raise InvalidError("tty and stderr cannot both be true")
    return Wanted(request.stdin, request.stdout, request.stderr, request.tty)
