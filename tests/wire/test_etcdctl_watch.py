"""The real etcdctl, our server and a real etcd: watch, lock, elect and make-mirror."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests import etcdctl, real
from tests.etcdctl import Ctl, Step, play
from tests.servers import Server, debian_etcd

pytestmark = pytest.mark.real

Compare = Callable[..., list[str]]

HISTORY: list[Step] = [
    "put a 1",
    "put b 2",
    "put a 11",
    "del a",
    "put ab 3",
    ("txn", "\nput x 1\nput a again\ndel b\n\n\n"),
    "put end .",
]


@pytest.mark.parametrize(
    "flags",
    [
        "--prefix ''",
        "--prefix '' --prev-kv",
        "--prefix a -w json",
        "--prefix a --prev-kv -w fields",
        "a",
        "a --hex",
        "a c",
        "b --prev-kv -w simple",
    ],
)
def test_a_watch_from_the_past_sees_the_history(flags: str, compare: Compare) -> None:
    """Every form ends with the put of a key in its own range, so that the end is known."""
    last = "b" if flags.startswith("b") else "a"

    def scenario(ctl: Ctl) -> None:
        play(HISTORY)(ctl)
        ctl.ok("put", last, "the-last-value")
        sign = {"json": "dGhlLWxhc3QtdmFsdWU=", "--hex": r"\x74\x68\x65\x2d\x6c\x61\x73\x74"}
        words = flags.replace("''", "<empty>").split()
        args = ["" if word == "<empty>" else word for word in words]
        watch = ctl.spawn("watch", *args, "--rev=2")
        watch.until(next((sign[word] for word in args if word in sign), "the-last-value"))
        ctl.note(flags, watch.end())

    assert len(compare(scenario)) > 10


def test_a_watch_sees_what_happens_next(compare: Compare) -> None:
    """An interactive watch: the answer to `progress` shows that the watch stands."""

    def scenario(ctl: Ctl) -> None:
        watch = ctl.spawn("watch", "-i")
        watch.send("watch one")
        watch.send("watch two --prefix --prev-kv")
        watch.send("progress")
        watch.until("progress notify: 1\n")
        ctl.ok("put", "one", "1")
        watch.until("one\n1\n")
        ctl.ok("put", "two/x", "2")
        watch.until("two/x\n2\n")
        ctl.ok("del", "two/x")
        events = watch.until("DELETE\ntwo/x\n2\ntwo/x\n")
        # etcd 3.4 tells its progress once for each watch of the stream, later ones once.
        ctl.note("events", events.replace("progress notify: 1\n", ""))

    assert "two/x" in compare(scenario)


@pytest.mark.parametrize("client", ["etcdctl36"], indirect=True)
def test_a_deletion_at_the_compacted_revision_is_still_seen(compare: Compare) -> None:
    """etcd 3.4 loses this event; later ones keep it."""

    def scenario(ctl: Ctl) -> None:
        play([*HISTORY, "compaction --physical 5"])(ctl)
        watch = ctl.spawn("watch", "--prefix", "", "--rev=5")
        ctl.note("watched", watch.until("PUT\nend\n.\n"))

    assert "DELETE" in compare(scenario)


@pytest.mark.parametrize("client", ["etcdctl36"], indirect=True)
def test_a_watch_may_ask_to_be_told_of_progress(compare: Compare) -> None:
    def scenario(ctl: Ctl) -> None:
        watch = ctl.spawn("watch", "k", "--progress-notify")
        ctl.note("told", watch.until("progress notify: 1\n"))

    assert "progress notify: 1" in compare(
        scenario, "--experimental-watch-progress-notify-interval=200ms"
    )


def test_a_watch_of_compacted_history_is_canceled(compare: Compare) -> None:
    def scenario(ctl: Ctl) -> None:
        play([*HISTORY, "compaction 6"])(ctl)
        ctl.run("watch", "a", "--rev=3")
        watch = ctl.spawn("watch", "--prefix", "", "--rev=6")
        ctl.note("from the compacted revision itself", watch.until("PUT\nend\n.\n"))

    assert "compacted" in "".join(compare(scenario))


def test_a_watch_runs_a_command_for_each_event(compare: Compare) -> None:
    def scenario(ctl: Ctl) -> None:
        play(["put a 1", "put a 2"])(ctl)
        watch = ctl.spawn(
            "watch", "a", "--rev=1", "--", "sh", "-c", "env | grep ETCD_WATCH_ | sort"
        )
        ctl.note("events", watch.until("ETCD_WATCH_VALUE", 2))

    assert 'ETCD_WATCH_VALUE="2"' in compare(scenario)


def test_a_lock_is_held_by_one_at_a_time(compare: Compare) -> None:
    def scenario(ctl: Ctl) -> None:
        held = ctl.ok("lock", "mutex", "env").splitlines()
        ctl.note("held", "\n".join(line for line in held if line.startswith("ETCD_LOCK")))
        first = ctl.spawn("lock", "mutex")
        ctl.note("first", first.until("mutex/").strip())
        second = ctl.spawn("lock", "mutex", "--ttl=5")
        waiting = ctl.spawn("watch", "--prefix", "mutex/", "--rev=1")
        waiting.until("PUT", 3)
        assert second.text() == ""
        first.end()
        ctl.note("second", second.until("mutex/").strip())
        second.end()
        ctl.run("get", "mutex/", "--prefix")

    assert "held" in compare(scenario)


def test_an_election_has_one_leader_and_observers_see_it(compare: Compare) -> None:
    def scenario(ctl: Ctl) -> None:
        first = ctl.spawn("elect", "office", "one")
        ctl.note("first", first.until("one\n"))
        observer = ctl.spawn("elect", "office", "-l")
        ctl.note("observed", observer.until("one\n"))
        second = ctl.spawn("elect", "office", "two")
        waiting = ctl.spawn("watch", "--prefix", "office/", "--rev=1")
        waiting.until("PUT", 2)
        assert second.text() == ""
        first.end()
        ctl.note("second", second.until("two\n"))
        ctl.note("observed next", observer.until("two\n"))

    assert "two" in compare(scenario)


@pytest.mark.parametrize("flags", [[], ["--dest-prefix=copy/", "--prefix=a"]])
def test_a_mirror_follows(flags: list[str], ours: Ctl, tmp_path: Path) -> None:
    """make-mirror copies from our server into a real etcd what is there and what comes."""
    peer = debian_etcd(real.require("etcd"))
    expected = "copy/b\nafter\n" if flags else "ab\nafter\n"
    with ours.server, Server(peer, tmp_path / "mirror") as copy:
        mirror = Ctl(ours.binary, copy)
        play(["put a 1", "put ab 2", "put a 3"])(ours)
        running = ours.spawn("make-mirror", *flags, copy.endpoint)
        follow = mirror.spawn("watch", "--prefix", "", "--rev=1")
        follow.until("\n3\n")
        ours.ok("put", "ab", "after")
        follow.until("\nafter\n")
        ours.ok("del", "a")
        follow.until("DELETE\n")
        assert mirror.ok("get", "", "--prefix") == expected
        running.end()
        mirror.close()
    ours.close()


def test_two_servers_of_one_kind_give_one_transcript(client: str, tmp_path: Path) -> None:
    """The comparison itself: two real servers of one version must not differ."""
    binary, flavour = real.require(client), debian_etcd(real.require("etcd"))
    pair = [Ctl(binary, Server(flavour, tmp_path / name)) for name in ("one", "two")]
    steps = [*HISTORY, "lease grant 60", "member list", "endpoint status -w json"]
    assert etcdctl.compare(play(steps), *pair)
