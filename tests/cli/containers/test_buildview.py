"""A build as rows of a terminal, without one."""

from __future__ import annotations

from typing import Any

from sampan.cli.containers.core.buildview import BuildView, plain_lines


def step(key: str, name: str, **more: Any) -> dict[str, Any]:
    nothing = {"started": 1.0, "completed": None, "cached": False, "error": ""}
    return {"event": "step", "key": key, "name": name, **nothing, **more}


def output(key: str, text: str) -> dict[str, Any]:
    return {"event": "output", "key": key, "text": text}


def test_rows_fit_the_terminal_and_the_last_ones_stay() -> None:
    view = BuildView()
    view.take({"event": "begin", "steps": 50})
    for number in range(50):
        view.take(step(str(number), f"RUN {'x' * 200} {number}", completed=2.0))
    rows = view.rows((10, 40), 5.0, 4.0)
    assert rows[0] == "[+] Building 4.0s (50/50)"
    assert len(rows) <= 9
    assert all(len(row) < 40 for row in rows)
    assert rows[-1].endswith("... 1.0s")


def test_output_cannot_move_the_cursor() -> None:
    view = BuildView()
    view.take(step("a", "RUN \x1b[2Ja"))
    view.take(output("a", "10%\r20%\x1b[1A\x07"))
    rows = view.rows((24, 80), 2.0, 1.0)
    assert rows[1].startswith(" => RUN a ")
    assert rows[2] == " => => # 20%"


def test_a_line_that_comes_in_pieces_is_one_line() -> None:
    view = BuildView()
    view.take(step("a", "RUN a"))
    for piece in ("on", "e\ntw", "o\n"):
        view.take(output("a", piece))
    assert view.steps["a"].output == ["one", "two", ""]


def test_what_was_never_begun_is_told_with_its_name() -> None:
    view = BuildView()
    event = step("a", "COPY a b", completed=1.0, cached=True)
    view.take(event)
    assert list(plain_lines(view, event)) == ["#1 COPY a b", "#1 CACHED"]
