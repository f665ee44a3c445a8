"""A failed check for a reader: what cannot be, and the few operations that show it."""

from __future__ import annotations

from sampan.verify.core.chain import DeadEnd
from sampan.verify.core.difference import kv_text, text_of
from sampan.verify.core.history import History, Operation, Outcome
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
    Request,
    Result,
    Revoke,
    Txn,
    Wrote,
)

__all__ = ["explain", "operation_text", "request_text", "result_text"]

_SHOWN = 12
_SHOWN_KEYS = 4


def explain(history: History, dead_end: DeadEnd | None, total: int) -> list[str]:
    """Return the lines of a report; `history` is the smallest part that fails, of `total`."""
    if dead_end is None:
        return ["not linearizable"]
    lines = [
        f"not linearizable: {dead_end.kind}",
        f"  {operation_text(dead_end.culprit)}",
        f"  {dead_end.text}",
    ]
    if dead_end.other is not None:
        lines.append(f"  next to {operation_text(dead_end.other)}")
    named = {dead_end.culprit.id, dead_end.other.id if dead_end.other else (0, 0)}
    shown = [one for one in history.operations if one.id in named] + [
        one for one in history.operations if one.id not in named
    ][-_SHOWN:]
    shown.sort(key=lambda one: one.invoked)
    lines.append(
        f"the last {len(shown)} of {len(history.operations)} operations that are needed to show it "
        f"(of {total} in all):"
    )
    return lines + [f"  {operation_text(one)}" for one in shown]


def operation_text(one: Operation) -> str:
    """An operation in one line."""
    who = f"process {one.process}" if one.process >= 0 else "the store"
    when = f"{one.invoked_s:.6f} s"
    if one.outcome is Outcome.OK and one.result is not None:
        when += f" to {one.completed_s:.6f} s"
        answer = result_text(one.result)
    else:
        answer = one.outcome.value + (f" ({one.error})" if one.error else "")
    return f"[{when}] {who}: {request_text(one.request)} -> {answer}"


def request_text(request: Request) -> str:
    """A request in the words of etcdctl, more or less."""
    match request:
        case Put(key, value, lease):
            return f"put {text_of(key)} {text_of(value)}" + (f" lease {lease:x}" if lease else "")
        case Range(key, end, revision, _, serializable):
            more = f" at revision {revision}" if revision else ""
            more += " serializable" if serializable else ""
            return f"get {_range_text(key, end)}{more}"
        case Delete(key, end):
            return f"delete {_range_text(key, end)}"
        case Txn(compares, success, failure):
            conditions = " and ".join(map(_compare_text, compares)) or "always"
            branches = ["; ".join(map(request_text, one)) for one in (success, failure)]
            return f"txn if {conditions} then ({branches[0]}) else ({branches[1]})"
        case Grant(lease, ttl_s):
            return f"lease grant {lease:x} for {ttl_s:g} s"
        case KeepAlive(lease):
            return f"lease keep-alive {lease:x}"
        case Revoke(lease):
            return f"end of lease {lease:x}"
        case Compact(revision):
            return f"compact {revision}"


def result_text(result: Result) -> str:
    """An answer in a few words."""
    match result:
        case Wrote(revision, prev):
            before = f", before {kv_text(prev)}" if prev else ""
            return f"revision {revision}{before}"
        case Ranged(revision, kvs, count):
            shown = [f"{text_of(one.key)} = {kv_text(one)}" for one in kvs[:_SHOWN_KEYS]]
            rest = [f"{count} keys in all"] if count > len(shown) else []
            return f"revision {revision}: " + (", ".join(shown + rest) or "nothing")
        case Deleted(revision, deleted):
            return f"revision {revision}, {deleted} deleted"
        case Branched(revision, succeeded, results):
            branch = "then" if succeeded else "else"
            inner = "; ".join(map(result_text, results)).replace("revision None: ", "")
            return f"revision {revision}, {branch} ({inner})"
        case Done():
            return "done"


def _range_text(key: bytes, end: bytes) -> str:
    return text_of(key) + (f" to {text_of(end)}" if end else "")


def _compare_text(compare: Compare) -> str:
    operand = compare.operand
    text = text_of(operand) if isinstance(operand, bytes) else str(operand)
    where = _range_text(compare.key, compare.range_end)
    return f"{compare.target} of {where} {compare.relation} {text}"
