"""Images as archives in the Docker Engine API: load, save, import, and commit of a container."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from sampan.engine.api.image_views import json_platforms
from sampan.engine.api.routing import Call, Route, json_response
from sampan.engine.daemon.core.bodies import CONFIG
from sampan.engine.daemon.core.config import fill_config, merge_image
from sampan.engine.daemon.shell.engine import Engine
from sampan.images.core.build.changes import changed_config
from sampan.images.core.reference import parse_reference, tag_name
from sampan.images.shell.authoring import commit_container, import_root
from sampan.images.shell.exchange import load_images, save_images
from sampan.loop.rest import Response

__all__ = ["ImageArchiveRoutes", "import_image"]

_JSON: Final = (("Content-Type", "application/json"),)


class ImageArchiveRoutes:
    """The handlers, each a few lines over the image store."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._images = engine.images

    def routes(self) -> Sequence[Route]:
        """Return the endpoints."""
        return (
            Route("POST", "/images/load", self._load),
            Route("GET", "/images/get", self._save_many),
            Route("GET", "/images/{name...}/get", self._save),
            Route("POST", "/commit", self._commit),
        )

    async def _load(self, call: Call) -> Response:
        machine = self._engine.distribution.machine
        chunks, platforms = call.request.chunks(), json_platforms(call)
        loaded = await load_images(self._images, chunks, machine, platforms)
        named = {entry.index for entry, names in loaded if names}
        body = b""
        for entry, names in loaded:
            for name in names:
                shown = parse_reference(name).familiar
                body += _line({"stream": f"Loaded image: {shown}\n"})
            if not names and not (entry.index and entry.index in named):
                body += _line({"stream": f"Loaded image ID: {entry.id}\n"})
        return Response(200, body, _JSON)

    async def _save(self, call: Call) -> Response:
        return self._archive(call, [call.values["name"]])

    async def _save_many(self, call: Call) -> Response:
        names = call.request.query.get("names") or []
        return self._archive(call, [one for name in names for one in name.split(",")])

    def _archive(self, call: Call, names: Sequence[str]) -> Response:
        platforms = json_platforms(call)
        for name in names:
            for platform in platforms or (None,):
                self._images.find(name, platform)
        kind = (("Content-Type", "application/x-tar"),)
        return Response(200, save_images(self._images, names, platforms), kind)

    async def _commit(self, call: Call) -> Response:
        container = self._engine.find(call.text("container"))
        record = container.record
        changes = changed_config(call.request.query.get("changes") or [])
        given = {**(await call.body(CONFIG) or {}), **changes}
        config, _ = merge_image(fill_config(given), record.config)
        name = _wanted_name(call)
        parent = self._images.find(record.image_id)
        pause = call.flag("pause", True) and record.state.status == "running"
        if pause:
            await self._engine.lifecycle.pause(container)
        try:
            entry = await commit_container(
                self._images,
                record.id,
                parent,
                config,
                name,
                author=call.text("author"),
                comment=call.text("comment"),
                created_by=" ".join([record.path, *record.args]),
            )
            told = {
                "comment": call.text("comment"),
                "imageID": entry.image.id,
                "imageRef": parse_reference(name).familiar if name else "",
            }
            self._engine.publish(container, "commit", told)
        finally:
            if pause:
                await self._engine.lifecycle.unpause(container)
        return json_response({"Id": entry.image.id}, 201)


async def import_image(engine: Engine, call: Call) -> Response:
    """Make an image of a root file system's tar, in the body or at a URL."""
    source, chunks, body = call.text("fromSrc"), call.request.chunks(), b""
    if source != "-":
        source = source if "://" in source else f"http://{source}"
        chunks = engine.distribution.registries.fetch(source)
        body = _line({"status": f"Downloading from {source}"})
    name = _wanted_name(call)
    config = changed_config(call.request.query.get("changes") or [])
    os_name, _, machine = call.text("platform").partition("/")
    platform = (os_name or "linux", machine.partition("/")[0] or engine.architecture)
    message = call.text("message") or f"Imported from {source}"
    entry = await import_root(engine.images, chunks, name, message, config, platform)
    return Response(200, body + _line({"status": entry.image.id}), _JSON)


def _wanted_name(call: Call) -> str | None:
    """Return the full name that `repo` and `tag` ask for, None without them."""
    repository, tag = call.text("repo"), call.text("tag")
    if not repository:
        return None
    return tag_name(f"{repository}:{tag}" if tag else repository)


def _line(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode() + b"\r\n"
