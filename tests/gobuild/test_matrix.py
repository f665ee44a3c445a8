"""`sampan go matrix`: workflows that say what was asked for, and that `check` finds nothing in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.gobuild.test_targets import sampan_go

from sampan.base.errors import InvalidError
from sampan.gobuild.core.buildplan import plan_cells, split_targets
from sampan.gobuild.core.check.finding import SourceFile
from sampan.gobuild.core.check.project import Project, check_project
from sampan.gobuild.core.cimatrix import WorkflowOptions, github_workflow, gitlab_pipeline
from sampan.gobuild.shell.catalogue import release_named

RELEASE = release_named("1.26")
TARGETS = "linux/arm64,linux/arm/v6,linux/arm64/v8.0,lse,windows/arm64"


def written(service: str, options: WorkflowOptions) -> tuple[str, Any]:
    cells = plan_cells(split_targets(TARGETS), "app", RELEASE, bool(options.compiler))
    text = (github_workflow if service == "github" else gitlab_pipeline)(cells, options)
    return text, yaml.safe_load(text)


def test_a_github_workflow() -> None:
    text, document = written("github", WorkflowOptions("1.26", "zig", True, True))
    job = document["jobs"]["build"]
    cells = job["strategy"]["matrix"]["include"]
    assert [cell["target"] for cell in cells] == split_targets(TARGETS)
    assert [cell.get("proved_on") for cell in cells] == ["pi-3", "pi-zero", "graviton2", None]
    assert len({cell["artifact"] for cell in cells}) == 4 and job["strategy"]["fail-fast"] is True
    assert "pip install sampan ziglang" in text and "attest-build-provenance" in text
    assert not [step for step in job["steps"] if "${{" in step.get("run", "")]


def test_a_gitlab_pipeline_with_cross_compilers() -> None:
    with pytest.raises(InvalidError, match="no cross gcc for windows/arm64"):
        written("gitlab", WorkflowOptions("1.26", "gcc"))
    cells = plan_cells(["linux/arm64", "linux/amd64", "windows/amd64"], "app", RELEASE, True)
    text = gitlab_pipeline(cells, WorkflowOptions("1.26", "gcc"))
    packages = [cell["PACKAGES"] for cell in yaml.safe_load(text)["build"]["parallel"]["matrix"]]
    assert packages == ["gcc-aarch64-linux-gnu", "gcc-x86-64-linux-gnu", "gcc-mingw-w64"]
    assert "--cgo gcc" in text and "qemu" not in text


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
    bad = sampan_go("matrix", "--target", "linux/amd64/v5")
    assert bad.returncode == 2 and "does not exist" in bad.stderr
    ci = tmp_path / ".gitlab-ci.yml"
    ci.write_text("variables:\n  GOARM: v6\n")
    verified = sampan_go("matrix", "--verify", str(ci))
    assert verified.returncode == 1 and "[level-invalid]" in verified.stdout
    assert sampan_go("matrix", "--verify", "none.yml").returncode == 2
