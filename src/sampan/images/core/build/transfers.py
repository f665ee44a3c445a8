"""RUN, COPY and ADD as steps of the graph."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Protocol

from sampan.base.errors import InvalidError
from sampan.base.units import parse_size_bytes
from sampan.dockerfile.instructions import Add, Copy, Run, RunMount
from sampan.dockerfile.source import Heredoc
from sampan.dockerfile.words import Expander
from sampan.images.core.build.repository import parse_repository, shown_url
from sampan.images.core.build.request import BuildRequest
from sampan.images.core.build.stagestate import StageState
from sampan.images.core.build.steps import (
    ContextFiles,
    CopyStep,
    FileSource,
    GitFiles,
    InlineFile,
    RunStep,
    Step,
    StepFiles,
    StepMount,
    Url,
)

__all__ = ["copy_step", "run_step"]


class Origins(Protocol):
    """Where `--from` leads: the evaluation of the other stages."""

    request: BuildRequest

    def source_step(self, state: StageState, name: str) -> Step:
        """Return the step whose files the name means."""
        ...


_SHA256: Final = re.compile(r"sha256:[0-9a-f]{64}")
_URL: Final = re.compile(r"https?://\S+")
_SHOWN_LIMIT: Final = 10_000


def run_step(origins: Origins, state: StageState, instruction: Run, expander: Expander) -> RunStep:
    """Return the step of RUN, and add it to the history."""
    command, config = instruction.command, state.config
    script = None
    if instruction.script is not None:
        args, script = _script(state, instruction.script)
    elif command.shell:
        args = [*config.shell, command.words[0]]
    else:
        args = list(command.words)
    own = {name: value for name, value in state.arguments.items() if name not in config.env}
    env = [*(f"{name}={value}" for name, value in own.items()), *(config.fields.get("Env") or ())]
    shown = " ".join(args)[:_SHOWN_LIMIT]
    pairs = "".join(f"{name}={value} " for name, value in own.items())
    config.remember(f"RUN {f'|{len(own)} {pairs}' if own else ''}{shown} # buildkit", empty=False)
    return RunStep(
        state.step,
        tuple(args),
        tuple(env),
        config.workdir,
        config.user,
        state.platform,
        tuple(_mount(origins, state, one, expander) for one in instruction.mounts),
        instruction.network,
        instruction.security,
        script,
    )


def _script(state: StageState, heredoc: Heredoc) -> tuple[list[str], str | None]:
    """Return the command of a lone here-document: the shell's, or itself when `#!` names one."""
    if heredoc.content.startswith("#!"):
        return [f"/dev/pipes/{heredoc.name}"], heredoc.content
    return [*state.config.shell, heredoc.content], None


def _mount(origins: Origins, state: StageState, mount: RunMount, expander: Expander) -> StepMount:
    target, name = expander.word(mount.target), expander.word(mount.id)
    source, context = None, ""
    origin = expander.word(mount.from_)
    if origin and mount.type in ("bind", "cache"):
        if origin in origins.request.contexts:
            context = origin
        else:
            source = origins.source_step(state, origin)
    if mount.type == "secret":
        name = name or posixpath.basename(target)
        target = target or ("" if mount.env else f"/run/secrets/{name}")
    elif mount.type == "ssh":
        name, target = name or "default", target or "/run/buildkit/ssh_agent.0"
    target = posixpath.join(state.config.workdir, target) if target else ""
    return StepMount(
        mount.type,
        target,
        expander.word(mount.source),
        source,
        context,
        name or (target if mount.type == "cache" else ""),
        mount.sharing,
        mount.read_only,
        mount.required,
        mount.env,
        _octal(mount.mode) if mount.mode else None,
        _number(expander.word(mount.uid)),
        _number(expander.word(mount.gid)),
        _size(mount.size),
    )


def _number(text: str) -> int | None:
    if not text:
        return None
    if not text.isdigit():
        raise InvalidError(f"invalid number {text!r} in --mount")
    return int(text)


def _octal(text: str) -> int:
    try:
        return int(text, 8)
    except ValueError:
        raise InvalidError(f"invalid mode {text!r}: an octal number is required") from None


def _size(text: str) -> int | None:
    if not text:
        return None
    try:
        return parse_size_bytes(text)
    except ValueError as error:
        raise InvalidError(f"invalid size {text!r} in --mount: {error}") from None


def copy_step(
    origins: Origins, state: StageState, instruction: Copy | Add, expander: Expander
) -> CopyStep:
    """Return the step of COPY or ADD, and add it to the history."""
    words = [expander.word(word) for word in instruction.sources]
    target = state.config.resolve(expander.word(instruction.target))
    sources: list[FileSource] = []
    if isinstance(instruction, Copy):
        if words:
            sources.append(_files(origins, state, instruction, words))
    else:
        sources += _added(instruction, words, expander)
    for one in instruction.inline:
        content = expander.text(one.content) if one.expand else one.content
        sources.append(InlineFile(one.name, content))
    several = len(words) + len(instruction.inline) > 1
    if several and not target.endswith("/"):
        raise InvalidError(
            f"When using {instruction.line.keyword} with more than one source file, the "
            "destination must be a directory and end with a /"
        )
    _remember(state, instruction, words, target)
    return CopyStep(
        state.step,
        tuple(sources),
        target,
        expander.word(instruction.chown),
        expander.word(instruction.chmod),
        instruction.link,
        isinstance(instruction, Copy) and instruction.parents,
        tuple(expander.word(one) for one in instruction.excludes),
        isinstance(instruction, Add) and instruction.unpack is not False,
    )


def _files(
    origins: Origins, state: StageState, instruction: Copy, words: Sequence[str]
) -> FileSource:
    if not instruction.from_:
        return ContextFiles("", tuple(words))
    if instruction.from_ in origins.request.contexts and not origins.request.contexts[
        instruction.from_
    ].startswith("docker-image://"):
        return ContextFiles(instruction.from_, tuple(words))
    return StepFiles(origins.source_step(state, instruction.from_), tuple(words))


def _added(instruction: Add, words: Sequence[str], expander: Expander) -> list[FileSource]:
    found: list[FileSource] = []
    local = [word for word in words if not (_URL.fullmatch(word) or parse_repository(word))]
    if local:
        found.append(ContextFiles("", tuple(local)))
    checksum = expander.word(instruction.checksum)
    if checksum and (local or len(words) != 1):
        raise InvalidError(
            "checksum can't be specified for more than one source, or for local files"
        )
    for word in words:
        repository = parse_repository(word)
        if repository is not None:
            commit = checksum or repository.checksum
            found.append(GitFiles(replace(repository, checksum=commit), instruction.keep_git_dir))
        elif _URL.fullmatch(word):
            if checksum and not _SHA256.fullmatch(checksum):
                raise InvalidError(f"invalid checksum {checksum!r}: use sha256:<64 hex digits>")
            found.append(Url(word, checksum, bool(instruction.unpack)))
    return found


def _remember(
    state: StageState, instruction: Copy | Add, words: Sequence[str], target: str
) -> None:
    flags = ""
    if instruction.link:
        flags += "--link "
    if instruction.chown:
        flags += f"--chown={instruction.chown} "
    if instruction.chmod:
        flags += f"--chmod={instruction.chmod} "
    names = [*map(shown_url, words), *(f"<<{one.name}" for one in instruction.inline)]
    shown = " ".join([*names, target])
    state.config.remember(f"{instruction.line.keyword} {flags}{shown} # buildkit", empty=False)
