"""What shipping decides, without a service: settings, binaries, Dockerfiles, bodies, releases."""

from __future__ import annotations

import struct
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.real import ROOT

from sampan.base.errors import InvalidError, NotFoundError
from sampan.ship.core.container import (
    bindings_of,
    candidate_of,
    container_body,
    health_port,
    health_timeout_s,
    ports_for,
    shares_network,
)
from sampan.ship.core.elf import HEAD_BYTES, Binary, read_binary
from sampan.ship.core.golang import dockerfile_for, main_package
from sampan.ship.core.hint import hint_for
from sampan.ship.core.release import Release, current, decode, encode, next_number, to_return_to
from sampan.ship.core.settings import KEYS, Port, Settings, parse_settings
from sampan.ship.core.verdict import Verdict, entry_of


def elf(machine: int = 62, interpreter: str = "") -> bytes:
    """The beginning of a 64-bit little-endian program."""
    name = interpreter.encode() + b"\0"
    head = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
        "<HHIQQQIHHHHHH", 2, machine, 1, 0, 64, 0, 0, 64, 56, 1 if interpreter else 0, 0, 0, 0
    )
    return head + struct.pack("<IIQQQQQQ", 3, 4, 120, 0, 0, len(name), len(name), 1) + name


def settings(text: str, directory: str = "shop") -> Settings:
    return parse_settings(tomllib.loads(text), directory)


def test_settings_have_defaults_and_a_name_from_the_directory() -> None:
    assert settings("", "03-Orders_API").name == "orders-api"
    assert settings("", "...").name == "app"
    found = settings(
        'name = "x"\n[run]\nports = ["8080:80", "0.0.0.0:1:2/udp", "[::1]:3:4", "5"]\n'
        'memory = "64MiB"\ncpus = 0.5\npids = 9\nstop_timeout = "1m"\nenvironment = {A = 1}\n'
        '[health]\nhttp = "/up"\ntimeout = "1.5s"\n'
    )
    assert found.ports == (
        Port("80/tcp", 8080),
        Port("2/udp", 1, "0.0.0.0"),
        Port("4/tcp", 3, "::1"),
        Port("5/tcp"),
    )
    assert (found.memory_bytes, found.nano_cpus, found.pids) == (64 << 20, 500_000_000, 9)
    assert (found.stop_timeout_s, found.health_timeout_s) == (60, 1.5)
    assert found.environment == {"A": "1"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nmae = 'x'", "nmae: no such setting (did you mean name?)"),
        ("name = 'X Y'", "cannot be a name"),
        ("[run]\nport = []", "run.port: no such setting (did you mean ports?)"),
        ("[run]\nports = ['x:80']", "run.ports: 'x:80'"),
        ("[run]\nports = ['1:99999']", "run.ports"),
        ("[run]\nports = [80]", "run.ports: a list of texts is needed"),
        ("[run]\nmemory = 'much'", "run.memory"),
        ("[run]\ncpus = 0", "run.cpus: a number above 0 is needed"),
        ("[run]\nrestart = 'maybe'", "run.restart: one of no, always"),
        ("[health]\nhttp = 'healthz'", 'health.http: a path that begins with "/"'),
        ("[health]\ntimeout = 5", "health.timeout: a duration is needed"),
        ("[health]\ntimeout = '0s'", "longer than nothing"),
        ("run = 1", "run: a table is needed"),
    ],
)
def test_a_wrong_setting_is_named(text: str, words: str) -> None:
    with pytest.raises(InvalidError) as caught:
        settings(text)
    assert words in str(caught.value)


def test_the_documentation_has_every_setting_and_its_example_is_right() -> None:
    text = (ROOT / "docs/ship.md").read_text().split("```toml\n")[1].split("```")[0]
    document = tomllib.loads(text)
    assert list(document) == list(KEYS[""])
    for section in ("build", "run", "health"):
        assert set(document[section]) == set(KEYS[section])
    assert parse_settings(document, "x").name == "orders"


