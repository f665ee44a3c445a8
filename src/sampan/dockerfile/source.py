"""The text of a Dockerfile: parser directives, logical lines, and here-documents.

A logical line is an instruction with its continuation lines joined and its comments left out. What
follows it as a here-document belongs to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from sampan.base.diagnostic import Diagnostic, DiagnosticsError, Severity, Span
from sampan.base.errors import InvalidError
from sampan.dockerfile.rules import CheckOptions, finding, parse_check_options
from sampan.dockerfile.words import shell_words

__all__ = ["Directives", "Heredoc", "Line", "Source", "read_source"]

_DIRECTIVE: Final = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*")
_KNOWN: Final = ("syntax", "escape", "check")
_HEREDOC: Final = re.compile(r"(\d*)<<(-?)([^<]*)")
_WITH_HEREDOCS: Final = ("ADD", "COPY", "RUN")
_BYTES_LIMIT: Final = 16 << 20
_LINES_LIMIT: Final = 200_000


@dataclass(frozen=True, slots=True)
class Directives:
    """What `# key=value` lines at the very top say."""

    syntax: str = ""
    escape: str = "\\"
    checks: CheckOptions = field(default_factory=CheckOptions)


@dataclass(frozen=True, slots=True)
class Heredoc:
    """A here-document: its name, its text, and whether variables in it are expanded."""

    name: str
    content: str
    expand: bool
    strip_tabs: bool
    file_descriptor: int
    span: Span


@dataclass(frozen=True, slots=True)
class Line:
    """One instruction: its keyword in upper case, the rest of it, and where it stands."""

    keyword: str
    rest: str
    written: str
    span: Span
    heredocs: Sequence[Heredoc] = ()
    comment: Sequence[str] = ()
    """The comment right above it, line by line, without the signs."""


@dataclass(frozen=True, slots=True)
class Source:
    """A whole Dockerfile, cut into lines."""

    file: str
    directives: Directives
    lines: Sequence[Line]
    warnings: Sequence[Diagnostic] = ()


@dataclass(slots=True)
class _Reader:
    file: str
    lines: list[str]
    directives: Directives = field(default_factory=Directives)
    warnings: list[Diagnostic] = field(default_factory=list)
    at: int = 0
    comment: list[str] = field(default_factory=list)
    """The comment lines that end where the reader is."""

    def fail(self, line: int, summary: str, detail: str = "", column: int = 1) -> DiagnosticsError:
        span = Span(self.file, line, column)
        return DiagnosticsError([Diagnostic(Severity.ERROR, "syntax", summary, span, detail)])


def read_source(text: str, file: str = "Dockerfile") -> Source:
    """Cut a Dockerfile into its lines; DiagnosticsError with the place of what is malformed."""
    lines = text.removeprefix("\ufeff").split("\n")
    reader = _Reader(file, [line.removesuffix("\r") for line in lines])
    if len(text) > _BYTES_LIMIT or len(lines) > _LINES_LIMIT:
        raise reader.fail(1, f"the file is larger than {_BYTES_LIMIT >> 20} MiB or too long")
    for number, line in enumerate(reader.lines, 1):
        if "\0" in line:
            raise reader.fail(number, "a null character stands here", column=line.index("\0") + 1)
    reader.directives = _read_directives(reader)
    found = list(_read_lines(reader))
    if not found:
        raise reader.fail(1, "the file has no instructions", "A Dockerfile begins with FROM.")
    return Source(file, reader.directives, found, tuple(reader.warnings))


def _read_directives(reader: _Reader) -> Directives:
    """Read directives; the first line that is none ends them."""
    seen: dict[str, str] = {}
    for number, line in enumerate(reader.lines, 1):
        match = _DIRECTIVE.fullmatch(line.strip())
        key = match[1].lower() if match else ""
        if match is None or key not in _KNOWN:
            break
        if key in seen:
            raise reader.fail(number, f"only one {key} parser directive can be used")
        seen[key] = match[2]
        if key == "escape" and match[2] not in ("\\", "`"):
            raise reader.fail(
                number,
                f"invalid escape token {match[2]!r}: it does not match ` or \\",
                column=line.index(match[2]) + 1,
            )
    reader.at = len(seen)
    checks = CheckOptions()
    if "check" in seen:
        try:
            checks = parse_check_options(seen["check"])
        except InvalidError as error:
            raise reader.fail(list(seen).index("check") + 1, str(error)) from None
    return Directives(seen.get("syntax", ""), seen.get("escape", "\\"), checks)


def _read_lines(reader: _Reader) -> Iterator[Line]:
    while reader.at < len(reader.lines):
        text = reader.lines[reader.at]
        if text.lstrip().startswith("#"):
            reader.comment.append(text.lstrip()[1:].strip())
            reader.at += 1
        elif not text.strip():
            reader.comment.clear()
            reader.at += 1
        else:
            yield _read_line(reader)
            reader.comment.clear()


def _read_line(reader: _Reader) -> Line:
    first = reader.at + 1
    joined = _join(reader)
    stripped = joined.strip()
    word, _, rest = _split_keyword(stripped)
    column = len(reader.lines[first - 1]) - len(reader.lines[first - 1].lstrip()) + 1
    heredocs: list[Heredoc] = []
    inner = word.upper()
    body = rest
    if inner == "ONBUILD":
        nested, _, body = _split_keyword(rest)
        inner = nested.upper()
    if inner in _WITH_HEREDOCS and "<<" in body:
        heredocs = [_read_heredoc(reader, one, first) for one in _heredoc_words(reader, body)]
    span = Span(reader.file, first, column, reader.at, len(reader.lines[reader.at - 1]))
    return Line(word.upper(), rest, word, span, tuple(heredocs), tuple(reader.comment))


def _split_keyword(text: str) -> tuple[str, str, str]:
    match = re.match(r"(\S+)(\s*)(.*)", text, re.DOTALL)
    return (match[1], match[2], match[3]) if match else ("", "", "")


def _join(reader: _Reader) -> str:
    """Take the instruction's lines; comments and empty lines between them do not count."""
    escape = re.escape(reader.directives.escape)
    continued = re.compile(rf"(?:(?<=[^{escape}])|^){escape}[ \t]*$")
    parts: list[str] = []
    while reader.at < len(reader.lines):
        text = reader.lines[reader.at]
        reader.at += 1
        if parts and not text.strip():
            span = Span(reader.file, reader.at)
            summary = "an empty line stands within an instruction"
            reader.warnings.append(finding("NoEmptyContinuation", summary, span))
            continue
        if parts and text.lstrip().startswith("#"):
            continue
        match = continued.search(text)
        if match is None:
            parts.append(text)
            break
        parts.append(text[: match.start()])
    return "".join(parts)


def _heredoc_words(reader: _Reader, body: str) -> list[re.Match[str]]:
    found = []
    for word in shell_words(body, reader.directives.escape):
        match = _HEREDOC.fullmatch(word)
        if match and match[3].strip("\"'"):
            found.append(match)
    return found


def _read_heredoc(reader: _Reader, match: re.Match[str], instruction: int) -> Heredoc:
    """Take the lines up to the one that ends the document; it belongs to that line's words."""
    first = reader.at + 1
    quoted = match[3]
    name = quoted.strip("\"'")
    strip_tabs = match[2] == "-"
    content: list[str] = []
    while reader.at < len(reader.lines):
        text = reader.lines[reader.at]
        reader.at += 1
        bare = text.lstrip("\t") if strip_tabs else text
        if bare == name:
            break
        content.append(bare + "\n")
    else:
        detail = f"No line consists of {name} alone."
        raise reader.fail(instruction, f"unterminated heredoc {name}", detail)
    span = Span(reader.file, first, 1, reader.at, len(name))
    number = int(match[1]) if match[1] else 0
    return Heredoc(name, "".join(content), quoted == name, strip_tabs, number, span)
