"""`sampan go doc nocgo`: the differences, and the files that they concern."""

from __future__ import annotations

import json
from pathlib import Path

from tests.gobuild.test_targets import sampan_go

from sampan.gobuild.core.check.gofiles import CGO_PACKAGES
from sampan.gobuild.core.nocgo import DIFFERENCES


def test_the_project_s_imports_decide_what_concerns_it(tmp_path: Path) -> None:
    (tmp_path / "main.go").write_text('package main\n\nimport (\n\t"os/user"\n\t"fmt"\n)\n')
    (tmp_path / "b_test.go").write_text('package main\n\nimport "plugin"\n')
    answer = sampan_go("doc", "nocgo", str(tmp_path), "--format", "json")
    files = {one["package"]: one["files"] for one in json.loads(answer.stdout)}
    assert files["os/user"] == ["main.go"] and files["plugin"] == [] == files["net"]


def test_the_other_forms(tmp_path: Path) -> None:
    text = sampan_go("doc", "nocgo", str(tmp_path))
    assert text.returncode == 0 and "nsswitch" in text.stdout and "this project" in text.stdout
    table = sampan_go("doc", "nocgo", str(tmp_path), "--format", "markdown").stdout
    assert len(table.splitlines()) == len(DIFFERENCES) + 2
    assert sampan_go("doc", "cgo").returncode == 2


def test_every_package_is_looked_for() -> None:
    assert {name for one in DIFFERENCES for name in one.touched_by} <= set(CGO_PACKAGES)
