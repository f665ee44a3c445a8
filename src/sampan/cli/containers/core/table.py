"""Lists as tables or by a format: `table {{.ID}}\\t{{.Names}}`, `json`, `{{.ID}}`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sampan.cli.containers.core.evaluate import Template
from sampan.cli.containers.core.template import TemplateError

__all__ = ["aligned", "listing"]

_LEAST_WIDTH = 10
_BETWEEN = 3

Row = Mapping[str, Any]


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Return lines of cells with the columns below each other; the last cell is not padded."""
    widths: list[int] = []
    for line in lines:
        for at, cell in enumerate(line[:-1]):
            if at == len(widths):
                widths.append(_LEAST_WIDTH)
            widths[at] = max(widths[at], len(cell) + _BETWEEN)
    return "".join(
        "".join([*(f"{cell:<{widths[at]}}" for at, cell in enumerate(line[:-1])), line[-1]]) + "\n"
        for line in lines
    )


def listing(form: str, default: str, titles: Mapping[str, str], rows: Sequence[Row]) -> str:
    """Return rows in a form: empty or `table` for the default table, `json`, or a template.

    `titles` says what is above each column, by field. Raises TemplateError for a template that
    cannot be read or names a field that the rows do not have.
    """
    if form in ("", "table"):
        form = f"table {default}"
    if form in ("json", "{{json .}}"):
        return "".join(f"{_json_line(row)}\n" for row in rows)
    tabular = form.startswith("table")
    if tabular:
        form = form.removeprefix("table").strip(" ")
    form = form.replace(r"\t", "\t").replace(r"\n", "\n")
    try:
        template = Template(form)
    except TemplateError as error:
        raise TemplateError(f"failed to parse template: {error}") from None
    try:
        texts = [template.fill(row) for row in rows]
    except TemplateError as error:
        raise TemplateError(f"failed to execute template: {error}") from None
    if not tabular:
        return "".join(f"{text}\n" for text in texts)
    heading = template.fill(_Titles(titles))
    return aligned([line.split("\t") for line in (heading, *texts)])


def _json_line(row: Row) -> str:
    """Return the row as Go writes objects, with what HTML would take for its own escaped."""
    known = {field: value for field, value in row.items() if not callable(value)}
    text = json.dumps(known, separators=(",", ":"), ensure_ascii=False)
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


class _Titles(dict[str, Any]):
    """The titles as data, so that a template makes the heading of itself."""

    def __init__(self, titles: Mapping[str, str]) -> None:
        super().__init__(titles)
        # `{{.Label "com.example.part"}}` is titled by the end of its name.
        self["Label"] = lambda name: name.rpartition(".")[2].replace("_", " ").replace("-", " ")

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> str:
        return name.upper()
