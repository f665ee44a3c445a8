"""Documents as earlier versions of the API had them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["aged_image", "aged_usage"]


def aged_image(image: Mapping[str, Any], version: tuple[int, int]) -> dict[str, Any]:
    """Return an image as a version shows it: `VirtualSize` until 1.43, `Descriptor` from 1.48."""
    found = dict(image)
    if version < (1, 44) and "Size" in found:
        found["VirtualSize"] = found["Size"]
    if version < (1, 48):
        found.pop("Descriptor", None)
    return found


def aged_usage(usage: Mapping[str, Any], version: tuple[int, int]) -> dict[str, Any]:
    """Return the document of `GET /system/df`: `BuilderSize` and `Parent` went in 1.42."""
    images = usage["Images"]
    aged = None if images is None else [aged_image(one, version) for one in images]
    found = {**usage, "Images": aged}
    if version < (1, 42):
        built = usage["BuildCache"]
        if built is not None:
            built = [{**one, "Parent": ""} for one in built]
            for one in built:
                del one["Parents"]
        found["BuildCache"], built = built, built or ()
        found["BuilderSize"] = sum(one.get("Size", 0) for one in built)
    return found
