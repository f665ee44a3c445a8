"""From a bundle to a container at its gate."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from sampan.base.errors import InvalidError, SampanError, UnsupportedError
from sampan.base.record import changed, record
from sampan.engine.oci.core.bundle import Bundle, Extras, decode, read_bundle
from sampan.engine.oci.core.record import Record
from sampan.engine.oci.shell.gate import listen_at, wait_at
from sampan.engine.oci.shell.hooks import run_hooks
from sampan.engine.oci.shell.machine import start_ticks
from sampan.engine.oci.shell.store import Place, Store
from sampan.engine.oci.shell.terminal import connect_console, send_console
from sampan.engine.runtime.core.plan import CLONE_FLAGS, plan
from sampan.engine.runtime.core.spec import Process
from sampan.engine.runtime.shell import launch, syscalls
from sampan.engine.runtime.shell.cgroups import Cgroups, layout, own_views

__all__ = ["CreateOptions", "Created", "apply_extras", "create", "filter_of", "in_cgroups"]


@record
class CreateOptions:
    """What `create` and `run` were told. `foreground` keeps the program a child of the caller;
    `tolerate_cgroups` does without them where they are not permitted."""

    bundle: str
    pid_file: str = ""
    console_socket: str = ""
    preserve_fds: int = 0
    new_keyring: bool = True
    foreground: bool = False
    tolerate_cgroups: bool = False


@record
class Created:
    """A container at its gate."""

    place: Place
    record: Record
    bundle: Bundle
    process: Process
    launched: launch.Launched


def create(store: Store, container_id: str, options: CreateOptions) -> Created:
    """Make a container; nothing of it is left when that fails.

    The caller's working directory becomes the bundle's: relative sources of mounts are below it.
    """
    pid_file = os.path.abspath(options.pid_file) if options.pid_file else ""
    console_socket = os.path.abspath(options.console_socket) if options.console_socket else ""
    bundle = _read(options.bundle)
    process = bundle.spec.process
    if process is None:
        raise InvalidError("$.process: is required to start a container")
    kinds = {one.type for one in bundle.spec.linux.namespaces if not one.path}
    if os.geteuid() != 0 and "user" not in kinds:
        raise InvalidError("$.linux.namespaces: rootless container requires user namespaces")
    console = _console(process, console_socket, foreground=options.foreground)
    place = store.add(container_id)
    cgroups: Cgroups | None = None
    try:
        with store.locked(container_id):
            record = Record(
                id=container_id,
                bundle=os.getcwd(),
                root=bundle.spec.root_path,
                created=_now(),
                document=bundle.document,
                cgroup=_cgroup_path(bundle, container_id),
                uid=os.geteuid(),
                resources=bundle.spec.linux.resources,
            )
            # From here on a removal finds what there is, even when this process is killed.
            place.save(record)
            cgroups = _cgroups(bundle, record.cgroup, tolerate=options.tolerate_cgroups)
            record = record if cgroups else changed(record, cgroup="")
            launched = _launch(bundle, record, place, cgroups, options)
            try:
                record = changed(record, pid=launched.pid, start_ticks=start_ticks(launched.pid))
                place.save(record)
                if pid_file:
                    write_pid_file(pid_file, launched.pid)
                if console is not None:
                    send_console(console, launched.console_fd)
            except BaseException:
                launched.abandon()
                launched.close()
                raise
    except BaseException:
        if cgroups is not None:
            cgroups.remove()
        place.remove()
        raise
    return Created(place, record, bundle, process, launched)


def _read(directory: str) -> Bundle:
    try:
        os.chdir(directory)
    except OSError as error:
        told = (error.strerror or "").lower()
        raise InvalidError(f"chdir {directory}: {told}") from None
    try:
        with open("config.json", "rb") as file:
            text = file.read().decode()
    except FileNotFoundError:
        raise InvalidError("JSON specification file config.json not found") from None
    except UnicodeDecodeError as error:
        raise InvalidError(f"config.json: {error}") from None
    bundle = read_bundle(decode(text, "config.json"), os.getcwd())
    # The root itself may be named by a link of the host; below it no link leads out.
    root = os.path.realpath(bundle.spec.root_path)
    if not os.path.isdir(root):
        raise InvalidError(f"$.root.path: {root} is not a directory")
    return changed(bundle, spec=changed(bundle.spec, root_path=root))


def _console(process: Process, path: str, *, foreground: bool) -> socket.socket | None:
    """Connect to the socket that takes the terminal; InvalidError where it fits not."""
    if process.terminal and not foreground and not path:
        raise InvalidError("cannot allocate tty if runc will detach without setting console socket")
    if path and (foreground or not process.terminal):
        raise InvalidError("cannot use console socket if runc will not detach or allocate tty")
    return connect_console(path) if path else None


def _cgroup_path(bundle: Bundle, container_id: str) -> str:
    path = bundle.spec.linux.cgroups_path or container_id
    if ".." in path.split("/"):
        raise InvalidError("$.linux.cgroupsPath: '..' leads out of the hierarchy")
    return "/" + path.strip("/")


def _cgroups(bundle: Bundle, path: str, *, tolerate: bool) -> Cgroups | None:
    linux = bundle.spec.linux
    if linux.resources.get("unified") and layout().version == 1:
        raise InvalidError("$.linux.resources.unified: cannot use unified on cgroup v1")
    try:
        return Cgroups.create(path, linux.resources, strict=True)
    except OSError as error:
        if tolerate and not linux.cgroups_path and not _limits(linux.resources):
            return None
        raise UnsupportedError(
            f"unable to make the cgroup {path}: {error.strerror}; without privileges a delegated "
            "cgroup is needed for limits"
        ) from error


def _limits(resources: Any) -> bool:
    return any(value for key, value in resources.items() if key != "devices")


def _launch(
    bundle: Bundle,
    record: Record,
    place: Place,
    cgroups: Cgroups | None,
    options: CreateOptions,
) -> launch.Launched:
    spec = bundle.spec
    hooks = spec.hooks
    listener = None if options.foreground else listen_at(place.gate)
    with _time_namespace(bundle.time_offsets) as leave_time, in_cgroups(cgroups) as placement:

        def outside(pid: int) -> None:
            leave_time()
            now = changed(record, pid=pid)
            for moment in ("prestart", "createRuntime"):
                run_hooks(moment, hooks[moment], now.state("creating", pid))

        def inside() -> None:
            run_hooks("createContainer", hooks["createContainer"], _state(record, "creating"))

        def first(become: Callable[[], NoReturn], settle: Callable[[], None]) -> NoReturn:
            run_hooks("startContainer", hooks["startContainer"], _state(record, "created"))
            become()

        def gate() -> socket.socket:
            assert listener is not None
            return wait_at(listener, options.preserve_fds)

        program, flags = filter_of(spec.linux.seccomp)
        launched = launch.create(
            plan(spec),
            launch.Stdio(),
            placement=apply_extras(placement, bundle.extras, exec_affinity=False),
            seccomp=program,
            seccomp_flags=flags,
            preserve_fds=options.preserve_fds,
            before_pivot=inside if hooks["createContainer"] else None,
            init=launch.Init(first) if hooks["startContainer"] else None,
            gate=gate if listener is not None else None,
            outside=outside if hooks["prestart"] or hooks["createRuntime"] else None,
            new_keyring=options.new_keyring,
        )
    if listener is not None:
        listener.close()
    return launched


def _state(record: Record, status: str) -> dict[str, Any]:
    return record.state(status, os.getpid())


@contextmanager
def in_cgroups(cgroups: Cgroups | None) -> Iterator[launch.Placement]:
    """Open the way into the container's cgroups; without any, the process stays where it is."""
    if cgroups is None:
        yield launch.Placement(views=own_views())
        return
    with cgroups.entrance() as way:
        yield launch.Placement(way.enter, way.unified_fd, cgroups.views())


