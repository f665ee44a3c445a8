"""Talk to an etcd v3 store from Python: keys, a transaction, a lease, a lock and a watch.

python store_client.py [ENDPOINT]        (default: http://127.0.0.1:2379)
"""

from __future__ import annotations

import asyncio
import sys

from sampan.store.client import Client, ops


async def keys(client: Client) -> None:
    """Put, get, list and delete."""
    await client.put("fruit/apple", "red")
    await client.put("fruit/plum", "blue")
    apple = await client.get("fruit/apple")
    print("1. apple is", apple.text if apple else "missing")
    for kv in await client.get_prefix("fruit/"):
        print(f"   {kv.key.decode()} = {kv.text}, version {kv.version}")


async def transaction(client: Client) -> None:
    """Create a key only if nobody else has: of two attempts one succeeds."""
    for owner in ("alice", "bob"):
        result = await (
            client.txn()
            .when(client.version("owner") == 0)
            .then(ops.put("owner", owner))
            .otherwise(ops.get("owner"))
            .commit()
        )
        print(f"2. {owner} {'is the owner' if result else 'came too late'}")


async def lease(client: Client) -> None:
    """A key that disappears with its holder."""
    async with client.lease(ttl_s=5) as held:
        await client.put("alive", "yes", lease=held.id)
        print("3. inside the block:", await client.get("alive") is not None)
    print("   after it:", await client.get("alive") is not None)


async def lock(client: Client) -> None:
    """One holder at a time; the token guards against one that was only thought to be gone."""
    async with client.lock("printer") as held:
        done = await client.transact(when=[held.held()], then=[ops.put("printed", "page 1")])
        print(f"4. printed under token {held.token}:", done.succeeded)


async def watch(client: Client) -> None:
    """See every change, through reconnections and server restarts."""
    async with client.watch("fruit/", prefix=True, prev_kv=True) as changes:
        await changes.ready()
        await client.put("fruit/apple", "green")
        await client.delete("fruit/", prefix=True)
        seen = 0
        async for batch in changes:
            if batch.relist is not None:
                # The store threw old history away while we were cut off: start from its state.
                print("5. now", len(batch.relist.kvs), "keys")
            for event in batch.events:
                before = event.prev_kv.text if event.prev_kv else "nothing"
                print(f"5. {event.type} {event.kv.key.decode()}: was {before}")
                seen += 1
            if seen == 3:
                return


async def main(endpoint: str) -> None:
    """Run all five."""
    async with Client([endpoint]) as client:
        await client.delete("owner")
        for part in (keys, transaction, lease, lock, watch):
            await part(client)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:2379"))
