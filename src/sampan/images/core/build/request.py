"""What a build is asked for, and the names that it has to look up before it can be evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sampan.base.diagnostic import Diagnostic, DiagnosticsError, Severity, Span
from sampan.base.errors import InvalidError
from sampan.dockerfile.ignore import IgnoreRules
from sampan.dockerfile.instructions import From
from sampan.dockerfile.stages import Dockerfile, Stage, references
from sampan.dockerfile.words import Expander
from sampan.images.core.platform import Platform, parse_platform

__all__ = [
    "HOST",
    "SCRATCH",
    "BaseImage",
    "BuildRequest",
    "NeededImage",
    "PlannedStage",
    "Scope",
    "expanded",
    "failure",
    "image_name",
    "needed",
    "plan_stages",
]

SCRATCH = "scratch"
HOST = "host"


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """The target and everything that may change what the same Dockerfile means."""

    platform: Platform
    build_platform: Platform
    target: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    contexts: Mapping[str, str] = field(default_factory=dict)
    """Further contexts by name: `docker-image://REFERENCE`, or else one that the caller has."""

    host_allowed: bool = False
    """`FROM host` is allowed, for stages that are no result."""

    ignore: IgnoreRules | None = field(default=None, compare=False)
    """What of the main context is left out."""


@dataclass(frozen=True, slots=True)
class BaseImage:
    """What a name means now: the digest of a manifest and the image's configuration document."""

    digest: str
    document: Mapping[str, Any]
    known: bool = True
    """It was looked up; else it stands for an image of which only the name is known."""


@dataclass(frozen=True, slots=True)
class NeededImage:
    """An image to look up; `span` is where it is first named."""

    reference: str
    platform: Platform
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class PlannedStage:
    """A stage that the target needs: its base by stage index, or by image name."""

    stage: Stage
    platform: Platform
    base_stage: int | None
    base_image: str


class Scope:
    """The arguments before the first FROM, with those that every build has."""

    def __init__(self, dockerfile: Dockerfile, request: BuildRequest) -> None:
        self.automatic = _automatic(request)
        self.declared: dict[str, str] = {}
        self._request = request
        for instruction in dockerfile.arguments:
            for name, default in instruction.pairs:
                value = request.arguments.get(name)
                if value is None and default is not None:
                    value = expanded(
                        self.expander(dockerfile.directives.escape), default, instruction.line.span
                    )
                if value is None:
                    value = self.automatic.get(name)
                if value is not None:
                    self.declared[name] = value

    def expander(self, escape: str) -> Expander:
        """Return what replaces variables in FROM lines."""
        return Expander({**self.automatic, **self.declared}, escape)

    def argument(self, name: str) -> str | None:
        """Return the value of `ARG name` in a stage, where it has no default of its own."""
        given = self._request.arguments.get(name)
        if given is not None:
            return given
        return self.declared.get(name, self.automatic.get(name))


def _automatic(request: BuildRequest) -> dict[str, str]:
    found: dict[str, str] = {}
    for prefix, platform in (("BUILD", request.build_platform), ("TARGET", request.platform)):
        found |= {
            f"{prefix}PLATFORM": str(platform),
            f"{prefix}OS": platform.os,
            f"{prefix}ARCH": platform.architecture,
            f"{prefix}VARIANT": platform.variant,
        }
    found["TARGETSTAGE"] = request.target or "default"
    given = {key: value for key, value in request.arguments.items() if key in found}
    return {**found, **given}


def expanded(expander: Expander, text: str, span: Span) -> str:
    """Replace variables in one word; DiagnosticsError at `span` where that fails."""
    try:
        return expander.word(text)
    except InvalidError as error:
        raise failure("expansion", f"failed to process {text!r}: {error}", span) from None


def failure(rule: str, summary: str, span: Span, detail: str = "") -> DiagnosticsError:
    """Return the error of one finding."""
    return DiagnosticsError([Diagnostic(Severity.ERROR, rule, summary, span, detail)])


def plan_stages(dockerfile: Dockerfile, request: BuildRequest, scope: Scope) -> list[PlannedStage]:
    """Return the stages that the target needs, each after those that it needs itself."""
    target = dockerfile.target(request.target)
    wanted = {target.index}
    planned: list[PlannedStage] = []
    for stage in reversed(dockerfile.stages[: target.index + 1]):
        if stage.index not in wanted:
            continue
        found = _plan(dockerfile, stage, request, scope)
        planned.append(found)
        if found.base_stage is not None:
            wanted.add(found.base_stage)
        for instruction in stage.instructions:
            for name in references(instruction):
                other = dockerfile.find(name, stage.index)
                if other is not None:
                    wanted.add(other.index)
    return planned[::-1]


def _plan(
    dockerfile: Dockerfile, stage: Stage, request: BuildRequest, scope: Scope
) -> PlannedStage:
    start = stage.start
    expander = scope.expander(dockerfile.directives.escape)
    name = expanded(expander, start.base, start.line.span)
    if not name:
        summary = f"base name ({start.base}) should not be blank"
        detail = (
            f"No value is known for {', '.join(sorted(expander.unset)) or 'it'}: an ARG before "
        )
        detail += "the first FROM needs a default, or --build-arg."
        raise failure("base", summary, start.line.span, detail)
    platform = _platform(start, request, expander)
    base = dockerfile.find(name, stage.index) if not name.isdigit() else None
    if base is not None:
        return PlannedStage(stage, platform, base.index, "")
    return PlannedStage(stage, platform, None, image_name(name, request))


def _platform(start: From, request: BuildRequest, expander: Expander) -> Platform:
    if not start.platform:
        return request.platform
    text = expanded(expander, start.platform, start.line.span)
    if not text:
        summary = f"empty platform value from expression {start.platform}"
        raise failure("platform", summary, start.line.span)
    try:
        return parse_platform(text, request.build_platform)
    except InvalidError as error:
        raise failure(
            "platform", f"failed to parse platform {text}: {error}", start.line.span
        ) from None


def image_name(name: str, request: BuildRequest) -> str:
    """Return the image that a name means when no stage has it: another one by `contexts`."""
    context = request.contexts.get(name, "")
    return (
        context.removeprefix("docker-image://") if context.startswith("docker-image://") else name
    )


def needed(dockerfile: Dockerfile, request: BuildRequest) -> list[NeededImage]:
    """Return the images to look up before `evaluate`."""
    scope = Scope(dockerfile, request)
    found: dict[NeededImage, NeededImage] = {}
    for planned in plan_stages(dockerfile, request, scope):
        span = planned.stage.start.line.span
        name = planned.base_image
        if name and name not in (SCRATCH, HOST) and name not in request.contexts:
            one = NeededImage(name, planned.platform, span)
            found.setdefault(one, one)
        for instruction in planned.stage.instructions:
            for other in references(instruction):
                if dockerfile.find(other, planned.stage.index) is not None:
                    continue
                image = image_name(other, request)
                if image not in request.contexts and image not in (SCRATCH, HOST):
                    one = NeededImage(image, planned.platform, instruction.line.span)
                    found.setdefault(one, one)
    return list(found)
