"""`overlay2`: each layer has its own files only; the kernel's overlayfs shows them as one."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from sampan.base.errors import NotFoundError
from sampan.images.shell import nodes, syscalls
from sampan.images.shell.difference import Change, Usage, changes, tree_usage
from sampan.images.shell.drivers.driver import FILES
from sampan.images.shell.drivers.filesystem import filesystem_of
from sampan.images.shell.pack import write_layer
from sampan.images.shell.packing import Output
from sampan.images.shell.unpack import Form

__all__ = ["OverlayDriver", "probe_overlay"]

_PARAMETERS: Final = Path("/sys/module/overlay/parameters")
_LONGEST_STACK: Final = 500


class OverlayDriver:
    """Overlays on one file system. `places` is the lowest layer of all."""

    name = "overlay2"
    slow = False

    def __init__(self, root: Path, places: Path) -> None:
        self._root = root
        self._places = places
        self._user = not _may_be_trusted(root)
        # Docker's layers know neither renamed directories nor files without their data.
        self._options = [f"{name}=off" for name in ("redirect_dir", "metacopy") if _is_on(name)]
        if self._user:
            self._options.append("userxattr")

    def status(self) -> list[tuple[str, str]]:
        """Return what `docker info` tells of it."""
        return [
            ("Backing Filesystem", filesystem_of(self._root)),
            ("Supports d_type", "true"),
            ("Using metacopy", "false"),
            ("Native Overlay Diff", "true"),
            ("userxattr", str(self._user).lower()),
        ]

    def begin_layer(self, place: Path, lower: Sequence[Path]) -> Form:
        """Make an empty directory."""
        (place / FILES).mkdir(mode=0o755, parents=True)
        (place / FILES).chmod(0o755)
        attribute = "user.overlay.opaque" if self._user else "trusted.overlay.opaque"
        return Form(lower=lower, opaque=attribute)

    def files(self, lower: Sequence[Path]) -> list[Path]:
        """Return all layers."""
        return list(lower)

    def prepare(self, place: Path, lower: Sequence[Path]) -> None:
        """Make the upper directory and the one that overlayfs works in."""
        upper = place / "upper"
        upper.mkdir()
        upper.chmod(_root_mode(lower))
        (place / "work").mkdir(mode=0o700)

    def own_files(self, place: Path) -> Path:
        """Return the upper directory."""
        return place / "upper"

    def mounts(
        self, place: Path, lower: Sequence[Path], *, read_only: bool = False
    ) -> list[dict[str, Any]]:
        """Return the overlay; to read only, it has no upper directory and may be mounted twice."""
        stack = self._stack(lower)
        if read_only:
            joined = ":".join([str(place / "upper"), *stack])
            options = [f"lowerdir={joined}", "ro", *self._options]
        else:
            options = [
                f"lowerdir={':'.join(stack)}",
                f"upperdir={place / 'upper'}",
                f"workdir={place / 'work'}",
                *self._options,
            ]
        return [{"type": "overlay", "source": "overlay", "options": options}]

    def _stack(self, lower: Sequence[Path]) -> list[str]:
        stack = [str(one) for one in (*lower, self._places)]
        for one in stack:
            if not os.path.isdir(one):
                raise NotFoundError(f"layer {one} is missing; pull or load the image again")
        return stack

    def changes(self, place: Path, lower: Sequence[Path]) -> list[Change]:
        """Compare the upper directory with what is below it."""
        return changes(place / "upper", [*lower, self._places], merged=False)

    def write_layer(self, place: Path, lower: Sequence[Path], out: Output) -> None:
        """Write the upper directory."""
        write_layer(place / "upper", out)

    def adopt(self, place: Path, layer: Path) -> bool:
        """Move the upper directory: it has a layer's form."""
        os.rename(place / "upper", layer / FILES)
        return True

    def usage(self, place: Path, lower: Sequence[Path]) -> Usage:
        """Add up the upper directory."""
        return tree_usage(place / "upper")

    def remove(self, place: Path) -> None:
        """Remove a tree."""
        nodes.remove_path(place)

    def data(self, place: Path | None, lower: Sequence[Path]) -> dict[str, str] | None:
        """Return the directories of the overlay."""
        stack = [str(one) for one in lower]
        if place is None:
            if not stack:
                return {}
            found = {"MergedDir": "", "UpperDir": stack[0], "WorkDir": ""}
            below = stack[1:]
        else:
            upper, work = str(place / "upper"), str(place / "work")
            found = {"ID": place.name, "MergedDir": "", "UpperDir": upper, "WorkDir": work}
            below = [*stack, str(self._places)]
        return {**found, "LowerDir": ":".join(below)} if below else found


def _root_mode(lower: Sequence[Path]) -> int:
    """Return the mode of the merged root: that of the uppermost layer."""
    return stat.S_IMODE(os.stat(lower[0]).st_mode) if lower else 0o755


def _is_on(parameter: str) -> bool:
    try:
        return (_PARAMETERS / parameter).read_text().strip() in ("Y", "1")
    except OSError:
        return False


def _may_be_trusted(root: Path) -> bool:
    """Tell whether trusted attributes can be set; without them overlayfs takes those of users."""
    try:
        os.setxattr(root, "trusted.overlay.probe", b"y")
        os.removexattr(root, "trusted.overlay.probe")
    except OSError:
        return False
    return True


def probe_overlay(root: Path) -> str:
    """Return why overlayfs cannot be used on the file system of a directory, "" when it can.

    Mounts one, attached nowhere, and looks whether a deletion hides a file below.
    """
    place = root / "probe"
    nodes.remove_path(place)
    try:
        for name in ("lower", "upper", "work"):
            (place / name).mkdir(mode=0o700, parents=True)
        (place / "lower" / "file").touch()
        words = [] if _may_be_trusted(root) else ["userxattr"]
        # By descriptors: a path may be too long for an option.
        with contextlib.ExitStack() as stack:
            options = {}
            for name in ("lower", "upper", "work"):
                opened = os.open(place / name, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                stack.callback(os.close, opened)
                options[name + "dir"] = f"/proc/self/fd/{opened}"
            fd = syscalls.detached_mount("overlay", options, words)
        try:
            os.unlink("file", dir_fd=fd)
            seen = os.listdir(f"/proc/thread-self/fd/{fd}")
            if seen or not (place / "upper" / "file").is_char_device():
                return "a deleted file is still seen"
        finally:
            os.close(fd)
        return ""
    except OSError as error:
        return f"overlayfs does not work on {filesystem_of(root)}: {error.strerror}"
    finally:
        nodes.remove_path(place)
