"""A root file system with a static busybox, and images of it, for tests and benchmarks."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["docker_archive", "root_tar"]

FOLDERS = ("bin", "etc", "proc", "sys", "dev", "tmp", "root", "data")
FILES = {
    "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nbob:x:1000:1001::/home/bob:/bin/sh\n",
    "etc/group": b"root:x:0:\nstaff:x:50:bob\nbob:x:1001:\n",
    "data/seed": b"from the image\n",
}


def root_tar(busybox: Path) -> bytes:
    """Return the root as a tar: the executable, a link for each applet, users, some folders."""
    listed = subprocess.run([str(busybox), "--list"], capture_output=True, text=True, check=True)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for folder in FOLDERS:
            member = tarfile.TarInfo(folder)
            member.type, member.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            tar.addfile(member)
        for name, data in {"bin/busybox": busybox.read_bytes(), **FILES}.items():
            _add(tar, name, data, 0o755 if name.startswith("bin/") else 0o644)
        for applet in listed.stdout.split():
            member = tarfile.TarInfo(f"bin/{applet}")
            member.type, member.linkname = tarfile.SYMTYPE, "busybox"
            if applet != "busybox":
                tar.addfile(member)
    return buffer.getvalue()


def docker_archive(
    layer: bytes, repository: str, tags: Sequence[str], *, different: bool = False
) -> bytes:
    """Return a docker archive of images of that layer, one a tag; `different` gives each an id."""
    diff_id = "sha256:" + hashlib.sha256(layer).hexdigest()
    files: dict[str, bytes] = {"layer.tar": layer}
    manifest = []
    for tag in tags:
        labels = {"tag": tag} if different else {}
        config = _config(diff_id, labels)
        name = hashlib.sha256(config).hexdigest() + ".json"
        files[name] = config
        names = [f"{repository}:{tag}"]
        manifest.append({"Config": name, "RepoTags": names, "Layers": ["layer.tar"]})
    files["manifest.json"] = json.dumps(manifest).encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            _add(tar, name, data, 0o644)
    return buffer.getvalue()


def _config(diff_id: str, labels: Mapping[str, str]) -> bytes:
    return json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": "2026-01-01T00:00:00Z",
            "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"], "Labels": dict(labels)},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "busybox"}],
        }
    ).encode()


def _add(tar: tarfile.TarFile, name: str, data: bytes, mode: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), mode
    tar.addfile(member, io.BytesIO(data))
