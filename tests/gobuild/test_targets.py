"""`sampan go targets`: the table is complete, right where we can ask Go, and says what it knows."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from sampan.base.errors import InvalidError
from sampan.gobuild.core.devices import DEVICES, refusal
from sampan.gobuild.core.levels import LEVELS, implies_lse, level_problem, steps
from sampan.gobuild.core.platforms import Selection, parse_selection
from sampan.gobuild.core.table import Row, rows
from sampan.gobuild.shell.catalogue import load_releases, release_named


def sampan_go(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sampan.cli.main", "go", *words],
        capture_output=True,
        text=True,
        check=False,
    )


def select(platform: str, cgo: bool | None = None, go: str = "1.26") -> list[Row]:
    return list(rows(release_named(go), parse_selection(platform, cgo)))


def test_the_data_is_what_go_lists() -> None:
    go = shutil.which("go")
    if go is None:
        pytest.skip("go is not installed")
    version = subprocess.check_output([go, "env", "GOVERSION"], text=True).strip()
    short = ".".join(version.removeprefix("go").split(".")[:2])
    if short not in load_releases():
        pytest.skip(f"{version} is not in the table")
    listed = json.loads(subprocess.check_output([go, "tool", "dist", "list", "-json"]))
    assert [
        (one.goos, one.goarch, one.cgo_supported, one.first_class)
        for one in release_named(version).ports
    ] == [(p["GOOS"], p["GOARCH"], p["CgoSupported"], p["FirstClass"]) for p in listed]


@pytest.mark.parametrize("version", load_releases())
def test_every_port_level_and_cgo_is_there_once(version: str) -> None:
    release = release_named(version)
    found = [(r.goos, r.goarch, r.level, r.cgo) for r in rows(release, Selection())]
    assert len(found) == len(set(found))
    assert {one[:2] for one in found} == {(p.goos, p.goarch) for p in release.ports}
    assert all(level == "" or level_problem(goarch, level) is None for _, goarch, level, _ in found)


def test_every_architecture_has_one_default_level() -> None:
    for goarch, setting in LEVELS.items():
        assert setting.default in setting.values
        assert setting.default in list(steps(goarch))


@pytest.mark.parametrize(
    ("goarch", "value"),
    [
        ("amd64", "v5"),
        ("amd64", "V3"),
        ("arm", "8"),
        ("arm", "v7"),
        ("arm", "7,lse"),
        ("arm", "7,softfloat,hardfloat"),
        ("386", "387"),
        ("arm64", "v8"),
        ("arm64", "v9.6"),
        ("arm64", "v8.0,lse,lse"),
        ("s390x", "z13"),
    ],
)
def test_values_that_go_itself_may_accept_are_refused(goarch: str, value: str) -> None:
    assert level_problem(goarch, value)


def test_cgo_is_refused_where_it_does_not_exist_and_asked_for_where_it_must_be() -> None:
    assert {r.obstacle for r in select("js/wasm", True)} == {
        "cgo is not supported on this platform"
    }
    assert all(r.obstacle for r in select("android/arm", False))
    assert not any(r.obstacle for r in select("android/arm64", False))
    assert [r.toolchain for r in select("linux/arm64/v8.0", True)] == ["aarch64-linux-gnu-gcc"]
    assert [r.toolchain for r in select("linux/arm/v5", True)] == ["arm-linux-gnueabi-gcc"]


def test_a_pi_zero_runs_level_6_and_not_7() -> None:
    (six,) = select("linux/arm/v6", False)
    (seven,) = select("linux/arm/v7", False)
    assert "pi-zero" in six.devices and "armv5" not in six.devices
    assert "pi-zero" not in seven.devices and "pi-2" in seven.devices
    assert (six.risk, seven.risk) == ("L2", "L3")


def test_lse_dies_on_old_cores_and_runs_on_servers() -> None:
    (plain,) = select("linux/arm64/v8.0", False)
    (lse,) = select("linux/arm64/v8.0,lse", False)
    assert plain.risk == "L1" and {"pi-3", "pi-4", "phytium-d2000"} <= set(plain.devices)
    assert lse.risk == "L3" and "Cortex-A53" in lse.reason
    assert {"pi-5", "graviton2", "kunpeng-920"} == {
        name for name in lse.devices if name in ("pi-3", "pi-4", "pi-5", "graviton2", "kunpeng-920")
    }
    assert implies_lse("v9.0") and not implies_lse("v8.0,crypto")


def test_behaviour_differs_by_cgo_on_linux_and_not_on_macos() -> None:
    off, on = select("linux/amd64/v1")
    assert off.linking == "static" and "nsswitch" in on.users and "/etc/passwd" in off.users
    off, on = select("darwin/arm64/v8.0")
    assert (off.dns, off.linking) == (on.dns, on.linking)


def test_a_level_that_does_not_exist_runs_as_the_default() -> None:
    oldest = next(one for one in DEVICES if one.name == "x86-64-v1")
    assert refusal(oldest, "linux", "amd64", "v5") is None
    assert refusal(oldest, "linux", "amd64", "v3") == "GOAMD64=v3 is above its v1"


@pytest.mark.parametrize(
    ("platform", "message"),
    [
        ("linus/arm64", "did you mean linux"),
        ("windows/riscv64", "has no windows/riscv64"),
        ("linux/amd64/v5", "does not exist"),
        ("linux/arm/v7/x", "is no platform"),
    ],
)
def test_wrong_names_are_refused_with_a_hint(platform: str, message: str) -> None:
    with pytest.raises(InvalidError, match=message):
        select(platform)


def test_the_command_answers_in_three_forms() -> None:
    text = sampan_go("targets", "--go", "1.26")
    assert text.returncode == 0 and "linux/riscv64" in text.stdout
    table = json.loads(sampan_go("targets", "linux/arm/v6", "--format", "json").stdout)
    assert [row["level"] for row in table["rows"]] == ["6", "6"]
    assert table["risks"].keys() == {"L1", "L2", "L3"}
    markdown = sampan_go("targets", "linux/arm64", "--format", "markdown").stdout
    assert markdown.startswith("## linux/arm64\n") and "| v8.0 | 0 | yes | L1 |" in markdown


def test_bad_usage_is_exit_code_2_and_one_line() -> None:
    for words in (("targets", "--go", "1.2"), ("targets", "linus"), ("matrix",), ("tragets",)):
        answer = sampan_go(*words)
        assert answer.returncode == 2
        assert answer.stderr.startswith("sampan go") and answer.stderr.count("\n") == 1


def test_the_table_is_printed_without_the_heavy_imports() -> None:
    script = (
        "import sys; from sampan.cli.go import main; main(['targets']);"
        "print(sorted({'click', 'yaml', 'asyncio', 'aiohttp'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr.strip() == "[]"
