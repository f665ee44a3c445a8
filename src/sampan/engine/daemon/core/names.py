"""Names for containers that nobody has named: a quality and a thing of the water."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

__all__ = ["random_name"]

_QUALITIES: Final = (
    "able brave bright calm clear dapper eager early fair fleet gentle glad golden grand happy "
    "hardy honest jolly keen kind light lively lucky mellow merry mild modest neat nimble noble "
    "patient plain proud quick quiet ready rustic serene sharp silent silver simple sleek smooth "
    "sober steady still stout sunny sure swift tidy trim true vivid warm wise witty young"
).split()
_THINGS: Final = (
    "anchor bay beacon bell boom bow brig buoy cable canal cape clipper coast compass coral cove "
    "current cutter deck delta dhow dinghy dock dory eddy ferry fjord galley gull harbor heron "
    "island jetty junk kayak keel ketch lagoon lantern ledge lock marina mast mooring oar osprey "
    "paddle pearl pier pilot port prow quay raft reef rigging river rudder sail seal shoal skiff "
    "sloop sound spar sprit stern strait tide tiller trawler wave wharf yawl"
).split()


def random_name(taken: Callable[[str], bool], seed: str = "") -> str:
    """Return a name that is not taken; names come in a fixed order that looks like none."""
    for number in range(1_000_000):
        digest = hashlib.sha256(f"{seed}{number}".encode()).digest()
        quality = _QUALITIES[int.from_bytes(digest[:4], "big") % len(_QUALITIES)]
        thing = _THINGS[int.from_bytes(digest[4:8], "big") % len(_THINGS)]
        name = f"{quality}_{thing}"
        if number >= 1000:
            name += str(number)
        if not taken(name):
            return name
    raise AssertionError("a million containers have names")
