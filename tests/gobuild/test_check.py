"""`sampan go check`: every rule finds its fault at its place, and clean projects have none."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gobuild import placed_projects, projects, valued_projects
from tests.gobuild.projects import CGO, NET, WORKFLOW
from tests.gobuild.test_targets import sampan_go

from sampan.gobuild.core.check.finding import Finding, SourceFile, edited
from sampan.gobuild.core.check.gofiles import read_source
from sampan.gobuild.core.check.project import Project, check_project, kind_of
from sampan.gobuild.shell.catalogue import release_named
from sampan.gobuild.shell.project import read_project

RELEASE = release_named("1.26")
FAULTS = [*projects.FAULTS, *placed_projects.FAULTS, *valued_projects.FAULTS]
CLEAN = [*projects.CLEAN, *placed_projects.CLEAN, *valued_projects.CLEAN]


def check(files: dict[str, str]) -> list[Finding]:
    """Check a project of these files."""
    sources = [read_source(p, t.encode()) for p, t in files.items() if p.endswith(".go")]
    texts = [SourceFile(path, text) for path, text in files.items() if kind_of(path)]
    modules = tuple(one for one in texts if kind_of(one.path) == "module")
    others = tuple(one for one in texts if one not in modules)
    project = Project(others, tuple(s for s in sources if s), modules)
    return check_project(project, RELEASE)


def rules(files: dict[str, str]) -> list[str]:
    return [one.diagnostic.rule for one in check(files)]


@pytest.mark.parametrize(("files", "expected"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_a_fault_is_found_and_nothing_else(files: dict[str, str], expected: list[str]) -> None:
    assert rules(files) == expected


@pytest.mark.parametrize("files", [one[1] for one in CLEAN], ids=[one[0] for one in CLEAN])
def test_a_clean_project_has_no_finding(files: dict[str, str]) -> None:
    assert [str(one.diagnostic) for one in check(files)] == []


def test_a_finding_has_its_place_evidence_and_remedy() -> None:
    (one,) = check({"a.sh": "#!/bin/sh\nset -e\nGOARCH=arm64 GOARM64=v8 go build\n"})
    assert str(one.diagnostic.span) == "a.sh:3:22"
    assert one.evidence == "GOARCH=arm64 GOARM64=v8 go build"
    assert "GOARM64=v8.0" in one.remedy


def test_what_is_safe_is_repaired_and_then_clean() -> None:
    faulty = (
        "FROM golang:1.26 AS build\nARG TARGETVARIANT\n"
        "RUN GOOS=$TARGETOS GOARCH=$TARGETARCH GOARM=$TARGETVARIANT go build -o /app\n"
        "FROM scratch\nCOPY --from=build /app /app\n"
    )
    files = {"Dockerfile": faulty, "main.go": NET}
    found = check(files)
    texts = edited({"Dockerfile": SourceFile("Dockerfile", faulty)}, found)
    assert texts["Dockerfile"] == (
        "FROM --platform=$BUILDPLATFORM golang:1.26 AS build\n"
        "ARG TARGETARCH\nARG TARGETOS\nARG TARGETVARIANT\n"
        "RUN GOOS=$TARGETOS GOARCH=$TARGETARCH GOARM=${TARGETVARIANT#v} "
        "CGO_ENABLED=0 go build -o /app\n"
        "FROM scratch\nCOPY --from=build /app /app\n"
    )
    assert rules(files | texts) == []


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("Dockerfile", "dockerfile"),
        ("build/Dockerfile.arm64", "dockerfile"),
        ("dev.dockerfile", "dockerfile"),
        ("Containerfile", "dockerfile"),
        ("dockerfiles.py", ""),
        ("Dockerfile.dockerignore", ""),
        ("dockerfile.go", ""),
        ("x/Makefile", "script"),
        (".github/workflows/a.yml", "pipeline"),
        ("ci/.gitlab-ci.yml", "pipeline"),
        (".goreleaser.yaml", "goreleaser"),
        ("deploy/a.yaml", "manifest"),
        ("main.go", ""),
    ],
)
def test_a_file_is_known_by_its_name(path: str, kind: str) -> None:
    assert kind_of(path) == kind


def test_this_project_is_clean() -> None:
    root = Path(__file__).parents[2]
    project, _ = read_project(str(root))
    assert [str(one.diagnostic) for one in check_project(project, RELEASE)] == []


def test_go_files_are_read_exactly() -> None:
    quoted = 'package a\n\nfunc f() string { return `\nimport "C"\n` }\n'
    source = read_source("a.go", quoted.encode())
    assert source is not None and source.cgo == 0
    assert read_source("a_test.go", CGO.encode()) is None
    spaced = read_source(
        "a.go", b'/*\nimport "net"\n*/\npackage a\n\nimport "C" // C\n\nvar _ = 1\n'
    )
    assert spaced is not None and spaced.cgo == 6 and not spaced.libc_names
    assert spaced.imports == ("C",)
    named = read_source("a.go", b'package a\n\nvar zone = "time/tzdata"\n\nfunc f() {}\n')
    assert named is not None and not named.zones_built_in


def test_a_workspace_and_notes_are_read_as_go_reads_them() -> None:
    driver = 'package d\n\nimport _ "github.com/mattn/go-sqlite3"\n'
    required = "module e.org/d\n\nrequire github.com/mattn/go-sqlite3 v1.14.22"
    files = {
        "go.work": 'go 1.26\n\nuse (\n\tapp\n\t"./driver" // the database\n)\n',
        "app/go.mod": "module e.org/app\n\ngo 1.26\n",
        "app/main.go": 'package main\n\nimport _ "e.org/d"\n\nfunc main() {}\n',
        "driver/d.go": driver,
        "build.sh": "cd app\nCGO_ENABLED=0 go build .\n",
    }
    assert rules(files | {"driver/go.mod": required}) == ["cgo-off"]
    assert rules(files | {"driver/go.mod": f"{required} // indirect; for d"}) == []


def test_nested_modules_are_read_from_files(tmp_path: Path) -> None:
    for path, text in placed_projects.NESTED.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    (tmp_path / "go.work").write_text("go 1.26\n\nuse ./svc\n")
    (tmp_path / "build.sh").write_text("cd svc\nCGO_ENABLED=0 go build\n")
    project, _ = read_project(str(tmp_path))
    assert [one.path for one in project.modules] == ["go.mod", "go.work", "svc/go.mod"]
    assert project.gomod == placed_projects.PLAIN_MODULE
    (found,) = check_project(project, RELEASE)
    assert str(found.diagnostic.span) == "build.sh:2:13"
    assert "github.com/mattn/go-sqlite3" in found.diagnostic.summary


def test_the_command_repairs_files_and_shows_what_it_did(tmp_path: Path) -> None:
    script = tmp_path / "build.sh"
    script.write_bytes(b"#!/bin/sh\r\nGOARCH=aarch64 go build\r\n")
    script.chmod(0o755)
    before = sampan_go("check", str(tmp_path))
    assert before.returncode == 1 and "build.sh:2:8: error:" in before.stdout
    results = json.loads(sampan_go("check", str(tmp_path), "--format", "sarif").stdout)
    assert results["runs"][0]["results"][0]["ruleId"] == "platform-unknown"
    fixed = sampan_go("check", str(tmp_path), "--fix")
    assert fixed.returncode == 0 and "+GOARCH=arm64 go build" in fixed.stdout
    assert script.read_bytes() == b"#!/bin/sh\r\nGOARCH=arm64 go build\r\n"
    assert script.stat().st_mode & 0o777 == 0o755
    assert sampan_go("check", str(tmp_path)).stdout == "no findings\n"
    assert sampan_go("check", str(tmp_path / "none")).returncode == 2


def test_odd_files_are_named_and_nothing_breaks(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "Dockerfile").symlink_to("/dev/zero")
    (tmp_path / "large.sh").write_bytes(b"#" * (2 << 20))
    (tmp_path / "main.go").write_bytes(b"\xff\xfe\x00package")
    (tmp_path / "ci.yaml").write_text("apiVersion: kind: image:\n\t- [")
    os.mkfifo(tmp_path / "pipe.sh")
    (tmp_path / ".gitlab-ci.yml").write_text("a: &a [" + "[" * 5000)
    bomb = "a0: &a0 [x]\n" + "".join(
        f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 9) + "]\n" for n in range(1, 30)
    )
    (tmp_path / "bomb.yaml").write_text(f"{bomb}apiVersion: v1\nkind: Pod\nimage: a\n")
    project, unread = read_project(str(tmp_path))
    assert unread == ["large.sh"]
    assert check_project(project, RELEASE) == []


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["Dockerfile", "Makefile", WORKFLOW, ".goreleaser.yml", "a.yaml", "go.mod"]),
    st.lists(
        st.sampled_from(
            ["FROM a", "RUN go build", "ARG GOARCH", "GOARM=$", "- ", "matrix:", "goos: [", "\t",
             "\\", "containers:", "strategy: {matrix: {goos: *a", "env: &a ", "image: x", "\n",
             "\tGOOS=$(GOOS) cd a && $(GO) build ./b", "GOARCH = $(GOARCH)$(X)", "X = $(GOARCH)",
             "jobs:\n a:\n  steps:\n  - run: GOOS=${{ matrix.goos.a }} go build", "use ./a",
             "ARG GOOS=${GOOS:-a}", "replace a.b => ../c",
             "\0", "😀"]
        ),
        max_size=30,
    ),
)  # fmt: skip
def test_any_text_is_checked_without_a_crash(path: str, pieces: list[str]) -> None:
    check({path: "\n".join(pieces), "other.sh": " ".join(pieces)})
