"""Storage drivers: the same image and the same changes look alike, whatever stores them."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engine_server import EngineServer
from tests.images.test_layers import Entry, archive, kind, plain
from tests.real import absent, require, require_root

from sampan.base.errors import ConflictError, InvalidError, UnsupportedError
from sampan.images.core.digest import digest_of
from sampan.images.core.image import chain_ids
from sampan.images.shell.content import ContentStore
from sampan.images.shell.copying import copy_merged
from sampan.images.shell.snapshots import Snapshots
from sampan.images.shell.stack import Stack

pytestmark = pytest.mark.root
DRIVERS = ("overlay2", "btrfs", "vfs")


@pytest.fixture(scope="module")
def btrfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A btrfs on a loop device, mounted."""
    require_root()
    make = require("mkfs.btrfs")
    place = tmp_path_factory.mktemp("btrfs")
    image, point = place / "image", place / "mounted"
    with open(image, "wb") as file:
        file.truncate(1 << 30)
    subprocess.run([str(make), "-q", str(image)], check=True)
    point.mkdir()
    done = subprocess.run(["mount", "-o", "loop", str(image), str(point)], capture_output=True)
    if done.returncode:
        absent(f"btrfs cannot be mounted here: {done.stderr.decode().strip()}")
    try:
        yield point
    finally:
        subprocess.run(["umount", "-l", str(point)], check=True)


