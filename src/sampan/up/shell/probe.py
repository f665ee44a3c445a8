"""Asking a service's own health endpoint, over TCP or a unix socket."""

from __future__ import annotations

import asyncio
from typing import Final

from sampan.up.core.services import Service

__all__ = ["is_ready"]

_TIMEOUT_S: Final = 2.0
_HEAD_BYTES: Final = 4096


async def is_ready(service: Service) -> bool:
    """Tell whether the service answers 200."""
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            return await _status(service) == 200
    except (OSError, TimeoutError, ValueError):
        return False


async def _status(service: Service) -> int:
    if service.socket:
        reader, writer = await asyncio.open_unix_connection(service.socket)
    else:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    try:
        request = (
            f"GET {service.health_path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        writer.write(request.encode())
        head = await reader.read(_HEAD_BYTES)
        return int(head.split(b" ", 2)[1]) if head.startswith(b"HTTP/1.") else 0
    except IndexError:
        return 0
    finally:
        writer.close()
