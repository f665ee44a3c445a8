"""The options of the Dockerfile front end: what a client's attributes ask a build to be.

Source: BuildKit's `dockerui` and docs/reference/buildctl.md; docker buildx traced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sampan.base.errors import InvalidError, UnsupportedError
from sampan.engine.buildkit.core.attributes import limits_of, words
from sampan.images.core.platform import Platform, parse_platform
from sampan.images.core.reference import parse_reference

__all__ = [
    "FRONTEND",
    "OPTIONS",
    "REFUSED",
    "FrontendOptions",
    "check_frontend",
    "is_remote",
    "parse_options",
]

FRONTEND: Final = "dockerfile.v0"
_GATEWAY: Final = "gateway.v0"
_IMAGES: Final = ("docker/dockerfile", "docker/dockerfile-upstream")
_CAPABILITIES: Final = frozenset(
    {
        "moby.buildkit.frontend.contexts",
        "moby.buildkit.frontend.contexts+forward",
        "moby.buildkit.frontend.subrequests",
        "moby.buildkit.frontend.subrequests+forward",
        "moby.buildkit.frontend.inputs",
        "moby.buildkit.frontend.gitquerystring",
    }
)
OPTIONS: Final = (
    "filename",
    "target",
    "platform",
    "build-arg:*",
    "label:*",
    "context",
    "context:*",
    "contextkey",
    "dockerfilekey",
    "local-sessionid:*",
    "no-cache",
    "image-resolve-mode",
    "force-network-mode",
    "add-hosts",
    "shm-size",
    "ulimit",
    "cgroup-parent",
    "requestid",
    "frontend.caps",
    "hostname",
)
"""What is read; everything else that a front end may be told changes nothing here."""

REFUSED: Final = ("attest:*", "source", "device")
"""What cannot be honoured, and ends a build."""


@dataclass(frozen=True, slots=True)
class FrontendOptions:
    """What a build shall be. `platforms` is empty for the machine's own.

    `dockerfile_in` and `context` name directories of the client; `context` may be a URL.
    """

    filename: str = "Dockerfile"
    dockerfile_in: str = "dockerfile"
    context: str = "context"
    target: str = ""
    platforms: Sequence[Platform] = ()
    arguments: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)
    """Named contexts that are images."""

    directories: Mapping[str, str] = field(default_factory=dict)
    """Named contexts that are directories of the client, by the client's name for them."""

    sessions: Mapping[str, str] = field(default_factory=dict)
    """Which session has a directory, where it is not the build's own."""

    no_cache: bool = False
    no_cache_stages: frozenset[str] = frozenset()
    pull: bool = False
    network: str = "default"
    extra_hosts: Sequence[str] = ()
    limits: Mapping[str, Any] = field(default_factory=dict)
    request: str = ""
    """What is asked about the Dockerfile in place of building it."""


def is_remote(context: str) -> bool:
    """Tell a context that has an address from one that is a directory of the client."""
    return "://" in context or context.startswith(("git@", "github.com/"))


def check_frontend(name: str, attributes: Mapping[str, str]) -> None:
    """Refuse a front end other than that of Dockerfiles; images of it mean the built-in one."""
    if name == FRONTEND:
        return
    source = attributes.get("source", "")
    if name == _GATEWAY and source and parse_reference(source).familiar_name in _IMAGES:
        return
    raise UnsupportedError(
        f"front end {source or name!r} is not supported: Dockerfiles are built by the engine itself"
    )


def parse_options(attributes: Mapping[str, str], machine: Platform) -> FrontendOptions:
    """Return the options of a request.

    Raises InvalidError for what cannot be, UnsupportedError for what cannot be honoured.
    """
    _refuse(attributes)
    no_cache = attributes.get("no-cache")
    stages = words(no_cache or "")
    images, directories = _contexts(_prefixed(attributes, "context:"))
    return FrontendOptions(
        filename=attributes.get("filename") or "Dockerfile",
        dockerfile_in=attributes.get("dockerfilekey") or "dockerfile",
        context=attributes.get("context") or attributes.get("contextkey") or "context",
        target=attributes.get("target", ""),
        platforms=tuple(
            parse_platform(one, machine) for one in words(attributes.get("platform", ""))
        ),
        arguments=_prefixed(attributes, "build-arg:"),
        labels=_prefixed(attributes, "label:"),
        images=images,
        directories=directories,
        sessions=_prefixed(attributes, "local-sessionid:"),
        no_cache=no_cache is not None and not stages,
        no_cache_stages=frozenset(one.lower() for one in stages),
        pull=attributes.get("image-resolve-mode") == "pull",
        network=_network(attributes.get("force-network-mode", "")),
        extra_hosts=[_host(one) for one in words(attributes.get("add-hosts", ""))],
        limits=limits_of(attributes),
        request=attributes.get("requestid", ""),
    )


def _refuse(attributes: Mapping[str, str]) -> None:
    for name, value in attributes.items():
        if name.startswith("attest:") and not _is_off(value):
            kind = name.partition(":")[2]
            raise UnsupportedError(f"attestations are not supported yet: build with --{kind}=false")
        if name == "device":
            raise UnsupportedError("devices of a build are not supported yet")
    wanted = words(attributes.get("frontend.caps", ""))
    missing = [one for one in wanted if one not in _CAPABILITIES]
    if missing:
        raise UnsupportedError(f"the front end cannot do {missing[0]}")


def _is_off(value: str) -> bool:
    return any(one in ("disabled=true", "false") for one in words(value))


def _prefixed(attributes: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {
        name.removeprefix(prefix): value
        for name, value in attributes.items()
        if name.startswith(prefix)
    }


def _contexts(named: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    images: dict[str, str] = {}
    directories: dict[str, str] = {}
    for full, source in named.items():
        # A context may be meant for one platform: NAME::PLATFORM.
        name = full.partition("::")[0]
        kind, _, rest = source.partition(":")
        if kind == "docker-image":
            images[name] = rest.removeprefix("//")
        elif kind == "local":
            directories[name] = rest
        else:
            raise UnsupportedError(
                f"build context {name!r} is {source!r}: directories and docker-image:// are "
                "supported, other kinds not yet"
            )
    return images, directories


def _network(mode: str) -> str:
    if mode in ("", "default", "sandbox"):
        return "default"
    if mode in ("none", "host"):
        return mode
    raise InvalidError(f"unsupported network mode {mode!r}")


def _host(text: str) -> str:
    name, equals, address = text.partition("=")
    if not equals or not name or not address:
        raise InvalidError(f"invalid host mapping {text!r}: NAME=ADDRESS is needed")
    return f"{name}:{address}"
