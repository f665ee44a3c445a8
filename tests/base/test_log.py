"""Log lines as readers of etcd's logs expect them."""

from __future__ import annotations

import json

import pytest

from sampan.base.log import Level, Logger


def logger(lines: list[str], level: Level = Level.INFO, *, console: bool = False) -> Logger:
    return Logger(lines.append, lambda: 1700000000.25, level=level, console=console)


def test_a_line_is_one_json_object_in_a_fixed_order() -> None:
    lines: list[str] = []
    logger(lines).info("ready to serve client requests", address="127.0.0.1:2379", count=2)
    assert lines == [
        '{"level":"info","ts":"2023-11-14T22:13:20.250000Z",'
        '"msg":"ready to serve client requests","address":"127.0.0.1:2379","count":2}\n'
    ]


def test_a_newline_in_a_field_stays_in_its_line() -> None:
    lines: list[str] = []
    logger(lines).error("bad", error=ValueError("a\nb"))
    assert lines[0].count("\n") == 1
    assert json.loads(lines[0])["error"] == "a\nb"


def test_lines_below_the_level_are_dropped() -> None:
    lines: list[str] = []
    quiet = logger(lines, Level.WARN)
    quiet.debug("no")
    quiet.info("no")
    quiet.warning("yes")
    quiet.fatal("yes")
    assert [json.loads(line)["level"] for line in lines] == ["warn", "fatal"]


def test_the_console_form_is_separated_by_tabs() -> None:
    lines: list[str] = []
    logger(lines, console=True).info("hello", size=1)
    logger(lines, console=True).info("bare")
    assert lines == [
        '2023-11-14T22:13:20.250000Z\tINFO\thello\t{"size":1}\n',
        "2023-11-14T22:13:20.250000Z\tINFO\tbare\n",
    ]


def test_levels_are_parsed_by_name() -> None:
    assert Level.parse("debug") is Level.DEBUG
    assert Level.parse("FATAL") is Level.FATAL
    with pytest.raises(ValueError, match='unrecognized level: "loud"'):
        Level.parse("loud")
