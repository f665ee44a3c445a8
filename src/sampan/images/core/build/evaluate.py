"""From a Dockerfile to the graph of a build, and the configuration of every image in it.

Source: the Dockerfile reference. An ARG is seen by what follows it in its stage; an ENV of the same
name hides it; a command sees both as its environment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sampan.base.diagnostic import Diagnostic, DiagnosticsError
from sampan.base.errors import InvalidError, UnsupportedError
from sampan.dockerfile.instructions import (
    Add,
    Arg,
    Copy,
    Env,
    Instruction,
    Onbuild,
    Run,
    Workdir,
)
from sampan.dockerfile.parse import parse_line
from sampan.dockerfile.source import read_source
from sampan.dockerfile.stages import Dockerfile
from sampan.dockerfile.words import Expander
from sampan.images.core.build.checks import (
    ignored_sources,
    relative_workdir,
    selected,
    undefined,
    wrong_platform,
)
from sampan.images.core.build.config import ImageConfig
from sampan.images.core.build.metadata import apply_metadata
from sampan.images.core.build.places import StepPlace, places_of
from sampan.images.core.build.request import (
    HOST,
    SCRATCH,
    BaseImage,
    BuildRequest,
    PlannedStage,
    Scope,
    failure,
    image_name,
    plan_stages,
)
from sampan.images.core.build.stagestate import StageState
from sampan.images.core.build.steps import Base, Graph, HostRoot, MakeDirectory, Scratch, Step
from sampan.images.core.build.transfers import copy_step, run_step
from sampan.images.core.platform import Platform

__all__ = ["Evaluation", "Evaluator", "evaluate"]

Bases = Mapping[tuple[str, str], BaseImage]
"""What names mean: by reference and platform (its text)."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The result: the last step of the target and its image's configuration."""

    target: StageState
    stages: Mapping[int, StageState]
    warnings: Sequence[Diagnostic]
    places: Mapping[int, StepPlace]
    """Where steps come from, by their identity."""


