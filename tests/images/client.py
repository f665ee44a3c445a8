"""An image store with registries, for tests that pull and push without a daemon."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from sampan.images.core.challenge import Credentials
from sampan.images.core.platform import Platform, parse_platform
from sampan.images.core.progress import Progress
from sampan.images.core.reference import parse_reference
from sampan.images.core.registryoptions import RegistryOptions
from sampan.images.registry.distribution import Distribution
from sampan.images.registry.pull import Pulled
from sampan.images.shell.store import ImageStore

__all__ = ["Client"]


class Client:
    """The store at a place; `news` is what pulls and pushes have told."""

    def __init__(
        self, place: Path, *, mirrors: Sequence[str] = (), certificates: Path | None = None
    ) -> None:
        self.store = ImageStore(place)
        self.news: list[Progress] = []
        self._told = asyncio.Event()
        options = RegistryOptions(mirrors=mirrors)
        self.distribution = Distribution(
            self.store,
            lambda: options,
            certificates=certificates or place / "certs.d",
            first_wait_s=0.01,
        )

    async def pull(
        self, name: str, platform: str = "", credentials: Credentials | None = None
    ) -> Pulled:
        """Pull a name."""
        return await self.distribution.pull(
            parse_reference(name),
            self._hear,
            platform=self.platform(platform) if platform else None,
            credentials=credentials or Credentials(),
        )

    async def push(self, name: str, credentials: Credentials | None = None) -> list[str]:
        """Push a name."""
        return await self.distribution.push(
            parse_reference(name), self._hear, credentials=credentials or Credentials()
        )

    def _hear(self, progress: Progress) -> None:
        self.news.append(progress)
        self._told.set()

    async def until(self, status: str, digest: str) -> None:
        """Wait for news of a blob."""
        short = digest.partition(":")[2][:12]
        while not any((one.status, one.id) == (status, short) for one in self.news):
            self._told.clear()
            await self._told.wait()

    def platform(self, text: str) -> Platform:
        """A platform as people write it."""
        return parse_platform(text, self.distribution.machine)

    @property
    def states(self) -> list[str]:
        """What was told, without ids and counts."""
        return [one.status for one in self.news]

    def partial(self) -> list[Path]:
        """What is left of downloads."""
        return list((self.store.spool.parent / "ingest").iterdir())
