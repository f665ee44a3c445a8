"""Variables, quotes, and patterns of files to leave out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.base.errors import InvalidError
from sampan.dockerfile.ignore import parse_ignore
from sampan.dockerfile.words import Expander

_VARIABLES = {"A": "one", "EMPTY": "", "PATH": "/usr/local/bin", "TWO": "x y", "F": "a.tar.gz"}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$A", "one"),
        ("${A}b", "oneb"),
        ("$Ab", ""),
        ("\\$A", "$A"),
        ("'$A'", "$A"),
        ('"$A"', "one"),
        ('"\\n\\"\\$"', '\\n"$'),
        ("a$", "a$"),
        ("${X:-d}", "d"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${X:-${A}s}", "ones"),
        ("${A:+set}", "set"),
        ("${EMPTY:+set}", ""),
        ("${EMPTY+set}", "set"),
        ("${PATH#*/}", "usr/local/bin"),
        ("${PATH##*/}", "bin"),
        ("${PATH%/*}", "/usr/local"),
        ("${F%%.*}", "a"),
        ("${F#b}", "a.tar.gz"),
        ("${PATH/\\//-}", "-usr/local/bin"),
        ("${PATH//\\//-}", "-usr-local-bin"),
        ("${F/./}", "atar.gz"),
        ("${F//?ar/}", "a..gz"),
    ],
)
def test_expansion(text: str, result: str) -> None:
    assert Expander(_VARIABLES).word(text) == result


def test_words_split_where_no_quote_is() -> None:
    assert Expander(_VARIABLES).words('$TWO "$TWO" z""') == ["x", "y", "x y", "z"]


def test_names_without_a_value_are_remembered() -> None:
    expander = Expander(_VARIABLES)
    assert expander.word("$A$B${C}${D:-x}") == "onex"
    assert expander.unset == {"B", "C"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("'a", "single-quote"),
        ('"a', "double-quote"),
        ("${A", "missing }"),
        ("${}", "missing name"),
        ("${A~x}", "unsupported modifier (~)"),
        ("${X:?needed here}", "X: needed here"),
        ("${A:-${B}", "missing }"),
    ],
)
def test_what_cannot_be_expanded(text: str, said: str) -> None:
    with pytest.raises(InvalidError) as caught:
        Expander(_VARIABLES).word(text)
    assert said in str(caught.value)


@given(st.text(max_size=120))
def test_any_text_is_expanded_or_refused(text: str) -> None:
    try:
        Expander(_VARIABLES).word(text)
    except InvalidError:
        pass


@pytest.mark.parametrize(
    ("patterns", "ignored", "kept"),
    [
        ("*.md", ["a.md"], ["d/a.md", "a.mdx"]),
        ("**/*.md", ["a.md", "d/e/a.md"], ["d/a.txt"]),
        ("node_modules", ["node_modules", "node_modules/x/y"], ["a/node_modules"]),
        ("/a/../b/", ["b", "b/c"], ["a"]),
        ("*\n!keep", ["x", "d/keep"], ["keep", "keep/x"]),
        ("*.md\n!README*.md\nREADME-secret.md", ["a.md", "README-secret.md"], ["README.md"]),
        ("# a comment\n\n  temp?  ", ["temp1"], ["temp", "temp12", "# a comment"]),
        ("[a-c]*", ["a1", "c"], ["d"]),
        ("[^a-c]*", ["d"], ["a1"]),
        ("a**z", ["az", "a/b/z"], ["a"]),
        ("\\*", ["*"], ["a"]),
    ],
)
def test_ignore_rules(patterns: str, ignored: list[str], kept: list[str]) -> None:
    rules = parse_ignore(patterns)
    assert [path for path in ignored if not rules.ignored(path)] == []
    assert [path for path in kept if rules.ignored(path)] == []


def test_a_directory_is_skipped_unless_something_is_taken_back() -> None:
    assert parse_ignore("d").skipped("d")
    assert not parse_ignore("d\n!d/x").skipped("d")


def test_a_bad_pattern_is_named_with_its_line() -> None:
    with pytest.raises(InvalidError, match=r"\.dockerignore:2: bad pattern '\[a'"):
        parse_ignore("x\n[a")
