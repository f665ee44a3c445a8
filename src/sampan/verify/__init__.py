"""Checks what clients of a store saw: is it linearizable, were watchers told the truth?

    from sampan.verify import Recorder, Put, Wrote, check

    recorder = Recorder()
    recorder.invoke(1, 0.0, Put(b"k", b"v"))
    recorder.ok(1, 0.1, Wrote(revision=2))
    report = check(recorder.history)     # report.ok, report.kind, str(report)

`sampan verify` checks a history file (docs/formats/history.md), `sampan record` writes one.
"""

from sampan.verify.core.budget import Budget
from sampan.verify.core.history import Change, History, Notice, Operation, Outcome, Watcher
from sampan.verify.core.linear import Verdict
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
from sampan.verify.core.verdict import Report, check

__all__ = [
    "Branched",
    "Budget",
    "Change",
    "Compact",
    "Compare",
    "Delete",
    "Deleted",
    "Done",
    "Grant",
    "History",
    "KeepAlive",
    "Notice",
    "Operation",
    "Outcome",
    "Put",
    "Range",
    "Ranged",
    "Record",
    "RecordError",
    "Recorder",
    "Report",
    "Request",
    "Result",
    "Revoke",
    "Txn",
    "Verdict",
    "Watcher",
    "Wrote",
    "check",
]
