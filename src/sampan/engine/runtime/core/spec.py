"""The OCI runtime specification (1.2) of one container, as values.

`parse_spec` reads a decoded `config.json`. Of the parts that other modules interpret, resources and
seccomp, it keeps the decoded JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sampan.base.errors import InvalidError
from sampan.base.record import field, record
from sampan.engine.runtime.core.fields import Fields

__all__ = [
    "Capabilities",
    "Device",
    "Hook",
    "IdMap",
    "Linux",
    "Mount",
    "Namespace",
    "Process",
    "Rlimit",
    "Spec",
    "User",
    "parse_process",
    "parse_spec",
]

NAMESPACES = ("user", "pid", "network", "mount", "ipc", "uts", "cgroup", "time")
_SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")


@record
class User:
    """Who the process is. `name` ("user[:group]") is looked up inside the root when it is set."""

    uid: int = 0
    gid: int = 0
    additional_gids: tuple[int, ...] = ()
    umask: int | None = None
    name: str = ""
    extra_groups: tuple[str, ...] = ()
    memberships: str = ""
    """Groups of `/etc/group`: `merge` takes them, `strict` does not, else only without a group."""


@record
class Rlimit:
    """A resource limit; `kind` as RLIMIT_NOFILE."""

    kind: str
    soft: int
    hard: int


@record
class Capabilities:
    """The five sets, each of names such as CAP_CHOWN."""

    bounding: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    inheritable: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()


@record
class Process:
    """What is run. `init` asks for a reaper as process 1; `pause` for the reaper alone."""

    args: tuple[str, ...]
    env: tuple[str, ...] = ()
    cwd: str = "/"
    terminal: bool = False
    console_size: tuple[int, int] | None = None
    user: User = field(default_factory=User)
    capabilities: Capabilities | None = None
    rlimits: tuple[Rlimit, ...] = ()
    no_new_privileges: bool = False
    oom_score_adj: int | None = None
    apparmor_profile: str = ""
    selinux_label: str = ""
    init: bool = False
    pause: bool = False


@record
class IdMap:
    """A range of ids of a user namespace."""

    container: int
    host: int
    size: int


@record
class Mount:
    """One mount below the root."""

    destination: str
    type: str = ""
    source: str = ""
    options: tuple[str, ...] = ()
    uid_maps: tuple[IdMap, ...] = ()
    gid_maps: tuple[IdMap, ...] = ()


@record
class Namespace:
    """A namespace to make, or with `path` to join."""

    type: str
    path: str = ""


@record
class Device:
    """A device node below the root."""

    path: str
    type: str
    major: int = 0
    minor: int = 0
    mode: int = 0o666
    uid: int = 0
    gid: int = 0
    source: str = ""
    """The host's own node of it, when that is not at `path`."""


@record
class Linux:
    """The part that only Linux has."""

    namespaces: tuple[Namespace, ...] = ()
    uid_maps: tuple[IdMap, ...] = ()
    gid_maps: tuple[IdMap, ...] = ()
    devices: tuple[Device, ...] = ()
    cgroups_path: str = ""
    resources: Mapping[str, Any] = field(default_factory=dict)
    seccomp: Mapping[str, Any] | None = None
    rootfs_propagation: str = ""
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    mount_label: str = ""
    sysctl: Mapping[str, str] = field(default_factory=dict)


@record
class Hook:
    """A program to run at a moment of the container's life."""

    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout_s: int | None = None


@record
class Spec:
    """One container."""

    root_path: str
    root_readonly: bool = False
    process: Process | None = None
    hostname: str = ""
    domainname: str = ""
    mounts: tuple[Mount, ...] = ()
    linux: Linux = field(default_factory=Linux)
    hooks: Mapping[str, tuple[Hook, ...]] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    version: str = "1.0.2"

    def namespace(self, kind: str) -> Namespace | None:
        """The namespace of that type, None when it is shared with the host."""
        return next((one for one in self.linux.namespaces if one.type == kind), None)


def parse_spec(document: Mapping[str, Any]) -> Spec:
    """Return the specification of a decoded `config.json`; InvalidError names the path."""
    fields = Fields(document)
    version = fields.required("ociVersion")
    if not version.startswith("1."):
        raise fields.refuse("ociVersion", f"version {version} is not supported, 1.x is")
    root = fields.object("root")
    hooks = fields.object("hooks")
    return Spec(
        root_path=root.required("path"),
        root_readonly=root.flag("readonly"),
        process=parse_process(fields.raw("process")) if fields.has("process") else None,
        hostname=fields.text("hostname"),
        domainname=fields.text("domainname"),
        mounts=fields.each("mounts", _mount),
        linux=_linux(fields.object("linux")),
        hooks={name: hooks.each(name, _hook) for name in _HOOKS},
        annotations=fields.table("annotations"),
        version=version,
    )


