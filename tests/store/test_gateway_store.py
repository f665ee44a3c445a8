"""The JSON gateway in front of the real store: the same checks as for gRPC."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

from sampan.base.log import Logger
from sampan.loop.runner import run
from sampan.store.api.server import EtcdServer
from sampan.store.shell.config import EtcdConfig, Url

ADDRESS = (Url("http", "127.0.0.1", 0),)


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class Gateway:
    """Calls by HTTP/1.1, one connection each."""

    def __init__(self, server: EtcdServer) -> None:
        url = Url.parse(server.endpoints[0])
        self._address = (url.host, url.port)
        self.token = ""

    async def call(self, path: str, **request: Any) -> tuple[int, Any]:
        """Return the status and the JSON of the answer."""
        reader, writer = await asyncio.open_connection(*self._address)
        body = json.dumps(request)
        head = f"POST /v3/{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        if self.token:
            head += f"authorization: {self.token}\r\n"
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())
        answer = (await reader.read()).decode()
        writer.close()
        return int(answer.split()[1]), json.loads(answer.partition("\r\n\r\n")[2])

    async def must(self, path: str, **request: Any) -> Any:
        """Return the JSON of an answer that must be a success."""
        status, answer = await self.call(path, **request)
        assert status == 200, answer
        return answer


def serve(scenario: Callable[[Gateway], Awaitable[None]]) -> None:
    async def main() -> None:
        config = EtcdConfig(
            memory=True,
            listen_client_urls=ADDRESS,
            advertise_client_urls=ADDRESS,
            bcrypt_cost=4,
        )
        server = await EtcdServer.start(config, Logger(lambda _: 0, lambda: 0.0))
        try:
            await asyncio.wait_for(scenario(Gateway(server)), 30)
        finally:
            await server.stop(grace_s=0)

    run(main())


def test_put_range_transaction_and_lease() -> None:
    async def scenario(gateway: Gateway) -> None:
        put = await gateway.must("kv/put", key=encoded("k"), value=encoded("v"))
        assert put["header"]["revision"] == "2"
        found = await gateway.must("kv/range", key=encoded("k"))
        assert found["kvs"][0]["value"] == encoded("v")
        assert found["count"] == "1"
        compare = {"target": "VALUE", "key": encoded("k"), "value": encoded("v")}
        delete = {"request_delete_range": {"key": encoded("k")}}
        done = await gateway.must("kv/txn", compare=[compare], success=[delete])
        assert done["succeeded"] is True
        assert done["responses"][0]["response_delete_range"]["deleted"] == "1"
        lease = await gateway.must("lease/grant", TTL=60)
        left = await gateway.must("kv/lease/timetolive", ID=lease["ID"])
        assert left["grantedTTL"] == "60"
        await gateway.must("lease/revoke", ID=lease["ID"])

    serve(scenario)


def test_errors_are_those_of_the_store() -> None:
    async def scenario(gateway: Gateway) -> None:
        status, answer = await gateway.call("kv/put", value=encoded("v"))
        assert (status, answer["message"]) == (400, "etcdserver: key is not provided")
        status, answer = await gateway.call("kv/range", key=encoded("k"), revision=99)
        assert status == 400
        assert answer["message"] == "etcdserver: mvcc: required revision is a future revision"

    serve(scenario)


def test_a_token_is_asked_for_once_auth_is_on() -> None:
    async def scenario(gateway: Gateway) -> None:
        await gateway.must("auth/user/add", name="root", password="pw")
        await gateway.must("auth/role/add", name="root")
        await gateway.must("auth/user/grant", user="root", role="root")
        await gateway.must("auth/enable")
        status, answer = await gateway.call("kv/put", key=encoded("k"))
        assert (status, answer["message"]) == (400, "etcdserver: user name is empty")
        refused = await gateway.call("auth/authenticate", name="root", password="no")
        assert refused[0] == 400
        gateway.token = "wrong.1"
        status, answer = await gateway.call("kv/put", key=encoded("k"))
        assert (status, answer["message"]) == (401, "etcdserver: invalid auth token")
        gateway.token = ""
        granted = await gateway.must("auth/authenticate", name="root", password="pw")
        gateway.token = granted["token"]
        await gateway.must("kv/put", key=encoded("k"))

    serve(scenario)
