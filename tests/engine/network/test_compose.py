"""Debian's docker-compose: a project of two services, from up to down."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from tests.engine.network.conftest import Place
from tests.real import require

pytestmark = [pytest.mark.real, pytest.mark.root]

PROJECT = """
version: "2.4"
services:
  db:
    image: busybox
    command: sh -c "mkdir -p /www; echo hello from db > /www/index.html; httpd -f -p 80 -h /www"
    volumes: ["data:/data"]
    networks: {back: {aliases: [database]}}
    healthcheck: {test: ["CMD-SHELL", "test -e /www/index.html"], interval: 200ms, retries: 25}
    stop_grace_period: 0s
  web:
    image: busybox
    command: sh -c "wget -qO- http://database/ && wget -qO- http://db/; sleep 600"
    depends_on: {db: {condition: service_healthy}}
    networks: [back, front]
    ports: ["18080:80"]
    mem_limit: 64m
    restart: unless-stopped
    stop_grace_period: 0s
volumes: {data: {}}
networks: {back: {internal: true}, front: {}}
"""


def test_a_project_from_up_to_down(place: Place, tmp_path: Path) -> None:
    (tmp_path / "docker-compose.yml").write_text(PROJECT)

    def compose(*words: str) -> str:
        done = subprocess.run(
            [str(require("docker-compose")), "--no-ansi", "-p", "proj", *words],
            cwd=tmp_path,
            env={**os.environ, "DOCKER_HOST": place.engine.url},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    compose("up", "-d")
    try:
        assert "Up (healthy)" in compose("ps")
        assert compose("port", "web", "80") == "0.0.0.0:18080\n"
        assert compose("exec", "-T", "web", "echo", "executed") == "executed\n"
        fetched = compose("run", "--rm", "-T", "web", "wget", "-qO-", "http://database/")
        assert fetched == "hello from db\n"
        ids = compose("ps", "-q")
        compose("up", "-d")
        assert compose("ps", "-q") == ids
        compose("restart", "-t", "0", "web")
        compose("pause", "db")
        compose("unpause", "db")
        assert "hello from db" in compose("logs", "--no-color", "web")
    finally:
        compose("down", "-v", "-t", "0")
    assert place.engine.out("ps", "-aq") == ""
    assert "proj" not in place.engine.out("network", "ls")
    assert "proj" not in place.engine.out("volume", "ls")
