"""What a signature is: words that a failure says, and what they mean."""

from __future__ import annotations

from sampan.base.record import record

__all__ = ["Signature"]


@record
class Signature:
    """A failure: found by one of `words` (lower case), then by `pattern` in the line, if given.

    `weight` is how surely it names the cause: 95 and more certain, 70 and more likely. `check`
    names the look at the binary that confirms or contradicts it. All words of `also` must be
    somewhere in the text; with one of `unless` in the line it is something else.
    """

    rule: str
    words: tuple[str, ...]
    weight: int
    cause: str
    remedy: str
    pattern: str = ""
    also: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    check: str = ""
