"""Finding the program inside the container, and the words for what goes wrong with it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping, Sequence

from sampan.base.errors import SampanError

__all__ = ["find", "words_for"]

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def find(name: str, env: Mapping[str, str]) -> str:
    """Return the program's path, looked up in the container's own PATH when it has no slash.

    Raises FileNotFoundError or PermissionError as the program's start would.
    """
    if "/" in name:
        _check(name)
        return name
    denied = False
    for folder in env.get("PATH", _DEFAULT_PATH).split(":"):
        path = os.path.join(folder or ".", name)
        try:
            _check(path)
        except PermissionError:
            denied = True
        except OSError:
            continue
        else:
            return path
    if denied:
        raise PermissionError(errno.EACCES, "permission denied")
    raise FileNotFoundError(errno.ENOENT, "executable file not found in $PATH")


def _check(path: str) -> None:
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "is a directory")
    if not os.access(path, os.X_OK, effective_ids=True):
        raise PermissionError(errno.EACCES, "permission denied")


def words_for(
    step: str, args: Sequence[str], error: BaseException, cwd: str = "/"
) -> tuple[str, int]:
    """Return the message for a failed step and the exit code that a shell would give it."""
    name = args[0] if args else ""
    if isinstance(error, SampanError):
        return str(error), 126
    if not isinstance(error, OSError):
        return f"{step}: {type(error).__name__}: {error}", 128
    told = error.strerror or str(error)
    told = told[:1].lower() + told[1:]
    if step == "chdir":
        told = os.strerror(error.errno or 0).lower()
        return f'chdir to cwd ("{cwd}") set in config.json failed: {told}', 126
    if step in ("process", "exec"):
        if isinstance(error, FileNotFoundError):
            if "/" in name:
                return f'exec: "{name}": stat {name}: no such file or directory', 127
            return f'exec: "{name}": executable file not found in $PATH', 127
        if isinstance(error, PermissionError | IsADirectoryError):
            return f'exec: "{name}": {told}', 126
        if error.errno == errno.ENOEXEC:
            return f"exec {name}: exec format error", 126
    return f"error during container init: {told}", 128
