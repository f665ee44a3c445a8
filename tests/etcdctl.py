"""Running the real etcdctl and writing down what it said, so that two servers can be compared.

A transcript holds every command with its exit code and output. What may differ between two honest
servers (ids, terms, sizes, times, addresses) is replaced by placeholders; revisions stay.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from tests.servers import Server

__all__ = ["Ctl", "Running", "Scenario", "Step", "compare", "play"]

TIMEOUT_S: Final = 60.0
LOG_LINE: Final = re.compile(r"^\{\"level\"|^\d{4}[-/]\d\d[-/]\d\d |^\[core\]|^WARNING")
BIG_NUMBER: Final = re.compile(r"(?<![\w.])(?:\d{15,20}|[0-9a-f]{14,16})(?![\w.])")
VOLATILE: Final = (
    (re.compile(r"(\"?raft_?(?:term|index|appliedindex)\"?\s*[:=]\s*)\d+", re.I), r"\1*"),
    # etcd reports a quota only when one was set; ours always reports the one that holds.
    (re.compile(r"\"dbSizeQuota\":\d+,"), ""),
    (re.compile(r"\"DBSizeQuota\" : \d+\n"), ""),
    (re.compile(r"(\"?(?:dbsize|dbsizeinuse|dbsizequota)\"?\s*[:=]\s*)\d+", re.I), r"\1*"),
    (re.compile(r"(\"?(?:storage)?version\"?\s*[:=]\s*)\"\d+\.\d+\.\d+\"", re.I), r"\1*"),
    (re.compile(r"(took\"?\s*[=: ]\s*)\"?[\d.]+[mµn]?s\"?"), r"\1*"),
    (re.compile(r"remaining\(\d+s\)"), "remaining(*)"),
)
ATTACHED: Final = re.compile(r"(?<=attached keys)\(\[(.*?)\]\)")
"""etcd lists the keys of a lease in no order."""
GRANTED: Final = re.compile(r"lease ([0-9a-f]+) granted")


class Running:
    """An etcdctl that keeps running (watch, lock, elect, ...); its output is collected."""

    def __init__(self, argv: Sequence[str], env: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=env,
        )
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _pipe(self) -> IO[bytes]:
        pipe = self._process.stdout
        if pipe is None:
            raise RuntimeError("no output pipe")
        return pipe

    def _read(self) -> None:
        with self._pipe() as pipe:
            for line in pipe:
                with self._changed:
                    self._lines.append(line.decode(errors="backslashreplace"))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def until(self, text: str, count: int = 1, timeout_s: float = TIMEOUT_S) -> str:
        """Wait until `text` was printed `count` times; returns all output so far."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._ended or self.text().count(text) >= count, timeout_s
            )
            if self.text().count(text) < count:
                raise AssertionError(f"waited for {text!r}, got:\n{self.text()}")
            return self.text()

    def text(self) -> str:
        """The output so far, without etcdctl's own log lines."""
        return "".join(line for line in self._lines if not LOG_LINE.match(line))

    def send(self, line: str) -> None:
        """Type a line."""
        if self._process.stdin is None:
            raise RuntimeError("no input pipe")
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def end(self, how: signal.Signals = signal.SIGINT) -> str:
        """Send a signal, wait, and return all output."""
        if self._process.poll() is None:
            self._process.send_signal(how)
        try:
            self._process.wait(TIMEOUT_S)
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            self._reader.join()
            if self._process.stdin is not None:
                self._process.stdin.close()
        return self.text()


