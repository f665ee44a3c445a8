"""History files: one JSON object a line; docs/formats/history.md is the description.

`encode_*` make the objects, `Reader` takes lines in order and puts the history together.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from sampan.verify.core.history import Change, History, Notice, Watcher
from sampan.verify.core.recorder import Recorder, RecordError
from sampan.verify.core.request import (
    Branched,
    Compact,
    Compare,
    Delete,
    Deleted,
    Done,
    Grant,
    KeepAlive,
    Put,
    Range,
    Ranged,
    Record,
    Request,
    Result,
    Revoke,
    Txn,
    Wrote,
)

__all__ = ["VERSION", "FormatError", "encode_head", "encode_request", "encode_result", "read"]
__all__ += ["encode_change", "encode_notice", "encode_watcher", "line"]

VERSION: Final = 1
MAX_LINE_CHARS: Final = 1 << 24
_MAX_DEPTH = 8

Json = dict[str, Any]


class FormatError(ValueError):
    """A line that is no part of a history; the text names the line and what is wrong."""


def line(kind: str, time_s: float, process: int, fields: Mapping[str, object]) -> str:
    """One line of a history file, without its end; times are written in microseconds."""
    head = {"type": kind, "time": round(time_s * 1e6), "process": process}
    return json.dumps({**head, **fields}, separators=(",", ":"), ensure_ascii=False)


# Writing


def encode_head(history: History) -> Json:
    """The fields of the first line."""
    head: Json = {"version": VERSION, "revision": history.revision}
    if history.records:
        head["kvs"] = [_record(one) for one in history.records]
    if not history.exclusive:
        head["exclusive"] = False
    return head


def encode_request(request: Request) -> Json:
    """The fields of an operation's beginning."""
    match request:
        case Put(key, value, lease, prev_kv):
            return _short({"op": "put", "key": key, "value": value}, lease=lease, prev_kv=prev_kv)
        case Range():
            flags = {name: getattr(request, name) for name in _RANGE_FLAGS}
            return _short({"op": "range", "key": request.key}, range_end=request.range_end, **flags)
        case Delete(key, range_end, prev_kv):
            return _short({"op": "delete", "key": key}, range_end=range_end, prev_kv=prev_kv)
        case Txn(compares, success, failure):
            return {
                "op": "txn",
                "compares": [_compare(one) for one in compares],
                "success": [encode_request(one) for one in success],
                "failure": [encode_request(one) for one in failure],
            }
        case Grant(lease, ttl_s):
            return {"op": "grant", "lease": lease, "ttl": ttl_s}
        case KeepAlive(lease):
            return {"op": "keepalive", "lease": lease}
        case Revoke(lease):
            return {"op": "revoke", "lease": lease}
        case Compact(revision):
            return {"op": "compact", "revision": revision}


def encode_result(result: Result) -> Json:
    """The fields of an operation's answer."""
    fields: Json = {} if result.revision is None else {"revision": result.revision}
    match result:
        case Wrote(_, prev):
            return fields if prev is None else {**fields, "prev_kv": _record(prev)}
        case Ranged(_, kvs, count, more):
            fields |= {"kvs": [_record(one) for one in kvs], "count": count}
            return _short(fields, more=more)
        case Deleted(_, deleted, prevs):
            fields["deleted"] = deleted
            return {**fields, "prev_kvs": [_record(one) for one in prevs]} if prevs else fields
        case Branched(_, succeeded, results):
            answers = [encode_result(one) for one in results]
            return {**fields, "succeeded": succeeded, "responses": answers}
        case Done(_, ttl_s):
            return {**fields, "ttl": ttl_s} if ttl_s else fields


def encode_watcher(watcher: Watcher) -> Json:
    """The fields of a watch's beginning."""
    fields = {"watch": watcher.name, "key": _text(watcher.key), "start": watcher.start}
    filters = sorted(watcher.filters)
    return _short(fields, range_end=watcher.range_end, prev_kv=watcher.prev_kv, filters=filters)


def encode_notice(watcher: int, notice: Notice) -> Json:
    """The fields of a notice; its kind is the line's type."""
    fields: Json = {"watch": watcher, "revision": notice.revision}
    if notice.changes:
        fields["events"] = [encode_change(one) for one in notice.changes]
    return fields


