"""A diagnosis for a terminal, as JSON and as Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sampan.gobuild.core.explain.diagnosis import Cause, Diagnosis
from sampan.gobuild.core.explain.fault import Fault
from sampan.gobuild.core.explain.trace import Frame, Trace

__all__ = ["diagnosis_json", "diagnosis_text", "fault_document"]


def diagnosis_text(one: Diagnosis, markdown: bool) -> str:
    """Return a diagnosis for people."""
    parts: list[str] = []
    if not one.known:
        parts.append("unknown: the text does not decide. Collect:")
        parts += [f"- {what}" for what in one.collect]
        if one.causes:
            parts += ["", "Possible:"]
    for number, cause in enumerate(one.causes, 1):
        parts += _cause(cause, number, markdown)
    if one.fault and (one.fault.place or one.fault.text):
        parts += ["", f"stopped at: {one.fault}"]
    if one.trace.frames or one.trace.reason or one.trace.race:
        parts += ["", *_trace(one.trace, markdown)]
    return "\n".join(parts)


def _cause(cause: Cause, number: int, markdown: bool) -> list[str]:
    title = f"{number}. {cause.summary} ({cause.sure}) [{cause.rule}]"
    lead = "   - " if markdown else "   "
    lines = [title]
    lines += [f"{lead}evidence: {text}" for text in cause.evidence]
    lines += [f"{lead}against: {text}" for text in cause.against]
    lines.append(f"{lead}fix: {cause.remedy}")
    return lines


def _trace(trace: Trace, markdown: bool) -> list[str]:
    lead = "- " if markdown else "  "
    lines = ["trace:"]
    for name, value in (
        ("reason", trace.reason),
        ("signal", trace.signal),
        ("GOARCH by the registers", trace.goarch),
        ("goroutines", str(trace.goroutines or "")),
        ("state", trace.state),
    ):
        if value:
            lines.append(f"{lead}{name}: {value}")
    if own := trace.own_frame:
        lines.append(f"{lead}first frame of the program: {own.function} ({own.file}:{own.line})")
    for access in trace.race:
        own = access.own_frame
        where = f": {own.function} ({own.file}:{own.line})" if own else ""
        lines.append(f"{lead}{access.what} by {access.by}{where}")
    owners = [frame.owner for frame in trace.frames]
    if owners:
        counts = ", ".join(f"{name} {owners.count(name)}" for name in dict.fromkeys(owners))
        lines.append(f"{lead}frames: {counts}")
    return lines


def diagnosis_json(one: Diagnosis) -> str:
    """Return a diagnosis as a JSON object."""
    trace = one.trace
    return json.dumps(
        {
            "known": one.known,
            "causes": [
                {
                    "rule": cause.rule,
                    "weight": cause.weight,
                    "sure": cause.sure,
                    "summary": cause.summary,
                    "evidence": cause.evidence,
                    "against": cause.against,
                    "fix": cause.remedy,
                }
                for cause in one.causes
            ],
            "collect": one.collect,
            "fault": one.fault and fault_document(one.fault),
            "trace": {
                "reason": trace.reason,
                "signal": trace.signal,
                "goarch": trace.goarch,
                "goroutines": trace.goroutines,
                "state": trace.state,
                "frames": _frame_documents(trace.frames),
                "race": [
                    {"what": side.what, "by": side.by, "frames": _frame_documents(side.frames)}
                    for side in trace.race
                ],
            },
        },
        indent=1,
    )


def _frame_documents(frames: Iterable[Frame]) -> list[dict[str, Any]]:
    return [
        {"function": f.function, "owner": f.owner, "file": f.file, "line": f.line} for f in frames
    ]


def fault_document(one: Fault) -> dict[str, Any]:
    """Return where a program stopped, for JSON."""
    place = one.place
    return {
        "address": f"{one.address:#x}",
        "code": one.code.hex(),
        "instruction": one.text,
        "needs": one.needs,
        "function": place.function if place else "",
        "offset": place.offset if place else 0,
        "file": place.file if place else "",
        "line": place.line if place else 0,
    }