@dataclass(slots=True)
class Ctl:
    """etcdctl bound to one server, with the transcript of what was run."""

    binary: Path
    server: Server
    globals: tuple[str, ...] = ()
    transcript: list[str] = field(default_factory=list)
    scratch: Path | None = None
    lease: str = ""
    member: str = ""
    _ids: dict[int, str] = field(default_factory=dict)
    _running: list[Running] = field(default_factory=list)

    def argv(self, args: Sequence[str]) -> list[str]:
        """The command line for this server."""
        return [str(self.binary), f"--endpoints={self.server.endpoint}", *self.globals, *args]

    def env(self) -> dict[str, str]:
        """The environment: nothing of the caller's etcdctl settings."""
        clean = {name: value for name, value in os.environ.items() if name[:8] != "ETCDCTL_"}
        return {**clean, "ETCDCTL_API": "3"}

    def raw(self, *args: str, stdin: str = "") -> subprocess.CompletedProcess[bytes]:
        """Run a command and write nothing down."""
        return subprocess.run(
            self.argv(args),
            input=stdin.encode(),
            capture_output=True,
            env=self.env(),
            timeout=TIMEOUT_S,
            check=False,
        )

    def run(self, *args: str, stdin: str = "") -> str:
        """Run a command; returns its normalised standard output and writes it down."""
        done = self.raw(*args, stdin=stdin)
        text = done.stdout.decode(errors="backslashreplace")
        granted = GRANTED.search(text)
        if granted:
            self.lease = granted[1]
        errors = "".join(
            line + "\n"
            for line in done.stderr.decode(errors="backslashreplace").splitlines()
            if not LOG_LINE.match(line)
        )
        shown = self.note(f"$ {shlex.join(args)}", text)
        if errors:
            self.note("stderr", errors)
        self.transcript.append(f"exit {done.returncode}")
        return shown

    def ok(self, *args: str, stdin: str = "") -> str:
        """Run a command that must succeed; returns its output as it is, nothing written down."""
        done = self.raw(*args, stdin=stdin)
        if done.returncode:
            raise AssertionError(f"{shlex.join(args)}: {done.stderr.decode()}")
        return done.stdout.decode()

    def spawn(self, *args: str) -> Running:
        """Start a command that keeps running; `close` ends it at the latest."""
        running = Running(self.argv(args), self.env())
        self._running.append(running)
        return running

    def note(self, title: str, text: str) -> str:
        """Write output down under a title; returns it normalised."""
        shown = self.normal(text)
        self.transcript += [self.normal(title), *shown.splitlines()]
        return shown

    def normal(self, text: str) -> str:
        """The text with placeholders for what may differ."""
        # Ours advertises the port that it got for port 0, etcd port 0.
        text = text.replace(self.server.address, "ENDPOINT").replace("127.0.0.1:0", "ENDPOINT")
        if self.scratch is not None:
            text = text.replace(str(self.scratch), "SCRATCH")
        text = BIG_NUMBER.sub(self._id, text)
        for pattern, placeholder in VOLATILE:
            text = pattern.sub(placeholder, text)
        return ATTACHED.sub(lambda keys: f"([{' '.join(sorted(keys[1].split()))}])", text)

    def _id(self, match: re.Match[str]) -> str:
        """The same id, decimal or hexadecimal, gets the same placeholder."""
        text = match[0]
        number = int(text, 10 if len(text) > 16 else 16)
        return self._ids.setdefault(number, f"ID{len(self._ids) + 1}")

    def own_member(self) -> str:
        """The id of the server's member, as etcdctl prints it."""
        if not self.member:
            self.member = self.ok("member", "list").split(",")[0]
        return self.member

    def close(self) -> None:
        """End what still runs."""
        for running in self._running:
            running.end(signal.SIGKILL)


Scenario = Callable[[Ctl], None]
Step = str | tuple[str, str]


def play(steps: Sequence[Step]) -> Scenario:
    """A scenario from command lines, each alone or with its standard input.

    `{lease}` stands for the lease granted last, `{member}` for the server's member id and
    `{scratch}` for a directory.
    """

    def scenario(ctl: Ctl) -> None:
        for step in steps:
            line, stdin = (step, "") if isinstance(step, str) else step
            if "{member}" in line:
                ctl.own_member()
            places = {"lease": ctl.lease, "member": ctl.member, "scratch": str(ctl.scratch)}
            for name, value in places.items():
                line = line.replace("{" + name + "}", value)
            ctl.run(*shlex.split(line), stdin=stdin.replace("{lease}", ctl.lease))

    return scenario


def compare(scenario: Scenario, peer: Ctl, ours: Ctl) -> list[str]:
    """Play a scenario against both servers at once and compare; returns the transcript."""

    def run(ctl: Ctl) -> list[str]:
        try:
            with ctl.server:
                scenario(ctl)
        finally:
            ctl.close()
        return ctl.transcript

    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(run, ctl) for ctl in (peer, ours)]
        expected, got = (future.result() for future in running)
    difference = list(difflib.unified_diff(expected, got, "etcd", "ours", lineterm="", n=4))
    if difference:
        raise AssertionError("\n".join(["ours answers otherwise than etcd:", *difference]))
    return got
