"""A container's files: `export` as an archive, `commit` as an image."""

from __future__ import annotations

from sampan.cli.containers.archives import check_output, outgoing
from sampan.cli.containers.command import Command, Failure
from sampan.cli.containers.core.flags import Flag, Parsed
from sampan.cli.containers.core.kinds import BOOL, LIST, STRING
from sampan.cli.containers.session import Session

__all__ = ["COMMIT", "EXPORT"]


def _export(session: Session, parsed: Parsed) -> int:
    path = parsed.text("output")
    try:
        check_output(path, "export")
    except Failure as failure:
        raise Failure(f"failed to export container: {failure}" if path else str(failure)) from None
    outgoing(session.containers.export(parsed.arguments[0]), path)
    return 0


def _commit(session: Session, parsed: Parsed) -> int:
    from sampan.images.core.reference import parse_reference

    container, *rest = parsed.arguments
    repository = tag = ""
    if rest:
        reference = parse_reference(rest[0])
        if reference.digest:
            raise Failure("refusing to create a tag with a digest reference")
        repository, tag = reference.name, reference.tagged().tag or ""
    identity = session.images.commit(
        container,
        repository,
        tag,
        parsed.text("message"),
        parsed.text("author"),
        parsed.each("change"),
        parsed.on("pause"),
    )
    print(identity)
    return 0


EXPORT = Command(
    "[OPTIONS] CONTAINER",
    _export,
    (Flag("output", STRING, "Write to a file, instead of STDOUT", "o"),),
    least=1,
    most=1,
)
COMMIT = Command(
    "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
    _commit,
    (
        Flag("author", STRING, 'Author, as in "Ann Other <ann@example.org>"', "a"),
        Flag("change", LIST, "Apply Dockerfile instruction to the created image", "c"),
        Flag("message", STRING, "Commit message", "m"),
        Flag("pause", BOOL, "Pause container during commit", "p", True),
    ),
    least=1,
    most=2,
)
