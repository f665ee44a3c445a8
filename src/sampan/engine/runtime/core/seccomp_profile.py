"""From a seccomp profile in Docker's form to the OCI `seccomp` section of one container.

Docker's form adds conditions to the rules (`includes` and `excludes`, by capability, architecture
and kernel) and names the further ABIs of an architecture (`archMap`). Messages are Docker's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sampan.base.errors import InvalidError

__all__ = ["parse_profile", "resolve"]

_NATIVE: Final = {
    "amd64": "SCMP_ARCH_X86_64",
    "arm64": "SCMP_ARCH_AARCH64",
    "386": "SCMP_ARCH_X86",
    "arm": "SCMP_ARCH_ARM",
}
_KEPT: Final = ("defaultAction", "defaultErrnoRet", "flags", "listenerPath", "listenerMetadata")


def parse_profile(text: str) -> dict[str, Any]:
    """Decode a profile that a user gives; InvalidError when it is not one."""
    try:
        profile = json.loads(text)
    except ValueError as error:
        raise InvalidError(f"Decoding seccomp profile failed: {error}") from None
    if not isinstance(profile, dict):
        raise InvalidError("Decoding seccomp profile failed: expected an object")
    rules = profile.get("syscalls") or []
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise InvalidError("Decoding seccomp profile failed: syscalls: expected a list of objects")
    return profile


def resolve(
    profile: Mapping[str, Any],
    capabilities: Sequence[str],
    architecture: str,
    kernel: tuple[int, int],
) -> dict[str, Any] | None:
    """Return the OCI section for a container, or None for a profile that says nothing.

    `architecture` is Go's word (amd64), `kernel` the running version. Raises InvalidError for
    contradictions.
    """
    rules = profile.get("syscalls") or ()
    if not rules and not profile.get("defaultAction"):
        return None
    out: dict[str, Any] = {key: profile[key] for key in _KEPT if profile.get(key) is not None}
    out["architectures"] = _architectures(profile, architecture)
    held = set(capabilities)
    out["syscalls"] = [_plain(rule) for rule in rules if _applies(rule, held, architecture, kernel)]
    return out


def _architectures(profile: Mapping[str, Any], architecture: str) -> list[str]:
    listed, mapped = profile.get("architectures"), profile.get("archMap")
    if listed and mapped:
        raise InvalidError(
            "both 'architectures' and 'archMap' are specified in the seccomp profile, "
            "use either 'architectures' or 'archMap'"
        )
    native = _NATIVE.get(architecture)
    for one in mapped or ():
        if one.get("architecture") == native:
            return [one["architecture"], *(one.get("subArchitectures") or ())]
    return list(listed or ([native] if native else []))


def _applies(
    rule: Mapping[str, Any], held: set[str], architecture: str, kernel: tuple[int, int]
) -> bool:
    out, wanted = rule.get("excludes") or {}, rule.get("includes") or {}
    if architecture in (out.get("arches") or ()) or held & set(out.get("caps") or ()):
        return False
    if out.get("minKernel") and kernel >= _version(out["minKernel"]):
        return False
    if wanted.get("arches") and architecture not in wanted["arches"]:
        return False
    if wanted.get("minKernel") and kernel < _version(wanted["minKernel"]):
        return False
    return held.issuperset(wanted.get("caps") or ())


def _version(text: str) -> tuple[int, int]:
    major, _, minor = str(text).partition(".")
    if not (major.isdigit() and minor.isdigit()):
        raise InvalidError(
            f"Decoding seccomp profile failed: invalid kernel version: {text!r}, "
            "it has the form <kernel>.<major>"
        )
    return int(major), int(minor)


def _plain(rule: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rule without its conditions; `name` of old profiles becomes `names`."""
    names = list(rule.get("names") or ())
    if rule.get("name"):
        if names:
            raise InvalidError(
                "both 'name' and 'names' are specified in the seccomp profile, "
                "use either 'name' or 'names'"
            )
        names = [rule["name"]]
    plain: dict[str, Any] = {"names": names, "action": rule.get("action", "")}
    if rule.get("errnoRet") is not None:
        plain["errnoRet"] = rule["errnoRet"]
    if rule.get("args"):
        plain["args"] = [{"valueTwo": 0, **one} for one in rule["args"]]
    return plain
