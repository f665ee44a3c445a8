"""RUN: a command in a container upon a root; what it has changed becomes a layer."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from sampan.base.errors import InvalidError, NotFoundError
from sampan.images.build.cache import Root
from sampan.images.build.cachemounts import CacheMounts
from sampan.images.build.copies import Trees
from sampan.images.build.execution import Bind, Execution, Executor
from sampan.images.build.filetree import FileTree
from sampan.images.build.hostfiles import HostFiles
from sampan.images.build.options import SolveOptions
from sampan.images.build.progress import Progress
from sampan.images.build.selection import Selection, content_digest
from sampan.images.core.build.failure import CommandError
from sampan.images.core.build.steps import RunStep, StepMount, inputs
from sampan.images.shell.store import ImageStore
from sampan.images.shell.thread import in_thread

__all__ = ["CommandRunner"]

_SECRET_MODE: Final = 0o400


class CommandRunner:
    """Runs the commands of one build."""

    def __init__(
        self,
        store: ImageStore,
        executor: Executor,
        options: SolveOptions,
        trees: Trees,
        progress: Progress,
    ) -> None:
        self._store = store
        self._executor = executor
        self._options = options
        self._trees = trees
        self._progress = progress
        self._cache_mounts = CacheMounts(store.spool.parent / "build" / "mounts", trees)

    async def digest(self, step: RunStep) -> str:
        """Return the digest of what a command sees of contexts: it is part of the result's key."""
        parts = []
        for mount in step.mounts:
            files = mount.type == "bind" or (mount.type == "cache" and mount.context)
            if files and mount.source is None:
                tree, context = self._trees.context(mount.context)
                at = tree.find(mount.path)
                whole = Selection(at.name, mount.path, at.is_directory, tree, context.ignore)
                parts.append(await in_thread(content_digest, [whole]))
        return ",".join(parts)

    async def run(self, step: RunStep, roots: Sequence[Root], name: str) -> Root:
        """Run a step's command; returns the root with what it has changed.

        Raises CommandError when it fails. Nothing of it stays then, nor when this is cancelled.
        """
        parent = roots[0]
        key = "build-" + secrets.token_hex(12)
        snapshots = self._store.snapshots
        sources = dict(zip([id(one) for one in inputs(step)], roots, strict=True))
        await in_thread(snapshots.prepare, key, parent.diff_ids)
        try:
            async with contextlib.AsyncExitStack() as stack:
                binds, env = [], []
                for mount in step.mounts:
                    bind = await stack.enter_async_context(self._bind(mount, key, sources))
                    if mount.env:
                        env.append(f"{mount.env}={self._secret(mount).decode()}")
                    elif bind is not None:
                        binds.append(bind)
                        if mount.type == "ssh":
                            env.append(f"SSH_AUTH_SOCK={mount.target}")
                if step.script is not None:
                    binds.append(stack.enter_context(self._script(step)))
                execution = self._execution(step, parent, key, binds, env)
                code = await self._executor.execute(
                    execution, lambda stream, data: self._progress.output(name, stream, data)
                )
            if code != 0:
                raise CommandError(" ".join(step.args), code)
            await in_thread(self._remove_stubs, key, parent, [one.target for one in binds])
            return await self._keep(key, parent)
        finally:
            await in_thread(snapshots.remove, key)

    def _execution(
        self,
        step: RunStep,
        parent: Root,
        key: str,
        binds: Sequence[Bind],
        env: Sequence[str],
    ) -> Execution:
        mounts = self._store.snapshots.mounts(key, parent.diff_ids)
        machine = HostFiles(self._store.spool) if parent.host else None
        given = {entry.partition("=")[0] for entry in step.env}
        proxies = [f"{k}={v}" for k, v in self._options.proxies.items() if k not in given]
        return Execution(
            key=key,
            root_mounts=mounts if machine is None else machine.below(mounts),
            args=step.args,
            env=[*step.env, *proxies, *env],
            cwd=step.cwd,
            user=step.user,
            platform=step.platform,
            binds=(*(machine.binds() if machine else ()), *binds),
            network=step.network if step.network != "default" else self._options.network,
            insecure=step.security == "insecure",
            hostname=step.hostname,
            extra_hosts=self._options.extra_hosts,
            limits=self._options.limits,
        )

    async def _keep(self, key: str, parent: Root) -> Root:
        blob = await in_thread(self._write_layer, key, parent)
        diff_ids, blobs = (*parent.diff_ids, blob), (*parent.blobs, blob)
        root = Root(diff_ids, blobs, parent.host, time.time())
        await in_thread(self._store.snapshots.adopt, key, parent.diff_ids, blob)
        await self._store.unpack(root.diff_ids, root.blobs)
        return root

    def _write_layer(self, key: str, parent: Root) -> str:
        with self._store.content.writer() as writer:
            self._store.snapshots.write_layer(key, parent.diff_ids, writer)
            return writer.commit()

    def _remove_stubs(self, key: str, parent: Root, targets: Sequence[str]) -> None:
        """Remove what was made in the root only to mount upon it."""
        own = self._store.snapshots.upper(key)
        below = self._trees.root(parent)
        for target in targets:
            parts = [part for part in target.split("/") if part]
            while parts:
                inside = "/".join(parts)
                if below.find(inside, follow=False).status is not None:
                    break
                path = FileTree([own]).find(inside, follow=False).real
                if not path:
                    break
                try:
                    os.rmdir(path) if os.path.isdir(path) else _remove_empty(path)
                except OSError:
                    break  # the command has put something there
                parts.pop()

    @contextlib.asynccontextmanager
    async def _bind(
        self, mount: StepMount, key: str, sources: Mapping[int, Root]
    ) -> AsyncIterator[Bind | None]:
        """Prepare what is mounted, and clear it away afterwards."""
        match mount.type:
            case "tmpfs":
                yield Bind(mount.target, size_bytes=mount.size_bytes)
            case "cache":
                async with self._cache_mounts.open(mount, sources) as path:
                    yield Bind(mount.target, str(path), mount.read_only)
            case "secret":
                with self._secret_file(mount) as path:
                    yield Bind(mount.target, str(path), True) if path else None
            case "ssh":
                agent = self._options.ssh.get(mount.id)
                if agent is None and mount.required:
                    raise NotFoundError(f"unset ssh forward key {mount.id}")
                yield Bind(mount.target, str(agent)) if agent else None
            case _:
                with self._files(mount, sources) as bind:
                    yield bind

    def _secret(self, mount: StepMount) -> bytes:
        found = self._options.secrets.get(mount.id)
        if found is None and mount.required:
            raise NotFoundError(f"secret {mount.id}: not found")
        return found or b""

    @contextlib.contextmanager
    def _secret_file(self, mount: StepMount) -> Iterator[Path | None]:
        if mount.id not in self._options.secrets:
            self._secret(mount)
            yield None
            return
        with self._scratch_file(
            self._secret(mount), _SECRET_MODE if mount.mode is None else mount.mode
        ) as path:
            os.chown(path, mount.uid or 0, mount.gid or 0)
            yield path

    @contextlib.contextmanager
    def _script(self, step: RunStep) -> Iterator[Bind]:
        with self._scratch_file((step.script or "").encode(), 0o755) as path:
            yield Bind(step.args[0], str(path), True)

    @contextlib.contextmanager
    def _scratch_file(self, data: bytes, mode: int) -> Iterator[Path]:
        self._options.scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._options.scratch / secrets.token_hex(12)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(data)
            path.chmod(mode)
            yield path
        finally:
            path.unlink()

    @contextlib.contextmanager
    def _files(self, mount: StepMount, sources: Mapping[int, Root]) -> Iterator[Bind]:
        """Mount files of a context or of another step; changes to them are forgotten."""
        if mount.source is not None:
            tree = self._trees.root(sources[id(mount.source)])
        else:
            tree, _ = self._trees.context(mount.context)
        found = tree.find(mount.path)
        if found.status is None:
            raise NotFoundError(f'failed to mount "/{mount.path.strip("/")}": not found')
        if not found.is_directory:
            yield Bind(mount.target, found.real, True)
            return
        folders = found.below().folders
        if mount.read_only and len(folders) == 1:
            yield Bind(mount.target, folders[0], True)
            return
        with self._overlay(folders, read_only=mount.read_only) as mounts:
            yield Bind(mount.target, mounts=mounts, read_only=mount.read_only)

    @contextlib.contextmanager
    def _overlay(
        self, folders: Sequence[str], *, read_only: bool
    ) -> Iterator[Sequence[Mapping[str, Any]]]:
        scratch = self._store.spool / f"bind-{secrets.token_hex(8)}"
        try:
            for name in ("lower", "upper", "work"):
                (scratch / name).mkdir(parents=True)
            (scratch / "upper").chmod(0o755)
            # One directory alone is no overlay without an upper one.
            lower = ":".join([*folders, str(scratch / "lower")])
            options = [f"lowerdir={lower}"]
            if read_only:
                options.append("ro")
            else:
                options += [f"upperdir={scratch / 'upper'}", f"workdir={scratch / 'work'}"]
            yield [{"type": "overlay", "source": "overlay", "options": options}]
        finally:
            shutil.rmtree(scratch)


def _remove_empty(path: str) -> None:
    if os.lstat(path).st_size:
        raise InvalidError(f"{path} is not empty")
    os.unlink(path)