class Evaluator:
    """Evaluates the stages of one build for one platform."""

    def __init__(
        self, dockerfile: Dockerfile, request: BuildRequest, bases: Bases, graph: Graph
    ) -> None:
        self.dockerfile = dockerfile
        self.request = request
        self.graph = graph
        self.scope = Scope(dockerfile, request)
        self.states: dict[int, StageState] = {}
        self.warnings: list[Diagnostic] = []
        self.places: dict[int, StepPlace] = {}
        self._bases = bases

    def run(self) -> Evaluation:
        """Evaluate every stage that the target needs."""
        planned = plan_stages(self.dockerfile, self.request, self.scope)
        for one in planned:
            self.states[one.stage.index] = self._stage(one)
        target = self.states[planned[-1].stage.index]
        if planned[-1].base_image == HOST or isinstance(_root(target.step), HostRoot):
            summary = "a stage FROM host cannot be the result of a build"
            detail = "Copy what it made into a stage with a base of its own: COPY --from."
            raise failure("host", summary, planned[-1].stage.start.line.span, detail)
        for name, value in self.request.labels.items():
            target.config.fields.setdefault("Labels", {})[name] = value
        warnings = selected(self.dockerfile, self.request, self.scope, self.warnings)
        return Evaluation(target, self.states, tuple(warnings), self.places)

    def _stage(self, planned: PlannedStage) -> StageState:
        state = self._begin(planned)
        triggers, state.config.on_build = state.config.on_build, []
        trail = [(planned.stage.start.line, state.step)]
        made = [self._trigger(one, planned, state.escape) for one in triggers]
        for instruction in (*made, *planned.stage.instructions):
            before = state.step
            self._instruction(state, instruction)
            if state.step is not before:
                trail.append((instruction.line, state.step))
        self.places = {**places_of(planned, trail), **self.places}
        return state

    def _begin(self, planned: PlannedStage) -> StageState:
        escape = self.dockerfile.directives.escape
        if planned.base_stage is not None:
            base = self.states[planned.base_stage]
            config = base.config.copy()
            config.on_build = list(base.config.on_build)
            return StageState(
                planned,
                base.step,
                config,
                escape,
                {},
                workdir_is_absolute=base.workdir_is_absolute,
                env_known=base.env_known,
            )
        step, config = self._base(planned)
        if planned.base_image != SCRATCH:
            config.ensure_path()
        image = self._bases.get((planned.base_image, str(planned.platform)))
        known = image is None or image.known
        return StageState(planned, step, config, escape, {}, env_known=known)

    def _base(self, planned: PlannedStage) -> tuple[Step, ImageConfig]:
        name, span = planned.base_image, planned.stage.start.line.span
        if name == SCRATCH:
            config = ImageConfig()
            config.ensure_path()
            return self.graph.add(Scratch()), config
        if name == HOST:
            if not self.request.host_allowed:
                detail = "The engine's owner may allow it: sampan dockerd --build-from-host."
                raise failure("host", "FROM host is not allowed by this engine", span, detail)
            return self.graph.add(HostRoot()), ImageConfig()
        found = self.image(name, planned.platform)
        self.warnings += wrong_platform(planned, found)
        config = ImageConfig.of_document(found.document)
        return self.graph.add(Base(name, planned.platform, found.digest)), config

    def image(self, name: str, platform: Platform) -> BaseImage:
        """Return what was looked up before; `needed` has told the caller of every name."""
        found = self._bases.get((name, str(platform)))
        if found is None:
            raise InvalidError(f"image {name} for {platform} was not looked up")
        return found

    def source_step(self, state: StageState, name: str) -> Step:
        """Return the step whose files `--from=name` means."""
        stage = self.dockerfile.find(name, state.planned.stage.index)
        if stage is not None:
            return self.states[stage.index].step
        image = image_name(name, self.request)
        if image == SCRATCH:
            return self.graph.add(Scratch())
        found = self.image(image, state.platform)
        return self.graph.add(Base(image, state.platform, found.digest))

    def _trigger(self, text: str, planned: PlannedStage, escape: str) -> Instruction:
        """Parse an ONBUILD trigger of the base; it stands where the stage begins."""
        span = planned.stage.start.line.span
        (line,) = read_source(text, span.file).lines
        try:
            return parse_line(replace(line, span=span), escape)
        except DiagnosticsError as error:
            summary = f"ONBUILD trigger of {planned.base_image}: {error.diagnostics[0].summary}"
            raise failure("onbuild", summary, span) from None

    def _instruction(self, state: StageState, instruction: Instruction) -> None:
        expander = state.expander()
        try:
            self._apply(state, instruction, expander)
        except DiagnosticsError:
            raise
        except (InvalidError, UnsupportedError) as error:
            raise failure("instruction", str(error), instruction.line.span) from None
        if state.env_known:
            self.warnings += undefined(expander, instruction.line)

    def _apply(self, state: StageState, instruction: Instruction, expander: Expander) -> None:
        match instruction:
            case Run():
                state.step = self.graph.add(run_step(self, state, instruction, expander))
            case Copy() | Add():
                self.warnings += ignored_sources(instruction, expander, self.request.ignore)
                state.step = self.graph.add(copy_step(self, state, instruction, expander))
            case Workdir():
                self._workdir(state, instruction, expander)
            case Arg():
                self._argument(state, instruction, expander)
            case Env():
                self._environment(state, instruction, expander)
            case Onbuild():
                written = f"{instruction.trigger.line.keyword} {instruction.trigger.line.rest}"
                state.config.on_build.append(written)
                state.config.remember(f"ONBUILD {written}", empty=True)
            case _:
                apply_metadata(state, instruction, expander)

    def _workdir(self, state: StageState, instruction: Workdir, expander: Expander) -> None:
        path = expander.word(instruction.path)
        if not path:
            raise InvalidError("WORKDIR requires a path: it is empty after expansion")
        if path.startswith("/"):
            state.workdir_is_absolute = True
        elif not state.workdir_is_absolute:
            self.warnings.append(relative_workdir(instruction, path))
        state.config.fields["WorkingDir"] = state.config.resolve(path).rstrip("/") or "/"
        made = MakeDirectory(state.step, state.config.workdir, state.config.user)
        state.step = self.graph.add(made)
        state.config.remember(f"WORKDIR {state.config.workdir}", empty=False)

    def _argument(self, state: StageState, instruction: Arg, expander: Expander) -> None:
        for name, default in instruction.pairs:
            value = self.request.arguments.get(name)
            if value is None:
                value = expander.word(default) if default is not None else None
            if value is None:
                value = self.scope.argument(name)
            state.arguments.pop(name, None)
            if value is not None:
                state.arguments[name] = value
            shown = f"{name}={value}" if value is not None else name
            state.config.remember(f"ARG {shown}", empty=True)

    def _environment(self, state: StageState, instruction: Env, expander: Expander) -> None:
        pairs = [(expander.word(name), expander.word(value)) for name, value in instruction.pairs]
        for name, value in pairs:
            state.config.set_env(name, value)
        shown = " ".join(f"{name}={value}" for name, value in pairs)
        state.config.remember(f"ENV {shown}", empty=True)


def _root(step: Step) -> Step:
    """Return the step that a chain of parents begins with."""
    while hasattr(step, "parent"):
        step = step.parent
    return step


def evaluate(
    dockerfile: Dockerfile, request: BuildRequest, bases: Bases, graph: Graph | None = None
) -> Evaluation:
    """Return what a build has to do; `bases` has every image that `needed` names.

    With one `graph` for several platforms, what does not depend on the platform is done once.
    Raises DiagnosticsError with the place of what cannot be.
    """
    return Evaluator(dockerfile, request, bases, graph or Graph()).run()
