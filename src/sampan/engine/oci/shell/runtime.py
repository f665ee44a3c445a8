"""The commands of the runtime on containers that are there already."""

from __future__ import annotations

import os
import pwd
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from sampan.base.errors import ConflictError, NotFoundError, SampanError, UnsupportedError
from sampan.base.record import changed
from sampan.engine.oci.core.limits import merged
from sampan.engine.oci.core.record import Record, Vital, status_of
from sampan.engine.oci.shell import machine
from sampan.engine.oci.shell.hooks import run_hooks
from sampan.engine.oci.shell.store import Place, Store
from sampan.engine.runtime.core.spec import parse_spec
from sampan.engine.runtime.shell import syscalls
from sampan.engine.runtime.shell.cgroups import Cgroups

__all__ = ["Runtime"]

_KILL_TIMEOUT_S: Final = 10.0


class Runtime:
    """All that can be done to the containers below one state directory.

    `warn` is told what went wrong without making the command fail.
    """

    def __init__(self, root: str, warn: Callable[[str], None] = lambda _: None) -> None:
        self.store = Store(root)
        self._warn = warn

    # What there is.

    def status(self, record: Record) -> str:
        """Return the status of a container as it is now."""
        place = self.store.find(record.id)
        alive = machine.is_alive(record.pid, record.start_ticks)
        at_gate = alive and os.path.exists(place.gate)
        return status_of(record, Vital(alive, at_gate, alive and _frozen(record)))

    def state(self, container_id: str) -> dict[str, Any]:
        """Return the state as the specification has it; NotFoundError when there is no such one."""
        record = self.store.find(container_id).load()
        return record.listing(self.status(record), "")

    def listing(self) -> list[dict[str, Any]]:
        """Return all containers."""
        return [
            record.listing(self.status(record), _owner(record.uid))
            for record in self.store.records()
        ]

    def pids(self, container_id: str) -> list[int]:
        """Return the processes of a container."""
        record = self.store.find(container_id).load()
        if record.cgroup:
            return Cgroups(record.cgroup).pids()
        return [record.pid] if machine.is_alive(record.pid, record.start_ticks) else []

    # Its life.

    def kill(self, container_id: str, number: int, *, everybody: bool) -> None:
        """Send a signal to the first process, or to all."""
        with self.store.locked(container_id) as place:
            record = place.load()
            status = self.status(record)
            if everybody and record.cgroup:
                Cgroups(record.cgroup).kill(number)
            elif status == "stopped":
                raise ConflictError("container not running")
            else:
                self.signal(record, number)
            if status == "paused" and number == signal.SIGKILL:
                Cgroups(record.cgroup).freeze(False)

    def signal(self, record: Record, number: int) -> None:
        """Send a signal to the first process; ConflictError when it has ended."""
        try:
            fd = machine.open_process(record.pid, record.start_ticks)
        except ProcessLookupError:
            raise ConflictError("container not running") from None
        try:
            syscalls.pidfd_send_signal(fd, number)
        finally:
            os.close(fd)

    def delete(self, container_id: str, *, force: bool) -> None:
        """Remove what a stopped or created container holds; with `force` of a running one too."""
        try:
            with self.store.locked(container_id) as place:
                try:
                    record = place.load()
                except NotFoundError:
                    # A `create` that was killed has left a directory and no record.
                    place.remove()
                    raise
                status = self.status(record)
                if status not in ("stopped", "created", "creating") and not force:
                    raise ConflictError(
                        f"cannot delete container {container_id} that is not stopped: {status}"
                    )
                self.destroy(place, record)
        except NotFoundError:
            if not force:
                raise

    def destroy(self, place: Place, record: Record) -> None:
        """End what is left of a container and remove it."""
        self._end(record)
        if record.cgroup:
            Cgroups(record.cgroup).remove()
        place.remove()
        hooks = record.document.get("hooks") or {}
        if not hooks.get("poststop"):
            return
        for hook in parse_spec(record.document).hooks["poststop"]:
            try:
                run_hooks("poststop", [hook], record.state("stopped", 0))
            except SampanError as error:
                self._warn(str(error))

    def _end(self, record: Record) -> None:
        """Kill the first process, and without a PID namespace of its own all that it left."""
        pids = {record.pid: record.start_ticks} if record.pid else {}
        cgroups = Cgroups(record.cgroup) if record.cgroup else None
        # Of a creation that was killed the cgroups know the processes, and nobody else does.
        if cgroups is not None and not (record.pid and _owns_pids(record.document)):
            pids |= {pid: machine.start_ticks(pid) for pid in cgroups.pids()}
        fds = []
        for pid, ticks in pids.items():
            with suppress(ProcessLookupError):
                fds.append(machine.open_process(pid, ticks))
        try:
            for fd in fds:
                with suppress(ProcessLookupError):
                    syscalls.pidfd_send_signal(fd, signal.SIGKILL)
            if fds and _frozen(record):
                Cgroups(record.cgroup).freeze(False)
            if not machine.await_end(fds, _KILL_TIMEOUT_S):
                raise SampanError("container init still running")
        finally:
            for fd in fds:
                os.close(fd)

    def pause(self, container_id: str) -> None:
        """Stop all processes of a running container."""
        with self.store.locked(container_id) as place:
            record = place.load()
            if self.status(record) not in ("running", "created"):
                raise ConflictError("container not running")
            _limits_of(record).freeze(True)

    def resume(self, container_id: str) -> None:
        """Let them go on."""
        with self.store.locked(container_id) as place:
            record = place.load()
            if self.status(record) != "paused":
                raise ConflictError("container not paused")
            _limits_of(record).freeze(False)

    def update(self, container_id: str, change: Mapping[str, Any]) -> None:
        """Change limits; what is not named stays as it is."""
        if change.get("intelRdt"):
            raise UnsupportedError("Intel RDT is specified, but it is not supported yet")
        with self.store.locked(container_id) as place:
            record = place.load()
            if self.status(record) == "stopped":
                raise ConflictError("container not running")
            resources = merged(record.resources, change)
            # Rules for devices were set once and are not part of an update.
            limits = {key: value for key, value in resources.items() if key != "devices"}
            _limits_of(record).apply(limits, strict=True)
            place.save(changed(record, resources=resources))


def _limits_of(record: Record) -> Cgroups:
    if not record.cgroup:
        raise SampanError("the container has no cgroups of its own")
    return Cgroups(record.cgroup)


def _frozen(record: Record) -> bool:
    if not record.cgroup:
        return False
    return Cgroups(record.cgroup).frozen()


def _owns_pids(document: Mapping[str, Any]) -> bool:
    namespaces = (document.get("linux") or {}).get("namespaces") or ()
    return any(one.get("type") == "pid" and not one.get("path") for one in namespaces)


def _owner(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"
