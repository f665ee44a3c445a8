"""The daemon's run: checks, one engine, its sockets, signals, the end."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sampan import __version__
from sampan.base.errors import ConflictError, SampanError, reason_of
from sampan.cli.dockerd.flags import FLAGS, exec_root
from sampan.cli.dockerd.flagset import Flag, HelpWanted
from sampan.cli.dockerd.listeners import Listeners
from sampan.cli.dockerd.rootless import become_root_in_namespace, rootless_options
from sampan.cli.dockerd.settings import Settings, load, reloaded
from sampan.engine.api.server import api_router
from sampan.engine.daemon.shell.engine import Engine
from sampan.loop.rest import RestServer
from sampan.loop.runner import run

if TYPE_CHECKING:
    from sampan.engine.cri.api.server import CriServer

__all__ = ["main"]

_LOG = logging.getLogger("sampan.dockerd")
_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
}
_WORDS: Final = {"WARNING": "warning", "CRITICAL": "fatal"}


def main(arguments: Sequence[str]) -> int:
    """Run the daemon until SIGTERM; returns the exit code."""
    try:
        settings = load(arguments)
    except HelpWanted:
        print(_help())
        return 0
    except SampanError as error:
        print(error, file=sys.stderr)
        return 1
    if settings.version:
        print(f"Sampan version {__version__}")
        return 0
    if settings.validate:
        print("configuration OK", file=sys.stderr)
        return 0
    _configure_log(settings)
    try:
        host = default_host()
        if os.geteuid() != 0:
            settings = replace(settings, engine=rootless_options(settings.engine), group="")
            become_root_in_namespace()
        if settings.engine.oom_score_adj:
            Path("/proc/self/oom_score_adj").write_text(str(settings.engine.oom_score_adj))
        listeners = Listeners(settings, host)
        with _only_daemon(settings), _pidfile(settings.pidfile):
            run(_serve(settings, listeners, arguments))
    except (SampanError, OSError) as error:
        print(f"failed to start daemon: {reason_of(error)}", file=sys.stderr)
        return 1
    return 0


def default_host() -> str:
    """Return where the daemon listens unless the user says otherwise."""
    if os.geteuid() == 0:
        return "unix:///var/run/docker.sock"
    return f"unix://{Path(exec_root()).parent / 'docker.sock'}"


def _help() -> str:
    lines = ["", "Usage:  dockerd [OPTIONS]", "", "A self-sufficient runtime for containers.", ""]
    lines.append("Options:")
    for flag in sorted(FLAGS, key=lambda one: one.name):
        short = f"-{flag.short}, " if flag.short else "    "
        kind = "" if flag.kind == "bool" else f" {flag.kind}"
        lines.append(f"  {short}--{flag.name + kind:<38} {_described(flag)}")
    return "\n".join(lines)


def _described(flag: Flag) -> str:
    default = flag.default if flag.kind in ("string", "int", "bytes") and flag.default else None
    text = flag.help if default is None else f"{flag.help} (default {json.dumps(default)})"
    return f"{text} (not supported yet)" if flag.later else text


class _LogLine(logging.Formatter):
    """Lines as dockerd writes them: `time="..." level=info msg="..."`, or JSON objects."""

    def __init__(self, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds")
        level = _WORDS.get(record.levelname, record.levelname.lower())
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + self.formatException(record.exc_info)
        if self._as_json:
            fields = {"level": level, "msg": message, "time": moment.replace("+00:00", "Z")}
            return json.dumps(fields)
        shown = json.dumps(message, ensure_ascii=False)
        return f'time="{moment.replace("+00:00", "Z")}" level={level} msg={shown}'


def _configure_log(settings: Settings) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_LogLine(settings.log_format == "json"))
    logging.basicConfig(level=_LEVELS[settings.log_level], handlers=[handler])
    for warning in settings.warnings:
        _LOG.warning("%s", warning)


@contextlib.contextmanager
def _only_daemon(settings: Settings) -> Iterator[None]:
    """Hold the data root; ConflictError while another daemon does. A dead daemon holds nothing."""
    root = settings.engine.data_root
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(root / "daemon.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise ConflictError(f"another daemon uses the data root {root}") from None
    try:
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def _pidfile(path: Path) -> Iterator[None]:
    """Hold the pid file; InvalidError while another daemon does."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        other = int(path.read_text())
        if other != os.getpid() and _is_daemon(other):
            raise ConflictError(
                f"ensure docker is not running or delete {path}: process with PID {other} is "
                "still running"
            )
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    path.write_text(str(os.getpid()))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _is_daemon(pid: int) -> bool:
    """Tell whether a process of that number runs that is no thread and no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


async def _serve(settings: Settings, listeners: Listeners, words: Sequence[str]) -> None:
    began = time.monotonic()
    engine = await Engine.open(settings.engine)
    gc.collect()
    gc.freeze()  # what is there from the start is not looked through at every collection
    server = RestServer(api_router(engine))
    cri = _cri_server(engine) if settings.engine.cri_socket else None
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, _reload, engine, settings, words)
    try:
        if cri is not None and settings.engine.cri_socket:
            await cri.listen(settings.engine.cri_socket)
            _LOG.info("CRI listen on %s", settings.engine.cri_socket)
        await listeners.open(server)
        _LOG.info("Daemon has completed initialization in %.3f s", time.monotonic() - began)
        await stop.wait()
    finally:
        if cri is not None:
            await cri.close()
        await engine.close()
        await server.close()


def _cri_server(engine: Engine) -> CriServer:
    """Return the kubelet's interface; loaded only by who asks for it, for it takes memory."""
    from sampan.engine.cri.api.server import CriServer

    return CriServer(engine)


def _reload(engine: Engine, settings: Settings, words: Sequence[str]) -> None:
    """Read the file again; what cannot be used is said in the log and changes nothing."""
    _LOG.info("Got signal to reload configuration, reloading from: %s", settings.config_file)
    try:
        fresh = load(words)
    except SampanError as error:
        _LOG.error("Error reconfiguring the daemon: %s", error)
        return
    engine.reload(reloaded(engine.options, fresh.engine))
    logging.getLogger().setLevel(_LEVELS[fresh.log_level])
