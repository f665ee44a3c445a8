"""Reading a source directory: its settings, its Dockerfile or a generated one, its changes."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sampan.base.errors import InvalidError, NotFoundError
from sampan.engine.client.context import ignore_rules
from sampan.ship.core.golang import HOST_GO, declares, dockerfile_for, main_package
from sampan.ship.core.settings import FILE, Settings, parse_settings

__all__ = ["Source", "changes_of", "read_source"]

GENERATED: Final = ".dockerfile.generated"
_CERTIFICATES: Final = Path("/etc/ssl/certs/ca-certificates.crt")
_MAIN: Final = re.compile(r"^package\s+main\b", re.MULTILINE)
_MAX_FILES: Final = 50_000


@dataclass(frozen=True, slots=True)
class Source:
    """`dockerfile` is its name in the context; `generated` its text when no file has it."""

    directory: Path
    settings: Settings
    dockerfile: str
    generated: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)


def read_source(directory: Path, *, host_go: str) -> Source:
    """Read a directory; NotFoundError when nothing in it says how to build it.

    `host_go` is where the machine's own Go is when builds may use it: generated Dockerfiles do, and
    others that have the argument HOST_GO are told.
    """
    root = directory.resolve()
    if not root.is_dir():
        raise NotFoundError(f"{directory} is no directory")
    settings = parse_settings(_document(root), root.name)
    name = settings.dockerfile or "Dockerfile"
    if (root / name).is_file():
        if not (root / name).resolve().is_relative_to(root):
            raise InvalidError(f"{FILE}: build.dockerfile: {name} leads out of {directory}")
        text = (root / name).read_text(encoding="utf-8", errors="replace")
        return Source(root, settings, name, "", _arguments(settings, text, host_go))
    if settings.dockerfile:
        raise NotFoundError(f"{FILE}: build.dockerfile: {root / name} does not exist")
    if not (root / "go.mod").is_file():
        raise NotFoundError(
            f"{directory} has neither a Dockerfile nor a go.mod: write a Dockerfile that makes the "
            "image"
        )
    package = main_package(_main_packages(root), settings.package, settings.name)
    text = dockerfile_for(
        (root / "go.mod").read_text(encoding="utf-8", errors="replace"),
        package,
        from_host=bool(host_go),
        has_sum=(root / "go.sum").is_file(),
        has_certificates=_CERTIFICATES.exists(),
    )
    return Source(root, settings, GENERATED, text, _arguments(settings, text, host_go))


def _arguments(settings: Settings, dockerfile: str, host_go: str) -> Mapping[str, str]:
    told = {HOST_GO: host_go} if host_go and declares(dockerfile, HOST_GO) else {}
    return {**told, **settings.arguments}


def _document(root: Path) -> Mapping[str, object]:
    try:
        with open(root / FILE, "rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidError(f"{root / FILE}: {error}") from None


def _main_packages(root: Path) -> set[str]:
    """Return the directories of the module with a main package."""
    found = set()
    for folder, directories, files in os.walk(root):
        directories[:] = [
            one
            for one in directories
            if one not in ("vendor", "testdata")
            and not one.startswith((".", "_"))
            # A module within the module is not a part of it.
            and not os.path.exists(os.path.join(folder, one, "go.mod"))
        ]
        for name in files:
            if not name.endswith(".go") or name.endswith("_test.go"):
                continue
            with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:
                if _MAIN.search(file.read(1 << 16)):
                    found.add(os.path.relpath(folder, root))
                    break
    return found


def changes_of(source: Source) -> Mapping[str, tuple[int, int]]:
    """Return time and size of every file that the build, or `sampan.toml`, depends on."""
    root = str(source.directory)
    rules = ignore_rules(root, source.dockerfile)
    always = {FILE, ".dockerignore", source.dockerfile}
    found: dict[str, tuple[int, int]] = {}
    for folder, directories, files in os.walk(root):
        inside = os.path.relpath(folder, root)
        prefix = "" if inside == "." else f"{inside}/"
        directories[:] = [
            one for one in directories if one != ".git" and not rules.skipped(prefix + one)
        ]
        for name in files:
            path = prefix + name
            if path not in always and rules.ignored(path):
                continue
            try:
                state = os.lstat(os.path.join(folder, name))
            except FileNotFoundError:
                continue
            found[path] = (state.st_mtime_ns, state.st_size)
            if len(found) > _MAX_FILES:
                raise InvalidError(
                    f"more than {_MAX_FILES} files to watch: name some in .dockerignore"
                )
    return found
