"""Credentials that a kubelet sends along with a pull."""

from __future__ import annotations

import base64
import binascii

from sampan.base.errors import InvalidError
from sampan.engine.cri.pb.image_pb2 import AuthConfig
from sampan.images.core.challenge import Credentials

__all__ = ["pull_credentials"]


def pull_credentials(auth: AuthConfig) -> Credentials:
    """Return what a registry is shown; `auth` is "user:password" in base64.

    Raises InvalidError, without the secret in its message.
    """
    username, password = auth.username, auth.password
    if auth.auth and not username:
        try:
            pair = base64.b64decode(auth.auth, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise InvalidError("auth.auth is not base64 of user:password") from None
        username, colon, password = pair.partition(":")
        if not colon:
            raise InvalidError("auth.auth is not base64 of user:password")
    return Credentials(
        username=username,
        password=password.rstrip("\0"),
        identity_token=auth.identity_token,
        registry_token=auth.registry_token,
        server=auth.server_address,
    )
