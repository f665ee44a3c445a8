"""What is wrong with the user's input, as values: collected, sorted, and all shown.

A diagnostic names the place (file, line, column), says what is wrong in one line, and in its detail
why it matters and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from sampan.base.errors import InvalidError

__all__ = ["Diagnostic", "DiagnosticsError", "Severity", "Span"]


class Severity(Enum):
    """How bad it is. Only an error stops what was asked for."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A range of a text file. Lines and columns count from 1; the end is the last one meant."""

    file: str
    line: int
    column: int = 1
    end_line: int = 0
    end_column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding. `rule` is a stable name to look up or to switch it off by."""

    severity: Severity
    rule: str
    summary: str
    span: Span
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.span}: {self.severity.value}: {self.summary}"


class DiagnosticsError(InvalidError):
    """Input that cannot be used; the message is the first error's, `diagnostics` are all."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics: Sequence[Diagnostic] = tuple(diagnostics)
        errors = [one for one in self.diagnostics if one.severity is Severity.ERROR]
        super().__init__(str((errors or list(self.diagnostics))[0]))
