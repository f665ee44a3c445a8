"""Building in the Docker Engine API: the classic builder's endpoint, and its cache."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from sampan.base.errors import InvalidError, SampanError, UnsupportedError
from sampan.engine.api.routing import Call, Route, json_response
from sampan.engine.build.context import dockerfile_text, received_context, remote_context
from sampan.engine.build.events import EventStream
from sampan.engine.build.keys import KEYS_HEADER, BuildKeys, build_keys
from sampan.engine.build.service import BuildOrder, BuildService
from sampan.engine.build.transcript import Transcript
from sampan.engine.daemon.shell.engine import Engine
from sampan.images.build.options import BuildContext
from sampan.images.build.repositories import GitAccess
from sampan.images.core.build.cacheoptions import parse_cache_export, parse_cache_import
from sampan.images.core.challenge import decode_registries
from sampan.images.core.platform import parse_platform
from sampan.images.core.reference import parse_reference
from sampan.loop.rest import Response

__all__ = ["BuildRoutes"]

_LOG = logging.getLogger(__name__)
_WAY: Final = "sampan"
"""How `sampan build` wants to hear: `warnings` too, all in `events`, or only to `check`."""

_LIMITS: Final = {
    "memory": "Memory",
    "memswap": "MemorySwap",
    "cpushares": "CpuShares",
    "cpuquota": "CpuQuota",
    "cpuperiod": "CpuPeriod",
    "shmsize": "ShmSize",
}


class BuildRoutes:
    """The handlers."""

    def __init__(self, engine: Engine, service: BuildService) -> None:
        self._engine = engine
        self._service = service

    def routes(self) -> Sequence[Route]:
        """Return the endpoints."""
        return (
            Route("POST", "/build", self._build),
            Route("POST", "/build/prune", self._prune),
            Route("POST", "/build/cancel", self._cancel),
        )

    async def _build(self, call: Call) -> Response:
        if call.text("version") == "2":
            raise UnsupportedError("builds by BuildKit's protocol are not supported yet")
        name, stack = call.text("dockerfile") or "Dockerfile", contextlib.AsyncExitStack()
        try:
            keys = build_keys(call.request.headers.get(KEYS_HEADER, ""))
            context = await stack.enter_async_context(self._context(call, name, keys))
            order = replace(self._order(call, context, name), secrets=keys.secrets, ssh=keys.agents)
        except BaseException:
            await stack.aclose()
            raise
        if call.text(_WAY) == "check":
            return await self._check(order, stack)
        job = _BuildJob(self._service, order, call, stack=stack)
        return Response(200, job, (("Content-Type", "application/json"),))

    def _context(
        self, call: Call, name: str, keys: BuildKeys
    ) -> contextlib.AbstractAsyncContextManager[BuildContext]:
        spool, remote = self._engine.images.spool, call.text("remote")
        if not remote or remote == "client-session":
            return received_context(call.request.chunks(), spool, name)
        access = GitAccess(keys.secrets, keys.agents.get("default"))
        return remote_context(remote, spool, name, access)

    async def _check(self, order: BuildOrder, stack: contextlib.AsyncExitStack) -> Response:
        """Answer with what is wrong with a Dockerfile; nothing is built."""
        async with stack:
            found = await self._service.check(order)
        lines: list[bytes] = []
        events = EventStream(lines.append)
        for one in found:
            events.warning(one)
        return Response(200, b"".join(lines), (("Content-Type", "application/json"),))

    def _order(self, call: Call, context: BuildContext, name: str) -> BuildOrder:
        platform = call.text("platform")
        machine = self._engine.distribution.machine
        return BuildOrder(
            dockerfile=dockerfile_text(context, name),
            file=name,
            context=context,
            arguments=_table(call, "buildargs"),
            labels=_table(call, "labels"),
            tags=tuple(call.request.query.get("t") or ()),
            target=call.text("target"),
            platforms=tuple(parse_platform(one, machine) for one in platform.split(",") if one),
            no_cache=call.flag("nocache"),
            pull=call.flag("pull"),
            network=_network(call.text("networkmode")),
            extra_hosts=tuple(
                host
                for text in call.request.query.get("extrahosts") or ()
                for host in text.split(",")
            ),
            limits=_limits(call),
            cache_from=tuple(map(parse_cache_import, _list(call, "cachefrom"))),
            cache_to=tuple(map(parse_cache_export, _list(call, "cacheto"))),
            credentials=decode_registries(call.request.headers.get("x-registry-config", "")),
        )

    async def _prune(self, call: Call) -> Response:
        deleted, freed = await self._service.prune(everything=call.flag("all"))
        return json_response({"CachesDeleted": deleted, "SpaceReclaimed": freed})

    async def _cancel(self, call: Call) -> Response:
        raise UnsupportedError("a build ends when its client goes; by id is not supported yet")


def _shown(tag: str) -> str:
    return parse_reference(tag).tagged().familiar


def _table(call: Call, name: str) -> Mapping[str, str]:
    """Return a parameter that is a JSON object of texts; null means: the client has no value."""
    text = call.text(name)
    if not text:
        return {}
    try:
        found: Any = json.loads(text)
    except ValueError as error:
        raise InvalidError(f"error reading {name}: {error}") from None
    if not isinstance(found, dict):
        raise InvalidError(f"error reading {name}: an object is required")
    return {str(key): str(value) for key, value in found.items() if value is not None}


def _list(call: Call, name: str) -> list[str]:
    """Return a parameter that is a JSON list of texts."""
    text = call.text(name)
    try:
        found: Any = json.loads(text) if text else []
    except ValueError as error:
        raise InvalidError(f"error reading {name}: {error}") from None
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise InvalidError(f"error reading {name}: a list of texts is required")
    return found


def _network(mode: str) -> str:
    if mode in ("", "default", "bridge"):
        return "default"
    if mode in ("none", "host"):
        return mode
    raise UnsupportedError(f"builds in network {mode} are not supported yet")


def _limits(call: Call) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for name, field in _LIMITS.items():
        number = call.number(name)
        if number:
            found[field] = number
    if call.text("cpusetcpus"):
        found["CpusetCpus"] = call.text("cpusetcpus")
    return found


class _BuildJob:
    """A build in a task, and its transcript as an async iterator; closing it ends the build."""

    def __init__(
        self,
        service: BuildService,
        order: BuildOrder,
        call: Call,
        *,
        stack: contextlib.AsyncExitStack,
    ) -> None:
        self._lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        way, write = call.text(_WAY), self._lines.put_nowait
        self._transcript = Transcript(
            write,
            quiet=call.flag("q"),
            events=EventStream(write) if way else None,
            in_events=way == "events",
        )
        self._stack = stack
        self._task = asyncio.ensure_future(self._run(service, order))

    async def _run(self, service: BuildService, order: BuildOrder) -> None:
        try:
            entry = await service.build(order, self._transcript)
            self._transcript.done(entry, [_shown(tag) for tag in order.tags])
        except SampanError as error:
            self._transcript.failed(error)
        except Exception as error:
            _LOG.exception("a build failed")
            self._transcript.failed(error)
        finally:
            await self._stack.aclose()
            self._lines.put_nowait(None)

    def __aiter__(self) -> _BuildJob:
        return self

    async def __anext__(self) -> bytes:
        line = await self._lines.get()
        if line is None:
            raise StopAsyncIteration
        return line

    async def aclose(self) -> None:
        """End the build, done or not."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
