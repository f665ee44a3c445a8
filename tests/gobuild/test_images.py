"""`sampan go inspect` of images: archives, layouts and a real registry; and hostile layers."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gobuild import binaries
from tests.gobuild.test_targets import sampan_go
from tests.images.registry_images import Registry
from tests.registry_server import RegistryServer

from sampan.gobuild.core.image.tree import Node, Tree
from sampan.images.core.digest import digest_of
from sampan.images.core.manifest import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST

MACHINES = {"amd64": 62, "arm64": 183, "arm": 40}
GLIBC = "/lib64/ld-linux-x86-64.so.2"


def go_program(goarch: str, *, interpreter: str = "", **more: str) -> bytes:
    info = binaries.inline_buildinfo({"GOOS": "linux", "GOARCH": goarch, **more})
    bits = 32 if goarch == "arm" else 64
    text = b"\x5f\xfc\x5f\x88" * 64 if goarch == "arm64" else b"\0" * 64
    return binaries.elf(MACHINES[goarch], text, info, interpreter=interpreter, bits=bits)


Files = Mapping[str, bytes | str | None]


def layer(files: Files) -> bytes:
    """Bytes are a file, `->x` a symbolic link, `=>x` a hard one, None an empty file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type = tarfile.SYMTYPE if content[:2] == "->" else tarfile.LNKTYPE
                member.linkname = content[2:]
                tar.addfile(member)
            else:
                member.size = len(content or b"")
                tar.addfile(member, io.BytesIO(content or b""))
    return buffer.getvalue()