def apply_extras(
    placement: launch.Placement, extras: Extras, *, exec_affinity: bool
) -> launch.Placement:
    """Return a placement in which the child also takes the settings that only bundles have."""
    if extras == Extras():
        return placement

    def enter() -> None:
        if exec_affinity and extras.affinity_at_start:
            os.sched_setaffinity(0, extras.affinity_at_start)
        if placement.enter is not None:
            placement.enter()
        if exec_affinity and extras.affinity:
            os.sched_setaffinity(0, extras.affinity)
        if extras.io_priority is not None:
            syscalls.ioprio_set(extras.io_priority)
        one = extras.scheduler
        if one is not None:
            times = (one.runtime_ns, one.deadline_ns, one.period_ns)
            syscalls.sched_setattr(one.policy, one.flags, one.nice, one.priority, times)
        if extras.personality is not None:
            syscalls.personality(extras.personality)

    return changed(placement, enter=enter)


def filter_of(seccomp: Any) -> tuple[bytes | None, int]:
    """Return the compiled filter of a section with its flags, None without one."""
    if not seccomp:
        return None, 0
    # Most bundles made by hand have no filter, and the compiler with its tables takes time to load.
    from sampan.engine.runtime.core.seccomp import compile_filter, filter_flags

    return compile_filter(seccomp), filter_flags(seccomp)


@contextmanager
def _time_namespace(offsets: str | None) -> Iterator[Callable[[], None]]:
    """Have children cloned into a new time namespace; the value ends that, once."""
    if offsets is None:
        yield lambda: None
        return
    own = [os.open("/proc/self/ns/time", os.O_RDONLY | os.O_CLOEXEC)]

    def leave() -> None:
        while own:
            syscalls.setns(own[0], CLONE_FLAGS["time"])
            os.close(own.pop())

    try:
        syscalls.unshare(CLONE_FLAGS["time"])
        if offsets:
            with open("/proc/self/timens_offsets", "w") as file:
                file.write(offsets)
        yield leave
    except OSError as error:
        raise SampanError(f"$.linux.timeOffsets: {error.strerror}") from error
    finally:
        leave()


def write_pid_file(path: str, pid: int) -> None:
    """Write the pid for others to read, at once or not at all."""
    directory, name = os.path.split(path)
    new = f"{directory}/.{name}"
    with open(new, "w") as file:
        file.write(str(pid))
    os.replace(new, path)


def _now() -> str:
    seconds, fraction = divmod(time.time_ns(), 1_000_000_000)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{text}.{fraction:09d}".rstrip("0").rstrip(".") + "Z"
