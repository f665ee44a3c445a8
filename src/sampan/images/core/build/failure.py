"""How a build fails that was right in itself."""

from __future__ import annotations

from sampan.base.errors import SampanError

__all__ = ["CommandError"]


class CommandError(SampanError):
    """A command of the build has failed; `exit_code` is its own."""

    def __init__(self, command: str, exit_code: int) -> None:
        super().__init__(f"The command '{command}' returned a non-zero code: {exit_code}")
        self.command = command
        self.exit_code = exit_code
