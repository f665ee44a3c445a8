"""`sampan go doc nocgo`: the differences, and the files and dependencies that they concern."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.gobuild.test_targets import sampan_go

from sampan.gobuild.core.gosyntax import GoFile, built_for, read_head
from sampan.gobuild.core.importgraph import reached_packages
from sampan.gobuild.core.modfile import escaped, read_modfile, read_sums
from sampan.gobuild.core.nocgo import DIFFERENCES
from sampan.gobuild.shell import modules
from sampan.gobuild.shell.modules import ModuleSources, module_cache


def put(folder: Path, **files: str) -> None:
    """Write Go files by name without the ending; `package` and imports are made of a list."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        package, *imports = text.split()
        lines = [f'import "{one}"' for one in imports]
        (folder / f"{name}.go").write_text("\n".join([f"package {package}", *lines, ""]))


def required(project: Path, *listed: str) -> None:
    lines = [f"\t{one.replace('@', ' ')}" for one in listed]
    text = "\n".join(["module a.b/app", "go 1.22", "require (", *lines, ")", ""])
    (project / "go.mod").write_text(text)


def document(project: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("GOMODCACHE", str(cache))
    answer = sampan_go("doc", "nocgo", str(project), "--format", "json")
    assert answer.returncode == 0 and not answer.stderr
    return json.loads(answer.stdout)


def chains(found: Any, package: str, systems: str = "") -> list[str]:
    (one,) = [
        one
        for one in found["differences"]
        if one["package"] == package and systems in one["systems"]
    ]
    return [" -> ".join(chain) for chain in one["chains"]]


def test_the_project_s_imports_decide_what_concerns_it(tmp_path: Path) -> None:
    put(tmp_path, main="main os/user fmt", b_test="main plugin", mail="main net/smtp")
    answer = sampan_go("doc", "nocgo", str(tmp_path), "--format", "json")
    found = json.loads(answer.stdout)
    files = {one["package"]: one["files"] for one in found["differences"]}
    assert files["os/user"] == ["main.go"] and files["plugin"] == []
    assert files["net"] == ["mail.go"] and found["not_looked_into"] == [] and found["complete"]


def test_the_other_forms(tmp_path: Path) -> None:
    text = sampan_go("doc", "nocgo", str(tmp_path))
    assert text.returncode == 0 and "nsswitch" in text.stdout and "this project" in text.stdout
    table = sampan_go("doc", "nocgo", str(tmp_path), "--format", "markdown").stdout
    assert len(table.splitlines()) == len(DIFFERENCES) + 2
    assert sampan_go("doc", "cgo").returncode == 2


def test_chains_lead_through_the_module_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, cache = tmp_path / "app", tmp_path / "cache"
    put(project / "cmd" / "tool", main="main a.b/app/api")
    put(project / "api", api="api github.com/X/y/sub")
    required(project, "github.com/X/y@v1.2.0", "far.org/z/v2@v2.0.1+incompatible")
    # An older version beside it, and a circle; what is only for Windows is told there only.
    put(cache / "github.com/!x/y@v1.1.0/sub", y="y plugin")
    put(cache / "github.com/!x/y@v1.2.0/sub", y="y far.org/z/v2/deep fmt")
    put(
        cache / "far.org/z/v2@v2.0.1+incompatible/deep",
        deep="deep os/user github.com/X/y/sub",
        deep_test="deep plugin",
        deep_windows="deep net",
    )
    found = document(project, cache, monkeypatch)
    chain = "main (cmd/tool) -> a.b/app/api -> github.com/X/y/sub -> far.org/z/v2/deep"
    assert chains(found, "os/user", "linux") == [f"{chain} -> os/user"]
    assert chains(found, "net", "windows") == [f"{chain} -> net"]
    assert chains(found, "net", "linux") == chains(found, "plugin") == []
    assert found["not_looked_into"] == []
    text = sampan_go("doc", "nocgo", str(project)).stdout
    assert f"this project   {chain} -> os/user\n" in text and "not looked into" not in text


def test_the_shortest_chain_is_shown_and_the_others_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, cache = tmp_path / "app", tmp_path / "cache"
    put(project, main="main m.org/a m.org/c")
    required(project, "m.org@v0.1.0")
    put(cache / "m.org@v0.1.0/a", a="a m.org/b")
    put(cache / "m.org@v0.1.0/b", b="b archive/tar m.org/a m.org/c")
    put(cache / "m.org@v0.1.0/c", c="c m.org/b os/user")
    found = document(project, cache, monkeypatch)
    assert chains(found, "os/user", "linux") == [
        "main -> m.org/c -> os/user",
        "main -> m.org/a -> m.org/b -> archive/tar -> os/user",
    ]
    text = sampan_go("doc", "nocgo", str(project)).stdout
    assert "main -> m.org/c -> os/user and 1 more package\n" in text


def test_a_module_that_only_go_sum_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, cache = tmp_path / "app", tmp_path / "cache"
    put(project, main="main m.org/a")
    required(project, "m.org/a@v1.0.0")
    (project / "go.sum").write_text(
        "n.org/b v1.9.0 h1:x=\nn.org/b v1.10.0 h1:x=\nn.org/b v1.10.0-rc.1 h1:x=\n"
        "n.org/b v1.11.0/go.mod h1:x=\nm.org/a v1.5.0 h1:x=\n"
    )
    put(cache / "m.org/a@v1.0.0", a="a n.org/b")
    put(cache / "n.org/b@v1.10.0", b="b plugin")
    found = document(project, cache, monkeypatch)
    assert chains(found, "plugin") == ["main -> m.org/a -> n.org/b -> plugin"]


def test_listedthat_are_not_there_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "app"
    put(project, main="main m.org/a/x m.org/a/y n.org/b unknown.org/c/d")
    required(project, "m.org/a@v1.0.0", "n.org/b@v1.0.0", "unused.org/e@v1.0.0")
    found = document(project, tmp_path / "none", monkeypatch)
    assert found["not_looked_into"] == ["m.org/a", "n.org/b", "unknown.org/c/d"]
    for form in ("text", "markdown"):
        text = sampan_go("doc", "nocgo", str(project), "--format", form).stdout
        last = text.rstrip("\n").split("\n")[-1]
        assert last == (
            "not looked into: 3 modules (m.org/a, n.org/b, unknown.org/c/d), run go mod download"
        )


def test_what_go_mod_replaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, cache = tmp_path / "app", tmp_path / "cache"
    put(project, main="main m.org/a n.org/b o.org/c")
    required(project, "m.org/a@v1.0.0", "n.org/b@v1.0.0", "o.org/c@v1.0.0")
    with (project / "go.mod").open("a") as file:
        file.write(
            "replace m.org/a => ../side // here\nreplace (\n\tn.org/b v1.0.0 => p.org/q v3.0.0\n"
        )
        file.write("\to.org/c v9.0.0 => ../wrong\n)\n")
    put(tmp_path / "side", a="a plugin")
    put(tmp_path / "wrong", c="c plugin")
    put(cache / "p.org/q@v3.0.0", b="b os/user")
    put(cache / "n.org/b@v1.0.0", b="b plugin")
    put(cache / "o.org/c@v1.0.0", c="c net/http")
    found = document(project, cache, monkeypatch)
    assert chains(found, "plugin") == ["main -> m.org/a -> plugin"]
    assert chains(found, "os/user", "linux") == ["main -> n.org/b -> os/user"]
    assert chains(found, "net", "linux") == ["main -> o.org/c -> net/http -> net"]


def test_vendor_comes_before_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, cache = tmp_path / "app", tmp_path / "cache"
    put(project, main="main m.org/a m.org/gone/x")
    required(project, "m.org/a@v1.0.0", "m.org/gone@v1.0.0")
    put(project / "vendor/m.org/a", a="a C")
    put(cache / "m.org/a@v1.0.0", a="a plugin")
    (project / "vendor/modules.txt").write_text(
        "# m.org/a v1.0.0\n## explicit\nm.org/a\n# m.org/gone v1.0.0\nm.org/gone/x\n"
    )
    found = document(project, cache, monkeypatch)
    assert chains(found, "plugin") == []
    assert chains(found, 'runtime/cgo, import "C"') == ["main -> m.org/a -> C"]
    assert found["not_looked_into"] == ["m.org/gone"]


def test_listedwithin_the_project_are_not_its_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, main="main fmt")
    put(tmp_path / "tools" / "x", main="main plugin")
    required(tmp_path)
    (tmp_path / "tools" / "go.mod").write_text("module a.b/tools\n")
    found = document(tmp_path, tmp_path / "none", monkeypatch)
    (plugin,) = [one for one in found["differences"] if one["package"] == "plugin"]
    assert plugin["files"] == [] == plugin["chains"]


