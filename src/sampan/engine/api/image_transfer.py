"""Registries in the Docker Engine API: pull, push, log in, look at, search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sampan.base.errors import InvalidError
from sampan.engine.api.image_archives import import_image
from sampan.engine.api.image_views import json_platform
from sampan.engine.api.jobstream import job_response
from sampan.engine.api.routing import Call, Route, json_response
from sampan.engine.daemon.core.bodies import AUTH
from sampan.engine.daemon.core.filters import parse_filters
from sampan.engine.daemon.shell.engine import Engine
from sampan.images.core.challenge import Credentials, credentials_of, decode_credentials
from sampan.images.core.platform import Platform, parse_platform
from sampan.images.core.reference import Reference, is_digest, parse_reference
from sampan.images.registry.download import Report
from sampan.loop.rest import Response

__all__ = ["ImageTransferRoutes"]

_SEARCH_LIMIT: Final = 100


class ImageTransferRoutes:
    """The handlers, each a few lines over the engine's registries."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._distribution = engine.distribution

    def routes(self) -> Sequence[Route]:
        """Return the endpoints."""
        return (
            Route("POST", "/auth", self._auth),
            Route("POST", "/images/create", self._create),
            Route("POST", "/images/{name...}/push", self._push),
            Route("GET", "/images/search", self._search),
            Route("GET", "/distribution/{name...}/json", self._inspect),
        )

    async def _auth(self, call: Call) -> Response:
        credentials = credentials_of(await call.body(AUTH))
        if not credentials:
            raise InvalidError("username and password, or an identity token, are required")
        token = await self._distribution.registries.login(credentials.server, credentials)
        return json_response({"IdentityToken": token, "Status": "Login Succeeded"})

    async def _create(self, call: Call) -> Response:
        if call.text("fromSrc"):
            return await import_image(self._engine, call)
        if not call.text("fromImage"):
            raise InvalidError("fromImage or fromSrc is required")
        reference, everything = _wanted(call.text("fromImage"), call.text("tag"))
        credentials = _credentials(call)
        platform = self._platform(call)

        async def work(report: Report) -> None:
            pull = self._distribution.pull_all if everything else self._distribution.pull
            await pull(reference, report, platform=platform, credentials=credentials)

        return await job_response(work)

    async def _push(self, call: Call) -> Response:
        reference, _ = _wanted(call.values["name"], call.text("tag"))
        credentials, platform = _credentials(call), json_platform(call)

        async def work(report: Report) -> None:
            await self._distribution.push(
                reference, report, platform=platform, credentials=credentials
            )

        return await job_response(work)

    def _platform(self, call: Call) -> Platform | None:
        text = call.text("platform")
        return parse_platform(text, self._distribution.machine) if text else None

    async def _inspect(self, call: Call) -> Response:
        reference = parse_reference(call.values["name"])
        return json_response(
            await self._distribution.registries.inspect(reference, _credentials(call))
        )

    async def _search(self, call: Call) -> Response:
        term, limit = call.text("term"), call.number("limit") or 25
        if not term:
            raise InvalidError("term is required")
        if not 1 <= limit <= _SEARCH_LIMIT:
            raise InvalidError(f"limit {limit} is outside the range of [1, {_SEARCH_LIMIT}]")
        filters = parse_filters(call.text("filters"))
        filters.check(("is-automated", "is-official", "stars"))
        found: list[dict[str, Any]] = []
        for one in await self._distribution.registries.search(term, limit, _credentials(call)):
            row: dict[str, Any] = {
                "star_count": _number(one.get("star_count")),
                "is_official": one.get("is_official") is True,
                "name": str(one.get("name") or ""),
                "is_automated": one.get("is_automated") is True,
                "description": str(one.get("description") or ""),
            }
            stars = [_number(text) for text in filters.values("stars")]
            flags = [filters.flag("is-official"), filters.flag("is-automated")]
            own = [row["is_official"], row["is_automated"]]
            if all(row["star_count"] >= least for least in stars) and all(
                wanted in (None, is_so) for wanted, is_so in zip(flags, own, strict=True)
            ):
                found.append(row)
        return json_response(found)


def _credentials(call: Call) -> Credentials:
    return decode_credentials(call.request.headers.get("x-registry-auth", ""))


def _wanted(name: str, tag: str) -> tuple[Reference, bool]:
    """Return what is to be pulled, and whether that is all tags."""
    reference = parse_reference(name)
    if tag:
        mark = "@" if is_digest(tag) else ":"
        reference = parse_reference(f"{reference.name}{mark}{tag}")
    return reference, not (reference.tag or reference.digest)


def _number(value: object) -> int:
    try:
        return int(str(value))
    except ValueError:
        return 0
