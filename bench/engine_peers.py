"""The container engines of a comparison, started alike, and a raw client of their API."""

from __future__ import annotations

import ctypes
import http.client
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.peers import installed

__all__ = [
    "Api",
    "ApiError",
    "Engine",
    "RunningEngine",
    "own_network",
]

CLONE_NEWNET, CLONE_NEWNS = 0x40000000, 0x00020000
MS_REC, MS_PRIVATE, MNT_DETACH = 1 << 14, 1 << 18, 2
BRIDGES = {"docker": "10.213.0.1/24", "sampan": "10.214.0.1/24"}


class ApiError(RuntimeError):
    """The engine answered with an error, or not at all."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(self._path))


class Api:
    """One keep-alive connection to a Docker API socket."""

    def __init__(self, path: Path) -> None:
        self._connection = _UnixConnection(path)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One request; the decoded answer. Raises ApiError on a status of 400 and above."""
        raw = body if isinstance(body, bytes) else None if body is None else json.dumps(body)
        kind = "application/x-tar" if isinstance(body, bytes) else "application/json"
        self._connection.request(method, "/v1.41" + path, raw, {"Content-Type": kind})
        response = self._connection.getresponse()
        data = response.read()
        if response.status >= 400:
            raise ApiError(f"{method} {path}: {response.status} {data.decode(errors='replace')}")
        try:
            return json.loads(data) if data else None
        except json.JSONDecodeError:
            return data

    def cycle(self, image: str, network: str = "none") -> Mapping[str, float]:
        """Create, start, wait for and remove one container; milliseconds of each."""
        took: dict[str, float] = {}

        def timed(name: str, method: str, path: str, body: Any = None) -> Any:
            began = time.perf_counter()
            answer = self.call(method, path, body)
            took[name] = (time.perf_counter() - began) * 1e3
            return answer

        body = {"Image": image, "Cmd": ["true"], "HostConfig": {"NetworkMode": network}}
        id_ = timed("create", "POST", "/containers/create", body)["Id"]
        timed("start", "POST", f"/containers/{id_}/start")
        status = timed("wait", "POST", f"/containers/{id_}/wait")["StatusCode"]
        timed("rm", "DELETE", f"/containers/{id_}")
        if status != 0:
            raise ApiError(f"the container ended with {status}")
        return took

    def close(self) -> None:
        self._connection.close()


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine program."""

    name: str
    command: tuple[str, ...]

    @classmethod
    def docker(cls, path: str) -> Engine:
        """A real dockerd."""
        return cls("docker", (path,))

    @classmethod
    def sampan(cls) -> Engine:
        """Ours, as installed beside this Python."""
        return cls("sampan", (str(Path(sys.executable).with_name("sampan")), "dockerd"))

    def start(self, place: Path, timeout_s: float = 60) -> RunningEngine:
        """Start it with everything below `place` and wait until it answers."""
        socket_path = place / "docker.sock"
        place.mkdir(parents=True)
        argv = [
            *self.command,
            f"--host=unix://{socket_path}",
            f"--data-root={place / 'data'}",
            f"--exec-root={place / 'exec'}",
            f"--pidfile={place / 'pid'}",
            f"--bip={BRIDGES[self.name]}",
            "--storage-driver=overlay2",
        ]
        with open(place / "log", "ab") as log:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=installed(),
                start_new_session=True,
            )
        running = RunningEngine(self, process, socket_path)
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                api = Api(socket_path)
                api.call("GET", "/_ping")
                api.close()
                return running
            except (OSError, ApiError):
                if process.poll() is not None or time.monotonic() > deadline:
                    running.stop()
                    raise ApiError((place / "log").read_text()[-2000:]) from None
                time.sleep(0.01)

    def version(self) -> str:
        """Its own words about itself."""
        done = subprocess.run(
            [*self.command, "--version"], capture_output=True, text=True, check=True
        )
        return done.stdout.strip().splitlines()[0]


@dataclass(frozen=True, slots=True)
class RunningEngine:
    """A started engine."""

    engine: Engine
    process: subprocess.Popen[bytes]
    socket_path: Path

    def api(self) -> Api:
        """A new connection."""
        return Api(self.socket_path)

    def docker(self, *words: str) -> float:
        """Run the docker command line against it; milliseconds. Raises on a failure."""
        began = time.perf_counter()
        done = subprocess.run(
            [docker_cli(), "-H", f"unix://{self.socket_path}", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        took = (time.perf_counter() - began) * 1e3
        if done.returncode != 0:
            raise ApiError(f"docker {' '.join(words)}: {done.stderr.decode(errors='replace')}")
        return took

    def load(self, archive: bytes) -> None:
        """Load an image archive."""
        api = self.api()
        api.call("POST", "/images/load?quiet=1", archive)
        api.close()

    def memory_bytes(self) -> int:
        """Proportional set size of its processes: the daemon and what it started for itself."""
        return sum(pss_bytes(pid) for pid in descendants(self.process.pid))

    def stop(self) -> None:
        """Ask it to end; after 20 s kill it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        unmount_below(self.socket_path.parent)

    def cycles_at_once(self, image: str, count: int) -> float:
        """Milliseconds until `count` containers, asked for at the same moment, all run."""
        apis = [self.api() for _ in range(count)]
        body = {"Image": image, "Cmd": ["sleep", "600"], "HostConfig": {"NetworkMode": "none"}}
        ids = [apis[0].call("POST", "/containers/create", body)["Id"] for _ in range(count)]
        failures: list[Exception] = []

        def start(api: Api, id_: str) -> None:
            try:
                api.call("POST", f"/containers/{id_}/start")
            except Exception as error:  # shown by the caller
                failures.append(error)

        threads = [
            threading.Thread(target=start, args=pair) for pair in zip(apis, ids, strict=True)
        ]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = (time.perf_counter() - began) * 1e3
        for id_ in ids:
            apis[0].call("DELETE", f"/containers/{id_}?force=1")
        for api in apis:
            api.close()
        if failures:
            raise ApiError(f"{len(failures)} of {count} starts failed: {failures[0]}")
        return took


def docker_cli() -> str:
    path = shutil.which("docker")
    if path is None:
        raise ApiError("needs the docker command line")
    return path


def descendants(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parent = int(stat.rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        one = todo.pop()
        found.append(one)
        todo += children.get(one, [])
    return found


def pss_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def own_network() -> None:
    """Move this process into network and mount namespaces of its own."""
    if libc_call("unshare", CLONE_NEWNET | CLONE_NEWNS) != 0:
        raise ApiError("needs root, for namespaces of its own")
    libc_call("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def unmount_below(place: Path) -> None:
    """Detach what an engine left mounted."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in reversed(points):
        if point.startswith(f"{place}/"):
            libc_call("umount2", point.encode(), MNT_DETACH)


def libc_call(name: str, *arguments: Any) -> int:
    return int(getattr(ctypes.CDLL(None), name)(*arguments))
