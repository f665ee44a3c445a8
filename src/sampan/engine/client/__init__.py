"""A blocking client for the Docker Engine API, of our own daemon or another."""

from sampan.engine.client.address import Address, Tls, daemon_address, tls_files
from sampan.engine.client.client import ApiError, Client
from sampan.engine.client.frames import STDERR, STDOUT, frames
from sampan.engine.client.hijack import Hijacked
from sampan.engine.client.transport import Response

__all__ = [
    "STDERR",
    "STDOUT",
    "Address",
    "ApiError",
    "Client",
    "Hijacked",
    "Response",
    "Tls",
    "daemon_address",
    "frames",
    "tls_files",
]
