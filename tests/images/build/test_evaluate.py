"""From a Dockerfile to the steps of its build and the configuration of its image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from sampan.base.diagnostic import DiagnosticsError
from sampan.dockerfile.stages import parse_dockerfile
from sampan.images.core.build.evaluate import Evaluation, evaluate
from sampan.images.core.build.request import BaseImage, BuildRequest, needed
from sampan.images.core.build.steps import (
    Base,
    ContextFiles,
    CopyStep,
    Graph,
    InlineFile,
    MakeDirectory,
    RunStep,
    StepFiles,
    Url,
    walk,
)
from sampan.images.core.platform import Platform

AMD64, ARM = Platform("linux", "amd64"), Platform("linux", "arm", "v6")
ZEROS = "0" * 64
REQUEST = BuildRequest(AMD64, AMD64)
BASE: dict[str, Any] = {"config": {"Env": ["PATH=/bin"], "Cmd": ["sh"], "User": "me"}}


def built(
    text: str,
    request: BuildRequest = REQUEST,
    bases: Mapping[str, dict[str, Any]] | None = None,
    graph: Graph | None = None,
) -> Evaluation:
    dockerfile = parse_dockerfile(text)
    known = {
        (one.reference, str(one.platform)): BaseImage(
            f"{one.reference} {one.platform}", (bases or {}).get(one.reference, BASE)
        )
        for one in needed(dockerfile, request)
    }
    return evaluate(dockerfile, request, known, graph)


def refused(text: str, request: BuildRequest = REQUEST) -> str:
    with pytest.raises(DiagnosticsError) as caught:
        built(text, request)
    return str(caught.value)


def ran(evaluation: Evaluation) -> RunStep:
    assert isinstance(evaluation.target.step, RunStep)
    return evaluation.target.step


def copied(evaluation: Evaluation) -> CopyStep:
    assert isinstance(evaluation.target.step, CopyStep)
    return evaluation.target.step


def test_only_the_stages_that_the_target_needs_are_looked_up_and_done() -> None:
    text = (
        "FROM golang AS build\nRUN make\nFROM unused AS other\nRUN never\n"
        "FROM alpine\nCOPY --from=build /a /b\nCOPY --from=nginx /c /d\n"
    )
    found = needed(parse_dockerfile(text), REQUEST)
    assert [one.reference for one in found] == ["golang", "alpine", "nginx"]
    steps = list(walk(built(text).target.step))
    assert [type(step) for step in steps] == [Base, Base, RunStep, CopyStep, Base, CopyStep]
    assert "never" not in str([step.operation() for step in steps])


def test_arguments_are_seen_after_their_line_and_hidden_by_env() -> None:
    text = "FROM a\nRUN one\nARG X=1\nARG Y\nRUN two\nENV X=${X}env\nRUN three $X\n"
    request = replace(REQUEST, arguments={"Y": "given", "Z": "never declared"})
    three = ran(built(text, request))
    two = three.parent
    assert isinstance(two, RunStep)
    one = two.parent
    assert isinstance(one, RunStep)
    assert list(one.env) == ["PATH=/bin"]
    assert list(two.env) == ["X=1", "Y=given", "PATH=/bin"]
    assert list(three.env) == ["Y=given", "PATH=/bin", "X=1env"]


def test_a_global_argument_reaches_a_stage_only_when_it_is_declared_there() -> None:
    text = "ARG V=9\nFROM a:$V\nRUN x\nFROM a:$V\nARG V\nARG TARGETARCH\nRUN x\n"
    assert list(ran(built(text)).env) == ["V=9", "TARGETARCH=amd64", "PATH=/bin"]
    first = built(text, replace(REQUEST, target="0"))
    assert list(ran(first).env) == ["PATH=/bin"]


def test_platforms() -> None:
    text = (
        "FROM --platform=$BUILDPLATFORM go AS b\nARG TARGETVARIANT\n"
        "RUN GOARM=${TARGETVARIANT#v} x\n"
        "FROM a\nCOPY --from=b /x /x\n"
    )
    request = replace(REQUEST, platform=ARM)
    found = needed(parse_dockerfile(text), request)
    assert [(one.reference, str(one.platform)) for one in found] == [
        ("go", "linux/amd64"),
        ("a", "linux/arm/v6"),
    ]
    source = copied(built(text, request)).sources[0]
    assert isinstance(source, StepFiles)
    assert isinstance(source.step, RunStep)
    assert "TARGETVARIANT=v6" in source.step.env


def test_what_does_not_depend_on_the_platform_is_done_once() -> None:
    text = "FROM --platform=$BUILDPLATFORM go AS b\nRUN make\nFROM scratch\nCOPY --from=b /x /x\n"
    graph = Graph()
    first = built(text, REQUEST, graph=graph)
    second = built(text, replace(REQUEST, platform=ARM), graph=graph)
    assert first.target.step is second.target.step


def test_the_configuration_follows_the_instructions() -> None:
    text = (
        "FROM a\nENV A=1\nWORKDIR /app\nWORKDIR src\nUSER bob:staff\nEXPOSE 80 8000-8001/udp\n"
        'VOLUME ["/data"]\nLABEL x=y "z z"=1\nSTOPSIGNAL SIGINT\nSHELL ["/bin/bash", "-c"]\n'
        "HEALTHCHECK --interval=1m CMD check\nENTRYPOINT run $A\nMAINTAINER me\n"
    )
    config = built(text).target.config
    assert config.fields == {
        "Env": ["PATH=/bin", "A=1"],
        "User": "bob:staff",
        "WorkingDir": "/app/src",
        "ExposedPorts": {"80/tcp": {}, "8000/udp": {}, "8001/udp": {}},
        "Volumes": {"/data": {}},
        "Labels": {"x": "y", "z z": "1"},
        "StopSignal": "SIGINT",
        "Shell": ["/bin/bash", "-c"],
        "Healthcheck": {"Test": ["CMD-SHELL", "check"], "Interval": 60_000_000_000},
        "Entrypoint": ["/bin/bash", "-c", "run $A"],
    }
    assert config.author == "me"
    steps = list(walk(built(text).target.step))
    assert [step.path for step in steps if isinstance(step, MakeDirectory)] == ["/app", "/app/src"]


def test_an_entry_point_resets_the_command_of_the_base_but_not_its_own() -> None:
    assert "Cmd" not in built('FROM a\nENTRYPOINT ["x"]').target.config.fields
    own = built('FROM a\nCMD ["y"]\nENTRYPOINT ["x"]').target.config.fields
    assert own["Cmd"] == ["y"]


def test_history_has_an_entry_for_every_instruction() -> None:
    history = built("FROM a\nARG V=1\nRUN x\nCOPY a b/\nENV A=1\nEXPOSE 80\n").target.config.history
    assert [(entry.created_by, entry.empty) for entry in history] == [
        ("ARG V=1", True),
        ("RUN |1 V=1 /bin/sh -c x # buildkit", False),
        ("COPY a /b/ # buildkit", False),
        ("ENV A=1", True),
        ("EXPOSE [80/tcp]", True),
    ]


def test_sources_of_copy_and_add() -> None:
    found = copied(built("FROM a\nWORKDIR /w\nENV D=dst\nCOPY --chown=1 a b ./$D/\n"))
    assert found.target == "/w/dst/"
    (context,) = found.sources
    assert isinstance(context, ContextFiles)
    assert (context.patterns, found.chown) == (("a", "b"), "1")
    added = copied(built(f"FROM a\nADD --checksum=sha256:{ZEROS} https://example.org/x.tgz /x\n"))
    (url,) = added.sources
    assert isinstance(url, Url)
    assert (url.url, url.checksum) == ("https://example.org/x.tgz", f"sha256:{ZEROS}")
    inline = copied(built("FROM a\nENV W=world\nCOPY <<F /f\nhello '$W' \\$W\nF\n"))
    (file,) = inline.sources
    assert isinstance(file, InlineFile)
    assert file.content == "hello 'world' $W\n"


def test_triggers_of_the_base_come_first_and_are_not_inherited_further() -> None:
    base = {"config": {"OnBuild": ["COPY . /src", "RUN build"]}}
    found = built("FROM a\nRUN own\n", bases={"a": base}).target
    kinds = [type(step) for step in walk(found.step)]
    assert kinds == [Base, CopyStep, RunStep, RunStep]
    assert "OnBuild" not in found.config.document({}, [], "now")["config"]


def test_mounts_name_their_sources() -> None:
    text = (
        "FROM go AS b\nFROM a\nWORKDIR /w\n"
        "RUN --mount=from=b,target=src,source=/x --mount=type=cache,target=/c "
        "--mount=type=secret,id=k make\n"
    )
    bind, cache, secret = ran(built(text)).mounts
    assert isinstance(bind.source, Base)
    assert (bind.target, bind.path, bind.read_only) == ("/w/src", "/x", True)
    assert (cache.id, cache.sharing) == ("/c", "shared")
    assert secret.target == "/run/secrets/k"


def test_an_undefined_variable_is_a_warning_in_its_place() -> None:
    (warning,) = built("FROM a\nRUN x\nWORKDIR /$NO\n").warnings
    assert (warning.rule, warning.span.line) == ("UndefinedVar", 3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("FROM $V", "Dockerfile:1:1: error: base name ($V) should not be blank"),
        ("FROM --platform=a/b/c/d x", "failed to parse platform"),
        ("FROM host", "FROM host is not allowed by this engine"),
        ("FROM a\nEXPOSE 70000", "2:1: error: invalid containerPort: 70000"),
        ("FROM a\nRUN x\nWORKDIR ${X:?is needed}", "3:1: error: X: is needed"),
        ("FROM a\nSTOPSIGNAL 'a b'", "Invalid signal"),
    ],
)
def test_what_cannot_be_is_named_in_its_place(text: str, said: str) -> None:
    assert said in refused(text)


def test_the_machine_itself_builds_but_is_no_result() -> None:
    request = replace(REQUEST, host_allowed=True)
    text = "FROM host AS b\nRUN make\nFROM scratch\nCOPY --from=b /x /x\n"
    assert built(text, request).target
    assert "cannot be the result" in refused("FROM host\nRUN make", request)


def test_an_unknown_target_is_told_with_the_nearest_name() -> None:
    text = "FROM a AS build\nFROM a AS final\n"
    assert "(did you mean build?)" in refused(text, replace(REQUEST, target="biuld"))


def test_a_thousand_steps_do_not_exhaust_the_stack() -> None:
    found = built("FROM a\n" + "RUN x\n" * 3000)
    assert sum(1 for _ in walk(found.target.step)) == 3001
