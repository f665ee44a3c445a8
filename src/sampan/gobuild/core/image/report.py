"""An image for a terminal, as JSON and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sampan.gobuild.core.binary.report import inspection_document
from sampan.gobuild.core.grid import markdown_table, text_table
from sampan.gobuild.core.image.claims import Program, Verdict

__all__ = ["image_document", "image_text"]


def image_text(verdicts: Sequence[Verdict], markdown: bool) -> str:
    """Return all platforms of an image for people."""
    parts: list[str] = []
    for one in verdicts:
        title = f"{one.name}: {one.index or one.config}"
        parts.append(f"## {title}\n" if markdown else title)
        facts = [
            ("index", str(one.index) if one.index else "no index"),
            ("configuration", str(one.config)),
            ("starts", " ".join(one.command) or "nothing"),
            ("which is", one.main),
            ("libc", one.libc),
            ("Go programs", str(len(one.programs))),
        ]
        lead = "- " if markdown else "  "
        parts += [f"{lead}{name}: {value}" for name, value in facts if value]
        if one.programs:
            draw = markdown_table if markdown else text_table
            heads = ("PROGRAM", "PLATFORM", "LEVEL", "LINKING", "LOADER", "GO", "BYTES")
            parts += ["", draw(heads, [_row(program) for program in one.programs])]
        parts.append("")
        for finding in one.findings:
            parts.append(
                f"{lead}{finding.severity.value}: {finding.summary} [{finding.rule}]\n"
                f"    {finding.detail}"
            )
    return "\n".join(parts).rstrip()


def _row(one: Program) -> tuple[str, ...]:
    seen = one.inspection
    level = f"{seen.variable}={seen.level.level}" if seen.variable else "-"
    return (
        f"/{one.path}{' *' if one.main else ''}",
        f"{seen.goos}/{seen.goarch}",
        level,
        f"{seen.linking}, cgo {seen.cgo}",
        seen.executable.interpreter or "-",
        seen.build.go_version if seen.build else "-",
        str(one.size_bytes),
    )


def image_document(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Return an image as what becomes JSON."""
    return {
        "kind": "image",
        "path": verdicts[0].name if verdicts else "",
        "platforms": [
            {
                "index": str(one.index) if one.index else None,
                "config": str(one.config),
                "command": one.command,
                "main": one.main,
                "libc": one.libc,
                "programs": [
                    {
                        **inspection_document(program.inspection),
                        "path": f"/{program.path}",
                        "size_bytes": program.size_bytes,
                        "main": program.main,
                    }
                    for program in one.programs
                ],
                "findings": [
                    {
                        "rule": f.rule,
                        "severity": f.severity.value,
                        "summary": f.summary,
                        "detail": f.detail,
                    }
                    for f in one.findings
                ],
            }
            for one in verdicts
        ],
    }
