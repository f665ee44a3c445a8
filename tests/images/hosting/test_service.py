"""The registry from outside: raw requests, skopeo, and the docker command line."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import bcrypt
import pytest
from tests.busybox import docker_archive, root_tar
from tests.certificates import Authority
from tests.real import ROOT, require

from sampan.images.core.hosting.routes import parse_path
from sampan.images.hosting.service import ENDPOINTS

EMPTY = b"{}"
NONE = "sha256:" + "0" * 64
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def digest(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


@dataclass(slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The first error's code."""
        return str(json.loads(self.body)["errors"][0]["code"])


@dataclass(slots=True)
class Registry:
    port: int
    process: subprocess.Popen[bytes]

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, dict(headers or {}))
            found = connection.getresponse()
            return Answer(found.status, {k.lower(): v for k, v in found.getheaders()}, found.read())
        finally:
            connection.close()

    def push_blob(self, name: str, data: bytes) -> str:
        name_ = digest(data)
        found = self.ask("POST", f"/v2/{name}/blobs/uploads/?digest={name_}", data)
        assert found.status == 201, found.body
        return name_

    def push_image(self, name: str, tag: str, layer: bytes = b"layer", **more: object) -> str:
        config, blob = self.push_blob(name, EMPTY), self.push_blob(name, layer)
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": "application/x", "digest": config, "size": len(EMPTY)},
            "layers": [{"mediaType": "application/y", "digest": blob, "size": len(layer)}],
            **more,
        }
        raw = json.dumps(document).encode()
        reference = tag or digest(raw)
        found = self.ask(
            "PUT", f"/v2/{name}/manifests/{reference}", raw, {"Content-Type": MANIFEST}
        )
        assert found.status == 201, found.body
        return digest(raw)


@contextlib.contextmanager
def running(root: Path, *flags: str) -> Iterator[Registry]:
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "sampan.cli.main", "registry"),
            *("--root", str(root), "--listen", "127.0.0.1:0"),
            *flags,
        ],
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            match = re.search(rb"listens on https?://127\.0\.0\.1:(\d+)", line)
            if match:
                break
        else:
            raise AssertionError("the registry did not start")
        yield Registry(int(match[1]), process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
        process.stderr.close()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with running(tmp_path_factory.mktemp("registry")) as found:
        yield found


def test_a_blob_in_chunks_that_goes_on_where_it_stopped(registry: Registry) -> None:
    data = os.urandom(300_000)
    begun = registry.ask("POST", "/v2/chunks/blobs/uploads/")
    assert begun.status == 202
    place = begun.headers["location"]
    first = registry.ask("PATCH", place, data[:100_000], {"Content-Range": "0-99999"})
    assert (first.status, first.headers["range"]) == (202, "0-99999")
    early = registry.ask("PATCH", place, data[150_000:], {"Content-Range": "150000-299999"})
    assert early.status == 416
    status = registry.ask("GET", place)
    assert (status.status, status.headers["range"]) == (204, "0-99999")
    registry.ask("PATCH", place, data[100_000:200_000])
    done = registry.ask("PUT", f"{place}?digest={digest(data)}", data[200_000:])
    assert (done.status, done.headers["docker-content-digest"]) == (201, digest(data))
    assert registry.ask("GET", done.headers["location"]).body == data
    part = registry.ask("GET", done.headers["location"], headers={"Range": "bytes=10-19"})
    assert (part.status, part.body) == (206, data[10:20])
    assert part.headers["content-range"] == "bytes 10-19/300000"
    head = registry.ask("HEAD", done.headers["location"])
    assert (head.status, head.headers["content-length"], head.body) == (200, "300000", b"")


def test_a_wrong_digest_stores_nothing(registry: Registry) -> None:
    wrong = digest(b"other")
    found = registry.ask("POST", f"/v2/wrong/blobs/uploads/?digest={wrong}", b"data")
    assert (found.status, found.code) == (400, "DIGEST_INVALID")
    for one in (wrong, digest(b"data")):
        assert registry.ask("HEAD", f"/v2/wrong/blobs/{one}").status == 404


def test_sha512_names_a_blob_too(registry: Registry) -> None:
    name = digest(b"long name", "sha512")
    assert registry.ask("POST", f"/v2/x/blobs/uploads/?digest={name}", b"long name").status == 201
    assert registry.ask("GET", f"/v2/x/blobs/{name}").body == b"long name"


def test_an_upload_that_is_cancelled_is_gone(registry: Registry) -> None:
    place = registry.ask("POST", "/v2/gone/blobs/uploads/").headers["location"]
    assert registry.ask("DELETE", place).status == 204
    again = registry.ask("PATCH", place, b"x")
    assert (again.status, again.code) == (404, "BLOB_UPLOAD_UNKNOWN")
    other = place.replace("/gone/", "/other/")
    assert registry.ask("GET", other).code == "BLOB_UPLOAD_UNKNOWN"


def test_a_manifest_needs_its_blobs(registry: Registry) -> None:
    missing = digest(b"never pushed")
    document = {
        "schemaVersion": 2,
        "config": {"mediaType": "a/b", "digest": missing, "size": 1},
        "layers": [],
    }
    raw = json.dumps(document).encode()
    found = registry.ask("PUT", "/v2/holes/manifests/x", raw, {"Content-Type": MANIFEST})
    assert found.code == "MANIFEST_BLOB_UNKNOWN"
    assert registry.ask("GET", "/v2/holes/manifests/x").code == "MANIFEST_UNKNOWN"


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b'{"schemaVersion": 1}', b"x" * (5 << 20)])
def test_what_is_no_manifest_is_refused(registry: Registry, raw: bytes) -> None:
    found = registry.ask("PUT", "/v2/bad/manifests/x", raw, {"Content-Type": MANIFEST})
    assert found.status in (400, 413)


