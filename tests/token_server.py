"""A token server for a registry: tokens by password and by refresh token, signed for it."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

__all__ = ["TokenServer"]

SERVICE = "loopback registry"
REFRESH = "the refresh token"


class TokenServer:
    """Gives tokens on loopback until it is closed; anonymous ones allow to pull `public/*`."""

    def __init__(self, certificate: Path, key: Path, users: Mapping[str, str]) -> None:
        self._key = key.read_text()
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        self._chain = [base64.b64encode(found.public_bytes(Encoding.DER)).decode()]
        self._certificate = certificate
        self._users = users
        self.asked: list[str] = []
        server = self

        class Handler(_Handler):
            owner = server

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def configuration(self) -> dict[str, str]:
        """What a registry has to know of it."""
        return {
            "realm": f"http://127.0.0.1:{self._server.server_address[1]}/token",
            "service": SERVICE,
            "issuer": "tests",
            "rootcertbundle": str(self._certificate),
        }

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def knows(self, user: str, password: str) -> bool:
        """Tell whether that is a user."""
        return self._users.get(user) == password

    def token(self, user: str, scopes: list[str]) -> str:
        """A token for the scopes that a user may have."""
        access = []
        for scope in " ".join(scopes).split():
            kind, name, actions = scope.split(":")
            allowed = ["pull", "push"] if user else ["pull"] if name.startswith("public/") else []
            granted = [one for one in actions.split(",") if one in allowed]
            access.append({"type": kind, "name": name, "actions": granted})
        now = int(time.time())
        claims: dict[str, object] = {
            "iss": "tests",
            "sub": user,
            "aud": SERVICE,
            "exp": now + 300,
            "access": access,
        }
        claims |= {"nbf": now - 10, "iat": now, "jti": str(len(self.asked))}
        return jwt.encode(claims, self._key, algorithm="ES256", headers={"x5c": self._chain})


class _Handler(BaseHTTPRequestHandler):
    owner: TokenServer

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        self.owner.asked.append(f"GET {self.path}")
        user = ""
        given = self.headers.get("Authorization", "")
        if given:
            user, _, password = base64.b64decode(given.partition(" ")[2]).decode().partition(":")
            if not self.owner.knows(user, password):
                self._say(401, {"details": "incorrect username or password"})
                return
        answer = {"token": self.owner.token(user, query.get("scope", []))}
        if query.get("offline_token"):
            answer["refresh_token"] = REFRESH
        self._say(200, answer)

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        form = parse_qs(self.rfile.read(length).decode())
        self.owner.asked.append(f"POST {form['grant_type'][0]}")
        if form.get("refresh_token") != [REFRESH]:
            self._say(401, {"details": "unknown refresh token"})
            return
        scopes = form.get("scope", [])
        self._say(200, {"access_token": self.owner.token("me", scopes), "expires_in": 300})

    def _say(self, status: int, document: Mapping[str, object]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
