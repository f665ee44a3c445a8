"""Making the image and looking at what is in it, through the Docker API."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator
from typing import IO, Any, cast

from sampan.base.errors import SampanError
from sampan.engine.client import Client
from sampan.engine.client.containers import Containers
from sampan.engine.client.context import directory_context
from sampan.engine.client.images import Images
from sampan.ship.core.elf import HEAD_BYTES
from sampan.ship.core.hint import hint_for
from sampan.ship.core.verdict import Verdict, entry_of
from sampan.ship.shell.report import Report, StepFailed
from sampan.ship.shell.source import Source

__all__ = ["build", "megabytes", "verify"]

_TAIL_LINES = 25


def megabytes(size_bytes: int) -> str:
    """Return a size as docker shows it."""
    return f"{size_bytes / 1e6:.1f} MB"


def build(
    client: Client,
    report: Report,
    source: Source,
    tag: str,
    platform: str = "",
    network: str = "",
) -> dict[str, Any]:
    """Build and return the image's document; StepFailed with the builder's last lines."""
    settings = source.settings
    extra = source.generated.encode() if source.generated else None
    context = directory_context(str(source.directory), source.dockerfile, extra)
    query = [("dockerfile", source.dockerfile), ("version", "1"), ("t", tag), ("forcerm", "1")]
    for key, value in (
        ("target", settings.target),
        ("platform", platform),
        ("networkmode", network),
        ("buildargs", json.dumps(dict(source.arguments)) if source.arguments else ""),
    ):
        if value:
            query.append((key, value))
    lines: list[str] = []
    with report.step("build") as step:
        try:
            for note in Images(client).build(context, query):
                _hear(note, lines, report)
            image = Images(client).inspect(tag)
        except SampanError as error:
            output = "\n".join("".join(lines).splitlines()[-_TAIL_LINES:])
            why = str(error).removeprefix("Error response from daemon: ")
            # The steps' own lines name what was tried, not what went wrong.
            printed = re.sub(r"(?m)^Step .*$", "", output)
            otherwise = f"mend {source.dockerfile} or the source, ship again"
            hint = hint_for(f"{_without_command(why)}\n{printed}", otherwise)
            raise StepFailed("build", why, hint, "" if report.verbose else output) from None
        step.text = f"{tag}, {megabytes(image['Size'])}"
    return image


def _without_command(why: str) -> str:
    return re.sub(r"The command '.*' returned", "The command returned", why)


def _hear(note: Any, lines: list[str], report: Report) -> None:
    if not isinstance(note, dict):
        return
    if note.get("error"):
        raise SampanError(str(note["error"]))
    text = str(note.get("stream") or "")
    if text:
        lines.append(text)
        if report.verbose:
            for line in text.splitlines():
                report.say(f"  | {line}")


def verify(client: Client, report: Report, image: dict[str, Any], container: str) -> None:
    """Look at the programs of a created container; StepFailed when its own will not run."""
    with report.step("verify") as step:
        verdict = Verdict(str(image.get("Architecture") or ""), entry_of(image.get("Config") or {}))
        response = Containers(client).export(container)
        with tarfile.open(
            fileobj=cast(IO[bytes], _Stream(response.chunks())), mode="r|"
        ) as archive:
            for member in archive:
                _look(archive, member, verdict)
        # What is left of the stream is padding; read, the connection can be used again.
        response.read()
        for why, hint in verdict.problems():
            raise StepFailed("verify", why, hint)
        count = f"{verdict.checked} program{'s' if verdict.checked != 1 else ''}"
        step.text = f"{count} for {image.get('Os')}/{verdict.architecture}"
        if verdict.foreign:
            step.text += f", {len(verdict.foreign)} of them for other machines"


def _look(archive: tarfile.TarFile, member: tarfile.TarInfo, verdict: Verdict) -> None:
    path = "/" + member.name.strip("./") if member.name.startswith("./") else f"/{member.name}"
    path = path.rstrip("/")
    link = f"/{member.linkname}" if member.islnk() else member.linkname if member.issym() else ""
    verdict.add_name(path, link)
    if member.isreg() and member.mode & 0o111:
        file = archive.extractfile(member)
        if file is not None:
            verdict.add_program(path, file.read(HEAD_BYTES))


class _Stream:
    """Chunks as a file to read from."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = bytearray()

    def read(self, size: int = -1) -> bytes:
        while size < 0 or len(self._rest) < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._rest += chunk
        end = len(self._rest) if size < 0 else size
        data = bytes(self._rest[:end])
        del self._rest[:end]
        return data
