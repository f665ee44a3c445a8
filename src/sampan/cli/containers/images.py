"""Images of the daemon: list, history, tag, remove."""

from __future__ import annotations

import sys
import time

from sampan.base.errors import InvalidError, SampanError
from sampan.cli.containers.command import Command, Failure
from sampan.cli.containers.core.flags import Flag, Parsed
from sampan.cli.containers.core.image_rows import image_rows
from sampan.cli.containers.core.kinds import BOOL
from sampan.cli.containers.core.rows import LISTS, history_row
from sampan.cli.containers.listing import FILTERS, FORMAT, NO_TRUNC, QUIET, output
from sampan.cli.containers.session import Session
from sampan.engine.client.client import ApiError
from sampan.images.core.reference import parse_reference

__all__ = ["HISTORY", "LIST", "REMOVE", "TAG"]

_WITH_DIGESTS = r"{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"


def _list(session: Session, parsed: Parsed) -> int:
    wanted = list(parsed.each("filter"))
    wanted += [("reference", name) for name in parsed.arguments]
    digests = parsed.on("digests")
    found = session.images.list(parsed.on("all"), wanted=wanted)
    with_digests = digests or ".Digest" in parsed.text("format")
    rows = image_rows(found, time.time(), not parsed.on("no-trunc"), with_digests)
    output(parsed, "image", rows, "ID", _WITH_DIGESTS if digests else "")
    return 0


def _history(session: Session, parsed: Parsed) -> int:
    shorten, human = not parsed.on("no-trunc"), parsed.on("human")
    layers = session.images.history(parsed.arguments[0])
    now_s = time.time()
    rows = [history_row(layer, now_s, shorten, human) for layer in layers]
    # Without --human the moment stands where its age would.
    columns = "" if human else LISTS["history"][0].replace(".CreatedSince", ".CreatedAt")
    output(parsed, "history", rows, "ID", columns)
    return 0


def _tag(session: Session, parsed: Parsed) -> int:
    source, target = parsed.arguments
    try:
        reference = parse_reference(target)
    except InvalidError as error:
        raise Failure(
            f'Error parsing reference: "{target}" is not a valid repository/tag: {error}'
        ) from None
    if reference.digest:
        raise Failure("refusing to create a tag with a digest reference")
    session.images.tag(source, reference.name, reference.tagged().tag or "")
    return 0


def _remove(session: Session, parsed: Parsed) -> int:
    force, failures = parsed.on("force"), []
    fatal = False
    for name in parsed.arguments:
        try:
            gone = session.images.remove(name, force, not parsed.on("no-prune"))
        except SampanError as error:
            absent = isinstance(error, ApiError) and error.status == 404
            fatal = fatal or not (absent and force)
            failures.append(str(error))
            continue
        for one in gone:
            print(
                f"Deleted: {one['Deleted']}" if "Deleted" in one else f"Untagged: {one['Untagged']}"
            )
    if failures and fatal:
        raise Failure("\n".join(failures))
    for words in failures:
        print(words, file=sys.stderr)
    return 0


LIST = Command(
    "[OPTIONS] [REPOSITORY[:TAG]]",
    _list,
    (
        Flag("all", BOOL, "Show all images (default hides intermediate images)", "a"),
        Flag("digests", BOOL, "Show digests"),
        FILTERS,
        FORMAT,
        NO_TRUNC,
        QUIET,
    ),
    most=1,
)
HISTORY = Command(
    "[OPTIONS] IMAGE",
    _history,
    (
        FORMAT,
        Flag("human", BOOL, "Print sizes and dates in human readable format", "H", True),
        NO_TRUNC,
        QUIET,
    ),
    least=1,
    most=1,
)
TAG = Command("SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", _tag, least=2, most=2)
REMOVE = Command(
    "[OPTIONS] IMAGE [IMAGE...]",
    _remove,
    (
        Flag("force", BOOL, "Force removal of the image", "f"),
        Flag("no-prune", BOOL, "Do not delete untagged parents"),
    ),
    least=1,
)
