"""The process of `exec`: the container's own with what the command line changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sampan.base.errors import InvalidError
from sampan.base.record import record
from sampan.engine.runtime.core.capability import normalise

__all__ = ["Changes", "process_of"]


@record
class Changes:
    """What `exec` was told. `user` is "uid[:gid]", None and empty mean unchanged."""

    args: Sequence[str] = ()
    cwd: str = ""
    env: Sequence[str] = ()
    terminal: bool = False
    user: str = ""
    additional_gids: Sequence[int] = ()
    capabilities: Sequence[str] = ()
    no_new_privileges: bool = False
    apparmor: str = ""
    label: str = ""


def process_of(base: Mapping[str, Any], changes: Changes) -> dict[str, Any]:
    """Return the process as a document; InvalidError for a user or capability that is none."""
    process = {key: value for key, value in base.items() if key not in ("consoleSize", "rlimits")}
    process["rlimits"] = base.get("rlimits") or []
    process["args"] = list(changes.args)
    process["terminal"] = changes.terminal
    process["env"] = [*(base.get("env") or ()), *changes.env]
    if changes.cwd:
        process["cwd"] = changes.cwd
    if changes.no_new_privileges:
        process["noNewPrivileges"] = True
    if changes.apparmor:
        process["apparmorProfile"] = changes.apparmor
    if changes.label:
        process["selinuxLabel"] = changes.label
    user = dict(base.get("user") or {})
    if changes.user:
        uid, colon, gid = changes.user.partition(":")
        user = {"uid": _number(uid), "gid": _number(gid) if colon else user.get("gid", 0)}
    if changes.additional_gids:
        gids = [*(user.get("additionalGids") or ()), *changes.additional_gids]
        user["additionalGids"] = gids
    process["user"] = user
    if changes.capabilities:
        process["capabilities"] = _with(base.get("capabilities") or {}, changes.capabilities)
    return process


def _with(sets: Mapping[str, Any], added: Sequence[str]) -> dict[str, list[str]]:
    """Add to all sets but the ambient one, which follows only where it was given before."""
    names = [normalise(name) for name in added]
    out = {key: list(value or ()) for key, value in sets.items()}
    for key in ("bounding", "effective", "permitted"):
        out[key] = list(dict.fromkeys([*out.get(key, ()), *names]))
    if out.get("ambient"):
        for key in ("inheritable", "ambient"):
            out[key] = list(dict.fromkeys([*out.get(key, ()), *names]))
    return out


def _number(text: str) -> int:
    if not text.isdigit():
        raise InvalidError(f'parsing uid/gid: "{text}" is not a number')
    return int(text)
