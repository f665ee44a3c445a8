"""Why no process runs, in Docker's words."""

from __future__ import annotations

from typing import Final

__all__ = ["exec_refusal", "start_refusal"]

_OWN_WORDS: Final = ("unable to find user ", "unable to find group ", "uids and gids must be ")
"""What Docker finds out by itself, before it asks a runtime."""


def start_refusal(reason: str) -> str:
    """Return why a container could not be started."""
    if reason.startswith(_OWN_WORDS):
        return reason
    hint = ""
    if "not a directory" in reason.lower():
        hint = (
            ": Are you trying to mount a directory onto a file (or vice-versa)? Check if the "
            "specified host path exists and is the expected type"
        )
    return (
        "failed to create task for container: failed to create shim task: OCI runtime create "
        f"failed: unable to start container process: {reason}: unknown{hint}"
    )


def exec_refusal(reason: str) -> str:
    """Return why a command could not be started in a container."""
    if reason.startswith(_OWN_WORDS):
        return reason
    return (
        "OCI runtime exec failed: exec failed: unable to start container process: "
        f"{reason}: unknown"
    )
