"""Versions, health and access of the plain HTTP side."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import pytest

from sampan.base.log import Logger
from sampan.store.api.health import HealthRoutes
from sampan.store.api.http import HTTP_ROUTES, Access, ClientHttp, MetricsHttp
from sampan.store.api.metrics import HealthCounts
from sampan.store.core.version import SERVER_VERSION
from sampan.wire.grpc.service import HttpRequest, HttpResponse, Peer
from sampan.wire.grpc.status import Code, RpcError


class Node:
    """A node whose state is set by hand."""

    def __init__(self) -> None:
        self.alarms: Sequence[str] = ()
        self.has_leader = True
        self.is_learner = False
        self.errors: dict[bool, RpcError] = {}

    async def read(self, *, serializable: bool) -> None:
        if serializable in self.errors:
            raise self.errors[serializable]


class Site:
    """The HTTP side of one node."""

    def __init__(self, access: Access | None = None, *, gateway: bool = True) -> None:
        self.node = Node()
        self.counts = HealthCounts()
        self.lines: list[str] = []
        log = Logger(self.lines.append, lambda: 0.0)
        self.health = HealthRoutes(self.node, self.counts, log)
        self.client = ClientHttp(
            health=self.health,
            metrics=lambda: b"x 1\n",
            gateway=self._gateway if gateway else None,
            cluster_version=lambda: "3.6.0",
            access=access or Access(),
            log=log,
        )

    async def _gateway(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, (("content-type", "application/json"),), b"gateway")

    def get(self, path: str, method: str = "GET", **headers: str) -> HttpResponse:
        made = HttpRequest(method, path, list(headers.items()), b"", Peer("127.0.0.1:1"))
        return asyncio.run(self._ask(made))

    async def _ask(self, request: HttpRequest) -> HttpResponse:
        return await self.client(request)


def text(response: HttpResponse) -> str:
    assert isinstance(response.body, bytes)
    return response.body.decode()


def test_the_version() -> None:
    response = Site().get("/version")
    assert json.loads(text(response)) == {
        "etcdserver": SERVER_VERSION,
        "etcdcluster": "3.6.0",
        "storage": "3.6.0",
    }
    assert ("content-type", "application/json") in response.headers


@pytest.mark.parametrize("path", ["/version", "/health", "/livez", "/readyz/data_corruption"])
@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT"])
def test_only_get_is_allowed(path: str, method: str) -> None:
    response = Site().get(path, method)
    assert (response.status, text(response)) == (405, "Method Not Allowed\n")
    assert ("allow", "GET") in response.headers


@pytest.mark.parametrize("path", ["/", "/nope", "/v2/keys", "/healthz", "/livez/data_corruption"])
def test_other_paths_are_not_found(path: str) -> None:
    response = Site().get(path)
    assert (response.status, text(response)) == (404, "404 page not found\n")


def test_every_listed_route_answers() -> None:
    site = Site()
    assert all(site.get(path).status == 200 for path in HTTP_ROUTES)


# ---- /health


def test_healthy() -> None:
    site = Site()
    response = site.get("/health")
    assert (response.status, text(response)) == (200, '{"health":"true","reason":""}')
    assert site.counts.success == 1


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("", "ALARM NOSPACE"),
        ("?exclude=NOSPACE", "ALARM CORRUPT"),
        ("?exclude=NOSPACE&exclude=CORRUPT", ""),
        ("?exclude=", "ALARM NOSPACE"),
    ],
)
def test_an_alarm_is_unhealthy_unless_excluded(query: str, reason: str) -> None:
    site = Site()
    site.node.alarms = ("NOSPACE", "CORRUPT")
    response = site.get(f"/health{query}")
    assert response.status == (503 if reason else 200)
    expected = {"health": "false" if reason else "true", "reason": reason}
    assert json.loads(text(response)) == expected
    assert site.counts.failures == (1 if reason else 0)


def test_no_leader_matters_only_to_linearizable_reads() -> None:
    site = Site()
    site.node.has_leader = False
    assert json.loads(text(site.get("/health")))["reason"] == "RAFT NO LEADER"
    assert site.get("/health?serializable=true").status == 200


def test_a_failing_read_is_unhealthy() -> None:
    site = Site()
    site.node.errors[False] = RpcError(Code.UNAVAILABLE, "etcdserver: request timed out")
    answer = json.loads(text(site.get("/health")))
    assert answer == {"health": "false", "reason": "RANGE ERROR:etcdserver: request timed out"}
    assert site.get("/health?serializable=true").status == 200


def test_being_turned_away_by_auth_is_healthy() -> None:
    site = Site()
    site.node.errors[False] = RpcError(Code.INVALID_ARGUMENT, "etcdserver: user name is empty")
    site.node.errors[True] = RpcError(Code.PERMISSION_DENIED, "etcdserver: permission denied")
    assert site.get("/health").status == 200
    assert site.get("/livez").status == 200


# ---- /livez, /readyz


def test_a_probe_says_ok_and_more_when_asked() -> None:
    site = Site()
    assert text(site.get("/livez")) == "ok\n"
    assert text(site.get("/livez?verbose")) == "[+]serializable_read ok\nok\n"
    assert text(site.get("/readyz?verbose")) == (
        "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n"
        "[+]non_learner ok\nok\n"
    )
    assert text(site.get("/livez/serializable_read?verbose")) == "[+]serializable_read ok\nok\n"


def test_checks_are_chosen_by_exclusion_or_by_name() -> None:
    site = Site()
    site.node.alarms = ("CORRUPT",)
    assert site.get("/readyz").status == 503
    assert site.get("/readyz?exclude=data_corruption").status == 200
    only = site.get("/readyz?allowlist=serializable_read&allowlist=non_learner&verbose")
    assert text(only) == "[+]serializable_read ok\n[+]non_learner ok\nok\n"
    both = site.get("/readyz?allowlist=non_learner&exclude=data_corruption")
    assert both.status == 400


def test_a_failed_check_says_why() -> None:
    site = Site()
    site.node.alarms = ("NOSPACE", "CORRUPT")
    site.node.is_learner = True
    site.node.has_leader = False
    response = site.get("/readyz")
    assert response.status == 503
    assert text(response) == (
        "[-]data_corruption failed: alarm activated: CORRUPT\n"
        "[+]serializable_read ok\n"
        "[-]linearizable_read failed: range error: etcdserver: no leader\n"
        "[-]non_learner failed: not supported for learner\n\n"
    )
    assert site.counts.checks["readyz", "data_corruption", "error"] == 1
    assert site.counts.results["readyz", "serializable_read"] == 1
    assert any("Health check fails" in line for line in site.lines)


def test_a_full_disk_does_not_end_a_member() -> None:
    site = Site()
    site.node.alarms = ("NOSPACE",)
    assert site.get("/livez").status == site.get("/readyz").status == 200


# ---- gateway and metrics


def test_the_gateway_can_be_turned_off() -> None:
    assert text(Site().get("/v3/kv/range", "POST")) == "gateway"
    off = Site(gateway=False)
    assert off.get("/v3/kv/range", "POST").status == 404
    assert off.get("/v3/openapi.json").status == 404


def test_the_api_document_is_served() -> None:
    site = Site()
    assert json.loads(text(site.get("/v3/openapi.json")))["openapi"] == "3.1.0"
    yaml = site.get("/v3/openapi.yaml")
    assert text(yaml).startswith("openapi: 3.1.0\n")
    assert ("content-type", "application/yaml") in yaml.headers
    assert site.get("/v3/openapi.json", "POST").status == 405


def test_metrics_name_their_format() -> None:
    site = Site()
    response = site.get("/metrics")
    assert text(response) == "x 1\n"
    assert ("content-type", "text/plain; version=0.0.4; charset=utf-8") in response.headers
    assert site.get("/metrics", "POST").status == 405


def test_a_metrics_listener_serves_metrics_and_health_only() -> None:
    site = Site()
    only = MetricsHttp(health=site.health, metrics=lambda: b"x 1\n")

    async def statuses(*paths: str) -> list[int]:
        made = [HttpRequest("GET", path, (), b"", Peer("127.0.0.1:1")) for path in paths]
        return [(await only(request)).status for request in made]

    got = asyncio.run(statuses("/metrics", "/health", "/readyz", "/version", "/v3/openapi.json"))
    assert got == [200, 200, 200, 404, 404]


# ---- access


def test_any_origin_is_allowed_by_default() -> None:
    headers = dict(Site().get("/version").headers)
    assert headers["access-control-allow-origin"] == "*"
    assert headers["access-control-allow-methods"] == "POST, GET, OPTIONS, PUT, DELETE"
    assert headers["access-control-allow-headers"] == "accept, content-type, authorization"


def test_a_listed_origin_only() -> None:
    site = Site(Access(cors=frozenset(("http://a.example",))))
    allowed = dict(site.get("/version", origin="http://a.example").headers)
    assert allowed["access-control-allow-origin"] == "http://a.example"
    refused = dict(site.get("/version", origin="http://b.example").headers)
    assert "access-control-allow-origin" not in refused


def test_a_preflight_request_is_answered_here() -> None:
    response = Site().get("/v3/kv/range", "OPTIONS", origin="http://a.example")
    assert (response.status, response.body) == (200, b"")
    assert dict(response.headers)["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("db.example:2379", 200),
        ("db.example", 200),
        ("[::1]:2379", 200),
        ("evil.example:2379", 421),
        ("", 421),
    ],
)
def test_only_listed_hosts_are_served_without_tls(host: str, status: int) -> None:
    listed = frozenset(("db.example", "::1"))
    site = Site(Access(host_whitelist=listed))
    assert site.get("/version", host=host).status == status
    assert Site(Access(host_whitelist=listed, tls=True)).get("/version", host=host).status == 200


def test_the_gateway_is_served_under_its_old_name_too() -> None:
    assert Site().get("/v3beta/kv/put", "POST").body == b"gateway"
    assert Site(gateway=False).get("/v3beta/kv/put", "POST").status == 404
