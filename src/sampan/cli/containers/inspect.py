"""`inspect`, of containers, images, networks and volumes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sampan.base.errors import SampanError
from sampan.cli.containers.command import Command, Failure
from sampan.cli.containers.core.flags import Flag, Parsed
from sampan.cli.containers.core.kinds import BOOL, STRING
from sampan.cli.containers.session import Session
from sampan.engine.client.client import ApiError

__all__ = ["CONTAINERS", "IMAGES", "INSPECT", "NETWORKS", "VOLUMES"]

Find = Callable[[str], Mapping[str, Any]]
_FOREIGN = ("config", "node", "plugin", "secret", "service", "task")


def _inspect(session: Session, parsed: Parsed) -> int:
    kinds = _finders(session, parsed.on("size"))
    kind = parsed.text("type")
    if kind and kind not in kinds and kind not in _FOREIGN:
        names = ", ".join(f'"{name}"' for name in sorted((*kinds, *_FOREIGN)))
        raise Failure(f'unknown type: "{kind}": must be one of {names}')
    if kind in _FOREIGN:
        raise Failure(f"{kind} objects are not supported")
    if kind:
        return _show(parsed, kinds[kind])
    return _show(parsed, lambda name: _first(kinds.values(), name))


def _finders(session: Session, size: bool) -> dict[str, Find]:
    return {
        "container": lambda name: session.containers.inspect(name, size),
        "image": session.images.inspect,
        "network": session.networks.inspect,
        "volume": session.volumes.inspect,
    }


def _first(finders: Any, name: str) -> Mapping[str, Any]:
    """Return the first object of that name, of whatever kind."""
    for find in finders:
        try:
            return find(name)  # type: ignore[no-any-return]
        except ApiError as error:
            if error.status != 404 and "invalid" not in error.message:
                raise
    raise Failure(f"Error: No such object: {name}")


def _show(parsed: Parsed, find: Find) -> int:
    """Print what is found, and then what is wrong with the others."""
    found, failures = [], []
    for name in parsed.arguments:
        try:
            found.append(find(name))
        except SampanError as error:
            failures.append(str(error))
            if isinstance(error, ApiError) and error.status != 404:
                break
    text, trouble = _formatted(found, parsed.text("format"))
    sys.stdout.write(text)
    if trouble:
        raise Failure(trouble)
    if failures:
        raise Failure("\n".join(failures))
    return 0


def _formatted(found: Sequence[Mapping[str, Any]], form: str) -> tuple[str, str]:
    """Return the text, and what is wrong with the template."""
    if not form:
        return json.dumps(found, indent=4, ensure_ascii=False) + "\n", ""
    if form == "json":
        return json.dumps(found, separators=(",", ":"), ensure_ascii=False) + "\n", ""
    from sampan.cli.containers.core.evaluate import Template
    from sampan.cli.containers.core.template import TemplateError

    text = ""
    try:
        template = Template(form, typed=True)
        for one in found:
            text += template.fill(one) + "\n"
    except TemplateError as error:
        return text + "\n", f"template parsing error: {error}"
    return text or "\n", ""


def _containers(session: Session, parsed: Parsed) -> int:
    return _show(parsed, lambda name: session.containers.inspect(name, parsed.on("size")))


def _images(session: Session, parsed: Parsed) -> int:
    return _show(parsed, session.images.inspect)


def _networks(session: Session, parsed: Parsed) -> int:
    return _show(parsed, lambda name: session.networks.inspect(name, parsed.on("verbose")))


def _volumes(session: Session, parsed: Parsed) -> int:
    return _show(parsed, session.volumes.inspect)


_FORMAT = Flag("format", STRING, "Format output: 'json' or a Go template", "f")
_SIZE = Flag("size", BOOL, "Display total file sizes", "s")
INSPECT = Command(
    "[OPTIONS] NAME|ID [NAME|ID...]",
    _inspect,
    (_FORMAT, _SIZE, Flag("type", STRING, "Only inspect objects of the given type")),
    least=1,
)
CONTAINERS = Command("[OPTIONS] CONTAINER [CONTAINER...]", _containers, (_FORMAT, _SIZE), least=1)
IMAGES = Command("[OPTIONS] IMAGE [IMAGE...]", _images, (_FORMAT,), least=1)
NETWORKS = Command(
    "[OPTIONS] NETWORK [NETWORK...]",
    _networks,
    (_FORMAT, Flag("verbose", BOOL, "Verbose output for diagnostics", "v")),
    least=1,
)
VOLUMES = Command("[OPTIONS] VOLUME [VOLUME...]", _volumes, (_FORMAT,), least=1)
