"""A bundle's `config.json` as what is to be done; what cannot be done is refused by its path.

`sampan.engine.runtime` makes the container of the `Spec`; `Extras` are settings of the first
process that only an OCI bundle has. Source: OCI runtime specification 1.2.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from sampan.base.errors import InvalidError, UnsupportedError
from sampan.base.record import changed, record
from sampan.engine.runtime.core.fields import Fields
from sampan.engine.runtime.core.spec import Process, Spec, parse_spec

__all__ = ["Bundle", "Extras", "check_id", "check_process", "decode", "read_bundle", "read_extras"]

_ID: Final = re.compile(r"[\w+.-]+", re.ASCII)
_ID_LIMIT: Final = 1024
_PERSONALITIES: Final = {"LINUX": 0x0000, "LINUX32": 0x0008}
_POLICIES: Final = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
_SCHEDULER_FLAGS: Final = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
_IO_CLASSES: Final = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
_CLOCKS: Final = ("monotonic", "boottime")
_ALWAYS_ALLOWED: Final = (
    ("c", None, None, "m"),
    ("b", None, None, "m"),
    *(("c", 1, minor, "rwm") for minor in (3, 5, 7, 8, 9)),
    *(("c", 5, minor, "rwm") for minor in (0, 1, 2)),
    ("c", 136, None, "rwm"),
)
"""Devices that a container may use after all rules of its own: type, major, minor, access."""


@record
class Scheduler:
    """The arguments of sched_setattr(2); times in nanoseconds."""

    policy: int
    flags: int = 0
    nice: int = 0
    priority: int = 0
    runtime_ns: int = 0
    deadline_ns: int = 0
    period_ns: int = 0


@record
class Extras:
    """Settings of a process: `io_priority` is class << 13 | level, affinities are sets of CPUs."""

    scheduler: Scheduler | None = None
    io_priority: int | None = None
    affinity_at_start: frozenset[int] = frozenset()
    affinity: frozenset[int] = frozenset()
    personality: int | None = None


@record
class Bundle:
    """A checked configuration. `time_offsets` are the lines for a new time namespace, or None."""

    spec: Spec
    extras: Extras
    time_offsets: str | None
    document: Mapping[str, Any]


def check_id(container_id: str) -> str:
    """Return the id; InvalidError for one that could not be a directory's name."""
    if not container_id:
        raise InvalidError("container id cannot be empty")
    if (
        not _ID.fullmatch(container_id)
        or container_id in (".", "..")
        or len(container_id) > (_ID_LIMIT)
    ):
        raise InvalidError("invalid container ID format")
    return container_id


def decode(text: str, name: str) -> dict[str, Any]:
    """Return a JSON object; InvalidError with the file's name when it is none."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidError(f"{name}: {error}") from None
    if not isinstance(document, dict):
        raise InvalidError(f"{name}: expected an object")
    return document


def read_bundle(document: Mapping[str, Any], directory: str) -> Bundle:
    """Check a configuration; the root's path becomes absolute below `directory`.

    Raises InvalidError for what is wrong, UnsupportedError for what this runtime does not do.
    """
    spec = parse_spec(document)
    fields = Fields(document)
    _check_sections(fields)
    if spec.process is not None:
        check_process(spec.process)
    root = spec.root_path if spec.root_path.startswith("/") else f"{directory}/{spec.root_path}"
    kinds = {one.type: one for one in spec.linux.namespaces}
    linux = spec.linux
    offsets = _time_offsets(fields.object("linux"))
    clock = kinds.get("time")
    if offsets and (clock is None or clock.path):
        raise InvalidError("$.linux.timeOffsets: a new time namespace is required")
    if clock is not None and not clock.path:
        others = tuple(one for one in linux.namespaces if one.type != "time")
        linux = changed(linux, namespaces=others)
    linux = changed(linux, resources=_with_devices(linux.resources))
    return Bundle(
        spec=changed(spec, root_path=root.rstrip("/") or "/", linux=linux),
        extras=read_extras(fields.object("process"), fields.object("linux")),
        time_offsets=None if clock is None or clock.path else offsets,
        document=document,
    )


def check_process(process: Process) -> None:
    """Refuse what the process asks of kernels that this machine's is not."""
    if process.apparmor_profile and process.apparmor_profile != "unconfined":
        raise UnsupportedError(
            f"$.process.apparmorProfile: {process.apparmor_profile!r} is specified, "
            "but apparmor is not supported"
        )
    if process.selinux_label:
        raise UnsupportedError(
            "$.process.selinuxLabel: a label is specified, but SELinux is not supported"
        )


def _check_sections(fields: Fields) -> None:
    linux = fields.object("linux")
    if linux.has("intelRdt"):
        raise UnsupportedError(
            "$.linux.intelRdt: Intel RDT is specified, but it is not supported yet"
        )
    for name in ("memoryPolicy", "netDevices"):
        if linux.has(name):
            raise UnsupportedError(f"$.linux.{name}: is not supported yet")
    for name in ("solaris", "windows", "vm", "zos", "freebsd"):
        if fields.has(name):
            raise UnsupportedError(f"$.{name}: this runtime makes Linux containers")
    _check_resources(linux.object("resources"))


