"""Images from registries into a store and back."""

from __future__ import annotations

import dataclasses
import platform as machine_facts
from collections.abc import Callable
from pathlib import Path

from sampan.base.errors import InvalidError, NotFoundError
from sampan.images.core.challenge import Credentials
from sampan.images.core.platform import Platform, machine_platform
from sampan.images.core.progress import Progress
from sampan.images.core.reference import Reference, parse_reference
from sampan.images.core.refusal import RegistryError, pull_refusal
from sampan.images.core.registryoptions import RegistryOptions
from sampan.images.registry.buildcache import BuildCaches
from sampan.images.registry.download import Downloads, Report
from sampan.images.registry.options import certificates_folder
from sampan.images.registry.pull import Pull, Pulled
from sampan.images.registry.push import Pushes
from sampan.images.registry.registries import NOBODY, Registries
from sampan.images.shell.store import ImageStore

__all__ = ["Distribution"]


class Distribution:
    """Pulls and pushes for one image store.

    `options` returns what holds at the moment; `first_wait_s` is how long the first retry waits.
    """

    def __init__(
        self,
        store: ImageStore,
        options: Callable[[], RegistryOptions] = RegistryOptions,
        *,
        certificates: Path | None = None,
        first_wait_s: float = 1.0,
    ) -> None:
        self._store = store
        self.registries = Registries(options, certificates or certificates_folder(), first_wait_s)
        self._downloads = Downloads(store.content, options, first_wait_s)
        self._pushes = Pushes(store, options, first_wait_s)
        self.build_caches = BuildCaches(store, self.registries, self._downloads, self._pushes)
        self.machine = machine_platform(machine_facts.machine())

    # Pulling.

    async def pull(
        self,
        reference: Reference,
        report: Report,
        *,
        platform: Platform | None = None,
        credentials: Credentials = NOBODY,
    ) -> Pulled:
        """Pull what a reference stands for, `latest` without tag and digest.

        News goes to `report`. Raises NotFoundError, DeniedError, UnavailableError and InvalidError
        in Docker's words; then nothing of the image is seen.
        """
        reference = reference.tagged()
        try:
            async with self.registries.repository(reference, credentials) as (repository, target):
                assert target is not None
                pull = Pull(
                    self._store, self._downloads, repository, platform, self.machine, report
                )
                found = await pull.run(reference, target)
        except RegistryError as error:
            raise pull_refusal(error, reference) from error
        report(Progress.message(_status(reference.familiar, found.fresh)))
        return found

    async def pull_all(
        self,
        reference: Reference,
        report: Report,
        *,
        platform: Platform | None = None,
        credentials: Credentials = NOBODY,
    ) -> list[Pulled]:
        """Pull all tags of a repository, one after the other."""
        found = []
        try:
            async with self.registries.repository(reference, credentials) as (repository, _):
                tags = await repository.tags()
                if not tags:
                    raise NotFoundError(f"repository {reference.familiar_name} has no tags")
                for tag in tags:
                    one = dataclasses.replace(reference, tag=tag)
                    target = await repository.resolve(tag)
                    pull = Pull(
                        self._store, self._downloads, repository, platform, self.machine, report
                    )
                    found.append(await pull.run(one, target))
        except RegistryError as error:
            raise pull_refusal(error, reference) from error
        fresh = any(one.fresh for one in found)
        report(Progress.message(_status(reference.familiar_name, fresh)))
        return found

    # Pushing.

    async def push(
        self,
        reference: Reference,
        report: Report,
        *,
        platform: Platform | None = None,
        credentials: Credentials = NOBODY,
    ) -> list[str]:
        """Push an image under its tag, or without one all tags of the repository.

        A name of several platforms goes with all of them if they are all here, else with the one
        that it stands for, or with `platform`.

        Returns the digests of the manifests. Raises NotFoundError when there is nothing to push.
        """
        report(Progress.message(f"The push refers to repository [{reference.name}]"))
        names = self._tags(reference)
        async with self.registries.repository(reference, credentials, push=True) as (repository, _):
            found = []
            for name in names:
                entry = self._store.find(name, platform)
                one = parse_reference(name)
                digest = await self._pushes.run(
                    repository, one, entry, report, index=platform is None
                )
                found.append(digest)
        return found

    def _tags(self, reference: Reference) -> list[str]:
        if reference.digest:
            raise InvalidError("cannot push a digest reference")
        names = [
            name
            for entry in self._store.index.entries()
            for name in entry.tags
            if name.rpartition(":")[0] == reference.name
        ]
        if not names:
            raise NotFoundError(
                f"An image does not exist locally with the tag: {reference.familiar_name}"
            )
        if reference.tag:
            if reference.key not in names:
                raise NotFoundError(f"tag does not exist: {reference.familiar}")
            return [reference.key]
        return sorted(names)


def _status(shown: str, fresh: bool) -> str:
    if fresh:
        return f"Status: Downloaded newer image for {shown}"
    return f"Status: Image is up to date for {shown}"
