"""How to reach registries: mirrors, exceptions from TLS, proxies, bounds, certificates."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from sampan.images.core.registryoptions import RegistryOptions

__all__ = ["Slots", "certificates_folder", "proxies"]


def certificates_folder() -> Path:
    """Return where Docker looks for registries' certificates: a folder for each host."""
    if os.geteuid() == 0:
        return Path("/etc/docker/certs.d")
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return Path(base) / "docker" / "certs.d"


def proxies(options: RegistryOptions) -> tuple[str, str, str]:
    """Return the proxies for http and https, and what goes without."""

    def environment(name: str) -> str:
        return os.environ.get(name) or os.environ.get(name.upper()) or ""

    return (
        options.http_proxy or environment("http_proxy"),
        options.https_proxy or environment("https_proxy"),
        options.no_proxy or environment("no_proxy"),
    )


class Slots:
    """Lets a number of tasks through at a time, a number that may change."""

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._taken = 0
        self._changed = asyncio.Condition()

    @property
    def full(self) -> bool:
        """Tell whether the next one has to wait."""
        return self._taken >= max(self._limit(), 1)

    @contextlib.asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Wait for a slot and keep it."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self.full)
            self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1
            async with self._changed:
                self._changed.notify()
