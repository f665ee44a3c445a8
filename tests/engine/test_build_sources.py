"""Where files of builds come from, repositories and addresses, and what is lent to commands."""

from __future__ import annotations

import contextlib
import http.server
import io
import os
import socket
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from tests.engine_server import EngineServer
from tests.real import require

pytestmark = [pytest.mark.real, pytest.mark.root]

RUN = "RUN --network=none "


@pytest.fixture(scope="module")
def engine(module_engine: EngineServer) -> EngineServer:
    return module_engine


@pytest.fixture(autouse=True)
def nothing_left(engine: EngineServer) -> Iterator[None]:
    yield
    assert [one.name for one in (engine.place / "data").rglob("spool/*")] == []


class Site(http.server.SimpleHTTPRequestHandler):
    """Serves one directory, for those who know the password if there is one."""

    password = ""

    def do_GET(self) -> None:
        if self.password and self.password not in self.headers.get("Authorization", ""):
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Basic realm=x")
            self.end_headers()
            return
        super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving(place: Path, password: str = "") -> Iterator[str]:
    class Own(Site):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(place))  # type: ignore[arg-type]

    Own.password = password
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Own)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def git(place: Path, *words: str) -> str:
    environment = {
        **os.environ,
        "GIT_CONFIG_GLOBAL": "/dev/null",
        **{f"GIT_{who}_NAME": "a" for who in ("AUTHOR", "COMMITTER")},
        **{f"GIT_{who}_EMAIL": "a@example.com" for who in ("AUTHOR", "COMMITTER")},
    }
    command: list[str] = [str(require("git")), "-C", str(place), *words]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository at `site/app.git`, with a second branch, as a plain HTTP server serves it."""
    work = tmp_path / "work"
    (work / "sub").mkdir(parents=True)
    git(work.parent, "init", "-q", "-b", "main", str(work))
    (work / "Dockerfile").write_text("FROM busybox\nCOPY . /all/\n")
    (work / "file").write_text("main\n")
    (work / "sub" / "Dockerfile").write_text("FROM busybox\nCOPY inner /inner\n")
    (work / "sub" / "inner").write_text("inner\n")
    (work / "out").symlink_to("/etc")
    git(work, "add", "-A")
    git(work, "commit", "-qm", "1")
    git(work, "tag", "-am", "one", "v1")
    git(work, "checkout", "-qb", "other")
    (work / "file").write_text("other\n")
    git(work, "commit", "-qam", "2")
    git(work, "checkout", "-q", "main")
    bare = tmp_path / "site" / "app.git"
    git(tmp_path, "clone", "-q", "--bare", str(work), str(bare))
    git(bare, "update-server-info")
    return bare


def build(
    server: EngineServer, *words: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sampan.cli.main", "-H", server.url, "build", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(env or {})},
    )


def built(server: EngineServer, *words: str, env: dict[str, str] | None = None) -> str:
    done = build(server, *words, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def context(place: Path, text: str) -> str:
    place.mkdir(exist_ok=True)
    (place / "Dockerfile").write_text(text)
    return str(place)


def run(server: EngineServer, *words: str) -> str:
    return server.out("run", "--rm", "--net=none", *words)


def test_a_repository_is_added(engine: EngineServer, repository: Path, tmp_path: Path) -> None:
    commit = git(repository, "rev-parse", "v1^{commit}")
    with serving(repository.parent) as site:
        text = (
            f"FROM busybox\nADD {site}/app.git /main/\nADD {site}/app.git#other:sub /other/\n"
            f"ADD --keep-git-dir {site}/app.git#v1 /kept/\n"
            f"ADD --checksum={commit} {site}/app.git?tag=v1 /sure/\n"
        )
        built(engine, "-t", "app", context(tmp_path / "a", text))
        assert run(engine, "app", "cat", "/main/file", "/other/inner") == "main\ninner\n"
        assert run(engine, "app", "ls", "-A", "/sure").split() == [
            "Dockerfile",
            "file",
            "out",
            "sub",
        ]
        assert ".git" in run(engine, "app", "ls", "-A", "/kept")
        again = built(engine, str(tmp_path / "a"))
        assert again.count("Using cache") == 4
        wrong = context(tmp_path / "a", f"FROM busybox\nADD --checksum=abc {site}/app.git /\n")
        assert "expected abc" in build(engine, wrong).stderr


def test_a_changed_branch_is_added_anew(
    engine: EngineServer, repository: Path, tmp_path: Path
) -> None:
    with serving(repository.parent) as site:
        place = context(tmp_path / "a", f"FROM busybox\nADD {site}/app.git#other /o/\n")
        built(engine, "-t", "app", place)
        (tmp_path / "work" / "file").write_text("newer\n")
        git(tmp_path / "work", "commit", "-qam", "3")
        git(tmp_path / "work", "push", "-qf", str(repository), "main:other")
        git(repository, "update-server-info")
        built(engine, "-t", "app", place)
        assert run(engine, "app", "cat", "/o/file") == "newer\n"


def test_a_context_is_a_repository(engine: EngineServer, repository: Path) -> None:
    with serving(repository.parent) as site:
        built(engine, "-t", "app", f"{site}/app.git#other")
        assert run(engine, "app", "cat", "/all/file") == "other\n"
        client = docker.DockerClient(base_url=engine.url)
        client.images.build(path=f"{site}/app.git#:sub", tag="sub")
        client.close()
        assert run(engine, "sub", "cat", "/inner") == "inner\n"
        missing = build(engine, f"{site}/app.git#nothing")
        assert "has no branch or tag 'nothing'" in missing.stderr
        outside = build(engine, f"{site}/app.git#:out")
        assert "has no directory 'out'" in outside.stderr


def test_nothing_of_a_repository_is_run(engine: EngineServer, repository: Path) -> None:
    mark = repository.parent / "mark"
    work = repository.parent.parent / "work"
    (work / ".gitattributes").write_text("* filter=evil\n")
    (work / ".gitmodules").write_text(
        f'[submodule "s"]\n\tpath = s\n\turl = ext::sh -c "touch {mark}"\n'
        f"\tupdate = !touch {mark}\n"
    )
    git(work, "add", "-A")
    git(work, "commit", "-qm", "evil")
    git(work, "push", "-q", str(repository), "main")
    git(repository, "update-server-info")
    with serving(repository.parent) as site:
        built(engine, f"{site}/app.git")
    for address in (f"ext::touch {mark}", f"file://{repository}", "ssh://-oProxyCommand=x/a.git"):
        assert build(engine, f"{address}").returncode == 1
    assert not mark.exists()


def test_a_token_opens_a_repository_and_is_never_told(
    engine: EngineServer, repository: Path, tmp_path: Path
) -> None:
    # What the server wants is base64 of x-access-token:abc.
    with serving(repository.parent, "eC1hY2Nlc3MtdG9rZW46YWJj") as site:
        place = context(tmp_path / "a", f"FROM busybox\nADD {site}/app.git /o/\n")
        refused = build(engine, place)
        assert refused.returncode == 1
        flag = "--secret=id=GIT_AUTH_TOKEN,env=TOKEN"
        said = built(engine, "-t", "app", flag, place, env={"TOKEN": "abc"})
        with_password = site.replace("http://", "http://me:hidden@")
        place = context(tmp_path / "b", f"FROM busybox\nADD {with_password}/app.git /o/\n")
        wrong = build(engine, place)
        assert "hidden" not in wrong.stdout + wrong.stderr
        assert "abc" not in said + engine.text()
        assert "eC1h" not in engine.out("history", "--no-trunc", "app")


def test_a_context_is_fetched(engine: EngineServer, tmp_path: Path) -> None:
    site = tmp_path / "site"
    context(site, "FROM busybox\nCOPY <<a /a\nalone\na\n")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, data in (("Dockerfile", b"FROM busybox\nCOPY f /f\n"), ("f", b"packed\n")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    (site / "context.tar.gz").write_bytes(packed.getvalue())
    (site / "noise").write_bytes(bytes(1000))
    with serving(site) as address:
        built(engine, "-t", "alone", f"{address}/Dockerfile")
        built(engine, "-t", "packed", f"{address}/context.tar.gz")
        assert run(engine, "alone", "cat", "/a") == "alone\n"
        assert run(engine, "packed", "cat", "/f") == "packed\n"
        noise = build(engine, f"{address}/noise")
        assert "is neither an archive nor a Dockerfile" in noise.stderr
        assert "answered 404" in build(engine, f"{address}/none").stderr
    assert build(engine, "http://127.0.0.1:1/x").returncode == 1


def test_a_cache_mount_begins_with_files_of_a_stage(engine: EngineServer, tmp_path: Path) -> None:
    text = (
        "FROM busybox AS seed\n"
        f"{RUN}mkdir -p /s/in && echo SEED > /s/in/file && chown -R 7:8 /s/in && chmod 750 /s/in\n"
        "FROM busybox\n"
        f"{RUN}--mount=type=cache,id=seeded,from=seed,source=/s/in,target=/c "
        "cat /c/file > /out && stat -c '%u:%g %a' /c >> /out && echo more >> /c/file\n"
    )
    place = context(tmp_path / "a", text)
    built(engine, "-t", "app", place)
    assert run(engine, "app", "cat", "/out") == "SEED\n7:8 750\n"
    built(engine, "-t", "app", "--no-cache", place)
    assert run(engine, "app", "head", "-2", "/out") == "SEED\nmore\n"
    context(tmp_path / "a", text.replace("SEED", "seed"))
    built(engine, "-t", "app", place)
    assert run(engine, "app", "head", "-2", "/out") == "seed\n7:8 750\n"
    missing = context(tmp_path / "a", text.replace("source=/s/in", "source=/s/none"))
    assert "is no directory to begin with" in build(engine, missing).stderr


def test_secrets_are_lent_and_stay_nowhere(engine: EngineServer, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-a-file")
    text = (
        "FROM busybox\n"
        f"{RUN}--mount=type=secret,id=one --mount=type=secret,id=two,env=TWO,required=true "
        "wc -c < /run/secrets/one > /out && echo ${#TWO} >> /out\n"
    )
    place = context(tmp_path / "a", text)
    flags = [f"--secret=id=one,src={tmp_path}/key", "--secret=id=two,env=VARIABLE"]
    said = built(engine, "-t", "app", *flags, place, env={"VARIABLE": "from-a-variable"})
    assert run(engine, "app", "cat", "/out") == "11\n15\n"
    everything = said + engine.out("history", "--no-trunc", "app") + engine.out("inspect", "app")
    assert "from-a-" not in everything + engine.text()
    assert (
        subprocess.run(["grep", "-rqs", "from-a-", engine.place / "data"], check=False).returncode
        == 1
    )
    assert "secret two: not found" in build(engine, "--no-cache", place).stderr


def test_an_agent_is_lent(engine: EngineServer, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(tmp_path / "agent"))
        text = f"FROM busybox\n{RUN}--mount=type=ssh,required=true test -S $SSH_AUTH_SOCK\n"
        place = context(tmp_path / "a", text)
        built(engine, "--ssh=default", place, env={"SSH_AUTH_SOCK": str(tmp_path / "agent")})
    wrong = build(engine, f"--ssh=default={tmp_path}/none", place)
    assert "is no socket" in wrong.stderr
