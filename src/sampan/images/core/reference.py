"""Names of images: `[domain/]path[:tag][@digest]`, as the distribution specification has them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from sampan.base.errors import InvalidError

__all__ = ["Reference", "is_digest", "parse_reference", "tag_name"]

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_TAG: Final = re.compile(r"[\w][\w.-]{0,127}", re.ASCII)
_COMPONENT: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH: Final = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_DOMAIN: Final = re.compile(
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:]+\])(?::\d+)?"
)
_DEFAULT_DOMAIN: Final = "docker.io"
_ID: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Reference:
    """A name in full: `docker.io/library/busybox:latest`."""

    domain: str
    path: str
    tag: str | None = None
    digest: str | None = None

    @property
    def name(self) -> str:
        """Domain and path."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_name(self) -> str:
        """The name as people write it."""
        if self.domain == _DEFAULT_DOMAIN:
            return self.path.removeprefix("library/")
        return self.name

    @property
    def familiar(self) -> str:
        """The whole reference as people write it."""
        tag = f":{self.tag}" if self.tag else ""
        return self.familiar_name + tag + (f"@{self.digest}" if self.digest else "")

    @property
    def key(self) -> str:
        """The full name with its digest, or else with its tag: what an index knows it by."""
        reference = self.tagged()
        if reference.digest:
            return f"{reference.name}@{reference.digest}"
        return f"{reference.name}:{reference.tag}"

    def tagged(self) -> Reference:
        """The same with the tag `latest` when it has neither tag nor digest."""
        if self.tag or self.digest:
            return self
        return Reference(self.domain, self.path, "latest")


def is_digest(text: str) -> bool:
    """Tell whether it is `sha256:` or `sha512:` and the right number of hex digits."""
    return _DIGEST.fullmatch(text) is not None


def tag_name(text: str) -> str:
    """Return the full name of a tag to give, `latest` by default; a digest cannot be given."""
    reference = parse_reference(text)
    if reference.digest:
        raise InvalidError("refusing to create a tag with a digest reference")
    return reference.key


def parse_reference(text: str) -> Reference:
    """Return the reference in full; InvalidError with Docker's words."""
    rest, at, digest = text.partition("@")
    if at and not is_digest(digest):
        raise InvalidError("invalid reference format")
    if _ID.fullmatch(rest):
        raise InvalidError(
            f"invalid repository name ({rest}), cannot specify 64-byte hexadecimal strings"
        )
    head, slash, tail = rest.partition("/")
    if slash and ("." in head or ":" in head or head == "localhost" or head != head.lower()):
        domain, rest = head, tail
    else:
        domain = _DEFAULT_DOMAIN
    path, colon, tag = rest.partition(":")
    if path != path.lower():
        name = path if "/" in path or domain != _DEFAULT_DOMAIN else f"library/{path}"
        raise InvalidError(f"invalid reference format: repository name ({name}) must be lowercase")
    wrong_tag = bool(colon) and not _TAG.fullmatch(tag)
    if not _PATH.fullmatch(path) or not _DOMAIN.fullmatch(domain) or wrong_tag or len(path) > 255:
        raise InvalidError("invalid reference format")
    if domain == "index.docker.io":
        domain = _DEFAULT_DOMAIN
    if domain == _DEFAULT_DOMAIN and "/" not in path:
        path = "library/" + path
    return Reference(domain, path, tag or None, digest or None)
