"""The pair of servers for etcdctl scenarios: a real etcd and ours, and the matching etcdctl."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests import etcdctl, real
from tests.etcdctl import Ctl, Scenario
from tests.servers import PEERS, SAMPAN, Flavour, Server

CLIENTS = {"etcdctl": "etcd", "etcdctl36": "etcd36"}

Compare = Callable[..., list[str]]


def subject() -> Flavour:
    """The server under test: ours, or the executable that SAMPAN_SUBJECT names."""
    other = os.environ.get("SAMPAN_SUBJECT")
    return SAMPAN if other is None else Flavour("subject", (other,))


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> str:
    """The name of the etcdctl to drive; its peer is the etcd of the same version."""
    return str(request.param)


@pytest.fixture
def compare(client: str, tmp_path: Path) -> Compare:
    """Play a scenario with the real etcdctl against a real etcd and against ours, and compare."""
    binary = real.require(client)
    peer = PEERS[CLIENTS[client]](real.require(CLIENTS[client]))

    def ctl(flavour: Flavour, place: str, flags: tuple[str, ...]) -> Ctl:
        scratch = tmp_path / place
        scratch.mkdir()
        return Ctl(binary, Server(flavour, scratch / "data", flags), scratch=scratch)

    def run(scenario: Scenario, *flags: str) -> list[str]:
        return etcdctl.compare(scenario, ctl(peer, "peer", flags), ctl(subject(), "ours", flags))

    return run


@pytest.fixture
def ours(client: str, tmp_path: Path) -> Ctl:
    """The real etcdctl bound to our server alone, not yet started."""
    return Ctl(real.require(client), Server(subject(), tmp_path / "data"), scratch=tmp_path)
