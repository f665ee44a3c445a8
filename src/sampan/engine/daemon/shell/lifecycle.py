"""A container's life: started, stopped, paused, restarted, waited for."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from sampan.base.errors import ConflictError, InvalidError, SampanError, reason_of
from sampan.base.moment import instant
from sampan.engine.daemon.core.logdriver import log_destination
from sampan.engine.daemon.core.options import EngineOptions
from sampan.engine.daemon.core.record import ContainerRecord
from sampan.engine.daemon.core.refusals import start_refusal
from sampan.engine.daemon.core.signals import signal_number
from sampan.engine.daemon.core.subordinate import IdMaps, maps_of_document
from sampan.engine.daemon.core.translate import Surroundings, specification
from sampan.engine.daemon.shell.container import Container
from sampan.engine.daemon.shell.devices import block_numbers
from sampan.engine.daemon.shell.machine import kernel_version
from sampan.engine.daemon.shell.volumemounts import VolumeMounts
from sampan.engine.process.shim import ExitRecord, ShimHandle
from sampan.engine.process.zygote import ContainerLaunch, Zygote
from sampan.engine.runtime.shell.cgroups import Cgroups, layout
from sampan.engine.runtime.shell.launch import LaunchError
from sampan.images.shell.store import ImageStore

__all__ = ["Health", "Host", "Lifecycle", "StartError", "cgroup_path", "now_text"]

_STOP_TIMEOUT_S: Final = 10
_RESTART_FIRST_S: Final = 0.1
_RESTART_MOST_S: Final = 60.0
_RESTART_FORGIVEN_S: Final = 10.0


class Networking(Protocol):
    """Gives a container its network and takes it back."""

    async def attach(self, container: Container) -> Mapping[str, Any]:
        """Return `netns`, a path or None, and `files`, destination to source."""
        ...

    async def detach(self, container: Container) -> None:
        """Take everything back; no harm without an attachment."""
        ...


class Health(Protocol):
    """Looks after a running container's health."""

    def begin(self, container: Container) -> None:
        """The container runs."""
        ...

    def end(self, container: Container) -> None:
        """It runs no more."""
        ...


class Host(Protocol):
    """What a container's life needs of the engine."""

    images: ImageStore
    zygote: Zygote
    architecture: str
    options: EngineOptions
    id_maps: IdMaps | None
    volume_mounts: VolumeMounts
    seccomp_profile: Mapping[str, Any] | str

    @property
    def networking(self) -> Networking:
        """Networks."""
        ...

    @property
    def health(self) -> Health:
        """Health checks."""
        ...

    def publish(
        self, container: Container, action: str, more: Mapping[str, str] | None = None
    ) -> None:
        """Tell listeners what happened to a container."""
        ...

    def shared_namespaces(self, record: ContainerRecord) -> Mapping[str, str]:
        """Return namespaces of other containers that this one joins: type to path."""
        ...

    def devices_of(self, record: ContainerRecord) -> Sequence[Mapping[str, Any]]:
        """Return the host's devices that the container gets."""
        ...

    async def remove_ended(self, container: Container) -> None:
        """Remove a container that was to go with its end."""
        ...


class StartError(SampanError):
    """A container that could not be started; the message is Docker's."""


@dataclass(frozen=True, slots=True)
class _Policy:
    name: str
    retries: int


