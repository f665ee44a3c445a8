"""One repository of a registry at one of its addresses: the calls of the protocol.

Source: OCI distribution specification 1.1.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin, urlsplit

from sampan.base.errors import DeniedError, InvalidError, LimitError
from sampan.images.core.challenge import parse_challenges, pull_scope
from sampan.images.core.digest import digest_of, verify
from sampan.images.core.endpoint import Endpoint
from sampan.images.core.manifest import (
    ACCEPTED,
    MANIFEST_BYTES,
    OCI_INDEX,
    Descriptor,
    Index,
    parse_manifest,
)
from sampan.images.core.reference import is_digest
from sampan.images.core.refusal import (
    BusyError,
    ForbiddenError,
    MissingError,
    UnauthorizedError,
    refusal,
)
from sampan.images.registry.authorization import Authorization
from sampan.images.registry.transport import ConnectError, Transport, read_bounded

if TYPE_CHECKING:
    import aiohttp

__all__ = ["Repository", "back_off_s"]

_ACCEPT: Final = ", ".join(ACCEPTED)
_ATTEMPTS: Final = 3
_LONGEST_WAIT_S: Final = 30.0
_PAGES: Final = 1000
_TAGS: Final = 100_000


class Repository:
    """A repository; `push` asks for tokens that allow to push, too."""

    def __init__(
        self,
        transport: Transport,
        endpoint: Endpoint,
        path: str,
        authorization: Authorization,
        *,
        push: bool = False,
        back_off_s: float = 1.0,
    ) -> None:
        self._transport = transport
        self._authorization = authorization
        self._scopes = [pull_scope(path, *(("pull", "push") if push else ()))]
        self._back_off_s = back_off_s
        self.endpoint = endpoint
        self.path = path
        self.base = f"{endpoint.url}/v2/{path}"

    def session(self) -> contextlib.AbstractAsyncContextManager[object]:
        """Keep connections open between calls."""
        return self._transport.session(self.endpoint)

    @contextlib.asynccontextmanager
    async def call(
        self,
        method: str,
        url: str,
        expected: Sequence[int],
        *,
        body: Callable[[], AsyncIterator[bytes]] | None = None,
        also: Sequence[str] = (),
        **more: Any,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send one request and give its answer; RegistryError for a status that is not expected.

        A request that is refused for want of a token is sent again with one: `body` makes what it
        carries anew. `also` has scopes that are needed beside the usual ones.
        """
        scopes = (*self._scopes, *also)
        headers: dict[str, str] = dict(more.pop("headers", {}))
        for attempt in (1, 2):
            async with contextlib.AsyncExitStack() as stack:
                try:
                    value = await self._authorization.header(scopes)
                except DeniedError as error:
                    if "no basic auth" in str(error):
                        raise DeniedError(f'{method.capitalize()} "{url}": {error}') from None
                    raise
                if value is not None and urlsplit(url).netloc == urlsplit(self.base).netloc:
                    headers["Authorization"] = value
                if body is not None:
                    more["data"] = body()
                response = await stack.enter_async_context(
                    self._transport.request(self.endpoint, method, url, headers=headers, **more)
                )
                if response.status in expected:
                    yield response
                    return
                if response.status == 401 and attempt == 1:
                    asked = parse_challenges(response.headers.getall("WWW-Authenticate", []))
                    tried_basic = value is not None and value.startswith("Basic ")
                    if asked and not tried_basic:
                        self._authorization.challenge(asked, scopes)
                        continue
                said = await read_bounded(response) if method != "HEAD" else b""
                after = response.headers.get("Retry-After", "")
                raise refusal(response.status, response.reason or "", said, after)

    async def ping(self) -> None:
        """Find out whether somebody is there, and what the registry asks for."""
        url = f"{self.endpoint.url}/v2/"
        async with self._transport.request(self.endpoint, "GET", url) as response:
            if response.status == 401:
                asked = parse_challenges(response.headers.getall("WWW-Authenticate", []))
                self._authorization.challenge(asked)
            elif response.status >= 300:
                body = await read_bounded(response)
                raise refusal(response.status, response.reason or "", body)

    async def _whole(
        self, method: str, url: str, limit_bytes: int, expected: Sequence[int] = (200,), **more: Any
    ) -> tuple[bytes, Mapping[str, str]]:
        """Return body and headers of a request that is tried again while the registry is busy."""
        for attempt in range(_ATTEMPTS):
            try:
                async with self.call(method, url, expected, **more) as response:
                    body = b"" if method == "HEAD" else await read_bounded(response, limit_bytes)
                    return body, response.headers
            except (ConnectError, BusyError) as error:
                wait_s = getattr(error, "retry_after_s", None)
                tired = attempt + 1 == _ATTEMPTS or (wait_s or 0) > _LONGEST_WAIT_S
                if tired or (isinstance(error, BusyError) and error.status == 429 and not wait_s):
                    raise
                await asyncio.sleep(wait_s or back_off_s(attempt, self._back_off_s))
        raise AssertionError

    async def resolve(self, reference: str) -> Descriptor:
        """Return what a tag or a digest stands for; RegistryError without it."""
        url = f"{self.base}/manifests/{reference}"
        headers = {"Accept": _ACCEPT}
        try:
            _, found = await self._whole("HEAD", url, 0, headers=headers)
        except (ForbiddenError, MissingError, UnauthorizedError):
            found = {}
        digest = found.get("Docker-Content-Digest", "")
        if not is_digest(digest) or (is_digest(reference) and digest != reference):
            # Without a body there are no words, and some do not tell the digest.
            raw, media_type = await self.manifest(reference)
            digest = reference if is_digest(reference) else digest_of(raw)
            return Descriptor(media_type, digest, len(raw))
        size = found.get("Content-Length", "0")
        media_type = found.get("Content-Type", "").partition(";")[0].strip()
        return Descriptor(media_type, digest, int(size) if size.isdigit() else 0)

    async def manifest(self, reference: str) -> tuple[bytes, str]:
        """Return a manifest or an index by tag or digest, verified, and its media type."""
        url = f"{self.base}/manifests/{reference}"
        raw, headers = await self._whole("GET", url, MANIFEST_BYTES, headers={"Accept": _ACCEPT})
        if is_digest(reference):
            verify(raw, reference)
        return raw, parse_manifest(raw, headers.get("Content-Type", "")).media_type

    async def document(self, descriptor: Descriptor, limit_bytes: int) -> bytes:
        """Return a small blob, verified."""
        if descriptor.size_bytes > limit_bytes:
            raise LimitError(f"blob {descriptor.digest} is larger than {limit_bytes} bytes")
        url = f"{self.base}/blobs/{descriptor.digest}"
        raw, _ = await self._whole("GET", url, limit_bytes)
        return verify(raw, descriptor.digest)

    @contextlib.asynccontextmanager
    async def blob(
        self, digest: str, offset: int = 0
    ) -> AsyncIterator[tuple[int, aiohttp.ClientResponse]]:
        """Give where the answer's body begins in the blob, and the answer.

        That is 0 when the registry cannot begin elsewhere.
        """
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        url = f"{self.base}/blobs/{digest}"
        async with self.call("GET", url, (200, 206), headers=headers) as response:
            begins = 0
            if response.status == 206:
                told = response.headers.get("Content-Range", "")
                if not told.startswith(f"bytes {offset}-"):
                    raise InvalidError(f"the registry answers {told!r} for bytes {offset}-")
                begins = offset
            yield begins, response

    async def has(self, digest: str) -> bool:
        """Tell whether a blob is there."""
        try:
            await self._whole("HEAD", f"{self.base}/blobs/{digest}", 0)
        except MissingError:
            return False
        return True

    async def put_manifest(self, name: str, raw: bytes, media_type: str) -> None:
        """Let a tag or a digest stand for a manifest whose blobs are there."""
        url, headers = f"{self.base}/manifests/{name}", {"Content-Type": media_type}
        _, answer = await self._whole(
            "PUT", url, MANIFEST_BYTES, (200, 201), headers=headers, data=raw
        )
        told = answer.get("Docker-Content-Digest", "")
        if is_digest(told):
            verify(raw, told)

    async def tags(self) -> list[str]:
        """Return all tags of the repository."""
        found: list[str] = []
        url = f"{self.base}/tags/list"
        for _ in range(_PAGES):
            body, headers = await self._whole("GET", url, MANIFEST_BYTES)
            names = _json(body).get("tags") or []
            found += [name for name in names if isinstance(name, str)]
            link = headers.get("Link", "")
            if 'rel="next"' not in link or len(found) > _TAGS:
                break
            following = urljoin(url, link.partition("<")[2].partition(">")[0])
            if urlsplit(following)[:2] != urlsplit(url)[:2] or following == url:
                break
            url = following
        return found

    async def referrers(self, digest: str, artifact_type: str = "") -> list[Descriptor]:
        """Return what refers to a manifest: signatures, attestations, bills of material.

        A registry that does not know the call is asked for the index that stands in for it.
        """
        url = f"{self.base}/referrers/{digest}"
        params = {"artifactType": artifact_type} if artifact_type else {}
        try:
            raw, _ = await self._whole("GET", url, MANIFEST_BYTES, params=params)
        except MissingError:
            try:
                raw, _ = await self.manifest(digest.replace(":", "-", 1))
            except MissingError:
                return []
        found = parse_manifest(raw, OCI_INDEX)
        if not isinstance(found, Index):
            raise InvalidError(f"the referrers of {digest} are not an index")
        wanted = artifact_type or None
        return [one for one in found.manifests if wanted in (None, one.artifact_type)]


def back_off_s(attempt: int, first_s: float) -> float:
    """Return how long to wait after the failure of an attempt, counted from 0."""
    wait_s: float = min(first_s * 2.0**attempt, _LONGEST_WAIT_S)
    return wait_s * (0.75 + random.random() / 2)


def _json(body: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, Mapping):
        raise InvalidError("the registry's answer is not a JSON object")
    return found
