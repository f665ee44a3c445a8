"""Published ports: ranges, addresses, protocols, and what happens when one is taken."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engine.network.conftest import Place
from tests.engine_server import EngineServer
from tests.netns import NetworkNamespace
from tests.real import require, require_root

pytestmark = [pytest.mark.real, pytest.mark.root]

ECHO_UDP = """
import socket
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("0.0.0.0", 53))
print("bound", flush=True)
while True:
    sock.sendto(*sock.recvfrom(99))
"""
ASK_UDP = """
import socket, sys
sock = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
sock.settimeout(5)
for _ in range(3):
    sock.sendto(b"ping", (sys.argv[1], int(sys.argv[2])))
    print(sock.recv(99).decode())
"""
HOLD = """
import socket, sys
sock = socket.socket()
sock.bind(("0.0.0.0", int(sys.argv[1])))
sock.listen()
print("held", flush=True)
sys.stdin.read()
"""


def refused(place: Place, *words: str) -> str:
    done = place.engine.docker(*words, check=False)
    assert done.returncode != 0
    return done.stderr.decode()


@contextlib.contextmanager
def echo_of_datagrams(place: Place, container: str) -> Iterator[None]:
    """Answer datagrams at port 53 in a container's network, which its inspection shows a way to."""
    shape = "{{.NetworkSettings.SandboxKey}}"
    key = place.engine.out("inspect", "-f", shape, container).strip()
    words = [str(require("nsenter")), f"--net={key}", sys.executable, "-c", ECHO_UDP]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"bound\n"
        try:
            yield
        finally:
            server.kill()


def bindings(place: Place, name: str) -> dict[str, list[str]]:
    shown = json.loads(place.engine.out("inspect", name))[0]["NetworkSettings"]["Ports"]
    return {key: [one["HostPort"] for one in found or ()] for key, found in shown.items()}


def test_a_port_is_reached_by_every_address_of_the_host(place: Place) -> None:
    place.serve("--name", "web", "-p", "18030:80")
    place.engine.docker("run", "-d", "--name", "peer", "busybox", "sleep", "600")
    for host in ("127.0.0.1", "172.17.0.1", "[::1]"):
        assert place.netns.get(f"http://{host}:18030/") == "hello\n"
    for container in ("peer", "web"):
        assert place.page(container, "http://172.17.0.1:18030/") == "hello\n"
    assert place.engine.out("port", "web").splitlines() == [
        "80/tcp -> 0.0.0.0:18030",
        "80/tcp -> [::]:18030",
    ]


def test_a_port_of_one_address(place: Place) -> None:
    place.serve("--name", "web", "-p", "127.0.0.1:18031:80")
    assert place.netns.get("http://127.0.0.1:18031/") == "hello\n"
    assert place.netns.get("http://172.17.0.1:18031/") == ""
    far = refused(place, "run", "-d", "-p", "10.255.0.9:18031:80", "busybox")
    assert "cannot assign requested address" in far


def test_ranges_and_ports_that_the_engine_chooses(place: Place) -> None:
    place.serve("--name", "one", "-p", "18040-18042:80")
    place.serve("--name", "two", "-p", "18040-18042:80")
    assert bindings(place, "one") == {"80/tcp": ["18040", "18040"]}
    assert bindings(place, "two") == {"80/tcp": ["18041", "18041"]}
    place.serve("--name", "many", "-p", "18050-18051:80-81", "-p", "90", "--expose", "91", "-P")
    found = bindings(place, "many")
    assert (found["80/tcp"][0], found["81/tcp"][0]) == ("18050", "18051")
    chosen = {found["90/tcp"][0], found["91/tcp"][0]}
    assert len(chosen) == 2
    assert all(32768 <= int(port) <= 60999 for port in chosen)


def test_datagrams(place: Place) -> None:
    place.engine.docker(
        *("run", "-d", "--name", "udp", "-p", "18060:53/udp", "busybox", "sleep", "600")
    )
    with echo_of_datagrams(place, "udp"):
        for host in ("127.0.0.1", "172.17.0.1", "::1"):
            out = place.netns.out(sys.executable, "-c", ASK_UDP, host, "18060")
            assert out.split() == ["ping"] * 3


def test_datagrams_find_a_new_container_by_the_same_flow(place: Place) -> None:
    client = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.connect(("172.17.0.1", 18061))
for line in sys.stdin:
    try:
        sock.send(b"ping")
        sock.settimeout(5)
        print(sock.recv(99).decode(), flush=True)
    except ConnectionRefusedError:
        print("refused", flush=True)
    except TimeoutError:
        print("silence", flush=True)
