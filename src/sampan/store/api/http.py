"""The plain HTTP side of the store: versions, health, metrics, and the JSON gateway."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

from sampan.base.log import Logger
from sampan.store.api.health import HealthRoutes, method_not_allowed, text_response
from sampan.store.api.openapi import document_json, document_yaml
from sampan.store.core.version import SERVER_VERSION, STORAGE_VERSION
from sampan.wire.exposition import CONTENT_TYPE
from sampan.wire.grpc.service import HttpHandler, HttpRequest, HttpResponse

__all__ = ["HTTP_ROUTES", "Access", "ClientHttp", "MetricsHttp"]

HTTP_ROUTES = (
    "/version",
    "/health",
    "/livez",
    "/livez/serializable_read",
    "/readyz",
    "/readyz/data_corruption",
    "/readyz/serializable_read",
    "/readyz/linearizable_read",
    "/readyz/non_learner",
    "/metrics",
    "/v3/openapi.json",
    "/v3/openapi.yaml",
)
"""Every path served beside the gateway's."""

_CORS = (
    ("access-control-allow-methods", "POST, GET, OPTIONS, PUT, DELETE"),
    ("access-control-allow-headers", "accept, content-type, authorization"),
)
_UNKNOWN_HOST = """\
The Host header of this request names a host that --host-whitelist does not list.

This protects a server without TLS from web pages that point a name of their own at it (DNS
rebinding). Either add the name to --host-whitelist, ask for a listed one, or serve with TLS.
"""


@dataclass(frozen=True, slots=True)
class Access:
    """Who may call from a browser: origins (`--cors`) and host names (`--host-whitelist`)."""

    cors: frozenset[str] = frozenset(("*",))
    host_whitelist: frozenset[str] = frozenset(("*",))
    tls: bool = False
    """Whether the listener speaks TLS; its host names are then vouched for by the certificate."""

    def allowed_origin(self, request: HttpRequest) -> str | None:
        """Return what to allow in answer to the request's origin, None for nothing."""
        if not self.cors or "*" in self.cors:
            return "*"
        origin = _header(request, "origin")
        return origin if origin in self.cors else None

    def host_allowed(self, request: HttpRequest) -> bool:
        """Return whether the request names a host that is served."""
        if self.tls or not self.host_whitelist or "*" in self.host_whitelist:
            return True
        return _host_name(_header(request, "host") or "") in self.host_whitelist


def _header(request: HttpRequest, name: str) -> str | None:
    return next((value for key, value in request.headers if key == name), None)


def _host_name(host: str) -> str:
    """Return a Host header's value without its port and without an IPv6 address's brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


_OLD_PREFIX = "/v3beta/"  # the gateway's name until etcd 3.3, still served


class MetricsHttp:
    """What `--listen-metrics-urls` serves: `/metrics`, `/health`, `/livez`, `/readyz`."""

    def __init__(self, *, health: HealthRoutes, metrics: Callable[[], bytes]) -> None:
        self._metrics = metrics
        self._routes: dict[str, HttpHandler] = dict.fromkeys(health.paths, health.answer)
        self._routes["/metrics"] = self._scrape

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer one request."""
        route = self._routes.get(request.path.partition("?")[0])
        if route is None:
            return text_response(404, "404 page not found\n")
        return await route(request)

    async def _scrape(self, request: HttpRequest) -> HttpResponse:
        if request.method not in ("GET", "HEAD"):
            return method_not_allowed("GET", "HEAD")
        return HttpResponse(200, (("content-type", CONTENT_TYPE),), self._metrics())


class ClientHttp(MetricsHttp):
    """What a client listener serves. `gateway` is None when it is turned off.

    `cluster_version()` is the version of the cluster, or None while it is not known.
    """

    def __init__(
        self,
        *,
        health: HealthRoutes,
        metrics: Callable[[], bytes],
        gateway: HttpHandler | None,
        cluster_version: Callable[[], str | None],
        access: Access,
        log: Logger,
    ) -> None:
        super().__init__(health=health, metrics=metrics)
        self._gateway = gateway
        self._cluster_version = cluster_version
        self._access = access
        self._log = log
        self._routes["/version"] = self._version
        if gateway is not None:
            self._routes["/v3/openapi.json"] = self._openapi
            self._routes["/v3/openapi.yaml"] = self._openapi

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer one request."""
        if not self._access.host_allowed(request):
            host = _header(request, "host")
            self._log.warning("rejecting HTTP request from untrusted host", host=host)
            return text_response(421, _UNKNOWN_HOST)
        if request.path.startswith(_OLD_PREFIX):
            request = replace(request, path="/v3/" + request.path.removeprefix(_OLD_PREFIX))
        if request.method == "OPTIONS":
            response = HttpResponse(200)
        elif self._gateway is not None and self._is_gateway(request):
            response = await self._gateway(request)
        else:
            response = await super().__call__(request)
        origin = self._access.allowed_origin(request)
        if origin is None:
            return response
        allow = ("access-control-allow-origin", origin)
        return replace(response, headers=(allow, *_CORS, *response.headers))

    def _is_gateway(self, request: HttpRequest) -> bool:
        path = request.path.partition("?")[0]
        return path.startswith("/v3/") and path not in self._routes

    async def _version(self, request: HttpRequest) -> HttpResponse:
        if request.method != "GET":
            return method_not_allowed("GET")
        versions = {
            "etcdserver": SERVER_VERSION,
            "etcdcluster": self._cluster_version() or "not_decided",
            "storage": STORAGE_VERSION,
        }
        body = json.dumps(versions, separators=(",", ":")).encode()
        return HttpResponse(200, (("content-type", "application/json"),), body)

    async def _openapi(self, request: HttpRequest) -> HttpResponse:
        if request.method not in ("GET", "HEAD"):
            return method_not_allowed("GET", "HEAD")
        if request.path.partition("?")[0].endswith(".yaml"):
            return HttpResponse(200, (("content-type", "application/yaml"),), document_yaml())
        return HttpResponse(200, (("content-type", "application/json"),), document_json())
