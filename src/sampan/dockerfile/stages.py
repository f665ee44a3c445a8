"""A whole Dockerfile: the arguments before the first FROM, and the stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sampan.base.diagnostic import Diagnostic, DiagnosticsError, Severity
from sampan.base.nearest import nearest
from sampan.dockerfile.instructions import Arg, Copy, From, Instruction, Onbuild, Run
from sampan.dockerfile.parse import parse_line
from sampan.dockerfile.source import Directives, read_source

__all__ = ["Dockerfile", "Stage", "parse_dockerfile"]


@dataclass(frozen=True, slots=True)
class Stage:
    """One FROM and what follows it. `index` counts from 0."""

    index: int
    start: From
    instructions: Sequence[Instruction]

    @property
    def name(self) -> str:
        """Its name, or else its index as text."""
        return self.start.name or str(self.index)


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """A Dockerfile whose every line is an instruction in its place."""

    file: str
    directives: Directives
    arguments: Sequence[Arg]
    stages: Sequence[Stage]
    warnings: Sequence[Diagnostic]

    def target(self, name: str) -> Stage:
        """Return the stage to build: by name in any case, by index, or the last for "".

        Raises DiagnosticsError at the last FROM when there is none of that name.
        """
        if not name:
            return self.stages[-1]
        found = self.find(name, len(self.stages))
        if found is None:
            known = [stage.start.name for stage in self.stages if stage.start.name]
            hint = nearest(name.lower(), known)
            raise DiagnosticsError(
                [
                    Diagnostic(
                        Severity.ERROR,
                        "target",
                        f'target stage "{name}" could not be found'
                        + (f" (did you mean {hint}?)" if hint else ""),
                        self.stages[-1].start.line.span,
                    )
                ]
            )
        return found

    def find(self, name: str, before: int) -> Stage | None:
        """Return the last stage of that name, or index, that comes before stage `before`."""
        wanted = name.lower()
        for stage in reversed(self.stages[:before]):
            if stage.start.name == wanted:
                return stage
        if wanted.isdigit() and int(wanted) < before:
            return self.stages[int(wanted)]
        return None


def parse_dockerfile(text: str, file: str = "Dockerfile") -> Dockerfile:
    """Parse a whole file; DiagnosticsError has every line that is malformed, not only the first."""
    source = read_source(text, file)
    errors: list[Diagnostic] = []
    arguments: list[Arg] = []
    starts: list[tuple[From, list[Instruction]]] = []
    for line in source.lines:
        try:
            found = parse_line(line, source.directives.escape)
        except DiagnosticsError as error:
            errors += error.diagnostics
            continue
        if isinstance(found, From):
            starts.append((found, []))
        elif starts:
            starts[-1][1].append(found)
        elif isinstance(found, Arg):
            arguments.append(found)
        else:
            summary = f"no build stage in current context: {line.written} stands before any FROM"
            errors.append(Diagnostic(Severity.ERROR, "syntax", summary, line.span))
    if not starts and not errors:
        errors.append(
            Diagnostic(
                Severity.ERROR, "syntax", "no build stages: there is no FROM", source.lines[0].span
            )
        )
    stages = [Stage(i, start, tuple(rest)) for i, (start, rest) in enumerate(starts)]
    errors += _forward_references(stages)
    if errors:
        raise DiagnosticsError(errors)
    return Dockerfile(file, source.directives, tuple(arguments), tuple(stages), source.warnings)


def references(instruction: Instruction) -> list[str]:
    """Return the stages or images that an instruction takes files from, as written."""
    if isinstance(instruction, Onbuild):
        return references(instruction.trigger)
    if isinstance(instruction, Copy):
        return [instruction.from_] if instruction.from_ else []
    if isinstance(instruction, Run):
        return [mount.from_ for mount in instruction.mounts if mount.from_]
    return []


def _forward_references(stages: Sequence[Stage]) -> list[Diagnostic]:
    """Find what refers to its own stage by index, or to a later one."""
    found = []
    for stage in stages:
        for instruction in stage.instructions:
            for name in references(instruction):
                if name.isdigit() and int(name) >= stage.index:
                    summary = f"invalid from flag value {name}: invalid stage index {name}"
                    found.append(
                        Diagnostic(Severity.ERROR, "syntax", summary, instruction.line.span)
                    )
                elif name == stage.start.name:
                    summary = f"circular dependency: stage {name!r} takes files from itself"
                    found.append(
                        Diagnostic(Severity.ERROR, "syntax", summary, instruction.line.span)
                    )
    return found
