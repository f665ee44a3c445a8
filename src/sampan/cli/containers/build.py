"""`build`: a directory's files and a Dockerfile, sent to the daemon that makes an image of them."""

from __future__ import annotations

import base64
import io
import json
import os
import sys
import tarfile
from collections.abc import Iterable, Iterator
from typing import Any

from sampan.base.errors import UnsupportedError
from sampan.cli.containers.buildprogress import follow, form_of
from sampan.cli.containers.command import Command, Failure
from sampan.cli.containers.core.buildkeys import Secret, parse_secrets, parse_ssh
from sampan.cli.containers.core.buildview import source_excerpt
from sampan.cli.containers.core.environment import pairs
from sampan.cli.containers.core.flags import Flag, Parsed
from sampan.cli.containers.core.kinds import BOOL, BYTES, INTEGER, LIST, STRING, SWAP
from sampan.cli.containers.core.limits import ULIMIT
from sampan.cli.containers.session import Session
from sampan.engine.client.context import add_text, directory_context
from sampan.engine.client.packing import Packed

__all__ = ["BUILD"]

_DEFAULT_NAME = "Dockerfile"
_KEYS_BYTES = 48 << 10
_MAGIC = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
_NUMBERS = {
    "cpu-shares": "cpushares",
    "cpu-period": "cpuperiod",
    "cpu-quota": "cpuquota",
    "memory": "memory",
    "memory-swap": "memswap",
    "shm-size": "shmsize",
}


def _build(session: Session, parsed: Parsed) -> int:
    form = form_of(parsed.text("progress"), parsed.on("quiet"))
    if parsed.on("check"):
        return check(session, parsed)
    source = parsed.arguments[0]
    context: Packed | Iterable[bytes] | bytes
    if source == "-":
        name, context = _from_stdin(parsed)
    elif _is_address(source):
        name, context = parsed.text("file") or _DEFAULT_NAME, b""
    else:
        name, context = _from_directory(source, parsed.text("file"))
    way = "warnings" if form in ("", "quiet") else "events"
    query = [("dockerfile", name), ("version", "1"), ("sampan", way), *_query(session, parsed)]
    if form == "quiet":
        query.append(("q", "1"))
    if _is_address(source):
        query.append(("remote", source))
    stream = session.images.build(
        context, query, _registry_config(session), keys=_keys(session, parsed)
    )
    notes = follow(stream, form)
    if parsed.text("iidfile"):
        made = [note["ID"] for note in notes if isinstance(note, dict) and "ID" in note]
        if not made:
            raise Failure("the daemon did not tell the image's ID: --iidfile is not written")
        with open(parsed.text("iidfile"), "w", encoding="ascii") as file:
            file.write(made[-1])
    return 0


def _is_address(source: str) -> bool:
    return "://" in source or source.startswith(("git@", "github.com/"))


def _keys(session: Session, parsed: Parsed) -> str:
    """Return the secrets and agents as the engine takes them; "" without any."""
    wanted = parse_secrets(parsed.each("secret"))
    agents = parse_ssh(parsed.each("ssh"), session.environment)
    if not wanted and not agents:
        return ""
    if agents and not session.address.path:
        raise UnsupportedError("--ssh needs a daemon of this machine: unix://")
    if not session.address.path and session.address.tls is None:
        raise UnsupportedError("--secret goes to a daemon of this machine or over TLS only")
    document = {
        "secrets": {one.id: base64.b64encode(_secret(session, one)).decode() for one in wanted},
        "ssh": {name: os.path.realpath(path) for name, path in agents.items()},
    }
    header = base64.urlsafe_b64encode(json.dumps(document).encode()).decode()
    if len(header) > _KEYS_BYTES:
        raise Failure(f"the secrets are too large: together at most {_KEYS_BYTES // 2} bytes")
    return header


def _secret(session: Session, one: Secret) -> bytes:
    variable = one.variable or (one.id if not one.file and one.id in session.environment else "")
    if variable:
        if variable not in session.environment:
            raise Failure(f"secret {one.id}: the variable {variable} is not set")
        return session.environment[variable].encode()
    try:
        with open(one.file or one.id, "rb") as file:
            return file.read(_KEYS_BYTES)
    except OSError as error:
        raise Failure(f"secret {one.id}: {error.strerror}: {one.file or one.id}") from None


