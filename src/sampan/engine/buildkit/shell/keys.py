"""What a build asks its client for: credentials of registries, secrets, the ssh agent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from sampan.base.errors import LimitError, SampanError
from sampan.engine.buildkit.pb import session_pb2
from sampan.engine.buildkit.shell.sessions import Session
from sampan.images.build.repositories import GitAccess
from sampan.images.core.challenge import Credentials
from sampan.wire.grpc.status import Code, RpcError

__all__ = ["SessionKeys"]

_CREDENTIALS: Final = "/moby.filesync.v1.Auth/Credentials"
_SECRET: Final = "/moby.buildkit.secrets.v1.Secrets/GetSecret"
_CHECK_AGENT: Final = "/moby.sshforward.v1.SSH/CheckAgent"
_FORWARD: Final = "/moby.sshforward.v1.SSH/ForwardAgent"
_AGENT_ID: Final = "buildkit.ssh.id"
_SECRET_BYTES: Final = 512_000
_CHUNK_BYTES: Final = 32 * 1024
_MOST_AGENT_CONNECTIONS: Final = 64
_ABSENT: Final = (Code.NOT_FOUND, Code.UNIMPLEMENTED)


class SessionKeys:
    """Asks one session; agents are lent on sockets below `scratch` until `close`."""

    def __init__(self, session: Session, scratch: Path) -> None:
        self.session = session
        self._scratch = scratch
        self._agents: list[tuple[asyncio.Server, Path]] = []
        self._forwarding: set[asyncio.Task[None]] = set()

    async def credentials(self, domain: str) -> Credentials:
        """Return who to say one is to a registry; nobody in particular when the client has none."""
        host = "registry-1.docker.io" if domain == "docker.io" else domain
        request = session_pb2.CredentialsRequest(Host=host)
        raw = await self._ask(_CREDENTIALS, request.SerializeToString())
        if raw is None:
            return Credentials()
        found = session_pb2.CredentialsResponse.FromString(raw)
        if not found.Username and found.Secret:
            return Credentials(identity_token=found.Secret)
        return Credentials(found.Username, found.Secret)

    async def secret(self, id_: str) -> bytes | None:
        """Return a secret, None when the client does not have it."""
        request = session_pb2.GetSecretRequest(ID=id_)
        raw = await self._ask(_SECRET, request.SerializeToString())
        if raw is None:
            return None
        data = session_pb2.GetSecretResponse.FromString(raw).data
        if len(data) > _SECRET_BYTES:
            raise LimitError(f"secret {id_} is larger than {_SECRET_BYTES} bytes")
        return data

    async def agent(self, id_: str) -> Path | None:
        """Return a socket where the client's agent answers, None when it lends none of that id."""
        request = session_pb2.CheckAgentRequest(ID=id_)
        if await self._ask(_CHECK_AGENT, request.SerializeToString()) is None:
            return None
        self._scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._scratch / f"agent-{secrets.token_hex(8)}"

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self._forward(id_, reader, writer))
            self._forwarding.add(task)
            task.add_done_callback(self._forwarding.discard)

        mask = os.umask(0o177)
        try:
            server = await asyncio.start_unix_server(accept, path)
        finally:
            os.umask(mask)
        self._agents.append((server, path))
        return path

    async def repositories(self, address: str) -> GitAccess:
        """Return who to say one is to the repository of an address."""
        host = (urlsplit(address).hostname or "") if "://" in address else ""
        names = ("GIT_AUTH_TOKEN", "GIT_AUTH_HEADER")
        wanted = [*names, *(f"{name}.{host}" for name in names if host)]
        asked = [(name, await self.secret(name)) for name in wanted]
        found = {name: value for name, value in asked if value is not None}
        by_ssh = address.startswith(("ssh://", "git@"))
        return GitAccess(found, await self.agent("default") if by_ssh else None)

    async def _ask(self, method: str, request: bytes) -> bytes | None:
        try:
            return await self.session.ask(method, request)
        except RpcError as error:
            if error.code in _ABSENT or "unset ssh forward key" in error.message:
                return None
            name = method.rpartition("/")[2]
            raise SampanError(f"the client has not answered {name}: {error.message}") from None

    async def _forward(
        self, id_: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Copy between a command and the client's agent, until either of them ends."""
        if len(self._forwarding) > _MOST_AGENT_CONNECTIONS:
            writer.close()
            return
        stream = self.session.open(_FORWARD, ((_AGENT_ID, id_),))

        async def outward() -> None:
            while data := await reader.read(_CHUNK_BYTES):
                stream.send(session_pb2.BytesMessage(data=data).SerializeToString())
                await stream.drain()
            stream.close_send()

        sending = asyncio.ensure_future(outward())
        try:
            async for raw in stream:
                writer.write(session_pb2.BytesMessage.FromString(raw).data)
                await writer.drain()
        except (RpcError, OSError):
            pass
        finally:
            sending.cancel()
            stream.cancel()
            writer.close()

    @contextlib.asynccontextmanager
    async def lent(self) -> AsyncIterator[SessionKeys]:
        """Take everything back in the end."""
        try:
            yield self
        finally:
            for server, path in self._agents:
                server.close()
                path.unlink(missing_ok=True)
            for task in list(self._forwarding):
                task.cancel()
            await asyncio.gather(*self._forwarding, return_exceptions=True)
