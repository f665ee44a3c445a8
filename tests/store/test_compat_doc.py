"""docs/compat/etcd.md says what is true: every RPC, route, metric, flag and gate has its row."""

from __future__ import annotations

import asyncio
import re
import subprocess

import pytest
from tests.real import ROOT, require
from tests.store.exposition_reader import read_exposition

from sampan.base.log import Logger
from sampan.cli.etcd_flags import FEATURE_GATES, FLAGS, GROUPS
from sampan.loop.runner import run
from sampan.store.api.gateway_routes import ROUTES, SERVICE_FILES
from sampan.store.api.http import HTTP_ROUTES
from sampan.store.api.metrics_peers import peer_families
from sampan.store.api.server import EtcdServer
from sampan.store.shell.config import EtcdConfig, Url
from sampan.store.shell.peers import PeerTraffic

TEXT = (ROOT / "docs/compat/etcd.md").read_text()
STATUSES = {"supported", "partly", "accepted", "not yet"}


def table(title: str, header: str) -> dict[str, tuple[str, ...]]:
    """Return the rows of the table with that header line in that section, by their first cell."""
    section = re.split(r"^#+ ", TEXT.split(f"# {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    body = section.split(f"{header}\n", 1)[1].split("\n\n")[0].splitlines()[1:]
    rows: dict[str, tuple[str, ...]] = {}
    for line in body:
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        name = cells[0].strip("`")
        assert name not in rows, f"{name} has two rows"
        rows[name] = tuple(cells[1:])
    return rows


def offered_rpcs() -> set[str]:
    return {
        f"{service.full_name}/{method.name}"
        for file in SERVICE_FILES
        for service in file.services_by_name.values()
        for method in service.methods
    }


def test_every_rpc_has_a_row() -> None:
    rows = table("RPCs", "| RPC | Status | Remark |")
    assert {row[0] for row in rows.values()} <= STATUSES
    ours = {name for name in rows if not name.startswith("grpc.")}
    assert ours == offered_rpcs()


def test_every_route_has_a_row() -> None:
    gateway = table("HTTP", "| Path | RPC | Status |")
    assert {path: row[0].strip("`") for path, row in gateway.items()} == {
        path: route.full_name[1:] for path, route in ROUTES.items()
    }
    rpcs = table("RPCs", "| RPC | Status | Remark |")
    for path, (rpc, status) in gateway.items():
        assert status == rpcs[rpc.strip("`")][0], path
    plain = table("HTTP", "| Path | Status | Remark |")
    assert {path for path, row in plain.items() if row[0] == "supported"} == set(HTTP_ROUTES)


def test_every_flag_has_a_row_with_its_status_and_default() -> None:
    documented: dict[str, tuple[str, ...]] = {}
    for group, _ in GROUPS:
        documented |= table(group, "| Flag | Default | Status | Meaning |")
    assert set(documented) == {f"--{name}" for name in FLAGS}
    for flag in FLAGS.values():
        default, status, meaning = documented[f"--{flag.name}"]
        assert default == (f"`{flag.default}`" if flag.default else ""), flag.name
        assert status == flag.status.value, flag.name
        assert meaning.replace("\\|", "|") == flag.help, flag.name


def test_every_feature_gate_has_a_row() -> None:
    rows = table("Feature gates", "| Gate | Status |")
    assert {gate: row[0] for gate, row in rows.items()} == {
        gate: status.value for gate, status in FEATURE_GATES.items()
    }


async def exported() -> dict[str, str]:
    """Return name and type of every metric of a running server that has been used."""
    address = (Url("http", "127.0.0.1", 0),)
    config = EtcdConfig(memory=True, listen_client_urls=address, advertise_client_urls=address)
    server = await EtcdServer.start(config, Logger(lambda _: 0, lambda: 0.0))
    try:
        host, _, port = server.endpoints[0].rpartition("/")[2].rpartition(":")
        await ask(host, int(port), "GET /livez", "")
        await ask(host, int(port), "POST /v3/kv/put", '{"key":"Zm9v"}')
        text = await ask(host, int(port), "GET /metrics", "")
    finally:
        await server.stop(grace_s=0)
    return {name: family.type for name, family in read_exposition(text).items()}


async def ask(host: str, port: int, what: str, body: str) -> str:
    reader, writer = await asyncio.open_connection(host, port)
    head = f"{what} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len(body)}\r\n"
    writer.write(f"{head}\r\n{body}".encode())
    answer = (await reader.read()).decode()
    writer.close()
    assert answer.startswith("HTTP/1.1 200 "), answer
    return answer.partition("\r\n\r\n")[2]


def test_every_metric_has_a_row_and_only_exported_ones_are_supported() -> None:
    rows = table("Metrics", "| Metric | Type | Status |")
    supported = {name: row[0] for name, row in rows.items() if row[1] == "supported"}
    with_others = {one.name: one.type for one in peer_families({2: PeerTraffic()}, 1)}
    assert supported == run(exported()) | with_others


def test_every_verb_of_etcdctl_has_a_row() -> None:
    rows = table("etcdctl", "| Verb | Status | Remark |")
    assert {row[0] for row in rows.values()} <= STATUSES
    verbs = commands(str(require("etcdctl")))
    assert verbs - set(rows) == set()


def commands(etcdctl: str) -> set[str]:
    """Return the verbs that etcdctl's help lists."""
    text = subprocess.run(
        [etcdctl, "help"], capture_output=True, text=True, check=False, timeout=30
    ).stdout
    section = text.split("COMMANDS:\n", 1)[1].split("\n\n", 1)[0]
    return {line.strip().split("\t")[0].strip() for line in section.splitlines() if line.strip()}


@pytest.mark.parametrize("title", ["etcdutl"])
def test_statuses_are_of_the_four_kinds(title: str) -> None:
    rows = table(title, "| Verb | Status | Remark |")
    assert rows and {row[0] for row in rows.values()} <= STATUSES
