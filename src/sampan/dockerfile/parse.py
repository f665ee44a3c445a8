"""From logical lines to typed instructions: flags, JSON forms, and what each keyword allows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from sampan.base.diagnostic import Diagnostic, DiagnosticsError, Severity
from sampan.base.errors import InvalidError
from sampan.base.nearest import nearest
from sampan.base.units import parse_duration_s
from sampan.dockerfile import instructions as all_
from sampan.dockerfile.mounts import parse_mount
from sampan.dockerfile.source import Heredoc, Line
from sampan.dockerfile.words import key_values, shell_words

__all__ = ["FLAGS", "KEYWORDS", "parse_line"]

FLAGS: Final[Mapping[str, frozenset[str]]] = {
    "FROM": frozenset({"platform"}),
    "RUN": frozenset({"mount", "network", "security"}),
    "COPY": frozenset({"from", "chown", "chmod", "link", "parents", "exclude"}),
    "ADD": frozenset({"chown", "chmod", "link", "checksum", "keep-git-dir", "exclude", "unpack"}),
    "HEALTHCHECK": frozenset({"interval", "timeout", "start-period", "start-interval", "retries"}),
}
_BOOLEAN: Final = frozenset({"link", "parents", "keep-git-dir", "unpack"})
_REPEATED: Final = frozenset({"mount", "exclude"})
_STAGE_NAME: Final = re.compile(r"[a-z][a-z0-9._-]*")
_SHORTEST_TIME_NS: Final = 1_000_000


class _Flags:
    """The `--name=value` words at the beginning of an instruction."""

    def __init__(self, keyword: str, text: str, escape: str) -> None:
        self._known = FLAGS.get(keyword, frozenset())
        self._values: dict[str, list[str]] = {}
        self.rest = text
        while True:
            words = shell_words(self.rest, escape)
            if not words or not words[0].startswith("--"):
                return
            self.rest = self.rest.lstrip()[len(words[0]) :].lstrip()
            if words[0] == "--":
                return
            self._take(keyword, words[0][2:])

    def _take(self, keyword: str, word: str) -> None:
        name, equals, value = word.partition("=")
        if name not in self._known:
            hint = nearest(name, self._known)
            raise InvalidError(
                f"unknown flag: --{name}" + (f" (did you mean {hint}?)" if hint else "")
                if self._known
                else f"{keyword} has no flags: --{name}"
            )
        if not equals and name not in _BOOLEAN:
            raise InvalidError(f"missing a value on flag: --{name}")
        if name in self._values and name not in _REPEATED:
            raise InvalidError(f"duplicate flag specified: --{name}")
        self._values.setdefault(name, []).append(value if equals else "true")

    def one(self, name: str, default: str = "") -> str:
        return self._values.get(name, [default])[0]

    def every(self, name: str) -> list[str]:
        return self._values.get(name, [])

    def truth(self, name: str) -> bool:
        text = self.one(name, "false").lower()
        if text not in ("true", "false", "1", "0"):
            raise InvalidError(f"expecting boolean value for flag --{name}, not: {text}")
        return text in ("true", "1")

    def has(self, name: str) -> bool:
        return name in self._values


def parse_line(line: Line, escape: str = "\\") -> all_.Instruction:
    """Return the instruction of a line; DiagnosticsError with its place when it is malformed."""
    try:
        make = KEYWORDS.get(line.keyword)
        if make is None:
            hint = nearest(line.keyword, KEYWORDS)
            raise InvalidError(
                f"unknown instruction: {line.written}"
                + (f" (did you mean {hint}?)" if hint else "")
            )
        flags = _Flags(line.keyword, line.rest, escape)
        return make(line, flags, escape)
    except DiagnosticsError:
        raise
    except InvalidError as error:
        raise DiagnosticsError(
            [Diagnostic(Severity.ERROR, "syntax", str(error), line.span)]
        ) from None


def _json_words(text: str) -> list[str] | None:
    """Return the words of a JSON array of texts, None when it is none."""
    if not text.lstrip().startswith("["):
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, list) and all(isinstance(w, str) for w in found) else None


def _command(line: Line, rest: str) -> all_.Command:
    words = _json_words(rest)
    if words is not None:
        return all_.Command(tuple(words), shell=False)
    return all_.Command((rest,), shell=True)


def _needed(line: Line, rest: str) -> str:
    if not rest.strip():
        raise InvalidError(f"{line.keyword} requires at least one argument")
    return rest.strip()


def _exactly_one(line: Line, rest: str) -> str:
    text = rest.strip()
    if not text:
        raise InvalidError(f"{line.keyword} requires exactly one argument")
    return text


def _from(line: Line, flags: _Flags, escape: str) -> all_.From:
    words = shell_words(flags.rest, escape)
    if len(words) not in (1, 3) or (len(words) == 3 and words[1].upper() != "AS"):
        raise InvalidError("FROM requires either one or three arguments: FROM base [AS name]")
    name = words[2].lower() if len(words) == 3 else ""
    if name and not _STAGE_NAME.fullmatch(name):
        raise InvalidError(
            f"invalid name for build stage: {words[2]!r}, name can't start with a number or "
            "contain symbols"
        )
    return all_.From(line, words[0], name, flags.one("platform"))


def _run(line: Line, flags: _Flags, escape: str) -> all_.Run:
    rest = flags.rest.strip()
    if not rest and not line.heredocs:
        raise InvalidError("RUN requires at least one argument")
    network, security = flags.one("network", "default"), flags.one("security", "sandbox")
    if network not in ("default", "none", "host"):
        raise InvalidError(f"invalid network mode {network!r}: use default, none or host")
    if security not in ("sandbox", "insecure"):
        raise InvalidError(f"security {security!r} is not valid: use sandbox or insecure")
    mounts = tuple(parse_mount(text) for text in flags.every("mount"))
    script = None
    command = _command(line, rest)
    if line.heredocs and command.shell:
        if len(line.heredocs) == 1 and re.fullmatch(r"\d*<<-?\S+", rest):
            script = line.heredocs[0]
        documents = "".join(_document(one) for one in line.heredocs)
        command = all_.Command((f"{rest}\n{documents}".rstrip("\n"),), shell=True)
    return all_.Run(line, command, mounts, network, security, script)


def _document(heredoc: Heredoc) -> str:
    """Return a here-document as a shell reads it: behind the command, with its end."""
    return f"{heredoc.content}{heredoc.name}\n"


def _transfer(line: Line, flags: _Flags, escape: str) -> tuple[list[str], str]:
    words = _json_words(flags.rest)
    if words is None:
        words = shell_words(flags.rest, escape)
    names = {one.name for one in line.heredocs}
    sources = [word for word in words[:-1] if not _is_heredoc(word, names)]
    if len(words) < 2:
        raise InvalidError(
            f"{line.keyword} requires at least two arguments, but only {len(words)} provided. "
            "Destination could not be determined"
        )
    if (
        len(words) > 2
        and not words[-1].endswith(("/", "\\", "/."))
        and words[-1] not in (".", "..")
    ):
        if "$" not in words[-1]:
            raise InvalidError(
                f"When using {line.keyword} with more than one source file, the destination must "
                "be a directory and end with a /"
            )
    return sources, words[-1]


def _is_heredoc(word: str, names: set[str]) -> bool:
    match = re.fullmatch(r"\d*<<-?(.+)", word)
    return bool(match) and match[1].strip("\"'") in names  # type: ignore[index]


def _copy(line: Line, flags: _Flags, escape: str) -> all_.Copy:
    sources, target = _transfer(line, flags, escape)
    return all_.Copy(
        line,
        tuple(sources),
        target,
        tuple(line.heredocs),
        flags.one("chown"),
        flags.one("chmod"),
        flags.truth("link"),
        tuple(flags.every("exclude")),
        flags.one("from"),
        flags.truth("parents"),
    )


def _add(line: Line, flags: _Flags, escape: str) -> all_.Add:
    sources, target = _transfer(line, flags, escape)
    return all_.Add(
        line,
        tuple(sources),
        target,
        tuple(line.heredocs),
        flags.one("chown"),
        flags.one("chmod"),
        flags.truth("link"),
        tuple(flags.every("exclude")),
        flags.one("checksum"),
        flags.truth("keep-git-dir"),
        flags.truth("unpack") if flags.has("unpack") else None,
    )


def _pairs(line: Line, flags: _Flags, escape: str) -> tuple[tuple[str, str], ...]:
    return tuple(key_values(_needed(line, flags.rest), escape))


def _env(line: Line, flags: _Flags, escape: str) -> all_.Env:
    return all_.Env(line, _pairs(line, flags, escape))


def _label(line: Line, flags: _Flags, escape: str) -> all_.Label:
    return all_.Label(line, _pairs(line, flags, escape))


def _arg(line: Line, flags: _Flags, escape: str) -> all_.Arg:
    pairs: list[tuple[str, str | None]] = []
    for word in shell_words(_needed(line, flags.rest), escape):
        name, equals, value = word.partition("=")
        if not name:
            raise InvalidError("names can not be blank")
        pairs.append((name, value if equals else None))
    return all_.Arg(line, tuple(pairs))


def _list(line: Line, flags: _Flags, escape: str) -> tuple[str, ...]:
    words = _json_words(flags.rest)
    if words is None:
        words = shell_words(_needed(line, flags.rest), escape)
    if not words:
        raise InvalidError(f"{line.keyword} requires at least one argument")
    return tuple(words)


def _volume(line: Line, flags: _Flags, escape: str) -> all_.Volume:
    paths = _list(line, flags, escape)
    if not all(path.strip() for path in paths):
        raise InvalidError("VOLUME specified can not be an empty string")
    return all_.Volume(line, paths)


def _expose(line: Line, flags: _Flags, escape: str) -> all_.Expose:
    return all_.Expose(line, tuple(shell_words(_needed(line, flags.rest), escape)))


def _workdir(line: Line, flags: _Flags, escape: str) -> all_.Workdir:
    return all_.Workdir(line, _exactly_one(line, flags.rest))


def _user(line: Line, flags: _Flags, escape: str) -> all_.User:
    return all_.User(line, _exactly_one(line, flags.rest))


def _stopsignal(line: Line, flags: _Flags, escape: str) -> all_.Stopsignal:
    return all_.Stopsignal(line, _exactly_one(line, flags.rest))


def _maintainer(line: Line, flags: _Flags, escape: str) -> all_.Maintainer:
    return all_.Maintainer(line, _exactly_one(line, flags.rest))


def _entrypoint(line: Line, flags: _Flags, escape: str) -> all_.Entrypoint:
    return all_.Entrypoint(line, _command(line, flags.rest.strip()))


def _cmd(line: Line, flags: _Flags, escape: str) -> all_.Cmd:
    return all_.Cmd(line, _command(line, flags.rest.strip()))


def _shell(line: Line, flags: _Flags, escape: str) -> all_.Shell:
    words = _json_words(flags.rest)
    if not words:
        raise InvalidError('SHELL requires the arguments to be in JSON form: ["program", "-c"]')
    return all_.Shell(line, tuple(words))


def _healthcheck(line: Line, flags: _Flags, escape: str) -> all_.Healthcheck:
    kind, _, rest = flags.rest.strip().partition(" ")
    if kind.upper() == "NONE":
        if rest.strip():
            raise InvalidError("HEALTHCHECK NONE takes no arguments")
        return all_.Healthcheck(line, None)
    if kind.upper() != "CMD":
        raise InvalidError(f"unknown type {kind!r} in HEALTHCHECK (try CMD or NONE)")
    if not rest.strip():
        raise InvalidError("missing command after HEALTHCHECK CMD")
    retries = flags.one("retries", "0")
    if not retries.isdigit():
        raise InvalidError(f"--retries must be a number of at least 0 (not {retries})")
    return all_.Healthcheck(
        line,
        _command(line, rest.strip()),
        interval_ns=_time_ns(flags, "interval"),
        timeout_ns=_time_ns(flags, "timeout"),
        start_period_ns=_time_ns(flags, "start-period"),
        start_interval_ns=_time_ns(flags, "start-interval"),
        retries=int(retries),
    )


def _time_ns(flags: _Flags, name: str) -> int:
    text = flags.one(name)
    if not text:
        return 0
    try:
        found = round(parse_duration_s(text) * 1e9)
    except ValueError as error:
        raise InvalidError(f"--{name}: {error}") from None
    if 0 < found < _SHORTEST_TIME_NS or found < 0:
        raise InvalidError(f"Interval {name!r} cannot be less than 1ms")
    return found


def _onbuild(line: Line, flags: _Flags, escape: str) -> all_.Onbuild:
    match = re.match(r"(\S+)\s*(.*)", flags.rest.strip(), re.DOTALL)
    if match is None:
        raise InvalidError("ONBUILD requires at least one argument")
    keyword = match[1].upper()
    if keyword == "ONBUILD":
        raise InvalidError("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if keyword in ("MAINTAINER", "FROM"):
        raise InvalidError(f"{keyword} isn't allowed as an ONBUILD trigger")
    inner = replace(line, keyword=keyword, rest=match[2], written=match[1])
    return all_.Onbuild(line, parse_line(inner, escape))


_Make = Callable[[Line, _Flags, str], all_.Instruction]
KEYWORDS: Final[Mapping[str, _Make]] = {
    "ADD": _add,
    "ARG": _arg,
    "CMD": _cmd,
    "COPY": _copy,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "FROM": _from,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "MAINTAINER": _maintainer,
    "ONBUILD": _onbuild,
    "RUN": _run,
    "SHELL": _shell,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
"""What makes an instruction of a line, by keyword."""
