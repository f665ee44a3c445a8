"""One scenario with the real runc and with Sampan's: the same exit codes, states and complaints."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.engine.oci.runtimes import SAMPAN, Bundles, Runtime, await_end
from tests.real import require, require_root

pytestmark = [pytest.mark.root, pytest.mark.real]

Told = list[tuple[str, int, str]]


@pytest.fixture
def both(tmp_path: Path) -> Iterator[tuple[Runtime, Runtime]]:
    require_root()
    pair = []
    for name, words in (("runc", [str(require("runc"))]), ("sampan", SAMPAN)):
        (tmp_path / name).mkdir()
        pair.append(Runtime(words, tmp_path / name / "state"))
    yield pair[0], pair[1]
    for runtime in pair:
        runtime.clear()


def said(text: str) -> str:
    """The message of a log line, without its time."""
    found = re.findall(r'msg="((?:[^"\\]|\\.)*)"', text)
    return (
        found[-1].replace('\\"', '"').removesuffix("\\n").removeprefix("/usr/sbin/")
        if found
        else ""
    )


def scenario(runtime: Runtime, bundle: str, others: Sequence[str], terminal: str) -> Told:
    told: Told = []

    def do(*words: str) -> None:
        done = runtime.run(*words)
        told.append((" ".join(words[-3:]), done.returncode, said(done.stderr)))

    def status(container_id: str) -> None:
        state = runtime.state(container_id)
        assert isinstance(state["pid"], int)
        told.append((state["status"], state["pid"] > 0, ",".join(sorted(state))))

    do("state", "same")
    do("kill", "same")
    do("delete", "same")
    do("delete", "--force", "same")
    do("create", "--bundle", "/nonexistent", "same")
    do("create", "--bundle", bundle, "bad/id")
    do("create", "--bundle", bundle, "same")
    status("same")
    do("create", "--bundle", bundle, "same")
    do("exec", "same", "true")
    do("start", "same")
    status("same")
    do("start", "same")
    do("delete", "same")
    do("exec", "same", "sh", "-c", "exit 3")
    do("exec", "same", "nosuch")
    do("exec", "same", "/etc/passwd")
    do("exec", "same")
    do("exec", "--cwd", "/nonexistent/x", "same", "true")
    do("kill", "same", "FOO")
    do("pause", "same")
    status("same")
    do("pause", "same")
    do("exec", "same", "true")
    do("resume", "same")
    do("resume", "same")
    do("kill", "same", "SIGUSR1")
    pid = runtime.state("same")["pid"]
    do("kill", "same", "9")
    await_end(pid)
    status("same")
    do("kill", "same")
    do("exec", "same", "true")
    do("start", "same")
    do("pause", "same")
    do("events", "--stats", "same")
    do("delete", "same")
    for ending in others:
        do("run", "--bundle", ending, "same-run")
    do("run", "--detach", "--bundle", terminal, "same-run")
    do("nosuch")
    do("kill", "--bogus", "same")
    do("create")
    return told


def test_a_life_with_mistakes(both: tuple[Runtime, Runtime], bundles: Bundles) -> None:
    # USR1 does not reach a first process that has no handler for it.
    bundle = bundles.make("sleep", "600")
    others = [
        bundles.make("sh", "-c", "exit 9"),
        bundles.make("nosuch"),
        bundles.make("sh", "-c", "kill -TERM $$; exec true"),
    ]
    terminal = bundles.make("true", process={"terminal": True})
    runc, sampan = (scenario(one, bundle, others, terminal) for one in both)
    for theirs, ours in zip(runc, sampan, strict=True):
        assert ours == theirs


def test_the_default_configuration(both: tuple[Runtime, Runtime], tmp_path: Path) -> None:
    """Equal in meaning: what differs is the version, the host name and who may be ambient."""
    for words in ((), ("--rootless",)):
        specs = []
        for name, runtime in zip(("runc", "sampan"), both, strict=True):
            place = tmp_path / f"{name}{len(words)}"
            place.mkdir()
            runtime.ok("spec", "--bundle", str(place), *words)
            spec = json.loads((place / "config.json").read_text())
            assert spec.pop("ociVersion").startswith("1.")
            spec.pop("hostname")
            # Newer versions of runc leave the ambient set empty.
            spec["process"]["capabilities"].pop("ambient", None)
            namespaces = spec["linux"]["namespaces"]
            spec["linux"]["namespaces"] = sorted(one["type"] for one in namespaces)
            specs.append(spec)
        assert specs[0] == specs[1]
        assert "exists" in both[1].fails("spec", "--bundle", str(tmp_path / f"sampan{len(words)}"))


def test_features_have_the_same_form(both: tuple[Runtime, Runtime]) -> None:
    runc, sampan = (json.loads(one.ok("features")) for one in both)
    assert set(runc) <= set(sampan)
    assert set(runc["linux"]) <= set(sampan["linux"])
    assert set(sampan["hooks"]) == set(runc["hooks"])
    missing = set(runc["mountOptions"]) - set(sampan["mountOptions"])
    assert missing == {"acl", "noacl"}  # passed on to the file system
    assert set(runc["linux"]["namespaces"]) <= set(sampan["linux"]["namespaces"])
    assert sampan["linux"]["capabilities"] == runc["linux"]["capabilities"]
    for key in ("actions", "operators"):
        theirs = set(runc["linux"]["seccomp"][key]) - {"SCMP_ACT_NOTIFY"}
        assert set(sampan["linux"]["seccomp"][key]) == theirs


def test_statistics_have_the_same_form(both: tuple[Runtime, Runtime], bundles: Bundles) -> None:
    events = []
    for name, runtime in zip(("runc", "sampan"), both, strict=True):
        runtime.ok("run", "--detach", "--bundle", bundles.make("sleep", "600"), f"stats-{name}")
        events.append(json.loads(runtime.ok("events", "--stats", f"stats-{name}")))
    runc, sampan = (one["data"] for one in events)
    assert set(runc) - {"cpuset"} <= set(sampan)
    assert set(runc["cpu"]) <= set(sampan["cpu"])
    assert set(runc["cpu"]["usage"]) - {"percpu_kernel", "percpu_user"} <= set(
        sampan["cpu"]["usage"]
    )
    assert set(runc["memory"]) <= set(sampan["memory"])
    for key in ("usage", "swap"):
        assert set(runc["memory"][key]) == set(sampan["memory"][key])