def test_a_blob_is_mounted_from_another_repository(registry: Registry) -> None:
    blob = registry.push_blob("origin", b"to be mounted")
    found = registry.ask("POST", f"/v2/target/blobs/uploads/?mount={blob}&from=origin")
    assert found.status == 201
    assert registry.ask("GET", f"/v2/target/blobs/{blob}").body == b"to be mounted"
    missing = registry.ask("POST", f"/v2/target/blobs/uploads/?mount={digest(b'no')}&from=origin")
    assert missing.status == 202
    assert registry.ask("GET", f"/v2/stranger/blobs/{blob}").status == 404


def test_tags_and_catalog_come_in_pages(registry: Registry) -> None:
    for tag in ("v1", "v2", "v3"):
        registry.push_image("paged", tag)
    first = registry.ask("GET", "/v2/paged/tags/list?n=2")
    assert json.loads(first.body) == {"name": "paged", "tags": ["v1", "v2"]}
    following = re.search(r"<(.+)>", first.headers["link"])
    assert following is not None
    assert json.loads(registry.ask("GET", following[1]).body)["tags"] == ["v3"]
    assert "paged" in json.loads(registry.ask("GET", "/v2/_catalog").body)["repositories"]
    assert registry.ask("GET", "/v2/nowhere/tags/list").code == "NAME_UNKNOWN"


def test_a_tag_moves_and_what_it_meant_stays_by_digest(registry: Registry) -> None:
    old = registry.push_image("moving", "latest", b"one")
    new = registry.push_image("moving", "latest", b"two")
    found = registry.ask("GET", "/v2/moving/manifests/latest")
    assert found.headers["docker-content-digest"] == new
    assert registry.ask("HEAD", f"/v2/moving/manifests/{old}").status == 200


def test_deleting(registry: Registry) -> None:
    name = registry.push_image("deleted", "a")
    registry.push_image("deleted", "b")
    assert registry.ask("DELETE", "/v2/deleted/manifests/a").status == 202
    assert registry.ask("GET", "/v2/deleted/manifests/b").status == 200
    assert registry.ask("DELETE", f"/v2/deleted/manifests/{name}").status == 202
    assert json.loads(registry.ask("GET", "/v2/deleted/tags/list").body)["tags"] == []
    assert registry.ask("DELETE", f"/v2/deleted/manifests/{name}").code == "MANIFEST_UNKNOWN"


def test_referrers_are_listed_and_filtered(registry: Registry) -> None:
    subject = registry.push_image("signed", "v1")
    pointer = {"mediaType": MANIFEST, "digest": subject, "size": 1}
    signature = registry.push_image(
        "signed", "", subject=pointer, artifactType="x/sig", annotations={"by": "ada"}
    )
    registry.push_image("signed", "", b"sbom", subject=pointer, artifactType="x/sbom")
    found = registry.ask("GET", f"/v2/signed/referrers/{subject}?artifactType=x/sig")
    assert found.headers["oci-filters-applied"] == "artifactType"
    (one,) = json.loads(found.body)["manifests"]
    assert (one["digest"], one["annotations"]) == (signature, {"by": "ada"})
    both = json.loads(registry.ask("GET", f"/v2/signed/referrers/{subject}").body)
    assert len(both["manifests"]) == 2
    registry.ask("DELETE", f"/v2/signed/manifests/{signature}")
    left = json.loads(registry.ask("GET", f"/v2/signed/referrers/{subject}").body)
    assert len(left["manifests"]) == 1


def test_what_was_pushed_is_there_after_a_kill(tmp_path: Path) -> None:
    with running(tmp_path) as found:
        image = found.push_image("kept", "v1")
        upload = found.ask("POST", "/v2/kept/blobs/uploads/").headers["location"]
        found.ask("PATCH", upload, b"half")
        found.process.kill()
        found.process.wait()
    with running(tmp_path) as found:
        stored = found.ask("GET", "/v2/kept/manifests/v1")
        assert stored.headers["docker-content-digest"] == image
        assert found.ask("PATCH", upload, b"rest").code == "BLOB_UPLOAD_UNKNOWN"
    assert list((tmp_path / "ingest").iterdir()) == []


