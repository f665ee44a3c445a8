"""Why a build has failed, as its client shows it: with the step and the lines of the Dockerfile.

Source: BuildKit's `errdefs` and `grpcerrors`: details of a status are JSON under a type's URL.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any, Final

from sampan.base.diagnostic import Diagnostic, DiagnosticsError, Severity, Span
from sampan.base.errors import (
    SampanError,
)
from sampan.engine.buildkit.pb import values_pb2
from sampan.images.core.build.failure import CommandError
from sampan.wire.grpc.kinds import code_of
from sampan.wire.grpc.status import Code, RpcError

__all__ = ["Source", "build_failure", "call_failure", "failure_words", "relayed_failure"]

_DETAILS: Final = "grpc-status-details-bin"
_PREFIX: Final = "github.com/moby/buildkit/"
_DETAIL_BYTES: Final = 48 * 1024


@dataclass(frozen=True, slots=True)
class Source:
    """A Dockerfile as it was read: its name and text."""

    file: str
    text: str


def build_failure(
    error: SampanError, source: Source | None = None, span: Span | None = None, vertex: str = ""
) -> RpcError:
    """Return the status of a failed build. `span` is where, `vertex` the step that has failed.

    Its code says nothing: clients print one that does in front of the message.
    """
    if isinstance(error, DiagnosticsError):
        first = next(
            (one for one in error.diagnostics if one.severity is Severity.ERROR),
            error.diagnostics[0],
        )
        span = first.span
    details = []
    if vertex:
        details.append(_detail("errdefs.Vertex+json", {"digest": vertex}))
    if source is not None and span is not None:
        details.append(_detail("errdefs.Source+json", _place(source, span)))
    return _status(int(Code.UNKNOWN), failure_words(error), details)


def call_failure(error: SampanError) -> RpcError:
    """Return the status of a call that could not be answered; its code says why."""
    return RpcError(code_of(error), str(error))


def failure_words(error: SampanError) -> str:
    """Return why a step or a build has failed, in BuildKit's words."""
    if isinstance(error, CommandError):
        command = json.dumps(error.command, ensure_ascii=False)
        return f"process {command} did not complete successfully: exit code: {error.exit_code}"
    if isinstance(error, DiagnosticsError):
        found = [one for one in error.diagnostics if one.severity is Severity.ERROR]
        return "; ".join(map(_finding, found or error.diagnostics))
    return str(error)


def _finding(found: Diagnostic) -> str:
    if found.rule == "syntax":
        return f"dockerfile parse error on line {found.span.line}: {found.summary}"
    return found.summary


def _place(source: Source, span: Span) -> dict[str, Any]:
    """Return the lines of a Dockerfile around a place, numbered as they are."""
    lines = source.text.split("\n")
    last = max(span.line, span.end_line)
    shown = "\n".join(
        line if span.line - 5 <= number <= last + 5 else "" for number, line in enumerate(lines, 1)
    )
    return {
        "info": {
            "filename": source.file,
            "data": base64.b64encode(shown.encode()).decode(),
            "language": "Dockerfile",
        },
        "ranges": [{"start": {"line": span.line}, "end": {"line": last}}],
    }


def _detail(kind: str, document: dict[str, Any]) -> values_pb2.Any:
    raw = json.dumps(document, separators=(",", ":")).encode()
    return values_pb2.Any(type_url=_PREFIX + kind, value=raw)


def relayed_failure(status: values_pb2.Status) -> RpcError:
    """Return the status that a client has reported itself, for whoever else waits for it."""
    return _status(status.code or int(Code.UNKNOWN), status.message, list(status.details))


def _status(code: int, message: str, details: list[values_pb2.Any]) -> RpcError:
    number = Code(code) if 0 < code <= Code.UNAUTHENTICATED else Code.UNKNOWN
    status = values_pb2.Status(code=number, message=message)
    for one in details:
        if status.ByteSize() + one.ByteSize() < _DETAIL_BYTES:
            status.details.append(one)
    raw = status.SerializeToString()
    return RpcError(number, message, ((_DETAILS, raw),) if status.details else ())
