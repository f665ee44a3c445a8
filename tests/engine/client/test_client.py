"""The client alone: addresses, answers of any form and of none, streams, credentials."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.base.errors import DeniedError, InvalidError, SampanError, UnavailableError
from sampan.engine.client.address import Address, Tls, daemon_address
from sampan.engine.client.client import ApiError, Client, json_documents, negotiated, quoted
from sampan.engine.client.credentials import Credential, Credentials, registry_header
from sampan.engine.client.frames import frames


@pytest.mark.parametrize(
    ("host", "wanted"),
    [
        ("unix:///run/x.sock", Address("unix:///run/x.sock", path="/run/x.sock")),
        ("tcp://box", Address("tcp://box", host="box", port=2375)),
        ("tcp://box:1", Address("tcp://box:1", host="box", port=1)),
        ("tcp://[::1]:1", Address("tcp://[::1]:1", host="::1", port=1)),
        ("http://box:1/", Address("http://box:1/", host="box", port=1)),
    ],
)
def test_addresses(host: str, wanted: Address) -> None:
    assert daemon_address({"DOCKER_HOST": host}) == wanted
    assert daemon_address({"DOCKER_HOST": "tcp://no"}, host) == wanted
    assert daemon_address({"DOCKER_HOST": "tcp://no", "SAMPAN_HOST": host}) == wanted


@pytest.mark.parametrize("host", ["box:1", "tcp://", "tcp://box:no", "tcp://box:99999", "ssh://b"])
def test_what_is_no_address(host: str) -> None:
    with pytest.raises(SampanError, match=r"parse docker host|invalid port|not supported"):
        daemon_address({}, host)


def test_the_environment_asks_for_tls(tmp_path: Path) -> None:
    for name in ("ca", "cert", "key"):
        (tmp_path / f"{name}.pem").touch()
    known = {"DOCKER_CERT_PATH": str(tmp_path), "DOCKER_TLS_VERIFY": "1"}
    found = daemon_address(known, "tcp://box")
    files = [str(tmp_path / f"{name}.pem") for name in ("ca", "cert", "key")]
    assert (found.port, found.tls) == (2376, Tls(files[0], files[1], files[2], verify=True))


@contextmanager
def answering(place: Path, *answers: bytes) -> Iterator[Client]:
    """A server that gives each connection the next answer, whatever is asked, and closes it."""
    path = str(place / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def serve() -> None:
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    while b"\r\n\r\n" not in connection.recv(1 << 16, socket.MSG_PEEK):
                        pass
                    connection.recv(1 << 16)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        client = Client(Address(f"unix://{path}", path=path), "1.50")
        try:
            yield client
        finally:
            client.close()
            thread.join()


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Content-Length: 7\r\n\r\n" + b'{"a":1}',
        OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n4;x=y\r\n\":1}\r\n0\r\nT: x\r\n\r\n",
        OK + b"\r\n" + b'{"a":1}',
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"content-length: 7\r\n\r\n" + b'{"a":1}',
        b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n" + b'{"a":1}',
    ],
    ids=["counted", "chunked", "until the end", "after another", "old"],
)  # fmt: skip
def test_answers_of_any_form(tmp_path: Path, answer: bytes) -> None:
    with answering(tmp_path, answer) as client:
        assert client.call("GET", "/x") == {"a": 1}


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (b"", UnavailableError, "closed the connection"),
        (OK + b"Content-Length: 9\r\n\r\n{}", UnavailableError, "closed the connection"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n9\r\n{}", UnavailableError, "closed"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", SampanError, "wrong chunk"),
        (b"SSH-2.0-x\r\n\r\n", SampanError, "not a Docker daemon"),
        (
            b'HTTP/1.1 409 Conflict\r\nContent-Length: 19\r\n\r\n{"message":"in use"',
            ApiError,
            "Error response from daemon: ",
        ),
        (
            b'HTTP/1.1 404 Gone\r\nContent-Length: 17\r\n\r\n{"message":"no x"}',
            ApiError,
            "Error response from daemon: ",
        ),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", ApiError, "daemon: status 500"),
    ],
)
def test_answers_that_are_none(
    tmp_path: Path, answer: bytes, error: type[Exception], words: str
) -> None:
    with answering(tmp_path, answer) as client, pytest.raises(error) as caught:
        client.call("GET", "/x")
    assert words in str(caught.value)


def test_nobody_listens(tmp_path: Path) -> None:
    client = Client(Address("unix:///x", path=str(tmp_path / "no")))
    with pytest.raises(UnavailableError, match="Is the docker daemon running"):
        client.call("GET", "/x")


def test_a_body_that_cannot_be_finished_is_cut_off(tmp_path: Path) -> None:
    path = str(tmp_path / "s")

    def body() -> Iterator[bytes]:
        yield b"half"
        raise SampanError("a file went away")

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        client = Client(Address(f"unix://{path}", path=path), "1.50")
        with pytest.raises(SampanError, match="went away"):
            client.open("POST", "/build", None, body())
        client.close()
        connection, _ = listener.accept()
        with connection:
            seen = b""
            while data := connection.recv(1 << 16):
                seen += data
    assert seen.endswith(b"\r\n\r\n4\r\nhalf\r\n")


def test_versions() -> None:
    assert [negotiated(text) for text in ("1.41", "1.50", "1.99", "", "2.0")] == [
        "1.41", "1.50", "1.50", "1.40", "1.50",
    ]  # fmt: skip
    with pytest.raises(SampanError, match="too old"):
        negotiated("1.24")


def test_paths_are_quoted() -> None:
    assert quoted("a/b:c@d?e f&g=ü%") == "a/b:c@d%3Fe%20f%26g%3D%C3%BC%25"


PIECES = st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=40)), max_size=8)


@given(PIECES, st.integers(1, 9))
def test_frames_however_they_are_cut(pieces: list[tuple[int, bytes]], size: int) -> None:
    data = b"".join(
        bytes([stream, 0, 0, 0]) + len(text).to_bytes(4) + text for stream, text in pieces
    )
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    found = list(frames(chunks))
    for stream in (1, 2):
        wanted = b"".join(text for kind, text in pieces if kind == stream)
        assert b"".join(text for kind, text in found if kind == stream) == wanted


def test_what_is_no_frame() -> None:
    with pytest.raises(SampanError, match="Unrecognized input header: 104"):
        list(frames([b"hello world"]))
    with pytest.raises(SampanError, match="error from daemon in stream: lost"):
        list(frames([b"\3\0\0\0\0\0\0\4lo", b"st"]))


def test_documents_however_they_are_cut() -> None:
    data = b'{"a":1}\r\n\n{"b":"\xc3\xbc"}\n{"c":2}'
    for size in range(1, 9):
        chunks = [data[at : at + size] for at in range(0, len(data), size)]
        assert list(json_documents(chunks)) == [{"a": 1}, {"b": "ü"}, {"c": 2}]
    with pytest.raises(SampanError, match="sent no JSON"):
        list(json_documents([b"<html>\n"]))


def test_credentials_of_the_file(tmp_path: Path) -> None:
    store = Credentials(str(tmp_path / "home"))
    assert store.get("registry:5000") is None
    given = Credential("registry:5000", "ann", "se:cret")
    assert store.store(given) == ""
    store.store(Credential("https://index.docker.io/v1/", "bob", identity_token="token"))
    path = tmp_path / "home/config.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert store.get("registry:5000") == given == store.get("https://registry:5000/v2/")
    found = store.get("docker.io")
    assert found is not None and found.identity_token == "token"
    assert len(store.everything()) == 2
    assert store.erase("registry:5000") and not store.erase("registry:5000")
    assert store.get("registry:5000") is None
    assert json.loads(_decoded(registry_header(given))) == {
        "username": "ann", "password": "se:cret", "serveraddress": "registry:5000",
    }  # fmt: skip


def _decoded(text: str) -> bytes:
    import base64

    return base64.urlsafe_b64decode(text)


def test_other_settings_stay(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"psFormat": "x", "auths": {"a": {"auth": "YTpi"}}}')
    Credentials(str(tmp_path)).store(Credential("b", "c", "d"))
    assert json.loads(path.read_text())["psFormat"] == "x"
    assert Credentials(str(tmp_path)).get("a") == Credential("a", "a", "b")
    for text in ("{", "[]", '{"auths": {"a": {"auth": "%%"}}}'):
        path.write_text(text)
        with pytest.raises(InvalidError):
            Credentials(str(tmp_path)).get("a")


HELPER = """#!/bin/sh
read server || true
echo "$1 $server" >> "$LOG"
case "$1 $server" in
"get token") echo '{"ServerURL": "token", "Username": "<token>", "Secret": "T"}';;
"get known") echo '{"ServerURL": "known", "Username": "ann", "Secret": "S"}';;
"get broken") echo "oh no"; exit 1;;
"get "*) echo "credentials not found in native keychain"; exit 1;;
esac
"""


def test_credentials_of_a_helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "docker-credential-own"
    program.write_text(HELPER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    path = tmp_path / "config.json"
    path.write_text('{"credsStore": "own", "credHelpers": {"other": "gone"}}')
    store = Credentials(str(tmp_path))
    assert store.get("known") == Credential("known", "ann", "S")
    assert store.get("token") == Credential("token", identity_token="T")
    assert store.get("unknown") is None
    with pytest.raises(DeniedError, match="oh no"):
        store.get("broken")
    with pytest.raises(SampanError, match=r"docker-credential-gone.*not found"):
        store.get("other")
    assert store.store(Credential("new", "x", "secret")) == "own"
    assert "secret" not in path.read_text()
    assert store.erase("new")
    assert (tmp_path / "log").read_text().splitlines()[-2:] == [
        'store {"ServerURL": "new", "Username": "x", "Secret": "secret"}',
        "erase new",
    ]
