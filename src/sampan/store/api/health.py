"""`/health`, `/livez` and `/readyz`: is this member alive, and is it ready to serve."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol
from urllib.parse import parse_qs

from sampan.base.log import Logger
from sampan.store.api.metrics import HealthCounts
from sampan.wire.grpc.service import HttpRequest, HttpResponse
from sampan.wire.grpc.status import Code, RpcError

__all__ = ["Health", "HealthRoutes", "method_not_allowed", "text_response"]

_PLAIN = (("content-type", "text/plain; charset=utf-8"), ("x-content-type-options", "nosniff"))
_NOT_UNHEALTHY = (Code.INVALID_ARGUMENT, Code.PERMISSION_DENIED)
"""A read without a user, or by one without permission, got as far as it should."""


class Health(Protocol):
    """What the node knows of its own state."""

    @property
    def alarms(self) -> Sequence[str]:
        """The active alarms: `NOSPACE`, `CORRUPT`."""
        ...

    @property
    def has_leader(self) -> bool:
        """Whether a leader is known."""
        ...

    @property
    def is_learner(self) -> bool:
        """Whether this member may not vote yet."""
        ...

    async def read(self, *, serializable: bool) -> None:
        """Read one key as a client would. Raises RpcError."""
        ...


class CheckFailed(Exception):
    """A health check did not pass; the text says why."""


Check = Callable[[], Awaitable[None]]


class HealthRoutes:
    """Answers the paths in `paths`; counts results in `counts`."""

    def __init__(self, health: Health, counts: HealthCounts, log: Logger) -> None:
        self._health = health
        self._counts = counts
        self._log = log
        self._checks: Mapping[str, Mapping[str, Check]] = {
            "/livez": {"serializable_read": self._serializable_read},
            "/readyz": {
                "data_corruption": self._data_corruption,
                "serializable_read": self._serializable_read,
                "linearizable_read": self._linearizable_read,
                "non_learner": self._non_learner,
            },
        }

    @property
    def paths(self) -> tuple[str, ...]:
        """Every path that `answer` knows, the single checks included."""
        single = [f"{root}/{name}" for root, checks in self._checks.items() for name in checks]
        return ("/health", *self._checks, *single)

    async def answer(self, request: HttpRequest) -> HttpResponse:
        """Answer a request to one of `paths`."""
        path, _, query = request.path.partition("?")
        if request.method != "GET":
            return method_not_allowed("GET")
        parameters = parse_qs(query, keep_blank_values=True)
        if path == "/health":
            return await self._overall(parameters)
        root, _, single = path.removeprefix("/").partition("/")
        checks = self._checks[f"/{root}"]
        if single:
            return await self._run(f"/{root}", [single], parameters)
        excluded, allowed = _names(parameters, "exclude"), _names(parameters, "allowlist")
        if excluded and allowed:
            message = f"do not expect both allowlist: {allowed} and exclude list: {excluded}\n"
            return text_response(400, message)
        names = [
            name for name in checks if name not in excluded and (not allowed or name in allowed)
        ]
        return await self._run(f"/{root}", names, parameters)

    # ---- /health

    async def _overall(self, parameters: Mapping[str, list[str]]) -> HttpResponse:
        serializable = parameters.get("serializable", [""])[0] == "true"
        reason = await self._unhealthy(_names(parameters, "exclude"), serializable)
        body = json.dumps(
            {"health": "false" if reason else "true", "reason": reason}, separators=(",", ":")
        )
        if not reason:
            self._counts.success += 1
            return HttpResponse(200, _PLAIN[:1], body.encode())
        self._counts.failures += 1
        self._log.warning("/health error", output=body, **{"status-code": 503})
        return text_response(503, body + "\n")

    async def _unhealthy(self, excluded: Sequence[str], serializable: bool) -> str:
        """Return why the member is not healthy, an empty text when it is."""
        for alarm in self._health.alarms:
            if alarm not in excluded:
                return f"ALARM {alarm}"
        if not serializable and not self._health.has_leader:
            return "RAFT NO LEADER"
        try:
            await self._read(serializable)
        except CheckFailed as error:
            return f"RANGE ERROR:{error}"
        return ""

    # ---- /livez and /readyz

    async def _run(
        self, root: str, names: Sequence[str], parameters: Mapping[str, list[str]]
    ) -> HttpResponse:
        kind = root.removeprefix("/")
        report, healthy = "", True
        for name in names:
            try:
                await self._checks[root][name]()
            except CheckFailed as error:
                report += f"[-]{name} failed: {error}\n"
                healthy = False
                self._count(kind, name, "error")
            else:
                report += f"[+]{name} ok\n"
                self._count(kind, name, "success")
        if not healthy:
            self._log.error("Health check fails", path=root, reason=report, **{"status-code": 503})
            return text_response(503, report + "\n")
        return text_response(200, (report if "verbose" in parameters else "") + "ok\n")

    def _count(self, kind: str, name: str, status: str) -> None:
        counts = self._counts
        counts.results[kind, name] = 1 if status == "success" else 0
        key = (kind, name, status)
        counts.checks[key] = counts.checks.get(key, 0) + 1

    async def _read(self, serializable: bool) -> None:
        try:
            await self._health.read(serializable=serializable)
        except RpcError as error:
            if error.code not in _NOT_UNHEALTHY:
                raise CheckFailed(error.message) from None

    async def _serializable_read(self) -> None:
        try:
            await self._read(True)
        except CheckFailed as error:
            raise CheckFailed(f"range error: {error}") from None

    async def _linearizable_read(self) -> None:
        if not self._health.has_leader:
            raise CheckFailed("range error: etcdserver: no leader")
        try:
            await self._read(False)
        except CheckFailed as error:
            raise CheckFailed(f"range error: {error}") from None

    async def _data_corruption(self) -> None:
        if "CORRUPT" in self._health.alarms:
            raise CheckFailed("alarm activated: CORRUPT")

    async def _non_learner(self) -> None:
        if self._health.is_learner:
            raise CheckFailed("not supported for learner")


def _names(parameters: Mapping[str, list[str]], key: str) -> list[str]:
    return [name for name in parameters.get(key, []) if name]


def text_response(status: int, text: str) -> HttpResponse:
    """Return a plain text response."""
    return HttpResponse(status, _PLAIN, text.encode())


def method_not_allowed(*allowed: str) -> HttpResponse:
    """Return 405 with the methods that are allowed."""
    headers = (("allow", ", ".join(allowed)), *_PLAIN)
    return HttpResponse(405, headers, b"Method Not Allowed\n")
