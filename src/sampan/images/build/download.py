"""ADD of a URL: fetched into the spool, bounded, and verified when a checksum is given."""

from __future__ import annotations

import contextlib
import hashlib
import posixpath
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, Final
from urllib.parse import unquote, urlsplit

from sampan.base.errors import InvalidError, LimitError, UnavailableError
from sampan.images.core.build.repository import shown_url

__all__ = ["Downloaded", "download"]

_SIZE_LIMIT: Final = 8 << 30
_CHUNK_BYTES: Final = 256 * 1024
_TIMEOUT_S: Final = 60


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A fetched file; `digest` is its SHA-256. The caller removes it."""

    path: Path
    name: str
    digest: str
    mtime_ns: int


async def download(
    url: str, checksum: str, spool: Path, limit_bytes: int = _SIZE_LIMIT
) -> Downloaded:
    """Fetch a file over HTTP; its name is the URL's last part, perhaps empty.

    Raises InvalidError for a wrong checksum, UnavailableError when it
    cannot be fetched, LimitError when it is too large. Nothing stays then.
    """
    import aiohttp  # heavy, and seldom needed

    name = posixpath.basename(unquote(urlsplit(url).path))
    shown = shown_url(url)
    digest = hashlib.sha256()
    size, modified = 0, ""
    timeout = aiohttp.ClientTimeout(total=None, sock_read=_TIMEOUT_S, connect=_TIMEOUT_S)
    with _spooled(spool) as file:
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(url) as answer,
            ):
                if answer.status != 200:
                    raise UnavailableError(f"{shown}: the server answered {answer.status}")
                modified = answer.headers.get("Last-Modified", "")
                async for data in answer.content.iter_chunked(_CHUNK_BYTES):
                    size += len(data)
                    if size > limit_bytes:
                        raise LimitError(f"{shown} is larger than {limit_bytes} bytes")
                    digest.update(data)
                    file.write(data)
        except aiohttp.ClientError as error:
            raise UnavailableError(f"{shown}: {error}") from None
        found = digest.hexdigest()
        if checksum and checksum.removeprefix("sha256:") != found:
            raise InvalidError(f"digest mismatch for {shown}: sha256:{found} is not {checksum}")
    return Downloaded(Path(file.name), name, found, _nanoseconds(modified))


@contextlib.contextmanager
def _spooled(spool: Path) -> Iterator[IO[bytes]]:
    """Make a file that stays only when all goes well."""
    with tempfile.NamedTemporaryFile(dir=spool, prefix="url-", delete=False) as file:
        try:
            yield file
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _nanoseconds(date: str) -> int:
    try:
        return round(parsedate_to_datetime(date).timestamp() * 1e9)
    except (ValueError, TypeError):
        return 0
