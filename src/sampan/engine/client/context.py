"""A directory as the context of a build: a tar of what its ignore file leaves."""

from __future__ import annotations

import io
import os
import stat
import tarfile

from sampan.dockerfile.ignore import IgnoreRules, parse_ignore
from sampan.engine.client.packing import Packed

__all__ = ["add_text", "directory_context", "ignore_rules"]


def directory_context(root: str, name: str, extra: bytes | None = None) -> Packed:
    """Return the context below `root` for the Dockerfile `name`, a path in it.

    `extra` is the text of a Dockerfile that does not stand in the directory.
    """
    rules = ignore_rules(root, name)
    kept = {".dockerignore", name}

    def pack(archive: tarfile.TarFile) -> None:
        _add_tree(archive, root, rules, kept)
        if extra is not None:
            add_text(archive, name, extra)

    return Packed(pack)


def ignore_rules(root: str, name: str) -> IgnoreRules:
    """Return the rules of the Dockerfile's own ignore file, or of the context's."""
    for candidate in (f"{name}.dockerignore", ".dockerignore"):
        try:
            with open(os.path.join(root, candidate), encoding="utf-8") as file:
                return parse_ignore(file.read())
        except FileNotFoundError:
            continue
    return parse_ignore("")


def _add_tree(archive: tarfile.TarFile, root: str, rules: IgnoreRules, kept: set[str]) -> None:
    """Add what the rules leave, the Dockerfile and the rules themselves in any case."""
    for folder, directories, files in os.walk(root):
        inside = os.path.relpath(folder, root)
        prefix = "" if inside == "." else f"{inside}/"
        links = [name for name in directories if os.path.islink(os.path.join(folder, name))]
        for name in sorted((*files, *links, *directories)):
            path = prefix + name
            if path in kept or not rules.ignored(path):
                _add_file(archive, os.path.join(folder, name), path)
        directories[:] = sorted(
            name
            for name in directories
            if not rules.skipped(prefix + name)
            or any(one.startswith(f"{prefix}{name}/") for one in kept)
        )


def _add_file(archive: tarfile.TarFile, path: str, name: str) -> None:
    mode = os.lstat(path).st_mode
    if stat.S_ISSOCK(mode):
        return
    # Who owns the files here says nothing about the image: there they are root's.
    archive.add(path, name, recursive=False, filter=_owned_by_root)


def _owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def add_text(archive: tarfile.TarFile, name: str, text: bytes) -> None:
    """Add a file with that text, for its owner."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(text), 0o600
    archive.addfile(member, io.BytesIO(text))
