"""`sampan dockerd`: the container engine as a daemon, with dockerd's own flags."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import grp
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from sampan import __version__
from sampan.base.errors import InvalidError, SampanError
from sampan.engine.api.server import api_router
from sampan.engine.daemon.shell.engine import Engine, EngineOptions
from sampan.loop.rest import RestServer
from sampan.loop.runner import run

__all__ = ["main", "parser"]

_LOG = logging.getLogger("sampan.dockerd")
_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
}


def _default_root() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/sampan/engine")
    base = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return Path(base) / "sampan" / "engine"


def _default_run() -> Path:
    if os.geteuid() == 0:
        return Path("/run/sampan/engine")
    return Path(os.environ.get("XDG_RUNTIME_DIR") or f"/tmp/sampan-{os.geteuid()}") / "engine"


def _default_host() -> str:
    if os.geteuid() == 0:
        return "unix:///var/run/docker.sock"
    return f"unix://{_default_run().parent / 'docker.sock'}"


def parser() -> argparse.ArgumentParser:
    """Return the flags."""
    flags = argparse.ArgumentParser(prog="sampan dockerd", description=__doc__)
    flags.add_argument("-H", "--host", action="append", help="unix:// socket to listen on")
    flags.add_argument("--data-root", type=Path, default=_default_root(), help="persistent state")
    flags.add_argument("--exec-root", type=Path, default=_default_run(), help="state of a run")
    flags.add_argument("-p", "--pidfile", type=Path, help="where to write the process id")
    flags.add_argument("-G", "--group", default="docker", help="group of the unix socket")
    flags.add_argument("-D", "--debug", action="store_true", help="log at debug level")
    flags.add_argument("-l", "--log-level", choices=_LEVELS, default="info")
    flags.add_argument("-s", "--storage-driver", choices=["overlay2"], default="overlay2")
    flags.add_argument("--bip", default="", help="address of the default bridge (no effect yet)")
    flags.add_argument("--mtu", type=int, default=1500, help="of bridge networks (no effect yet)")
    flags.add_argument("--live-restore", action="store_true", help="containers outlive the daemon")
    flags.add_argument("--shutdown-timeout", type=int, default=15, help="seconds, at the end")
    flags.add_argument("-v", "--version", action="store_true", help="print the version")
    return flags


def main(arguments: Sequence[str]) -> int:
    """Run the daemon until SIGTERM; returns the exit code."""
    args = parser().parse_args(list(arguments))
    if args.version:
        print(f"Sampan version {__version__}")
        return 0
    level = logging.DEBUG if args.debug else _LEVELS[args.log_level]
    shape = 'time="%(asctime)s" level=%(levelname)s msg="%(message)s"'
    logging.basicConfig(level=level, format=shape, stream=sys.stderr)
    try:
        sockets = [_socket_path(host) for host in args.host or [_default_host()]]
        with _pidfile(args.pidfile):
            run(_serve(args, sockets))
    except (SampanError, OSError) as error:
        print(f"failed to start daemon: {error}", file=sys.stderr)
        return 1
    return 0


def _socket_path(host: str) -> Path:
    kind, _, path = host.partition("://")
    if kind == "unix" and path:
        return Path(path)
    if kind in ("tcp", "fd", "npipe"):
        raise InvalidError(f"{host}: listening on {kind}:// is not supported yet, unix:// is")
    raise InvalidError(f"invalid bind address ({host}): use unix:///path/to/socket")


@contextlib.contextmanager
def _pidfile(path: Path | None) -> Iterator[None]:
    """Hold the pid file; InvalidError while another daemon does."""
    if path is None:
        yield
        return
    with contextlib.suppress(OSError, ValueError):
        other = int(path.read_text())
        if Path(f"/proc/{other}").exists():
            raise InvalidError(f"process with PID {other} is still running")
    path.write_text(str(os.getpid()))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


async def _serve(args: argparse.Namespace, sockets: Sequence[Path]) -> None:
    options = EngineOptions(
        data_root=args.data_root.absolute(),
        exec_root=args.exec_root.absolute(),
        live_restore=args.live_restore,
        shutdown_timeout_s=args.shutdown_timeout,
    )
    engine = await Engine.open(options)
    server = RestServer(api_router(engine))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        for path in sockets:
            await server.listen_unix(path, group=_group(args.group))
            _LOG.info("API listen on %s", path)
        await stop.wait()
    finally:
        await engine.close()
        await server.close()


def _group(name: str) -> int:
    """Return the number of the socket's group, -1 to leave it as it is."""
    try:
        return grp.getgrnam(name).gr_gid if os.geteuid() == 0 else -1
    except KeyError:
        return -1