def test_a_program_says_its_machine_and_its_interpreter() -> None:
    assert read_binary(elf()) == Binary("amd64", "")
    assert read_binary(elf(183, "/lib/ld-linux-aarch64.so.1")) == Binary(
        "arm64", "/lib/ld-linux-aarch64.so.1"
    )
    assert read_binary(elf(999)) == Binary("", "")
    assert read_binary(b"#!/bin/sh\n" * 10) is None
    own = read_binary(Path(sys.executable).resolve().read_bytes()[:HEAD_BYTES])
    assert own is not None and own.architecture


@given(st.binary(max_size=300), st.integers(1, 2), st.integers(1, 2))
def test_whatever_follows_the_magic_is_read_or_refused(rest: bytes, wide: int, order: int) -> None:
    read_binary(b"\x7fELF" + bytes([wide, order]) + rest)


def verdict(entry: str, machine: int = 62, interpreter: str = "") -> Verdict:
    found = Verdict("amd64", entry)
    found.add_name("/usr/bin/app")
    found.add_program("/usr/bin/app", elf(machine, interpreter))
    found.add_name("/bin", "usr/bin")
    found.add_name("/app", "/bin/app")
    return found


@pytest.mark.parametrize("entry", ["/usr/bin/app", "/bin/app", "/app", "app"])
def test_the_program_of_an_image_is_found_through_links_and_judged(entry: str) -> None:
    assert verdict(entry).problems() == []
    ((why, hint),) = verdict(entry, 183).problems()
    assert "is for arm64, the image for amd64" in why and "TARGETARCH" in hint
    ((why, hint),) = verdict(entry, 62, "/lib64/ld.so").problems()
    assert "needs /lib64/ld.so, which the image does not have" in why and "CGO_ENABLED=0" in hint


def test_a_program_that_is_not_there_and_links_in_a_circle() -> None:
    found = verdict("/nothing")
    assert "which it does not have" in found.problems()[0][0]
    found.add_name("/a", "/b")
    found.add_name("/b", "/a")
    found.entry = "/a"
    found.problems()
    assert entry_of({"Entrypoint": None, "Cmd": ["sh", "-c"]}) == "sh"
    assert entry_of({}) == ""


def test_the_package_of_a_module() -> None:
    assert main_package({"."}, "", "x") == "."
    assert main_package({"cmd/a", "cmd/x"}, "", "x") == "cmd/x"
    assert main_package({"cmd/a", "cmd/b"}, "./cmd/a", "x") == "cmd/a"
    for mains, wanted, words in (
        ({"cmd/a", "cmd/b"}, "", "./cmd/a, ./cmd/b"),
        ({"."}, "cmd/z", "no main package"),
        (set[str](), "", "nothing to run"),
    ):
        with pytest.raises((InvalidError, NotFoundError), match=words):
            main_package(mains, wanted, "x")


def test_a_dockerfile_for_a_module() -> None:
    text = dockerfile_for(
        "module m\n\ngo 1.22.3\n", "cmd/x", from_host=False, has_sum=True, has_certificates=False
    )
    assert "FROM --platform=$BUILDPLATFORM golang:1.22-alpine AS builder\n" in text
    assert "go mod download" in text and " ./cmd/x\n" in text and "CGO_ENABLED=0" in text
    assert text.index("FROM scratch") < text.index("USER 65532")
    text = dockerfile_for("", ".", from_host=True, has_sum=False, has_certificates=False)
    assert "host AS builder" in text and "go mod download" not in text
    assert "ca-certificates" not in text


