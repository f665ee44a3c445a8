"""Dockerfiles as values, and what is wrong with them in its place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.base.diagnostic import DiagnosticsError
from sampan.dockerfile import instructions as kinds
from sampan.dockerfile.stages import Dockerfile, parse_dockerfile


def parse(text: str) -> Dockerfile:
    return parse_dockerfile(text)


def only(text: str) -> kinds.Instruction:
    """The one instruction after a FROM."""
    (found,) = parse("FROM scratch\n" + text).stages[0].instructions
    return found


def refused(text: str) -> str:
    with pytest.raises(DiagnosticsError) as caught:
        parse(text)
    return "\n".join(map(str, caught.value.diagnostics))


def test_stages_have_names_platforms_and_indexes() -> None:
    found = parse(
        "ARG V=1\nFROM --platform=$BUILDPLATFORM golang:$V AS Build\nRUN go build\n"
        "FROM scratch\nCOPY --from=build /a /b\n"
    )
    first, second = found.stages
    assert (first.start.base, first.start.name, first.start.platform) == (
        "golang:$V",
        "build",
        "$BUILDPLATFORM",
    )
    assert found.arguments[0].pairs == (("V", "1"),)
    assert second.name == "1"
    assert found.target("BUILD") is first
    assert found.target("") is second


@pytest.mark.parametrize(
    ("text", "words", "shell"),
    [
        ('RUN ["a", "b c"]', ("a", "b c"), False),
        ("RUN ['a']", ("['a']",), True),
        ('RUN ["a", 1]', ('["a", 1]',), True),
        ("RUN a \\\n  # a comment\n\n  && b", ("a   && b",), True),
        ("RUN a \\  \n b", ("a  b",), True),
    ],
)
def test_commands(text: str, words: tuple[str, ...], shell: bool) -> None:
    found = only(text)
    assert isinstance(found, kinds.Run)
    assert found.command == kinds.Command(words, shell)


def test_a_lone_heredoc_is_the_script_and_one_among_words_is_input() -> None:
    found = only("RUN <<EOF\necho $A\nEOF\n")
    assert isinstance(found, kinds.Run)
    assert found.script is not None
    assert (found.script.content, found.script.expand) == ("echo $A\n", True)
    found = only("RUN python3 - <<'EOF' | cat\nprint(1)\nEOF\n")
    assert isinstance(found, kinds.Run)
    assert found.script is None
    assert found.command.words == ("python3 - <<'EOF' | cat\nprint(1)\nEOF",)


def test_heredocs_of_copy_are_files_and_strip_tabs() -> None:
    found = only("COPY <<-'one.txt' <<two.txt /dst/\n\ta\n\tone.txt\n\tb\ntwo.txt\n")
    assert isinstance(found, kinds.Copy)
    assert [(one.name, one.content, one.expand) for one in found.inline] == [
        ("one.txt", "a\n", False),
        ("two.txt", "\tb\n", True),
    ]
    assert (found.sources, found.target) == ((), "/dst/")


def test_flags_come_before_the_words_and_end_there() -> None:
    found = only("COPY --from=a --chown=1:2 --chmod=755 --link --exclude=*.md --exclude=x f /")
    assert isinstance(found, kinds.Copy)
    assert (found.from_, found.chown, found.chmod, found.link) == ("a", "1:2", "755", True)
    assert found.excludes == ("*.md", "x")


def test_mounts_of_run() -> None:
    found = only(
        "RUN --mount=type=cache,target=/c,sharing=locked,id=x --mount=target=/src,rw "
        '--mount=type=secret,id=key,env=KEY,required "--mount=type=tmpfs,target=/t" true'
    )
    assert isinstance(found, kinds.Run)
    cache, bind, secret = found.mounts
    assert (cache.type, cache.sharing, cache.id) == ("cache", "locked", "x")
    assert (bind.type, bind.read_only) == ("bind", False)
    assert (secret.id, secret.env, secret.required) == ("key", "KEY", True)


def test_env_in_both_forms() -> None:
    found = only('ENV A=1 B="two words" C=a\\ b')
    assert isinstance(found, kinds.Env)
    assert found.pairs == (("A", "1"), ("B", '"two words"'), ("C", "a\\ b"))
    found = only("ENV GREETING hello  there")
    assert isinstance(found, kinds.Env)
    assert found.pairs == (("GREETING", "hello  there"),)


def test_healthcheck() -> None:
    found = only("HEALTHCHECK --interval=5s --retries=3 CMD curl -f http://localhost/")
    assert isinstance(found, kinds.Healthcheck)
    assert (found.interval_ns, found.retries) == (5_000_000_000, 3)
    assert found.command == kinds.Command(("curl -f http://localhost/",), True)
    none = only("HEALTHCHECK NONE")
    assert isinstance(none, kinds.Healthcheck)
    assert none.command is None


def test_directives_at_the_top_only() -> None:
    found = parse("# escape=`\n# check=skip=JSONArgsRecommended;error=true\nFROM a\nRUN dir `\n c")
    assert found.directives.escape == "`"
    assert found.directives.checks.skip == {"jsonargsrecommended"}
    assert found.directives.checks.error
    late = parse("# a comment\n# escape=`\nFROM a\n")
    assert late.directives.escape == "\\"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Dockerfile:1:1: error: the file has no instructions"),
        ("RUN x\nFROM a", "1:1: error: no build stage in current context: RUN"),
        ("FROM a\n  RNU x", "2:3: error: unknown instruction: RNU (did you mean RUN?)"),
        ("FROM a AS", "FROM requires either one or three arguments"),
        ("FROM a AS 1x", "invalid name for build stage"),
        ("FROM a\nRUN <<EOF\nx", "2:1: error: unterminated heredoc EOF"),
        ("FROM a\nCOPY a", "COPY requires at least two arguments, but only 1 provided"),
        ("FROM a\nCOPY a b c", "the destination must be a directory and end with a /"),
        ("FROM a\nCOPY --form=x a b", "unknown flag: --form (did you mean from?)"),
        ("FROM a\nCOPY --chown a b", "missing a value on flag: --chown"),
        ("FROM a\nCOPY --from=0 a b", "invalid stage index 0"),
        ("FROM a AS x\nCOPY --from=x a b", "circular dependency"),
        ("FROM a\nENV A=1 B", "can't find = in 'B'"),
        ("FROM a\nENV =1", "names must not be blank"),
        ("FROM a\nSHELL sh -c", "JSON form"),
        ("FROM a\nHEALTHCHECK PING", "unknown type 'PING'"),
        ("FROM a\nHEALTHCHECK --interval=1 CMD x", "missing unit in duration"),
        ("FROM a\nONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
        ("FROM a\nRUN --mount=type=disk,target=/x y", "unsupported mount type 'disk'"),
        ("FROM a\nRUN --mount=type=tmpfs,target=/x,id=1 y", "unexpected key 'id'"),
        ("FROM a\nRUN --network=bridge y", "invalid network mode"),
        ("# escape=x\nFROM a", "1:10: error: invalid escape token"),
        ("# escape=`\n# escape=`\nFROM a", "2:1: error: only one escape parser directive"),
    ],
)
def test_what_is_malformed_is_named_in_its_place(text: str, said: str) -> None:
    assert said in refused(text)


def test_every_malformed_line_is_told() -> None:
    told = refused("FROM a\nRNU x\nCOPY a\nWORKDIR\n").splitlines()
    assert [line.split(":")[1] for line in told] == ["2", "3", "4"]


def test_an_empty_continuation_line_is_a_warning() -> None:
    (warning,) = parse("FROM a\nRUN a \\\n\n b\n").warnings
    assert (warning.rule, warning.span.line) == ("NoEmptyContinuation", 3)


@given(st.text(max_size=300))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        found = parse("FROM scratch\n" + text)
    except DiagnosticsError as error:
        assert error.diagnostics
    else:
        assert found.stages
