"""The distribution API: one handler a kind of path and method.

Source: OCI distribution specification 1.1, "Endpoints"; the catalog is Docker's.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Final
from urllib.parse import urlencode

from sampan.base.errors import LimitError
from sampan.images.core.hosting.errors import HostingError, blob_unknown
from sampan.images.core.hosting.routes import Target, is_name, parse_path, parse_range
from sampan.images.core.reference import is_digest
from sampan.images.hosting.gate import Gate, UnauthorizedError
from sampan.images.hosting.repositories import Repositories
from sampan.images.hosting.uploads import Upload, Uploads
from sampan.images.shell.thread import in_thread
from sampan.loop.rest import Request, Response

__all__ = ["ENDPOINTS", "RegistryService"]

_LOG = logging.getLogger(__name__)
_VERSION: Final = ("Docker-Distribution-Api-Version", "registry/2.0")
_MANIFEST_BYTES: Final = 4 << 20
_CHUNK_BYTES: Final = 1 << 20
_PAGE_LIMIT: Final = 1_000

Handler = Callable[["RegistryService", Request, Target], Awaitable[Response]]


class RegistryService:
    """Answers the requests of one registry."""

    def __init__(self, repositories: Repositories, gate: Gate) -> None:
        self._repositories = repositories
        self._content = repositories.content
        self._uploads = Uploads(repositories.content)
        self._gate = gate

    async def __call__(self, request: Request) -> Response:
        """Answer a request; what goes wrong is told in the specification's form."""
        try:
            return await self._answer(request)
        except UnauthorizedError as error:
            detail = str(error.scope) if error.scope else None
            body = HostingError("UNAUTHORIZED", str(error), detail).body
            return _json(body, 401, ("WWW-Authenticate", error.challenge))
        except HostingError as error:
            return _json(error.body, error.status)
        except LimitError as error:
            return _json(HostingError("SIZE_INVALID", str(error)).body, 413)

    async def _answer(self, request: Request) -> Response:
        target = parse_path(request.path)
        if target is None:
            raise HostingError("UNSUPPORTED", "no such endpoint", status=404)
        if target.kind == "token":
            return await self._gate.token(request)
        method = "GET" if request.method == "HEAD" else request.method
        handler = ENDPOINTS.get((target.kind, method))
        if handler is None:
            raise HostingError("UNSUPPORTED", f"{request.method} is not supported here")
        await self._gate.check(request, target)
        return await handler(self, request, target)

    async def _base(self, request: Request, target: Target) -> Response:
        return _json(b"{}")

    async def _catalog(self, request: Request, target: Target) -> Response:
        names = await in_thread(self._repositories.names)
        page, more = _page(request, names)
        return _listed(request, {"repositories": page}, page, more)

    async def _tags(self, request: Request, target: Target) -> Response:
        self._repositories.check(target.name)
        page, more = _page(request, await in_thread(self._repositories.tags, target.name))
        return _listed(request, {"name": target.name, "tags": page}, page, more)

    # Blobs.

    async def _get_blob(self, request: Request, target: Target) -> Response:
        digest = target.reference
        if not self._repositories.has_blob(target.name, digest):
            raise blob_unknown(digest)
        size = self._content.size(digest)
        headers = [
            _VERSION,
            ("Content-Type", "application/octet-stream"),
            ("Docker-Content-Digest", digest),
            ("Accept-Ranges", "bytes"),
            ("ETag", f'"{digest}"'),
        ]
        found = parse_range(request.headers.get("range", ""), size)
        start, end = found or (0, size)
        headers.append(("Content-Length", str(end - start)))
        if found is not None:
            headers.append(("Content-Range", f"bytes {start}-{end - 1}/{size}"))
        status = 200 if found is None else 206
        return Response(status, self._pieces(digest, start, end), tuple(headers))

    async def _pieces(self, digest: str, start: int, end: int) -> AsyncIterator[bytes]:
        with self._content.open(digest) as file:
            file.seek(start)
            while start < end:
                data = await in_thread(file.read, min(_CHUNK_BYTES, end - start))
                if not data:
                    raise ConnectionResetError("the blob is shorter than it was")
                start += len(data)
                yield data

    async def _delete_blob(self, request: Request, target: Target) -> Response:
        self._repositories.drop_blob(target.name, target.reference)
        return Response(202, b"", (_VERSION, ("Content-Length", "0")))

    # Uploads.

    async def _begin_upload(self, request: Request, target: Target) -> Response:
        digest, origin = request.first("mount"), request.first("from")
        if digest and await self._mounted(request, target.name, digest, origin):
            return self._created(target.name, digest)
        upload = self._uploads.begin(target.name)
        digest = request.first("digest")
        if digest:
            return await self._finish(request, upload, digest)
        return self._under_way(upload, 202)

    async def _mounted(self, request: Request, name: str, digest: str, origin: str) -> bool:
        """Take a blob over from a repository that the client may read; False where it cannot."""
        if not is_digest(digest) or not is_name(origin):
            return False
        try:
            await self._gate.check_pull(request, origin)
        except (HostingError, UnauthorizedError):
            return False
        if not self._repositories.has_blob(origin, digest):
            return False
        self._repositories.link_blob(name, digest)
        return True

    def _under_way(self, upload: Upload, status: int) -> Response:
        last = max(0, upload.size_bytes - 1)
        headers = (
            _VERSION,
            ("Location", f"/v2/{upload.name}/blobs/uploads/{upload.id}"),
            ("Range", f"0-{last}"),
            ("Docker-Upload-UUID", upload.id),
            ("Content-Length", "0"),
        )
        return Response(status, b"", headers if status != 204 else headers[:-1])

    def _created(self, name: str, digest: str) -> Response:
        headers = (
            _VERSION,
            ("Location", f"/v2/{name}/blobs/{digest}"),
            ("Docker-Content-Digest", digest),
            ("Content-Length", "0"),
        )
        return Response(201, b"", headers)

    async def _upload_status(self, request: Request, target: Target) -> Response:
        return self._under_way(self._uploads.find(target.name, target.reference), 204)

    async def _append(self, request: Request, target: Target) -> Response:
        upload = self._uploads.find(target.name, target.reference)
        async with upload.lock:
            _check_order(request, upload)
            await self._uploads.append(upload, request.chunks())
            return self._under_way(upload, 202)

    async def _finish_upload(self, request: Request, target: Target) -> Response:
        upload = self._uploads.find(target.name, target.reference)
        digest = request.first("digest")
        if not digest:
            raise HostingError("DIGEST_INVALID", "the digest is missing: ?digest=")
        return await self._finish(request, upload, digest)

    async def _finish(self, request: Request, upload: Upload, digest: str) -> Response:
        async with upload.lock:
            _check_order(request, upload)
            await self._uploads.append(upload, request.chunks())
            with self._content.operation():
                self._content.use([digest])
                await self._uploads.finish(upload, digest)
                self._repositories.link_blob(upload.name, digest)
        return self._created(upload.name, digest)

    async def _cancel_upload(self, request: Request, target: Target) -> Response:
        self._uploads.cancel(self._uploads.find(target.name, target.reference))
        return Response(204, b"", (_VERSION,))

    # Manifests.

    async def _get_manifest(self, request: Request, target: Target) -> Response:
        stored = await in_thread(self._repositories.manifest, target.name, target.reference)
        headers = (
            _VERSION,
            ("Content-Type", stored.media_type),
            ("Docker-Content-Digest", stored.digest),
            ("ETag", f'"{stored.digest}"'),
        )
        if request.headers.get("if-none-match", "") == f'"{stored.digest}"':
            return Response(304, b"", headers)
        return Response(200, stored.raw, headers)

    async def _put_manifest(self, request: Request, target: Target) -> Response:
        raw = await request.read(_MANIFEST_BYTES)
        kind = request.headers.get("content-type", "").partition(";")[0].strip()
        with self._content.operation():
            stored = await in_thread(
                self._repositories.put_manifest, target.name, target.reference, kind, raw
            )
        headers = [
            _VERSION,
            ("Location", f"/v2/{target.name}/manifests/{target.reference}"),
            ("Docker-Content-Digest", stored.digest),
            ("Content-Length", "0"),
        ]
        subject = (json.loads(raw).get("subject") or {}).get("digest")
        if subject:
            headers.append(("OCI-Subject", subject))
        return Response(201, b"", tuple(headers))

    async def _delete_manifest(self, request: Request, target: Target) -> Response:
        await in_thread(self._repositories.drop_manifest, target.name, target.reference)
        return Response(202, b"", (_VERSION, ("Content-Length", "0")))

    async def _referrers(self, request: Request, target: Target) -> Response:
        found = await in_thread(self._repositories.referrers, target.name, target.reference)
        wanted = request.first("artifactType")
        headers = [_VERSION, ("Content-Type", "application/vnd.oci.image.index.v1+json")]
        if wanted:
            found = [one for one in found if one.get("artifactType") == wanted]
            headers.append(("OCI-Filters-Applied", "artifactType"))
        index = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": found,
        }
        return Response(200, json.dumps(index).encode(), tuple(headers))


