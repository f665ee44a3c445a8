"""The part of Go's templates that `--format` is used with: text to a tree of nodes.

Fields, variables, pipelines, parentheses, functions, `if`, `else`, `range`, `with`, comments and
trim markers. Definitions of templates and methods of Go's types are not here.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from sampan.base.errors import InvalidError

__all__ = [
    "Call",
    "Dot",
    "Field",
    "Function",
    "If",
    "Literal",
    "Loop",
    "Node",
    "Output",
    "Pipe",
    "TemplateError",
    "Term",
    "Text",
    "Variable",
    "With",
    "parse_template",
]  # fmt: skip


class TemplateError(InvalidError):
    """The template cannot be read, or not be filled with this data."""


class Text(NamedTuple):
    """What is printed as it is."""

    text: str


class Dot(NamedTuple):
    """The value that is looked at now."""


class Field(NamedTuple):
    """A member of a term's value, and of that one, ..."""

    of: Term
    path: tuple[str, ...]


class Variable(NamedTuple):
    """A named value; `$` is the whole."""

    name: str


class Literal(NamedTuple):
    """A text, number, truth value or nil."""

    value: str | int | float | bool | None


class Function(NamedTuple):
    """A function by its name."""

    name: str


class Call(NamedTuple):
    """A term, with arguments when it is a function or a method."""

    term: Term
    arguments: tuple[Term, ...]


class Pipe(NamedTuple):
    """Calls whose results go on as the last argument of the next; perhaps kept as a variable."""

    calls: tuple[Call, ...]
    variables: tuple[str, ...] = ()


Term = Dot | Field | Variable | Literal | Function | Pipe


class Output(NamedTuple):
    """A pipe whose value is printed."""

    pipe: Pipe


class If(NamedTuple):
    """One body or the other."""

    pipe: Pipe
    body: list[Node]
    otherwise: list[Node]


class With(NamedTuple):
    """As `if`, with the value as dot."""

    pipe: Pipe
    body: list[Node]
    otherwise: list[Node]


class Loop(NamedTuple):
    """A body for each element."""

    pipe: Pipe
    body: list[Node]
    otherwise: list[Node]


Node = Text | Output | If | With | Loop

_ACTION = re.compile(
    r"\{\{(-\s)?((?:[^\"`'}]|\}(?!\})|\"(?:[^\"\\\n]|\\.)*\"|`[^`]*`|'(?:[^'\\]|\\.)+')*?)(\s-)?\}\}",
    re.DOTALL,
)
_TOKEN = re.compile(
    r"\s*(?:(?P<text>\"(?:[^\"\\]|\\.)*\"|`[^`]*`)|(?P<char>'(?:[^'\\]|\\.)+')"
    r"|(?P<number>[+-]?\d[\w.]*)|(?P<field>(?:\.[A-Za-z_]\w*)+)|(?P<variable>\$\w*)"
    r"|(?P<word>[A-Za-z_]\w*)|(?P<sign>:=|[=|(),.]))"
)
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "nil": None}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'", "a": "\a", "b": "\b"}


def parse_template(text: str, functions: frozenset[str]) -> list[Node]:
    """Return the nodes of a template; TemplateError for what cannot be read."""
    parser = _Parser(_pieces(text), functions)
    nodes, end = parser.nodes()
    if end:
        raise TemplateError(f"template: :1: unexpected {{{{{end}}}}}")
    return nodes


def _pieces(text: str) -> list[Text | str]:
    """Return literal text, and the inside of each action as a plain string."""
    pieces: list[Text | str] = []
    position, trim = 0, False
    for match in _ACTION.finditer(text):
        before = text[position : match.start()]
        if "{{" in before:
            raise TemplateError("template: :1: unclosed action")
        before = before.lstrip() if trim else before
        pieces.append(Text(before.rstrip() if match[1] else before))
        pieces.append(match[2].strip())
        position, trim = match.end(), bool(match[3])
    rest = text[position:]
    if "{{" in rest:
        raise TemplateError("template: :1: unclosed action")
    pieces.append(Text(rest.lstrip() if trim else rest))
    return pieces