"""
    words = [str(require("nsenter")), f"--net={place.netns.path}", sys.executable, "-c", client]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, bufsize=1) as asking:
        assert asking.stdin is not None
        assert asking.stdout is not None
        told = []
        for name in ("", "first", "second"):
            run = ("run", "-d", "--name", name, "-p", "18061:53/udp", "busybox", "sleep", "600")
            if name:
                place.engine.docker(*run)
            with echo_of_datagrams(place, name) if name else contextlib.nullcontext():
                asking.stdin.write("go\n")
                told.append(asking.stdout.readline().strip())
            if name:
                place.engine.docker("rm", "-f", name)
        asking.stdin.close()
    assert told == ["refused", "ping", "ping"]


def test_a_port_that_another_container_has(place: Place) -> None:
    place.serve("--name", "web", "-p", "18070:80")
    for wish in ("18070:80", "127.0.0.1:18070:80"):
        message = refused(place, "run", "-d", "--name", "late", "-p", wish, "busybox")
        assert "driver failed programming external connectivity on endpoint late" in message
        assert ":18070 failed: port is already allocated" in message
        place.engine.docker("rm", "late")
    assert place.netns.get("http://127.0.0.1:18070/") == "hello\n"
    place.engine.docker("rm", "-f", "web")
    place.serve("--name", "late", "-p", "18070:80")
    assert place.netns.get("http://127.0.0.1:18070/") == "hello\n"


def test_a_port_that_a_process_of_the_host_has(place: Place) -> None:
    words = [str(require("nsenter")), f"--net={place.netns.path}", sys.executable, "-c", HOLD]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([*words, "18080"], **pipes) as holder:  # type: ignore[call-overload]
        assert holder.stdout.readline() == b"held\n"
        message = refused(place, "run", "-d", "-p", "18081:81", "-p", "18080:80", "busybox")
        holder.stdin.close()
    assert "failed to bind host port 0.0.0.0:18080/tcp: address already in use" in message
    assert "18081" not in place.netns.rules()


def test_rules_that_another_program_has_flushed(place: Place) -> None:
    place.serve("--name", "before", "-p", "18085:80")
    place.netns.run(str(require("nft")), "flush", "ruleset")
    place.serve("--name", "after", "-p", "18086:80")
    for port in (18085, 18086):
        assert place.netns.get(f"http://127.0.0.1:{port}/") == "hello\n"
    place.netns.run(str(require("nft")), "flush", "ruleset")
    place.engine.docker("rm", "-f", "before", "after")
    place.engine.docker("network", "create", "mine")
    assert "table ip sampan" in place.netns.rules()


def test_what_cannot_be_a_port(place: Place) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(place.engine.socket))
        body = json.dumps(
            {"Image": "busybox", "HostConfig": {"PortBindings": {"80/ice": [{"HostPort": "1"}]}}}
        ).encode()
        head = f"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        client.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
        answer = client.recv(4096)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"invalid port specification" in answer


@pytest.fixture
def copying(tmp_path: Path) -> Iterator[Place]:
    """A daemon that may not make packet rules."""
    require_root()
    netns = NetworkNamespace.make()
    engine = EngineServer(tmp_path, ["--iptables=false"], netns=netns.path).start()
    engine.load()
    try:
        yield Place(engine, netns)
        engine.clear()
    finally:
        engine.stop()
        netns.close()


def test_ports_without_packet_rules(copying: Place) -> None:
    copying.serve("--name", "web", "-p", "18090:80", "-p", "18091:53/udp")
    assert copying.netns.rules() == ""
    localnet = "/proc/sys/net/ipv4/conf/sampan0/route_localnet"
    assert copying.netns.out("cat", localnet) == "0\n"
    for host in ("127.0.0.1", "[::1]", "172.17.0.1"):
        assert copying.netns.get(f"http://{host}:18090/") == "hello\n"
    half = ("busybox", "nc", "127.0.0.1", "18090")
    request = b"GET / HTTP/1.0\r\n\r\n"
    assert copying.netns.out(*half, stdin=request).endswith("hello\n")
    with echo_of_datagrams(copying, "web"):
        out = copying.netns.out(sys.executable, "-c", ASK_UDP, "::1", "18091")
    assert out.split() == ["ping"] * 3
    copying.engine.docker("rm", "-f", "web")
    assert copying.netns.get("http://127.0.0.1:18090/") == ""
