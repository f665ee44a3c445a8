"""`sampan registry`: an OCI distribution registry on a directory."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import signal
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from sampan.base.errors import InvalidError, SampanError
from sampan.cli.command import run_command
from sampan.images.core.hosting.access import parse_rules
from sampan.images.hosting.gate import Gate
from sampan.images.hosting.identity import Identities, Tokens, read_users
from sampan.images.hosting.repositories import Repositories
from sampan.images.hosting.service import RegistryService
from sampan.images.shell.content import ContentStore
from sampan.loop.rest import RestServer
from sampan.loop.runner import run
from sampan.loop.tls import server_context

__all__ = ["main"]

_LOG = logging.getLogger(__name__)
_COLLECT_S: Final = 3600.0
_file = click.Path(path_type=Path, dir_okay=False, exists=True)


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code: 1 when the work failed, 2 for bad usage."""
    return run_command(_registry, "registry", arguments)


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    default=Path("registry"),
    show_default=True,
    help="The directory with everything.",
)
@click.option("--listen", default="127.0.0.1:5000", show_default=True, help="HOST:PORT; 0 is any.")
@click.option("--tls-cert", type=_file, help="Certificate chain; serve HTTPS.")
@click.option("--tls-key", type=_file, help="Key of the certificate.")
@click.option(
    "--auth",
    type=click.Choice(["none", "basic", "token"]),
    default=None,
    help="How clients prove who they are.  [default: basic with --htpasswd, else none]",
)
@click.option("--htpasswd", type=_file, help="Users with bcrypt hashes: htpasswd -B.")
@click.option("--permissions", type=_file, help="TOML with [[rule]]: users, repositories, actions.")
@click.option(
    "--service", default="sampan-registry", show_default=True, help="What tokens are made out to."
)
@click.pass_context
def _registry(
    context: click.Context,
    root: Path,
    listen: str,
    tls_cert: Path | None,
    tls_key: Path | None,
    auth: str | None,
    htpasswd: Path | None,
    permissions: Path | None,
    service: str,
) -> None:
    """Serve images to docker, skopeo, containerd and others."""
    if context.invoked_subcommand is not None:
        context.obj = root
        return
    if bool(tls_cert) != bool(tls_key):
        raise InvalidError("--tls-cert and --tls-key belong together")
    auth = auth or ("basic" if htpasswd else "none")
    if auth != "none" and htpasswd is None:
        raise InvalidError(f"--auth {auth} needs the users: --htpasswd FILE")
    if auth == "none" and (htpasswd or permissions):
        raise InvalidError("--auth none and users or permissions contradict each other")
    host, port = _address(listen)
    if auth == "none" and not _is_loopback(host):
        click.echo(f"warning: anybody who reaches {listen} can push and delete", err=True)
    identities = _identities(htpasswd, permissions)
    gate = Gate(identities, Tokens(service) if auth == "token" else None)
    tls = server_context(tls_cert, tls_key) if tls_cert and tls_key else None
    repositories = _open(root)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)

    async def serve() -> None:
        server = RestServer(RegistryService(repositories, gate))
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        bound = await server.listen(host, port, tls)
        scheme = "https" if tls else "http"
        _LOG.info("registry listens on %s://%s:%d", scheme, host or "0.0.0.0", bound)
        collecting = asyncio.ensure_future(_collect_now_and_then(repositories))
        await stop.wait()
        collecting.cancel()
        await server.close(grace_s=5)

    run(serve())


@_registry.command()
@click.pass_obj
def collect(root: Path) -> None:
    """Remove blobs that no manifest names; those pushed within the last hour stay."""
    freed = _open(root).collect()
    click.echo(f"freed {freed} bytes")


async def _collect_now_and_then(repositories: Repositories) -> None:
    while True:
        await asyncio.sleep(_COLLECT_S)
        try:
            freed = await asyncio.to_thread(repositories.collect)
        except (SampanError, OSError) as error:
            _LOG.warning("collecting failed: %s", error)
        else:
            _LOG.info("collected %d bytes", freed)


def _open(root: Path) -> Repositories:
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Repositories(root, ContentStore(root))


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65_535:
        raise InvalidError(f"--listen {text}: HOST:PORT is required")
    return host.strip("[]"), int(port)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _identities(htpasswd: Path | None, permissions: Path | None) -> Identities | None:
    if htpasswd is None:
        return None
    rules = None
    if permissions is not None:
        try:
            rules = parse_rules(tomllib.loads(permissions.read_text()))
        except tomllib.TOMLDecodeError as error:
            raise InvalidError(f"{permissions}: {error}") from None
    return Identities(read_users(htpasswd), rules)
