"""`/images` and `/commit` of the Docker Engine API."""

from __future__ import annotations

import fnmatch
import json
import time
from collections.abc import Sequence
from typing import Any, Final

from sampan.base.errors import InvalidError, NotFoundError, UnsupportedError
from sampan.base.moment import instant
from sampan.engine.api.routing import Call, Route, json_response
from sampan.engine.daemon.core.filters import Filters, parse_filters
from sampan.engine.daemon.core.moment import parse_until
from sampan.engine.daemon.shell.engine import Engine
from sampan.images.core.image import chain_ids
from sampan.images.core.reference import parse_reference, tag_name
from sampan.images.shell.authoring import commit_container, import_root
from sampan.images.shell.exchange import load_images, save_images
from sampan.images.shell.index import Entry
from sampan.images.shell.removal import prune_images, remove_image
from sampan.loop.rest import Response

__all__ = ["ImageRoutes"]

_JSON: Final = (("Content-Type", "application/json"),)
_FILTERS: Final = ("before", "dangling", "label", "reference", "since", "until")


class ImageRoutes:
    """The handlers, each a few lines over the image store."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._images = engine.images

    def routes(self) -> Sequence[Route]:
        """Return the endpoints; longer paths first, for a name may have slashes."""
        return (
            Route("GET", "/images/json", self._list),
            Route("POST", "/images/create", self._create),
            Route("POST", "/images/load", self._load),
            Route("GET", "/images/get", self._save_many),
            Route("POST", "/images/prune", self._prune),
            Route("GET", "/images/{name...}/json", self._inspect),
            Route("GET", "/images/{name...}/history", self._history),
            Route("GET", "/images/{name...}/get", self._save),
            Route("POST", "/images/{name...}/tag", self._tag),
            Route("POST", "/images/{name...}/push", self._push),
            Route("DELETE", "/images/{name...}", self._remove),
            Route("POST", "/commit", self._commit),
        )

    async def _list(self, call: Call) -> Response:
        filters = parse_filters(call.text("filters"))
        filters.check(_FILTERS)
        found = [one for one in self._images.index.entries() if self._meant(one, filters)]
        found.sort(key=lambda one: one.image.created, reverse=True)
        return json_response([self._summary(one) for one in found])

    def _meant(self, entry: Entry, filters: Filters) -> bool:
        dangling = filters.flag("dangling")
        if dangling is not None and dangling == bool(entry.tags):
            return False
        if not filters.labels(entry.image.config.get("Labels") or {}):
            return False
        names = [parse_reference(name).familiar for name in entry.tags]
        patterns = filters.values("reference")
        if patterns and not any(_like(name, one) for name in names for one in patterns):
            return False
        own = instant(entry.image.created)
        if not _before(entry, filters):
            return False
        for text in filters.values("before"):
            if own >= instant(self._images.find(text).image.created):
                return False
        for text in filters.values("since"):
            if own <= instant(self._images.find(text).image.created):
                return False
        return True

    def _summary(self, entry: Entry) -> dict[str, Any]:
        image = entry.image
        return {
            "Id": image.id,
            "ParentId": entry.parent,
            "RepoTags": [parse_reference(name).familiar for name in entry.tags],
            "RepoDigests": [parse_reference(name).familiar for name in entry.digests],
            "Created": int(instant(image.created)),
            "Size": self._images.size(entry),
            "SharedSize": -1,
            "Labels": image.config.get("Labels"),
            "Containers": -1,
        }

    async def _inspect(self, call: Call) -> Response:
        entry = self._images.find(call.values["name"])
        image, document = entry.image, entry.image.document
        return json_response(
            {
                "Id": image.id,
                "RepoTags": [parse_reference(name).familiar for name in entry.tags],
                "RepoDigests": [parse_reference(name).familiar for name in entry.digests],
                "Parent": entry.parent,
                "Comment": document.get("comment", ""),
                "Created": image.created,
                "DockerVersion": document.get("docker_version", ""),
                "Author": document.get("author", ""),
                "Config": dict(image.config),
                "Architecture": document.get("architecture", ""),
                "Variant": document.get("variant", ""),
                "Os": document.get("os", ""),
                "Size": self._images.size(entry),
                "GraphDriver": {"Name": "overlay2", "Data": {}},
                "RootFS": {"Type": "layers", "Layers": list(image.diff_ids)},
                "Metadata": {"LastTagTime": "0001-01-01T00:00:00Z"},
            }
        )

    async def _history(self, call: Call) -> Response:
        entry = self._images.find(call.values["name"])
        sizes = [self._images.snapshots.layer_size(one) for one in chain_ids(entry.image.diff_ids)]
        rows, at = [], 0
        for note in entry.image.document.get("history") or ():
            size = 0
            if not note.get("empty_layer") and at < len(sizes):
                size, at = sizes[at], at + 1
            row = {
                "Id": "<missing>",
                "Created": int(instant(note.get("created") or "")),
                "CreatedBy": note.get("created_by", ""),
                "Tags": None,
                "Size": size,
                "Comment": note.get("comment", ""),
            }
            rows.append(row)
        if rows:
            tags = [parse_reference(name).familiar for name in entry.tags]
            rows[-1] |= {"Id": entry.image.id, "Tags": tags or None}
        return json_response(rows[::-1])

    async def _create(self, call: Call) -> Response:
        source = call.text("fromSrc")
        if source == "-":
            return await self._import(call)
        if source:
            raise UnsupportedError("importing from a URL is not supported yet")
        if not call.text("fromImage"):
            raise InvalidError("fromImage or fromSrc is required")
        raise UnsupportedError(
            f"pulling {call.text('fromImage')} is not supported yet: load or import an archive"
        )

    async def _import(self, call: Call) -> Response:
        name = _wanted_name(call)
        config = _changes(call.request.query.get("changes") or [])
        os_name, _, machine = call.text("platform").partition("/")
        platform = (os_name or "linux", machine.partition("/")[0] or self._engine.architecture)
        entry = await import_root(
            self._images, call.request.chunks(), name, call.text("message"), config, platform
        )
        return Response(200, _line({"status": entry.image.id}), _JSON)

    async def _load(self, call: Call) -> Response:
        loaded = await load_images(self._images, call.request.chunks())
        body = b""
        for entry, names in loaded:
            for name in names:
                shown = parse_reference(name).familiar
                body += _line({"stream": f"Loaded image: {shown}\n"})
            if not names:
                body += _line({"stream": f"Loaded image ID: {entry.image.id}\n"})
        return Response(200, body, _JSON)

    async def _save(self, call: Call) -> Response:
        return self._archive([call.values["name"]])

    async def _save_many(self, call: Call) -> Response:
        names = call.request.query.get("names") or []
        return self._archive([one for name in names for one in name.split(",")])

    def _archive(self, names: Sequence[str]) -> Response:
        for name in names:
            self._images.find(name)
        kind = (("Content-Type", "application/x-tar"),)
        return Response(200, save_images(self._images, names), kind)

    async def _tag(self, call: Call) -> Response:
        await self._images.tag(call.values["name"], call.text("repo"), call.text("tag"))
        return Response(201)

    async def _push(self, call: Call) -> Response:
        name = call.values["name"]
        if not any(name in one for one in self._images.find(name).tags):
            raise NotFoundError(f"An image does not exist locally with the tag: {name}")
        raise UnsupportedError("pushing images is not supported yet: save an archive")

    async def _remove(self, call: Call) -> Response:
        gone = await remove_image(
            self._images, call.values["name"], self._engine.image_users, force=call.flag("force")
        )
        return json_response(gone)

    async def _prune(self, call: Call) -> Response:
        filters = parse_filters(call.text("filters"))
        filters.check(("dangling", "label", "label!", "until"))
        everything = filters.flag("dangling") is False

        def chosen(entry: Entry) -> bool:
            labels = entry.image.config.get("Labels") or {}
            unlike = not filters.has("label!") or not filters.labels(labels, "label!")
            chosen = (everything or not entry.tags) and filters.labels(labels) and unlike
            return chosen and _before(entry, filters)

        gone, freed = await prune_images(self._images, chosen, self._engine.image_users)
        return json_response({"ImagesDeleted": gone or None, "SpaceReclaimed": freed})

    async def _commit(self, call: Call) -> Response:
        container = self._engine.find(call.text("container"))
        record = container.record
        config = {**record.config, **await call.body()}
        config |= _changes(call.request.query.get("changes") or [])
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
        finally:
            if pause:
                await self._engine.lifecycle.unpause(container)
        return json_response({"Id": entry.image.id}, 201)


def _wanted_name(call: Call) -> str | None:
    """Return the full name that `repo` and `tag` ask for, None without them."""
    repository, tag = call.text("repo"), call.text("tag")
    if not repository:
        return None
    return tag_name(f"{repository}:{tag}" if tag else repository)


def _before(entry: Entry, filters: Filters) -> bool:
    """Tell whether an image was made before the filter `until`, if that is given."""
    moments = [parse_until(text, time.time()) for text in filters.values("until")]
    return all(instant(entry.image.created) < moment for moment in moments)


def _like(name: str, pattern: str) -> bool:
    """Tell whether a reference filter means a name, with or without its tag."""
    bare = name.rpartition(":")[0]
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(bare, pattern)


def _changes(lines: Sequence[str]) -> dict[str, Any]:
    """Return the configuration that `--change` lines of a Dockerfile's words make."""
    config: dict[str, Any] = {}
    for line in lines:
        word, _, rest = line.strip().partition(" ")
        rest = rest.strip()
        match word.upper():
            case "CMD" | "ENTRYPOINT":
                name = "Cmd" if word.upper() == "CMD" else "Entrypoint"
                config[name] = _command(rest)
            case "ENV" | "LABEL":
                key, _, value = rest.replace(" ", "=", 1).partition("=")
                value = value.strip("\"'")
                if word.upper() == "ENV":
                    config.setdefault("Env", []).append(f"{key}={value}")
                else:
                    config.setdefault("Labels", {})[key] = value
            case "WORKDIR":
                config["WorkingDir"] = rest
            case "USER":
                config["User"] = rest
            case "EXPOSE":
                port = rest if "/" in rest else f"{rest}/tcp"
                config.setdefault("ExposedPorts", {})[port] = {}
            case "VOLUME":
                config.setdefault("Volumes", {})[rest] = {}
            case "STOPSIGNAL":
                config["StopSignal"] = rest
            case _:
                raise InvalidError(f"{word} is not a valid change command")
    return config


def _command(text: str) -> list[str]:
    if text.startswith("["):
        try:
            words = json.loads(text)
        except ValueError:
            words = None
        if isinstance(words, list) and all(isinstance(word, str) for word in words):
            return words
    return ["/bin/sh", "-c", text]


def _line(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode() + b"\r\n"