def check(session: Session, parsed: Parsed) -> int:
    """Tell what is wrong with a Dockerfile and what will surprise; 1 when there is an error."""
    name, text, ignored = _words_only(parsed)

    def pack(archive: tarfile.TarFile) -> None:
        add_text(archive, name, text)
        if ignored:
            add_text(archive, ".dockerignore", ignored)

    query = [("dockerfile", name), ("version", "1"), ("sampan", "check"), *_query(session, parsed)]
    found = [one["aux"] for one in session.images.build(Packed(pack), query)]
    lines = text.decode(errors="replace").splitlines()
    for one in found:
        print("\n".join(source_excerpt(one, lines)) + "\n")
    if not found:
        print("Check complete, no warnings found.")
    return 1 if any(one["severity"] == "error" for one in found) else 0


def _words_only(parsed: Parsed) -> tuple[str, bytes, bytes]:
    """Return the Dockerfile's name and text, and that of its ignore file."""
    source, file = parsed.arguments[0], parsed.text("file")
    if source == "-" or file == "-":
        return _DEFAULT_NAME, sys.stdin.buffer.read(), b""
    path = file or os.path.join(source, _DEFAULT_NAME)
    try:
        with open(path, "rb") as opened:
            text = opened.read()
    except OSError as error:
        raise Failure(f"cannot read the Dockerfile {path}: {error.strerror}") from None
    for candidate in (f"{path}.dockerignore", os.path.join(source, ".dockerignore")):
        try:
            with open(candidate, "rb") as opened:
                return os.path.basename(path), text, opened.read()
        except OSError:
            continue
    return os.path.basename(path), text, b""


def _query(session: Session, parsed: Parsed) -> Iterator[tuple[str, str]]:
    yield from (("t", tag) for tag in parsed.each("tag"))
    yield from (("extrahosts", host) for host in parsed.each("add-host"))
    arguments: dict[str, str | None] = {}
    for text in parsed.each("build-arg"):
        name, equals, value = text.partition("=")
        # A bare name takes the caller's value, and says so when there is none.
        arguments[name] = value if equals else session.environment.get(name)
    documents: dict[str, Any] = {
        "buildargs": arguments,
        "labels": pairs(parsed.each("label")),
        "cachefrom": _cache_sources(session, parsed),
        "cacheto": _cache_places(session, parsed),
        "ulimits": parsed.each("ulimit"),
    }
    yield from ((name, json.dumps(value)) for name, value in documents.items() if value)
    for flag, name in _NUMBERS.items():
        if parsed.number(flag):
            yield name, str(parsed.number(flag))
    for flag, name in (
        ("target", "target"),
        ("platform", "platform"),
        ("network", "networkmode"),
        ("cpuset-cpus", "cpusetcpus"),
        ("cpuset-mems", "cpusetmems"),
        ("cgroup-parent", "cgroupparent"),
    ):
        if parsed.text(flag):
            yield name, parsed.text(flag)
    for flag, name in (
        ("no-cache", "nocache"),
        ("pull", "pull"),
        ("force-rm", "forcerm"),
    ):
        if parsed.on(flag):
            yield name, "1"
    if not parsed.on("rm"):
        yield "rm", "0"


def _cache_places(session: Session, parsed: Parsed) -> list[str]:
    return [_absolute(session, one, "dest") for one in parsed.each("cache-to")]


def _cache_sources(session: Session, parsed: Parsed) -> list[str]:
    return [_absolute(session, one, "src") for one in parsed.each("cache-from")]


def _absolute(session: Session, text: str, key: str) -> str:
    """Make the directory of a local cache absolute: the daemon reads and writes it."""
    fields = text.split(",")
    if "type=local" not in fields:
        return text
    if not session.address.path:
        raise UnsupportedError("a cache in a directory needs a daemon of this machine: unix://")
    return ",".join(
        f"{key}={os.path.abspath(one.partition('=')[2])}" if one.startswith(f"{key}=") else one
        for one in fields
    )


def _registry_config(session: Session) -> str:
    known = {
        one.server: {
            "username": one.username,
            "password": one.password,
            "identitytoken": one.identity_token,
            "serveraddress": one.server,
        }
        for one in session.credentials.everything()
    }
    return base64.urlsafe_b64encode(json.dumps(known).encode()).decode()


