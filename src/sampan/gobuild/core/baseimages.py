"""Base images that people ship Go programs in, and what they bring.

Sources: the package lists of the images; the release notes of the distributions for glibc.
"""

from __future__ import annotations

import re
from typing import Final

from sampan.base.record import record

__all__ = [
    "BASE_IMAGES",
    "BaseImage",
    "base_image",
    "image_refusal",
    "older_release",
    "version_key",
]


@record
class BaseImage:
    """An image: its libc (`none`, `glibc`, `musl`), and what Go programs look for at run time."""

    name: str
    libc: str
    libc_version: str = ""
    certificates: bool = True
    zones: bool = True
    shell: bool = True


BASE_IMAGES: Final = (
    BaseImage("scratch", "none", "", False, False, False),
    BaseImage("gcr.io/distroless/static", "none", "", True, True, False),
    BaseImage("gcr.io/distroless/base-debian12", "glibc", "2.36", True, True, False),
    BaseImage("alpine", "musl", "1.2", True, False),
    BaseImage("busybox", "none", "", False, False),
    BaseImage("debian:11", "glibc", "2.31", False),
    BaseImage("debian:12", "glibc", "2.36", False),
    BaseImage("debian:13", "glibc", "2.41", False),
    BaseImage("ubuntu:20.04", "glibc", "2.31", False, False),
    BaseImage("ubuntu:22.04", "glibc", "2.35", False, False),
    BaseImage("ubuntu:24.04", "glibc", "2.39", False, False),
    BaseImage("rockylinux:8", "glibc", "2.28"),
    BaseImage("rockylinux:9", "glibc", "2.34"),
    BaseImage("amazonlinux:2", "glibc", "2.26"),
    BaseImage("amazonlinux:2023", "glibc", "2.34"),
)

_ALIASES: Final = {
    "bullseye": "debian:11",
    "bookworm": "debian:12",
    "trixie": "debian:13",
    "focal": "ubuntu:20.04",
    "jammy": "ubuntu:22.04",
    "noble": "ubuntu:24.04",
}
_OF_LIBC: Final = re.compile(
    r"(?:libc|libm|libpthread|libdl|librt|libresolv|libutil)\.so\.\d+|ld-linux.*|ld64\.so\..*"
    r"|libc\.musl-.*|ld-musl-.*|libc\.so"
)


def version_key(version: str) -> tuple[int, ...]:
    """Return what orders versions: `2.34` comes after `2.4`."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


def base_image(reference: str) -> BaseImage | None:
    """Return what is known of an image by the reference of a FROM; None when nothing is."""
    name = reference.split("@")[0].removeprefix("docker.io/").removeprefix("library/")
    repository, _, tag = name.partition(":")
    last = repository.rsplit("/", 1)[-1]
    if "distroless/static" in repository:
        return BASE_IMAGES[1]
    if "distroless/" in repository:
        return BASE_IMAGES[2]
    if last == "alpine" or tag.endswith("alpine") or "-alpine" in tag:
        return BASE_IMAGES[3]
    for code, known in _ALIASES.items():
        if code in tag:
            return next(one for one in BASE_IMAGES if one.name == known)
    tag = tag.removesuffix("-slim")
    exact = (one for one in BASE_IMAGES if one.name in (f"{last}:{tag}", last))
    if found := next(exact, None):
        return found
    major = f"{last}:{tag.split('.')[0]}"
    return next((one for one in BASE_IMAGES if one.name == major), None)


def image_refusal(
    image: BaseImage, interpreter: str, needed: tuple[str, ...], glibc: str
) -> str | None:
    """Return why a Linux program does not start in an image, None when it does."""
    if not interpreter and not needed:
        return None
    musl = "musl" in interpreter
    if image.libc == "none":
        return f"has no loader {interpreter}" if interpreter else "has no shared libraries"
    if (image.libc == "musl") is not musl:
        return f"has {image.libc}, not the loader {interpreter}"
    if glibc and image.libc == "glibc" and version_key(image.libc_version) < version_key(glibc):
        return f"has glibc {image.libc_version}, needs {glibc}"
    foreign = [one for one in needed if not _OF_LIBC.fullmatch(one)]
    if foreign:
        return f"lacks {', '.join(foreign)} unless installed"
    return None


def older_release(reference: str, wanted: str) -> str:
    """Return the Go release of an image when it refuses modules that want this newer one.

    The official images set GOTOOLCHAIN=local since Go 1.21, so that no newer Go is fetched.
    """
    match = re.search(r"(?:^|/)golang:(1\.\d+)(?!\d)", reference)
    if match is None or not (1, 21) <= version_key(match[1]) < version_key(wanted):
        return ""
    return match[1]