def _with_devices(resources: Mapping[str, Any]) -> Mapping[str, Any]:
    """Allow after rules about devices what every container needs, as runc does."""
    rules = resources.get("devices")
    if not rules:
        return resources
    allowed: list[dict[str, Any]] = []
    for kind, major, minor, access in _ALWAYS_ALLOWED:
        rule: dict[str, Any] = {"allow": True, "type": kind, "access": access}
        numbers = {"major": major, "minor": minor}
        allowed.append(rule | {key: value for key, value in numbers.items() if value is not None})
    return {**resources, "devices": [*rules, *allowed]}


def _check_resources(resources: Fields) -> None:
    """Refuse limits that no controller here would hold; a limit is never silently ignored."""
    if resources.object("memory").flag("checkBeforeUpdate"):
        raise UnsupportedError("$.linux.resources.memory.checkBeforeUpdate: is not supported yet")
    block = resources.object("blockIO")
    for name in ("leafWeight", "leafWeightDevice"):
        if block.raw(name):
            raise UnsupportedError(f"$.linux.resources.blockIO.{name}: kernels have it no more")


def read_extras(process: Fields, linux: Fields) -> Extras:
    """Return the settings of a process that the runtime's own specification does not hold."""
    affinity = process.object("execCPUAffinity")
    return Extras(
        scheduler=_scheduler(process.object("scheduler")) if process.has("scheduler") else None,
        io_priority=_io_priority(process.object("ioPriority"))
        if process.has("ioPriority")
        else None,
        affinity_at_start=_cpus(affinity, "initial"),
        affinity=_cpus(affinity, "final"),
        personality=_personality(linux.object("personality")) if linux.has("personality") else None,
    )


def _personality(fields: Fields) -> int:
    domain = fields.required("domain")
    if domain not in _PERSONALITIES:
        raise fields.refuse("domain", f"unknown personality {domain!r}, LINUX and LINUX32 are")
    if fields.texts("flags"):
        raise fields.refuse("flags", "no flags are known")
    return _PERSONALITIES[domain]


def _scheduler(fields: Fields) -> Scheduler:
    policy = fields.required("policy")
    if policy not in _POLICIES:
        raise fields.refuse("policy", f"invalid scheduler policy {policy!r}")
    flags = 0
    for word in fields.texts("flags"):
        if word not in _SCHEDULER_FLAGS:
            raise fields.refuse("flags", f"invalid scheduler flag {word!r}")
        flags |= _SCHEDULER_FLAGS[word]
    nice, priority = fields.integer("nice"), fields.integer("priority")
    if policy in ("SCHED_OTHER", "SCHED_BATCH") and not -20 <= nice <= 19:
        raise fields.refuse("nice", f"invalid scheduler.nice: {nice} when using {policy}")
    if priority and policy not in ("SCHED_FIFO", "SCHED_RR"):
        raise fields.refuse("priority", "can only be specified for SCHED_FIFO or SCHED_RR")
    times = (fields.integer("runtime"), fields.integer("deadline"), fields.integer("period"))
    if any(times) and policy != "SCHED_DEADLINE":
        raise fields.refuse("runtime", "times can only be specified for SCHED_DEADLINE")
    return Scheduler(_POLICIES[policy], flags, nice, priority, *times)


def _io_priority(fields: Fields) -> int:
    kind, level = fields.required("class"), fields.integer("priority")
    if kind not in _IO_CLASSES:
        raise fields.refuse("class", f"invalid ioPriority.class: {kind!r}")
    if not 0 <= level <= 7:
        raise fields.refuse("priority", f"invalid ioPriority.priority: {level}")
    return _IO_CLASSES[kind] << 13 | level


def _cpus(fields: Fields, name: str) -> frozenset[int]:
    found: set[int] = set()
    for part in fields.text(name).split(","):
        first, dash, last = part.strip().partition("-")
        if not first and not dash:
            continue
        if not first.isdigit() or (dash and not last.isdigit()):
            raise fields.refuse(name, f"invalid CPU list {part!r}")
        span = range(int(first), int(last or first) + 1)
        if not span or span.stop > 1 << 16:
            raise fields.refuse(name, f"invalid CPU range {part!r}")
        found.update(span)
    return frozenset(found)


def _time_offsets(linux: Fields) -> str:
    lines = []
    for clock in linux.raw("timeOffsets") or {}:
        if clock not in _CLOCKS:
            raise linux.refuse("timeOffsets", f"unknown clock {clock!r}")
        offset = linux.object("timeOffsets").object(clock)
        lines.append(f"{clock} {offset.integer('secs')} {offset.integer('nanosecs')}\n")
    return "".join(lines)
