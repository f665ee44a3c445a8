"""How an inspection is shown: for a terminal, as JSON, as Markdown, and two side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sampan.gobuild.core.binary.inspection import Inspection, Verdict
from sampan.gobuild.core.grid import markdown_table, text_table

__all__ = ["compared", "facts", "inspection_document", "inspection_text", "symbol_difference"]

_NAMES_BYTES = 64 << 20
_SHOWN = 20


def facts(one: Inspection) -> list[tuple[str, str]]:
    """Return names and values, in the order in which they are shown."""
    file, build = one.executable, one.build
    libraries = ", ".join(file.needed) or "none"
    found = [
        ("platform", f"{one.goos or 'unknown'}/{one.goarch}"),
        ("format", f"{file.format} {file.bits} bit, {'big' if file.big_endian else 'little'}"),
        ("kind", file.kind),
    ]
    if one.variable and build:
        recorded = one.recorded_level or "nothing"
        found.append(("level recorded", f"{one.variable}={recorded}"))
        if one.level.level:
            found.append(("level of the code", f"{one.level.level} ({one.level.sure})"))
        found += [("  evidence", text) for text in one.level.evidence]
    found.append(("cgo", one.cgo))
    found += [("  evidence", text) for text in one.cgo_evidence]
    found += [
        ("linking", one.linking),
        ("interpreter", file.interpreter or "none"),
        ("libraries", libraries),
        ("glibc needed", one.glibc or "none"),
        ("PIE", _yes(file.pie)),
        ("symbols", "stripped" if file.stripped else "present"),
        ("debug information", _yes(file.debug)),
        ("segment alignment", f"{file.alignment} bytes"),
    ]
    if file.minimum_system:
        found.append(("minimum system", file.minimum_system))
    if file.float_abi:
        found.append(("float ABI", file.float_abi))
    if build is None:
        found.append(("Go", "no build info: no Go program, or packed"))
        return found
    module = f"{build.module} {build.module_version}".strip()
    found += [("Go", build.go_version), ("package", build.path), ("module", module or "none")]
    found += [("  setting", f"{key}={value}") for key, value in build.settings]
    if build.dependencies:
        found.append(("dependencies", str(len(build.dependencies))))
    return found


def inspection_text(one: Inspection, markdown: bool) -> str:
    """Return one inspection for people."""
    listed = facts(one)
    if markdown:
        table = markdown_table(("fact", "value"), [(n.strip(), v) for n, v in listed])
        parts = [f"## {one.path}", "", table]
    else:
        width = max(len(name) for name, _ in listed)
        parts = [one.path, *(f"  {name:<{width}}  {value}" for name, value in listed)]
    for title, verdicts in (("devices", one.devices), ("base images", one.images)):
        if verdicts:
            parts += ["", *_verdicts(title, verdicts, markdown)]
    if one.findings:
        parts.append("")
    for finding in one.findings:
        mark = "- " if markdown else ""
        parts.append(f"{mark}{finding.severity.value}: {finding.summary} [{finding.rule}]")
        parts.append(f"  {finding.detail}")
    return "\n".join(parts)


def _verdicts(title: str, verdicts: Sequence[Verdict], markdown: bool) -> list[str]:
    good = [one.name for one in verdicts if one.runs]
    lead = "- " if markdown else "  "
    lines = [f"{lead}runs on {title}: {', '.join(good) or 'none of the known ones'}"]
    lines += [f"{lead}not on {one.name}: {one.reason}" for one in verdicts if not one.runs]
    return lines


def inspection_document(one: Inspection) -> dict[str, Any]:
    """Return an inspection as what becomes JSON."""
    file, build = one.executable, one.build
    return {
        "path": one.path,
        "platform": {"goos": one.goos, "goarch": one.goarch},
        "format": file.format,
        "kind": file.kind,
        "level": {
            "variable": one.variable,
            "recorded": one.recorded_level,
            "code": one.level.level,
            "sure": one.level.sure,
            "evidence": one.level.evidence,
        },
        "cgo": {"used": one.cgo, "evidence": one.cgo_evidence},
        "linking": one.linking,
        "interpreter": file.interpreter,
        "libraries": file.needed,
        "glibc": one.glibc,
        "pie": file.pie,
        "stripped": file.stripped,
        "debug": file.debug,
        "alignment_bytes": file.alignment,
        "minimum_system": file.minimum_system,
        "packed": one.packed,
        "go": build and build.go_version,
        "package": build and build.path,
        "module": build and {"path": build.module, "version": build.module_version},
        "settings": dict(build.settings) if build else {},
        "dependencies": dict(build.dependencies) if build else {},
        "devices": {v.name: v.reason or "runs" for v in one.devices},
        "images": {v.name: v.reason or "runs" for v in one.images},
        "findings": [
            {"rule": f.rule, "severity": f.severity.value, "summary": f.summary, "detail": f.detail}
            for f in one.findings
        ],
    }


def compared(left: Inspection, right: Inspection, markdown: bool) -> str:
    """Return two programs side by side: the facts that differ, and their symbols."""
    a, b = _merged(left), _merged(right)
    lines = [
        (name, a.get(name, "-"), b.get(name, "-"))
        for name in dict.fromkeys([*a, *b])
        if a.get(name) != b.get(name)
    ]
    for title, one, other in (
        ("devices", left.devices, right.devices),
        ("base images", left.images, right.images),
    ):
        here, there = ({v.name for v in side if v.runs} for side in (one, other))
        if here != there:
            lines.append((f"only {title}", _names(here - there), _names(there - here)))
    only_left, only_right, both = symbol_difference(left, right)
    lines.append(("symbols in common", str(both), str(both)))
    lines.append(("symbols of one only", str(len(only_left)), str(len(only_right))))
    for index in range(max(len(only_left), len(only_right))):
        if index == _SHOWN:
            lines.append(("", "...", "..."))
            break
        lines.append(("", _nth(only_left, index), _nth(only_right, index)))
    draw = markdown_table if markdown else text_table
    return draw(("DIFFERENCE", left.path, right.path), lines)


def _nth(names: Sequence[str], index: int) -> str:
    return names[index] if index < len(names) else ""


def _merged(one: Inspection) -> dict[str, str]:
    """Facts by name; settings by their own, evidence with what it is for."""
    found: dict[str, str] = {}
    for name, value in facts(one):
        if name.strip() == "setting":
            key, _, setting = value.partition("=")
            found[f"setting {key}"] = setting
        elif not name.startswith("  "):
            found[name] = value
    return found


def _names(names: set[str]) -> str:
    return " ".join(sorted(names)) or "-"


def symbol_difference(left: Inspection, right: Inspection) -> tuple[list[str], list[str], int]:
    """Return the symbols of one program only, for both, and how many are in both."""
    a, b = _symbols(left), _symbols(right)
    return _sorted(a - b), _sorted(b - a), len(a & b)


def _symbols(one: Inspection) -> set[bytes]:
    place = one.executable.names
    if place is None:
        return set()
    raw = one.executable.window.take(place.offset, min(place.size, _NAMES_BYTES))
    return set(raw.split(b"\0")) - {b""}


def _sorted(names: set[bytes]) -> list[str]:
    return [name.decode("utf-8", "replace") for name in sorted(names)]


def _yes(value: bool) -> str:
    return "yes" if value else "no"
