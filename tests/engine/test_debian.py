"""A whole Debian as an image: many files, setuid programs, users, and its own tools at work."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator

import pytest
from tests.engine_server import EngineServer
from tests.real import ROOT, absent

pytestmark = [pytest.mark.real, pytest.mark.root]

_TREE = ROOT / ".tools" / "debian.tar"


@pytest.fixture(scope="module")
def debian(shared_engine: EngineServer) -> Iterator[EngineServer]:
    if not _TREE.exists():
        absent("no tree of Debian's (made with debootstrap by .ci/tools.sh)")
    shared_engine.docker("import", str(_TREE), "debian:tree")
    yield shared_engine
    shared_engine.clear()
    shared_engine.docker("rmi", "-f", "debian:tree")


def test_its_package_manager_finds_every_package_whole(debian: EngineServer) -> None:
    told = debian.run("debian:tree", "sh", "-c", "dpkg --verify && dpkg --audit && echo sound")
    assert told.splitlines()[-1] == "sound"


def test_a_user_is_added_kept_by_commit_and_becomes_root_by_a_setuid_program(
    debian: EngineServer,
) -> None:
    script = (
        "useradd --create-home ada && echo ada:lovelace | chpasswd && echo root:r00t | chpasswd"
    )
    debian.docker("run", "--name", "maker", "--network", "none", "debian:tree", "sh", "-c", script)
    debian.docker("commit", "maker", "debian:ada")
    assert debian.run("-u", "ada", "debian:ada", "sh", "-c", "id -un; echo ~").split() == [
        "ada",
        "/home/ada",
    ]
    switched = debian.docker(
        *"run -i --rm --network none -u ada debian:ada su -c".split(),
        "id -u",
        stdin=b"r00t\n",
    )
    assert switched.stdout.split()[-1:] == [b"0"]
    quiet = debian.docker(
        *"run -i --rm --network none -u ada --security-opt no-new-privileges debian:ada".split(),
        *("su", "-c", "id -u"),
        stdin=b"r00t\n",
        check=False,
    )
    assert quiet.returncode != 0
    debian.docker("rm", "maker")
    debian.docker("rmi", "debian:ada")


def test_saved_and_loaded_it_is_the_same_image(debian: EngineServer) -> None:
    id_ = debian.out("images", "-q", "--no-trunc", "debian:tree").strip()
    archive = debian.docker("save", "debian:tree").stdout
    debian.docker("rmi", "-f", "debian:tree")
    assert "debian:tree" in debian.out("load", stdin=archive)
    assert debian.out("images", "-q", "--no-trunc", "debian:tree").strip() == id_


def test_exported_it_has_every_file_with_its_owner_and_mode(debian: EngineServer) -> None:
    debian.docker("run", "--name", "same", "--network", "none", "debian:tree", "true")
    exported = debian.docker("export", "same").stdout
    debian.docker("rm", "same")
    made = {"", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab"}
    here, there = _members(_TREE.read_bytes()), _members(exported)
    for path in set(here) - made:
        if not path.startswith(("dev/", "proc/", "sys/")):
            assert there.get(path) == here[path], path


def _members(data: bytes) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for one in tar:
            path = one.name.removeprefix(".").strip("/")
            kind = tarfile.REGTYPE if one.type == tarfile.LNKTYPE else one.type
            link = one.linkname if kind == tarfile.SYMTYPE else ""
            found[path] = (kind, one.mode, one.uid, one.gid, int(one.mtime), link)
    return found