ENDPOINTS: Final[Mapping[tuple[str, str], Handler]] = {
    ("base", "GET"): RegistryService._base,
    ("catalog", "GET"): RegistryService._catalog,
    ("tags", "GET"): RegistryService._tags,
    ("blob", "GET"): RegistryService._get_blob,
    ("blob", "DELETE"): RegistryService._delete_blob,
    ("manifest", "GET"): RegistryService._get_manifest,
    ("manifest", "PUT"): RegistryService._put_manifest,
    ("manifest", "DELETE"): RegistryService._delete_manifest,
    ("uploads", "POST"): RegistryService._begin_upload,
    ("upload", "GET"): RegistryService._upload_status,
    ("upload", "PATCH"): RegistryService._append,
    ("upload", "PUT"): RegistryService._finish_upload,
    ("upload", "DELETE"): RegistryService._cancel_upload,
    ("referrers", "GET"): RegistryService._referrers,
}
"""The handlers by kind of path and method; HEAD is answered as GET."""


def _check_order(request: Request, upload: Upload) -> None:
    """Refuse a chunk that does not begin where the last one has ended."""
    told = request.headers.get("content-range", "")
    if not told:
        return
    start, dash, end = told.removeprefix("bytes ").partition("/")[0].partition("-")
    if not dash or not start.isdigit() or not end.isdigit():
        raise HostingError("BLOB_UPLOAD_INVALID", f"invalid Content-Range {told!r}")
    length = request.headers.get("content-length", "")
    wrong_length = length.isdigit() and int(length) != int(end) - int(start) + 1
    if int(start) != upload.size_bytes or wrong_length:
        detail = {"range": f"0-{max(0, upload.size_bytes - 1)}"}
        raise HostingError("BLOB_UPLOAD_INVALID", "chunk out of order", detail, status=416)


def _page(request: Request, names: Sequence[str]) -> tuple[list[str], bool]:
    """Return what comes after `last`, `n` at the most, and whether there is more."""
    last, text = request.first("last"), request.first("n")
    found = [name for name in names if name > last] if last else list(names)
    if not text:
        return found[:_PAGE_LIMIT], len(found) > _PAGE_LIMIT
    if not text.isdigit():
        raise HostingError("UNSUPPORTED", "n must be a number of at least 0", status=400)
    count = min(int(text), _PAGE_LIMIT)
    return found[:count], count > 0 and len(found) > count


def _listed(
    request: Request, document: Mapping[str, object], page: Sequence[str], more: bool
) -> Response:
    headers: list[tuple[str, str]] = []
    if more:
        query = urlencode({"last": page[-1], "n": len(page)})
        headers.append(("Link", f'<{request.path}?{query}>; rel="next"'))
    return _json(json.dumps(document).encode(), 200, *headers)


def _json(body: bytes, status: int = 200, *headers: tuple[str, str]) -> Response:
    return Response(status, body, (_VERSION, ("Content-Type", "application/json"), *headers))
