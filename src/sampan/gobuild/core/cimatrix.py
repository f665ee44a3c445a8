"""A project's targets as a workflow of GitHub Actions or GitLab CI.

Source: the workflow syntax of GitHub Actions, the keyword reference of GitLab CI.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sampan.base.record import record
from sampan.gobuild.core.buildplan import Cell, gcc_of, proving_device

__all__ = ["WorkflowOptions", "github_workflow", "gitlab_pipeline"]


@record
class WorkflowOptions:
    """What the workflow does besides building: `compiler` for cgo is `zig`, `gcc` or empty."""

    go_version: str
    compiler: str = ""
    prove: bool = False
    provenance: bool = False


_HEAD: Final = "# Written by `sampan go matrix`; the targets were checked when it was written."


def github_workflow(cells: Sequence[Cell], options: WorkflowOptions) -> str:
    """Return a workflow: a job a target, which stops all others when it fails."""
    lines = [_HEAD, "name: build", "on: [push, pull_request]", "permissions:", "  contents: read"]
    if options.provenance:
        lines += ["  id-token: write", "  attestations: write"]
    lines += ["jobs:", "  build:", "    runs-on: ubuntu-latest"]
    lines += ["    strategy:", "      fail-fast: true", "      matrix:", "        include:"]
    for cell in cells:
        lines += [f"          - {key}: {value}" if not index else f"            {key}: {value}"
                  for index, (key, value) in enumerate(_cell(cell, options))]  # fmt: skip
    lines += [
        "    steps:",
        "      - uses: actions/checkout@v4",
        "      - uses: actions/setup-go@v5",
        "        with:",
        f'          go-version: "{options.go_version}"',
        "      - uses: actions/setup-python@v5",
        "        with:",
        '          python-version: "3.12"',
        *(f"      - run: {command}" for command in _installs(options)),
        "      - name: compiler of the target",
        "        if: matrix.packages != ''",
        "        env:",
        "          PACKAGES: ${{ matrix.packages }}",
        "        run: sudo apt-get install -y --no-install-recommends $PACKAGES",
        "      - env:",
        "          TARGET: ${{ matrix.target }}",
        f'        run: sampan go build --target "$TARGET" {_flags(options)}',
        "      - uses: actions/upload-artifact@v4",
        "        with:",
        "          name: ${{ matrix.artifact }}",
        "          path: dist/",
        "          if-no-files-found: error",
    ]
    if options.provenance:
        lines += [
            "      - if: github.event_name == 'push'",
            "        uses: actions/attest-build-provenance@v2",
            "        with:",
            "          subject-path: dist/*",
        ]
    return "\n".join(lines) + "\n"


def gitlab_pipeline(cells: Sequence[Cell], options: WorkflowOptions) -> str:
    """Return a pipeline with a parallel matrix."""
    lines = [_HEAD, "build:", f"  image: golang:{options.go_version}", "  parallel:", "    matrix:"]
    for cell in cells:
        values = [(key.upper(), value) for key, value in _cell(cell, options)]
        lines += [f"      {'-' if not index else ' '} {key}: {value}"
                  for index, (key, value) in enumerate(values)]  # fmt: skip
    lines += [
        "  before_script:",
        "    - apt-get update",
        "    - apt-get install -y --no-install-recommends python3-venv $PACKAGES",
        "    - python3 -m venv /opt/sampan",
        "    - export PATH=/opt/sampan/bin:$PATH",
        *(f"    - {command.removeprefix('sudo ')}" for command in _installs(options)),
        "  script:",
        f'    - sampan go build --target "$TARGET" {_flags(options)}',
        "  artifacts:",
        '    name: "$ARTIFACT"',
        "    paths: [dist/]",
    ]
    return "\n".join(lines) + "\n"


def _cell(cell: Cell, options: WorkflowOptions) -> list[tuple[str, str]]:
    package = gcc_of(cell.row)[1] if options.compiler == "gcc" else ""
    values = [
        ("target", f'"{cell.platform}"'),
        ("artifact", cell.file),
        ("packages", f'"{package}"'),
    ]
    if options.prove and (device := proving_device(cell.row)):
        values.append(("proved_on", device))
    return values


def _installs(options: WorkflowOptions) -> list[str]:
    wanted = "sampan ziglang" if options.compiler == "zig" else "sampan"
    commands = [f"pip install {wanted}"]
    if options.prove:
        commands.append("sudo apt-get install -y --no-install-recommends qemu-user-static")
    return commands


def _flags(options: WorkflowOptions) -> str:
    return f"--cgo {options.compiler or 'off'}" + (" --prove" if options.prove else "")
