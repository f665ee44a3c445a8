"""The real etcdctl over TLS and mutual TLS, against a real etcd and ours."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests import etcdctl, real
from tests.certificates import Authority
from tests.etcdctl import Ctl, Scenario, Step, play
from tests.servers import PEERS, Server, Tls
from tests.wire.conftest import CLIENTS, subject

pytestmark = pytest.mark.real

DATA: list[Step] = ["put k v", "get k", "endpoint health"]


class Pair:
    """A real etcd and ours with the same certificates."""

    def __init__(self, client: str, place: Path, *, client_auth: bool) -> None:
        self.client, self.place = client, place
        self.authority = Authority(place)
        cert, key = self.authority.issue("server")
        self.tls = Tls(self.authority.path, cert, key, client_auth)

    def compare(self, scenario: Scenario, *options: str) -> list[str]:
        """Play with these global options of etcdctl."""
        binary = real.require(self.client)
        peer = PEERS[CLIENTS[self.client]](real.require(CLIENTS[self.client]))
        pair = [
            Ctl(binary, Server(flavour, self.place / name, tls=self.tls), options)
            for name, flavour in (("peer", peer), ("ours", subject()))
        ]
        return etcdctl.compare(scenario, *pair)


def test_tls(client: str, tmp_path: Path) -> None:
    pair = Pair(client, tmp_path, client_auth=False)
    assert "OK" in pair.compare(play(DATA), f"--cacert={pair.authority.path}")


def test_mutual_tls(client: str, tmp_path: Path) -> None:
    pair = Pair(client, tmp_path, client_auth=True)
    cert, key = pair.authority.issue("someone")
    options = f"--cacert={pair.authority.path}", f"--cert={cert}", f"--key={key}"
    assert "OK" in pair.compare(play(DATA), *options)


def test_the_common_name_of_a_client_certificate_is_a_user(client: str, tmp_path: Path) -> None:
    pair = Pair(client, tmp_path, client_auth=True)
    cert, key = pair.authority.issue("alice")
    steps: list[Step] = [
        "user add root:pw",
        "user add alice --no-password",
        "role add r",
        "role grant-permission r readwrite mine/ --prefix",
        "user grant-role alice r",
        "auth enable",
        "put mine/x 1",
        "put other 1",
        "--user=root:pw put other 1",
        "get mine/ --prefix",
    ]
    options = f"--cacert={pair.authority.path}", f"--cert={cert}", f"--key={key}"
    assert "Error: etcdserver: permission denied" in pair.compare(play(steps), *options)


@pytest.mark.parametrize("how", ["none", "foreign"])
def test_a_client_without_a_right_certificate_is_refused(
    how: str, client: str, tmp_path: Path
) -> None:
    pair = Pair(client, tmp_path, client_auth=True)
    options = [f"--cacert={pair.authority.path}", "--command-timeout=2s"]
    if how == "foreign":
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        cert, key = Authority(elsewhere, "stranger").issue("alice")
        options += [f"--cert={cert}", f"--key={key}"]
    with Server(subject(), tmp_path / "data", tls=pair.tls) as server:
        ctl = Ctl(real.require(client), server, tuple(options))
        assert ctl.raw("get", "k").returncode != 0
        good, good_key = pair.authority.issue("good")
        right = f"--cacert={pair.authority.path}", f"--cert={good}", f"--key={good_key}"
        assert Ctl(ctl.binary, server, right).ok("put", "k", "v") == "OK\n"
