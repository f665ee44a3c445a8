"""Steps in words: for progress, and for errors."""

from __future__ import annotations

from sampan.images.core.build.repository import shown_url
from sampan.images.core.build.steps import (
    Base,
    ContextFiles,
    CopyStep,
    FileSource,
    GitFiles,
    HostRoot,
    InlineFile,
    MakeDirectory,
    RunStep,
    Scratch,
    Step,
    StepFiles,
)

__all__ = ["step_name"]


def step_name(step: Step) -> str:
    """Return a step in one line, as it would stand in a Dockerfile."""
    match step:
        case Scratch():
            return "FROM scratch"
        case HostRoot():
            return "FROM host"
        case Base(reference):
            return f"FROM {reference}"
        case MakeDirectory(_, path):
            return f"WORKDIR {path}"
        case RunStep(_, args):
            words = args[2:] if len(args) == 3 and args[1] == "-c" else args
            return "RUN " + " ".join(" ".join(words).split())
        case CopyStep():
            word = "ADD" if step.unpack else "COPY"
            return f"{word} {' '.join(_source(one) for one in step.sources)} {step.target}"


def _source(source: FileSource) -> str:
    match source:
        case ContextFiles(_, patterns) | StepFiles(_, patterns):
            return " ".join(patterns)
        case InlineFile(name):
            return f"<<{name}"
        case GitFiles(repository):
            return shown_url(repository.url)
        case _:
            return shown_url(source.url)
