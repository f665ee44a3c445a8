"""A network namespace of a test's own, where a daemon may make bridges and rules as it likes."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.real import require

__all__ = ["NetworkNamespace"]


@dataclass(slots=True)
class NetworkNamespace:
    """Lives as long as its holder, a sleeping process; its loopback device is up."""

    _holder: subprocess.Popen[bytes]

    @classmethod
    def make(cls) -> NetworkNamespace:
        """Make one."""
        script = f"{require('ip')} link set lo up && echo up && exec sleep infinity"
        holder = subprocess.Popen(
            [str(require("unshare")), "--net", "sh", "-c", script], stdout=subprocess.PIPE
        )
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"up\n"
        return cls(holder)

    @property
    def path(self) -> Path:
        """The file to enter it by."""
        return Path(f"/proc/{self._holder.pid}/ns/net")

    def close(self) -> None:
        """Let it go."""
        self._holder.kill()
        self._holder.wait()
        if self._holder.stdout is not None:
            self._holder.stdout.close()

    def run(
        self, *words: str, stdin: bytes = b"", check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program in it."""
        return subprocess.run(
            [str(require("nsenter")), f"--net={self.path}", *words],
            input=stdin,
            capture_output=True,
            timeout=30,
            check=check,
        )

    def out(self, *words: str, stdin: bytes = b"") -> str:
        """Run a program in it and return what it printed."""
        return self.run(*words, stdin=stdin).stdout.decode()

    def get(self, url: str) -> str:
        """Return a web page, empty when there is none."""
        busybox = str(require("busybox"))
        found = self.run(busybox, "timeout", "2", busybox, "wget", "-qO-", url, check=False)
        return found.stdout.decode()

    def links(self, kind: str) -> list[str]:
        """Return the names of its devices of a kind: veth, bridge."""
        found = json.loads(self.out(str(require("ip")), "-json", "link", "show", "type", kind))
        return [one["ifname"] for one in found if one]

    def rules(self) -> str:
        """Return its packet rules."""
        return self.out(str(require("nft")), "list", "ruleset")
