"""Instructions by the bits that are fixed in them."""

from __future__ import annotations

from collections.abc import Sequence

from sampan.base.record import record

__all__ = ["Instruction", "Pattern", "first"]


@record
class Instruction:
    """`name` is the mnemonic, or that of its family; `needs` the extension and its level."""

    name: str
    needs: str


Pattern = tuple[int, int, str, str]
"""A mask, the bits that must be there under it, a name, and what the instruction needs."""


def first(word: int, patterns: Sequence[Pattern]) -> Instruction | None:
    """Return the first pattern that fits; None without one, or when its need is empty."""
    for mask, bits, name, needs in patterns:
        if word & mask == bits:
            return Instruction(name, needs) if needs else None
    return None
