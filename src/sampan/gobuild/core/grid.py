"""Tables as text for a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["markdown_table", "text_table"]


def text_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table with columns as wide as their longest cell."""
    every = [head, *lines]
    widths = [max(len(line[column]) for line in every) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in every
    )


def markdown_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return the same as Markdown; bars in cells are escaped."""

    def row(cells: Sequence[str]) -> str:
        return "| " + " | ".join(_cell(cell) for cell in cells) + " |"

    return "\n".join([row(head), "|" + "---|" * len(head), *(row(line) for line in lines)])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