def test_paths_that_lead_elsewhere_are_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, cache = tmp_path / "app", tmp_path / "cache"
    secret = tmp_path / "secret"
    put(secret, s="s plugin")
    put(cache / "m.org@v1.0.0", a="a fmt")
    (cache / "m.org@v1.0.0" / "link.go").symlink_to(secret / "s.go")
    os.mkfifo(cache / "m.org@v1.0.0" / "pipe.go")
    put(project, main=f"main ../../secret m.org/../../secret {secret} m.org n.org/./x n.org o.org")
    required(project, "m.org@v1.0.0", "n.org@../../secret", "o.org@v1.0.0/../../../secret")
    found = document(project, cache, monkeypatch)
    assert chains(found, "plugin") == []
    assert found["not_looked_into"] == ["n.org", "o.org"]


def test_reading_is_bounded_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, cache = tmp_path / "app", tmp_path / "cache"
    put(project, main="main m.org/p0")
    required(project, "m.org@v1.0.0")
    for number in range(20):
        put(cache / f"m.org@v1.0.0/p{number}", p=f"p m.org/p{number + 1}")
    sources = ModuleSources(str(project), str(cache))
    assert len(reached_packages(sources.own([""]), sources.load, "linux")) == 21
    assert sources.complete and sources.missing == ["m.org/p20"]
    monkeypatch.setattr(modules, "_FILES_LIMIT", 5)
    sources = ModuleSources(str(project), str(cache))
    assert len(reached_packages(sources.own([""]), sources.load, "linux")) == 5
    assert not sources.complete and sources.missing == []


