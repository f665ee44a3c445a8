"""`sampan go matrix --verify`: which targets an existing workflow builds, and which it should."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import yaml
from tests.gobuild.test_targets import sampan_go

from sampan.base.errors import InvalidError
from sampan.gobuild.core.buildplan import Cell, plan_cells, split_targets
from sampan.gobuild.core.check.finding import SourceFile
from sampan.gobuild.core.cimatrix import WorkflowOptions, github_workflow, gitlab_pipeline
from sampan.gobuild.core.citargets import workflow_targets
from sampan.gobuild.core.civerify import verify_targets
from sampan.gobuild.core.yamlnodes import documents
from sampan.gobuild.shell.catalogue import release_named

RELEASE = release_named("1.26")


def built(text: str) -> list[str]:
    source = SourceFile("ci.yml", text)
    return [one.target for one in workflow_targets(source, documents(text), RELEASE).asked]


def differences(text: str, wanted: str) -> list[tuple[str, int, int]]:
    found = verify_targets(SourceFile("ci.yml", text), split_targets(wanted), RELEASE)
    return [(d.rule, d.span.line, d.span.column) for d in (one.diagnostic for one in found)]


def matrix(body: str, steps: str = "- run: go build") -> str:
    inner = "\n".join(f"        {line}" for line in body.strip("\n").split("\n"))
    return (
        "jobs:\n  build:\n    strategy:\n      matrix:\n"
        f"{inner}\n    env: {{GOOS: '${{{{ matrix.goos }}}}', GOARCH: '${{{{ matrix.goarch }}}}', "
        f"GOARM: '${{{{ matrix.goarm }}}}'}}\n    steps:\n      {steps}\n"
    )


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            "goos: [linux, windows]\ngoarch: [amd64, arm64]",
            ["linux/amd64", "linux/arm64", "windows/amd64", "windows/arm64"],
        ),
        (
            "goos: [linux, windows]\ngoarch: [amd64, arm64]\nexclude:\n- {goos: windows}",
            ["linux/amd64", "linux/arm64"],
        ),
        (
            "goos: [linux, windows]\ngoarch: [amd64, arm64]\n"
            "exclude: [{goos: windows, goarch: arm64}, {goos: linux, other: 1}]",
            ["linux/amd64", "linux/arm64", "windows/amd64"],
        ),
        # What changes no axis is added to the cells; what would is a cell of its own.
        (
            "goos: [linux]\ngoarch: [arm, amd64]\ninclude:\n"
            "- {goarch: arm, goarm: 6}\n- {goos: linux, goarch: arm, goarm: 5}\n"
            "- {goos: darwin, goarch: arm64}",
            ["linux/arm/5", "linux/amd64", "darwin/arm64"],
        ),
        ("goos: [linux]\ngoarch: [arm]\ninclude: [{goarm: 6}]", ["linux/arm/6"]),
        ("goos: [linux]\ngoarch: [arm]\ngoarm: [5, 7]", ["linux/arm/5", "linux/arm/7"]),
        (
            "include:\n- {goos: linux, goarch: arm64}\n- {goos: linux, goarch: riscv64}",
            ["linux/arm64", "linux/riscv64"],
        ),
        # Exclusions are before inclusions.
        (
            "goos: [linux]\ngoarch: [amd64]\nexclude: [{goarch: amd64}]\n"
            "include: [{goos: linux, goarch: amd64}]",
            ["linux/amd64"],
        ),
    ],
)
def test_cells_are_those_that_github_makes(body: str, expected: list[str]) -> None:
    assert built(matrix(body)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Names of a matrix that are not Go's, and mappings as values.
        (
            "jobs:\n  a:\n    strategy: {matrix: {os: [linux], cpu: [arm64, s390x]}}\n    steps:\n"
            "    - env: {GOOS: '${{ matrix.os }}', CPU: '${{ matrix.cpu }}'}\n"
            "      run: GOARCH=$CPU go build\n",
            ["linux/arm64", "linux/s390x"],
        ),
        (
            "jobs:\n  a:\n    strategy: {matrix: {to: [{os: linux, cpu: arm}]}}\n    steps:\n"
            "    - run: GOOS=${{ matrix.to.os }} GOARCH=${{matrix.to.cpu}} GOARM=6 go build\n",
            ["linux/arm/6"],
        ),
        # Without a matrix: environments of workflow, job and step, and of commands.
        ("env: {GOOS: linux}\njobs: {a: {env: {GOARCH: arm64}, steps: [{run: make}]}}",
         ["linux/arm64"]),
        (
            "jobs:\n  a:\n    env: {GOOS: linux}\n    steps:\n    - uses: actions/checkout@v4\n"
            "    - env: {GOARCH: arm64}\n      run: make\n    - env: {GOOS: windows}\n"
            "      run: go build\n",
            ["linux/arm64", "windows/amd64"],
        ),
        (
            "jobs:\n  a:\n    steps:\n    - run: |\n        GOOS=linux GOARCH=arm64 go build\n"
            "        GOOS=linux GOARCH=arm GOARM=7 \\\n          go build -o x\n"
            "    - run: |\n        export GOOS=freebsd\n        export GOARCH=amd64\n"
            "        go build\n",
            ["linux/arm64", "linux/arm/7", "freebsd/amd64"],
        ),
        (
            "jobs:\n  a:\n    env: {GOOS: linux, GOARCH: riscv64}\n    steps:\n"
            "    - run: GOARCH=arm64 go -C cmd build\n    - run: $(GO) build\n",
            ["linux/arm64", "linux/riscv64"],
        ),
        # Lists for `sampan go build`, and values that are platforms.
        (
            "jobs:\n  a:\n    env: {LIST: 'linux/arm64/v8.0,lse,linux/amd64'}\n    steps:\n"
            "    - run: sampan go build --cgo off --target \"$LIST\"\n"
            "    - run: sampan go build --target=windows/arm64 --prove\n",
            ["linux/arm64/v8.0,lse", "linux/amd64", "windows/arm64"],
        ),
        (
            "jobs:\n  a:\n    strategy: {matrix: {platform: [linux/amd64, linux/arm/v7], n: [1]}}\n"
            "    steps: [{uses: some/action@v1}]\n",
            ["linux/amd64", "linux/arm/v7"],
        ),
        # GitLab.
        (
            "build:\n  parallel:\n    matrix:\n    - GOOS: linux\n      GOARCH: [amd64, arm64]\n"
            "    - {GOOS: [darwin], GOARCH: arm64}\n  script: [go build]\n",
            ["linux/amd64", "linux/arm64", "darwin/arm64"],
        ),
        (
            ".base:\n  variables: {GOOS: linux, GOARCH: $CPU}\n  script: [go build]\n"
            "a:\n  extends: .base\n  parallel: {matrix: [{CPU: [arm64, riscv64]}]}\n"
            "b:\n  extends: .base\n  variables: {GOOS: windows, GOARCH: amd64}\n",
            ["linux/arm64", "linux/riscv64", "windows/amd64"],
        ),
        (
            "variables: {GOOS: linux}\nx: &x\n  variables: {GOARCH: s390x}\na:\n  <<: *x\n"
            "  script: ['export GOARM=7', go build]\n",
            ["linux/s390x"],
        ),
        ("x: {variables: {GOOS: linux}}", []),
        # Nothing, loops and other shapes.
        ("jobs: {a: {steps: [{run: echo GOOS=linux GOARCH=arm64}]}}", []),
        (".a: {extends: .b}\n.b: {extends: .a}\nc: {extends: .a, script: x}", []),
        ("jobs: [1, 2]", []),
        ("- a\n- b\n", []),
    ],
)  # fmt: skip
def test_what_a_workflow_builds(text: str, expected: list[str]) -> None:
    assert built(text) == expected


def test_targets_missing_and_too_many_are_told_with_their_places() -> None:
    text = matrix("goos: [linux]\ngoarch: [amd64,\n  arm64]")
    assert differences(text, "linux/amd64,linux/arm64") == []
    assert differences(text, "linux/amd64") == [("target-extra", 7, 11)]
    assert differences(text, "linux/amd64,linux/arm64,linux/arm/v6") == [("target-missing", 5, 9)]
    named = (
        "jobs:\n  a:\n    strategy: {matrix: {cpu: ['386', arm], at: [linux/386]}}\n    steps:\n"
        "    - run: GOOS=plan9 GOARCH=${{ matrix.cpu }} go build\n"
        "    - run: sampan go build --target ${{ matrix.at }}\n"
    )
    assert differences(named, "plan9/386") == [("target-extra", 3, 49), ("target-extra", 3, 38)]
    inside = (
        "jobs:\n  a:\n    steps:\n    - run: |\n        true\n"
        "        GOOS=linux GOARCH=arm go build"
    )
    assert differences(inside, "linux/arm/7") == []
    assert differences(inside, "linux/amd64") == [("target-extra", 6, 20), ("target-missing", 2, 3)]


def test_a_level_that_is_not_written_is_the_default() -> None:
    text = matrix("goos: [linux]\ngoarch: [arm]")
    assert differences(text, "linux/arm/v7") == []
    assert {rule for rule, _, _ in differences(text, "linux/arm/v6")} == {
        "target-extra",
        "target-missing",
    }


def test_cells_that_cannot_exist() -> None:
    text = "jobs: {a: {strategy: {matrix: {target: [linux/amd64/v5, linux/arm65, linux/arm64]}}}}"
    assert differences(text, "") == [("target-impossible", 1, 41), ("target-impossible", 1, 57)]
    with pytest.raises(InvalidError, match="v9"):
        differences(text, "linux/amd64/v9")


def test_what_is_known_only_at_run_time_is_not_passed_over() -> None:
    text = "jobs:\n  a:\n    strategy:\n      matrix: ${{ fromJSON(needs.x.outputs.y) }}\n"
    assert differences(text, "linux/amd64") == [
        ("targets-unread", 4, 15),
        ("target-missing", 4, 15),
    ]
    assert differences(text, "") == []


@pytest.mark.parametrize("write", [github_workflow, gitlab_pipeline])
def test_what_is_written_agrees_with_its_targets(
    write: Callable[[Sequence[Cell], WorkflowOptions], str],
) -> None:
    targets = "linux/arm64,linux/arm/v6,linux/arm64/v8.0,lse"
    cells = plan_cells(split_targets(f"{targets},plan9/386"), "app", RELEASE, False)
    text = write(cells, WorkflowOptions("1.26", default=tuple(split_targets(targets))))
    assert differences(text, targets) == []
    line = next(n for n, one in enumerate(text.split("\n"), 1) if targets in one)
    ((rule, place, _),) = differences(text, "linux/arm64,linux/arm64/v8.0,lse")
    assert (rule, place) == ("target-extra", line)
    ((rule, _, _),) = differences(text, f"{targets},plan9/386")
    assert rule == "target-missing"


def test_a_large_product_is_bounded() -> None:
    axes = "\n".join(f"a{n}: [{', '.join(map(str, range(50)))}]" for n in range(8))
    assert built(matrix(f"{axes}\ngoos: [linux]\ngoarch: [amd64]")) == ["linux/amd64"]
    loop = "a: &a {extends: [" + "a, " * 50 + "a], <<: [*a]}"
    assert yaml.compose(loop) is not None and built(loop) == []


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / ".github" / "workflows" / "build.yml"
    path.parent.mkdir(parents=True)
    path.write_text(matrix("goos: [linux, windows]\ngoarch: [amd64, s390x]"))
    name = ".github/workflows/build.yml"
    alone = sampan_go("matrix", "--verify", name)
    assert alone.returncode == 1 and alone.stdout.count("s390x") >= 1
    assert "[platform-missing]" in alone.stdout and "target-impossible" not in alone.stdout
    path.write_text(matrix("goos: [linux]\ngoarch: [amd64, s390x]"))
    assert sampan_go("matrix", "--verify", name).returncode == 0
    agreed = ("--target", "linux/amd64", "--include", "*/s390x")
    assert sampan_go("matrix", "--verify", name, *agreed).returncode == 0
    differs = sampan_go("matrix", "--verify", name, "--target", "linux/amd64,linux/arm64")
    assert differs.returncode == 1
    assert f"{name}:6:25: error: linux/s390x is built and not among the targets" in differs.stdout
    assert f"{name}:5:9: error: linux/arm64 is not built" in differs.stdout
    assert sampan_go("matrix", "--verify", name, "--target", "linux/x86").returncode == 2