_HOOKS = (
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
)


def parse_process(document: Any, path: str = "$.process") -> Process:
    """Return the process of a decoded document; InvalidError names the path."""
    fields = Fields(document, path)
    size = fields.object("consoleSize")
    cwd = fields.text("cwd", "/")
    if not cwd.startswith("/"):
        raise fields.refuse("cwd", f"Cwd must be an absolute path: {cwd}")
    pause = fields.flag("x-pause")
    args = fields.texts("args")
    if not args and not pause:
        raise fields.refuse("args", "must not be empty")
    return Process(
        args=args,
        env=fields.texts("env"),
        cwd=cwd,
        terminal=fields.flag("terminal"),
        console_size=(size.integer("width"), size.integer("height"))
        if fields.has("consoleSize")
        else None,
        user=_user(fields.object("user")),
        capabilities=_capabilities(fields.object("capabilities"))
        if fields.has("capabilities")
        else None,
        rlimits=fields.each("rlimits", _rlimit),
        no_new_privileges=fields.flag("noNewPrivileges"),
        oom_score_adj=fields.optional_integer("oomScoreAdj"),
        apparmor_profile=fields.text("apparmorProfile"),
        selinux_label=fields.text("selinuxLabel"),
        init=fields.flag("x-init"),
        pause=pause,
    )


def _user(fields: Fields) -> User:
    return User(
        uid=fields.integer("uid"),
        gid=fields.integer("gid"),
        additional_gids=fields.integers("additionalGids"),
        umask=fields.optional_integer("umask"),
        name=fields.text("username"),
        extra_groups=fields.texts("x-groups"),
        memberships=fields.text("x-memberships"),
    )


def _capabilities(fields: Fields) -> Capabilities:
    return Capabilities(*(fields.texts(name) for name in _SETS))


def _rlimit(fields: Fields) -> Rlimit:
    return Rlimit(fields.required("type"), fields.integer("soft"), fields.integer("hard"))


def _mount(fields: Fields) -> Mount:
    return Mount(
        fields.required("destination"),
        fields.text("type"),
        fields.text("source"),
        fields.texts("options"),
        fields.each("uidMappings", _id_map),
        fields.each("gidMappings", _id_map),
    )


def _hook(fields: Fields) -> Hook:
    return Hook(
        fields.required("path"),
        fields.texts("args"),
        fields.texts("env"),
        fields.optional_integer("timeout"),
    )


def _namespace(fields: Fields) -> Namespace:
    kind = fields.required("type")
    if kind not in NAMESPACES:
        raise fields.refuse("type", f"unknown namespace {kind!r}")
    return Namespace(kind, fields.text("path"))


def _id_map(fields: Fields) -> IdMap:
    return IdMap(fields.integer("containerID"), fields.integer("hostID"), fields.integer("size"))


def _device(fields: Fields) -> Device:
    kind = fields.required("type")
    if kind not in ("c", "b", "u", "p"):
        raise fields.refuse("type", f"unknown device type {kind!r}")
    return Device(
        fields.required("path"),
        "c" if kind == "u" else kind,
        fields.integer("major"),
        fields.integer("minor"),
        fields.integer("fileMode", 0o666) & 0o7777,
        fields.integer("uid"),
        fields.integer("gid"),
        fields.text("x-source"),
    )


def _linux(fields: Fields) -> Linux:
    namespaces = fields.each("namespaces", _namespace)
    kinds = [one.type for one in namespaces]
    repeated = next((kind for kind in kinds if kinds.count(kind) > 1), None)
    if repeated:
        raise InvalidError(f"$.linux.namespaces: {repeated} is listed twice")
    return Linux(
        namespaces=namespaces,
        uid_maps=fields.each("uidMappings", _id_map),
        gid_maps=fields.each("gidMappings", _id_map),
        devices=fields.each("devices", _device),
        cgroups_path=fields.text("cgroupsPath"),
        resources=fields.raw("resources") or {},
        seccomp=fields.raw("seccomp"),
        rootfs_propagation=fields.text("rootfsPropagation"),
        masked_paths=fields.texts("maskedPaths"),
        readonly_paths=fields.texts("readonlyPaths"),
        mount_label=fields.text("mountLabel"),
        sysctl=fields.table("sysctl"),
    )
