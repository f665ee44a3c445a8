"""One real registry for the tests that share it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.images.registry_images import Registry
from tests.registry_server import RegistryServer


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    server = RegistryServer(tmp_path_factory.mktemp("registry")).start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def images(registry: RegistryServer) -> Registry:
    """A way to put images into the registry."""
    return Registry(registry.host)