def _from_stdin(parsed: Parsed) -> tuple[str, Packed | Iterable[bytes]]:
    """Return a context that is standard input: an archive, or a Dockerfile and nothing else."""
    stdin = io.BufferedReader(io.FileIO(0, closefd=False))
    head = stdin.peek(512)[:512]
    if head[257:262] == b"ustar" or head.startswith(_MAGIC):
        name = parsed.text("file") or _DEFAULT_NAME
        return name, iter(lambda: stdin.read(1 << 18), b"")
    if parsed.text("file") not in ("", "-"):
        raise Failure("ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles")
    text = stdin.read()
    return _DEFAULT_NAME, Packed(lambda archive: add_text(archive, _DEFAULT_NAME, text))


def _from_directory(source: str, file: str) -> tuple[str, Packed]:
    """Return the Dockerfile's name in the context, and the context."""
    root = os.path.realpath(source)
    if not os.path.isdir(root):
        raise Failure(f'unable to prepare context: path "{source}" not found')
    extra: bytes | None = None
    if file == "-":
        name, extra = ".dockerfile.stdin", sys.stdin.buffer.read()
    else:
        path = os.path.join(root, _DEFAULT_NAME) if not file else os.path.abspath(file)
        if not os.path.exists(path):
            raise Failure(
                "unable to prepare context: unable to evaluate symlinks in Dockerfile path: "
                f"lstat {path}: no such file or directory"
            )
        name = os.path.relpath(os.path.realpath(path), root)
        if name.startswith("../"):
            name = ".dockerfile.outside"
            with open(path, "rb") as opened:
                extra = opened.read()
    return name, directory_context(root, name, extra)


BUILD = Command(
    "[OPTIONS] PATH | URL | -",
    _build,
    (
        Flag("add-host", LIST, "Add a custom host-to-IP mapping (host:ip)"),
        Flag("build-arg", LIST, "Set build-time variables"),
        Flag("cache-from", LIST, "Images to consider as cache sources"),
        Flag("cache-to", LIST, "Cache export destinations"),
        Flag("cgroup-parent", STRING, "Parent cgroup for the RUN instructions"),
        Flag("check", BOOL, "Check the Dockerfile and build nothing"),
        Flag("cpu-period", INTEGER, "Limit the CPU CFS (Completely Fair Scheduler) period"),
        Flag("cpu-quota", INTEGER, "Limit the CPU CFS (Completely Fair Scheduler) quota"),
        Flag("cpu-shares", INTEGER, "CPU shares (relative weight)", "c"),
        Flag("cpuset-cpus", STRING, "CPUs in which to allow execution (0-3, 0,1)"),
        Flag("cpuset-mems", STRING, "Memory nodes in which to allow execution (0-3, 0,1)"),
        Flag("file", STRING, "Name of the Dockerfile (default is PATH/Dockerfile)", "f"),
        Flag("force-rm", BOOL, "Always remove intermediate containers"),
        Flag("iidfile", STRING, "Write the image ID to the file"),
        Flag("label", LIST, "Set metadata for an image"),
        Flag("memory", BYTES, "Memory limit", "m"),
        Flag("memory-swap", SWAP, "Swap limit equal to memory plus swap: -1 for unlimited swap"),
        Flag("network", STRING, "Networking mode for the RUN instructions"),
        Flag("no-cache", BOOL, "Do not use cache when building the image"),
        Flag("platform", STRING, "Set platform if server is multi-platform capable"),
        Flag(
            "progress",
            STRING,
            "How to show the build: auto, plain, tty, quiet, rawjson",
            default="auto",
        ),
        Flag("pull", BOOL, "Always attempt to pull a newer version of the image"),
        Flag("quiet", BOOL, "Suppress the build output and print image ID on success", "q"),
        Flag("rm", BOOL, "Remove intermediate containers after a build", default=True),
        Flag("secret", LIST, "Secret for the build: id=NAME[,src=FILE|,env=VARIABLE]"),
        Flag("shm-size", BYTES, "Size of /dev/shm"),
        Flag("ssh", LIST, "SSH agent for the build: default, or NAME=SOCKET"),
        Flag("tag", LIST, "Name and optionally a tag (format: name:tag)", "t"),
        Flag("target", STRING, "Set the target build stage to build"),
        Flag("ulimit", ULIMIT, "Ulimit options"),
    ),
    least=1,
    most=1,
)
