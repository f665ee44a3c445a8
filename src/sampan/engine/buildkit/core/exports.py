"""Where the result of a build goes, as a client asks for it.

Source: docker buildx, `--output`; the docker driver sends `moby` for an image of the engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sampan.base.errors import InvalidError, UnsupportedError
from sampan.engine.buildkit.core.attributes import flag, words
from sampan.images.core.reference import tag_name

__all__ = ["KINDS", "Export", "parse_exports"]

KINDS: Final = {
    "moby": "image",
    "image": "image",
    "docker": "docker",
    "oci": "oci",
    "local": "local",
    "tar": "tar",
}
"""The exporters, and what each is here."""

_REFUSED: Final = ("push-by-digest", "rewrite-timestamp", "force-compression", "name-canonical")
_AS_IT_IS: Final = ("", "gzip", "uncompressed")


@dataclass(frozen=True, slots=True)
class Export:
    """One place: `number` is the client's for it; `names` are full."""

    kind: str
    number: int = 0
    names: Sequence[str] = ()
    push: bool = False
    tar: bool = True
    split: bool = True
    """Files of several platforms go into a directory each."""


def parse_exports(exporters: Sequence[tuple[str, Mapping[str, str]]]) -> list[Export]:
    """Return the places of a request; UnsupportedError for what cannot be honoured."""
    return [_export(number, kind, attrs) for number, (kind, attrs) in enumerate(exporters)]


def _export(number: int, name: str, attributes: Mapping[str, str]) -> Export:
    kind = KINDS.get(name)
    if kind is None:
        raise UnsupportedError(f"exporter {name!r} could not be found")
    for one, value in attributes.items():
        if one.startswith("annotation") or (one in _REFUSED and value not in ("", "false", "0")):
            raise UnsupportedError(f"exporter {name}: option {one} is not supported yet")
    if attributes.get("compression", "") not in _AS_IT_IS:
        raise UnsupportedError(
            f"exporter {name}: compression {attributes['compression']} is not supported yet"
        )
    names = [tag_name(one) for one in words(attributes.get("name", ""))]
    push = flag(attributes, "push")
    if push and not names:
        raise InvalidError("tag is needed when pushing to registry")
    if kind in ("docker", "oci") and attributes.get("tar") in ("false", "0"):
        raise UnsupportedError(f"exporter {name}: only tar archives are supported, no directories")
    split = attributes.get("platform-split", "") not in ("false", "0")
    return Export(kind, number, names, push, split=split)
