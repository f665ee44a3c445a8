"""`sampan go matrix`: workflows that say what was asked for, and that `check` finds nothing in."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.gobuild.placed_projects import NESTED
from tests.gobuild.test_targets import sampan_go

from sampan.base.errors import InvalidError
from sampan.gobuild.core.buildplan import plan_cells, split_targets
from sampan.gobuild.core.check.finding import SourceFile
from sampan.gobuild.core.check.project import Project, check_project
from sampan.gobuild.core.cimatrix import (
    WorkflowOptions,
    expanded_targets,
    github_workflow,
    gitlab_pipeline,
    without_excluded,
)
from sampan.gobuild.shell.catalogue import release_named

RELEASE = release_named("1.26")
TARGETS = "linux/arm64,linux/arm/v6,linux/arm64/v8.0,lse,windows/arm64"
SERVICES = pytest.mark.parametrize("service", ["github", "gitlab"])


def written(service: str, options: WorkflowOptions) -> tuple[str, Any]:
    cells = plan_cells(split_targets(TARGETS), "app", RELEASE, bool(options.compiler))
    text = (github_workflow if service == "github" else gitlab_pipeline)(cells, options)
    return text, yaml.safe_load(text)


def planned(
    service: str, document: Any, folder: Path, **inputs: str
) -> tuple[int, list[dict[str, str]], str]:
    """Run the first job's script as the service does; its code, the cells to build, its words."""
    if service == "github":
        step = document["jobs"]["plan"]["steps"][0]
        assert "${{" not in step["run"] and set(step["env"]) == {"TARGETS", "INCLUDE", "EXCLUDE"}
        script = step["run"]
    else:
        (script,) = document["plan"]["script"]
    output = folder / "output"
    output.unlink(missing_ok=True)
    ran = subprocess.run(
        ["bash" if service == "github" else "sh", "-e", "-c", script],
        env={"PATH": os.environ["PATH"], "GITHUB_OUTPUT": str(output)} | inputs,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        assert not output.exists() or not output.read_text()
        return ran.returncode, [], ran.stderr
    if service == "github":
        name, _, value = output.read_text().partition("=")
        assert name == "matrix" and value.count("\n") == 1
        return 0, json.loads(value)["include"], ran.stderr
    child = yaml.safe_load((folder / "targets.yml").read_text())
    cells = child["build"]["parallel"]["matrix"]
    return 0, [{key.lower(): value for key, value in cell.items()} for cell in cells], ran.stderr


def names(cells: list[dict[str, str]]) -> list[str]:
    return [cell["target"] for cell in cells]


@SERVICES
def test_a_run_builds_the_written_targets_unless_it_asks(service: str, tmp_path: Path) -> None:
    _, document = written(service, WorkflowOptions("1.26", "zig", True, True))
    code, cells, _ = planned(service, document, tmp_path)
    assert code == 0 and names(cells) == split_targets(TARGETS)
    assert [cell.get("proved_on") for cell in cells] == ["pi-3", "pi-zero", "graviton2", None]
    assert len({cell["artifact"] for cell in cells}) == 4


@SERVICES
@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({"TARGETS": "linux/arm64"}, ["linux/arm64"]),
        ({"TARGETS": " linux/arm/6 , windows "}, ["linux/arm/v6", "windows/arm64"]),
        ({"TARGETS": "linux/arm64/v8.0,lse"}, ["linux/arm64/v8.0,lse"]),
        ({"TARGETS": "linux/arm/*"}, ["linux/arm/v6"]),
        ({"EXCLUDE": "linux"}, ["windows/arm64"]),
        (
            {"TARGETS": "windows/arm64", "INCLUDE": "linux/*", "EXCLUDE": "*/arm64"},
            ["linux/arm/v6"],
        ),
        ({"TARGETS": ", ,"}, split_targets(TARGETS)),
    ],
)
def test_a_run_asks_for_targets(
    service: str, inputs: dict[str, str], expected: list[str], tmp_path: Path
) -> None:
    _, document = written(service, WorkflowOptions("1.26"))
    assert names(planned(service, document, tmp_path, **inputs)[1]) == expected


