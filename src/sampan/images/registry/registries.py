"""Registries: where they are, who may ask, what they have. Nothing is stored here."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from sampan.base.errors import InvalidError, SampanError
from sampan.images.core.challenge import Credentials
from sampan.images.core.endpoint import Endpoint, endpoints, registry_host
from sampan.images.core.image import parse_image
from sampan.images.core.manifest import CONFIG_BYTES, Descriptor, Index, parse_manifest
from sampan.images.core.platform import platform_of
from sampan.images.core.reference import Reference, parse_reference
from sampan.images.core.refusal import (
    RegistryError,
    UnauthorizedError,
    pull_refusal,
    refusal,
)
from sampan.images.core.registryoptions import RegistryOptions
from sampan.images.registry.authorization import Authorization
from sampan.images.registry.repository import Repository
from sampan.images.registry.transport import ConnectError, Transport, read_bounded

__all__ = ["NOBODY", "Registries"]

_REMEMBER_S: Final = 60.0
_REMEMBERED: Final = 256

NOBODY: Final = Credentials()
"""Who asks without credentials."""


class Registries:
    """All registries, as the options say to reach them."""

    def __init__(
        self, options: Callable[[], RegistryOptions], certificates: Path, first_wait_s: float
    ) -> None:
        self._options = options
        self._first_wait_s = first_wait_s
        self._transport = Transport(options, certificates)
        self._answering: dict[str, tuple[str, float]] = {}

    def _endpoints(self, reference: Reference, push: bool) -> list[Endpoint]:
        told = self._options()
        found = endpoints(reference, mirrors=told.mirrors, insecure=told.insecure, push=push)
        return [
            one
            for one in found
            if one.mirror
            or one.url.startswith("https:")
            or not self._transport.has_authority(one.host)
        ]

    def _likely_first(self, found: list[Endpoint]) -> list[Endpoint]:
        """Put the way first by which an insecure registry has answered lately."""
        if found[0].mirror or found[0].verify:
            return found
        url, until_s = self._answering.get(found[0].host, ("", 0.0))
        return sorted(found, key=lambda one: one.url != url or until_s < _now_s())

    @contextlib.asynccontextmanager
    async def repository(
        self, reference: Reference, credentials: Credentials, *, push: bool = False
    ) -> AsyncIterator[tuple[Repository, Descriptor | None]]:
        """Give a repository at the first of its addresses that serves it.

        For a reference that has a tag or a digest, with what that stands for unless it is for a
        push. Raises the error of the last address that was tried.
        """
        last: SampanError | None = None
        for endpoint in self._likely_first(self._endpoints(reference, push)):
            # A mirror is a stranger to whoever has an account at the registry itself.
            who = NOBODY if endpoint.mirror else credentials
            found = Repository(
                self._transport,
                endpoint,
                reference.path,
                Authorization(self._transport, endpoint, who),
                push=push,
                back_off_s=self._first_wait_s,
            )
            async with self._transport.session(endpoint):
                try:
                    await found.ping()
                    wanted = None if push else (reference.digest or reference.tag)
                    target = await found.resolve(wanted) if wanted else None
                except ConnectError as error:
                    last = error
                    continue
                except SampanError as error:
                    if not endpoint.mirror:
                        raise
                    last = error
                    continue
                if len(self._answering) > _REMEMBERED:
                    self._answering.clear()
                self._answering[endpoint.host] = endpoint.url, _now_s() + _REMEMBER_S
                yield found, target
                return
        assert last is not None
        raise last

    async def inspect(
        self, reference: Reference, credentials: Credentials = NOBODY
    ) -> dict[str, Any]:
        """Return descriptor and platforms of what a reference stands for, as Docker does."""
        reference = reference.tagged()
        try:
            async with self.repository(reference, credentials) as (repository, target):
                assert target is not None
                raw, media_type = await repository.manifest(target.digest)
                document = parse_manifest(raw, media_type)
                if isinstance(document, Index):
                    platforms = [one.platform for one in document.manifests if one.is_image]
                else:
                    config = await repository.document(document.config, CONFIG_BYTES)
                    platforms = [platform_of(parse_image(config).document)]
        except RegistryError as error:
            raise pull_refusal(error, reference) from error
        descriptor = Descriptor(media_type, target.digest, len(raw))
        return {
            "Descriptor": descriptor.document,
            "Platforms": [one.document for one in platforms if one is not None],
        }

    async def login(self, server: str, credentials: Credentials) -> str:
        """Check credentials with a registry; returns an identity token, empty without one."""
        domain = _domain(server)
        last: SampanError | None = None
        for endpoint in self._endpoints(Reference(domain, "login"), True):
            authorization = Authorization(self._transport, endpoint, credentials)
            url = f"{endpoint.url}/v2/"
            try:
                async with self._transport.session(endpoint):
                    probe = Repository(self._transport, endpoint, "login", authorization)
                    await probe.ping()
                    value = await authorization.header((), offline=True)
                    headers = {"Authorization": value} if value else {}
                    async with self._transport.request(
                        endpoint, "GET", url, headers=headers
                    ) as answer:
                        if answer.status != 200:
                            raise UnauthorizedError(
                                f"login attempt to {url} failed with status: {answer.status} "
                                f"{answer.reason}",
                                401,
                            )
                    return authorization.identity_token
            except ConnectError as error:
                last = error
            except UnauthorizedError as error:
                if str(error).startswith("login attempt"):
                    raise
                raise UnauthorizedError(f'Get "{url}": {error}', 401) from error
        assert last is not None
        raise last

    async def fetch(self, url: str) -> AsyncIterator[bytes]:
        """Yield what is at a URL of http or https."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise InvalidError(f"{url} is not a URL of http or https")
        place = Endpoint(url, parts.netloc)
        async with self._transport.request(place, "GET", url) as answer:
            if answer.status != 200:
                raise refusal(answer.status, answer.reason or "", b"")
            async for piece in answer.content.iter_any():
                yield piece

    async def search(
        self, term: str, limit: int, credentials: Credentials = NOBODY
    ) -> list[Mapping[str, Any]]:
        """Return what a registry finds by its old search call."""
        head, slash, rest = term.partition("/")
        own = slash and ("." in head or ":" in head or head == "localhost")
        domain, words = (head, rest) if own else ("docker.io", term)
        last: SampanError | None = None
        for endpoint in self._endpoints(Reference(domain, "search"), True):
            url = endpoint.url if own else "https://index.docker.io"
            place = endpoint if own else Endpoint(url, urlsplit(url).netloc)
            headers = {"Authorization": credentials.basic} if credentials.username else {}
            params = {"q": words, "n": str(limit)}
            try:
                async with self._transport.request(
                    place, "GET", f"{url}/v1/search", params=params, headers=headers
                ) as answer:
                    body = await read_bounded(answer, 4 << 20)
                    if answer.status != 200:
                        raise refusal(answer.status, f"Unexpected status code {answer.status}", b"")
                    return _results(body)
            except ConnectError as error:
                last = error
        assert last is not None
        raise last


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def _results(body: bytes) -> list[Mapping[str, Any]]:
    try:
        found = json.loads(body)["results"]
        return [one for one in found if isinstance(one, Mapping)]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InvalidError("the registry's answer to a search cannot be read") from None


def _domain(server: str) -> str:
    """Return the domain that a login's server address means."""
    host = server.removeprefix("https://").removeprefix("http://").partition("/")[0]
    if host in ("", "index.docker.io", "registry-1.docker.io", registry_host("docker.io")):
        return "docker.io"
    return parse_reference(f"{host}/login").domain
