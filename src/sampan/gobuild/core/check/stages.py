"""A Dockerfile while its rules run: places in it, where stages come from, what they build."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from sampan.base.diagnostic import Severity, Span
from sampan.base.record import record
from sampan.dockerfile.instructions import Copy, Instruction, Run
from sampan.dockerfile.stages import Dockerfile, Stage
from sampan.gobuild.core.check.dockerbuilds import lineage, stage_builds
from sampan.gobuild.core.check.finding import Edit, Finding, SourceFile, finding
from sampan.gobuild.core.check.gofiles import GoNeeds
from sampan.gobuild.core.check.modules import GoTree, together

__all__ = ["BUILD", "PLATFORM_ARGS", "CheckedFile", "Place", "builds_go", "command_of"]

PLATFORM_ARGS: Final = (
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETARCH",
    "TARGETVARIANT",
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDARCH",
    "BUILDVARIANT",
)
BUILD: Final = re.compile(r"\bgo\s+(?:build|install)\b")


@record
class Place:
    """A word in a file, from 1."""

    line: int
    column: int


class CheckedFile:
    """One Dockerfile while its rules run."""

    def __init__(
        self, source: SourceFile, parsed: Dockerfile, tree: GoTree, platforms: Sequence[str]
    ):
        self.source = source
        self.lines = source.lines
        self.parsed = parsed
        self.builds = stage_builds(parsed, source.path, tree)
        self.platforms = platforms
        self.globals = {name for arg in parsed.arguments for name, _ in arg.pairs}
        self.several = len(set(platforms)) > 1 or "TARGETARCH" in source.text

    def place(self, span: Span, word: str) -> Place:
        """Where a word stands in an instruction; its beginning when it cannot be found."""
        lines = self.lines
        for number in range(span.line, max(span.line, span.end_line) + 1):
            at = lines[number - 1].find(word) if number <= len(lines) else -1
            if at >= 0:
                return Place(number, at + 1)
        return Place(span.line, span.column)

    def say(
        self,
        severity: Severity,
        rule: str,
        summary: str,
        at: Place,
        remedy: str,
        why: str = "",
        edit: Edit | None = None,
    ) -> Finding:
        """Make a finding at a place of this file."""
        return finding(severity, rule, summary, self.source, at.line, at.column, remedy, why, edit)

    def lineage(self, stage: Stage) -> list[Stage]:
        """A stage and those it is made from, the nearest first."""
        return lineage(self.parsed, stage)

    def copied_needs(self, stage: Stage, last: Stage) -> GoNeeds:
        """What the programs of a stage need that another copies; all, when none is named."""
        sources = {
            source.rstrip("/").rpartition("/")[2]
            for one in last.instructions
            if isinstance(one, Copy) and one.from_
            for source in one.sources
        }
        builds = self.builds.get(stage.index, [])
        named = [one for one in builds if one.output.rpartition("/")[2] in sources - {""}]
        return together(one.needs for one in named or builds)

    def needs(self, *stages: Stage) -> GoNeeds:
        """What the programs need that are built in some stages."""
        return together(one.needs for stage in stages for one in self.builds.get(stage.index, ()))

    def base(self, stage: Stage) -> str:
        """The image that a stage comes from in the end, with defaults of arguments put in."""
        reference = self.lineage(stage)[-1].start.base
        defaults = {n: v or "" for arg in self.parsed.arguments for n, v in arg.pairs}
        return re.sub(
            r"\$\{?(\w+)(?::-([^}]*))?\}?",
            lambda m: defaults.get(m[1]) or m[2] or "",
            reference,
        )


def command_of(one: Instruction) -> str:
    """Return the command of a RUN, empty for anything else."""
    return " ".join(one.command.words) if isinstance(one, Run) else ""


def builds_go(one: Instruction) -> bool:
    """Tell whether it is a RUN that builds or installs Go packages."""
    return isinstance(one, Run) and bool(BUILD.search(command_of(one)))
