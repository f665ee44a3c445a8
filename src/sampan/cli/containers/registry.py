"""`pull`, `push` and `search`."""

from __future__ import annotations

import sys
from typing import TextIO

from sampan.cli.containers.command import Command, Failure
from sampan.cli.containers.core.flags import Flag, Parsed
from sampan.cli.containers.core.kinds import BOOL, FILTER, INTEGER, STRING
from sampan.cli.containers.listing import FORMAT, NO_TRUNC, output
from sampan.cli.containers.progress import show
from sampan.cli.containers.session import Session
from sampan.engine.client.credentials import DEFAULT_REGISTRY, registry_header
from sampan.images.core.reference import Reference, parse_reference

__all__ = ["PULL", "PUSH", "SEARCH", "pull_image"]


def _header(session: Session, reference: Reference) -> str:
    server = DEFAULT_REGISTRY if reference.domain == "docker.io" else reference.domain
    return registry_header(session.credentials.get(server))


def pull_image(
    session: Session,
    image: str,
    platform: str,
    quiet: bool,
    out: TextIO,
    every_tag: bool = False,
) -> str:
    """Let the daemon fetch an image and show how far it is; returns the image's full name."""
    reference = parse_reference(image)
    tag = "" if every_tag else reference.digest or reference.tag or "latest"
    documents = session.images.pull(reference.name, tag, platform, _header(session, reference))
    show(documents, out, quiet)
    if every_tag:
        return reference.name
    return reference.name + ("@" if reference.digest else ":") + tag


def _pull(session: Session, parsed: Parsed) -> int:
    image = parsed.arguments[0]
    reference = parse_reference(image)
    every_tag, quiet = parsed.on("all-tags"), parsed.on("quiet")
    if every_tag and (reference.tag or reference.digest):
        raise Failure("tag can't be used with --all-tags/-a")
    if not quiet and not every_tag and not reference.tag and not reference.digest:
        print("Using default tag: latest", flush=True)
    print(pull_image(session, image, parsed.text("platform"), quiet, sys.stdout, every_tag))
    return 0


def _push(session: Session, parsed: Parsed) -> int:
    reference = parse_reference(parsed.arguments[0])
    every_tag, quiet = parsed.on("all-tags"), parsed.on("quiet")
    if reference.digest:
        raise Failure("cannot push a digest reference")
    if every_tag and reference.tag:
        raise Failure("tag can't be used with --all-tags/-a")
    if not every_tag and not reference.tag:
        reference = reference.tagged()
        if not quiet:
            print("Using default tag: latest", flush=True)
    documents = session.images.push(
        reference.name,
        "" if every_tag else reference.tag or "",
        parsed.text("platform"),
        _header(session, reference),
    )
    show(documents, sys.stdout, quiet)
    if quiet:
        print(reference.familiar)
    return 0


def _search(session: Session, parsed: Parsed) -> int:
    from sampan.cli.containers.core.rows import search_row

    found = session.images.search(
        parsed.arguments[0], parsed.number("limit"), parsed.each("filter")
    )
    shorten = not parsed.on("no-trunc")
    output(parsed, "search", [search_row(one, shorten) for one in found])
    return 0


_PLATFORM = Flag("platform", STRING, "Set platform if server is multi-platform capable")
PULL = Command(
    "[OPTIONS] NAME[:TAG|@DIGEST]",
    _pull,
    (
        Flag("all-tags", BOOL, "Download all tagged images in the repository", "a"),
        Flag("disable-content-trust", BOOL, "Skip image verification; the only way", default=True),
        _PLATFORM,
        Flag("quiet", BOOL, "Suppress verbose output", "q"),
    ),
    least=1,
    most=1,
)
PUSH = Command(
    "[OPTIONS] NAME[:TAG]",
    _push,
    (
        Flag("all-tags", BOOL, "Push all tags of an image to the repository", "a"),
        Flag("disable-content-trust", BOOL, "Skip image signing; the only way", default=True),
        _PLATFORM,
        Flag("quiet", BOOL, "Suppress verbose output", "q"),
    ),
    least=1,
    most=1,
)
SEARCH = Command(
    "[OPTIONS] TERM",
    _search,
    (
        Flag("filter", FILTER, "Filter output based on conditions provided", "f"),
        FORMAT,
        Flag("limit", INTEGER, "Max number of search results"),
        NO_TRUNC,
    ),
    least=1,
    most=1,
)
