"""The real `docker compose`, which builds by buildx."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.engine.buildkit.conftest import Buildx

pytestmark = [pytest.mark.real, pytest.mark.root]


def test_compose_builds_its_services_and_runs_them(buildx: Buildx, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "Dockerfile").write_text(
        "ARG WHO\nFROM busybox\nARG WHO\nCOPY m /m\nRUN echo and $WHO >> /m\n"
    )
    (tmp_path / "app" / "m").write_text("from compose\n")
    (tmp_path / "compose.yaml").write_text(
        "services:\n  web:\n    build: {context: ./app, args: {WHO: args}}\n"
        "    command: [cat, /m]\n    network_mode: none\n"
    )
    compose = ("compose", "-p", "built", "--project-directory", str(tmp_path))
    try:
        said = buildx.engine.docker(*compose, "up", "--build", "--no-color").stdout.decode()
        assert "from compose\n" in said
        assert "and args\n" in said
    finally:
        buildx.engine.docker(*compose, "down", "--rmi", "local", check=False)
    assert buildx.leftovers() == []