def test_ports_are_the_settings_or_what_the_image_exposes_at_the_last_numbers() -> None:
    given_ports = settings("[run]\nports = ['8080:80']")
    assert ports_for(given_ports, ["99/tcp"], {}) == (Port("80/tcp", 8080),)
    last = {"HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "41000"}]}}}
    assert ports_for(settings(""), ["80/tcp", "81/tcp"], last) == (
        Port("80/tcp", 41_000),
        Port("81/tcp", 0),
    )
    asked = settings("[health]\nhttp = '/'")
    assert health_port(asked, (Port("53/udp"), Port("80/tcp"))) == "80/tcp"
    assert health_port(settings(""), (Port("80/tcp"),)) == ""


def test_a_candidate_takes_no_port_of_the_release_that_runs() -> None:
    found = settings("[run]\nports = ['8080:80', '9:9']\nmemory = '1m'\n[health]\ncommand = ['x']")
    body = container_body(found, "sha256:1", found.ports)
    assert body["HostConfig"]["PortBindings"]["80/tcp"] == [
        {"HostIp": "127.0.0.1", "HostPort": "8080"}
    ]
    assert body["HostConfig"]["Memory"] == 1 << 20
    assert body["Healthcheck"]["Test"] == ["CMD", "x"]
    beside = candidate_of(body, "80/tcp")
    assert beside["HostConfig"]["PortBindings"] == {
        "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]
    }
    assert beside["HostConfig"]["RestartPolicy"] == {"Name": "no"}
    alone = container_body(found, "sha256:1", found.ports, bridged=False)
    assert shares_network(alone) and not shares_network(body)
    assert alone["HostConfig"]["PortBindings"] == {}
    seen = {"HostConfig": {"NetworkMode": "host"}, "Config": {"ExposedPorts": {"80/tcp": {}}}}
    assert bindings_of(seen) == {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "80"}]}
    assert candidate_of(body, "")["HostConfig"]["PortBindings"] == {}
    assert body["HostConfig"]["RestartPolicy"] == {"Name": "unless-stopped"}


def test_the_check_of_an_image_is_asked_often_until_it_first_succeeds() -> None:
    found = settings("")
    second = 10**9
    slow = {"Test": ["CMD", "x"]}
    check = container_body(found, "i", (), image_check=slow)["Healthcheck"]
    assert check == {"StartPeriod": 30 * second, "StartInterval": second // 10}
    assert health_timeout_s(found, slow) == 60
    assert health_timeout_s(found, {**slow, "Interval": second}) == 30
    for image in (
        None,
        {"Test": ["NONE"]},
        {**slow, "StartInterval": 1},
        {**slow, "Interval": second},
    ):
        assert "Healthcheck" not in container_body(found, "i", (), image_check=image)
    own = settings("[health]\nhttp = '/'")
    assert health_timeout_s(own, slow) == 30


def release(number: int, outcome: str = "live", image: str = "", **more: Any) -> Release:
    return Release("x", number, "now", outcome, image or f"sha256:{number}", **more)


def test_releases_are_read_as_they_were_written_and_bad_ones_left_out() -> None:
    written = [release(10), release(2, body={"Image": "i"}, steps={"build": 1.5})]
    values = [encode(one).encode() for one in written]
    newer = b'{"name":"x","number":3,"created":"","outcome":"live","image":"","later":1}'
    found = decode([*values, b"{", b"[]", b'{"name": 1}', newer])
    assert [one.number for one in found] == [2, 3, 10]
    assert found[0] == written[1] and next_number(found) == 11 and next_number([]) == 1


def test_the_release_to_return_to() -> None:
    history = [release(1), release(2, "failed"), release(3), release(4, "failed")]
    now = current(history)
    assert now is not None and now.number == 3
    assert to_return_to(history, 0).number == 1
    back = release(5, image="sha256:1", rollback_of=1)
    assert to_return_to([*history, back], 3).number == 3
    for releases, number, words in (
        ([*history, back], 0, "no release before 1"),
        (history, 2, "never ran"),
        (history, 9, "no release 9"),
        ([release(1, "failed")], 0, "nothing has gone live"),
    ):
        with pytest.raises(NotFoundError, match=words):
            to_return_to(releases, number)


def test_hints_for_what_goes_wrong_often() -> None:
    assert "--build-from-host" in hint_for("sampan dockerd --build-from-host", "x")
    assert "change ports" in hint_for("Bind for 127.0.0.1:1 failed: port is already allocated", "x")
    assert hint_for("something else", "x") == "x"
