"""Files of JSON that the command line reads and writes."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from sampan.base.errors import ConflictError, InvalidError
from sampan.engine.oci.core.bundle import decode
from sampan.engine.oci.core.default_spec import default_spec, rootless_spec
from sampan.engine.runtime.shell.cgroups import layout

__all__ = ["read_json", "write_specification"]


def write_specification(directory: str, *, rootless: bool) -> None:
    """Write a new config.json; ConflictError when there is one."""
    cgroups = layout().version == 2
    spec = (
        rootless_spec(os.geteuid(), os.getegid(), cgroup_namespace=cgroups)
        if rootless
        else default_spec(cgroup_namespace=cgroups)
    )
    try:
        with open(os.path.join(directory, "config.json"), "x") as file:
            file.write(json.dumps(spec, indent="\t"))
    except FileExistsError:
        raise ConflictError("File config.json exists. Remove it first") from None


def read_json(name: str) -> dict[str, Any]:
    """Read an object of a file, or of standard input for `-`."""
    if name == "-":
        return decode(sys.stdin.read(), "standard input")
    try:
        with open(name, "rb") as file:
            return decode(file.read().decode(), name)
    except UnicodeDecodeError as error:
        raise InvalidError(f"{name}: {error}") from None
