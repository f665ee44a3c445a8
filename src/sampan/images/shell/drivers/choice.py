"""Which driver a state directory has, or gets."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sampan.base.errors import ConflictError, InvalidError, UnsupportedError
from sampan.images.shell.drivers.btrfs import BtrfsDriver, probe_btrfs
from sampan.images.shell.drivers.driver import Driver
from sampan.images.shell.drivers.overlay import OverlayDriver, probe_overlay
from sampan.images.shell.drivers.vfs import VfsDriver

__all__ = ["DRIVERS", "choose_driver"]

_LOG: Final = logging.getLogger(__name__)

_Make = Callable[[Path, Path], Driver]

_PROBES: Final[dict[str, tuple[_Make, Callable[[Path], str]]]] = {
    "overlay2": (OverlayDriver, probe_overlay),
    "btrfs": (BtrfsDriver, probe_btrfs),
    "vfs": (VfsDriver, lambda root: ""),
}
DRIVERS: Final = tuple(_PROBES)
"""The names, in the order of preference."""


def choose_driver(root: Path, places: Path, wanted: str, *, used: bool) -> Driver:
    """Return the driver that is wanted, or that the directory has, or the first that works.

    Raises InvalidError for an unknown name, ConflictError when the directory is `used` with another
    driver, UnsupportedError when the file system cannot do it.
    """
    if wanted and wanted not in _PROBES:
        raise InvalidError(f"storage driver {wanted} is not known; there are {', '.join(DRIVERS)}")
    record = root / "driver"
    before = record.read_text().strip() if record.exists() else ""
    if not before and used:
        before = "overlay2"  # made when there was no other
    if before and before not in _PROBES:
        raise ConflictError(f"{root} was made by the storage driver {before}, which is not known")
    if before and used and wanted not in ("", before):
        raise ConflictError(
            f"{root} was made by the storage driver {before} and has images or containers in its "
            f"form; start without --storage-driver={wanted}, or with another --data-root"
        )
    for name in _candidates(wanted, before if used else ""):
        make, probe = _PROBES[name]
        reason = "" if used and name == before else probe(root)
        if not reason:
            record.write_text(name + "\n")
            return make(root, places)
        _LOG.info("storage driver %s cannot be used: %s", name, reason)
        if wanted:
            raise UnsupportedError(f"storage driver {wanted} cannot be used: {reason}")
    raise UnsupportedError(f"no storage driver works in {root}")


def _candidates(wanted: str, before: str) -> tuple[str, ...]:
    return (wanted or before,) if wanted or before else DRIVERS
