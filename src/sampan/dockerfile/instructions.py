"""The instructions of a Dockerfile as values. Variables in them are not replaced yet.

Every instruction knows its `line`: where it stands and how it was written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sampan.dockerfile.source import Heredoc, Line

__all__ = [
    "Add",
    "Arg",
    "Cmd",
    "Command",
    "Copy",
    "Entrypoint",
    "Env",
    "Expose",
    "From",
    "Healthcheck",
    "Instruction",
    "Label",
    "Maintainer",
    "Onbuild",
    "Run",
    "RunMount",
    "Shell",
    "Stopsignal",
    "Transfer",
    "User",
    "Volume",
    "Workdir",
]


@dataclass(frozen=True, slots=True)
class Instruction:
    """What all have in common."""

    line: Line


@dataclass(frozen=True, slots=True)
class Command:
    """A command line: `shell` in one text for the stage's shell, or else words to execute."""

    words: Sequence[str]
    shell: bool


@dataclass(frozen=True, slots=True)
class From(Instruction):
    """The start of a stage."""

    base: str
    name: str = ""
    platform: str = ""


@dataclass(frozen=True, slots=True)
class RunMount:
    """One `--mount` of RUN; fields that its type does not have are empty."""

    type: str = "bind"
    target: str = ""
    source: str = ""
    from_: str = ""
    id: str = ""
    sharing: str = "shared"
    read_only: bool = False
    required: bool = False
    env: str = ""
    mode: str = ""
    uid: str = ""
    gid: str = ""
    size: str = ""


@dataclass(frozen=True, slots=True)
class Run(Instruction):
    """Execute a command and keep what it changes. `script` is the text of a lone heredoc."""

    command: Command
    mounts: Sequence[RunMount] = ()
    network: str = "default"
    security: str = "sandbox"
    script: Heredoc | None = None


@dataclass(frozen=True, slots=True)
class Transfer(Instruction):
    """What ADD and COPY share."""

    sources: Sequence[str]
    target: str
    inline: Sequence[Heredoc] = ()
    chown: str = ""
    chmod: str = ""
    link: bool = False
    excludes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Copy(Transfer):
    """Copy files of the context, another stage or another image."""

    from_: str = ""
    parents: bool = False


@dataclass(frozen=True, slots=True)
class Add(Transfer):
    """Copy, and fetch from URLs and repositories, and unpack archives of the context."""

    checksum: str = ""
    keep_git_dir: bool = False
    unpack: bool | None = None


@dataclass(frozen=True, slots=True)
class Env(Instruction):
    """Variables of the stage and of containers."""

    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Arg(Instruction):
    """Variables of the build: name and default, None without one."""

    pairs: Sequence[tuple[str, str | None]]


@dataclass(frozen=True, slots=True)
class Label(Instruction):
    """Labels of the image."""

    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Workdir(Instruction):
    """The working directory from here on."""

    path: str


@dataclass(frozen=True, slots=True)
class User(Instruction):
    """The user from here on."""

    user: str


@dataclass(frozen=True, slots=True)
class Expose(Instruction):
    """Ports that containers listen on."""

    ports: Sequence[str]


@dataclass(frozen=True, slots=True)
class Volume(Instruction):
    """Directories that containers keep in volumes."""

    paths: Sequence[str]


@dataclass(frozen=True, slots=True)
class Entrypoint(Instruction):
    """What containers execute."""

    command: Command


@dataclass(frozen=True, slots=True)
class Cmd(Instruction):
    """The default words after the entry point, or the default command."""

    command: Command


@dataclass(frozen=True, slots=True)
class Shell(Instruction):
    """The shell of commands in shell form."""

    words: Sequence[str]


@dataclass(frozen=True, slots=True)
class Stopsignal(Instruction):
    """The signal that asks containers to end."""

    signal: str


@dataclass(frozen=True, slots=True)
class Healthcheck(Instruction):
    """How to see whether a container is well: no `command` means NONE. Times in nanoseconds."""

    command: Command | None
    interval_ns: int = 0
    timeout_ns: int = 0
    start_period_ns: int = 0
    start_interval_ns: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class Maintainer(Instruction):
    """The author; a label does that better."""

    name: str


@dataclass(frozen=True, slots=True)
class Onbuild(Instruction):
    """An instruction for builds upon this image."""

    trigger: Instruction
