"""Networks and the daemon's death: traffic goes on, and what is no more is taken away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engine.network.conftest import Place
from tests.engine_server import EngineServer
from tests.netns import NetworkNamespace
from tests.real import require, require_root

pytestmark = [pytest.mark.real, pytest.mark.root]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Place]:
    require_root()
    netns = NetworkNamespace.make()
    engine = EngineServer(tmp_path, netns=netns.path).start()
    engine.load()
    try:
        yield Place(engine, netns)
        engine.clear()
    finally:
        engine.stop()
        netns.close()


def test_traffic_goes_on_without_the_daemon_and_names_come_back(own: Place) -> None:
    engine = own.engine
    engine.docker("network", "create", "mine")
    own.serve("--network", "mine", "--name", "web", "-p", "18020:80")
    engine.docker("run", "-d", "--network", "mine", "--name", "peer", "busybox", "sleep", "600")
    address = own.address("web", "mine")
    engine.kill()
    assert own.netns.get("http://127.0.0.1:18020/") == "hello\n"
    engine.start()
    assert own.address("web", "mine") == address
    assert own.page("peer", "http://web/") == "hello\n"
    assert own.netns.get("http://127.0.0.1:18020/") == "hello\n"
    assert own.netns.get("http://[::1]:18020/") == "hello\n"
    taken = engine.docker("run", "-d", "-p", "18020:80", "busybox", check=False)
    assert b"port is already allocated" in taken.stderr
    own.serve("--network", "mine", "--name", "next")
    assert own.address("next", "mine") not in ("", address, own.address("peer", "mine"))


def test_a_stopped_daemon_leaves_no_port_and_no_address(own: Place) -> None:
    engine = own.engine
    own.serve("--name", "web", "--stop-timeout", "0", "-p", "18021:80")
    engine.stop()
    assert "18021" not in own.netns.rules()
    engine.start()
    engine.docker("start", "web")
    own.serving("web")
    assert own.netns.get("http://127.0.0.1:18021/") == "hello\n"


def test_a_bridge_that_somebody_removes_is_made_again(own: Place) -> None:
    own.netns.run(str(require("ip")), "link", "del", "sampan0")
    own.serve("--name", "web", "-p", "18023:80")
    assert own.netns.get(f"http://{own.address('web')}/") == "hello\n"
    assert own.netns.get("http://127.0.0.1:18023/") == "hello\n"


def test_the_bridge_of_another_data_directory(own: Place, tmp_path: Path) -> None:
    """One that is in use is left alone, one that is not is taken over."""
    own.serve("--name", "web")
    other = EngineServer(tmp_path / "other", netns=own.netns.path)
    other.place.mkdir()
    with pytest.raises(RuntimeError, match="sampan0 belongs to another engine"):
        other.start()
    own.engine.docker("rm", "-f", "web")
    own.engine.stop()
    try:
        other.start().load()
        Place(other, own.netns).serve("--name", "web")
        assert own.netns.get(f"http://{Place(other, own.netns).address('web')}/") == "hello\n"
        other.clear()
    finally:
        other.stop()
    own.engine.start()


def test_leftovers_of_a_crash_are_taken_away(own: Place) -> None:
    engine = own.engine
    id_ = engine.out("network", "create", "gone").strip()
    engine.docker("network", "create", "kept")
    own.serve("--network", "gone", "--name", "web", "-p", "18022:80")
    engine.kill()
    # As if the daemon had died in the middle of removing the network and making a namespace.
    (engine.place / "data" / "network" / "networks" / f"{id_}.json").unlink()
    (engine.place / "exec" / "network" / "halfmade").touch()
    engine.start()
    kept = engine.out("network", "ls", "-q", "-f", "name=kept").strip()
    assert own.netns.links("bridge") == ["sampan0", f"br-{kept}"]
    assert own.netns.links("veth") == []
    engine.docker("rm", "-f", "web")
    assert list((engine.place / "exec" / "network").iterdir()) == []
    assert "18022" not in own.netns.rules()