def encode_change(change: Change) -> Json:
    """One event."""
    fields: Json = {"revision": change.revision}
    fields |= {"delete": _text(change.key)} if change.record is None else {}
    fields |= {"put": _record(change.record)} if change.record is not None else {}
    return {**fields, "prev_kv": _record(change.prev)} if change.prev is not None else fields


_RANGE_FLAGS: Final = ("revision", "limit", "serializable", "keys_only", "count_only")


def _short(fields: Json, **more: object) -> Json:
    """Leave out what is empty; bytes become text."""
    every = {**fields, **{name: value for name, value in more.items() if value}}
    return {name: _text(v) if isinstance(v, bytes) else v for name, v in every.items()}


def _text(data: bytes) -> str | Json:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _record(record: Record) -> Json:
    numbers = {"create": record.create, "mod": record.mod, "version": record.version}
    return _short({"key": record.key, "value": record.value, **numbers}, lease=record.lease)


def _compare(compare: Compare) -> Json:
    operand = compare.operand
    fields: Json = {
        "key": compare.key,
        "target": compare.target,
        "is": compare.relation,
        "operand": operand,
    }
    return _short(fields, range_end=compare.range_end)


# Reading


def read(lines: Iterable[str]) -> History:
    """Read a history file. Raises FormatError, which names the line."""
    recorder: Recorder | None = None
    open_requests: dict[int, Request] = {}
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            if len(text) > MAX_LINE_CHARS:
                raise FormatError(f"longer than {MAX_LINE_CHARS:,} characters")
            fields = json.loads(text)
            if recorder is None:
                recorder = _head(fields)
            else:
                _event(recorder, open_requests, fields)
        except KeyError as error:
            raise FormatError(f"line {number}: no field {error}") from None
        except (RecursionError, ValueError, TypeError, AttributeError) as error:
            raise FormatError(f"line {number}: {error}") from None
    if recorder is None:
        raise FormatError("the file is empty: no history begins in it")
    return recorder.history


def _head(fields: Json) -> Recorder:
    if fields["type"] != "history":
        raise FormatError('the first line must be of the type "history"')
    if fields["version"] != VERSION:
        raise FormatError(f"version {fields['version']} of the format; this reads {VERSION}")
    records = [_read_record(one) for one in fields.get("kvs", ())]
    return Recorder(
        _int(fields["revision"]), records, exclusive=bool(fields.get("exclusive", True))
    )


def _event(recorder: Recorder, open_requests: dict[int, Request], fields: Json) -> None:
    kind, process = fields["type"], _int(fields["process"])
    time_s = _int(fields["time"]) / 1e6
    if kind == "invoke":
        request = open_requests[process] = _read_request(fields, 0)
        recorder.invoke(process, time_s, request)
    elif kind == "ok":
        if process not in open_requests:
            raise RecordError(f"process {process} has asked nothing that could be answered")
        recorder.ok(process, time_s, _read_result(open_requests.pop(process), fields))
    elif kind == "fail":
        recorder.fail(process, time_s, str(fields.get("error", "")))
    elif kind == "unknown":
        recorder.unknown(process, time_s, str(fields.get("error", "")))
    elif kind == "watch":
        recorder.watch(time_s, _read_watcher(process, fields))
    else:
        changes = [_read_change(one) for one in fields.get("events", ())]
        recorder.notice(_int(fields["watch"]), time_s, kind, _int(fields["revision"]), changes)


def _int(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise FormatError(f"{value!r} is not a whole number")
    return value


def _bytes(value: object) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict) and set(value) == {"base64"}:
        return base64.b64decode(value["base64"], validate=True)
    raise FormatError(f'{value!r} is neither text nor {{"base64": ...}}')


def _read_record(fields: Json) -> Record:
    numbers = [_int(fields.get(name, 0)) for name in ("create", "mod", "version", "lease")]
    return Record(_bytes(fields["key"]), _bytes(fields.get("value", "")), *numbers)


def _read_prev(fields: Json) -> Record | None:
    return _read_record(fields["prev_kv"]) if "prev_kv" in fields else None


def _read_put(fields: Json, _: int) -> Request:
    lease, prev_kv = _int(fields.get("lease", 0)), bool(fields.get("prev_kv"))
    return Put(_bytes(fields["key"]), _bytes(fields.get("value", "")), lease, prev_kv)


