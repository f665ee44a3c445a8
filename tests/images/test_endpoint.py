"""Where registries are, what they ask for, and who is told what."""

from __future__ import annotations

import base64
import json

import pytest

from sampan.base.errors import InvalidError
from sampan.images.core.challenge import (
    Challenge,
    credentials_for,
    credentials_of,
    decode_credentials,
    decode_registries,
    parse_challenges,
)
from sampan.images.core.endpoint import endpoints, is_insecure, proxy_for
from sampan.images.core.reference import parse_reference


def urls(name: str, *, push: bool = False, insecure: tuple[str, ...] = ()) -> list[str]:
    found = endpoints(
        parse_reference(name), mirrors=["http://mirror:80/p"], insecure=insecure, push=push
    )
    return [one.url for one in found]


def test_endpoints_in_order() -> None:
    assert urls("busybox") == ["http://mirror:80/p", "https://registry-1.docker.io"]
    assert urls("busybox", push=True) == ["https://registry-1.docker.io"]
    assert urls("example.org/a") == ["https://example.org"]
    assert urls("localhost:5000/a") == ["https://localhost:5000", "http://localhost:5000"]
    assert urls("10.1.2.3:5000/a", insecure=("10.0.0.0/8",)) == [
        "https://10.1.2.3:5000",
        "http://10.1.2.3:5000",
    ]


def test_loopback_goes_without_tls() -> None:
    assert is_insecure("127.0.0.1:5000", ())
    assert is_insecure("[::1]:5000", ())
    assert not is_insecure("localhost.example.org", ())
    assert is_insecure("example.org:5000", ("example.org:5000",))
    assert not is_insecure("example.org", ("10.0.0.0/8", "other"))


def test_proxies() -> None:
    def proxy(url: str, without: str = "") -> str | None:
        return proxy_for(url, "plain:1", "http://secure:2", without)

    assert proxy("http://a.org/v2/") == "http://plain:1"
    assert proxy("https://a.org/v2/") == "http://secure:2"
    for without in ("*", "a.org", ".org", "b.com, a.org"):
        assert proxy("https://a.org/v2/", without) is None
    assert proxy("https://10.1.1.1/", "10.0.0.0/8") is None
    assert proxy("https://xa.org/", "a.org") is not None
    assert proxy("http://localhost:5000/") is None


def test_challenges() -> None:
    bearer = 'Bearer realm="https://a/t?x=1,2",service="s \\"q\\"",scope="repository:a:pull,push"'
    assert parse_challenges([bearer + ", Basic realm=x"]) == [
        Challenge(
            "bearer",
            {
                "realm": "https://a/t?x=1,2",
                "service": 's "q"',
                "scope": "repository:a:pull,push",
            },
        ),
        Challenge("basic", {"realm": "x"}),
    ]
    assert parse_challenges(["Negotiate", "Basic realm="]) == [
        Challenge("negotiate"),
        Challenge("basic"),
    ]
    assert parse_challenges(["", "\x00", '"']) == []


def test_credentials() -> None:
    document = {"username": "Ü", "password": "?>p", "serveraddress": "a:1"}
    raw = json.dumps(document).encode()
    for text in (base64.b64encode(raw), base64.urlsafe_b64encode(raw).rstrip(b"=")):
        found = decode_credentials(text.decode())
        assert (found.username, found.password, found.server) == ("Ü", "?>p", "a:1")
    assert not decode_credentials("")
    assert not decode_credentials("e30=")
    assert credentials_of({"auth": base64.b64encode(b"me:a:b").decode()}).password == "a:b"
    several = base64.b64encode(json.dumps({"a:1": document, "b": 7}).encode()).decode()
    known = decode_registries(several)
    assert credentials_for(known, "a:1").username == "Ü"
    assert not credentials_for(known, "b")
    hub = {"https://index.docker.io/v1/": credentials_of(document)}
    assert credentials_for(hub, "docker.io")
    with pytest.raises(InvalidError):
        decode_credentials("%%%")
    assert "secret" not in repr(credentials_of({"username": "me", "password": "secret"}))
