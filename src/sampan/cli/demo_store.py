"""The store's part of `sampan demo`: what programs do with a store, and what happens then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sampan.store.client import Client

__all__ = ["show_store", "title"]

_WIDTH: Final = 78


def title(text: str) -> None:
    """Print a heading."""
    print(f"\n{text} {'-' * (_WIDTH - len(text) - 1)}", flush=True)


async def show_store(endpoint: str) -> None:
    """Put, compare, watch and lease keys of the store at `endpoint`, and print what happened."""
    from sampan.store.client import Client

    async with Client([endpoint]) as client:
        for step in (_puts, _transaction, _watch, _lease):
            await step(client)
    _how_to_connect(endpoint)


async def _puts(client: Client) -> None:
    title("Puts: every write makes a new revision, and old ones stay readable")
    for key, value in (
        ("colour/sky", "blue"),
        ("colour/grass", "green"),
        ("colour/sky", "grey"),
    ):
        result = await client.put(key, value)
        print(f"  put {key} = {value:<6} -> revision {result.header.revision}")
    listed = await client.get_prefix("colour/")
    for kv in listed:
        print(
            f"  get {kv.key.decode()} = {kv.text}"
            f"  (version {kv.version}, last changed at revision {kv.mod_revision})"
        )
    before = listed.header.revision - 1
    old = await client.get("colour/sky", revision=before)
    if old is not None:
        print(f"  get colour/sky at revision {before} = {old.text}")


async def _transaction(client: Client) -> None:
    from sampan.store.client import ops

    title("Transaction: compare, then do one of two things at once")
    for attempt in ("first", "second"):
        result = await (
            client.txn()
            .when(ops.value("colour/sky") == "grey")
            .then(ops.put("colour/sky", "blue"), ops.put("colour/cloud", "white"))
            .otherwise(ops.get("colour/sky"))
            .commit()
        )
        outcome = "the sky was grey: two puts" if result.succeeded else "no longer grey: read it"
        print(f"  {attempt} time  -> {outcome}, revision {result.header.revision}")


async def _watch(client: Client) -> None:
    title("Watch: every change, in order, from any revision that is still kept")
    async with client.watch("colour/", prefix=True, start_revision=2) as watch:
        await watch.ready()
        await client.delete("colour/grass")
        last = (await client.get_prefix("colour/")).header.revision
        async for batch in watch:
            for event in batch.events:
                value = "" if event.type == "delete" else f" = {event.kv.text}"
                print(
                    f"  revision {event.kv.mod_revision}: "
                    f"{event.type:<6} {event.kv.key.decode()}{value}"
                )
            if batch.revision >= last:
                break


async def _lease(client: Client) -> None:
    title("Lease: keys that go when their holder does")
    async with client.lease(30) as lease:
        await client.put("worker/1", "alive", lease=lease.id)
        status = await client.lease_time_to_live(lease.id)
        print(f"  lease {lease.id:x} granted for {lease.ttl_s} s, {status.ttl_s} s left")
        print(f"  worker/1 exists: {await _exists(client, 'worker/1')}")
        await lease.revoke()
    print("  lease revoked")
    print(f"  worker/1 exists: {await _exists(client, 'worker/1')}")


async def _exists(client: Client, key: str) -> str:
    return "no" if await client.get(key) is None else "yes"


def _how_to_connect(endpoint: str) -> None:
    title("Connect to it")
    for line in (
        f"etcdctl --endpoints={endpoint} get --prefix colour/",
        f"etcdctl --endpoints={endpoint} watch --prefix ''",
        f'curl {endpoint}/v3/kv/range -d \'{{"key":"Y29sb3VyL3NreQ=="}}\'',
        f"curl {endpoint}/health",
        f"curl {endpoint}/metrics",
    ):
        print(f"  {line}")