def test_where_the_module_cache_is() -> None:
    assert module_cache({"GOMODCACHE": "/c", "GOPATH": "/g", "HOME": "/h"}) == "/c"
    assert module_cache({"GOPATH": "/g:/other", "HOME": "/h"}) == "/g/pkg/mod"
    assert module_cache({"HOME": "/h"}) == "/h/go/pkg/mod"
    assert escaped("github.com/BurntSushi/toml") == "github.com/!burnt!sushi/toml"


def test_go_mod_and_go_sum() -> None:
    read = read_modfile(
        'module "a.b/c" // x\nrequire x.y/z v1.0.0 // indirect\nrequire (\n\tq.r v2.0.0\n'
        "\tbroken\n)\nexclude q.r v1.0.0\nretract [v1.0.0, v1.1.0]\nreplace x.y/z=>../z\n"
    )
    assert read.module == "a.b/c" and read.required == {"x.y/z": "v1.0.0", "q.r": "v2.0.0"}
    assert read.replacement("q.r") is None and read_modfile("(\n)\n=>\nreplace =>").module == ""
    assert read.direct == ("q.r",) and read.go == "" and read.used == ()
    assert read_modfile("go 1.25.3\ntoolchain go1.26.1\n").go == "1.25"
    workspace = read_modfile("go 1.26rc1\nuse ./a\nuse (\n\tb // b\n\t../c\n)\n")
    assert workspace.used == ("./a", "b", "../c") and workspace.go == "1.26"
    newest = read_sums("a v0.0.0-20200101000000-abc h1:\na v0.0.0-20190101000000-def h1:\nbad\n")
    assert newest == {"a": "v0.0.0-20200101000000-abc"}