def _read_range(fields: Json, _: int) -> Request:
    end = _bytes(fields.get("range_end", ""))
    return Range(
        _bytes(fields["key"]),
        end,
        revision=_int(fields.get("revision", 0)),
        limit=_int(fields.get("limit", 0)),
        serializable=bool(fields.get("serializable")),
        keys_only=bool(fields.get("keys_only")),
        count_only=bool(fields.get("count_only")),
    )


def _read_delete(fields: Json, _: int) -> Request:
    end = _bytes(fields.get("range_end", ""))
    return Delete(_bytes(fields["key"]), end, bool(fields.get("prev_kv")))


def _read_txn(fields: Json, depth: int) -> Request:
    return Txn(
        tuple(_read_compare(one) for one in fields.get("compares", ())),
        tuple(_read_request(one, depth + 1) for one in fields.get("success", ())),
        tuple(_read_request(one, depth + 1) for one in fields.get("failure", ())),
    )


_REQUESTS: Final[dict[str, Callable[[Json, int], Request]]] = {
    "put": _read_put,
    "range": _read_range,
    "delete": _read_delete,
    "txn": _read_txn,
    "grant": lambda fields, _: Grant(_int(fields["lease"]), float(fields["ttl"])),
    "keepalive": lambda fields, _: KeepAlive(_int(fields["lease"])),
    "revoke": lambda fields, _: Revoke(_int(fields["lease"])),
    "compact": lambda fields, _: Compact(_int(fields["revision"])),
}


def _read_request(fields: Json, depth: int) -> Request:
    if depth > _MAX_DEPTH:
        raise FormatError(f"transactions within transactions more than {_MAX_DEPTH} deep")
    reader = _REQUESTS.get(fields["op"])
    if reader is None:
        raise FormatError(
            f"there is no operation {fields['op']!r}; there are {', '.join(_REQUESTS)}"
        )
    return reader(fields, depth)


def _read_compare(fields: Json) -> Compare:
    target, relation = fields["target"], fields["is"]
    if target not in ("value", "version", "create", "mod", "lease"):
        raise FormatError(f"nothing can be compared with {target!r}")
    if relation not in ("=", "!=", "<", ">"):
        raise FormatError(f"{relation!r} is no comparison")
    operand = _bytes(fields["operand"]) if target == "value" else _int(fields["operand"])
    end = _bytes(fields.get("range_end", ""))
    return Compare(_bytes(fields["key"]), target, relation, operand, end)


def _read_result(request: Request, fields: Json) -> Result:
    revision = _int(fields["revision"]) if "revision" in fields else None
    match request:
        case Put():
            return Wrote(revision, _read_prev(fields))
        case Range():
            kvs = tuple(_read_record(one) for one in fields.get("kvs", ()))
            return Ranged(revision, kvs, _int(fields["count"]), bool(fields.get("more")))
        case Delete():
            prevs = tuple(_read_record(one) for one in fields.get("prev_kvs", ()))
            return Deleted(revision, _int(fields["deleted"]), prevs)
        case Txn(_, success, failure):
            branch = success if fields["succeeded"] else failure
            answers = fields["responses"]
            if len(answers) != len(branch):
                raise FormatError(f"{len(answers)} responses to {len(branch)} operations")
            results = tuple(map(_read_result, branch, answers))
            return Branched(revision, bool(fields["succeeded"]), results)
        case _:
            return Done(revision, float(fields.get("ttl", 0)))


def _read_watcher(process: int, fields: Json) -> Watcher:
    end, start = _bytes(fields.get("range_end", "")), _int(fields.get("start", 0))
    filters = frozenset(map(str, fields.get("filters", ())))
    if not filters <= {"noput", "nodelete"}:
        raise FormatError(f"there are the filters noput and nodelete, not {sorted(filters)}")
    prev_kv = bool(fields.get("prev_kv"))
    name = _int(fields["watch"])
    return Watcher(process, name, _bytes(fields["key"]), end, start, prev_kv, filters)


def _read_change(fields: Json) -> Change:
    revision, prev = _int(fields["revision"]), _read_prev(fields)
    if "put" in fields:
        record = _read_record(fields["put"])
        return Change(record.key, revision, record, prev)
    return Change(_bytes(fields["delete"]), revision, None, prev)
