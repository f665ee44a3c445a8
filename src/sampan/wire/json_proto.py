"""Protobuf messages as JSON, the way etcd's gateway writes and reads them.

Writing: field names as in the .proto file, fields without a value left out, 64-bit integers as
strings, bytes as base64, enums by name. Reading takes more: lowerCamelCase names too, numbers or
strings for integers, names or numbers for enums, base64 in either alphabet with or without
padding; unknown fields are skipped, null means absent. Map fields are not handled, no message here
has one.

Source: the ProtoJSON specification (protobuf.dev/programming-guides/json).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, TypeVar

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

__all__ = ["JsonError", "dumps", "from_json", "read_values", "to_json"]

_M = TypeVar("_M", bound=Message)

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,39})")
_MAX_DEPTH = 100
"""Nesting allowed in a request, as in protobuf's own decoders."""

_64_BIT = frozenset(
    (
        FieldDescriptor.TYPE_INT64,
        FieldDescriptor.TYPE_UINT64,
        FieldDescriptor.TYPE_SINT64,
        FieldDescriptor.TYPE_FIXED64,
        FieldDescriptor.TYPE_SFIXED64,
    )
)


class JsonError(ValueError):
    """A text is not JSON, or a value does not fit its field; the message says where."""


# ---- writing


def dumps(message: Message) -> bytes:
    """Return `message` as compact JSON text."""
    return json.dumps(to_json(message), ensure_ascii=False, separators=(",", ":")).encode()


def to_json(message: Message) -> dict[str, Any]:
    """Return `message` as a value for `json.dumps`, fields in the order of their numbers."""
    value: dict[str, Any] = {}
    for field, content in message.ListFields():
        if field.is_repeated:
            value[field.name] = [_write(field, item) for item in content]
        else:
            value[field.name] = _write(field, content)
    return value


def _write(field: FieldDescriptor, content: Any) -> Any:
    if field.message_type is not None:
        return to_json(content)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return base64.b64encode(content).decode("ascii")
    if field.type in _64_BIT:
        return str(content)
    if field.enum_type is not None:
        named = field.enum_type.values_by_number.get(content)
        return content if named is None else named.name
    return content


# ---- reading


def read_values(text: bytes) -> Iterator[Any]:
    """Yield the JSON values that follow one another in `text`, separated by white space or not.

    Raises JsonError at the first one that is not JSON, naming line and column.
    """
    try:
        rest = text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise JsonError(f"proto: invalid UTF-8 at byte {error.start}") from None
    decoder = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)
    position = _skip(rest, 0)
    while position < len(rest):
        try:
            value, position = decoder.raw_decode(rest, position)
        except json.JSONDecodeError as error:
            reason = error.msg[:1].lower() + error.msg[1:]
            raise JsonError(
                f"proto: syntax error (line {error.lineno}:{error.colno}): {reason}"
            ) from None
        except RecursionError:
            raise JsonError("proto: exceeded max recursion depth") from None
        except JsonError:
            raise
        except ValueError as error:
            raise JsonError(f"proto: syntax error: {error}") from None
        yield value
        position = _skip(rest, position)


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise JsonError(f'proto: duplicate field "{twice}"')
    return value


def _constant(text: str) -> Any:
    raise JsonError(f"proto: syntax error: invalid value {text}")


def from_json(value: Any, message_type: type[_M]) -> _M:
    """Return the message that the JSON `value` stands for. Raises JsonError naming the field."""
    message = message_type()
    _read_message(value, message, "", 0)
    return message


@cache
def _fields(descriptor: Descriptor) -> dict[str, FieldDescriptor]:
    fields = {field.json_name: field for field in descriptor.fields}
    return fields | {field.name: field for field in descriptor.fields}


