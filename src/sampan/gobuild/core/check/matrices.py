"""The cells of the jobs of CI, and texts as they are in each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import Final

from sampan.gobuild.core.check.jobs import Job
from sampan.gobuild.core.cimatrices import MatrixCell, github_cells, gitlab_cells

__all__ = ["cells_of", "in_cells"]

_MATRIX: Final = re.compile(r"\$\{\{\s*matrix\.([\w.-]+)\s*\}\}")
_FORMS_LIMIT: Final = 32


def cells_of(job: Job) -> list[MatrixCell]:
    """Return the cells of a job's matrix, without those that may be excluded."""
    if job.gitlab:
        return gitlab_cells(job.matrix)
    unknown = {key for key, value in job.matrix.items() if value.text}
    believed = [
        [(key, value.text) for key, value in one.items() if key not in unknown]
        for one in job.matrix.get("exclude")
        if any(key in unknown for key, _ in one.items())
    ]
    return [
        cell
        for cell in github_cells(job.matrix)
        if not any(all(k in cell and cell[k].text == v for k, v in one) for one in believed)
    ]


def in_cells(texts: tuple[str, ...], cells: Sequence[MatrixCell]) -> list[tuple[str, ...]]:
    """Return the forms that texts have in all cells, each once; what is not known stays."""

    def put(cell: MatrixCell, match: re.Match[str]) -> str:
        first, *others = match[1].split(".")
        return (cell[first].get(*others).text if first in cell else "") or match[0]

    if not any("{{" in text for text in texts):
        return [texts]
    forms = (tuple(_MATRIX.sub(partial(put, cell), text) for text in texts) for cell in cells)
    return list(dict.fromkeys(islice(forms, _FORMS_LIMIT))) or [texts]
