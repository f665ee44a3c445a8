"""`sampan demo`: starts a store, uses it the way programs do, and shows what happened."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from sampan.base.units import parse_duration_s
from sampan.cli.command import run_command

if TYPE_CHECKING:
    from sampan.store.client import Client
    from sampan.store.shell.config import EtcdConfig

__all__ = ["main"]

_WIDTH = 78


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code: 0, or 1 when the demonstration failed."""
    return run_command(_command, "sampan demo", arguments)


def _seconds(_: click.Context, __: click.Parameter, text: str | None) -> float | None:
    if not text:
        return None
    try:
        seconds = float(text) if text.replace(".", "", 1).isdigit() else parse_duration_s(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return seconds


@click.command()
@click.option(
    "--seconds",
    envvar="DEMO_SECONDS",
    callback=_seconds,
    help="End by itself after so long (5, 1m30s); without it, on Ctrl-C.",
)
@click.option("--port", default=0, help="Port to serve on; 0 takes a free one.")
def _command(seconds: float | None, port: int) -> int:
    """Start a store, use it, show what happened, and keep serving until Ctrl-C."""
    from sampan.loop.runner import run

    try:
        return run(_demo(seconds, port))
    except KeyboardInterrupt:
        return 130


async def _demo(seconds: float | None, port: int) -> int:
    from sampan.base.errors import SampanError
    from sampan.cli.etcd_log import open_log
    from sampan.store.api.server import EtcdServer

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with TemporaryDirectory(prefix="sampan-demo-") as directory:
        config = _config(directory, port)
        with open_log(config) as log:
            began_s = time.perf_counter()
            try:
                server = await EtcdServer.start(config, log)
            except (SampanError, OSError) as error:
                print(f"The store did not start: {error}")
                return 1
            took_ms = (time.perf_counter() - began_s) * 1000
            try:
                _title("A store")
                print(f"  serving on {server.endpoints[0]}, ready in {took_ms:.0f} ms")
                print(f"  data and log in {directory} (removed at the end)")
                await _show(server.endpoints[0])
                await _keep_serving(stop, seconds)
            finally:
                await server.stop()
    return 0


def _config(directory: str, port: int) -> EtcdConfig:
    from sampan.store.shell.config import EtcdConfig, Url

    address = (Url("http", "127.0.0.1", port),)
    return EtcdConfig(
        name="demo",
        data_dir=f"{directory}/data",
        listen_client_urls=address,
        advertise_client_urls=address,
        log_outputs=(f"{directory}/etcd.log",),
    )


async def _keep_serving(stop: asyncio.Event, seconds: float | None) -> None:
    if seconds is None:
        print("\nServing until Ctrl-C.", flush=True)
    else:
        print(f"\nServing for {seconds:g} s more.", flush=True)
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        pass
    print("Stopped.", flush=True)


def _title(text: str) -> None:
    print(f"\n{text} {'-' * (_WIDTH - len(text) - 1)}")


async def _show(endpoint: str) -> None:
    from sampan.store.client import Client

    async with Client([endpoint]) as client:
        for step in (_puts, _transaction, _watch, _lease):
            await step(client)
    _how_to_connect(endpoint)


async def _puts(client: Client) -> None:
    _title("Puts: every write makes a new revision, and old ones stay readable")
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

    _title("Transaction: compare, then do one of two things at once")
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
    _title("Watch: every change, in order, from any revision that is still kept")
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
    _title("Lease: keys that go when their holder does")
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
    _title("Connect to it")
    for line in (
        f"etcdctl --endpoints={endpoint} get --prefix colour/",
        f"etcdctl --endpoints={endpoint} watch --prefix ''",
        f'curl {endpoint}/v3/kv/range -d \'{{"key":"Y29sb3VyL3NreQ=="}}\'',
        f"curl {endpoint}/health",
        f"curl {endpoint}/metrics",
    ):
        print(f"  {line}")
