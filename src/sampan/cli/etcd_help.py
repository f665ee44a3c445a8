"""What `sampan etcd --help` and `--version` print."""

from __future__ import annotations

from sampan.cli.etcd_flags import FLAGS, GROUPS, Flag, Kind, Status

__all__ = ["USAGE", "help_text"]

USAGE = """\
Usage:

  sampan etcd [flags]
    Start an etcd server.

  sampan etcd --config-file=<file>
    Start it with the settings in a YAML file; other flags and the environment are ignored.

  sampan etcd repair --data-dir=<dir> --to=<dir>
    Save what is sound of a damaged data directory into a new one.

  sampan etcd soak-watch [--help]
    Cut connections and kill servers at random and check what watchers saw.

  sampan etcd --version | --help

Every flag can be given as -flag, as --flag=value or --flag value, and by its environment variable
ETCD_<FLAG>; the flag wins.
"""

_STATUS = {
    Status.SUPPORTED: "",
    Status.ACCEPTED: " (accepted, no effect)",
    Status.NOT_YET: " (not supported yet)",
}


def help_text() -> str:
    """Return the usage and every flag by group; the older names come last in short form."""
    parts = [USAGE]
    for group, _ in GROUPS:
        flags = [flag for flag in FLAGS.values() if flag.group == group]
        parts.append(f"\n{group}:\n" + "".join(_entry(flag) for flag in flags))
    return "".join(parts)


def _entry(flag: Flag) -> str:
    value = "" if flag.kind is Kind.BOOL and flag.default == "false" else f" '{flag.default}'"
    return f"  --{flag.name}{value}\n    {flag.help}{_STATUS[flag.status]}\n"
