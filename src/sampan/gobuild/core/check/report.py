"""Findings for a terminal, as JSON and as Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sampan.gobuild.core.check.finding import Finding
from sampan.gobuild.core.grid import markdown_table

__all__ = ["findings_json", "findings_text"]


def findings_text(found: Sequence[Finding], markdown: bool) -> str:
    """Return findings for people; one line when there is none."""
    if not found:
        return "no findings"
    if markdown:
        head = ("place", "severity", "finding", "remedy", "rule")
        lines = [
            (
                str(one.diagnostic.span),
                one.diagnostic.severity.value,
                one.diagnostic.summary,
                one.remedy,
                one.diagnostic.rule,
            )
            for one in found
        ]
        return markdown_table(head, lines)
    parts = []
    for one in found:
        mark = " (--fix)" if one.edit else ""
        parts.append(f"{one.diagnostic} [{one.diagnostic.rule}]{mark}")
        if one.evidence:
            parts.append(f"    {one.evidence}")
        parts.append(f"  {one.diagnostic.detail}")
    return "\n".join(parts)


def findings_json(found: Sequence[Finding]) -> str:
    """Return findings as a JSON array."""
    return json.dumps(
        [
            {
                "rule": one.diagnostic.rule,
                "severity": one.diagnostic.severity.value,
                "summary": one.diagnostic.summary,
                "detail": one.diagnostic.detail,
                "file": one.diagnostic.span.file,
                "line": one.diagnostic.span.line,
                "column": one.diagnostic.span.column,
                "evidence": one.evidence,
                "remedy": one.remedy,
                "fixable": one.edit is not None,
            }
            for one in found
        ],
        indent=1,
    )