class Layout:
    """An OCI layout that is written in pieces."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.entries: list[dict[str, Any]] = []
        (root / "blobs" / "sha256").mkdir(parents=True)

    def blob(self, data: bytes, kind: str) -> dict[str, Any]:
        digest = digest_of(data)
        (self.root / "blobs" / "sha256" / digest.partition(":")[2]).write_bytes(data)
        return {"mediaType": kind, "digest": digest, "size": len(data)}

    def add(
        self,
        platform: Mapping[str, str],
        layers: Sequence[Files],
        *,
        config: Mapping[str, str] | None = None,
        run: Mapping[str, Any] | None = None,
        zstd: bool = False,
    ) -> Layout:
        plain = [layer(one) for one in layers]
        pack = zstandard.compress if zstd else gzip.compress
        kind = OCI_LAYER + ("+zstd" if zstd else "+gzip")
        document = {
            **(config or platform),
            "config": run or {"Entrypoint": ["/app"]},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(one) for one in plain]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": self.blob(json.dumps(document).encode(), OCI_CONFIG),
            "layers": [self.blob(pack(one), kind) for one in plain],
        }
        raw = json.dumps(manifest).encode()
        self.entries.append({**self.blob(raw, OCI_MANIFEST), "platform": platform})
        return self

    def write(self, *, nested: bool = False) -> str:
        index: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_INDEX}
        index["manifests"] = self.entries
        if nested:
            index = {**index, "manifests": [self.blob(json.dumps(index).encode(), OCI_INDEX)]}
        (self.root / "index.json").write_text(json.dumps(index))
        (self.root / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        return str(self.root)

    def archive(self) -> str:
        path = self.root.with_suffix(".tar")
        self.write(nested=True)
        with tarfile.open(path, "w") as tar:
            for name in ("oci-layout", "index.json", "blobs"):
                tar.add(self.root / name, name)
        return str(path)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout")


AMD, ARM = {"os": "linux", "architecture": "amd64"}, {"os": "linux", "architecture": "arm64"}


def asked(*words: str) -> tuple[int, list[dict[str, Any]]]:
    done = sampan_go("inspect", *words, "--format", "json")
    assert done.returncode in (0, 1) and done.stdout, done.stderr
    (image,) = json.loads(done.stdout)
    return done.returncode, image["platforms"]


def rules(platform: Mapping[str, Any]) -> list[str]:
    return [finding["rule"] for finding in platform["findings"]]


@pytest.mark.parametrize("form", ["layout", "archive"])
def test_an_image_that_is_as_it_says_has_no_finding(layout: Layout, form: str) -> None:
    layout.add(AMD, [{"app": go_program("amd64")}]).add(
        ARM, [{"app": go_program("arm64")}], zstd=True
    )
    code, platforms = asked(layout.archive() if form == "archive" else layout.write())
    assert code == 0 and [one["index"] for one in platforms] == ["linux/amd64", "linux/arm64"]
    for one, goarch in zip(platforms, ("amd64", "arm64"), strict=True):
        assert one["findings"] == [] and one["main"].startswith("/app (ELF")
        (program,) = one["programs"]
        assert program["platform"]["goarch"] == goarch and program["main"]


def test_what_contradicts_the_index_is_found(layout: Layout) -> None:
    layout.add(ARM, [{"app": go_program("amd64")}])
    layout.add({**ARM, "variant": "v8"}, [{"app": go_program("arm64")}], config=AMD)
    layout.add({"os": "linux", "architecture": "amd64"}, [{"app": go_program("amd64")}], run={})
    layout.add(AMD, [{"other": b"x" * 10}])
    code, platforms = asked(layout.write(nested=True))
    assert code == 1
    assert [rules(one) for one in platforms] == [
        ["image-architecture"],
        ["image-config"],
        [],
        ["command-missing"],
    ]


def test_a_level_above_the_variant_is_found(layout: Layout) -> None:
    v3 = b"This program can only be run on AMD64 processors with v3 microarchitecture support."
    info = binaries.inline_buildinfo({"GOOS": "linux", "GOARCH": "amd64", "GOAMD64": "v3"})
    fast = binaries.elf(62, v3, info)
    layout.add(AMD, [{"app": fast}]).add({**AMD, "variant": "v3"}, [{"app": fast}])
    _, platforms = asked(layout.write())
    assert [rules(one) for one in platforms] == [["image-variant"], []]


def test_a_loader_that_is_not_there_is_found_through_links(layout: Layout) -> None:
    linked = go_program("amd64", interpreter=GLIBC)
    lib: Files = {"usr/lib/ld-linux-x86-64.so.2": b"\x7fELF", "lib64": "->usr/lib"}
    layout.add(AMD, [{"app": linked}]).add(AMD, [lib, {"app": linked}])
    layout.add(AMD, [lib, {"app": linked, "usr/lib/.wh.ld-linux-x86-64.so.2": None}])
    _, platforms = asked(layout.write())
    assert [rules(one) for one in platforms] == [["loader-missing"], [], ["loader-missing"]]
    assert [one["libc"] for one in platforms] == ["none", "glibc", "none"]


def test_the_command_is_found_on_path_and_behind_links(layout: Layout) -> None:
    files: Files = {
        "opt/real": go_program("amd64"),
        "usr/bin/app": "->../../../../opt/real",
        "usr/bin/again": "=>opt/real",
    }
    layout.add(AMD, [files], run={"Cmd": ["app"], "Env": ["PATH=/usr/bin"]})
    layout.add(AMD, [{"app": "->app"}])
    _, platforms = asked(layout.write())
    assert platforms[0]["main"] == "/opt/real (ELF for amd64, Go)"
    assert sorted(one["path"] for one in platforms[0]["programs"]) == [
        "/opt/real",
        "/usr/bin/again",
    ]
    assert rules(platforms[1]) == ["command-missing"]


def test_an_archive_of_docker_save(tmp_path: Path) -> None:
    body = layer({"app": go_program("arm64")})
    config = {**AMD, "config": {"Cmd": ["/app"]}}
    config["rootfs"] = {"type": "layers", "diff_ids": [digest_of(body)]}
    path = tmp_path / "saved.tar"
    files = {
        "manifest.json": json.dumps(
            [{"Config": "c.json", "RepoTags": ["app:1"], "Layers": ["l.tar"]}]
        ).encode(),
        "c.json": json.dumps(config).encode(),
        "l.tar": body,
    }
    path.write_bytes(gzip.compress(layer(files)))
    code, (platform,) = asked(str(path))
    assert code == 1 and rules(platform) == ["image-architecture"] and platform["index"] is None


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    server = RegistryServer(tmp_path_factory.mktemp("registry")).start()
    try:
        yield server
    finally:
        server.stop()


def test_a_reference_is_read_from_its_registry(server: RegistryServer, layout: Layout) -> None:
    layout.add(AMD, [{"app": go_program("amd64")}]).add(ARM, [{"app": go_program("amd64")}])
    layout.write()
    registry = Registry(server.host)
    for path in (layout.root / "blobs" / "sha256").iterdir():
        registry.put_blob("app", path.read_bytes(), f"sha256:{path.name}")
    for entry in layout.entries:
        path = layout.root / "blobs" / "sha256" / entry["digest"].partition(":")[2]
        registry.put_manifest("app", entry["digest"], path.read_bytes())
    registry.put_manifest("app", "1", (layout.root / "index.json").read_bytes(), OCI_INDEX)
    code, platforms = asked(f"{server.host}/app:1")
    assert code == 1 and [rules(one) for one in platforms] == [[], ["image-architecture"]]
    missing = sampan_go("inspect", f"{server.host}/app:2")
    assert missing.returncode == 2 and missing.stderr.count("\n") == 1


def test_the_command_in_all_forms(layout: Layout) -> None:
    root = layout.add(ARM, [{"app": go_program("amd64")}]).write()
    text = sampan_go("inspect", root)
    assert "linux/arm64: /app is for linux/amd64 [image-architecture]" in text.stdout
    assert "## " in sampan_go("inspect", root, "--format", "markdown").stdout
    report = json.loads(sampan_go("inspect", root, "--format", "sarif").stdout)
    assert report["runs"][0]["results"][0]["ruleId"] == "image-architecture"
    assert sampan_go("inspect", root, "--on", "pi-4").returncode == 1


@pytest.mark.parametrize("damage", ["cut", "digest", "json"])
def test_what_is_damaged_is_refused_in_one_line(layout: Layout, damage: str) -> None:
    layout.add(AMD, [{"app": go_program("amd64") * 50}]).write()
    for path in (layout.root / "blobs" / "sha256").iterdir():
        data = path.read_bytes()
        if damage == "cut" and data[:2] == b"\x1f\x8b":
            path.write_bytes(data[: len(data) // 2])
        elif damage == "digest" and data[:1] == b"{":
            path.write_bytes(data + b" ")
    if damage == "json":
        (layout.root / "index.json").write_bytes(b"[" * 100_000)
    done = sampan_go("inspect", str(layout.root))
    assert done.returncode in (1, 2) and "Traceback" not in done.stderr
    assert done.returncode == 1 or done.stderr.count("\n") == 1


NAMES = st.lists(
    st.sampled_from(["a", "b", "..", ".", ".wh.a", ".wh..wh..opq", "c"]), min_size=1, max_size=4
).map("/".join)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(NAMES, st.sampled_from(["file", "directory", "link"]), NAMES), max_size=20)
)
def test_any_names_and_links_stay_inside_and_end(entries: list[tuple[str, str, str]]) -> None:
    tree = Tree()
    for number, (name, kind, target) in enumerate(entries):
        if number % 5 == 0:
            tree.begin_layer()
        tree.put(name, Node(kind, f"/{target}" if number % 2 else target))
    for path, node in list(tree.files()):
        assert not path.startswith(("/", "..")) and tree.get(path) is node
        found = tree.resolve(path)
        assert found is None or found[1].kind != "link"


def test_an_opaque_directory_hides_lower_layers_only() -> None:
    tree = Tree()
    tree.begin_layer()
    tree.put("d/old", Node("file"))
    tree.put("d/sub/deep", Node("file"))
    tree.begin_layer()
    tree.put("d/new", Node("file"))
    tree.put("d/.wh..wh..opq", Node("file"))
    assert [path for path, _ in tree.files()] == ["d/new"]
