"""The resolver of user networks, asked from inside, with an upstream server of the test's own."""

from __future__ import annotations

import json
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

# Answers every name with 192.0.2.1, over UDP cut short for names that begin with "big"; never for
# names that begin with "lost".
UPSTREAM = """
import selectors, socket, struct
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
tcp = socket.socket()
tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
for sock in (udp, tcp):
    sock.bind(("127.0.0.1", 53))
tcp.listen()
def answer(data, cut):
    question = data[12:data.index(0, 12) + 5]
    count = 0 if cut else 1
    flags = 0x8380 if cut else 0x8180
    record = bytes.fromhex("c00c00010001000000050004c0000201") * count
    return data[:2] + struct.pack(">5H", flags, 1, count, 0, 0) + question + record
print("bound", flush=True)
chooser = selectors.DefaultSelector()
chooser.register(udp, 1)
chooser.register(tcp, 1)
while True:
    for key, _ in chooser.select():
        if key.fileobj is udp:
            data, sender = udp.recvfrom(4096)
            if data[13:17] != b"lost":
                udp.sendto(answer(data, data[13:16] == b"big"), sender)
        else:
            client, _ = tcp.accept()
            size, = struct.unpack(">H", client.recv(2, socket.MSG_WAITALL))
            reply = answer(client.recv(size, socket.MSG_WAITALL), False)
            client.sendall(struct.pack(">H", len(reply)) + reply)
"""
# Sends questions given as JSON: [protocol, name, type], and prints [rcode, cut, addresses] of each.
CLIENT = """
import json, socket, struct, sys
def ask(protocol, name, kind):
    labels = b"".join(bytes([len(one)]) + one.encode() for one in name.split("."))
    question = labels + b"\\0" + struct.pack(">HH", kind, 1)
    message = struct.pack(">6H", 77, 0x100, 1, 0, 0, 0) + question
    how = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    sock = socket.socket(socket.AF_INET, how)
    sock.settimeout(20)
    sock.connect(("127.0.0.11", 53))
    if protocol == "tcp":
        sock.sendall(struct.pack(">H", len(message)) + message)
        size, = struct.unpack(">H", sock.recv(2, socket.MSG_WAITALL))
        reply = sock.recv(size, socket.MSG_WAITALL)
    else:
        sock.send(b"nonsense")
        sock.send(message)
        reply = sock.recv(4096)
    number, flags, _, count, _, _ = struct.unpack_from(">6H", reply)
    assert number == 77
    end = reply.index(0, 12) + 5
    found = [socket.inet_ntoa(reply[at + 12:at + 16]) for at in range(end, end + 16 * count, 16)]
    return [flags & 15, bool(flags & 0x200), found]
print(json.dumps([ask(*one) for one in json.loads(sys.argv[1])]))
"""


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Place]:
    require_root()
    netns = NetworkNamespace.make()
    words = [str(require("nsenter")), f"--net={netns.path}", sys.executable, "-c", UPSTREAM]
    engine = EngineServer(tmp_path, ["--dns=127.0.0.1"], netns=netns.path)
    with subprocess.Popen(words, stdout=subprocess.PIPE) as upstream:
        try:
            assert upstream.stdout is not None
            assert upstream.stdout.readline() == b"bound\n"
            engine.start().load()
            yield Place(engine, netns)
            engine.clear()
        finally:
            engine.stop()
            upstream.kill()
            netns.close()


def ask(place: Place, container: str, *questions: tuple[str, str, int]) -> list[list[object]]:
    shape = "{{.NetworkSettings.SandboxKey}}"
    key = place.engine.out("inspect", "-f", shape, container).strip()
    words = [str(require("nsenter")), f"--net={key}", sys.executable, "-c", CLIENT]
    done = subprocess.run([*words, json.dumps(questions)], capture_output=True, check=True)
    found: list[list[object]] = json.loads(done.stdout)
    return found


def test_names_of_containers_and_of_the_world(own: Place) -> None:
    engine = own.engine
    engine.docker("network", "create", "mine")
    engine.docker("network", "create", "--internal", "inner")
    for network, name in (("mine", "web"), ("inner", "deep")):
        engine.docker("run", "-d", "--network", network, "--name", name, "busybox", "sleep", "600")
    address = own.address("web", "mine")
    questions = [
        ("udp", "web", 1),
        ("tcp", "web", 1),
        ("udp", "web", 28),
        ("udp", "www.example", 1),
        ("tcp", "www.example", 1),
        ("udp", "big.example", 1),
        ("tcp", "big.example", 1),
    ]
    world = [0, False, ["192.0.2.1"]]
    assert ask(own, "web", *questions) == [
        [0, False, [address]],
        [0, False, [address]],
        [0, False, []],
        world,
        world,
        [0, True, []],
        world,
    ]
    assert ask(own, "deep", ("udp", "deep", 1), ("udp", "www.example", 1)) == [
        [0, False, [own.address("deep", "inner")]],
        [2, False, []],
    ]
    assert "nameserver 127.0.0.11" in engine.out("exec", "web", "cat", "/etc/resolv.conf")


def test_a_client_cannot_ask_without_bound(own: Place) -> None:
    own.engine.docker("network", "create", "mine")
    own.engine.docker("run", "-d", "--network", "mine", "--name", "web", "busybox", "sleep", "600")
    flood = """
import socket, struct
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.settimeout(20)
sock.connect(("127.0.0.11", 53))
tail = b"\\4lost\\0" + struct.pack(">HH", 1, 1)
for number in range(150):
    sock.send(struct.pack(">6H", number, 0x100, 1, 0, 0, 0) + tail)
refused = sum(sock.recv(512)[3] & 15 == 5 for _ in range(50))
print(refused)
"""
    shape = "{{.NetworkSettings.SandboxKey}}"
    key = own.engine.out("inspect", "-f", shape, "web").strip()
    words = [str(require("nsenter")), f"--net={key}", sys.executable, "-c", flood]
    done = subprocess.run(words, capture_output=True, check=True)
    assert int(done.stdout) == 50
    assert ask(own, "web", ("udp", "web", 1))[0][0] == 0