@pytest.fixture(params=DRIVERS)
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A state directory in which the driver of the parameter works."""
    require_root()
    if request.param != "btrfs":
        return tmp_path / "state"
    place: Path = request.getfixturevalue("btrfs") / tmp_path.name
    return place


@pytest.fixture
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.node.callspec.params["root"])


def snapshots(root: Path, driver: str) -> Snapshots:
    root.mkdir(exist_ok=True)
    found = Snapshots(root, driver=driver)
    assert found.driver.name == driver
    return found


FOLDER = kind(tarfile.DIRTYPE)
LAYERS: tuple[tuple[Entry, ...], ...] = (
    (
        ("dir", FOLDER, b""),
        ("dir/old", plain, b"old"),
        ("gone", plain, b"x"),
        ("opaque/below", plain, b"x"),
        ("swap/inner", plain, b"x"),
        ("setuid", lambda member: setattr(member, "mode", 0o4755), b"s"),
    ),
    (
        (".wh.gone", plain, b""),
        ("opaque/.wh..wh..opq", plain, b""),
        ("opaque/new", plain, b"n"),
        ("swap", plain, b"a file now"),
        ("dir/new", plain, b"new"),
        ("twin", kind(tarfile.LNKTYPE, "dir/new"), b""),
    ),
)


def image(content: ContentStore) -> tuple[list[str], list[str]]:
    blobs = [content.put(archive(*entries)) for entries in LAYERS]
    return blobs, blobs


class Root:
    """The root of a container, mounted by the command for it in a namespace of its own."""

    def __init__(self, mounts: list[dict[str, object]], place: Path) -> None:
        [self._mount] = mounts
        self._place = place
        place.mkdir(exist_ok=True)

    def sh(self, script: str) -> str:
        options = ",".join(str(one) for one in self._mount["options"])  # type: ignore[attr-defined]
        kind_ = ["-t", "overlay"] if self._mount["type"] == "overlay" else []
        words = ["mount", *kind_, "-o", options, str(self._mount["source"]), str(self._place)]
        line = " ".join(f"'{word}'" for word in words)
        done = subprocess.run(
            ["unshare", "-m", "sh", "-ec", f"{line}; cd '{self._place}'; {script}"],
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()


def test_an_image_looks_the_same(root: Path, driver: str, tmp_path: Path) -> None:
    found = snapshots(root, driver)
    ids, blobs = image(content := ContentStore(root))
    found.ensure(ids, blobs, content)
    found.prepare("one", ids)
    view = Root(found.mounts("one", ids), tmp_path / "view")
    names = view.sh("find . -mindepth 1 -not -path './dev*' -not -path './etc*' | sort").split()
    assert names == [
        "./.dockerenv", "./dir", "./dir/new", "./dir/old", "./opaque", "./opaque/new", "./proc",
        "./setuid", "./swap", "./sys", "./twin",
    ]  # fmt: skip
    assert view.sh("cat swap; stat -c '%a %h' setuid twin").split("\n")[0] == "a file now4755 1"
    assert found.changes("one", ids) == []
    assert found.usage("one", ids).size_bytes == 0
    assert [found.layer_size(ids[0]), ids[0]] == [3 + 1 + 1 + 1 + 1, ids[0]]
    found.remove("one")
    found.collect(())
    assert os.listdir(root / "layers") == os.listdir(root / "writable") == []


SCRIPT = """
echo changed > dir/old; rm dir/new; mkdir -p fresh/deep; echo 1 > fresh/deep/file
rm -r opaque; mkdir opaque; echo 2 > opaque/mine; ln fresh/deep/file fresh/link
chmod 4711 setuid; touch -d @1000000000.5 setuid; rm swap; mkdir swap; echo > swap/in
truncate -s 200M fresh/holes; echo end >> fresh/holes
python3 -c 'import os; os.setxattr("fresh/deep/file", "user.note", b"\\xff")'
"""
EXPECTED = [
    "C /dir", "D /dir/new", "C /dir/old", "A /fresh", "A /fresh/deep", "A /fresh/deep/file",
    "A /fresh/holes", "A /fresh/link", "C /opaque", "A /opaque/mine", "D /opaque/new", "C /setuid",
    "C /swap", "A /swap/in",
]  # fmt: skip


def test_changes_become_a_layer_that_makes_them_again(
    root: Path, driver: str, tmp_path: Path
) -> None:
    found = snapshots(root, driver)
    ids, blobs = image(content := ContentStore(root))
    found.ensure(ids, blobs, content)
    found.prepare("one", ids)
    view = Root(found.mounts("one", ids), tmp_path / "view")
    view.sh(SCRIPT)
    changes = [f"{'CAD'[one.kind]} {one.path}" for one in found.changes("one", ids)]
    assert changes == EXPECTED
    with content.writer() as writer:
        found.write_layer("one", ids, writer)
        blob = writer.commit()
    with content.writer() as writer:
        found.write_layer("one", ids, writer)
        assert writer.commit() == blob, "the same changes make the same layer"
    ids, blobs = [*ids, blob], [*blobs, blob]
    found.ensure(ids, blobs, content)
    found.prepare("two", ids)
    look = """
    find . -mindepth 1 ! -path './etc*' -printf '%P %y %m %U %s %T@ %n\\n' | sort
    cat dir/old fresh/link opaque/mine; getfattr -d fresh/link 2>/dev/null || true"""
    again = Root(found.mounts("two", ids), tmp_path / "view")
    # Directories in a file system differ in size, and in the time of what is made on the way.
    before, after = view.sh(look).splitlines(), again.sh(look).splitlines()
    assert [line for line in before if " d " not in line] == [
        line for line in after if " d " not in line
    ]
    assert found.changes("two", ids) == []
    holes = next((root / "layers").glob("*/fs/fresh/holes"))
    assert holes.stat().st_blocks * 512 < 1 << 20
    for key in ("one", "two"):
        found.remove(key)


def test_a_volume_gets_what_is_seen(root: Path, driver: str, tmp_path: Path) -> None:
    found = snapshots(root, driver)
    content = ContentStore(root)
    layers: tuple[tuple[Entry, ...], ...] = (
        *LAYERS,
        (("dir/.wh.old", plain, b""), ("link", kind(tarfile.SYMTYPE, "/there"), b"")),
        (("there", kind(tarfile.SYMTYPE, "../../dir"), b""),),
    )
    ids = [content.put(archive(*entries)) for entries in layers]
    found.ensure(ids, ids, content)
    seen = Stack.of(found.files(ids)).resolve("/link/.")
    assert seen is not None
    target = tmp_path / "volume"
    target.mkdir()
    copy_merged(seen, target)
    assert os.listdir(target) == ["new"]
    assert not os.listxattr(target)
    assert Stack.of(found.files(ids)).resolve("/twin") is None


def test_what_a_killed_engine_had_begun_is_gone_after_a_start(root: Path, driver: str) -> None:
    found = snapshots(root, driver)
    ids, blobs = image(content := ContentStore(root))
    found.ensure(ids, blobs, content)
    lower = found.files(ids)
    found.driver.begin_layer(root / "layers" / "begun.new", lower)
    (root / "writable" / "begun.new").mkdir()
    found.driver.prepare(root / "writable" / "begun.new", lower)
    found.prepare("whole", ids)
    (root / "writable" / "whole").rename(root / "writable" / "whole.new")
    again = Snapshots(root)
    assert sorted(os.listdir(root / "layers")) == sorted(one[7:] for one in chain_ids(ids))
    assert again.keys() == os.listdir(root / "writable") == []


def test_a_deep_tree(root: Path, driver: str) -> None:
    found = snapshots(root, driver)
    content = ContentStore(root)
    deep = "/".join(["d"] * 250)
    ids = [content.put(archive((f"{deep}/f", plain, b"x")))]
    found.ensure(ids, ids, content)
    found.prepare("one", ids)
    below = found.upper("one") / deep
    below.mkdir(parents=True, exist_ok=True)
    (below / "g").touch()
    assert found.changes("one", ids)[-1].path == f"/{deep}/g"
    with content.writer() as writer:
        found.write_layer("one", ids, writer)
        ids.append(writer.commit())
    found.ensure(ids, ids, content)
    found.remove("one")
    found.collect(())
    assert os.listdir(root / "layers") == []


def test_as_root_of_a_user_namespace(tmp_path: Path) -> None:
    script = """