def test_collecting_takes_what_nothing_names(tmp_path: Path) -> None:
    with running(tmp_path) as found:
        found.push_image("r", "v1", b"kept")
        orphan = found.push_blob("r", b"orphan")
    for link in (tmp_path / "repositories" / "r" / "_blobs").iterdir():
        os.utime(link, (0, 0))
    command = [sys.executable, "-m", "sampan.cli.main", "registry", "--root", str(tmp_path)]
    subprocess.run([*command, "collect"], check=True, stdout=subprocess.DEVNULL)
    with running(tmp_path) as found:
        assert found.ask("HEAD", f"/v2/r/blobs/{orphan}").status == 404
        assert found.ask("HEAD", f"/v2/r/blobs/{digest(b'kept')}").status == 200


def users(place: Path, **passwords: str) -> str:
    lines = [
        f"{name}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()}\n"
        for name, password in passwords.items()
    ]
    path = place / "users"
    path.write_text("".join(lines))
    return str(path)


def rules(place: Path) -> str:
    path = place / "rules.toml"
    path.write_text(
        '[[rule]]\nusers = ["anonymous"]\nrepositories = ["public/*"]\nactions = ["pull"]\n'
        '[[rule]]\nusers = ["ada"]\nrepositories = ["*"]\nactions = ["*"]\n'
    )
    return str(path)


@pytest.mark.real
@pytest.mark.parametrize("auth", ["basic", "token"])
def test_permissions_hold_for_skopeo(tmp_path: Path, auth: str) -> None:
    archive = tmp_path / "busybox.tar"
    archive.write_bytes(docker_archive(root_tar(require("busybox")), "busybox", ["latest"]))
    flags = ("--htpasswd", users(tmp_path, ada="lovelace", bob="b"), "--auth", auth)
    with running(tmp_path / "root", *flags, "--permissions", rules(tmp_path)) as found:
        place = f"docker://127.0.0.1:{found.port}"
        source = f"docker-archive:{archive}"
        push = ("copy", "--dest-tls-verify=false", source, f"{place}/public/box:1")
        assert skopeo(*push, "--dest-creds", "ada:lovelace").returncode == 0
        assert skopeo(*push, "--dest-creds", "ada:wrong").returncode != 0
        assert skopeo(*push, "--dest-creds", "bob:b").returncode != 0
        assert skopeo(*push).returncode != 0
        look = ["inspect", "--tls-verify=false", f"{place}/public/box:1"]
        if auth == "basic":  # a client that is asked for a password cannot pull without one
            look += ["--creds", "ada:lovelace"]
        assert json.loads(skopeo(*look).stdout)["Architecture"] == "amd64"


def skopeo(*words: str) -> subprocess.CompletedProcess[bytes]:
    policy = ("--insecure-policy",)
    return subprocess.run(
        [str(require("skopeo")), *policy, *words], capture_output=True, check=False, timeout=60
    )


@pytest.mark.real
def test_skopeo_copies_over_tls(tmp_path: Path) -> None:
    trusted = tmp_path / "trusted"
    trusted.mkdir()
    certificate, key = Authority(trusted, "ca").issue("server")
    key = key.rename(tmp_path / "server.key")
    archive = tmp_path / "busybox.tar"
    archive.write_bytes(docker_archive(root_tar(require("busybox")), "busybox", ["latest"]))
    flags = ("--tls-cert", str(certificate), "--tls-key", str(key))
    with running(tmp_path / "root", *flags) as found:
        place = f"docker://127.0.0.1:{found.port}/a/b:c"
        trust = f"--dest-cert-dir={trusted}"
        done = skopeo("copy", trust, f"docker-archive:{archive}", place)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--auth", "basic"), "--auth basic needs the users"),
        (("--listen", "nowhere"), "HOST:PORT is required"),
        (("--tls-cert", "/etc/hostname"), "belong together"),
    ],
)
def test_flags_that_contradict_each_other(
    tmp_path: Path, flags: tuple[str, ...], said: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sampan.cli.main", "registry", "--root", str(tmp_path), *flags],
        capture_output=True,
        check=False,
        timeout=20,
    )
    assert done.returncode == 1
    assert said in done.stderr.decode()


def test_the_document_lists_every_endpoint() -> None:
    table = (ROOT / "docs" / "compat" / "distribution.md").read_text()
    told = set(re.findall(r"^\| `(\w+) (/v2/[^`]*)`", table, re.MULTILINE))
    kinds = {
        (
            parse_path(
                re.sub(r"<(?:id|reference)>", "x", path)
                .replace("<name>", "a")
                .replace("<digest>", NONE)
            ),
            method,
        )
        for method, path in told
    }
    found = {(target.kind, method) for target, method in kinds if target is not None}
    assert found == {*ENDPOINTS, ("token", "GET")}
