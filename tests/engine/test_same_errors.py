"""The same bad requests to a real dockerd and to ours: the same status, the same message.

dockerd 20.10 speaks API 1.41; where the present API has other words, ours has those, and the table
below says so. What a client cannot mean is 400, also where 20.10 said 500.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.docker_api import Answer, DockerApi
from tests.engine.bad_requests import ENDPOINTS, Request, requests
from tests.engine_server import EngineServer
from tests.real_dockerd import RealDockerd

pytestmark = [pytest.mark.real, pytest.mark.root]

ON_PURPOSE = (
    # Since Docker 25 a restart policy's errors begin with what is wrong.
    (r"RestartPolicy", 400, r"invalid restart policy: .*"),
    # Said in today's words, or with the name that is meant.
    (r"Content-Type", 400, r"(unsupported|malformed) Content-Type header .*"),
    (r"nope@sha256", 400, r"invalid reference format.*"),
    (r"platform=(linux/arm64|windows)", 404, r"image with reference busybox was found but .*"),
    (r"platform=(foo|a/b/c/d)", 400, r'"(foo|a/b/c/d)": .*'),
    # 20.10 notices when the container is started that the other one is not there.
    (r"container:x", 404, r"no such container: x"),
)


def shown(answer: Answer) -> tuple[int, object]:
    """An answer without what differs between the two in form only."""
    if answer.status < 300 and "Warnings" not in answer.raw.decode(errors="replace"):
        return answer.status, ""
    if answer.status == 201:
        return 201, tuple(answer.document["Warnings"] or ())
    status, message = answer.status, answer.message.rstrip()
    if message.startswith(("EOF", "unexpected EOF", "invalid character", "json: ")):
        message = "got EOF while reading request body" if message == "EOF" else message
        status, message = 400, f"invalid JSON: {message}"
    message = re.sub(r"Go struct field [A-Za-z]+\.", "Go struct field ", message)
    message = re.sub(r"Go value of type [A-Za-z.]+", "Go value", message)
    message = re.sub(r"[0-9a-f]{64}", "ID", message)
    # Sentences that began with a capital letter do not any more.
    return status, message[:1].lower() + message[1:]


def same(real: tuple[int, object], ours: tuple[int, object]) -> bool:
    """Whether the answers agree; a refusal with 500 may be one with 400."""
    return real == ours or (real[0] == 500 and ours[0] == 400 and real[1] == ours[1])


def asked(api: DockerApi, request: Request) -> tuple[int, object]:
    path = f"/containers/create{request.query}"
    answer = api.call("POST", path, request.body, content_type=request.content_type)
    if answer.status == 201:
        api.call("DELETE", f"/containers/{answer.document['Id']}?v=1&force=1")
    return shown(answer)


def on_purpose(name: str, ours: tuple[int, object]) -> bool:
    return any(
        re.search(pattern, name) and ours[0] == status and re.fullmatch(text, str(ours[1]))
        for pattern, status, text in ON_PURPOSE
    )


def test_bad_requests_are_answered_alike(real_dockerd: RealDockerd, engine: EngineServer) -> None:
    apis = DockerApi(real_dockerd.place / "docker.sock"), DockerApi(engine.socket)
    everything = list(requests())
    with ThreadPoolExecutor(6) as pool:
        answers = [[pool.submit(asked, api, one) for api in apis] for one in everything]
        pairs = [(one[0].result(), one[1].result()) for one in answers]
    differing = {
        request.name: (real, ours)
        for request, (real, ours) in zip(everything, pairs, strict=True)
        if not same(real, ours) and not on_purpose(request.name, ours)
    }
    assert differing == {}
    assert engine.out("ps", "-aq") == ""
    assert engine.out("volume", "ls", "-q") == ""


def test_endpoints_answer_alike(real_dockerd: RealDockerd, engine: EngineServer) -> None:
    apis = DockerApi(real_dockerd.place / "docker.sock"), DockerApi(engine.socket)
    differing = {}
    for method, path, body in ENDPOINTS:
        answers = [shown(api.call(method, path, body)) for api in apis]
        if not same(answers[0], answers[1]):
            differing[f"{method} {path} {body}"] = answers
    assert differing == {}


REFUSED = {
    "created": (
        *("stop", "kill", "pause", "unpause", "resize?h=1&w=1", "GET top", "exec true"),
        *("rename?name=a%20b", "rename?name=/state", "update memory", "GET archive?path=/nope"),
    ),
    "running": (
        *("start", "unpause", "rename?name=a%20b", "update memory", "update quota", "DELETE "),
        *("GET archive?path=/nope", "GET top?ps_args=nonsense", "resize?h=x&w=1"),
    ),
    "paused": ("start", "pause", "exec true", "attach?stream=0", "DELETE "),
    "exited": ("stop", "kill", "pause", "unpause", "resize?h=1&w=1", "GET top", "exec true"),
}
"""What a container in a state refuses, or says that there is nothing to do."""

BODIES: dict[str, tuple[str, Any]] = {
    "exec true": ("exec", {"Cmd": ["true"]}),
    "update memory": ("update", {"Memory": 1 << 40}),
    "update quota": ("update", {"CpuQuota": 5}),
}


def brought(api: DockerApi, state: str) -> str:
    """Make a container and bring it into a state; returns its id."""
    host = {"NetworkMode": "none"}
    body = {"Image": "busybox", "Cmd": ["sleep", "600"], "HostConfig": host}
    made = api.call("POST", "/containers/create?name=state", body).document["Id"]
    steps = {
        "running": ["start"],
        "paused": ["start", "pause"],
        "exited": ["start", "kill", "wait"],
    }
    for step in steps.get(state, ()):
        assert api.call("POST", f"/containers/state/{step}").status < 300
    return str(made)


def refused(api: DockerApi, state: str) -> dict[str, tuple[int, object]]:
    made = brought(api, state)
    found: dict[str, tuple[int, object]] = {}
    for word in REFUSED[state]:
        method, _, path = word.rpartition(" ") if word not in BODIES else ("", "", "")
        path, body = BODIES.get(word, (path, None))
        answer = api.call(method or "POST", f"/containers/state/{path}".rstrip("/"), body)
        status, message = shown(answer)
        found[word] = status, str(message).replace(made, "ID")
    api.call("DELETE", "/containers/state?force=1")
    return found


@pytest.mark.parametrize("state", list(REFUSED))
def test_what_a_state_does_not_allow(
    real_dockerd: RealDockerd, engine: EngineServer, state: str
) -> None:
    real = refused(DockerApi(real_dockerd.place / "docker.sock"), state)
    ours = refused(DockerApi(engine.socket), state)
    # Said since Docker 25: what the container is, in the words of today.
    for answers in (real, ours):
        if "DELETE " in answers:
            answers["DELETE "] = answers["DELETE "][0], "it runs"
    assert {key: str(value).lower() for key, value in ours.items()} == {
        key: str(value).lower() for key, value in real.items()
    }


def test_drivers_that_are_not_there(engine: EngineServer) -> None:
    """A real dockerd says the same, after 15 seconds of looking for a plugin."""
    api = DockerApi(engine.socket)
    for host, status, message in (
        (
            {"LogConfig": {"Type": "nope"}},
            400,
            'error looking up logging plugin nope: plugin "nope" not found',
        ),
        (
            {"VolumeDriver": "nope", "Binds": ["vv:/x"]},
            404,
            'create vv: error looking up volume plugin nope: plugin "nope" not found',
        ),
    ):
        body = {"Image": "busybox", "HostConfig": {"NetworkMode": "none", **host}}
        answer = api.call("POST", "/containers/create", body)
        assert (answer.status, answer.message) == (status, message)