def now_text() -> str:
    """Return the time as records keep it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


class Lifecycle:
    """What happens to containers between creation and removal."""

    def __init__(self, engine: Host) -> None:
        self._engine = engine
        self.closing = False

    async def start(self, container: Container) -> bool:
        """Start a container; False when it runs already. Raises StartError and kinds as Docker."""
        async with container.lock:
            state = container.record.state
            if state.status == "paused":
                raise ConflictError("cannot start a paused container, try unpause instead")
            if state.running:
                return False
            if state.status in ("removing", "dead"):
                raise ConflictError("container is marked for removal and cannot be started")
            self._cancel_restart(container)
            state.stopped_by_hand = False
            container.restarts_in_row = 0
            await self._start(container)
            return True

    async def _start(self, container: Container) -> None:
        engine, record = self._engine, container.record
        try:
            sandbox = await engine.networking.attach(container)
            with engine.volume_mounts.ready(container) as sources:
                launch = self._launch(container, sandbox, sources)
                container.shim = await engine.zygote.launch(launch)
        except (SampanError, OSError) as error:
            await self._start_failed(container, error)
        clients, container.waiting_clients = container.waiting_clients, []
        del clients
        shim = container.shim
        assert shim is not None
        state = record.state
        state.status, state.pid, state.error = "running", shim.pid, ""
        state.exit_code, state.oom_killed = 0, False
        state.started_at = shim.started_at or now_text()
        container.save_soon()
        engine.publish(container, "start")
        self._watch(container, shim)
        engine.health.begin(container)

    async def _start_failed(self, container: Container, error: Exception) -> None:
        """Record why, give everything back, and tell the client in Docker's words."""
        engine, state = self._engine, container.record.state
        for sock, _ in container.waiting_clients:
            sock.close()
        container.waiting_clients.clear()
        await engine.networking.detach(container)
        engine.volume_mounts.release(container)
        message = reason_of(error)
        state.exit_code = 128
        if isinstance(error, LaunchError):
            state.exit_code = error.exit_code
            message = start_refusal(str(error))
        state.error = message
        container.save_soon()
        self._wake(container, state.exit_code)
        engine.publish(container, "die", {"exitCode": str(state.exit_code)})
        if container.record.host_config["AutoRemove"]:
            asyncio.ensure_future(engine.remove_ended(container))  # noqa: RUF006
        raise StartError(message) from error

    def _launch(
        self, container: Container, sandbox: Mapping[str, Any], sources: Mapping[str, str]
    ) -> ContainerLaunch:
        engine, record = self._engine, container.record
        root = container.run_directory / "rootfs"
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("exit.json", "shim.sock"):
            (container.run_directory / name).unlink(missing_ok=True)
        around = Surroundings(
            root_path=str(root),
            cgroup_path=cgroup_path(container),
            architecture=engine.architecture,
            netns_path=sandbox.get("netns"),
            files=sandbox.get("files") or {},
            shared=engine.shared_namespaces(record),
            sources=sources,
            host_devices=engine.devices_of(record),
            block_devices=block_numbers(record.host_config),
            id_maps=maps_of_document(record.cri.get("id_maps")) or engine.id_maps,
            rootless=engine.options.rootless,
            kernel=kernel_version(),
            defaults=engine.options.containers,
            seccomp_profile=engine.seccomp_profile,
        )
        return ContainerLaunch(
            id=record.id,
            directory=container.run_directory,
            spec=specification(record, around),
            root_mounts=engine.images.snapshots.mounts(record.id, record.diff_ids),
            log=log_destination(record, str(container.log_path)),
            stdin=record.config["OpenStdin"],
            stdin_once=record.config["StdinOnce"],
            attachments=tuple(container.waiting_clients),
        )

    def _watch(self, container: Container, shim: ShimHandle) -> None:
        told = container.record.state.oom_killed
        shim.watch_memory(lambda: self._short_of_memory(container), told=told)
        container.watcher = asyncio.ensure_future(self._until_end(container, shim))

    def _short_of_memory(self, container: Container) -> None:
        """A process has been killed for want of memory; the container may go on without it."""
        if not container.record.state.oom_killed:
            container.record.state.oom_killed = True
            container.save_soon()
        self._engine.publish(container, "oom")

    def resume(self, container: Container, shim: ShimHandle) -> None:
        """Look after a container that has outlived an earlier engine."""
        container.shim = shim
        state = container.record.state
        state.pid, state.started_at = shim.pid, shim.started_at or state.started_at
        self._watch(container, shim)
        self._engine.health.begin(container)

    async def _until_end(self, container: Container, shim: ShimHandle) -> None:
        ended = await shim.exited
        if not ended.finished_at:  # the shim was killed: nobody else ends its container
            await asyncio.to_thread(end_without_shim, container, shim.pid)
        await shim.dismiss()
        async with container.lock:
            await self.ended(container, ended)

    async def ended(self, container: Container, record: ExitRecord) -> None:
        """Record that a container has ended, and do what its policy says."""
        engine, state = self._engine, container.record.state
        container.shim = None
        engine.health.end(container)
        for session in container.execs.values():
            if session.running:
                session.running, session.exit_code = False, 137
        state.status, state.pid = "exited", 0
        state.exit_code, told = record.exit_code, state.oom_killed
        state.oom_killed = told or record.oom_killed
        state.finished_at = record.finished_at or now_text()
        await engine.networking.detach(container)
        engine.volume_mounts.release(container)
        if record.oom_killed and not told:
            engine.publish(container, "oom")
        lived = max(0.0, instant(state.finished_at) - instant(state.started_at))
        attributes = {"exitCode": str(record.exit_code), "execDuration": str(int(lived))}
        engine.publish(container, "die", attributes)
        again = self._restart_after(container, lived)
        if again is not None:
            state.status = "restarting"
        container.save_soon()
        self._wake(container, record.exit_code)
        if again is not None:
            container.restart = asyncio.ensure_future(self._restart_later(container, again))
        elif container.record.host_config["AutoRemove"] and not self.closing:
            asyncio.ensure_future(engine.remove_ended(container))  # noqa: RUF006

    def _wake(self, container: Container, exit_code: int) -> None:
        for waiter in container.ended:
            if not waiter.done():
                waiter.set_result(exit_code)
        container.ended.clear()

    def _restart_after(self, container: Container, lived_s: float) -> float | None:
        """Return the seconds until the next start, None when there is none."""
        state, found = container.record.state, container.record.host_config["RestartPolicy"]
        policy = _Policy(found["Name"], found.get("MaximumRetryCount") or 0)
        if self.closing or state.stopped_by_hand or policy.name == "no":
            return None
        if policy.name == "on-failure":
            if state.exit_code == 0:
                return None
            if policy.retries and container.record.restart_count >= policy.retries:
                return None
        if lived_s >= _RESTART_FORGIVEN_S:
            container.restarts_in_row = 0
        delay = min(_RESTART_FIRST_S * 2**container.restarts_in_row, _RESTART_MOST_S)
        container.restarts_in_row += 1
        return float(delay)

    async def _restart_later(self, container: Container, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        async with container.lock:
            container.restart = None
            container.record.restart_count += 1
            try:
                await self._start(container)
            except StartError:
                container.record.state.status = "exited"
                container.save_soon()

    def _cancel_restart(self, container: Container) -> None:
        if container.restart is not None:
            container.restart.cancel()
            container.restart = None
            container.record.state.status = "exited"

    async def stop(
        self,
        container: Container,
        signal_text: str,
        timeout_s: int | None,
        *,
        removed: bool = False,
    ) -> bool:
        """Ask a container to end, and kill it when it takes too long; False when it had ended.

        One that is `removed` is not told of as stopped.
        """
        record = container.record
        async with container.lock:
            record.state.stopped_by_hand = True
            self._cancel_restart(container)
            shim = container.shim
            if shim is None or not record.state.running:
                container.save_soon()
                return False
        config = record.config
        number = signal_number(signal_text or config["StopSignal"], signal.SIGTERM)
        given = config["StopTimeout"] if timeout_s is None else timeout_s
        wait_s = _STOP_TIMEOUT_S if given is None else given
        if record.state.status == "paused":
            await self.unpause(container)
        await self._signal(container, shim, number)
        if not await self._gone(container, None if wait_s < 0 else float(wait_s)):
            await self._signal(container, shim, signal.SIGKILL)
            await self._gone(container, None)
        if not removed:
            self._engine.publish(container, "stop")
        return True

    async def _signal(self, container: Container, shim: ShimHandle, number: int) -> None:
        try:
            await shim.kill(number)
        except SampanError:
            return  # it has ended in between
        self._engine.publish(container, "kill", {"signal": str(int(number))})

    async def _gone(self, container: Container, timeout_s: float | None) -> bool:
        watcher = container.watcher
        if watcher is None:
            return True
        done, _ = await asyncio.wait({watcher}, timeout=timeout_s)
        return bool(done)

    async def restart(self, container: Container, signal_text: str, timeout_s: int | None) -> None:
        """Stop a container if it runs, and start it."""
        await self.stop(container, signal_text, timeout_s)
        await self.start(container)
        self._engine.publish(container, "restart")

    async def kill(self, container: Container, signal_text: str) -> None:
        """Send a signal; ConflictError when the container does not run."""
        number = signal_number(signal_text)
        async with container.lock:
            if container.restart is not None:
                # There is nobody to signal; what was meant is that it stays ended.
                container.record.state.stopped_by_hand = True
                self._cancel_restart(container)
                container.save_soon()
                return
        shim = container.shim
        if shim is None:
            raise ConflictError(
                f"cannot kill container: {container.record.name}: container {container.id} "
                "is not running"
            )
        stops = signal_number(container.record.config["StopSignal"], signal.SIGTERM)
        if number in (signal.SIGKILL, stops):
            container.record.state.stopped_by_hand = True
        own = container.record.config["StopSignal"]
        wakes = not own or number in (signal.SIGKILL, stops)
        if container.record.state.status == "paused" and wakes:
            await self.unpause(container)
        await self._signal(container, shim, number)
        if number == signal.SIGKILL:
            await self._gone(container, 10)

    async def pause(self, container: Container) -> None:
        """Freeze all of a container's processes."""
        async with container.lock:
            state = container.record.state
            if state.status == "paused":
                raise ConflictError(f"Container {container.id} is already paused")
            if state.status == "restarting":
                raise ConflictError(
                    f"Container {container.id} is restarting, wait until the container is running"
                )
            if not state.running:
                raise ConflictError(f"Container {container.id} is not running")
            await asyncio.to_thread(Cgroups(cgroup_path(container)).freeze, True)
            state.status, state.paused = "paused", True
            container.save_soon()
        self._engine.publish(container, "pause")

    async def unpause(self, container: Container) -> None:
        """Let a frozen container go on."""
        async with container.lock:
            state = container.record.state
            if state.status != "paused":
                raise SampanError(f"Container {container.id} is not paused")
            await asyncio.to_thread(Cgroups(cgroup_path(container)).freeze, False)
            state.status, state.paused = "running", False
            container.save_soon()
        self._engine.publish(container, "unpause")

    def expect(self, container: Container, condition: str) -> asyncio.Future[int]:
        """Return a future of the exit code: `not-running`, `next-exit` or `removed`."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[int] = loop.create_future()
        state = container.record.state
        if condition == "removed":
            task = asyncio.ensure_future(container.removed.wait())

            def gone(_: asyncio.Task[bool]) -> None:
                if not future.done():
                    future.set_result(state.exit_code)

            task.add_done_callback(gone)
        elif condition in ("", "not-running") and state.status in ("created", "exited", "dead"):
            future.set_result(state.exit_code)
        elif condition in ("", "not-running", "next-exit"):
            container.ended.add(future)
        else:
            raise InvalidError(f'invalid condition: "{condition}"')
        return future


def end_without_shim(container: Container, pid: int) -> None:
    """End a container whose shim was killed; `pid` was its first process. Blocks."""
    Cgroups(cgroup_path(container)).end()
    if layout().v1 or layout().unified is not None or pid <= 0:
        return
    # Without cgroups its first process is the only handle, and its end that of the namespace.
    try:
        if not os.path.samefile(f"/proc/{pid}/ns/pid", "/proc/self/ns/pid"):
            os.kill(pid, signal.SIGKILL)
    except OSError:
        return  # it is gone already


def cgroup_path(container: Container) -> str:
    """Return the path of a container's cgroups below their hierarchies."""
    parent = container.record.host_config["CgroupParent"] or "/docker"
    if parent.endswith(".slice"):
        raise InvalidError("cgroup parents of systemd are not supported yet")
    return f"/{parent.strip('/')}/{container.id}"
