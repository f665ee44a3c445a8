"""The cells of a matrix, as GitHub and GitLab make them: products, exclusions, inclusions.

Source: the pages "Running variations of jobs in a workflow" of GitHub Actions and
`parallel:matrix` of GitLab CI.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice, product
from typing import Final

from sampan.gobuild.core.yamlnodes import Node

__all__ = ["MatrixCell", "github_cells", "gitlab_cells"]

MatrixCell = Mapping[str, Node]
"""The values of one job by their keys."""

_PRODUCT_LIMIT: Final = 4096
_CELLS_LIMIT: Final = 256


def github_cells(matrix: Node) -> list[MatrixCell]:
    """Return the cells of `strategy.matrix`; what is behind expressions is not in them."""
    axes = {
        key: list(value)
        for key, value in matrix.items()
        if key not in ("include", "exclude") and list(value)
    }
    excluded = [dict(one.items()) for one in matrix.get("exclude")]
    products = [dict(zip(axes, values, strict=True)) for values in _product(axes)] if axes else []
    cells = [cell for cell in products if not any(_agrees(one, cell) for one in excluded)]
    return _included(cells, [dict(one.items()) for one in matrix.get("include")], set(axes))


def _included(
    cells: list[dict[str, Node]], entries: list[dict[str, Node]], axes: set[str]
) -> list[MatrixCell]:
    """Add entries to all cells whose own values they leave as they are, else as new cells."""
    own = list(cells)
    for entry in entries:
        given = {key: value for key, value in entry.items() if key in axes}
        fitting = [cell for cell in own if _agrees(given, cell)]
        for cell in fitting:
            cell.update(entry)
        if not fitting:
            cells.append(entry)
    return list(cells[:_CELLS_LIMIT])


def _agrees(entry: MatrixCell, cell: MatrixCell) -> bool:
    return all(key in cell and _same(value, cell[key]) for key, value in entry.items())


def _same(one: Node, other: Node) -> bool:
    """Tell whether two values are equal; of mappings, by the keys of the first."""
    inner = list(one.items())
    if inner:
        return all(value.text == other.get(key).text for key, value in inner)
    return one.text == other.text


def _product(axes: Mapping[str, list[Node]]) -> Iterator[tuple[Node, ...]]:
    return islice(product(*axes.values()), _PRODUCT_LIMIT)


def gitlab_cells(matrix: Node) -> list[MatrixCell]:
    """Return the cells of `parallel.matrix`: the product of the lists of each entry."""
    found: list[MatrixCell] = []
    for entry in matrix:
        axes = {key: list(value) or [value] for key, value in entry.items()}
        found += [dict(zip(axes, values, strict=True)) for values in _product(axes)]
    return found[:_CELLS_LIMIT]
