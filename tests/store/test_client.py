"""The client against real servers: Debian's etcd and our own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.real import require
from tests.servers import SAMPAN, Server, debian_etcd

from sampan.cli.soak_proxy import CutProxy
from sampan.loop.runner import run
from sampan.store.client import (
    ALL_KEYS,
    Client,
    Code,
    Event,
    LeaseLost,
    Permission,
    PutResult,
    RangeResult,
    RpcError,
    TxnResult,
    Watch,
    WatchBatch,
    ops,
)
from sampan.store.pb import rpc_pb2

pytestmark = pytest.mark.real

Main = Callable[[Client], Coroutine[object, object, None]]


@pytest.fixture(scope="module", params=["etcd", "sampan"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    flavour = SAMPAN if request.param == "sampan" else debian_etcd(require("etcd"))
    with Server(flavour, tmp_path_factory.mktemp(request.param) / "data") as running:
        yield running


@pytest.fixture
def fresh(server: Server, tmp_path: Path) -> Iterator[Server]:
    """A server of the same kind for one test, which may end it and change its users."""
    with Server(server.flavour, tmp_path / "data") as running:
        yield running


def bounded(main: Coroutine[object, object, None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(60):
            await main

    run(limited())


def using(server: Server, main: Main) -> None:
    """Run `main` with a client of an emptied store."""

    async def with_client() -> None:
        async with Client([server.endpoint]) as client:
            await client.delete(ALL_KEYS, range_end=ALL_KEYS)
            await main(client)

    bounded(with_client())


async def collect(watch: Watch, count: int) -> list[Event]:
    """Read `count` events."""
    events: list[Event] = []
    while len(events) < count:
        events += (await anext(watch)).events
    return events


def test_put_and_get(server: Server) -> None:
    async def main(client: Client) -> None:
        assert await client.get("k") is None
        first = await client.put("k", "one")
        second = await client.put("k", b"two", prev_kv=True)
        assert second.prev_kv is not None and second.prev_kv.text == "one"
        now = await client.get("k")
        assert now is not None
        assert (now.text, now.version) == ("two", 2)
        assert (now.create_revision, now.mod_revision) == (
            first.header.revision,
            second.header.revision,
        )
        then = await client.get("k", revision=first.header.revision)
        assert then is not None and then.text == "one"

    using(server, main)


def test_ranges_and_deletes(server: Server) -> None:
    async def main(client: Client) -> None:
        for name in ("a/1", "a/2", "a/3", "b/1"):
            await client.put(name, name.upper())
        found = await client.get_prefix("a/", limit=2, sort_by="mod", descending=True)
        assert [kv.key for kv in found] == [b"a/3", b"a/2"]
        assert (found.more, found.count) == (True, 3)
        counted = await client.get_prefix("", count_only=True)
        assert (counted.count, len(counted)) == (4, 0)
        names = await client.range("a/2", "b/2", keys_only=True)
        assert [(kv.key, kv.value) for kv in names] == [(b"a/2", b""), (b"a/3", b""), (b"b/1", b"")]
        gone = await client.delete("a/", prefix=True, prev_kv=True)
        assert gone.deleted == 3
        assert [kv.text for kv in gone.prev_kvs] == ["A/1", "A/2", "A/3"]

    using(server, main)


def test_a_transaction_takes_one_branch(server: Server) -> None:
    async def main(client: Client) -> None:
        async def create() -> TxnResult:
            txn = client.txn().when(client.version("k") == 0)
            return await txn.then(ops.put("k", "mine")).otherwise(ops.get("k")).commit()

        assert (await create()).succeeded
        second = await create()
        assert not second
        match second.responses:
            case (RangeResult(kvs=(found,)),):
                assert found.text == "mine"
            case other:
                raise AssertionError(other)
        swapped = await client.transact(
            when=[client.value("k") == "mine", client.mod_revision("k") > 0],
            then=[ops.put("k", "yours"), ops.txn(then=[ops.get("k")])],
        )
        match swapped.responses:
            case (PutResult(), TxnResult(responses=(RangeResult(kvs=(found,)),))):
                assert swapped and found.text == "yours"
            case other:
                raise AssertionError(other)

    using(server, main)


def test_errors_are_the_servers_own(server: Server) -> None:
    async def main(client: Client) -> None:
        with pytest.raises(RpcError) as caught:
            await client.put("", "x")
        assert caught.value.code is Code.INVALID_ARGUMENT
        assert caught.value.message == "etcdserver: key is not provided"
        with pytest.raises(RpcError) as caught:
            await client.get("k", revision=10**9)
        assert caught.value.code is Code.OUT_OF_RANGE

    using(server, main)


def test_any_method_can_be_called_by_name(server: Server) -> None:
    async def main(client: Client) -> None:
        await client.put("k", "v")
        reply = await client.call(
            "/etcdserverpb.KV/Range", rpc_pb2.RangeRequest(key=b"k"), rpc_pb2.RangeResponse
        )
        assert reply.kvs[0].value == b"v"

    using(server, main)


def test_watch_sees_changes_with_what_was_there_before(server: Server) -> None:
    async def main(client: Client) -> None:
        async with client.watch("w/", prefix=True, prev_kv=True) as watch:
            await watch.ready()
            await client.put("w/a", "1")
            await client.put("w/a", "2")
            await client.put("other", "x")
            await client.delete("w/a")
            made, changed, deleted = await collect(watch, 3)
            assert made.is_create and made.kv.text == "1" and made.prev_kv is None
            assert not changed.is_create
            assert changed.prev_kv is not None and changed.prev_kv.text == "1"
            assert deleted.type == "delete" and deleted.prev_kv is not None
            assert deleted.prev_kv.text == "2"

    using(server, main)


def test_watch_filters_and_starts_in_the_past(server: Server) -> None:
    async def main(client: Client) -> None:
        first = (await client.put("w", "1")).header.revision
        await client.delete("w")
        await client.put("w", "2")
        async with client.watch("w", start_revision=first, filters=["nodelete"]) as watch:
            assert [event.kv.text for event in await collect(watch, 2)] == ["1", "2"]
        async with client.watch("w", start_revision=first, filters=["noput"]) as watch:
            assert [event.type for event in await collect(watch, 1)] == ["delete"]

    using(server, main)


def test_watch_joins_what_the_server_fragments(server: Server) -> None:
    async def main(client: Client) -> None:
        value = bytes(700_000)
        async with client.watch("big/", prefix=True) as watch:
            await watch.ready()
            start = watch.next_revision
            for number in range(5):
                await client.put(f"big/{number}", value)
            events = await collect(watch, 5)
        async with client.watch("big/", prefix=True, start_revision=start) as late:
            again = await collect(late, 5)
        assert again == events
        assert all(event.kv.value == value for event in events)

    using(server, main)


def test_watch_reports_a_compaction_as_a_relist(server: Server) -> None:
    async def main(client: Client) -> None:
        first = (await client.put("w", "1")).header.revision
        await client.put("w", "2")
        last = (await client.put("w2", "3")).header.revision
        await client.compact(last)
        async with client.watch("w", prefix=True, start_revision=first) as watch:
            batch = await anext(watch)
            assert batch.relist is not None
            assert (batch.relist.reason, batch.relist.compact_revision) == ("compacted", last)
            assert [kv.text for kv in batch.relist.kvs] == ["2", "3"]
            assert batch.revision == batch.relist.revision >= last
            await client.put("w", "4")
            assert [event.kv.text for event in await collect(watch, 1)] == ["4"]

    using(server, main)


def test_watch_goes_on_after_its_connection_was_cut(server: Server) -> None:
    async def main() -> None:
        async with proxied(server) as (proxy, client), client.watch("c") as watch:
            await watch.ready()
            for number in range(4):
                await client.put("c", str(number))
                if number % 2:
                    await proxy.cut()
            assert [event.kv.text for event in await collect(watch, 4)] == ["0", "1", "2", "3"]
            assert proxy.cuts >= 1

    bounded(main())


@asynccontextmanager
async def proxied(server: Server, **options: str) -> AsyncIterator[tuple[CutProxy, Client]]:
    async with CutProxy(("127.0.0.1", server.port)) as proxy:
        async with Client([proxy.endpoint], **options) as client:  # type: ignore[arg-type]
            yield proxy, client


def test_a_watch_survives_the_servers_death_and_restart(fresh: Server) -> None:
    async def main() -> None:
        async with proxied(fresh) as (proxy, client), client.watch("c") as watch:
            await watch.ready()
            await client.put("c", "before")
            await asyncio.to_thread(fresh.kill)
            await asyncio.to_thread(fresh.start)
            proxy.target = ("127.0.0.1", fresh.port)
            # The first attempts may still go to the dead connection.
            await client.get("c", timeout_s=20)
            await client.put("c", "after")
            assert [event.kv.text for event in await collect(watch, 2)] == ["before", "after"]

    bounded(main())


def test_a_dead_endpoint_is_passed_over(server: Server) -> None:
    async def main() -> None:
        async with CutProxy() as nobody:
            async with Client([nobody.endpoint, server.endpoint]) as client:
                await client.put("k", "v")
                assert (await client.get("k")) is not None
                async with client.watch("k", start_revision=1) as watch:
                    await anext(watch)

    bounded(main())


def test_no_endpoint_at_all_is_unavailable(server: Server) -> None:
    async def main() -> None:
        async with CutProxy() as nobody, Client([nobody.endpoint]) as client:
            with pytest.raises(RpcError) as caught:
                await client.get("k", timeout_s=0.3)
            assert caught.value.code is Code.UNAVAILABLE

    bounded(main())


def test_a_lease_is_kept_alive_and_revoked(server: Server) -> None:
    async def main(client: Client) -> None:
        async with client.lease(2) as lease:
            await client.put("l", "x", lease=lease.id)
            status = await client.lease_time_to_live(lease.id, keys=True)
            assert status.keys == (b"l",)
            assert lease.id in await client.leases()
            # Longer than its time to live: only keepalive explains that it is still there.
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(lease.ttl_s * 1.5):
                    await lease.wait_lost()
            lease.check()
            assert await client.get("l") is not None
        assert await client.get("l") is None

    using(server, main)


def test_a_lease_revoked_by_another_is_noticed(server: Server) -> None:
    async def main(client: Client) -> None:
        async with client.lease(2) as lease:
            await client.lease_revoke(lease.id)
            await lease.wait_lost()
            with pytest.raises(LeaseLost):
                lease.check()

    using(server, main)


def test_a_lock_has_one_holder_and_a_growing_token(server: Server) -> None:
    async def main(client: Client) -> None:
        inside = 0
        tokens: list[int] = []

        async def worker() -> None:
            nonlocal inside
            async with client.lock("m", ttl_s=5) as held:
                inside += 1
                assert inside == 1
                tokens.append(held.token)
                done = await client.transact(when=[held.held()], then=[ops.put("guarded", "x")])
                assert done.succeeded
                inside -= 1

        await asyncio.gather(*(worker() for _ in range(4)))
        assert tokens == sorted(set(tokens))
        async with client.lock("m"):
            with pytest.raises(RpcError) as caught:
                async with client.lock("m", timeout_s=0.2):
                    raise AssertionError("two holders")
            assert caught.value.code is Code.DEADLINE_EXCEEDED

    using(server, main)


def test_an_election_passes_on_when_the_leader_resigns(server: Server) -> None:
    async def main(client: Client) -> None:
        election = client.election("e")
        assert await election.leader() is None
        async with client.lease(5) as one, client.lease(5) as two:
            first = await election.campaign("first", one)
            queued = asyncio.create_task(election.campaign("second", two))
            observed = election.observe()
            assert (await anext(observed)).text == "first"
            await first.proclaim("still first")
            assert (await anext(observed)).text == "still first"
            await first.resign()
            second = await queued
            assert second.revision > first.revision
            assert (await anext(observed)).text == "second"
            with pytest.raises(RpcError):
                await first.proclaim("too late")

    using(server, main)


def test_looking_after_the_store(server: Server) -> None:
    async def main(client: Client) -> None:
        await client.put("k", "v")
        assert len(await client.cluster.member_list()) == 1
        status = await client.maintenance.status(server.endpoint)
        assert status.dbSize > 0 and status.version
        assert await client.maintenance.alarms() == ()
        number, _ = await client.maintenance.hash_kv()
        assert (await client.maintenance.hash_kv())[0] == number
        await client.maintenance.defragment()
        blobs = [blob async for blob in client.maintenance.snapshot()]
        assert sum(map(len, blobs)) > 4096
        with pytest.raises(ValueError, match="not one of"):
            await client.maintenance.status("http://127.0.0.1:1")

    using(server, main)


def test_users_roles_and_a_token_that_went_stale(fresh: Server) -> None:
    async def main() -> None:
        async with Client([fresh.endpoint]) as anybody:
            await anybody.auth.user_add("root", "r")
            await anybody.auth.role_add("root")
            await anybody.auth.user_grant_role("root", "root")
            await anybody.auth.user_add("eve", "e")
            await anybody.auth.role_add("apps")
            await anybody.auth.role_grant("apps", Permission.prefix("readwrite", "app/"))
            await anybody.auth.user_grant_role("eve", "apps")
            await anybody.auth.enable()
        async with (
            proxied(fresh, username="eve", password="e") as (proxy, eve),
            proxied(fresh, username="root", password="r") as (proxy2, root),
        ):
            assert await root.auth.user_roles("eve") == ("apps",)
            await eve.put("app/x", "1")
            with pytest.raises(RpcError) as caught:
                await eve.put("secret", "1")
            assert caught.value.code is Code.PERMISSION_DENIED
            with pytest.raises(RpcError) as caught:
                await anext(eve.watch("secret"))
            assert caught.value.code is Code.PERMISSION_DENIED
            async with eve.watch("app/", prefix=True) as watch:
                await watch.ready()
                # Simple tokens live in the server's memory: a restart makes them worthless.
                await asyncio.to_thread(fresh.kill)
                await asyncio.to_thread(fresh.start)
                proxy.target = proxy2.target = ("127.0.0.1", fresh.port)
                await eve.get("app/x", timeout_s=20)
                await eve.put("app/x", "2")
                assert [event.kv.text for event in await collect(watch, 1)] == ["2"]
            # A change of users makes every token's revision old.
            await root.auth.user_add(
                "bob",
                "b",
            )
            await eve.put("app/x", "3")

    bounded(main())


def test_a_wrong_password_is_said_so(fresh: Server) -> None:
    async def main() -> None:
        async with Client([fresh.endpoint], username="root", password="r") as root:
            # Authentication is off: the name and password are not needed yet.
            await root.put("k", "v")
            await root.auth.user_add("root", "r")
            await root.auth.role_add("root")
            await root.auth.user_grant_role("root", "root")
            await root.auth.enable()
            assert await root.auth.user_list() == ("root",)
        async with Client([fresh.endpoint], username="root", password="wrong") as stranger:
            with pytest.raises(RpcError) as caught:
                await stranger.get("k")
            assert "invalid user ID or password" in caught.value.message

    bounded(main())


def test_a_closed_client_ends_its_watches(server: Server) -> None:
    async def main() -> None:
        async with Client([server.endpoint]) as client:
            watch = client.watch("k")
            await watch.ready()
            waiting: asyncio.Task[WatchBatch] = asyncio.ensure_future(anext(watch))
            await asyncio.sleep(0)
        with pytest.raises(RpcError) as caught:
            await waiting
        assert caught.value.code is Code.CANCELLED

    bounded(main())


def test_closing_a_watch_ends_its_iteration(server: Server) -> None:
    async def main(client: Client) -> None:
        watch = client.watch("k")
        await watch.ready()

        async def count() -> int:
            return sum([1 async for _ in watch])

        counting = asyncio.create_task(count())
        await asyncio.sleep(0)
        await watch.aclose()
        assert await counting == 0

    using(server, main)