@SERVICES
@pytest.mark.parametrize(
    "value",
    [
        "linux/amd64",
        "linux/arm/7",
        "freebsd/*",
        "linux/arm64; touch owned",
        "$(touch owned)",
        "`touch owned`",
        "linux/arm64\nPLAN\ntouch owned",
        "linux/arm64\nmatrix={}",
        "'; __import__('os').mkdir('owned')#",
        "${{ github.token }}",
        "linux/arm64 windows/arm64",
        "../arm64",
        "linux/arm64/v8.0,lse,lse",
        "[",
    ],
)
def test_a_value_that_is_no_allowed_target_ends_the_run(
    service: str, value: str, tmp_path: Path
) -> None:
    _, document = written(service, WorkflowOptions("1.26"))
    name = ("TARGETS", "INCLUDE", "EXCLUDE")[len(value) % 3]
    code, _, words = planned(service, document, tmp_path, **{name: f"linux/arm64,{value}"})
    assert code == 1 and not (tmp_path / "owned").exists()
    assert ascii(value).strip("'\"").replace("#", "?") in words or "lse" in value
    assert all(target in words for target in split_targets(TARGETS))
    assert len(words.splitlines()) == 1


@SERVICES
def test_a_run_that_excludes_everything_ends(service: str, tmp_path: Path) -> None:
    _, document = written(service, WorkflowOptions("1.26"))
    code, _, words = planned(service, document, tmp_path, TARGETS="windows", EXCLUDE="*/*")
    assert code == 1 and "no target is left" in words


