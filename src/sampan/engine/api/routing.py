"""From a path and a method to a handler, with API versions and errors as Docker has them."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sampan.base.errors import (
    ConflictError,
    DeniedError,
    InvalidError,
    LimitError,
    NotFoundError,
    SampanError,
    UnavailableError,
    UnsupportedError,
)
from sampan.engine.daemon.shell.lifecycle import StartError
from sampan.engine.runtime.shell.launch import LaunchError
from sampan.images.core.refusal import UnauthorizedError
from sampan.loop.rest import Request, Response

__all__ = [
    "API_VERSION",
    "MINIMUM_VERSION",
    "Call",
    "Route",
    "Router",
    "boolean",
    "failure",
    "json_response",
]

_LOG = logging.getLogger(__name__)
API_VERSION: Final = "1.50"
MINIMUM_VERSION: Final = "1.40"
_VERSION: Final = re.compile(r"/v(\d+)\.(\d+)(/.*)")
_STATUS: Final = (
    (InvalidError, 400),
    (UnauthorizedError, 401),
    (DeniedError, 403),
    (NotFoundError, 404),
    (ConflictError, 409),
    (UnavailableError, 503),
    (UnsupportedError, 501),
    (LimitError, 500),
)


@dataclass(frozen=True, slots=True)
class Call:
    """One request on its way to a handler: the values in its path, the version it speaks."""

    request: Request
    values: Mapping[str, str]
    version: tuple[int, int]

    def text(self, name: str, default: str = "") -> str:
        """Return a query parameter."""
        return self.request.first(name, default)

    def flag(self, name: str, default: bool = False) -> bool:
        """Return a query parameter that is a truth value; empty words mean false."""
        found = self.request.query.get(name)
        return boolean(found[0]) if found else default

    def number(self, name: str) -> int | None:
        """Return a query parameter that is a number, None without it."""
        text = self.text(name)
        if not text:
            return None
        try:
            return int(text)
        except ValueError:
            raise InvalidError(f'strconv.Atoi: parsing "{text}": invalid syntax') from None

    async def body(self) -> dict[str, Any]:
        """Return the decoded JSON object of the body, empty without a body."""
        raw = await self.request.read()
        if not raw.strip():
            return {}
        try:
            document = json.loads(raw)
        except ValueError as error:
            raise InvalidError(f"invalid JSON: {error}") from None
        if document is None:
            return {}
        if not isinstance(document, dict):
            raise InvalidError("invalid JSON: expected an object")
        return document


Handle = Callable[[Call], Awaitable[Response | None]]


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint; `{name}` takes one part of the path, `{name...}` as many as there are."""

    method: str
    path: str
    handle: Handle


def boolean(text: str) -> bool:
    """Tell whether a word means yes, as Docker's API reads them."""
    return text.strip().lower() not in ("", "0", "no", "false", "none")


def json_response(document: Any, status: int = 200) -> Response:
    """Return a document as JSON."""
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    return Response(status, body, (("Content-Type", "application/json"),))


def failure(error: Exception) -> Response:
    """Return the answer for an error: its kind decides the status."""
    message = str(error)
    status = next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
    if isinstance(error, StartError | LaunchError):
        words = ("executable file not found", "no such file or directory", "permission denied")
        status = 400 if any(word in message for word in words) else 500
    return json_response({"message": message}, status)


class Router:
    """Finds the handler of a request."""

    def __init__(self, routes: Sequence[Route], headers: Sequence[tuple[str, str]]) -> None:
        self._headers = tuple(headers)
        self._routes: dict[str, list[tuple[re.Pattern[str], Handle]]] = {}
        self._paths: list[re.Pattern[str]] = []
        for route in routes:
            pattern = re.compile(_expression(route.path))
            self._routes.setdefault(route.method, []).append((pattern, route.handle))
            self._paths.append(pattern)

    async def __call__(self, request: Request) -> Response | None:
        """Answer one request."""
        try:
            response = await self._dispatch(request)
        except SampanError as error:
            response = failure(error)
        except Exception as error:
            _LOG.exception("%s %s failed", request.method, request.path)
            response = json_response({"message": f"internal error: {error}"}, 500)
        if response is None:
            return None
        return Response(response.status, response.body, (*response.headers, *self._headers))

    async def _dispatch(self, request: Request) -> Response | None:
        path, version = request.path, _numbers(API_VERSION)
        found = _VERSION.fullmatch(path)
        if found is not None:
            version, path = (int(found[1]), int(found[2])), found[3]
            _check_version(version)
        for pattern, handle in self._routes.get(request.method, ()):
            match = pattern.fullmatch(path)
            if match is not None:
                return await handle(Call(request, match.groupdict(), version))
        if any(pattern.fullmatch(path) for pattern in self._paths):
            return json_response({"message": "method not allowed"}, 405)
        return json_response({"message": "page not found"}, 404)


def _numbers(version: str) -> tuple[int, int]:
    major, _, minor = version.partition(".")
    return int(major), int(minor)


def _check_version(version: tuple[int, int]) -> None:
    shown = f"{version[0]}.{version[1]}"
    if version < _numbers(MINIMUM_VERSION):
        raise InvalidError(
            f"client version {shown} is too old. Minimum supported API version is "
            f"{MINIMUM_VERSION}, please upgrade your client to a newer version"
        )
    if version > _numbers(API_VERSION):
        raise InvalidError(
            f"client version {shown} is too new. Maximum supported API version is {API_VERSION}"
        )


def _expression(path: str) -> str:
    pattern = re.sub(r"\{(\w+)\.\.\.\}", r"(?P<\1>.+)", path)
    return re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern)
