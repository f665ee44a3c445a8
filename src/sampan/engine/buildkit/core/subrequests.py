"""What may be asked about a Dockerfile: `docker build --call=check`, `targets`, `outline`.

Source: BuildKit's docs/reference/frontends (subrequests): a request's answer is a document
`result.json`, and the same for people as `result.txt`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sampan.base.diagnostic import Diagnostic
from sampan.base.errors import UnsupportedError
from sampan.dockerfile.instructions import Arg
from sampan.dockerfile.stages import Dockerfile
from sampan.engine.buildkit.core.options import FrontendOptions

__all__ = ["REQUESTS", "answer"]

_LINT: Final = "frontend.lint"
_TARGETS: Final = "frontend.targets"
_OUTLINE: Final = "frontend.outline"
_DESCRIBE: Final = "frontend.subrequests.describe"
REQUESTS: Final = {
    _LINT: "Lint a Dockerfile",
    _OUTLINE: "List all parameters current build target supports",
    _TARGETS: "List all targets current build supports",
    _DESCRIBE: "List available subrequest types",
}


def answer(
    request: str,
    dockerfile: Dockerfile,
    text: str,
    options: FrontendOptions,
    found: Sequence[Diagnostic],
) -> Mapping[str, bytes]:
    """Return the metadata that answers a request; `found` is what checks have to say.

    Raises UnsupportedError for a request that is not known.
    """
    document: Any
    match request:
        case "frontend.lint":
            document = _lint(dockerfile, text, found)
        case "frontend.targets":
            document = {"targets": _targets(dockerfile), "sources": [_encoded(text)]}
        case "frontend.outline":
            document = _outline(dockerfile, text, options.target)
        case "frontend.subrequests.describe":
            document = [
                {"name": name, "version": "1.0.0", "type": "rpc", "description": words}
                for name, words in REQUESTS.items()
            ]
        case _:
            raise UnsupportedError(f"the front end knows no request {request!r}")
    answers = {
        "result.json": json.dumps(document).encode(),
        "result.txt": _plain(document),
        "version": b"1.0.0",
    }
    if request == _LINT:
        answers["result.statuscode"] = b"1" if document["warnings"] else b"0"
    return answers


def _plain(document: Any) -> bytes:
    return json.dumps(document, indent=2).encode() + b"\n"


def _source(dockerfile: Dockerfile, text: str) -> dict[str, Any]:
    return {"filename": dockerfile.file, "language": "Dockerfile", "data": _encoded(text)}


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _lint(dockerfile: Dockerfile, text: str, found: Sequence[Diagnostic]) -> dict[str, Any]:
    return {
        "warnings": [_warning(one) for one in found],
        "sources": [_source(dockerfile, text)],
    }


def _warning(found: Diagnostic) -> dict[str, Any]:
    last = max(found.span.line, found.span.end_line)
    place = {"start": {"line": found.span.line}, "end": {"line": last}}
    return {
        "ruleName": found.rule,
        "description": found.summary,
        "detail": found.detail or found.summary,
        "location": {"sourceIndex": 0, "ranges": [place]},
    }


def _targets(dockerfile: Dockerfile) -> list[dict[str, Any]]:
    last = len(dockerfile.stages) - 1
    return [
        {
            "name": stage.start.name or "",
            "base": stage.start.base,
            **({"default": True} if stage.index == last else {}),
            "location": {
                "sourceIndex": 0,
                "ranges": [{"start": {"line": stage.start.line.span.line}}],
            },
        }
        for stage in dockerfile.stages
    ]


def _outline(dockerfile: Dockerfile, text: str, target: str) -> dict[str, Any]:
    stage = dockerfile.target(target)
    own = [one for one in stage.instructions if isinstance(one, Arg)]
    arguments = [
        {"name": name, "value": value or ""}
        for one in (*dockerfile.arguments, *own)
        for name, value in one.pairs
    ]
    return {"name": stage.start.name or "", "args": arguments, "sources": [_encoded(text)]}
