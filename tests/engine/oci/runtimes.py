"""OCI runtimes as commands, and bundles with a busybox root, for the tests of this folder."""

from __future__ import annotations

import copy
import json
import os
import select
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from tests.busybox import root_tar
from tests.real import ROOT, require

from sampan.engine.oci.core.default_spec import default_spec
from sampan.engine.runtime.shell.syscalls import pidfd_open

__all__ = ["SAMPAN", "Bundles", "Runtime", "await_end"]

SAMPAN = (sys.executable, "-m", "sampan.cli.main", "runc")
TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class Runtime:
    """One runtime with a state directory of its own."""

    words: Sequence[str]
    root: Path
    made: list[str] = field(default_factory=list)

    def run(
        self,
        *words: str,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> subprocess.CompletedProcess[str]:
        """Run one command to its end. What it starts keeps files, not pipes, open."""
        if words[0] in ("create", "run"):
            self.made.append(words[-1])
        out, err = self.root.parent / "out", self.root.parent / "err"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            done = subprocess.run(
                [*self.words, "--root", str(self.root), *words],
                input=stdin,
                stdout=stdout,
                stderr=stderr,
                env={**_installed(), **(env or {})},
                pass_fds=tuple(pass_fds),
                timeout=TIMEOUT_S,
                check=False,
            )
        return subprocess.CompletedProcess(
            done.args, done.returncode, out.read_text(), err.read_text()
        )

    def ok(self, *words: str, **more: Any) -> str:
        """Run one command that must succeed; returns what it printed."""
        done = self.run(*words, **more)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def fails(self, *words: str, **more: Any) -> str:
        """Run one command that must fail; returns what it said."""
        done = self.run(*words, **more)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def state(self, container_id: str) -> dict[str, Any]:
        """The container's state."""
        found: dict[str, Any] = json.loads(self.ok("state", container_id))
        return found

    def clear(self) -> None:
        """Remove every container that was made."""
        for container_id in self.made:
            self.run("delete", "--force", container_id)


def _installed() -> dict[str, str]:
    """The environment of an installed program: Python may keep the bytecode it has compiled."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return {**env, "PYTHONPYCACHEPREFIX": str(ROOT / ".pytest_cache" / "bytecode")}


def await_end(pid: int) -> None:
    """Wait until a process has ended."""
    try:
        fd = pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([fd], [], [], TIMEOUT_S)[0], f"{pid} still runs"
    finally:
        os.close(fd)


class Bundles:
    """Bundles below one directory that share a root."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.root = place / "rootfs"
        self.root.mkdir()
        with tarfile.open(fileobj=BytesIO(root_tar(require("busybox")))) as tar:
            tar.extractall(self.root, filter="tar")
        self._count = 0

    def make(self, *args: str, **changes: Any) -> str:
        """Make a bundle that runs `args`; `changes` are laid over the default configuration."""
        spec = default_spec(cgroup_namespace=False)
        spec["root"] = {"path": str(self.root), "readonly": True}
        spec["process"] |= {"terminal": False, "args": list(args)}
        return self.write(_over(spec, changes))

    def write(self, spec: Mapping[str, Any]) -> str:
        """Make a bundle with exactly this configuration."""
        self._count += 1
        place = self.place / f"bundle-{self._count}"
        place.mkdir()
        (place / "config.json").write_text(json.dumps(spec))
        return str(place)


def _over(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(copy.deepcopy(base))
    for key, value in changes.items():
        old = out.get(key)
        out[key] = (
            _over(old, value) if isinstance(value, Mapping) and isinstance(old, Mapping) else value
        )
    return out
