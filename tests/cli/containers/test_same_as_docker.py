"""For the same words our command line asks and says what Docker's own asks and says."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence

import pytest
from tests.cli.containers.goldens import Golden, goldens, prepare, record
from tests.cli.containers.recorder import Recorder, recording
from tests.real import require_docker

from sampan.cli.containers.main import main


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorder]:
    path = tmp_path_factory.mktemp("api")
    prepare(path)
    with recording(path) as found:
        yield found


@pytest.fixture
def here(
    place: Recorder, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Recorder:
    """The recorder, which runs our command line in this process."""
    monkeypatch.chdir(place.place)
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)

    def call(_: Sequence[str], argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        with open("/dev/null", "rb") as nothing:
            monkeypatch.setattr("sys.stdin", nothing)
            code = main(argv)
        out, err = capfd.readouterr()
        return subprocess.CompletedProcess(argv, code, out, err)

    return Recorder(place.url, place.place, place.asked, call)


@pytest.mark.parametrize("golden", goldens(), ids=lambda golden: golden.line)
def test_the_same_words(golden: Golden, here: Recorder) -> None:
    found = record(here, ["sampan"], golden.line)
    assert found == golden


@pytest.mark.real
def test_what_is_recorded_is_what_docker_does(place: Recorder) -> None:
    docker = str(require_docker(28))
    chosen = goldens()[::9]
    assert [record(place, [docker], golden.line) for golden in chosen] == chosen
