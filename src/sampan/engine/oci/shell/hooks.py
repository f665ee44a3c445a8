"""Running the programs that a bundle names for moments of the container's life."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from sampan.base.errors import SampanError
from sampan.engine.runtime.core.spec import Hook

__all__ = ["run_hooks"]


def run_hooks(moment: str, hooks: Sequence[Hook], state: Mapping[str, Any]) -> None:
    """Run hooks in their order, each with the state on standard input and only its own environment.

    SampanError names the first that fails, with what it said, or does not end in time.
    """
    if not hooks:
        return
    # Costs more to import than a container without hooks takes to start.
    import subprocess

    text = json.dumps(state).encode()
    for at, hook in enumerate(hooks):
        name = f"error running {moment} hook #{at}"
        env = dict(entry.partition("=")[::2] for entry in hook.env)
        try:
            done = subprocess.run(
                list(hook.args) or [hook.path],
                executable=hook.path,
                input=text,
                capture_output=True,
                env=env,
                timeout=hook.timeout_s,
                check=False,
                preexec_fn=_default_signals,
            )
        except subprocess.TimeoutExpired:
            told = f"hook ran past specified timeout of {hook.timeout_s}s"
            raise SampanError(f"{name}: {told}") from None
        except OSError as error:
            raise SampanError(f"{name}: {hook.path}: {error.strerror}") from error
        if done.returncode != 0:
            told = (done.stdout + done.stderr).decode(errors="replace").strip()
            how = _how(done.returncode)
            raise SampanError(f"{name}: {how}, stdout/stderr: {told}")


def _how(code: int) -> str:
    return f"exit status {code}" if code > 0 else f"signal: {-code}"


def _default_signals() -> None:
    """Undo what a waiting foreground command has blocked."""
    import signal

    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.umask(0o022)
