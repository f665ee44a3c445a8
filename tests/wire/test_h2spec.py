"""The public conformance tool for HTTP/2, every case of it."""

from __future__ import annotations

import re
import ssl
import subprocess
from pathlib import Path

import pytest
from tests import real
from tests.certificates import Authority
from tests.wire.echo_service import serve

from sampan.loop.tls import server_context

pytestmark = pytest.mark.real


@pytest.mark.parametrize("secure", [False, True], ids=["h2c", "tls"])
def test_h2spec_passes(tmp_path: Path, secure: bool) -> None:
    tool = real.require("h2spec")
    context: ssl.SSLContext | None = None
    if secure:
        context = server_context(*Authority(tmp_path).issue("server", "server"))
    with serve(tls=context) as server:
        command = [str(tool), "-h", server.host, "-p", str(server.port), "--timeout", "5"]
        if secure:
            command += ["--tls", "--insecure"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    summary = re.search(r"(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed", done.stdout)
    assert summary is not None, done.stdout + done.stderr
    total, passed, skipped, failed = map(int, summary.groups())
    assert failed == 0, done.stdout
    assert total >= 140 and passed + skipped == total and skipped <= 1