import os, sys
from pathlib import Path
from sampan.engine.runtime.shell.mounts import filesystem
from sampan.images.shell.content import ContentStore
from sampan.images.shell.snapshots import Snapshots
root = Path(sys.argv[1])
found, content = Snapshots(root, driver="overlay2"), ContentStore(root)
ids = [content.put((root / name).read_bytes()) for name in ("1", "2")]
found.ensure(ids, ids, content)
found.prepare("one", ids)
fd = filesystem("overlay", "overlay", found.mounts("one", ids)[0]["options"])
print([name for name in sorted(os.listdir(f"/proc/self/fd/{fd}")) if len(name) == 1])
print(os.listdir(f"/proc/self/fd/{fd}/d"))
os.unlink("e", dir_fd=fd)
print(found.changes("one", ids))
"""
    entries: list[tuple[Entry, ...]] = [
        (("a", plain, b""), ("d/old", plain, b""), ("e", plain, b"")),
        ((".wh.a", plain, b""), ("d/.wh..wh..opq", plain, b""), ("d/new", plain, b"")),
    ]
    for number, layer in enumerate(entries, 1):
        (tmp_path / str(number)).write_bytes(archive(*layer))
    words = ["unshare", "-Urm", sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, check=False)
    expected = "['d', 'e']\n['new']\n[Change(path='/e', kind=2)]\n"
    assert done.stdout.decode() == expected, done.stderr.decode()


def test_a_directory_keeps_its_driver(tmp_path: Path) -> None:
    require_root()
    state = tmp_path / "state"
    found = snapshots(state, "vfs")
    snapshots(state, "overlay2")  # nothing in it yet
    found = snapshots(state, "vfs")
    found.prepare("one")
    assert Snapshots(state).driver.name == "vfs"
    with pytest.raises(ConflictError, match="made by the storage driver vfs"):
        Snapshots(state, driver="overlay2")
    with pytest.raises(InvalidError, match="is not known"):
        Snapshots(state, driver="zfs")
    with pytest.raises(UnsupportedError, match="not on btrfs"):
        Snapshots(tmp_path, driver="btrfs")


def test_overlay_upon_overlay_is_found_out(tmp_path: Path) -> None:
    require_root()
    state = tmp_path / "state"
    found = snapshots(state, "overlay2")
    found.prepare("one")
    view = Root(found.mounts("one", ()), tmp_path / "view")
    script = (
        "from pathlib import Path; from sampan.images.shell.snapshots import Snapshots; "
        "Path('inner').mkdir(); print(Snapshots(Path('inner').absolute()).driver.name)"
    )
    assert view.sh(f'{sys.executable} -c "{script}"').strip() == "vfs"


def test_many_layers(tmp_path: Path) -> None:
    require_root()
    found = snapshots(tmp_path / "state", "overlay2")
    content = ContentStore(tmp_path / "state")
    ids = [content.put(archive((f"f{number}", plain, b"x"))) for number in range(127)]
    found.ensure(ids, ids, content)
    found.prepare("one", ids)
    [mount] = found.mounts("one", ids)
    for way in ("filesystem('overlay', 'overlay', options)", "overlay_in_one(options)"):
        script = (
            "import os, sys; from sampan.engine.runtime.shell.mounts import *\n"
            f"options = sys.argv[1:]; fd = {way}\n"
            "os.mkdir('new', dir_fd=fd); os.rmdir('new', dir_fd=fd)\n"
            "print(len([name for name in os.listdir(f'/proc/self/fd/{fd}') if name[0] == 'f']))"
        )
        words = ["unshare", "-m", sys.executable, "-c", script, *mount["options"]]
        done = subprocess.run(words, capture_output=True, check=False)
        assert done.stdout == b"127\n", done.stderr.decode()


def test_long_paths(tmp_path: Path) -> None:
    require_root()
    state = tmp_path / ("long" * 30) / ("path" * 30)
    state.mkdir(parents=True)
    server = EngineServer(tmp_path, flags=[f"--data-root={state}"]).start()
    try:
        server.load()
        assert server.out("info", "-f", "{{.Driver}}").strip() == "overlay2"
        assert server.run("busybox", "cat", "/data/seed") == "from the image\n"
    finally:
        server.stop()


def test_containers_live_on_it(root: Path, driver: str, tmp_path: Path) -> None:
    require("docker")
    root.mkdir(exist_ok=True)
    server = EngineServer(root, flags=[f"--storage-driver={driver}"]).start()
    try:
        server.load()
        assert server.out("info", "-f", "{{.Driver}}").strip() == driver
        server.docker(
            "run", "--network", "none", "--name", "cc", "-v", "/vol", "busybox",
            "sh", "-c", "echo new > /data/new; rm /data/seed; id -u > /etc/who",
        )  # fmt: skip
        assert server.out("diff", "cc").splitlines() == [
            "C /data", "A /data/new", "D /data/seed", "C /etc", "A /etc/who", "A /vol",
        ]  # fmt: skip
        graph = json.loads(server.out("inspect", "-f", "{{json .GraphDriver}}", "cc"))
        assert graph["Name"] == driver
        assert ("UpperDir" in (graph["Data"] or {})) == (driver == "overlay2")
        server.docker("cp", "cc:/data/new", str(tmp_path / "new"))
        assert (tmp_path / "new").read_text() == "new\n"
        exported = server.docker("export", "cc").stdout
        assert b"data/new" in exported and b"data/seed" not in exported
        server.docker("commit", "cc", "made")
        assert server.run("made", "sh", "-c", "cat /data/new; ls /data") == "new\nnew\n"
        assert int(server.out("ps", "-as", "--format", "{{.Size}}").partition("B")[0]) == 6
        server.docker("rm", "-v", "cc")
        server.docker("rmi", "made", "busybox")
        images = root / "data" / "images"
        assert os.listdir(images / "layers") == os.listdir(images / "writable") == []
    finally:
        server.stop()


def test_a_layer_that_a_power_cut_may_have_torn_is_unpacked_again(tmp_path: Path) -> None:
    require_root()
    state = tmp_path / "state"
    found = snapshots(state, "overlay2")
    ids, blobs = image(content := ContentStore(state))
    found.ensure(ids, blobs, content)
    layer = found.layer_path(ids[0]).parent
    (layer / "unflushed").write_text("another boot")
    again = Snapshots(state)
    assert [path.name for path in again.torn] == [layer.name]
    assert not layer.exists()
    again.ensure(ids, blobs, content)
    assert stat.S_ISREG((layer / "fs/setuid").stat().st_mode)
    assert digest_of(content.read(blobs[0])) == ids[0]
