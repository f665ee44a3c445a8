"""A member whose disk has changed its data is found, and what the operator then does about it."""

from __future__ import annotations

from pathlib import Path

import lmdb
import pytest
from tests.cluster import Cluster
from tests.wire.cluster_ctl import PACE, followers, member_ids, ok, parsed, refused, until


def damage(data_dir: Path) -> None:
    """Change a bit of a value in the backend of a member that is stopped, as a disk might."""
    env = lmdb.open(str(data_dir / "member" / "snap" / "db"), subdir=False, max_dbs=20)
    with env, env.begin(write=True) as txn:
        bucket = env.open_db(b"key", txn)
        for key, value in txn.cursor(bucket):
            if b"precious" in value:
                txn.put(key, value.replace(b"precious", b"qrecious"), db=bucket)
                return
    raise AssertionError("the value is not there")


def damaged_follower(three: Cluster) -> int:
    """Write, stop a follower and damage what it holds of that; returns its number."""
    until(lambda: three.leader() >= 0)
    ok(three.endpoints, "put", "k", "precious")
    number = followers(three)[0]
    three.servers[number].stop()
    damage(three.servers[number].data_dir)
    return number


def test_the_leader_finds_the_member_that_differs_and_stops_writes(tmp_path: Path) -> None:
    with Cluster(tmp_path, (*PACE, "--corrupt-check-time=1s")) as three:
        number = damaged_follower(three)
        victim = three.servers[number]
        victim.start()
        name = member_ids(three.endpoints)[f"m{number}"]
        alarms = f"memberID:{int(name, 16)} alarm:CORRUPT"
        until(lambda: alarms in ok(three.endpoints, "alarm", "list"), 30)
        assert "corrupt cluster" in refused(three.endpoints, "put", "k", "more")
        hashes = parsed(three.endpoints, "endpoint", "hashkv", "--cluster")
        assert len({one["HashKV"]["hash"] for one in hashes}) == 2

        # Out with it, and a new one in its place: then writes may go on.
        victim.stop()
        rest = three.address((number + 1) % 3)
        ok(rest, "member", "remove", name)
        ok(rest, "alarm", "disarm")
        ok(rest, "put", "k", "again")
        assert ok(rest, "alarm", "list") == ""


def test_a_member_that_is_to_check_itself_does_not_serve_what_differs(tmp_path: Path) -> None:
    with Cluster(tmp_path, (*PACE, "--experimental-initial-corrupt-check")) as three:
        number = damaged_follower(three)
        victim = three.servers[number]
        victim.launch()
        assert victim.wait(30) == 1
        said = victim.text()
        assert "the data of this member differ from those of member" in said
        assert "remove the wrong member" in said.replace("\\n", " ")
        sound = next(each for each in followers(three) if each != number)
        assert ok(three.address(sound), "get", "k") == "k\nprecious\n"


@pytest.mark.parametrize("place", ["db", "wal"])
def test_damage_of_the_files_themselves_is_refused_at_the_start(tmp_path: Path, place: str) -> None:
    """A flipped bit in the log before its end, or a backend that is cut short."""
    with Cluster(tmp_path, PACE) as three:
        until(lambda: three.leader() >= 0)
        for at in range(20):
            ok(three.endpoints, "put", f"k{at}", "x" * 200)
        number = followers(three)[0]
        victim = three.servers[number]
        victim.kill()
        member = victim.data_dir / "member"
        if place == "db":
            path = member / "snap" / "db"
            path.write_bytes(path.read_bytes()[:8192])
        else:
            path = next(iter(sorted((member / "wal").glob("*.wal"))))
            data = bytearray(path.read_bytes())
            data[data.index(b"x" * 200) + 10] ^= 4
            path.write_bytes(data)
        victim.launch()
        assert victim.wait(30) == 1
        assert (
            ok(three.address(three.leader()), "get", "k3", "--print-value-only") == "x" * 200 + "\n"
        )
