"""The data directory: one server at a time, the right cluster, a format that is known."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sampan.store.core.bolt import BoltWriter
from sampan.store.shell.datadir import DataDir, DataDirError, Membership, read_membership

MEMBER = Membership("infra0", 0xC0FFEE, 2**64 - 1)


def test_a_new_directory_is_private_and_remembers_its_member(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "data"
    directory = DataDir.open(path, MEMBER)
    assert directory.fresh
    assert path.stat().st_mode & 0o777 == 0o700
    directory.close()
    assert read_membership(path) == MEMBER
    again = DataDir.open(path, MEMBER)
    assert not again.fresh
    assert (again.wal_path, again.backend_path) == (
        path / "member" / "wal",
        path / "member" / "snap" / "db",
    )
    again.close()


def test_a_directory_in_use_names_the_process(tmp_path: Path) -> None:
    directory = DataDir.open(tmp_path, MEMBER)
    with pytest.raises(DataDirError, match=f"in use by process {os.getpid()}"):
        DataDir.open(tmp_path, MEMBER)
    directory.close()
    DataDir.open(tmp_path, MEMBER).close()


def test_the_lock_goes_with_its_process(tmp_path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from sampan.store.shell.datadir import DataDir, Membership
DataDir.open(Path(sys.argv[1]), Membership("infra0", 0xC0FFEE, 2**64 - 1))
os._exit(9)
"""
    child = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert child.returncode == 9
    DataDir.open(tmp_path, MEMBER).close()


def test_another_cluster_or_member_is_refused(tmp_path: Path) -> None:
    DataDir.open(tmp_path, MEMBER).close()
    with pytest.raises(DataDirError, match="belongs to cluster c0ffee, not to 1"):
        DataDir.open(tmp_path, replace(MEMBER, cluster_id=1))
    with pytest.raises(DataDirError, match=r"belongs to member f{16} \(infra0\), not to 2"):
        DataDir.open(tmp_path, replace(MEMBER, member_id=2))
    DataDir.open(tmp_path, MEMBER).close()


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    DataDir.open(tmp_path, MEMBER).close()
    file = tmp_path / "format.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": 99}))
    with pytest.raises(DataDirError, match="has format 99, newer than this program's 1"):
        DataDir.open(tmp_path, MEMBER)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"kind": "sampan-etcd"}', '{"kind": 1}', "7"])
def test_damaged_metadata_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "format.json").write_text(text)
    with pytest.raises(DataDirError, match=r"format\.json is damaged"):
        DataDir.open(tmp_path, MEMBER)


def test_the_directory_of_an_etcd_is_refused_with_the_way_in(tmp_path: Path) -> None:
    backend = tmp_path / "member" / "snap" / "db"
    backend.parent.mkdir(parents=True)
    with open(backend, "wb") as file:
        BoltWriter(lambda offset, data: os.pwrite(file.fileno(), data, offset)).finish()
    with pytest.raises(DataDirError, match=r"was written by etcd.*sampan etcd restore"):
        DataDir.open(tmp_path, MEMBER)
    backend.write_bytes(b"not a database")
    with pytest.raises(DataDirError, match=r"no format\.json"):
        DataDir.open(tmp_path, MEMBER)


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(DataDirError, match="cannot use data directory"):
        DataDir.open(tmp_path / "data", MEMBER)


def test_endpoints_are_there_while_the_server_runs(tmp_path: Path) -> None:
    directory = DataDir.open(tmp_path, MEMBER)
    file = directory.write_endpoints({"client": ["http://127.0.0.1:2379"]})
    assert json.loads(file.read_text()) == {"client": ["http://127.0.0.1:2379"]}
    assert file == tmp_path / "endpoints.json"
    directory.close()
    assert not file.exists()
