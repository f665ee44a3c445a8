"""COPY, ADD and WORKDIR: new layers made of files, without running anything."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from sampan.base.errors import InvalidError, NotFoundError
from sampan.base.passwd import resolve
from sampan.images.build.cache import Root
from sampan.images.build.copylayer import CopyLayer, Placement
from sampan.images.build.download import Downloaded, download
from sampan.images.build.filetree import FileTree
from sampan.images.build.options import BuildContext, SolveOptions
from sampan.images.build.repositories import Fetched, fetch_repository, find_commit
from sampan.images.build.selection import Selection, choose, content_digest
from sampan.images.build.unpacking import unpack_into
from sampan.images.core.build.filemode import parse_mode
from sampan.images.core.build.repository import shown_url
from sampan.images.core.build.steps import (
    ContextFiles,
    CopyStep,
    FileSource,
    GitFiles,
    InlineFile,
    MakeDirectory,
    StepFiles,
    Url,
)
from sampan.images.core.image import chain_ids
from sampan.images.shell import nodes
from sampan.images.shell.store import ImageStore
from sampan.images.shell.thread import in_thread

__all__ = ["Copier", "Trees"]

_PASSWD_BYTES: Final = 4 << 20


class Trees:
    """The files of contexts and roots."""

    def __init__(self, store: ImageStore, contexts: Mapping[str, BuildContext]) -> None:
        self._store = store
        self.contexts = contexts

    def context(self, name: str) -> tuple[FileTree, BuildContext]:
        """Return the files of a context; NotFoundError when there is none of that name."""
        found = self.contexts.get(name)
        if found is None:
            what = f"build context {name!r}" if name else "a build context"
            raise NotFoundError(f"{what} is needed, and there is none")
        return FileTree([found.directory]), found

    def root(self, root: Root) -> FileTree:
        """Return the files of a root."""
        layers = [*self._store.snapshots.files(root.diff_ids)] if root.diff_ids else []
        return FileTree([*layers, Path("/")] if root.host else layers)


class Copier:
    """Makes the layers of copies."""

    def __init__(self, store: ImageStore, options: SolveOptions) -> None:
        self._store = store
        self.trees = Trees(store, options.contexts)
        self._epoch_s = options.epoch_s
        self._access = options.access
        self._downloads: dict[Url, Downloaded] = {}
        self._commits: dict[GitFiles, str] = {}
        self._checkouts: dict[GitFiles, Fetched] = {}

    async def close(self) -> None:
        """Remove what was fetched."""
        for file in self._downloads.values():
            file.path.unlink(missing_ok=True)
        for one in self._checkouts.values():
            await in_thread(nodes.remove_path, one.directory)

    def has(self, root: Root) -> bool:
        """Tell whether the layers of a root, of the cache, are still here."""
        chains = chain_ids(root.diff_ids)
        return all(
            self._store.snapshots.layer_path(chain).exists() and self._store.content.has(blob)
            for chain, blob in zip(chains, root.blobs, strict=True)
        ) or (len(chains) == 1 and self._store.content.has(root.blobs[0]))

    async def digest(self, step: CopyStep, roots: Sequence[Root]) -> str:
        """Return the digest of all that a step would copy."""
        parts = []
        others = iter(roots)
        for source in step.sources:
            if isinstance(source, Url):
                parts.append(source.checksum or (await self._downloaded(source)).digest)
            elif isinstance(source, GitFiles):
                parts.append(await self._commit(source))
            elif isinstance(source, InlineFile):
                parts.append(hashlib.sha256(source.content.encode()).hexdigest())
            else:
                root = next(others) if isinstance(source, StepFiles) else None
                parts.append(await in_thread(self._digest, step, source, root))
        return ",".join(parts)

    def _digest(self, step: CopyStep, source: FileSource, root: Root | None) -> str:
        return content_digest(self._selections(step, source, root))

    def _selections(self, step: CopyStep, source: FileSource, root: Root | None) -> list[Selection]:
        if isinstance(source, ContextFiles):
            tree, context = self.trees.context(source.context)
            return choose(tree, source.patterns, context.ignore, step.excludes)
        if isinstance(source, StepFiles) and root is not None:
            return choose(self.trees.root(root), source.patterns, None, step.excludes)
        if isinstance(source, GitFiles):
            files = FileTree([self._checkouts[source].files])
            return choose(files, ["."], None, step.excludes)
        raise InvalidError("a source without files")

    async def _downloaded(self, url: Url) -> Downloaded:
        found = self._downloads.get(url)
        if found is None:
            found = await download(url.url, url.checksum, self._store.spool)
            self._downloads[url] = found
        if not found.name and not url.unpack:
            raise InvalidError(f"cannot determine a file name from {shown_url(url.url)}")
        return found

    async def _commit(self, source: GitFiles) -> str:
        """Return what a repository's address means, the same for the whole build."""
        found = self._commits.get(source)
        if found is None:
            found = await find_commit(source.repository, self._access)
            self._commits[source] = found
        return found

    async def _check_out(self, source: GitFiles) -> None:
        if source not in self._checkouts:
            self._checkouts[source] = await fetch_repository(
                source.repository,
                await self._commit(source),
                self._store.spool,
                self._access,
                keep_git_dir=source.keep_git_dir,
            )

    async def copy(self, step: CopyStep, roots: Sequence[Root]) -> Root:
        """Make the layer of a step upon its parent's root; returns the root with it."""
        files = {one: await self._downloaded(one) for one in step.sources if isinstance(one, Url)}
        for one in step.sources:
            if isinstance(one, GitFiles):
                await self._check_out(one)
        blob = await in_thread(self._write_copy, step, roots, files)
        return await self._with_layer(roots[0], blob)

    def _write_copy(
        self, step: CopyStep, roots: Sequence[Root], files: Mapping[Url, Downloaded]
    ) -> str:
        base = FileTree([]) if step.link else self.trees.root(roots[0])
        owner = _owner(step.chown, self.trees.root(roots[0])) if step.chown else None
        mode = parse_mode(step.chmod) if step.chmod else None
        now_ns, latest_ns = self._times()
        place = Placement(step.target, owner, mode, step.parents, now_ns, latest_ns)
        others = iter(roots[1:])
        with self._store.content.writer() as writer:
            layer = CopyLayer(base, writer, place)
            for source in step.sources:
                root = next(others) if isinstance(source, StepFiles) else None
                self._write_source(layer, step, source, root, files)
            layer.end()
            return writer.commit()

    def _write_source(
        self,
        layer: CopyLayer,
        step: CopyStep,
        source: FileSource,
        root: Root | None,
        files: Mapping[Url, Downloaded],
    ) -> None:
        if isinstance(source, InlineFile):
            layer.text(source.name, source.content.encode())
            return
        if isinstance(source, Url):
            found = files[source]
            if source.unpack:
                unpack_into(layer, found.path)
            else:
                layer.file(found.name, found.path, 0o600, found.mtime_ns)
            return
        for selection in self._selections(step, source, root):
            real = selection.tree.find(selection.path).real if not selection.directory else ""
            if step.unpack and real and unpack_into(layer, Path(real)):
                continue
            layer.selection(selection, keep_owner=root is not None)

    def owner(self, step: CopyStep, parent: Root) -> str:
        """Return who will own the files, by number where a name is looked up in the parent."""
        if not step.chown:
            return ""
        uid, gid = _owner(step.chown, self.trees.root(parent))
        return f"{uid}:{gid}"

    def _times(self) -> tuple[int, int | None]:
        if self._epoch_s is not None:
            return self._epoch_s * 1_000_000_000, self._epoch_s * 1_000_000_000
        return time.time_ns(), None

    async def _with_layer(self, parent: Root, blob: str) -> Root:
        root = self.on_top(parent, Root((blob,), (blob,), made_s=time.time()))
        await self._store.unpack(root.diff_ids, root.blobs)
        return root

    def on_top(self, parent: Root, layer: Root) -> Root:
        """Return a root with one layer more, as its blob has it."""
        diff_ids = (*parent.diff_ids, *layer.diff_ids)
        made_s = max(parent.made_s, layer.made_s)
        return Root(diff_ids, (*parent.blobs, *layer.blobs), parent.host, made_s)

    async def make_directory(self, step: MakeDirectory, parent: Root) -> Root:
        """Make the layer of a working directory: an empty one where it is there already."""
        blob = await in_thread(self._write_directory, step, parent)
        return await self._with_layer(parent, blob)

    def _write_directory(self, step: MakeDirectory, parent: Root) -> str:
        tree = self.trees.root(parent)
        owner = _owner(step.user, tree) if step.user else None
        now_ns, latest_ns = self._times()
        place = Placement(step.path, owner, now_ns=now_ns, latest_ns=latest_ns)
        with self._store.content.writer() as writer:
            layer = CopyLayer(tree, writer, place)
            layer.directory(step.path)
            layer.end()
            return writer.commit()


def _owner(text: str, root: FileTree) -> tuple[int, int]:
    """Return the numbers of `user[:group]` by a root's own files; a lone number is both."""
    user, colon, group = text.partition(":")
    if user.isdigit() and not colon:
        return int(user), int(user)
    if user.isdigit() and group.isdigit():
        return int(user), int(group)
    found = resolve(
        text, (), root.read("etc/passwd", _PASSWD_BYTES), root.read("etc/group", _PASSWD_BYTES)
    )
    return found.uid, found.gid
