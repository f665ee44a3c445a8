"""Hooks: when they run, where, and what they are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.engine.oci.runtimes import Bundles, Runtime
from tests.real import require

pytestmark = [pytest.mark.root]

MOMENTS = (
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
)


def hook(script: str, **more: Any) -> dict[str, Any]:
    return {"path": str(require("busybox")), "args": ["sh", "-c", script], **more}


@pytest.fixture
def record(tmp_path: Path, bundles: Bundles) -> dict[str, list[dict[str, Any]]]:
    """Hooks that write the state, their mount and PID namespace and root into one file each."""
    told = tmp_path / "told"
    told.mkdir()
    script = (
        "b={b}; d={d}; $b cat > $d/{m}.state; $b readlink /proc/self/ns/mnt > $d/{m}.ns; "
        "$b echo {m} >> $d/order"
    )
    made = {
        moment: [hook(script.format(m=moment, d=told, b=require("busybox")), env=["X=y"])]
        for moment in MOMENTS
        if moment != "startContainer"
    }
    inside = {"path": "/bin/sh", "args": ["sh", "-c", "cat > /dev/shm/startContainer.state"]}
    return {**made, "startContainer": [inside]}


def test_order_states_and_namespaces(
    oci: Runtime, bundles: Bundles, tmp_path: Path, record: dict[str, Any]
) -> None:
    told = tmp_path / "told"
    bundle = bundles.make("sleep", "600", hooks=record, annotations={"key": "value"})
    oci.ok("create", "--bundle", bundle, "hooks")
    order = (told / "order").read_text().split()
    assert order == ["prestart", "createRuntime", "createContainer"]
    pid = oci.state("hooks")["pid"]
    assert not Path(f"/proc/{pid}/root/dev/shm/startContainer.state").exists()
    oci.ok("start", "hooks")
    assert (told / "order").read_text().split() == [*order, "poststart"]
    inside = json.loads(Path(f"/proc/{pid}/root/dev/shm/startContainer.state").read_text())
    container_namespace = Path(f"/proc/{pid}/ns/mnt").readlink()
    oci.ok("delete", "--force", "hooks")
    assert (told / "order").read_text().split() == [*order, "poststart", "poststop"]

    states = {
        moment: json.loads((told / f"{moment}.state").read_text())
        for moment in MOMENTS
        if moment != "startContainer"
    }
    for state in [*states.values(), inside]:
        assert (state["id"], state["bundle"]) == ("hooks", bundle)
        assert state["annotations"] == {"key": "value"}
    assert [one["status"] for one in states.values()] == [
        *["creating"] * 3,
        "running",
        "stopped",
    ]
    assert (inside["status"], states["prestart"]["pid"]) == ("created", pid)
    host = Path("/proc/self/ns/mnt").readlink()
    for moment in ("prestart", "createRuntime", "poststart", "poststop"):
        assert (told / f"{moment}.ns").read_text().strip() == str(host)
    assert (told / "createContainer.ns").read_text().strip() == str(container_namespace)


@pytest.mark.parametrize("moment", ["prestart", "createRuntime", "createContainer"])
def test_one_that_fails_ends_the_creation(oci: Runtime, bundles: Bundles, moment: str) -> None:
    bundle = bundles.make("sleep", "600", hooks={moment: [hook("echo broken >&2; exit 5")]})
    told = oci.fails("create", "--bundle", bundle, "fails")
    assert f"error running {moment} hook #0: exit status 5" in told
    assert "broken" in told
    assert oci.ok("list", "-q") == ""


def test_one_that_takes_too_long_is_ended(oci: Runtime, bundles: Bundles) -> None:
    slow = hook("exec sleep 600", timeout=1)
    bundle = bundles.make("sleep", "600", hooks={"createRuntime": [slow]})
    assert "ran past specified timeout" in oci.fails("create", "--bundle", bundle, "slow")


def test_after_the_start_a_failure_ends_the_container(oci: Runtime, bundles: Bundles) -> None:
    bundle = bundles.make("sleep", "600", hooks={"poststart": [hook("exit 1")]})
    oci.ok("create", "--bundle", bundle, "late")
    assert "poststart hook #0" in oci.fails("start", "late")
    oci.ok("delete", "--force", "late")


def test_after_the_end_a_failure_is_a_warning(oci: Runtime, bundles: Bundles) -> None:
    bundle = bundles.make("true", hooks={"poststop": [hook("exit 1")]})
    done = oci.run("run", "--bundle", bundle, "end")
    assert done.returncode == 0
    assert "level=warning" in done.stderr
    assert "poststop hook #0" in done.stderr
