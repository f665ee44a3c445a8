"""Filling a template: nodes and data to text, with the functions that Docker's formats know."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sampan.cli.containers.core.template import (
    Call,
    Dot,
    Field,
    Function,
    If,
    Literal,
    Node,
    Output,
    Pipe,
    TemplateError,
    Term,
    Text,
    Variable,
    With,
    parse_template,
)
from sampan.cli.containers.core.zeros import ZEROS, zero

__all__ = ["Template", "shown"]


class Template:
    """A template that may be filled any number of times."""

    def __init__(self, text: str, *, typed: bool = False) -> None:
        """Read the template; TemplateError for what cannot be read.

        With `typed` the data stands for values of Go's types: a field that is null or left out
        is printed as its zero.
        """
        self._nodes = parse_template(text, frozenset(_FUNCTIONS))
        self._typed = typed

    def fill(self, data: Any) -> str:
        """Return the text for `data`; TemplateError when a field is not there."""
        parts: list[str] = []
        _Run(parts, self._typed).nodes(self._nodes, data, {"$": data})
        return "".join(parts)


Variables = dict[str, Any]


class _Run:
    """One filling of one template."""

    def __init__(self, parts: list[str], typed: bool) -> None:
        self._parts = parts
        self._typed = typed
        self._lenient = False
        """Whether a field that is not there is nothing, as in a condition, instead of an error."""

    def nodes(self, nodes: Sequence[Node], dot: Any, variables: Variables) -> None:
        for node in nodes:
            if isinstance(node, Text):
                self._parts.append(node.text)
            elif isinstance(node, Output):
                value = self._pipe(node.pipe, dot, variables)
                if not node.pipe.variables:
                    self._parts.append(self._printed(node.pipe, value))
            elif isinstance(node, If | With):
                self._condition(node, dot, variables)
            else:
                self._loop(node.pipe, node.body, node.otherwise, dot, variables)

    def _printed(self, pipe: Pipe, value: Any) -> str:
        term = pipe.calls[-1].term
        if value is None and self._typed and isinstance(term, Field):
            return zero(term.path[-1])
        return shown(value)

    def _condition(self, node: If | With, dot: Any, variables: Variables) -> None:
        inner = dict(variables)
        before, self._lenient = self._lenient, True
        value = self._pipe(node.pipe, dot, inner)
        self._lenient = before
        if _truth(value):
            self.nodes(node.body, value if isinstance(node, With) else dot, inner)
        else:
            self.nodes(node.otherwise, dot, inner)

    def _loop(
        self,
        pipe: Pipe,
        body: Sequence[Node],
        otherwise: Sequence[Node],
        dot: Any,
        variables: Variables,
    ) -> None:
        value = self._pipe(Pipe(pipe.calls), dot, variables)
        elements = _elements(value)
        for key, element in elements:
            inner = dict(variables)
            if len(pipe.variables) == 1:
                inner[pipe.variables[0]] = element
            elif pipe.variables:
                inner[pipe.variables[0]], inner[pipe.variables[1]] = key, element
            self.nodes(body, element, inner)
        if not elements:
            self.nodes(otherwise, dot, dict(variables))

    def _pipe(self, pipe: Pipe, dot: Any, variables: Variables) -> Any:
        value: Any = _NOTHING
        for call in pipe.calls:
            value = self._call(call, value, dot, variables)
        for name in pipe.variables:
            variables[name] = value
        return value

    def _call(self, call: Call, piped: Any, dot: Any, variables: Variables) -> Any:
        arguments = [self._term(term, dot, variables) for term in call.arguments]
        if piped is not _NOTHING:
            arguments.append(piped)
        if isinstance(call.term, Function):
            return _apply(call.term.name, arguments)
        value = self._term(call.term, dot, variables)
        if callable(value):
            return value(*arguments)
        if arguments:
            raise TemplateError("template: :1: can't give argument to non-function")
        return value

    def _term(self, term: Term, dot: Any, variables: Variables) -> Any:
        if isinstance(term, Dot):
            return dot
        if isinstance(term, Literal):
            return term.value
        if isinstance(term, Variable):
            if term.name not in variables:
                raise TemplateError(f'template: :1: undefined variable "{term.name}"')
            return variables[term.name]
        if isinstance(term, Function):
            return _apply(term.name, [])
        if isinstance(term, Pipe):
            return self._pipe(term, dot, variables)
        return self._field(term, dot, variables)

    def _field(self, term: Field, dot: Any, variables: Variables) -> Any:
        value = self._term(term.of, dot, variables)
        for name in term.path:
            where = f'template: :1: executing "" at <.{".".join(term.path)}>'
            if value is None and self._lenient:
                return None
            if not isinstance(value, Mapping):
                raise TemplateError(
                    f"{where}: can't evaluate field {name} in type {_type_name(value)}"
                )
            if name not in value:
                if self._lenient or (self._typed and name in ZEROS):
                    value = None
                    continue
                raise TemplateError(f'{where}: map has no entry for key "{name}"')
            value = value[name]
        return value


_NOTHING = object()


def _type_name(value: Any) -> str:
    names = {str: "string", bool: "bool", int: "int", float: "float64", list: "[]interface {}"}
    return names.get(type(value), "interface {}")


def _truth(value: Any) -> bool:
    return bool(value)


def _elements(value: Any) -> list[tuple[Any, Any]]:
    if value is None:
        return []
    if isinstance(value, Mapping):
        return sorted((key, one) for key, one in value.items() if not callable(one))
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return [(number, number) for number in range(value)]
    raise TemplateError(f"template: :1: range can't iterate over {shown(value)}")


def shown(value: Any) -> str:
    """Return a value as Go prints it: `[a b]`, `map[k:v]`, `true`."""
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        inside = " ".join(f"{key}:{_inner(one)}" for key, one in sorted(value.items()))
        return f"map[{inside}]"
    if isinstance(value, list | tuple):
        return "[" + " ".join(map(_inner, value)) + "]"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    return str(value)


def _inner(value: Any) -> str:
    return "<nil>" if value is None else shown(value)


def _json(value: Any) -> str:
    if isinstance(value, Mapping):
        value = {key: one for key, one in value.items() if not callable(one)}
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, Mapping):
            value = value.get(key)
        elif isinstance(value, list | tuple | str) and isinstance(key, int):
            if not 0 <= key < len(value):
                raise TemplateError(f"template: :1: error calling index: index out of range: {key}")
            value = value[key]
        elif value is None:
            raise TemplateError("template: :1: error calling index: index of nil pointer")
        else:
            raise TemplateError(
                f"template: :1: error calling index: can't index item of type {_type_name(value)}"
            )
    return value


def _slice(value: Any, *bounds: int) -> Any:
    return value[slice(*bounds)] if bounds else value


def _printf(form: str, *values: Any) -> str:
    """Return the form filled, for the verbs %s %v %d %q %t %x %f and %%."""
    import re

    rest = list(values)

    def verb(match: re.Match[str]) -> str:
        flags, letter = match[1], match[2]
        if letter == "%":
            return "%"
        if not rest:
            return f"%!{letter}(MISSING)"
        value = rest.pop(0)
        if letter in "dxXofeg" and not isinstance(value, str):
            return str(f"%{flags}{letter}" % value)
        text = json.dumps(shown(value), ensure_ascii=False) if letter == "q" else shown(value)
        return str(f"%{flags}s" % text)

    filled = re.sub(r"%([-+# 0-9.]*)([a-zA-Z%])", verb, form)
    return filled + "".join(f"%!(EXTRA {shown(value)})" for value in rest)


def _print(*values: Any) -> str:
    text = ""
    for at, value in enumerate(values):
        both_plain = at and not isinstance(value, str) and not isinstance(values[at - 1], str)
        text += (" " if both_plain else "") + shown(value)
    return text


def _all(*values: Any) -> Any:
    for value in values:
        if not _truth(value):
            return value
    return values[-1]


def _any(*values: Any) -> Any:
    for value in values:
        if _truth(value):
            return value
    return values[-1]


def _truncate(text: str, length: int) -> str:
    return text[:length]


def _pad(text: str, before: int, after: int) -> str:
    return " " * before + text + " " * after if text else text


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "json": _json,
    "split": lambda text, separator: text.split(separator),
    "join": lambda parts, separator: separator.join(map(shown, parts or ())),
    "title": lambda text: text.title(),
    "lower": lambda text: shown(text).lower(),
    "upper": lambda text: shown(text).upper(),
    "pad": _pad,
    "truncate": _truncate,
    "index": _index,
    "slice": _slice,
    "len": lambda value: len(value or ()),
    "print": _print,
    "println": lambda *values: " ".join(map(shown, values)) + "\n",
    "printf": _printf,
    "eq": lambda value, *others: any(value == other for other in others),
    "ne": lambda value, other: value != other,
    "lt": lambda value, other: value < other,
    "le": lambda value, other: value <= other,
    "gt": lambda value, other: value > other,
    "ge": lambda value, other: value >= other,
    "and": _all,
    "or": _any,
    "not": lambda value: not _truth(value),
}


def _apply(name: str, arguments: list[Any]) -> Any:
    try:
        return _FUNCTIONS[name](*arguments)
    except (TypeError, AttributeError, ValueError):
        given = ", ".join(map(shown, arguments))
        raise TemplateError(
            f"template: :1: error calling {name}: wrong number or type of args ({given})"
        ) from None
