"""How members of a cluster start again: after a crash at once, after a loss, and alone."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.cluster import free_port

from sampan.base.errors import SampanError
from sampan.base.log import Logger
from sampan.store.api.server import EtcdServer
from sampan.store.client import Client
from sampan.store.core.cluster import derive_cluster_id, derive_member_id
from sampan.store.shell.config import EtcdConfig, Url
from sampan.store.shell.datadir import DataDir, Membership
from sampan.store.shell.raft_log import RaftLog
from sampan.store.shell.single_log import SingleLog

LOCAL = (Url("http", "127.0.0.1", 0),)


def configs(place: Path, count: int = 3) -> list[EtcdConfig]:
    peers = [Url("http", "127.0.0.1", free_port()) for _ in range(count)]
    return [
        EtcdConfig(
            name=f"m{number}",
            data_dir=str(place / f"m{number}"),
            listen_client_urls=LOCAL,
            advertise_client_urls=LOCAL,
            listen_peer_urls=(url,),
            initial_advertise_peer_urls=(url,),
            initial_cluster=tuple((f"m{each}", peers[each]) for each in range(count)),
            heartbeat_interval_ms=20,
            election_timeout_ms=200,
        )
        for number, url in enumerate(peers)
    ]


async def start(config: EtcdConfig) -> EtcdServer:
    return await EtcdServer.start(config, Logger(lambda line: None, lambda: 0.0))


@asynccontextmanager
async def running(wanted: list[EtcdConfig]) -> AsyncIterator[list[EtcdServer]]:
    servers = [await start(config) for config in wanted]
    try:
        yield servers
    finally:
        for server in servers:
            await server.stop(grace_s=0)


async def until(true: Callable[[], bool]) -> None:
    """Look again and again; nothing tells of what is waited for."""
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def client_of(*servers: EtcdServer) -> Client:
    return Client([server.endpoints[0] for server in servers], timeout_s=10)


async def put(server: EtcdServer, key: str, value: str) -> None:
    async with client_of(server) as client:
        await client.put(key, value)


async def get(server: EtcdServer, key: str) -> bytes | None:
    async with client_of(server) as client:
        found = await client.get(key)
        return None if found is None else found.value


def run(main: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(40):
            await main

    asyncio.run(bounded())


def test_a_founder_that_crashed_before_its_first_entry_does_not_lead_alone(tmp_path: Path) -> None:
    config = configs(tmp_path)[0]
    ids = [
        derive_member_id([str(url)], config.initial_cluster_token)
        for _, url in config.initial_cluster
    ]
    whose = Membership("m0", derive_cluster_id(ids), ids[0], config.initial_cluster_token)
    DataDir.open(Path(config.data_dir), whose).close()

    async def main() -> None:
        async with running([config]) as (server,):
            log = server.node.log.current
            assert isinstance(log, RaftLog)
            assert set(log.replica.conf_state.voters) in ({*ids}, set())
            await until(lambda: log.committed_index >= 3)
            assert set(log.replica.conf_state.voters) == {*ids}
            assert not log.leader

    run(main())


def test_a_member_that_joins_and_crashes_at_once_joins_again(tmp_path: Path) -> None:
    first, joining = one_and_another(tmp_path)

    async def main() -> None:
        async with running([first]) as (old,):
            await put(old, "k", "v")
            async with client_of(old) as client:
                added = await client.cluster.member_add(str(joining.listen_peer_urls[0]))
            whose = Membership("m1", old.node.storage.cluster_id, added.id)
            DataDir.open(Path(joining.data_dir), replace(whose, token="etcd-cluster")).close()
            async with running([joining]) as (new,):
                assert isinstance(new.node.log.current, RaftLog)
                assert await get(new, "k") == b"v"

    run(main())


def one_and_another(place: Path) -> tuple[EtcdConfig, EtcdConfig]:
    """A lone member, and one that is to join it."""
    first, joining = configs(place, 2)
    alone = replace(first, initial_cluster=first.initial_cluster[:1])
    return alone, replace(joining, initial_cluster_state="existing")


@pytest.mark.parametrize("lost", ["", "member/wal"])
def test_a_member_that_lost_what_it_promised_is_refused(tmp_path: Path, lost: str) -> None:
    wanted = configs(tmp_path)
    victim = replace(wanted[2], initial_cluster_state="existing")

    async def main() -> None:
        async with running(wanted[:2]) as (one, _):
            last = await start(wanted[2])
            await put(one, "k", "v")
            assert await get(last, "k") == b"v"
            await until_named(one, 3)
            await last.node.storage.flush()
            await last.stop(grace_s=0)
            shutil.rmtree(Path(victim.data_dir) / lost)
            with pytest.raises(SampanError, match="etcdctl member remove") as refusal:
                await start(victim)
            assert f"{last.node.storage.member_id:x}" in str(refusal.value)
            await put(one, "k", "w")

    run(main())


async def until_named(server: EtcdServer, count: int) -> None:
    """Wait until so many members have told their names."""
    cluster = server.node.state.cluster
    await until(lambda: sum(bool(each.name) for each in cluster.members()) >= count)


def test_the_last_one_left_goes_on_alone_and_others_may_join_it(tmp_path: Path) -> None:
    wanted = configs(tmp_path)

    async def main() -> None:
        async with running(wanted) as (one, *_):
            for number in range(20):
                await put(one, f"k{number}", "v")
            await until_named(one, 3)
            cluster_id = one.node.storage.cluster_id
        async with running([replace(wanted[1], force_new_cluster=True)]) as (left,):
            assert isinstance(left.node.log.current, SingleLog)
            assert left.node.storage.cluster_id == cluster_id
            await expect_all(left)
            await put(left, "k0", "alone")
        async with running([wanted[1]]) as (left,):
            assert isinstance(left.node.log.current, SingleLog), "it stays alone without the flag"
            assert await get(left, "k0") == b"alone"
            me = left.node.storage.member_id
            async with client_of(left) as client:
                assert [each.id for each in await client.cluster.member_list()] == [me]
                joining = configs(tmp_path / "new")[0]
                await client.cluster.member_add(str(joining.listen_peer_urls[0]))
            mine = (("m1", wanted[1].listen_peer_urls[0]), ("m0", joining.listen_peer_urls[0]))
            joining = replace(joining, initial_cluster=mine, initial_cluster_state="existing")
            async with running([joining]) as (new,):
                assert await get(new, "k0") == b"alone"
                await put(new, "k1", "two")
                assert await get(left, "k1") == b"two"

    run(main())


async def expect_all(server: EtcdServer) -> None:
    async with client_of(server) as client:
        for number in range(20):
            found = await client.get(f"k{number}")
            assert found is not None and found.value == b"v"
