"""A daemon in a network namespace of the tests' own, and the namespace."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from tests.engine_server import EngineServer
from tests.netns import NetworkNamespace
from tests.real import require_root


@dataclass(slots=True)
class Place:
    """A daemon and where it lives."""

    engine: EngineServer
    netns: NetworkNamespace

    def serve(self, *words: str, text: str = "hello") -> str:
        """Start a container that serves a page at port 80; returns its id."""
        script = f"mkdir -p /www; echo {text} > /www/index.html; exec httpd -f -h /www"
        made = self.engine.out("run", "-d", *words, "busybox", "sh", "-c", script).strip()
        self.serving(made)
        return made

    def serving(self, container: str) -> None:
        """Wait until a container's page is there."""
        script = "until wget -qO /dev/null http://127.0.0.1/; do usleep 10000; done"
        self.engine.docker("exec", container, "sh", "-c", script)

    def address(self, container: str, network: str = "bridge") -> str:
        """Return a container's address in a network."""
        shape = f'{{{{(index .NetworkSettings.Networks "{network}").IPAddress}}}}'
        return self.engine.out("inspect", "-f", shape, container).strip()

    def gateway(self, network: str) -> str:
        """Return a network's gateway."""
        shape = "{{(index .IPAM.Config 0).Gateway}}"
        return self.engine.out("network", "inspect", "-f", shape, network).strip()

    def page(self, container: str, url: str) -> str:
        """Return a page as a container gets it, empty when it gets none."""
        script = f"timeout 1 wget -qO- {url}; true"
        return self.engine.docker("exec", container, "sh", "-c", script).stdout.decode()


@pytest.fixture(scope="session")
def shared_place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    require_root()
    netns = NetworkNamespace.make()
    engine = EngineServer(tmp_path_factory.mktemp("bridged"), netns=netns.path).start()
    try:
        engine.load()
        yield Place(engine, netns)
    finally:
        engine.stop()
        netns.close()


@pytest.fixture
def place(shared_place: Place) -> Iterator[Place]:
    yield shared_place
    shared_place.engine.clear()
    shared_place.engine.docker("network", "prune", "-f")
