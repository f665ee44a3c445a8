"""A container's shim: starts it, holds its stdio and log, and keeps its exit code.

It is told what to run by `launch.json` in the container's directory and is steered over sequenced
packets, one JSON object each: first over the socket it was born with, later over `shim.sock`. When
the container ends, `exit.json` is written before anybody hears of it. Then the shim waits to be
dismissed; with nobody connected it goes by itself, for the record is enough.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import struct
import time
from typing import Any, Final

from sampan.base.errors import NotFoundError, SampanError
from sampan.base.record import changed
from sampan.engine.runtime.core.plan import CLONE_FLAGS, RootMount, plan
from sampan.engine.runtime.core.seccomp import compile_filter, filter_flags
from sampan.engine.runtime.core.spec import Process, Spec, parse_process, parse_spec
from sampan.engine.runtime.shell import launch, syscalls
from sampan.engine.runtime.shell.cgroups import Cgroups
from sampan.engine.runtime.shell.oom import OomWatch
from sampan.engine.shim.logfile import LogOptions, LogWriter, stamp
from sampan.engine.shim.reaper import PAUSE, REAPER
from sampan.engine.shim.session import Session
from sampan.engine.shim.streams import Reactor

__all__ = ["EXIT_FILE", "LAUNCH_FILE", "SOCKET_FILE", "run_shim"]

LAUNCH_FILE: Final = "launch.json"
EXIT_FILE: Final = "exit.json"
SOCKET_FILE: Final = "shim.sock"
_MESSAGE_BYTES: Final = 256 * 1024
_MOST_FDS: Final = 16
_LINGER_S: Final = 2.0
"""How long output may go on after the first process has ended."""

_PR_SET_NAME, _PR_SET_CHILD_SUBREAPER, _PR_SET_DUMPABLE = 15, 36, 4


def run_shim(directory: str, fds: list[int]) -> None:
    """Be the shim of the container in `directory`; `fds` are the control socket and clients."""
    with open(os.path.join(directory, LAUNCH_FILE)) as file:
        request = json.load(file)
    shim = _Shim(directory, request, socket.socket(fileno=fds[0]))
    for fd, wants in zip(fds[1:], request["attachments"], strict=True):
        shim.session.attach(socket.socket(fileno=fd), wants)
    shim.serve()


class _Shim:
    def __init__(self, directory: str, request: dict[str, Any], control: socket.socket) -> None:
        self._directory = directory
        self._request = request
        self._spec: Spec = parse_spec(request["spec"])
        assert self._spec.process is not None
        self._reactor = Reactor()
        self._log = LogWriter(_log_options(request["log"]))
        self._controls: list[socket.socket] = []
        self._execs: dict[str, Session] = {}
        self._cgroups: Cgroups | None = None
        self._oom: OomWatch | None = None
        self._oom_seen = False
        self._pidfd = -1
        self._deadline: float | None = None
        self._record: dict[str, Any] | None = None
        self._dismissed = False
        self._started_at = ""
        self.session = Session(
            self._reactor,
            self._spec.process,
            stdin=request["stdin"],
            stdin_once=request["stdin_once"],
            sink=self._log.write,
            finished=self._container_finished,
        )
        self._listener = self._listen()
        self._add_control(control)

    def _listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # By a short relative path: the full one may exceed what a socket address holds.
        here = os.open(".", os.O_PATH)
        os.chdir(self._directory)
        mask = os.umask(0o177)
        listener.bind(SOCKET_FILE)
        os.umask(mask)
        os.fchdir(here)
        os.close(here)
        listener.listen(8)
        listener.setblocking(False)
        self._reactor.watch(listener.fileno(), selectors.EVENT_READ, lambda _: self._accept())
        return listener

    def _accept(self) -> None:
        try:
            control, _ = self._listener.accept()
        except BlockingIOError:
            return
        credentials = control.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        _, uid, _ = struct.unpack("3i", credentials)
        if uid not in (0, os.geteuid()):
            control.close()
            return
        self._add_control(control)
        state = {
            "event": "state",
            "pid": self.session.pid,
            "at": self._started_at,
            "exit": self._record,
        }
        state["oom"] = self._oom_seen
        self._send(control, {**state, "execs": list(self._execs)})

    def _add_control(self, control: socket.socket) -> None:
        control.setblocking(False)
        self._controls.append(control)
        self._reactor.watch(
            control.fileno(), selectors.EVENT_READ, lambda _: self._control_ready(control)
        )

    def serve(self) -> None:
        """Start the container and look after it until all is done."""
        _name_process(self._request["id"])
        syscalls.prctl(_PR_SET_CHILD_SUBREAPER, 1)
        # Who joins the container's namespaces is forked from here: nobody in there may look at it.
        syscalls.prctl(_PR_SET_DUMPABLE, 0)
        try:
            self._start()
        except (SampanError, OSError) as error:
            self._start_failed(error)
            return
        self._started_at = stamp(time.time_ns())
        started = {"event": "started", "pid": self.session.pid, "at": self._started_at}
        self._broadcast(started)
        self._watch_memory()
        while not self._over():
            timeout_s = None
            if self._deadline is not None:
                timeout_s = max(0.0, self._deadline - time.monotonic())
            if not self._reactor.turn(timeout_s) and self._deadline is not None:
                self._deadline = None
                self.session.give_up_on_output()
            self._watch_for_end()
        self._clean_up()

    def _watch_for_end(self) -> None:
        """Bound the wait for output once the first process has ended."""
        if self.session.exit_code is not None and self._record is None and not self._deadline:
            self._deadline = time.monotonic() + _LINGER_S

    def _over(self) -> bool:
        if self._record is None:
            return False
        return self._dismissed or not self._controls

    def _start(self) -> None:
        request = self._request
        mounts = [
            RootMount(one["type"], one["source"], tuple(one["options"]))
            for one in request["root_mounts"]
        ]
        made = plan(self._spec, mounts)
        resources = self._spec.linux.resources
        self._cgroups = Cgroups.create(self._spec.linux.cgroups_path, resources)
        process = made.process
        assert process is not None
        seccomp = self._spec.linux.seccomp
        program = compile_filter(seccomp) if seccomp else None
        init = PAUSE if process.pause else REAPER if process.init else None
        with self._cgroups.entrance() as way:
            placement = launch.Placement(way.enter, way.unified_fd, self._cgroups.views())

            def start(stdio: launch.Stdio) -> launch.Launched:
                launched = launch.create(
                    made,
                    stdio,
                    placement=placement,
                    seccomp=program,
                    seccomp_flags=filter_flags(seccomp) if seccomp else 0,
                    init=init,
                )
                self._pidfd = os.dup(launched.pidfd)
                return launched

            self.session.start(start)

    def _watch_memory(self) -> None:
        self._oom = self._cgroups.oom_watch() if self._cgroups is not None else None
        if self._oom is not None:
            self._reactor.watch(self._oom.fd, selectors.EVENT_READ, lambda _: self._memory_short())

    def _memory_short(self) -> None:
        if self._oom is not None and self._oom.happened():
            self._oom_seen = True
            self._broadcast({"event": "oom"})

    def _start_failed(self, error: Exception) -> None:
        code = error.exit_code if isinstance(error, launch.LaunchError) else 128
        told = error.strerror if isinstance(error, OSError) else None
        self._broadcast({"event": "failed", "message": told or str(error), "exit_code": code})
        self.session.close()
        self._clean_up()

    def _clean_up(self) -> None:
        for session in self._execs.values():
            session.close()
        if self._oom is not None:
            self._reactor.watch(self._oom.fd, 0, lambda _: None)
            self._oom.close()
        if self._cgroups is not None:
            self._cgroups.kill()
            self._cgroups.remove()
        self._log.close()
        try:
            os.unlink(os.path.join(self._directory, SOCKET_FILE))
        except FileNotFoundError:
            pass

    def _container_finished(self, code: int) -> None:
        """The first process has ended and its output is in the log."""
        self._deadline = None
        self._log.close()
        oom_killed = bool(self._cgroups and self._cgroups.oom_kills())
        if self._cgroups is not None and self._spec.namespace("pid") is None:
            self._cgroups.kill()
        self._record = {
            "exit_code": code,
            "oom_killed": oom_killed,
            "finished_at": stamp(time.time_ns()),
        }
        path = os.path.join(self._directory, EXIT_FILE)
        with open(path + ".new", "w") as file:
            json.dump(self._record, file)
        os.replace(path + ".new", path)
        self._broadcast({"event": "exit", **self._record})
        self._flush_clients()

    def _flush_clients(self) -> None:
        """Send what clients have not taken yet, for a while, then let them see the end."""
        until = time.monotonic() + _LINGER_S
        while not self.session.drained() and time.monotonic() < until:
            self._reactor.turn(0.1)
        self.session.close()

    def _control_ready(self, control: socket.socket) -> None:
        try:
            message, fds, _, _ = socket.recv_fds(control, _MESSAGE_BYTES, _MOST_FDS)
        except BlockingIOError:
            return
        except OSError:
            message, fds = b"", []
        if not message:
            self._reactor.watch(control.fileno(), 0, lambda _: None)
            self._controls.remove(control)
            control.close()
            return
        request = json.loads(message)
        answer: dict[str, Any] = {"reply": request.get("number")}
        try:
            answer.update(self._serve_request(request, fds))
        except launch.LaunchError as error:
            answer.update(error=str(error), exit_code=error.exit_code)
        except (SampanError, OSError) as error:
            answer.update(error=str(error), exit_code=128)
        finally:
            for fd in fds:
                os.close(fd)
        self._send(control, answer)

    def _serve_request(self, request: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        """Carry one request out; descriptors that it keeps are duplicated."""
        match request["op"]:
            case "attach":
                session = self._session(request.get("exec_id"))
                session.attach(socket.socket(fileno=os.dup(fds[0])), request)
            case "exec":
                return {"pid": self._exec(request, fds)}
            case "resize":
                session = self._session(request.get("exec_id"))
                session.resize(request["width"], request["height"])
            case "close_stdin":
                self._session(request.get("exec_id")).close_stdin()
            case "kill":
                self._kill(request["signal"], everybody=request.get("all", False))
            case "reopen_log":
                self._log.reopen()
            case "dismiss":
                self._dismissed = True
        return {}

    def _session(self, exec_id: str | None) -> Session:
        if exec_id is None:
            return self.session
        session = self._execs.get(exec_id)
        if session is None:
            raise NotFoundError(f"No such exec instance: {exec_id}")
        return session

    def _kill(self, number: int, *, everybody: bool) -> None:
        if everybody and self._cgroups is not None:
            self._cgroups.kill(number)
        elif self._pidfd >= 0:
            syscalls.pidfd_send_signal(self._pidfd, signal.Signals(number))

    def _exec(self, request: dict[str, Any], fds: list[int]) -> int:
        """Start a further process in the container; returns its pid."""
        if self._pidfd < 0 or self._record is not None:
            raise NotFoundError("the container is not running")
        exec_id = request["exec_id"]
        process = self._bounded(parse_process(request["process"]))
        session = Session(
            self._reactor,
            process,
            stdin=request["stdin"],
            stdin_once=True,
            sink=lambda _stream, _data: None,
            finished=lambda code: self._exec_finished(exec_id, code),
        )
        for fd in fds:
            session.attach(socket.socket(fileno=os.dup(fd)), request)
        flags = 0
        for one in self._spec.linux.namespaces:
            flags |= CLONE_FLAGS[one.type]
        seccomp = None if request.get("privileged") else self._spec.linux.seccomp
        program = compile_filter(seccomp) if seccomp else None
        cgroups = self._cgroups
        assert cgroups is not None
        self._execs[exec_id] = session
        try:
            with cgroups.entrance() as way:
                session.start(
                    lambda stdio: launch.join(
                        self._pidfd,
                        process,
                        stdio,
                        namespaces=flags,
                        placement=launch.Placement(way.enter, way.unified_fd),
                        seccomp=program,
                        seccomp_flags=filter_flags(seccomp) if seccomp else 0,
                    )
                )
        except BaseException:
            del self._execs[exec_id]
            session.close()
            raise
        return session.pid

    def _bounded(self, process: Process) -> Process:
        """Return a further process with the bounds of the container's first one."""
        first = self._spec.process
        assert first is not None
        return changed(
            process,
            rlimits=process.rlimits or first.rlimits,
            no_new_privileges=process.no_new_privileges or first.no_new_privileges,
            oom_score_adj=first.oom_score_adj,
        )

    def _exec_finished(self, exec_id: str, code: int) -> None:
        session = self._execs.pop(exec_id, None)
        self._broadcast({"event": "exec_exit", "exec_id": exec_id, "exit_code": code})
        if session is not None:
            until = time.monotonic() + _LINGER_S
            while not session.drained() and time.monotonic() < until:
                self._reactor.turn(0.1)
            session.close()

    def _broadcast(self, message: dict[str, Any]) -> None:
        for control in list(self._controls):
            self._send(control, message)

    def _send(self, control: socket.socket, message: dict[str, Any]) -> None:
        try:
            control.setblocking(True)
            control.settimeout(5)
            control.send(json.dumps(message).encode())
            control.setblocking(False)
        except OSError:
            pass  # the reader will notice


def _log_options(options: dict[str, Any]) -> LogOptions:
    return LogOptions(
        options["driver"],
        options["path"],
        options.get("max_bytes", 0),
        options.get("max_files", 1),
        tuple(options.get("attributes", {}).items()),
    )


def _name_process(container_id: str) -> None:
    """Show in process lists what this is."""
    name = f"shim {container_id[:10]}".encode()[:15]
    with open("/proc/self/comm", "wb") as file:
        file.write(name)
