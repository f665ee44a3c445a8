"""Debian's docker-registry for tests: a real registry on loopback, plain, with passwords or TLS."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import yaml
from tests.real import require

__all__ = ["RegistryServer", "skopeo"]


@dataclass(slots=True)
class RegistryServer:
    """One registry with its blobs below `place`."""

    place: Path
    users: Mapping[str, str] = field(default_factory=dict)
    tls: tuple[Path, Path] | None = None
    client_authority: Path | None = None
    token: Mapping[str, str] | None = None
    port: int = 0
    _process: subprocess.Popen[str] | None = None
    _output: list[str] = field(default_factory=list)

    @property
    def host(self) -> str:
        """Its address, the first part of its images' names."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> RegistryServer:
        """Start it and wait until it listens."""
        self.place.mkdir(parents=True, exist_ok=True)
        path = self.place / "config.yml"
        path.write_text(yaml.safe_dump(self._configuration()))
        self._process = subprocess.Popen(
            [require("docker-registry"), "serve", path],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        pipe, ready = self._process.stderr, threading.Event()
        assert pipe is not None
        threading.Thread(target=self._read, args=(pipe, ready), daemon=True).start()
        if not ready.wait(20) or self._process.poll() is not None:
            raise RuntimeError("the registry did not get ready:\n" + "".join(self._output))
        return self

    def _read(self, pipe: IO[str], ready: threading.Event) -> None:
        with pipe:
            for line in pipe:
                self._output.append(line)
                found = re.search(r"listening on [\d.]+:(\d+)", line)
                if found is not None:
                    self.port = int(found[1])
                    ready.set()
        ready.set()

    def _configuration(self) -> dict[str, Any]:
        http: dict[str, Any] = {"addr": self.host, "secret": "loopback"}
        if self.tls is not None:
            http["tls"] = {"certificate": str(self.tls[0]), "key": str(self.tls[1])}
            if self.client_authority is not None:
                http["tls"]["clientcas"] = [str(self.client_authority)]
        found: dict[str, Any] = {
            "version": 0.1,
            "log": {"level": "info", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(self.place / "blobs")},
                "delete": {"enabled": True},
            },
            "http": http,
        }
        if self.users:
            path = self.place / "htpasswd"
            path.write_text("".join(_htpasswd(*user) for user in self.users.items()))
            found["auth"] = {"htpasswd": {"realm": "loopback", "path": str(path)}}
        if self.token is not None:
            found["auth"] = {"token": dict(self.token)}
        return found

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def text(self) -> str:
        """What it has printed."""
        return "".join(self._output)


def _htpasswd(user: str, password: str) -> str:
    done = subprocess.run(
        [require("htpasswd"), "-nbB", user, password], capture_output=True, text=True, check=True
    )
    return done.stdout.strip() + "\n"


def skopeo(*words: str) -> str:
    """Run skopeo, a second client; returns what it printed."""
    done = subprocess.run(
        [require("skopeo"), *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"skopeo {' '.join(words)}: {done.stderr}"
    return done.stdout
