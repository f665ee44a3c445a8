"""Finding the real clients and servers that the tests drive.

A missing tool is a named skip on a user's machine. With `SAMPAN_REQUIRE_CLIENTS=1`, as in
continuous integration, it is a failure: a run in which nothing was proved must not look green.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

__all__ = ["ROOT", "absent", "find", "require", "require_docker", "require_root"]

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools" / "bin"

SOURCE = {
    "etcd": "Debian package etcd-server",
    "etcdctl": "Debian package etcd-client",
    "etcdctl36": "built by .ci/tools.sh",
    "crictl": "built by .ci/tools.sh",
    "grpcurl": "built by .ci/tools.sh",
    "docker-buildx": "built by .ci/tools.sh",
    "docker-compose-v2": "built by .ci/tools.sh",
    "h2spec": "built by .ci/tools.sh",
    "h2load": "Debian package nghttp2-client",
    "docker-compose": "Debian package docker-compose",
    "docker": "Debian package docker-cli, or Docker's own",
    "busybox": "Debian package busybox-static",
    "mkfs.btrfs": "Debian package btrfs-progs",
    "ip": "Debian package iproute2",
    "nft": "Debian package nftables",
    "nsenter": "Debian package util-linux",
    "prlimit": "Debian package util-linux",
    "unshare": "Debian package util-linux",
    "dockerd": "Debian package docker.io",
    "runc": "Debian package runc",
    "newuidmap": "Debian package uidmap",
    "docker-registry": "Debian package docker-registry",
    "skopeo": "Debian package skopeo",
    "htpasswd": "Debian package apache2-utils",
    "qemu-arm-static": "unpacked from Debian's qemu-user-static by .ci/tools.sh",
    "qemu-aarch64-static": "unpacked from Debian's qemu-user-static by .ci/tools.sh",
    "qemu-x86_64-static": "unpacked from Debian's qemu-user-static by .ci/tools.sh",
}


def find(tool: str) -> Path | None:
    """The executable of that name on PATH, else in `.tools/bin`, else None."""
    on_path = shutil.which(tool)
    if on_path is not None:
        return Path(on_path)
    own = TOOLS / tool
    return own if os.access(own, os.X_OK) else None


def require(tool: str) -> Path:
    """The executable of that name; without it the test is skipped or fails by name."""
    path = find(tool)
    if path is None:
        absent(f"{tool} not found ({SOURCE.get(tool, 'put it on PATH')})")
    return path


def require_docker(major: int) -> Path:
    """The docker command line of that version; another one says other things, and is skipped."""
    path = require("docker")
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
    if not done.stdout.startswith(f"Docker version {major}."):
        pytest.skip(f"compared with docker {major}; this is {done.stdout.strip()}")
    return path


def absent(reason: str) -> NoReturn:
    """Skip with that reason, or fail when this run has promised to have the real thing."""
    if os.environ.get("SAMPAN_REQUIRE_CLIENTS") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def require_root() -> None:
    """Skip (or fail, see `absent`) unless this process may make namespaces and mounts."""
    if os.geteuid() != 0:
        absent("needs root: namespaces, mounts and cgroups")
