"""History files: what is written is read again, and nonsense is refused by line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.real import ROOT
from tests.verify.right import watched

from sampan.verify import History, Outcome, Put, Recorder, Wrote
from sampan.verify.core import jsonl
from sampan.verify.core.jsonl import FormatError, read


def written(history: History) -> Iterator[str]:
    """A history file; the order of its events is that of their positions."""
    yield jsonl.line("history", 0.0, 0, jsonl.encode_head(history))
    events: list[tuple[int, str]] = []
    for one in history.operations:
        fields = jsonl.encode_request(one.request)
        events.append((one.invoked, jsonl.line("invoke", one.invoked_s, one.process, fields)))
        if one.outcome is not Outcome.UNKNOWN:
            told = jsonl.encode_result(one.result) if one.result else {"error": one.error}
            text = jsonl.line(one.outcome.value, one.completed_s, one.process, told)
            events.append((one.completed, text))
    for watcher in history.watchers:
        first = watcher.notices[0]
        fields = jsonl.encode_watcher(watcher)
        begun = jsonl.line("watch", first.time_s, watcher.process, fields)
        events.append((first.position - 1, begun))
        for notice in watcher.notices:
            fields = jsonl.encode_notice(watcher.name, notice)
            text = jsonl.line(notice.kind, notice.time_s, watcher.process, fields)
            events.append((notice.position, text))
    yield from (text for _, text in sorted(events))


@given(st.integers(0, 1 << 32))
def test_a_history_survives_its_file(seed: int) -> None:
    history = watched(seed, operations=20)
    lines = list(without_gaps(written(history)))
    assert list(without_gaps(written(read(lines)))) == lines


def without_gaps(lines: Iterator[str]) -> Iterator[str]:
    """Questions of processes whose last one stayed open need that to be said in a file."""
    asked: set[int] = set()
    for text in lines:
        fields = json.loads(text)
        if fields["type"] == "invoke" and fields["process"] in asked:
            yield jsonl.line("unknown", fields["time"] / 1e6, fields["process"], {"error": ""})
        if fields["type"] == "invoke":
            asked.add(fields["process"])
        elif fields["type"] in ("ok", "fail"):
            asked.discard(fields["process"])
        yield text


HEAD = '{"type":"history","version":1,"revision":1}'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "the file is empty"),
        ('{"type":"invoke"}', 'line 1: the first line must be of the type "history"'),
        ('{"type":"history","version":9,"revision":1}', "line 1: version 9 of the format"),
        (HEAD + "\n[]", "line 2: list indices must be integers"),
        (HEAD + '\n{"type":"ok","time":1,"process":1}', "line 2: process 1 has asked nothing"),
        (HEAD + '\n{"type":"invoke","time":1,"process":1,"op":"steal"}', "no operation 'steal'"),
        (HEAD + '\n{"type":"invoke","time":1,"process":1,"op":"put"}', "line 2: no field 'key'"),
        (HEAD + '\n{"type":"invoke","time":1.5,"process":1,"op":"put"}', "1.5 is not a whole"),
        (HEAD + '\n{"type":"told","time":1,"process":1,"watch":3,"revision":1}', "no watcher 3"),
        (HEAD + "\nnot json", "line 2: Expecting value"),
    ],
)
def test_nonsense_is_refused_by_line(text: str, complaint: str) -> None:
    with pytest.raises(FormatError, match=re.escape(complaint)):
        read(text.splitlines())


@given(st.binary(max_size=60))
def test_any_bytes_are_a_history_or_a_format_error(data: bytes) -> None:
    try:
        read([HEAD, *data.decode(errors="replace").splitlines()])
    except FormatError:
        pass


def test_keys_and_values_may_be_any_bytes() -> None:
    recorder = Recorder()
    recorder.invoke(1, 0.0, Put(b"\xff", b"caf\xc3\xa9"))
    recorder.ok(1, 0.5, Wrote(2))
    lines = list(written(recorder.history))
    assert '"key":{"base64":"/w=="},"value":"café"' in lines[1]
    assert read(lines).operations == recorder.history.operations


def test_the_page_names_every_field() -> None:
    page = (ROOT / "docs" / "formats" / "history.md").read_text()
    source = (ROOT / "src" / "sampan" / "verify" / "core" / "jsonl.py").read_text()
    names = set(re.findall(r'fields(?:\.get\(|\[)"([a-z_]+)"', source))
    assert len(names) > 20
    assert [
        name for name in sorted(names) if f"`{name}`" not in page and f'"{name}"' not in page
    ] == []