def _read_message(value: Any, message: Message, path: str, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise JsonError("proto: exceeded max recursion depth")
    if not isinstance(value, dict):
        raise _unexpected(path or message.DESCRIPTOR.name, "an object", value)
    fields = _fields(message.DESCRIPTOR)
    seen: dict[str, str] = {}
    for name, content in value.items():
        field = fields.get(name)
        if field is None or content is None:
            continue
        where = f"{path}.{name}" if path else name
        oneof = field.containing_oneof
        key = oneof.full_name if oneof is not None else field.full_name
        if key in seen:
            raise JsonError(f"proto: {where} and {seen[key]} cannot both be given")
        seen[key] = where
        if not field.is_repeated:
            _read_field(content, message, field, where, depth)
        elif isinstance(content, list):
            _read_list(content, getattr(message, field.name), field, where, depth)
        else:
            raise _unexpected(where, "an array", content)


def _read_field(
    content: Any, message: Message, field: FieldDescriptor, where: str, depth: int
) -> None:
    if field.message_type is not None:
        inner = getattr(message, field.name)
        inner.SetInParent()
        _read_message(content, inner, where, depth + 1)
        return
    scalar = _read_scalar(content, field, where)
    try:
        setattr(message, field.name, scalar)
    except (ValueError, TypeError):
        raise _unexpected(where, _KINDS.get(field.type, "a value"), content) from None


def _read_list(
    content: list[Any], target: Any, field: FieldDescriptor, where: str, depth: int
) -> None:
    for i, item in enumerate(content):
        here = f"{where}[{i}]"
        if field.message_type is not None:
            _read_message(item, target.add(), here, depth + 1)
            continue
        scalar = _read_scalar(item, field, here)
        try:
            target.append(scalar)
        except (ValueError, TypeError):
            raise _unexpected(here, _KINDS.get(field.type, "a value"), item) from None


_KINDS = {
    FieldDescriptor.TYPE_INT32: "an int32",
    FieldDescriptor.TYPE_INT64: "an int64",
    FieldDescriptor.TYPE_UINT32: "a uint32",
    FieldDescriptor.TYPE_UINT64: "a uint64",
    FieldDescriptor.TYPE_STRING: "a string",
    FieldDescriptor.TYPE_BYTES: "a base64 string",
    FieldDescriptor.TYPE_BOOL: "a bool",
    FieldDescriptor.TYPE_ENUM: "a name of the enum",
}


def _read_scalar(content: Any, field: FieldDescriptor, where: str) -> Any:
    """Return the value for a field that is no message; integers are range-checked on assignment."""
    kind = _KINDS.get(field.type, "a number")
    match field.type:
        case FieldDescriptor.TYPE_BYTES if isinstance(content, str):
            return _read_bytes(content, where)
        case FieldDescriptor.TYPE_STRING if isinstance(content, str):
            return content
        case FieldDescriptor.TYPE_BOOL if isinstance(content, bool):
            return content
        case FieldDescriptor.TYPE_DOUBLE | FieldDescriptor.TYPE_FLOAT:
            if isinstance(content, int | float) and not isinstance(content, bool):
                return float(content)
        case FieldDescriptor.TYPE_BYTES | FieldDescriptor.TYPE_STRING | FieldDescriptor.TYPE_BOOL:
            pass
        case FieldDescriptor.TYPE_ENUM if isinstance(content, str):
            named = field.enum_type.values_by_name.get(content) if field.enum_type else None
            if named is not None:
                return named.number
        case _:
            number = _read_integer(content)
            if number is not None:
                return number
    raise _unexpected(where, kind, content)


def _read_integer(content: Any) -> int | None:
    if isinstance(content, bool):
        return None
    if isinstance(content, int):
        return content
    if isinstance(content, float):
        return int(content) if content.is_integer() else None
    if isinstance(content, str) and _INTEGER.fullmatch(content):
        return int(content)
    return None


def _read_bytes(text: str, where: str) -> bytes:
    standard = text.replace("-", "+").replace("_", "/").rstrip("=")
    padded = standard + "=" * (-len(standard) % 4)
    try:
        return base64.b64decode(padded, validate=True)
    except (binascii.Error, ValueError):
        raise _unexpected(where, "a base64 string", text) from None


def _unexpected(where: str, expected: str, content: Any) -> JsonError:
    shown = json.dumps(content, ensure_ascii=True, default=str)
    if len(shown) > 60:
        shown = shown[:57] + "..."
    return JsonError(f"proto: invalid value for {where}: {shown} is not {expected}")
