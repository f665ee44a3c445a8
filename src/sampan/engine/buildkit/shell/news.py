"""The news of one build: kept from its beginning, and told to whoever asks, then and later."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final

from sampan.base.diagnostic import Diagnostic, Span
from sampan.base.errors import SampanError
from sampan.engine.buildkit.core.failure import Source, failure_words
from sampan.engine.buildkit.core.status import Narrator
from sampan.engine.buildkit.pb import control_pb2
from sampan.images.build.progress import StepStatus

__all__ = ["News", "NewsLog", "Vertex"]

_MOST_BYTES: Final = 64 << 20
_BATCH: Final = 200
_LINT_KEY: Final = "load build definition"


class NewsLog:
    """Messages in their order; beyond a bound they are told to those who follow, and not kept."""

    def __init__(self) -> None:
        self._messages: list[control_pb2.StatusResponse] = []
        self._size = 0
        self._ended = False
        self._changed = asyncio.Event()

    def add(self, message: control_pb2.StatusResponse) -> None:
        """Tell something."""
        size = message.ByteSize()
        if self._ended or self._size + size > _MOST_BYTES:
            return
        self._size += size
        self._messages.append(message)
        self._wake()

    def end(self) -> None:
        """There will be no more."""
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def follow(self) -> AsyncIterator[control_pb2.StatusResponse]:
        """Yield everything from the beginning to the end, several messages as one."""
        at = 0
        while True:
            changed = self._changed
            batch = self._messages[at : at + _BATCH]
            at += len(batch)
            if batch:
                joined = control_pb2.StatusResponse()
                for one in batch:
                    joined.MergeFrom(one)
                yield joined
            elif self._ended:
                return
            else:
                await changed.wait()


class Vertex:
    """A step of the front end under way: it may tell of parts of its work."""

    def __init__(self, log: NewsLog, narrator: Narrator, key: str) -> None:
        self._log, self._narrator, self._key = log, narrator, key
        self._told_s = 0.0

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[Callable[[int], None]]:
        """A part of the work that is done when the block ends."""
        began_s, size = time.time(), 0
        narrator, log = self._narrator, self._log

        def so_far(size_bytes: int) -> None:
            nonlocal size
            size, now_s = size_bytes, time.time()
            if now_s - self._told_s > 0.1:
                self._told_s = now_s
                log.add(narrator.work(self._key, name, now_s, began_s, size))

        yield so_far
        log.add(narrator.work(self._key, name, time.time(), began_s, size, done=True))


class News:
    """Takes the progress of a build, and tells it."""

    def __init__(self, seed: str) -> None:
        self.log = NewsLog()
        self.narrator = Narrator(seed)
        self.source: Source | None = None
        self.failed: tuple[str, Span | None] = ("", None)
        """The vertex that has failed, and its place in the Dockerfile."""

    def begin(self, steps: int) -> None:
        """Do nothing: how many there are stands in the names of the steps."""

    def step(self, status: StepStatus) -> None:
        """A step has begun or ended."""
        key, place = status.key, status.place
        if status.error:
            self.failed = (self.narrator.digest(key), place.span if place else None)
        self.log.add(
            self.narrator.vertex(
                key,
                self.narrator.title(status.name, place),
                status.inputs,
                started_s=status.started_s,
                completed_s=status.completed_s,
                cached=status.cached,
                error=failure_words(status.failure) if status.failure else "",
            )
        )

    def output(self, key: str, stream: str, data: bytes) -> None:
        """A step's command has written something."""
        found = self.narrator.output(key, stream, data, time.time())
        if found is not None:
            self.log.add(found)

    def warning(self, found: Diagnostic) -> None:
        """Something in the Dockerfile will surprise."""
        text = self.source.text if self.source else ""
        self.log.add(self.narrator.warning(_LINT_KEY, found, text))

    @contextlib.contextmanager
    def vertex(self, name: str, key: str = "") -> Iterator[Vertex]:
        """A step of the front end, for the time of the block."""
        key = key or name
        began_s = time.time()
        self.log.add(self.narrator.vertex(key, name, started_s=began_s))
        error = ""
        try:
            yield Vertex(self.log, self.narrator, key)
        except SampanError as failure:
            error = str(failure)
            raise
        except asyncio.CancelledError:
            error = "context canceled"
            raise
        finally:
            self.log.add(
                self.narrator.vertex(
                    key, name, started_s=began_s, completed_s=time.time(), error=error
                )
            )
