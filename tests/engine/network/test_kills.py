"""A daemon killed at any moment of making, joining, leaving and removing networks."""

from __future__ import annotations

import json
import random
import subprocess
import time
from pathlib import Path

import pytest
from tests.engine.network.conftest import Place
from tests.engine_server import EngineServer
from tests.netns import NetworkNamespace
from tests.real import require, require_root

pytestmark = [pytest.mark.real, pytest.mark.root, pytest.mark.slow]

ROUNDS, AT_ONCE = 8, 6
COMMANDS = (
    "run -d --network kept -P --expose 80 busybox sleep 600",
    "run -d --rm -P --expose 80 busybox sleep 0.05",
    "run -d --network n1 --name c{number} busybox sleep 600",
    "run -d --name c1 -p 18300:80 busybox sleep 600",
    "network create n{number}",
    "network create n1",
    "network rm n1",
    "network connect kept c1",
    "network disconnect kept c1",
    "rm -f c1",
    "restart -t 0 c1",
    "network prune -f",
)


def check(place: Place) -> None:
    """Everything that is there belongs to something that is known."""
    engine, folder = place.engine, place.engine.place / "exec" / "network"
    running = set(engine.out("ps", "-q", "--no-trunc").split())
    assert {path.name for path in folder.iterdir() if not path.suffix} <= running
    documents = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    devices = {one["device"] for each in documents for one in each["endpoints"]}
    assert set(place.netns.links("veth")) == devices
    shape = ("--format", "{{.ID}} {{.Name}}")
    listed = engine.out("network", "ls", "-f", "driver=bridge", *shape).splitlines()
    bridges = {f"br-{line.split()[0]}" for line in listed if not line.endswith(" bridge")}
    assert set(place.netns.links("bridge")) == {"sampan0", *bridges}


@pytest.mark.parametrize("seed", range(3))
def test_kills_at_any_moment(tmp_path: Path, seed: int) -> None:
    require_root()
    chance = random.Random(seed)
    netns = NetworkNamespace.make()
    engine = EngineServer(tmp_path, netns=netns.path).start()
    place = Place(engine, netns)
    try:
        engine.load()
        engine.docker("network", "create", "kept")
        (tmp_path / "exec" / "network").mkdir(exist_ok=True)
        docker = [str(require("docker")), "-H", engine.url]
        for _ in range(ROUNDS):
            chosen = [chance.choice(COMMANDS) for _ in range(AT_ONCE)]
            clients = [
                subprocess.Popen(
                    [*docker, *one.format(number=chance.randrange(100)).split()],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
                for one in chosen
            ]
            time.sleep(chance.random() / 4)  # noqa: TID251  (the moment of the kill is the test)
            engine.kill()
            for client in clients:
                client.wait(30)
            engine.start()
            check(place)
        engine.clear()
        engine.docker("network", "prune", "-f")
        engine.kill()
        engine.start()
        check(place)
        assert netns.links("veth") == []
        assert "tcp . " not in netns.rules()
    finally:
        engine.clear()
        engine.stop()
        netns.close()
