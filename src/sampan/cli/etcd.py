"""`sampan etcd`: an etcd server, started and ended as etcd is."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from sampan import __version__
from sampan.base.errors import SampanError
from sampan.base.log import Logger
from sampan.cli.etcd_config import FlagError, Settings, load
from sampan.cli.etcd_help import USAGE, help_text
from sampan.cli.etcd_log import open_log, stderr_log
from sampan.store.core.version import SERVER_VERSION
from sampan.store.shell.config import ConfigError, EtcdConfig

__all__ = ["main", "serve"]

_SUBCOMMANDS = {
    "repair": ("sampan.cli.etcd_repair", "repair"),
    "restore": ("sampan.cli.etcdutl", "restore"),
    "soak-watch": ("sampan.cli.soak", "soak_watch"),
}
_GO_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}
_CRASHED = 2
_NOT_YET = ("gateway", "grpc-proxy")


def main(arguments: Sequence[str]) -> int:
    """Run the server, or the subcommand that the first word names, and return the exit code.

    0 after SIGINT or SIGTERM, 1 when the settings or the data are wrong, 2 for a command line that
    cannot be read.
    """
    if arguments and arguments[0] in _SUBCOMMANDS:
        return _subcommand(arguments[0], arguments[1:])
    if arguments and arguments[0] in _NOT_YET:
        print(f"etcd {arguments[0]} is not supported yet", file=sys.stderr)
        return 2
    try:
        settings = load(arguments, os.environ, _read_file)
    except FlagError as error:
        print(f"{error}\n{USAGE}", file=sys.stderr)
        return 2
    except ConfigError as error:
        stderr_log().error("failed to verify flags", error=str(error))
        return 1
    if settings.help:
        print(help_text(), end="")
        return 0
    if settings.config is None:
        print(_version_text(), end="")
        return 0
    return _run(settings.config, settings)


def _subcommand(name: str, arguments: Sequence[str]) -> int:
    from sampan.cli.command import run_command

    module, attribute = _SUBCOMMANDS[name]
    command = getattr(import_module(module), attribute)
    return run_command(command, f"sampan etcd {name}", arguments)


def _read_file(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")


def _version_text() -> str:
    import platform

    system, machine = platform.system().lower(), platform.machine()
    machine = _GO_NAMES.get(machine, machine)
    return (
        f"etcd Version: {SERVER_VERSION}\n"
        f"Sampan Version: {__version__}\n"
        f"Python Version: {platform.python_version()}\n"
        f"OS/Arch: {system}/{machine}\n"
    )


def _run(config: EtcdConfig, settings: Settings) -> int:
    from sampan.loop.runner import run

    try:
        with open_log(config) as log:
            for message, fields in settings.notes:
                log.warning(message, **fields)
            _arm_failpoints(log)
            return run(serve(config, log))
    except ConfigError as error:
        stderr_log().error("failed to verify flags", error=str(error))
        return 1


def _arm_failpoints(log: Logger) -> None:
    """Switch failpoints on if the environment asks for them; see sampan.store.shell.failpoints."""
    if not any(name.startswith("SAMPAN_FAILPOINTS") for name in os.environ):
        return
    from sampan.store.shell import failpoint_http
    from sampan.store.shell.failpoints import POINTS

    POINTS.arm(os.environ)
    address = failpoint_http.listen(os.environ)
    log.warning("failpoints are on: this server is here to fail", address=address)


async def serve(config: EtcdConfig, log: Logger) -> int:
    """Serve until SIGINT or SIGTERM and return the exit code."""
    from sampan.store.api.server import EtcdServer
    from sampan.store.shell.node import RemovedError

    ended: asyncio.Future[signal.Signals] = asyncio.get_running_loop().create_future()
    _listen_for_signals(ended)
    log.info(
        "starting an etcd server",
        name=config.name,
        **{
            "etcd-version": SERVER_VERSION,
            "sampan-version": __version__,
            "data-dir": "" if config.memory else config.directory,
            "memory": config.memory,
            "listen-client-urls": list(map(str, config.listen_client_urls)),
            "pid": os.getpid(),
        },
    )
    if config.unsafe_no_fsync and not config.memory:
        log.warning("--unsafe-no-fsync: what was acknowledged can be lost in a crash")
    try:
        server = await EtcdServer.start(config, log)
    except (SampanError, OSError) as error:
        log.fatal("failed to start etcd", error=str(error))
        return 1
    server.node.on_failure = lambda error: _fail(log, error, ended)
    try:
        received = await ended
        log.info("received signal; shutting down", signal=received.name)
    except RemovedError as error:
        log.error("the server ends", error=str(error))
    finally:
        await server.stop()
    log.info("closed etcd server", name=config.name)
    return 0


def _fail(log: Logger, error: Exception, ended: asyncio.Future[signal.Signals]) -> None:
    """End in order when the member was removed, which is no failure of its own; else at once."""
    from sampan.store.shell.node import RemovedError

    if not isinstance(error, RemovedError):
        _crash(log, error)
    elif not ended.done():
        ended.set_exception(error)


def _crash(log: Logger, error: Exception) -> None:
    """End the process at once: the next start replays the log, which is all that can be trusted."""
    log.fatal("etcd cannot go on", error=str(error))
    sys.stderr.flush()
    os._exit(_CRASHED)


def _listen_for_signals(ended: asyncio.Future[signal.Signals]) -> None:
    """Let the first SIGINT or SIGTERM end the server in order, and the second at once."""
    loop = asyncio.get_running_loop()

    def received(number: signal.Signals) -> None:
        if ended.done():
            os._exit(128 + number)
        ended.set_result(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, received, number)