class _Parser:
    """Turns pieces into nodes."""

    def __init__(self, pieces: list[Text | str], functions: frozenset[str]) -> None:
        self._pieces = pieces
        self._position = 0
        self._functions = functions

    def nodes(self) -> tuple[list[Node], str]:
        """Return nodes up to the end, or up to an `end` or `else`, which is returned too."""
        found: list[Node] = []
        while self._position < len(self._pieces):
            piece = self._pieces[self._position]
            self._position += 1
            if isinstance(piece, Text):
                if piece.text:
                    found.append(piece)
                continue
            if piece.startswith("/*") and piece.endswith("*/"):
                continue
            word = piece.split(maxsplit=1)[0] if piece else ""
            if word in ("end", "else"):
                return found, piece
            found.append(self._action(word, piece))
        return found, ""

    def _action(self, word: str, piece: str) -> Node:
        kinds: dict[str, type[If] | type[With] | type[Loop]] = {
            "if": If,
            "with": With,
            "range": Loop,
        }
        if word in ("define", "template", "block", "break", "continue"):
            raise TemplateError(f"template: :1: {{{{{word}}}}} is not supported")
        if word not in kinds:
            return Output(self._pipe(piece))
        return self._block(kinds[word], piece.partition(word)[2])

    def _block(self, kind: type[If] | type[With] | type[Loop], condition: str) -> Node:
        pipe = self._pipe(condition)
        body, end = self.nodes()
        otherwise: list[Node] = []
        if end.startswith("else"):
            more = end[len("else") :].strip()
            if more:
                word, _, rest = more.partition(" ")
                kinds: dict[str, type[If] | type[With]] = {"if": If, "with": With}
                nested = kinds.get(word)
                if nested is None:
                    raise TemplateError(f"template: :1: unexpected <{more}> in else")
                return kind(pipe, body, [self._block(nested, rest)])
            otherwise, end = self.nodes()
        if end != "end":
            raise TemplateError("template: :1: unexpected EOF")
        return kind(pipe, body, otherwise)

    def _pipe(self, text: str) -> Pipe:
        tokens = _tokens(text)
        pipe = _PipeReader(tokens, self._functions).pipe()
        if tokens:
            raise TemplateError(f"template: :1: unexpected <{tokens[0][1]}> in command")
        return pipe


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens, position = [], 0
    text = text.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            raise TemplateError(
                f"template: :1: unexpected {text[position:].strip()[:1]!r} in operand"
            )
        # `$name.Field` and `(pipe).Field` have no blank before the point; `f .Field` has.
        joined = match.lastgroup == "field" and match.start("field") == position and position > 0
        tokens.append(("join" if joined else match.lastgroup, match[match.lastgroup]))
        position = match.end()
    return tokens


class _PipeReader:
    """Reads terms from tokens, the first of which is taken each time."""

    def __init__(self, tokens: list[tuple[str, str]], functions: frozenset[str]) -> None:
        self._tokens = tokens
        self._functions = functions

    def pipe(self) -> Pipe:
        variables = self._variables()
        calls = [self._call()]
        while self._tokens and self._tokens[0] == ("sign", "|"):
            self._tokens.pop(0)
            calls.append(self._call())
        return Pipe(tuple(calls), variables)

    def _variables(self) -> tuple[str, ...]:
        ends = [at for at, token in enumerate(self._tokens) if token[1] in (":=", "=")]
        if not ends or self._tokens[0][0] != "variable":
            return ()
        names = [token[1] for token in self._tokens[: ends[0]] if token[0] == "variable"]
        del self._tokens[: ends[0] + 1]
        return tuple(names)

    def _call(self) -> Call:
        terms = []
        while self._tokens and self._tokens[0][1] not in ("|", ")"):
            terms.append(self._term())
        if not terms:
            raise TemplateError("template: :1: missing value for command")
        return Call(terms[0], tuple(terms[1:]))

    def _term(self) -> Term:
        kind, text = self._tokens.pop(0)
        term: Term
        if kind == "text":
            return Literal(text[1:-1] if text[0] == "`" else _unquoted(text[1:-1]))
        if kind == "char":
            return Literal(ord(_unquoted(text[1:-1])))
        if kind == "number":
            return Literal(_number(text))
        if kind in ("field", "join"):
            term = Field(Dot(), tuple(text[1:].split(".")))
        elif kind == "variable":
            term = Variable(text)
        elif text == ".":
            term = Dot()
        elif text == "(":
            term = self.pipe()
            if not self._tokens or self._tokens.pop(0)[1] != ")":
                raise TemplateError("template: :1: unclosed left paren")
        elif text in _WORDS:
            return Literal(_WORDS[text])
        elif kind == "word":
            if text not in self._functions:
                raise TemplateError(f'template: :1: function "{text}" not defined')
            return Function(text)
        else:
            raise TemplateError(f'template: :1: unexpected "{text}" in operand')
        while self._tokens and self._tokens[0][0] == "join":
            term = Field(term, tuple(self._tokens.pop(0)[1][1:].split(".")))
        return term


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), text)


def _number(text: str) -> int | float:
    try:
        return int(text, 0)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise TemplateError(f'template: :1: bad number syntax: "{text}"') from None
