"""A Dockerfile for a Go module that has none."""

from __future__ import annotations

import re
from collections.abc import Collection

from sampan.base.errors import InvalidError, NotFoundError

__all__ = ["HOST_GO", "declares", "dockerfile_for", "main_package"]

HOST_GO = "HOST_GO"
"""The build argument by which a Dockerfile learns where the machine's own Go is."""

_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def declares(dockerfile: str, argument: str) -> bool:
    """Tell whether a Dockerfile has that build argument."""
    return re.search(rf"(?mi)^\s*ARG\s.*\b{argument}\b", dockerfile) is not None


def main_package(mains: Collection[str], wanted: str, name: str) -> str:
    """Return the package to build: the one named, else the only one, else the root's or NAME's.

    `mains` are the directories with a main package, relative, "." for the root.
    """
    if wanted:
        package = wanted.removeprefix("./").rstrip("/") or "."
        if package not in mains:
            raise NotFoundError(f"{wanted} is no main package of the module")
        return package
    if not mains:
        raise NotFoundError("the module has no main package: there is nothing to run")
    if len(mains) == 1:
        return next(iter(mains))
    for guess in (".", f"cmd/{name}", name):
        if guess in mains:
            return guess
    choices = ", ".join(f"./{one}" for one in sorted(mains))
    raise InvalidError(f"several programs: say which with package in [build]: {choices}")


def dockerfile_for(
    go_mod: str, package: str, *, from_host: bool, has_sum: bool, has_certificates: bool
) -> str:
    """Return the text: a stage that compiles a static program, and one with nothing but it.

    `from_host` uses the engine's machine's own Go instead of an image.
    """
    version = re.search(r"^go\s+(\d+\.\d+)", go_mod, re.MULTILINE)
    base = "host" if from_host else f"golang:{version[1] if version else '1'}-alpine"
    lines = [f"FROM --platform=$BUILDPLATFORM {base} AS builder", "ARG TARGETOS TARGETARCH"]
    if from_host:
        lines.append(f"ARG {HOST_GO}=/usr/local/go/bin:/usr/lib/go/bin")
        lines.append(f"ENV PATH=${HOST_GO}:{_SYSTEM_PATH} HOME=/tmp GOTOOLCHAIN=local")
    lines += [
        "ENV CGO_ENABLED=0 GOCACHE=/tmp/go-cache GOMODCACHE=/tmp/go-modules",
        "WORKDIR /tmp/source",
    ]
    caches = " ".join(f"--mount=type=cache,target=/tmp/{one}" for one in ("go-cache", "go-modules"))
    if has_sum:
        lines += ["COPY go.mod go.sum ./", f"RUN {caches} go mod download"]
    target = "." if package == "." else f"./{package}"
    lines += [
        "COPY . .",
        f"RUN {caches} \\",
        "    GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath "
        f"-ldflags '-s -w -extldflags \"-static\"' -o /tmp/app {target}",
        "",
        "FROM scratch",
    ]
    if has_certificates or not from_host:
        path = "/etc/ssl/certs/ca-certificates.crt"
        lines.append(f"COPY --from=builder {path} {path}")
    lines += ["COPY --from=builder /tmp/app /app", "USER 65532:65532", 'ENTRYPOINT ["/app"]']
    return "\n".join(lines) + "\n"
