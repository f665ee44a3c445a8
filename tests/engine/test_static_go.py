"""A static Go program in a small image, the way its Dockerfile is usually written."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

import pytest
from tests.engine_server import EngineServer, busybox_root
from tests.real import require

pytestmark = [pytest.mark.real, pytest.mark.root, pytest.mark.slow]

DOCKERFILE = """FROM golang:1.22-alpine AS builder
WORKDIR /app
COPY . .
RUN CGO_ENABLED=0 GOOS=linux go build -a -ldflags '-extldflags "-static"' -o hello .

FROM alpine:latest
RUN apk --no-cache add ca-certificates
WORKDIR /root/
COPY --from=builder /app/hello .
CMD ["./hello"]
"""
MAIN = """package main

import "fmt"

func main() { fmt.Println("hello from a static program") }
"""
APK = b"""#!/bin/sh
[ "$*" = "--no-cache add ca-certificates" ] || exit 1
mkdir -p /etc/ssl/certs && echo trust > /etc/ssl/certs/ca-certificates.crt
"""


def stand_in_for_golang(place: Path) -> Path:
    """A root with busybox and this machine's Go: the official image cannot be had here."""
    goroot = subprocess.run(
        [require("go"), "env", "GOROOT"], capture_output=True, text=True, check=True
    ).stdout.strip()
    archive = place / "golang.tar"
    archive.write_bytes(busybox_root())
    with tarfile.open(archive, "a") as tar:
        for name in ("bin", "pkg", "src", "go.env", "VERSION"):
            tar.add(Path(goroot) / name, f"usr/local/go/{name}")
    return archive


def stand_in_for_alpine() -> bytes:
    """A root with busybox and an `apk` that knows one package."""
    buffer = BytesIO(busybox_root())
    with tarfile.open(fileobj=buffer, mode="a") as tar:
        member = tarfile.TarInfo("sbin/apk")
        member.size, member.mode = len(APK), 0o755
        tar.addfile(member, BytesIO(APK))
    return buffer.getvalue()


@pytest.mark.skipif(shutil.disk_usage("/").free < 2 << 30, reason="needs 2 GiB of disk")
def test_two_stages_give_a_small_image_with_a_static_program(
    engine: EngineServer, tmp_path: Path
) -> None:
    change = "ENV PATH=/usr/local/go/bin:/bin:/sbin HOME=/root"
    golang = str(stand_in_for_golang(tmp_path))
    engine.docker("import", "-c", change, golang, "golang:1.22-alpine")
    engine.docker("import", "-", "alpine:latest", stdin=stand_in_for_alpine())
    context = tmp_path / "hello"
    context.mkdir()
    (context / "Dockerfile").write_text(DOCKERFILE)
    (context / "main.go").write_text(MAIN)
    (context / "go.mod").write_text("module example.com/hello\n\ngo 1.22\n")

    engine.docker("build", "--network", "none", "-t", "hello", str(context))
    assert engine.run("hello") == "hello from a static program\n"
    table = engine.out("images", "--format", "table {{.Repository}}\t{{.Size}}")
    assert table.splitlines()[0].split() == ["REPOSITORY", "SIZE"]
    size = next(line.split()[1] for line in table.splitlines() if line.startswith("hello "))
    assert size.endswith("MB") and float(size.removesuffix("MB")) < 15
    assert engine.run("hello", "cat", "/etc/ssl/certs/ca-certificates.crt") == "trust\n"
    engine.docker("rmi", "hello", "golang:1.22-alpine", "alpine:latest")
