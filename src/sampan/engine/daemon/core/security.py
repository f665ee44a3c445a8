"""What `--security-opt` says, in Docker's two spellings: `key=value` and the old `key:value`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sampan.base.errors import InvalidError, UnsupportedError
from sampan.engine.runtime.core.seccomp_default import default_profile
from sampan.engine.runtime.core.seccomp_profile import parse_profile, resolve

__all__ = ["Modules", "Security", "check_modules", "filter_section", "parse_security"]

UNCONFINED: Final = "unconfined"
BUILTIN: Final = "builtin"
_TRUE: Final = ("1", "t", "T", "TRUE", "true", "True")
_FALSE: Final = ("0", "f", "F", "FALSE", "false", "False")


@dataclass(frozen=True, slots=True)
class Security:
    """The options of one container. None and empty texts mean not given."""

    no_new_privileges: bool | None = None
    seccomp: str = ""
    """`unconfined`, `builtin`, or a profile's text."""

    apparmor: str = ""
    labels: tuple[str, ...] = ()
    writable_cgroups: bool | None = None


@dataclass(frozen=True, slots=True)
class Modules:
    """Which security modules this kernel runs."""

    apparmor: bool = False
    selinux: bool = False


def parse_security(options: Sequence[str]) -> Security:
    """Return what the options mean; InvalidError with Docker's words."""
    quiet: bool | None = None
    writable: bool | None = None
    seccomp = apparmor = ""
    labels: list[str] = []
    for option in options:
        if option == "no-new-privileges":
            quiet = True
            continue
        if option == "disable":
            labels.append(option)
            continue
        mark = "=" if "=" in option else ":"
        key, found, value = option.partition(mark)
        if not found:
            raise InvalidError(f'invalid --security-opt 1: "{option}"')
        match key:
            case "label":
                labels.append(value)
            case "apparmor":
                apparmor = value
            case "seccomp":
                seccomp = value
            case "no-new-privileges":
                quiet = _truth(option, value)
            case "writable-cgroups":
                writable = _truth(option, value)
            case _:
                raise InvalidError(f'invalid --security-opt 2: "{option}"')
    return Security(quiet, seccomp, apparmor, tuple(labels), writable)


def _truth(option: str, value: str) -> bool:
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise InvalidError(f'invalid --security-opt 2: "{option}"')


def check_modules(security: Security, kernel: Modules) -> None:
    """Refuse what would silently not hold.

    A kernel without the module ignores the option, as Docker does there.
    """
    if kernel.apparmor and security.apparmor not in ("", UNCONFINED):
        raise UnsupportedError(
            f"AppArmor profile {security.apparmor!r}: AppArmor profiles are not supported yet; "
            "use --security-opt apparmor=unconfined"
        )
    if kernel.selinux and any(label != "disable" for label in security.labels):
        raise UnsupportedError(
            "SELinux labels are not supported yet; use --security-opt label=disable"
        )


def filter_section(
    security: Security,
    capabilities: Sequence[str],
    architecture: str,
    kernel: tuple[int, int],
    *,
    privileged: bool,
    daemon_profile: Mapping[str, Any] | str = "",
) -> dict[str, Any] | None:
    """Return the OCI `seccomp` section of a container, None without a filter.

    `daemon_profile` is the daemon's own, decoded, or `unconfined`. Raises InvalidError for a
    profile that is none.
    """
    wanted = security.seccomp
    if wanted == UNCONFINED or (privileged and wanted in ("", BUILTIN)):
        return None
    if wanted not in ("", BUILTIN):
        return resolve(parse_profile(wanted), capabilities, architecture, kernel)
    if wanted == "" and daemon_profile:
        if isinstance(daemon_profile, str):
            return None
        return resolve(daemon_profile, capabilities, architecture, kernel)
    return default_profile(capabilities, architecture, kernel)
