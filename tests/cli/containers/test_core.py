"""Small pure parts: detach keys, ports, sizes and ages, moments, samples."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.base.errors import InvalidError
from sampan.cli.containers.core.container_rows import port_texts
from sampan.cli.containers.core.detach import DEFAULT_KEYS, DetachFilter, detach_keys
from sampan.cli.containers.core.moment import moment_parameter
from sampan.cli.containers.core.stat_row import stat_row
from sampan.cli.containers.core.units import age, binary_size, decimal_size

TYPED = st.lists(st.sampled_from([b"\x10", b"\x11", b"a"]), max_size=12)


@given(TYPED, st.integers(1, 5))
def test_what_is_typed_comes_through_until_the_keys(typed: list[bytes], size: int) -> None:
    data = b"".join(typed)
    watch, sent, ended = DetachFilter(), b"", False
    for at in range(0, len(data), size):
        passed, ended = watch.feed(data[at : at + size])
        sent += passed
        if ended:
            break
    before, keys, _ = data.partition(DEFAULT_KEYS)
    assert ended == bool(keys)
    if ended:
        assert sent == before
    else:
        # The first of the keys is held back until it is known what follows.
        assert sent == data.removesuffix(b"\x10")


def test_names_of_keys() -> None:
    assert detach_keys("ctrl-p,ctrl-q") == DEFAULT_KEYS
    assert detach_keys("a,ctrl-@,ctrl-[") == b"a\x00\x1b"
    for text in ("", "foo", "ctrl-", "ctrl-1", "ctrl-ab"):
        with pytest.raises(InvalidError, match="Unknown character"):
            detach_keys(text)


def port(inside: int, outside: int = 0, address: str = "", kind: str = "tcp") -> dict[str, Any]:
    found: dict[str, Any] = {"PrivatePort": inside, "Type": kind}
    return {**found, "PublicPort": outside, "IP": address} if outside else found


def test_ports_as_people_read_them() -> None:
    assert port_texts([port(80)]) == ["80/tcp"]
    assert port_texts([port(80, 8080, "0.0.0.0"), port(80, 8080, "::")]) == [
        "0.0.0.0:8080->80/tcp", "[::]:8080->80/tcp",
    ]  # fmt: skip
    assert port_texts([port(number) for number in (80, 81, 82, 90)]) == ["80-82/tcp", "90/tcp"]
    assert port_texts([port(number, number, "1.2.3.4") for number in (5, 6, 7)]) == [
        "1.2.3.4:5-7->5-7/tcp"
    ]
    assert port_texts([port(53, kind="udp"), port(53)]) == ["53/tcp", "53/udp"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "Less than a second"), (1, "1 second"), (59, "59 seconds"), (60, "About a minute"),
        (120, "2 minutes"), (3600, "About an hour"), (7200, "2 hours"), (86400 * 2, "2 days"),
        (86400 * 14, "2 weeks"), (86400 * 60, "2 months"), (86400 * 365 * 2, "2 years"),
    ],
)  # fmt: skip
def test_ages(seconds: float, words: str) -> None:
    assert age(seconds) == words


def test_sizes() -> None:
    shown = [decimal_size(size) for size in (0, 999, 1000, 4_260_000, 10**12)]
    assert shown == ["0B", "999B", "1kB", "4.26MB", "1TB"]
    assert [binary_size(size) for size in (1023, 1 << 20, 1500 << 20)] == [
        "1023B", "1MiB", "1.465GiB",
    ]  # fmt: skip


def test_moments() -> None:
    assert moment_parameter("", 0, "since") == ""
    assert moment_parameter("1700000000.5", 0, "since") == "1700000000.5"
    assert moment_parameter("10m", 1000.25, "since") == "400.250000000"
    given = "2023-11-14T22:13:20.123456789+01:00"
    assert moment_parameter(given, 0, "since") == "1699996400.123456789"
    with pytest.raises(InvalidError, match="since"):
        moment_parameter("yesterday", 0, "since")


def test_a_sample() -> None:
    sample = {
        "id": "ab" * 32,
        "name": "/web",
        "cpu_stats": {
            "cpu_usage": {"total_usage": 300}, "system_cpu_usage": 2000, "online_cpus": 2,
        },
        "precpu_stats": {"cpu_usage": {"total_usage": 100}, "system_cpu_usage": 1000},
        "memory_stats": {"usage": 3 << 20, "limit": 8 << 20, "stats": {"inactive_file": 1 << 20}},
        "networks": {"eth0": {"rx_bytes": 1000, "tx_bytes": 2000}},
        "blkio_stats": {
            "io_service_bytes_recursive": [
                {"op": "Read", "value": 5}, {"op": "write", "value": 6}, {"op": "sync", "value": 7},
            ]
        },
        "pids_stats": {"current": 4},
    }  # fmt: skip
    assert stat_row("web", sample, shorten=True) == {
        "BlockIO": "5B / 6B",
        "CPUPerc": "40.00%",
        "Container": "web",
        "ID": "ab" * 6,
        "MemPerc": "25.00%",
        "MemUsage": "2MiB / 8MiB",
        "Name": "web",
        "NetIO": "1kB / 2kB",
        "PIDs": "4",
    }
    assert set(stat_row("web", None, shorten=True).values()) == {"web", "--"}
    assert stat_row("web", {}, shorten=True)["CPUPerc"] == "0.00%"