@pytest.mark.parametrize(
    ("text", "imports"),
    [
        ('package a\nimport "b"\nimport (\nc "d"\n\t_ `e` // f\n. "g"\n)\nvar x="i"', "b d e g"),
        ('// "x"\n/* import "y" */ package a; import "b"; import c "d"; const e = "f"', "b d"),
        ('\ufeffpackage a\n/*\n#include "x.h"\n*/\nimport "C"\nfunc f() { _ = `import "g"` }', "C"),
        ('package a\nimport ()\ntype b struct { c int `json:"d"` }', ""),
        ('package a\nimport ("b"; "c")\n\nimport "d"', "b c d"),
        ('package a\nimport "b', ""),
        ("package a\nimport (", ""),
        ("package a /* open", ""),
    ],
)  # fmt: skip
def test_imports_of_a_file(text: str, imports: str) -> None:
    file = read_head("a.go", text.encode())
    assert file and file.package == "a" and list(file.imports) == imports.split()


def test_what_is_no_go_file() -> None:
    for data in (b"", b"\xff\xfe", b"import package", b"package", b"/* " * 1000, b"(" * 100_000):
        assert read_head("a.go", data) is None


@pytest.mark.parametrize(
    ("name", "constraint", "systems"),
    [
        ("a", "", "linux windows darwin"),
        ("a_linux", "", "linux"),
        ("linux", "", "linux windows darwin"),
        ("a_windows_arm64", "", "windows"),
        ("a_linux_s390x", "", ""),
        ("a_unix", "", "linux windows darwin"),
        ("a", "unix && !darwin", "linux"),
        ("a", "!(linux || windows)", "darwin"),
        ("a", "windows || linux && cgo", "linux windows"),
        ("a", "!cgo && arm64 && gc && go1.18", "linux windows darwin"),
        ("a", "ignore", ""),
        ("a", "!!linux", "linux"),
        ("a_linux", "windows", ""),
        ("a", "linux &&", "linux windows darwin"),
        ("a", "(" * 2000 + "linux" + ")" * 1999, "linux windows darwin"),
        ("a", "!" * 1999 + "linux", "windows darwin"),
    ],
)
def test_which_systems_a_file_is_for(name: str, constraint: str, systems: str) -> None:
    file = GoFile(f"{name}.go", "a", (), constraint)
    assert [one for one in ("linux", "windows", "darwin") if built_for(file, one)] == (
        systems.split()
    )


def test_the_older_form_of_constraints() -> None:
    head = b"// +build linux,cgo windows\n//+build !arm\n\npackage a\n// +build ignore\n"
    file = read_head("a.go", head)
    assert file and file.constraint == "((linux && cgo) || (windows)) && ((!arm))"
    both = read_head("a.go", b"//go:build linux\n// +build windows\n\npackage a\n")
    assert both and both.constraint == "linux"


def test_go_itself_finds_the_same_packages(tmp_path: Path) -> None:
    go = shutil.which("go")
    if go is None:
        pytest.skip("go is not installed")
    project = tmp_path / "app"
    put(project, main="main a.b/app/own m.org/a", other_windows="main m.org/w")
    put(project / "own", own="own fmt", own_plan9="own m.org/never")
    put(project / "alone", alone="alone m.org/a/b")
    required(project, "m.org@v0.0.0")
    with (project / "go.mod").open("a") as file:
        file.write("replace m.org => ../m\n")
    side = tmp_path / "m"
    put(side / "a", a="a m.org/a/b m.org/c")
    put(side / "a/b", b="b net/http")
    put(side / "w", w="w golang.org")
    put(side / "c", c="c C", c_linux="c m.org/l")
    put(side / "l", l="l os", gen="main m.org/never")
    (side / "l/gen.go").write_text("//go:build ignore\n\n" + (side / "l/gen.go").read_text())
    put(side / "never", never="never os")
    (side / "go.mod").write_text("module m.org\n\ngo 1.22\n")
    sources = ModuleSources(str(project), str(tmp_path / "cache"))
    own = sources.own(["", "own", "alone"])
    listed = subprocess.run(
        [go, "list", "-e", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "./..."],
        cwd=project,
        env=os.environ
        | {"GOOS": "linux", "GOARCH": "amd64", "CGO_ENABLED": "1", "GOPROXY": "off", "GOFLAGS": ""},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    found = {one.package.path for one in reached_packages(own, sources.load, "linux")}
    assert found == set(listed) and "m.org/l" in found and "m.org/never" not in found