@SERVICES
def test_modules_of_the_project_are_not_taken_for_python_s(service: str, tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit(3)")
    _, document = written(service, WorkflowOptions("1.26"))
    assert planned(service, document, tmp_path)[0] == 0


@pytest.mark.parametrize(("service", "limit"), [("github", 256), ("gitlab", 200)])
def test_more_jobs_than_a_matrix_has(service: str, limit: int, tmp_path: Path) -> None:
    every = expanded_targets(["*/*", "*/*/*", "*/*/*,lse", "*/*/*,crypto"], RELEASE)
    cells = plan_cells(every, "app", RELEASE, False)
    assert len(cells) > 200
    default = tuple(cell.platform for cell in cells[:3])
    write = github_workflow if service == "github" else gitlab_pipeline
    document = yaml.safe_load(write(cells, WorkflowOptions("1.26", default=default)))
    assert names(planned(service, document, tmp_path)[1]) == list(default)
    code, _, words = planned(service, document, tmp_path, INCLUDE="*")
    assert (code == 1) == (len(cells) > limit) and (code == 0 or f"at most {limit}" in words)
    if len(cells) > limit:
        with pytest.raises(InvalidError, match=f"at most {limit}"):
            write(cells, WorkflowOptions("1.26"))


def test_a_github_workflow() -> None:
    text, document = written("github", WorkflowOptions("1.26", "zig", True, True))
    asked = document[True]["workflow_dispatch"]["inputs"]
    assert asked["targets"]["default"] == TARGETS and {"push", "pull_request"} < set(document[True])
    job = document["jobs"]["build"]
    assert job["strategy"]["fail-fast"] is True and job["needs"] == "plan"
    assert job["strategy"]["matrix"] == "${{ fromJSON(needs.plan.outputs.matrix) }}"
    assert "pip install sampan ziglang" in text and "attest-build-provenance" in text
    assert not [step for step in job["steps"] if "${{" in step.get("run", "")]
    assert document["permissions"] == {"contents": "read"}
    assert job["permissions"]["attestations"] == "write"
    assert not [step for step in document["jobs"]["plan"]["steps"] if "uses" in step]


def test_a_gitlab_pipeline_with_cross_compilers(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="no cross gcc for windows/arm64"):
        written("gitlab", WorkflowOptions("1.26", "gcc"))
    cells = plan_cells(["linux/arm64", "linux/amd64", "windows/amd64"], "app", RELEASE, True)
    text = gitlab_pipeline(cells, WorkflowOptions("1.26", "gcc", provenance=True))
    document = yaml.safe_load(text)
    packages = [cell["packages"] for cell in planned("gitlab", document, tmp_path)[1]]
    assert packages == ["gcc-aarch64-linux-gnu", "gcc-x86-64-linux-gnu", "gcc-mingw-w64"]
    assert document["build"]["trigger"]["include"] == [{"artifact": "targets.yml", "job": "plan"}]
    assert document["plan"]["artifacts"]["paths"] == ["targets.yml"]
    job = yaml.safe_load((tmp_path / "targets.yml").read_text())["build"]
    assert job["variables"] == {"RUNNER_GENERATE_ARTIFACTS_METADATA": "true"}
    assert "--cgo gcc" in job["script"][0] and "qemu" not in text


def test_patterns_of_the_command() -> None:
    assert expanded_targets(["linux/arm/*"], RELEASE) == [f"linux/arm/{n}" for n in (5, 6, 7)]
    assert expanded_targets(["windows", "linux/arm64/v8.0,lse"], RELEASE) == [
        *(f"windows/{machine}" for machine in ("386", "amd64", "arm64")),
        "linux/arm64/v8.0,lse",
    ]
    every = expanded_targets(["*"], RELEASE, "gcc")
    assert "linux/ppc64le" in every and "darwin/arm64" not in every and "js/wasm" not in every
    with pytest.raises(InvalidError, match="linus"):
        expanded_targets(["linus/*"], RELEASE)
    assert without_excluded(["linux/arm64", "linux/arm/v6"], ["*/arm/*"]) == ["linux/arm64"]
    with pytest.raises(InvalidError, match="windows"):
        without_excluded(["linux/arm64"], ["windows/*"])
    with pytest.raises(InvalidError, match="no target is left"):
        without_excluded(["linux/arm64"], ["linux"])


@pytest.mark.parametrize(
    ("service", "path"), [("github", ".github/workflows/a.yml"), ("gitlab", ".gitlab-ci.yml")]
)
def test_what_is_written_is_clean(service: str, path: str) -> None:
    text, _ = written(service, WorkflowOptions("1.26", "", True))
    assert check_project(Project((SourceFile(path, text),), ()), RELEASE) == []


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "go.mod").write_text("module a.b/c\n\ngo 1.25\n")
    good = sampan_go("matrix", "--target", "linux/arm64")
    assert good.returncode == 0 and 'go-version: "1.25"' in good.stdout
    wide = sampan_go("matrix", "--include", "linux/arm*", "--exclude", "*/arm", "--allow", "plan9")
    assert 'default: "linux/arm64"' in wide.stdout and '"plan9/amd64"' in wide.stdout
    for words in (
        ("--exclude", "win*"),
        ("--include", "*/x86"),
        ("--name", "a: b"),
        ("--go", "1.26.$"),
    ):
        wrong = sampan_go("matrix", "--target", "linux/arm64", *words)
        assert wrong.returncode == 2 and words[1] in wrong.stderr and not wrong.stdout
    bad = sampan_go("matrix", "--target", "linux/amd64/v5")
    assert bad.returncode == 2 and "does not exist" in bad.stderr
    ci = tmp_path / ".gitlab-ci.yml"
    ci.write_text("variables:\n  GOARM: v6\n")
    verified = sampan_go("matrix", "--verify", str(ci))
    assert verified.returncode == 1 and "[level-invalid]" in verified.stdout
    assert sampan_go("matrix", "--verify", "none.yml").returncode == 2


@pytest.mark.parametrize(
    ("changes", "mode"),
    [
        ({}, "off"),
        ({"svc/c.go": 'package svc\n\nimport "C"\n'}, "off"),
        ({"tool/main.go": 'package main\n\nimport "C"\n\nfunc main() {}\n'}, "off"),
        ({"c.go": 'package main\n\nimport "C"\n'}, "zig"),
        (
            {
                "go.mod": "module a.b/c\n\ngo 1.26\n\nreplace a.b/svc => ./svc\n",
                "svc/go.mod": "module a.b/svc\n\ngo 1.26\n",
                "svc/main.go": 'package svc\n\nimport "C"\n',
                "main.go": 'package main\n\nimport _ "a.b/svc"\n\nfunc main() {}\n',
            },
            "zig",
        ),
    ],
    ids=["another module", "C in it", "another program", "C in the root", "a module it imports"],
)
def test_the_compiler_is_for_the_package_that_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], mode: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for path, text in (NESTED | changes).items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    assert f"--cgo {mode}\n" in sampan_go("matrix", "--target", "linux/arm64").stdout
