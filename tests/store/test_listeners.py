"""Where a server listens, and what it says about it."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from sampan.base.log import Logger
from sampan.loop.runner import run
from sampan.store.api.server import EtcdServer
from sampan.store.client import Client
from sampan.store.shell.config import EtcdConfig, TlsConfig, Url

HTTP = Url("http", "127.0.0.1", 0)
HTTPS = Url("https", "127.0.0.1", 0)


def serve(
    tmp_path: Path,
    scenario: Callable[[EtcdServer, dict[str, Any], list[str]], Awaitable[None]],
    **settings: Any,
) -> None:
    """Run a scenario with a server, its endpoints file and its log lines."""
    lines: list[str] = []

    async def main() -> None:
        file = tmp_path / "endpoints.json"
        given: dict[str, Any] = {
            "memory": True,
            "data_dir": str(tmp_path / "data"),
            "endpoints_file": str(file),
            "listen_client_urls": (HTTP,),
            "advertise_client_urls": (HTTP,),
        }
        config = EtcdConfig(**(given | settings))
        server = await EtcdServer.start(config, Logger(lines.append, lambda: 0.0))
        try:
            found = json.loads(await asyncio.to_thread(file.read_text))
            await asyncio.wait_for(scenario(server, found, lines), 20)
        finally:
            await server.stop(grace_s=0)

    run(main())


async def status_of(url: str, path: str) -> int:
    """Return the HTTP status of a GET, 0 when the connection is closed without one."""
    address = Url.parse(url)
    context = None
    if address.tls:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(address.host, address.port, ssl=context)
    writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
    try:
        line = await reader.readline()
    except ConnectionError:
        line = b""
    writer.transport.abort()
    return int(line.split()[1]) if line.startswith(b"HTTP/1.1 ") else 0


def test_real_ports_are_written_down_and_advertised(tmp_path: Path) -> None:
    async def scenario(server: EtcdServer, found: dict[str, Any], lines: list[str]) -> None:
        assert found == {"client": server.endpoints, "name": "default"}
        assert Url.parse(server.endpoints[0]).port != 0
        async with Client(server.endpoints) as client:
            (member,) = await client.cluster.member_list()
            assert list(member.client_urls) == server.endpoints
        assert json.loads(lines[-1])["address"] == server.endpoints[0]

    serve(tmp_path, scenario)


def test_http_can_have_listeners_of_its_own(tmp_path: Path) -> None:
    async def scenario(server: EtcdServer, found: dict[str, Any], _: list[str]) -> None:
        (http,) = found["http"]
        assert await status_of(http, "/version") == 200
        assert await status_of(server.endpoints[0], "/version") == 0
        async with Client(server.endpoints) as client:
            await client.put("k", "v")

    serve(tmp_path, scenario, listen_client_http_urls=(HTTP,))


def test_metrics_can_have_listeners_of_their_own(tmp_path: Path) -> None:
    async def scenario(server: EtcdServer, found: dict[str, Any], _: list[str]) -> None:
        (metrics,) = found["metrics"]
        assert await status_of(metrics, "/metrics") == 200
        assert await status_of(metrics, "/readyz") == 200
        assert await status_of(metrics, "/v3/kv/range") == 404
        assert await status_of(server.endpoints[0], "/metrics") == 200

    serve(tmp_path, scenario, listen_metrics_urls=(HTTP,))


def test_unix_sockets(tmp_path: Path) -> None:
    socket = Url("unix", str(tmp_path / "etcd.sock"))

    async def scenario(server: EtcdServer, _: dict[str, Any], __: list[str]) -> None:
        assert server.endpoints == [str(socket)]
        async with Client([f"unix:{socket.host}"]) as client:
            await client.put("k", "v")

    serve(tmp_path, scenario, listen_client_urls=(socket,), advertise_client_urls=(HTTP,))


def test_a_certificate_is_made_on_request_and_kept(tmp_path: Path) -> None:
    async def scenario(server: EtcdServer, _: dict[str, Any], lines: list[str]) -> None:
        assert await status_of(server.endpoints[0], "/version") == 200
        made = tmp_path / "data" / "fixtures" / "client" / "cert.pem"
        context = ssl.create_default_context(cafile=str(made))
        async with Client(server.endpoints, tls=context) as client:
            await client.put("k", "v")
        assert "serving client traffic securely" in lines[-1]

    settings = {
        "memory": False,
        "listen_client_urls": (HTTPS,),
        "advertise_client_urls": (HTTPS,),
        "client_tls": TlsConfig(auto_tls=True),
    }
    serve(tmp_path, scenario, **settings)
    serve(tmp_path, scenario, **settings)
