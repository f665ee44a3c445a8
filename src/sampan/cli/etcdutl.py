"""`sampan etcdutl`: looks after the files of a store while no server uses them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from sampan import __version__
from sampan.base.errors import SampanError
from sampan.cli.command import run_command
from sampan.store.core.version import SERVER_VERSION
from sampan.wire.grpc.status import RpcError

__all__ = ["main", "restore"]

_SIZES = ("B", "kB", "MB", "GB", "TB")


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code: 1 when the work failed, 2 for bad usage."""
    split: list[str] = []
    for word in arguments:
        # Go's flag library also takes a short flag's value after an equals sign.
        split += [word[:2], word[3:]] if word.startswith("-w=") else [word]
    return run_command(_etcdutl, "etcdutl", split)


_file = click.Path(path_type=Path)
_writer = click.option(
    "-w",
    "--write-out",
    default="simple",
    show_default=True,
    type=click.Choice(["simple", "json", "table"]),
    help="Form of the output.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def _etcdutl() -> None:
    """Look after the files of a store while no server uses them."""


@_etcdutl.command()
def version() -> None:
    """Print the version."""
    print(f"etcdutl version: {SERVER_VERSION}\nAPI version: 3.6\nSampan version: {__version__}")


@_etcdutl.command()
@click.option("--data-dir", required=True, type=_file, help="The data directory.")
def defrag(data_dir: Path) -> None:
    """Rewrite the backend without free space."""
    from sampan.store.shell.offline import defragment

    began_s = time.perf_counter()
    before, after = defragment(data_dir)
    took_ms = (time.perf_counter() - began_s) * 1000
    print(f"defragmented {data_dir}: {_size(before)} -> {_size(after)} in {took_ms:.0f} ms")


@_etcdutl.command()
@click.argument("path", type=_file)
@click.option("--rev", default=0, help="Hash up to this revision; 0 for all.")
@_writer
def hashkv(path: Path, rev: int, write_out: str) -> None:
    """Hash the keys in a snapshot file or a data directory."""
    from sampan.store.shell.offline import hash_key_space

    try:
        found = hash_key_space(path, rev)
    except RpcError as error:
        raise SampanError(error.message) from None
    _print(
        write_out,
        [str(found.hash), str(found.revision), str(found.compact_revision)],
        ["HASH", "HASH REVISION", "COMPACT REVISION"],
        {
            "hash": found.hash,
            "hashRevision": found.revision,
            "compactRevision": found.compact_revision,
        },
    )


@_etcdutl.group()
def snapshot() -> None:
    """Look at snapshots and make data directories of them."""


@snapshot.command()
@click.argument("path", metavar="FILE", type=_file)
@_writer
def status(path: Path, write_out: str) -> None:
    """Tell what is in a snapshot file."""
    from sampan.store.shell.snapshot import status as describe

    found = describe(path)
    _print(
        write_out,
        [
            f"{found.hash:x}",
            str(found.revision),
            str(found.total_key),
            _size(found.total_size_bytes),
        ],
        ["HASH", "REVISION", "TOTAL KEYS", "TOTAL SIZE"],
        {
            "hash": found.hash,
            "revision": found.revision,
            "totalKey": found.total_key,
            "totalSize": found.total_size_bytes,
        },
    )


@click.command()
@click.argument("path", metavar="FILE", type=_file)
@click.option("--data-dir", type=_file, help="The new directory; <name>.etcd without it.")
@click.option("--name", default="default", show_default=True, help="Name of the member.")
@click.option("--initial-cluster", default="", help="name=URL of every member.")
@click.option("--initial-cluster-token", default="etcd-cluster", show_default=True)
@click.option("--initial-advertise-peer-urls", default="http://localhost:2380", show_default=True)
@click.option("--skip-hash-check", is_flag=True, help="The file is a copied database file.")
@click.option("--wal-dir", type=_file, help="The log's directory; in --data-dir without it.")
@click.option("--bump-revision", type=click.IntRange(0), default=0, help="Skip so many revisions.")
@click.option(
    "--mark-compacted", is_flag=True, help="Count all before as compacted: with --bump-revision."
)
def restore(
    path: Path,
    data_dir: Path | None,
    skip_hash_check: bool,
    wal_dir: Path | None,
    bump_revision: int,
    mark_compacted: bool,
    **cluster: Any,
) -> None:
    """Make a new data directory of a snapshot, this server's or etcd's."""
    from sampan.cli.etcd_config import load
    from sampan.store.shell.bootstrap import founders_of
    from sampan.store.shell.datadir import Membership
    from sampan.store.shell.restore import Restoration
    from sampan.store.shell.restore import restore as make_directory

    if bool(bump_revision) != mark_compacted:
        raise click.UsageError("--bump-revision and --mark-compacted go together")
    # The server's own checks of the names and URLs.
    arguments = [f"--{name.replace('_', '-')}={text}" for name, text in cluster.items()]
    config = load(arguments, {}, str).config
    if config is None:
        return
    cluster_id, founders = founders_of(config)
    member_id = next(member.id for member in founders if member.name == config.name)
    membership = Membership(config.name, cluster_id, member_id, config.initial_cluster_token)
    target = data_dir or Path(config.directory)
    wanted = Restoration(
        target, membership, founders, wal_dir, bump_revision, skip_hash_check=skip_hash_check
    )
    found = make_directory(path, wanted)
    print(
        f"restored {found.total_key} pairs up to revision {found.revision} into {target}\n"
        f"start the server with --name {config.name} --data-dir {target}"
    )


snapshot.add_command(restore)


@_etcdutl.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def migrate(arguments: tuple[str, ...]) -> None:
    """Change the storage version: not supported yet."""
    raise click.ClickException("migrate is not supported yet")


def _print(
    form: str, row: Sequence[str], titles: Sequence[str], value: Mapping[str, object]
) -> None:
    if form == "json":
        print(json.dumps(value, separators=(",", ":")))
        return
    if form == "simple":
        print(", ".join(row))
        return
    widths = [max(len(title), len(cell)) for title, cell in zip(titles, row, strict=True)]
    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+"
    for line in (titles, row):
        cells = (f" {cell:>{width}} " for cell, width in zip(line, widths, strict=True))
        print(f"{rule}\n|{'|'.join(cells)}|")
    print(rule)


def _size(size_bytes: int) -> str:
    """Return a size with two digits and a decimal unit, as etcdutl does: `25 kB`, `2.1 MB`."""
    value = float(size_bytes)
    for unit in _SIZES:
        if value < 1000 or unit == _SIZES[-1]:
            break
        value /= 1000
    return f"{value:.1f} {unit}" if unit != "B" and value < 10 else f"{value:.0f} {unit}"
