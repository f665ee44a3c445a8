"""`sampan dockerd` as dockerd's users know it: sockets, TLS, pid file, reload, one at a time."""

from __future__ import annotations

import grp
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.certificates import Authority
from tests.docker_api import DockerApi
from tests.engine_server import EngineServer
from tests.real import require, require_root

pytestmark = [pytest.mark.real, pytest.mark.root]

COMMAND = [sys.executable, "-m", "sampan.cli.main", "dockerd"]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def refused(*words: str) -> str:
    """What a daemon that does not start says."""
    done = subprocess.run(
        [*COMMAND, "--bridge=none", *words], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    return done.stderr


def docker(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(require("docker")), *words], capture_output=True, text=True, timeout=30, check=False
    )


def test_tls_with_client_certificates(tmp_path: Path) -> None:
    require_root()
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    server_cert, server_key = authority.issue("server")
    port = free_port()
    files = [f"--tlscacert={authority.path}", f"--tlscert={server_cert}", f"--tlskey={server_key}"]
    flags = ["--tlsverify", *files, f"--host=tcp://127.0.0.1:{port}"]
    server = EngineServer(tmp_path / "engine", flags)
    server.place.mkdir()
    server.start()
    try:
        address = ("--tlsverify", "-H", f"tcp://127.0.0.1:{port}", f"--tlscacert={authority.path}")
        for issuer, name, expected in ((authority, "friend", 0), (stranger, "foe", 1)):
            cert, key = issuer.issue(name)
            done = docker(*address, f"--tlscert={cert}", f"--tlskey={key}", "ps")
            assert done.returncode == expected, done.stderr
        without = docker("--tls", "-H", f"tcp://127.0.0.1:{port}", "ps")
        assert without.returncode == 1
    finally:
        server.stop()


def test_tcp_without_certificates_has_to_be_meant(tmp_path: Path) -> None:
    require_root()
    port = free_port()
    roots = [f"--data-root={tmp_path / 'd'}", f"--exec-root={tmp_path / 'e'}"]
    assert "gives root access" in refused(*roots, f"--host=tcp://127.0.0.1:{port}")
    server = EngineServer(tmp_path / "engine", ["--tls=false", f"-Htcp://127.0.0.1:{port}"])
    server.place.mkdir()
    server.start()
    try:
        assert docker("-H", f"tcp://127.0.0.1:{port}", "ps").returncode == 0
        assert "insecure" in server.text()
    finally:
        server.stop()


def test_certificates_that_cannot_be_read(tmp_path: Path) -> None:
    require_root()
    message = refused("--tlsverify", f"--tlscert={tmp_path}/no", f"--data-root={tmp_path / 'd'}")
    assert "could not load X509 key pair" in message
    assert not (tmp_path / "d").exists()


def test_one_daemon_a_data_root(engine: EngineServer, tmp_path: Path) -> None:
    roots = [f"--data-root={engine.place / 'data'}", f"--exec-root={tmp_path}"]
    said = refused(f"--host=unix://{tmp_path / 's'}", *roots)
    assert said.endswith(f"another daemon uses the data root {engine.place / 'data'}\n")
    pidfile = engine.place / "exec" / "docker.pid"
    said = refused(f"--host=unix://{tmp_path / 's'}", f"--data-root={tmp_path}", f"-p{pidfile}")
    assert f"process with PID {pidfile.read_text()} is still running" in said
    said = refused(f"--host={engine.url}", f"--data-root={tmp_path}", f"--exec-root={tmp_path}")
    assert "another process listens on this socket" in said
    assert engine.out("ps", "-aq") == ""


def test_a_reload_reads_the_file_again(tmp_path: Path) -> None:
    require_root()
    file = tmp_path / "daemon.json"
    file.write_text('{"labels": ["a=1"]}')
    server = EngineServer(tmp_path / "engine", [f"--config-file={file}"])
    server.place.mkdir()
    server.start()
    try:
        api = DockerApi(server.socket)
        assert api.call("GET", "/info").document["Labels"] == ["a=1"]
        mirror = "https://mirror.example"
        file.write_text(
            json.dumps({"labels": ["a=2"], "debug": True, "registry-mirrors": [mirror]})
        )
        filters = ("--filter", "type=daemon", "--format", "{{.Action}}")
        with subprocess.Popen(
            [str(require("docker")), "-H", server.url, "events", "--since", "1", *filters],
            stdout=subprocess.PIPE,
        ) as events:
            os.kill(server.pid, signal.SIGHUP)
            assert events.stdout is not None
            assert events.stdout.readline() == b"reload\n"
            events.kill()
        info = api.call("GET", "/info").document
        assert (info["Labels"], info["Debug"]) == (["a=2"], True)
        assert info["RegistryConfig"]["Mirrors"] == [f"{mirror}/"]
        file.write_text('{"nope": 1}')
        os.kill(server.pid, signal.SIGHUP)
        server.wait_for("Error reconfiguring the daemon")
        assert api.call("GET", "/info").document["Labels"] == ["a=2"]
    finally:
        server.stop()


