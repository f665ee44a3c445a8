"""A real dockerd for comparisons: private, without bridges, in network and mount namespaces."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.real import absent, require

__all__ = ["RealDockerd"]

_STARTED_AFTER_S = 60.0


@dataclass(slots=True)
class RealDockerd:
    """Debian's dockerd with everything below `place`."""

    place: Path
    flags: Sequence[str] = ()
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address for DOCKER_HOST."""
        return f"unix://{self.place / 'docker.sock'}"

    def start(self) -> RealDockerd:
        """Start it; the test is skipped by name when there is none, or not of that version."""
        program = require("dockerd")
        require("runc")
        told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
        if "version 20.10" not in told.stdout:
            absent(f"compares with dockerd 20.10, found: {told.stdout.strip()}")
        self.place.mkdir()
        command = ["unshare", "--net", "--mount", "--propagation", "private", str(program)]
        command += [f"--host={self.url}", f"--data-root={self.place / 'data'}"]
        command += [f"--exec-root={self.place / 'exec'}", f"--pidfile={self.place / 'pid'}"]
        command += ["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"]
        command += ["--storage-driver=overlay2", *self.flags]
        with open(self.place / "log", "wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + _STARTED_AFTER_S
        while self.docker("version", check=False).returncode != 0:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError((self.place / "log").read_text()[-2000:])
        return self

    def docker(
        self, *words: str, stdin: bytes | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        """Run the docker command line against it."""
        done = subprocess.run(
            [str(require("docker")), "-H", self.url, *words],
            input=stdin,
            stdin=None if stdin is not None else subprocess.DEVNULL,
            capture_output=True,
            env={**os.environ, "DOCKER_CONFIG": str(self.place)},
            timeout=60,
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"docker {' '.join(words)}: {done.stderr.decode()}")
        return done

    def stop(self) -> None:
        """End it and its containers."""
        if self._process is None:
            return
        for id_ in self.docker("ps", "-aq", check=False).stdout.decode().split():
            self.docker("rm", "-f", id_, check=False)
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
