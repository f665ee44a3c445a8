"""What a core tells, for a terminal, as JSON and as Markdown."""

from __future__ import annotations

from typing import Any, Final

from sampan.gobuild.core.dump.story import SIGNALS, Story
from sampan.gobuild.core.explain.report import fault_document
from sampan.gobuild.core.grid import markdown_table

__all__ = ["core_document", "core_facts", "core_text"]

_SHOWN: Final = 20
_SETTINGS: Final = ("GOOS", "GOARCH", "CGO_ENABLED", "-buildmode", "-tags", "-ldflags")


def core_facts(story: Story) -> list[tuple[str, str]]:
    """Return names and values, in the order in which they are shown."""
    core, build = story.core, story.build
    found = [("kind", "core"), ("platform", f"{core.memory.goos}/{core.goarch}")]
    found += [("program", core.program), ("arguments", core.arguments)]
    if place := core.executable():
        found.append(("file", place.path))
    found += [("build id", one) for one in story.build_id]
    found.append(("signal", _signal(core.signal, core.code)))
    if story.earlier:
        found.append(("first signal", f"{_signal(story.earlier, 1)}, its frame is on the stack"))
    if core.signal in (4, 7, 8, 11) and core.code:
        found.append(("address of the fault", f"{core.address:#x}"))
    if story.fault:
        found.append(("instruction", str(story.fault)))
    if story.emulated:
        found.append(("emulator", f"it ran the program of the build info, for {story.emulated}"))
    if build:
        found += [("Go", build.go_version), ("package", build.path)]
        found += [
            ("  setting", f"{key}={value}")
            for key, value in build.settings
            if key in _SETTINGS or (key.startswith("GO") and key != "GODEBUG")
        ]
    found.append(("threads", str(len(core.threads))))
    found += [
        ("  thread", f"{one.id} at {one.counter:#x}, stack {one.stack:#x}")
        for one in core.threads[:_SHOWN]
    ]
    if story.mismatch:
        found.append(("not its program", story.mismatch))
    return [(name, value) for name, value in found if value]


def _signal(number: int, code: int) -> str:
    if not number:
        return "none: written while it ran"
    name, words = SIGNALS.get(number, (f"signal {number}", ""))
    sent = {0: ", sent by a process", 0xFFFFFFFA: ", sent by itself"}.get(code, "")
    return f"{name} ({words}{sent})" if words else name


def core_text(story: Story, markdown: bool) -> str:
    """Return a core for people."""
    listed = core_facts(story)
    if markdown:
        table = markdown_table(("fact", "value"), [(name.strip(), value) for name, value in listed])
        return f"## {story.core.path}\n\n{table}"
    width = max(len(name) for name, _ in listed)
    return "\n".join([story.core.path, *(f"  {name:<{width}}  {value}" for name, value in listed)])


def core_document(story: Story) -> dict[str, Any]:
    """Return a core as what becomes JSON."""
    core, build = story.core, story.build
    place = core.executable()
    return {
        "path": core.path,
        "kind": "core",
        "platform": {"goos": core.memory.goos, "goarch": core.goarch},
        "program": core.program,
        "arguments": core.arguments,
        "file": place.path if place else "",
        "build_ids": story.build_id,
        "signal": SIGNALS.get(core.signal, (str(core.signal), ""))[0],
        "first_signal": SIGNALS.get(story.signal, (str(story.signal), ""))[0],
        "fault_address": f"{core.address:#x}",
        "fault": story.fault and fault_document(story.fault),
        "go": build and build.go_version,
        "package": build and build.path,
        "settings": dict(build.settings) if build else {},
        "threads": [
            {"id": one.id, "pc": f"{one.counter:#x}", "sp": f"{one.stack:#x}"}
            for one in core.threads
        ],
        "not_its_program": story.mismatch,
    }
