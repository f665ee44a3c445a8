"""For the same words our command line asks of the daemon what Docker's own asks."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from tests.cli.containers import bodies
from tests.cli.containers.bodies import PLACE, Golden, comparable, goldens, prepare, record
from tests.cli.containers.recorder import Recorder, recording
from tests.real import require

from sampan.base.errors import InvalidError
from sampan.cli.containers.core.create import Surroundings, creation
from sampan.cli.containers.core.flags import parse
from sampan.cli.containers.core.run_flags import CREATE_FLAGS

CREATIONS = [golden for golden in goldens() if golden.argv[0] == "create"]


def read_file(name: str) -> str:
    if name not in bodies.FILES:
        raise InvalidError(f"open {name}: no such file or directory")
    return bodies.FILES[name]


AROUND = Surroundings(
    {"GIVEN": "by the environment"}, PLACE, read_file, socket_path=f"{PLACE}/api.sock"
)


@pytest.mark.parametrize("golden", CREATIONS, ids=lambda golden: golden.line)
def test_the_body_of_a_container(golden: Golden) -> None:
    parsed = parse(CREATE_FLAGS, golden.argv[1:], interspersed=False)
    body = comparable(creation(parsed, AROUND))
    # Of the two the real one also says how large its terminal is, which is none here.
    wanted = golden.requests[0][3]
    wanted["HostConfig"].pop("ConsoleSize", None)
    assert body == wanted


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorder]:
    place = tmp_path_factory.mktemp("api")
    prepare(place)
    with recording(place) as found:
        yield found


@pytest.mark.real
def test_what_is_recorded_is_what_docker_asks(recorder: Recorder) -> None:
    docker = str(require("docker"))
    version = subprocess.run([docker, "--version"], capture_output=True, text=True, check=True)
    if int(version.stdout.split()[2].split(".")[0]) < 28:
        pytest.skip(f"recorded with version 28; this is {version.stdout.strip()}")
    chosen = goldens()[::7]
    found = [Golden(golden.line, record(recorder, [docker], golden.line)) for golden in chosen]
    assert found == chosen
