"""Our own command line over TLS, and with registries that ask for a password."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tests.certificates import Authority
from tests.engine_server import EngineServer
from tests.real import require_root
from tests.registry_server import RegistryServer

pytestmark = [pytest.mark.root, pytest.mark.real]

SAMPAN = str(Path(sys.executable).parent / "sampan")
USER, PASSWORD = "ann", "open sesame"


def sampan(
    environment: Mapping[str, str], *words: str, stdin: bytes = b"", check: bool = True
) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run(
        [SAMPAN, *words],
        input=stdin,
        capture_output=True,
        env={**os.environ, **environment},
        timeout=60,
        check=False,
    )
    assert not check or done.returncode == 0, (words, done.stdout, done.stderr)
    return done


def test_over_tls(tmp_path: Path) -> None:
    require_root()
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    cert, key = authority.issue("server")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    files = (f"--tlscacert={authority.path}", f"--tlscert={cert}", f"--tlskey={key}")
    server = EngineServer(
        tmp_path / "engine", ["--tlsverify", *files, f"--host=tcp://127.0.0.1:{port}"]
    )
    server.place.mkdir()
    server.start()
    try:
        server.load()
        own, own_key = authority.issue("friend")
        home = tmp_path / "home"
        home.mkdir()
        for name, path in (("ca", authority.path), ("cert", own), ("key", own_key)):
            (home / f"{name}.pem").symlink_to(path)
        known = {
            "DOCKER_HOST": f"tcp://127.0.0.1:{port}",
            "DOCKER_TLS_VERIFY": "1",
            "DOCKER_CERT_PATH": str(home),
        }
        script = "yes 0123456789abcde | head -c 1048576; echo end >&2"
        words = ("run", "--rm", "--network", "none", "busybox", "sh", "-c", script)
        done = sampan(known, *words)
        assert (len(done.stdout), done.stderr) == (1 << 20, b"end\n")
        foe, foe_key = stranger.issue("foe")
        address = ("-H", f"tcp://127.0.0.1:{port}", "--tlsverify", f"--tlscacert={authority.path}")
        assert sampan({}, *address, f"--tlscert={own}", f"--tlskey={own_key}", "ps").returncode == 0
        for wrong in (
            (*address, f"--tlscert={foe}", f"--tlskey={foe_key}"),
            (
                *address[:3],
                f"--tlscacert={stranger.path}",
                f"--tlscert={own}",
                f"--tlskey={own_key}",
            ),
        ):
            done = sampan({}, *wrong, "ps", check=False)
            assert done.returncode == 1
            assert b"Traceback" not in done.stderr
    finally:
        server.stop()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    server = RegistryServer(tmp_path_factory.mktemp("registry"), users={USER: PASSWORD}).start()
    yield server
    server.stop()


def test_login_push_and_pull(
    engine: EngineServer, registry: RegistryServer, tmp_path: Path
) -> None:
    known = {"DOCKER_HOST": engine.url, "DOCKER_CONFIG": str(tmp_path)}
    name = f"{registry.host}/team/own:1"
    sampan(known, "tag", "busybox", name)
    refused = sampan(known, "push", name, check=False)
    assert refused.returncode == 1
    words = ("login", "-u", USER, "--password-stdin", registry.host)
    wrong = sampan(known, *words, stdin=b"shut", check=False)
    assert wrong.returncode == 1
    assert not (tmp_path / "config.json").exists()
    done = sampan(known, *words, stdin=PASSWORD.encode() + b"\n")
    assert done.stdout == b"Login Succeeded\n"
    config = tmp_path / "config.json"
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert list(json.loads(config.read_text())["auths"]) == [registry.host]
    pushed = sampan(known, "push", name).stdout.decode()
    assert f"The push refers to repository [{registry.host}/team/own]" in pushed
    sampan(known, "rmi", name)
    done = sampan(known, "run", "--rm", "--network", "none", name, "echo", "pulled")
    assert done.stdout == b"pulled\n"
    assert f"Unable to find image '{name}' locally".encode() in done.stderr
    assert sampan(known, "pull", "-q", name).stdout == f"{name}\n".encode()
    sampan(known, "rmi", name)
    sampan(known, "logout", registry.host)
    assert json.loads(config.read_text())["auths"] == {}
    assert sampan(known, "pull", name, check=False).returncode == 1
