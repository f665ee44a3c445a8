"""What a client may tell of its files, and what it may not: nothing leaves the directory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from sampan.base.errors import InvalidError, LimitError, SampanError
from sampan.engine.buildkit.core.arrivals import ArrivalLimits
from sampan.engine.buildkit.pb import files_pb2
from sampan.engine.buildkit.shell.receiver import Receiver

DIRECTORY, LINK = 1 << 31, 1 << 27
Packet = files_pb2.Packet


def stat(path: str, mode: int = 0o644, *, size: int = 0, link: str = "") -> bytes:
    told = files_pb2.Stat(path=path, mode=mode, size=size, modTime=10**18, linkname=link)
    return Packet(type=Packet.PACKET_STAT, stat=told).SerializeToString()


def data(number: int, text: bytes = b"") -> bytes:
    return Packet(type=Packet.PACKET_DATA, ID=number, data=text).SerializeToString()


END = Packet(type=Packet.PACKET_STAT).SerializeToString()


class Transfer:
    """One transfer into a directory, with a file beside it that nobody may touch."""

    def __init__(self, place: Path) -> None:
        self.files, self.parts, self.outside = place / "files", place / "parts", place / "outside"
        for one in (self.files, self.parts, self.outside):
            one.mkdir(exist_ok=True)
        (self.outside / "kept").write_text("kept")

    def take(self, *messages: bytes, limits: ArrivalLimits | None = None) -> Sequence[bytes]:
        receiver = Receiver(self.files, self.parts, limits)
        try:
            return [answer for one in messages for answer in receiver.take([one])]
        finally:
            receiver.close()

    def untouched(self) -> bool:
        return (
            os.listdir(self.outside) == ["kept"]
            and (self.outside / "kept").read_text() == "kept"
            and not os.listdir(self.parts)
        )


@pytest.fixture
def transfer(tmp_path: Path) -> Transfer:
    return Transfer(tmp_path)


@pytest.mark.parametrize(
    "told",
    [
        [stat("../outside/x")],
        [stat("/etc/x")],
        [stat("a/../../outside/x")],
        [stat("a"), stat("a/b")],
        [stat("a/b")],
        [stat("b", DIRECTORY | 0o755), stat("a")],
        [stat("a"), stat("a")],
        [stat("a", LINK | 0o777, link="../outside"), stat("a/kept")],
        [stat("a", LINK | 0o777)],
        [stat("x" * 256)],
        [stat("a//b")],
        [stat("a\0b")],
        [stat("./a")],
        [stat("/".join(["a"] * 500))],
        [stat("a", size=-1)],
        [data(0, b"never asked for")],
        [stat("a", size=1), data(7, b"another one")],
        [stat("a", size=1), data(0, b"1"), data(0), data(0, b"again")],
        [stat("a", link="../outside/kept"), END],
        [stat("a", link="b"), END],
        [END, stat("a")],
        [Packet(type=Packet.PACKET_REQ, ID=1).SerializeToString()],
    ],
)
def test_what_must_not_be_told_is_refused(transfer: Transfer, told: Sequence[bytes]) -> None:
    with pytest.raises(InvalidError):
        transfer.take(*told)
    assert transfer.untouched()


def test_bounds_of_a_transfer(transfer: Transfer) -> None:
    limits = ArrivalLimits(entries=2, name_bytes=100, data_bytes=10)
    with pytest.raises(LimitError, match="more than 2 files"):
        transfer.take(stat("a"), stat("b"), stat("c"), limits=limits)
    with pytest.raises(LimitError):
        transfer.take(stat("a" * 101), limits=limits)
    with pytest.raises(LimitError, match="larger"):
        transfer.take(stat("a", size=1), data(0, b"x" * 11), limits=limits)
    with pytest.raises(SampanError, match="disk on fire"):
        transfer.take(Packet(type=Packet.PACKET_ERR, data=b"disk on fire").SerializeToString())
    assert transfer.untouched()


def test_links_of_an_earlier_transfer_lead_nowhere(transfer: Transfer) -> None:
    transfer.take(stat("a", LINK | 0o777, link="../outside"), END)
    assert os.readlink(transfer.files / "a") == "../outside"
    told = (stat("a", DIRECTORY | 0o755), stat("a/kept", size=3))
    transfer.take(*told, END, data(1, b"new"), data(1))
    assert (transfer.files / "a/kept").read_text() == "new"
    assert transfer.untouched()
    transfer.take(stat("a", LINK | 0o777, link="../outside"), END)
    transfer.take(END)
    assert os.listdir(transfer.files) == []
    assert transfer.untouched()


def test_a_transfer_that_breaks_off_leaves_only_whole_files(transfer: Transfer) -> None:
    told = (stat("a", size=2), stat("b", size=2), END)
    transfer.take(*told, data(0, b"aa"), data(0), data(1, b"b"))
    assert os.listdir(transfer.files) == ["a"]
    assert transfer.untouched()
    asked = [Packet.FromString(one) for one in transfer.take(*told)]
    assert [(one.type, one.ID) for one in asked] == [(Packet.PACKET_REQ, 1)]


def test_a_file_that_is_the_same_is_not_asked_for(transfer: Transfer) -> None:
    told = (stat("d", DIRECTORY | 0o500), stat("d/a", 0o600, size=2), END)
    transfer.take(*told, data(1, b"aa"), data(1))
    assert (transfer.files / "d").stat().st_mode & 0o777 == 0o500
    asked = [Packet.FromString(one) for one in transfer.take(*told)]
    assert [one.type for one in asked] == [Packet.PACKET_FIN]


def test_a_file_of_two_names_has_two_names(transfer: Transfer) -> None:
    told = (stat("a", size=2), stat("b", link="a"), END, data(0, b"aa"), data(0))
    transfer.take(*told)
    assert (transfer.files / "a").samefile(transfer.files / "b")
    asked = [Packet.FromString(one).type for one in transfer.take(stat("a", size=2), END)]
    assert Packet.PACKET_REQ in asked
