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
    reason_of,
)
from sampan.engine.daemon.core.schema import Struct, decode_body
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
_MEDIA_TYPE: Final = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+")
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

    def required_number(self, name: str) -> int:
        """Return a query parameter that has to be a number; InvalidError without it."""
        found = self.number(name)
        if found is None:
            raise InvalidError('strconv.Atoi: parsing "": invalid syntax')
        return found

    async def body(self, kind: Struct, *, empty: bool = True) -> dict[str, Any]:
        """Return the members of the JSON body that were given, checked against their types.

        InvalidError in Docker's words for another content type, for what is no JSON or goes on
        after its end, and for an empty body unless `empty` allows it.
        """
        raw = await self.request.read()
        _check_json(self.request.headers.get("content-type", ""), raw)
        return decode_body(kind, raw, empty=empty)


def _check_json(content_type: str, raw: bytes) -> None:
    if not content_type and not raw:
        return
    kind = content_type.partition(";")[0].strip().lower()
    if not _MEDIA_TYPE.fullmatch(kind):
        raise InvalidError(f"malformed Content-Type header ({content_type}): mime: no media type")
    if kind != "application/json":
        raise InvalidError(
            f"unsupported Content-Type header ({content_type}): must be 'application/json'"
        )


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
        launch = error if isinstance(error, LaunchError) else error.__cause__
        words = ("executable file not found", "no such file or directory", "permission denied")
        wrong = isinstance(launch, LaunchError) and any(word in message for word in words)
        status = 400 if wrong else _status_of_start(launch)
    return json_response({"message": message}, status)


def _status_of_start(cause: BaseException | None) -> int:
    """Return the status of a start that failed before anything was made."""
    kinds = ((NotFoundError, 404), (ConflictError, 409))
    return next((code for kind, code in kinds if isinstance(cause, kind)), 500)


class Router:
    """Finds the handler of a request."""

    def __init__(self, routes: Sequence[Route], headers: Sequence[tuple[str, str]]) -> None:
        self._headers = tuple(headers)
        self._routes: dict[str, list[tuple[re.Pattern[str], Handle]]] = {}
        for route in routes:
            pattern = re.compile(_expression(route.path))
            self._routes.setdefault(route.method, []).append((pattern, route.handle))

    async def __call__(self, request: Request) -> Response | None:
        """Answer one request."""
        try:
            response = await self._dispatch(request)
        except SampanError as error:
            response = failure(error)
        except OSError as error:
            _LOG.warning("%s %s: %s", request.method, request.path, error)
            response = json_response({"message": reason_of(error)}, 500)
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
