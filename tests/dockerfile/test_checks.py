"""Every rule: what it finds and where, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from sampan.base.diagnostic import Diagnostic, DiagnosticsError
from sampan.dockerfile.ignore import parse_ignore
from sampan.dockerfile.rules import EXPERIMENTAL, RULES
from sampan.dockerfile.stages import parse_dockerfile
from sampan.images.core.build.evaluate import evaluate
from sampan.images.core.build.request import BaseImage, BuildRequest, needed
from sampan.images.core.platform import Platform

AMD64 = Platform("linux", "amd64")
IGNORED = parse_ignore("secret\n*.log\n!keep\n")


def findings(text: str, arguments: Mapping[str, str] | None = None) -> list[Diagnostic]:
    dockerfile = parse_dockerfile(text)
    request = BuildRequest(AMD64, AMD64, arguments=arguments or {}, ignore=IGNORED)
    document = {
        "os": "linux",
        "architecture": "amd64",
        "config": {"Env": ["BASE=1"]},
        "rootfs": {"diff_ids": []},
    }
    other = {**document, "architecture": "s390x"}
    bases = {
        (one.reference, str(one.platform)): BaseImage(
            "", other if "other" in one.reference else document
        )
        for one in needed(dockerfile, request)
    }
    return list(evaluate(dockerfile, request, bases).warnings)


def rules(text: str, arguments: Mapping[str, str] | None = None) -> list[tuple[str, int]]:
    return [(one.rule, one.span.line) for one in findings(text, arguments)]


CASES: list[tuple[str, int, str, str]] = [
    ("StageNameCasing", 1, "FROM b AS Stage\n", "FROM b AS stage\n"),
    ("FromAsCasing", 1, "FROM b as s\n", "from b as s\n"),
    ("NoEmptyContinuation", 3, "FROM b\nRUN a \\\n\nb\n", "FROM b\nRUN a \\\n# c\nb\n"),
    ("ConsistentInstructionCasing", 2, "FROM b\nrun a\nRUN b\n", "from b\nrun a\n"),
    ("ConsistentInstructionCasing", 2, "from b\nRun a\nrun b\n", "FROM b\nRUN a\n"),
    (
        "DuplicateStageName",
        2,
        "FROM b AS s\nFROM b AS s\n",
        "FROM b AS s\nFROM b AS t\n",
    ),
    ("ReservedStageName", 1, "FROM b AS scratch\n", "FROM b AS scratched\n"),
    ("JSONArgsRecommended", 2, "FROM b\nCMD a\n", 'FROM b\nSHELL ["x"]\nCMD a\n'),
    ("JSONArgsRecommended", 2, "FROM b\nENTRYPOINT a\n", 'FROM b\nENTRYPOINT ["a"]\n'),
    ("MaintainerDeprecated", 2, "FROM b\nMAINTAINER a\n", "FROM b\nLABEL maintainer=a\n"),
    ("UndefinedArgInFrom", 1, "FROM b${TAG}\n", "ARG TAG\nFROM b${TAG}\n"),
    ("UndefinedVar", 2, "FROM b\nLABEL a=$ONE\n", "FROM b\nARG ONE\nLABEL a=$BASE${ONE:-x}\n"),
    ("WorkdirRelativePath", 2, "FROM b\nWORKDIR a\n", "FROM b\nWORKDIR /\nWORKDIR a\n"),
    (
        "WorkdirRelativePath",
        3,
        "FROM b AS s\nFROM s\nWORKDIR a\n",
        "FROM b AS s\nWORKDIR /a\nFROM s\nWORKDIR a\n",
    ),
    (
        "MultipleInstructionsDisallowed",
        2,
        'FROM b\nCMD ["a"]\nCMD ["b"]\n',
        'FROM b AS s\nCMD ["a"]\nFROM s\nCMD ["b"]\n',
    ),
    (
        "MultipleInstructionsDisallowed",
        2,
        "FROM b\nHEALTHCHECK NONE\nHEALTHCHECK NONE\n",
        "FROM b\nHEALTHCHECK NONE\n",
    ),
    ("LegacyKeyValueFormat", 2, "FROM b\nENV a b\n", "FROM b\nENV a=b\n"),
    ("LegacyKeyValueFormat", 2, "FROM b\nLABEL a b\n", 'FROM b\nLABEL "a"="b c"\n'),
    (
        "RedundantTargetPlatform",
        1,
        "FROM --platform=$TARGETPLATFORM b\n",
        "FROM --platform=$BUILDPLATFORM b\n",
    ),
    (
        "SecretsUsedInArgOrEnv",
        2,
        "FROM b\nARG DB_PASSWORD\n",
        "FROM b\nARG TOKENS\nARG PUBLIC_KEY\n",
    ),
    ("SecretsUsedInArgOrEnv", 2, "FROM b\nENV TOKEN=1\n", "FROM b\nENV KEYBOARD=1\n"),
    ("InvalidDefaultArgInFrom", 2, "ARG TAG\nFROM b:$TAG\n", "ARG TAG=1\nFROM b:$TAG\n"),
    (
        "FromPlatformFlagConstDisallowed",
        1,
        "FROM --platform=linux/amd64 b\n",
        "FROM --platform=linux/amd64 b AS s-amd64\n",
    ),
    ("CopyIgnoredFile", 2, "FROM b\nCOPY a.log /\n", "FROM b\nCOPY a.txt /\nCOPY *.log /\n"),
    ("InvalidBaseImagePlatform", 1, "FROM other\n", "FROM b\n"),
    ("ExposeProtoCasing", 2, "FROM b\nEXPOSE 80/TCP\n", "FROM b\nEXPOSE 80/tcp\n"),
    ("ExposeInvalidFormat", 2, "FROM b\nEXPOSE 127.0.0.1:80:80\n", "FROM b\nEXPOSE 80-81\n"),
    (
        "InvalidDefinitionDescription",
        4,
        "# check=experimental=all\n\n# a comment\nFROM b AS s\n",
        "# check=experimental=all\n# a comment\n\n# s makes it\nFROM b AS s\n# X of it\nARG X=1\n",
    ),
]


@pytest.mark.parametrize(("rule", "line", "wrong", "right"), CASES)
def test_what_a_rule_finds_and_what_not(rule: str, line: int, wrong: str, right: str) -> None:
    arguments = {"TAG": "1"} if rule == "InvalidDefaultArgInFrom" else None
    assert (rule, line) in rules(wrong, arguments)
    assert rule not in [name for name, _ in rules(right, {"TAG": "1"})]


def test_every_rule_has_a_case() -> None:
    assert {rule for rule, *_ in CASES} == set(RULES)


def test_a_clean_file_has_no_findings() -> None:
    text = (
        "ARG VERSION=1\nFROM --platform=$BUILDPLATFORM b:$VERSION AS build\nARG TARGETARCH\n"
        'WORKDIR /src\nCOPY . .\nRUN make\nFROM b\nCOPY --from=build /src/a /\nCMD ["/a"]\n'
    )
    assert findings(text) == []


def test_findings_say_where_what_and_why() -> None:
    (found,) = findings("FROM b\nENV a=1 \\\n  b=$BASEE\n")
    assert (found.span.line, found.span.end_line) == (2, 3)
    assert found.summary == "the variable $BASEE (did you mean $BASE?) is not defined"
    assert found.detail == RULES["UndefinedVar"]


def test_experimental_rules_are_for_who_asks() -> None:
    text = "# a comment\nFROM b AS s\n"
    assert EXPERIMENTAL == {"InvalidDefinitionDescription"}
    assert findings(text) == []
    asked = {"BUILDKIT_DOCKERFILE_CHECK": "experimental=InvalidDefinitionDescription"}
    assert [name for name, _ in rules(text, asked)] == ["InvalidDefinitionDescription"]


def test_the_directive_and_the_argument_choose() -> None:
    text = "# check=skip=StageNameCasing\nFROM b AS S\nMAINTAINER a\n"
    assert [name for name, _ in rules(text)] == ["MaintainerDeprecated"]
    assert rules("# check=skip=all\n" + text.partition("\n")[2]) == []
    told = {"BUILDKIT_DOCKERFILE_CHECK": "skip=maintainerdeprecated"}
    assert [name for name, _ in rules(text, told)] == ["StageNameCasing"]


def test_findings_can_be_errors() -> None:
    with pytest.raises(DiagnosticsError) as caught:
        findings("# check=error=true\nFROM b AS S\nMAINTAINER a\n")
    assert [one.rule for one in caught.value.diagnostics] == [
        "StageNameCasing",
        "MaintainerDeprecated",
    ]
    assert str(caught.value).startswith("Dockerfile:2:1: error: ")


@pytest.mark.parametrize("text", ["# check=skp=all\nFROM b\n", "#check=error=maybe\nFROM b\n"])
def test_a_directive_that_means_nothing_is_an_error_in_its_place(text: str) -> None:
    with pytest.raises(DiagnosticsError, match=r"Dockerfile:1:1: error: invalid check option"):
        parse_dockerfile(text)
