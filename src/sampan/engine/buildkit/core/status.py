"""Steps, their output and warnings as BuildKit's clients show them.

A vertex is known by a digest; output of one step beyond `LOG_BYTES` is cut off, as BuildKit does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from sampan.base.diagnostic import Diagnostic, Span
from sampan.engine.buildkit.pb import control_pb2, values_pb2
from sampan.images.core.build.places import StepPlace
from sampan.images.core.reference import tag_name

__all__ = ["LOG_BYTES", "Narrator", "shown_image", "timestamp"]

LOG_BYTES: Final = 2 << 20
_STREAMS: Final = {"stdout": 1, "stderr": 2}


def timestamp(moment_s: float | None) -> values_pb2.Timestamp | None:
    """Return seconds since 1970 as messages have them."""
    if moment_s is None:
        return None
    whole = int(moment_s)
    return values_pb2.Timestamp(seconds=whole, nanos=int((moment_s - whole) * 1e9))


def shown_image(name: str) -> str:
    """Return the full name of an image in a step's words: `FROM busybox` names Docker's library."""
    keyword, _, reference = name.partition(" ")
    if keyword != "FROM" or reference in ("scratch", "host", ""):
        return name
    return f"FROM {tag_name(reference)}"


class Narrator:
    """Makes messages of one build; `seed` tells its vertices from those of others."""

    def __init__(self, seed: str, *, stages: bool = False, platforms: bool = False) -> None:
        self._seed = seed
        self.stages = stages
        self.platforms = platforms
        self._logged: dict[str, int] = {}

    def digest(self, key: str) -> str:
        """Return the digest of a step's vertex."""
        return "sha256:" + hashlib.sha256(f"{self._seed}/{key}".encode()).hexdigest()

    def title(self, name: str, place: StepPlace | None) -> str:
        """Return a step in words, with its place in front."""
        if place is None:
            return shown_image(name)
        label = place.label(stages=self.stages, platforms=self.platforms)
        return f"{label} {shown_image(name) if name.startswith('FROM ') else place.words}"

    def vertex(
        self,
        key: str,
        name: str,
        inputs: Sequence[str] = (),
        *,
        started_s: float | None,
        completed_s: float | None = None,
        cached: bool = False,
        error: str = "",
    ) -> control_pb2.StatusResponse:
        """Return the news of a step that has begun or ended."""
        one = control_pb2.Vertex(
            digest=self.digest(key),
            inputs=[self.digest(other) for other in inputs],
            name=name,
            cached=cached,
            started=timestamp(started_s),
            completed=timestamp(completed_s),
            error=error,
        )
        return control_pb2.StatusResponse(vertexes=[one])

    def work(
        self,
        key: str,
        name: str,
        now_s: float,
        started_s: float,
        current: int = 0,
        *,
        done: bool = False,
    ) -> control_pb2.StatusResponse:
        """Return the news of a part of a step: so many bytes, or that it is done."""
        one = control_pb2.VertexStatus(
            ID=name,
            vertex=self.digest(key),
            current=current,
            timestamp=timestamp(now_s),
            started=timestamp(started_s),
            completed=timestamp(now_s) if done else None,
        )
        return control_pb2.StatusResponse(statuses=[one])

    def output(
        self, key: str, stream: str, data: bytes, now_s: float
    ) -> control_pb2.StatusResponse | None:
        """Return the news of output, None when the step has said enough."""
        before = self._logged.get(key, 0)
        if before > LOG_BYTES:
            return None
        self._logged[key] = before + len(data)
        if before + len(data) > LOG_BYTES:
            data = data[: LOG_BYTES - before]
            data += f"\n[output clipped, log limit {LOG_BYTES >> 20}MiB reached]\n".encode()
            self._logged[key] = LOG_BYTES + 1
        one = control_pb2.VertexLog(
            vertex=self.digest(key),
            timestamp=timestamp(now_s),
            stream=_STREAMS.get(stream, 1),
            msg=data,
        )
        return control_pb2.StatusResponse(logs=[one])

    def warning(self, key: str, found: Diagnostic, text: str) -> control_pb2.StatusResponse:
        """Return the news of a warning, with the Dockerfile that it is about."""
        one = control_pb2.VertexWarning(
            vertex=self.digest(key),
            level=1,
            short=f"{found.rule}: {found.summary} (line {found.span.line})".encode(),
            detail=[found.detail.encode()] if found.detail else [],
            info=values_pb2.SourceInfo(
                filename=found.span.file, data=text.encode(), language="Dockerfile"
            ),
            ranges=[_range(found.span)],
        )
        return control_pb2.StatusResponse(warnings=[one])


def _range(span: Span) -> values_pb2.Range:
    last = max(span.line, span.end_line)
    return values_pb2.Range(
        start=values_pb2.Position(line=span.line), end=values_pb2.Position(line=last)
    )
