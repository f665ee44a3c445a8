"""Diagnostics as SARIF 2.1.0, which code hosts show beside the lines.

Source: OASIS, Static Analysis Results Interchange Format 2.1.0.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from sampan.base.diagnostic import Diagnostic

__all__ = ["sarif"]


def sarif(findings: Iterable[Diagnostic]) -> str:
    """Return one run with a result for every finding."""
    listed = list(findings)
    rules = sorted({one.rule for one in listed})
    run = {
        "tool": {"driver": {"name": "sampan go", "rules": [{"id": rule} for rule in rules]}},
        "results": [_result(one, rules.index(one.rule)) for one in listed],
    }
    document = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [run],
    }
    return json.dumps(document, indent=1)


def _result(one: Diagnostic, rule: int) -> dict[str, object]:
    region = {"startLine": max(1, one.span.line), "startColumn": max(1, one.span.column)}
    return {
        "ruleId": one.rule,
        "ruleIndex": rule,
        "level": one.severity.value,
        "message": {"text": f"{one.summary}\n{one.detail}".strip()},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": one.span.file},
                    "region": region,
                }
            }
        ],
    }
