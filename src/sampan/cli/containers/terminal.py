"""The caller's terminal: its size, raw mode, and word when its size changes."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator

from sampan.base.errors import SampanError

__all__ = ["is_terminal", "raw", "resizing", "size"]


def is_terminal(stream: int) -> bool:
    """Tell whether that descriptor is a terminal."""
    return os.isatty(stream)


def size() -> tuple[int, int]:
    """Return rows and columns of the terminal at standard output; zeros when it is none."""
    try:
        columns, rows = os.get_terminal_size(sys.stdout.fileno())
    except OSError:
        return 0, 0
    return rows, columns


@contextlib.contextmanager
def raw(stream: int = 0) -> Iterator[None]:
    """Hand every key on as it is typed for the block; nothing happens without a terminal."""
    if not is_terminal(stream):
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(stream)
    # At once: what was typed ahead is kept.
    tty.setraw(stream, termios.TCSANOW)
    try:
        yield
    finally:
        termios.tcsetattr(stream, termios.TCSADRAIN, before)


@contextlib.contextmanager
def resizing(tell: Callable[[int, int], None]) -> Iterator[None]:
    """Tell the size now and whenever it changes within the block."""

    def changed(*_: object) -> None:
        rows, columns = size()
        if rows and columns:
            # It may have ended already, or not begun yet; the next change is told again.
            with contextlib.suppress(SampanError):
                tell(rows, columns)

    before = signal.signal(signal.SIGWINCH, changed)
    changed()
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
