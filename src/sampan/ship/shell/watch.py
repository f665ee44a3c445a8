"""Shipping again whenever the source changes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from sampan.base.errors import SampanError
from sampan.ship.shell.source import Source, changes_of

__all__ = ["ship_on_change"]

_LOOK_S: Final = 0.25


async def ship_on_change(
    read: Callable[[], Source],
    ship: Callable[[Source], Awaitable[object]],
    say: Callable[[str], None],
) -> None:
    """Ship now and after every change, until cancelled; editors that save in steps are waited for.

    `read` reads the source anew: settings and Dockerfile may have changed too.
    """
    source = read()
    while True:
        shipped = changes_of(source)
        try:
            source = read()
            await ship(source)
        except SampanError as error:
            say(f"  {error}")
        say("watching for changes; Ctrl-C ends it")
        latest = shipped
        while True:
            await asyncio.sleep(_LOOK_S)
            before, latest = latest, await asyncio.to_thread(changes_of, source)
            if latest != shipped and latest == before:
                break
        changed = sorted(
            name for name in {*shipped, *latest} if shipped.get(name) != latest.get(name)
        )
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        say(f"\n{changed[0]} has changed{more}")
