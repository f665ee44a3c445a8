"""A member that hits a bug of its own stops; what it acknowledged is there after the next start."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sampan.base.errors import InvariantError, invariant
from sampan.base.log import Logger
from sampan.store.api.server import EtcdServer
from sampan.store.client import Client
from sampan.store.shell.config import EtcdConfig, Url
from sampan.wire.grpc.status import RpcError


async def started(directory: Path) -> EtcdServer:
    address = (Url("http", "127.0.0.1", 0),)
    config = EtcdConfig(
        data_dir=str(directory), listen_client_urls=address, advertise_client_urls=address
    )
    return await EtcdServer.start(config, Logger(lambda line: None, lambda: 0.0))


def broken(key: bytes) -> None:
    invariant(False, f"a bug that {key!r} brings to light")


async def break_and_restart(directory: Path) -> None:
    server = await started(directory)
    failures: list[Exception] = []
    server.node.on_failure = failures.append
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    async with Client([server.endpoints[0]], timeout_s=2) as client:
        await client.put("kept", "1")
        server.node.mvcc.delete = broken  # type: ignore[method-assign]
        with pytest.raises(RpcError):
            await client.delete("kept")
        with pytest.raises(RpcError):
            await client.put("refused", "2")
    assert len(failures) == 1 and len(errors) == 1
    assert isinstance(errors[0], dict) and isinstance(errors[0]["exception"], InvariantError)
    await server.stop(grace_s=0)

    again = await started(directory)
    async with Client([again.endpoints[0]]) as client:
        # The deletion was in the log before the bug struck: the replay carries it out.
        assert await client.get("kept") is None
        assert await client.get("refused") is None
        assert (await client.put("kept", "2")).header.revision == 4
    await again.stop()


def test_a_bug_while_applying_stops_the_member_and_loses_nothing(tmp_path: Path) -> None:
    asyncio.run(break_and_restart(tmp_path / "data"))