def test_sockets_of_systemd(tmp_path: Path) -> None:
    require_root()
    roots = [f"--data-root={tmp_path / 'd'}", f"--exec-root={tmp_path / 'e'}"]
    assert "no sockets found via socket activation" in refused("-H", "fd://", *roots)
    path = tmp_path / "handed.sock"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen()
    script = f'LISTEN_FDS=1 LISTEN_PID=$$ exec "$@" 3<&{listener.fileno()}'
    program = ["bash", "-c", script, "systemd"]
    process = subprocess.Popen(
        [*program, *COMMAND, "--bridge=none", "-H", "fd://", *roots],
        pass_fds=[listener.fileno()],
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if b"API listen on fd://" in line:
                break
        assert DockerApi(path).call("GET", "/_ping").raw == b"OK"
    finally:
        process.terminate()
        process.communicate()
        listener.close()


def test_the_socket_belongs_to_its_group(tmp_path: Path) -> None:
    require_root()
    group = next(one for one in grp.getgrall() if one.gr_gid > 0)
    server = EngineServer(tmp_path / "engine", ["-G", group.gr_name])
    server.place.mkdir()
    server.start()
    try:
        status = os.stat(server.socket)
        assert (status.st_mode & 0o777, status.st_gid) == (0o660, group.gr_gid)
    finally:
        server.stop()
    said = refused("-G", "nosuchgroup", f"--data-root={tmp_path / 'd'}", f"--exec-root={tmp_path}")
    assert "group nosuchgroup not found" in said


def test_called_through_a_link_named_dockerd(tmp_path: Path) -> None:
    link = tmp_path / "dockerd"
    link.symlink_to(Path(sys.executable).with_name("sampan"))
    done = subprocess.run([link, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Sampan version ")
    done = subprocess.run([link, "--nosuch"], capture_output=True, text=True, check=False)
    assert done.stderr.startswith("Status: unknown flag: --nosuch")
    done = subprocess.run([link, "--validate"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "configuration OK\n")


def test_log_lines_as_json(tmp_path: Path) -> None:
    require_root()
    server = EngineServer(tmp_path / "engine", ["--log-format", "json", "--debug"])
    server.place.mkdir()
    server.start()
    try:
        lines = [json.loads(line) for line in server.text().splitlines()]
        assert {"level", "msg", "time"} == set(lines[0])
    finally:
        server.stop()


def test_defaults_of_containers(tmp_path: Path) -> None:
    require_root()
    flags = ["--log-driver=local", "--log-opt=max-size=1m", "--default-ulimit=nofile=100:200"]
    flags += ["--default-shm-size=32m", "--init", "--cgroup-parent=/sampan-test", "--label=a=b"]
    flags += ["--no-new-privileges", "--default-ipc-mode=shareable"]
    server = EngineServer(tmp_path / "engine", flags)
    server.place.mkdir()
    server.start()
    try:
        server.load()
        script = (
            "ulimit -Sn; ulimit -Hn; df -k /dev/shm | tail -1; cat /proc/1/comm; cat /proc/1/cgroup"
        )
        shown = server.run("busybox", "sh", "-c", script + "; grep NoNewPrivs /proc/1/status")
        lines = shown.splitlines()
        assert lines[:2] == ["100", "200"]
        assert lines[2].split()[1] == "32768"
        assert lines[3] != "sh"
        assert any("/sampan-test/" in line for line in lines)
        assert lines[-1] == "NoNewPrivs:\t1"
        server.docker("create", "--network", "none", "--name", "one", "busybox")
        host = DockerApi(server.socket).call("GET", "/containers/one/json").document["HostConfig"]
        assert host["LogConfig"] == {"Type": "local", "Config": {"max-size": "1m"}}
        assert host["IpcMode"] == "shareable"
        own = (
            "create",
            "--network",
            "none",
            "--log-driver",
            "json-file",
            "--name",
            "two",
            "busybox",
        )
        server.docker(*own)
        host = DockerApi(server.socket).call("GET", "/containers/two/json").document["HostConfig"]
        assert host["LogConfig"] == {"Type": "json-file", "Config": {}}
    finally:
        server.stop()
