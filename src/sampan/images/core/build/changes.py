"""Changes to an image's configuration in a Dockerfile's words, for `commit` and `import`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sampan.base.diagnostic import DiagnosticsError
from sampan.base.errors import InvalidError
from sampan.dockerfile.instructions import Env, Onbuild, Workdir
from sampan.dockerfile.parse import parse_line
from sampan.dockerfile.source import read_source
from sampan.dockerfile.words import Expander
from sampan.images.core.build.config import ImageConfig
from sampan.images.core.build.metadata import apply_metadata

__all__ = ["changed_config"]

_ALLOWED: Final = frozenset(
    "CMD ENTRYPOINT ENV EXPOSE HEALTHCHECK LABEL ONBUILD STOPSIGNAL USER VOLUME WORKDIR".split()
)


@dataclass(slots=True)
class _Change:
    config: ImageConfig = field(default_factory=ImageConfig)
    cmd_is_own: bool = True


def changed_config(lines: Sequence[str]) -> dict[str, Any]:
    """Return the configuration that the instructions make of nothing.

    Raises InvalidError for a line that cannot be read, and for an instruction that makes files.
    """
    change = _Change()
    for text in lines:
        if text.strip():
            _apply(change, text)
    fields = dict(change.config.fields)
    if change.config.on_build:
        fields["OnBuild"] = list(change.config.on_build)
    return fields


def _apply(change: _Change, text: str) -> None:
    config = change.config
    try:
        for line in read_source(text, "change").lines:
            if line.keyword not in _ALLOWED:
                raise InvalidError(f"{line.keyword.lower()} is not a valid change command")
            expander = Expander(config.env)
            instruction = parse_line(line)
            match instruction:
                case Env(_, pairs):
                    for name, value in pairs:
                        config.set_env(expander.word(name), expander.word(value))
                case Workdir():
                    path = config.resolve(expander.word(instruction.path))
                    config.fields["WorkingDir"] = path.rstrip("/") or "/"
                case Onbuild():
                    trigger = instruction.trigger.line
                    config.on_build.append(f"{trigger.keyword} {trigger.rest}")
                case _:
                    apply_metadata(change, instruction, expander)
    except DiagnosticsError as error:
        raise InvalidError(error.diagnostics[0].summary) from None
