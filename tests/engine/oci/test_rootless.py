"""The runtime in the hands of a user without privileges."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.engine.oci.runtimes import Bundles, Runtime
from tests.real import ROOT, require_root

pytestmark = [pytest.mark.root]

USER = 65534
PYTHON = "/usr/bin/python3"


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory of that user with the program, which may lie where only root may look."""
    require_root()
    version = subprocess.run(
        [PYTHON, "-c", "import sys; print(sys.version_info >= (3, 11))"],
        capture_output=True,
        text=True,
        check=False,
    )
    if version.stdout.strip() != "True":
        pytest.skip(f"{PYTHON} that every user may run, 3.11 or newer")
    with tempfile.TemporaryDirectory(prefix="rootless-") as text:
        place = Path(text)
        place.chmod(0o755)
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "src" / "sampan", place / "src" / "sampan", ignore=ignored)
        (place / "home").mkdir()
        bundles = Bundles(place / "home")
        for path in [place / "home", *bundles.root.rglob("*"), bundles.root]:
            os.chown(path, USER, USER, follow_symlinks=False)
        yield place


@pytest.fixture
def rootless(place: Path) -> Iterator[Runtime]:
    words = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--no-new-privs"]
    program = [PYTHON, "-m", "sampan.cli.main", "runc"]
    runtime = Runtime([*words, *program], place / "home" / "state")
    os.environ["PYTHONPATH"] = str(place / "src")
    try:
        yield runtime
    finally:
        runtime.clear()
        del os.environ["PYTHONPATH"]


def bundle(rootless: Runtime, place: Path, name: str, *args: str, **changes: Any) -> str:
    where = place / "home" / name
    where.mkdir()
    os.chown(where, USER, USER)
    rootless.ok("spec", "--rootless", "--bundle", str(where))
    spec = json.loads((where / "config.json").read_text())
    spec["root"]["path"] = str(place / "home" / "rootfs")
    spec["process"] |= {"terminal": False, "args": list(args)}
    (where / "config.json").write_text(json.dumps({**spec, **changes}))
    return str(where)


def test_a_container(rootless: Runtime, place: Path) -> None:
    script = "id -u; cat /proc/self/uid_map; echo x > /dev/shm/x; ls /sys/class; exit 3"
    path = bundle(rootless, place, "run", "sh", "-c", script)
    done = rootless.run("run", "--bundle", path, "rl")
    assert done.returncode == 3, done.stderr
    assert done.stdout.split()[:4] == ["0", "0", str(USER), "1"]


def test_a_life(rootless: Runtime, place: Path) -> None:
    path = bundle(rootless, place, "life", "sleep", "600")
    rootless.ok("create", "--bundle", path, "rl")
    assert rootless.state("rl")["status"] == "created"
    rootless.ok("start", "rl")
    pid = rootless.state("rl")["pid"]
    assert Path(f"/proc/{pid}").stat().st_uid == USER
    assert rootless.ok("exec", "rl", "sh", "-c", "id -u; cat /proc/1/comm") == "0\nsleep\n"
    assert json.loads(rootless.ok("list", "-f", "json"))[0]["owner"] == "nobody"
    assert "no cgroups of its own" in rootless.fails("pause", "rl")
    rootless.ok("kill", "rl", "KILL")
    rootless.ok("delete", "--force", "rl")


def test_what_privileges_are_needed_for(rootless: Runtime, place: Path) -> None:
    spec = json.loads((Path(bundle(rootless, place, "limit", "true")) / "config.json").read_text())
    limited = {**spec["linux"], "resources": {"pids": {"limit": 5}}}
    path = bundle(rootless, place, "limited", "true", linux=limited)
    assert "delegated cgroup" in rootless.fails("create", "--bundle", path, "rl")
    shared = [one for one in spec["linux"]["namespaces"] if one["type"] != "user"]
    path = bundle(rootless, place, "shared", "true", linux={"namespaces": shared})
    assert "requires user namespaces" in rootless.fails("create", "--bundle", path, "rl")
    assert rootless.ok("list", "-q") == ""


def test_within_a_user_namespace_that_another_has_made(rootless: Runtime, place: Path) -> None:
    spec = json.loads((Path(bundle(rootless, place, "within", "id")) / "config.json").read_text())
    kinds = [one for one in spec["linux"]["namespaces"] if one["type"] != "user"]
    linux = {"namespaces": kinds, "maskedPaths": spec["linux"]["maskedPaths"]}
    path = bundle(rootless, place, "inner", "sh", "-c", "id -u; exit 4", linux=linux)
    own = ["unshare", "--user", "--mount", "--map-root-user"]
    at = rootless.words.index(PYTHON)
    inner = Runtime([*rootless.words[:at], *own, *rootless.words[at:]], rootless.root)
    done = inner.run("run", "--bundle", path, "inner")
    assert (done.returncode, done.stdout) == (4, "0\n"), done.stderr
