"""A project's targets as a workflow of GitHub Actions or GitLab CI.

A first job decides which of the allowed targets a run builds (see `ciplan`); the build jobs are
made of its answer. Source: the workflow syntax of GitHub Actions; the keyword reference of GitLab
CI and its pages on dynamic child pipelines, prefilled variables and artifact provenance.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from sampan.base.errors import InvalidError
from sampan.base.record import record
from sampan.gobuild.core.buildplan import Cell, gcc_of, proving_device, zig_target
from sampan.gobuild.core.ciplan import plan_script
from sampan.gobuild.core.platforms import Selection
from sampan.gobuild.core.table import Release, Row, rows
from sampan.gobuild.core.targetlist import chosen_targets, picked_targets

__all__ = [
    "WorkflowOptions",
    "expanded_targets",
    "github_workflow",
    "gitlab_pipeline",
    "without_excluded",
]


@record
class WorkflowOptions:
    """What the workflow does besides building: `compiler` for cgo is `zig`, `gcc` or empty.

    `default` names the targets that are built when a run asks for none; empty means all.
    """

    go_version: str
    compiler: str = ""
    prove: bool = False
    provenance: bool = False
    default: tuple[str, ...] = ()


_HEAD: Final = "# Written by `sampan go matrix`; the targets were checked when it was written."
_GITHUB_LIMIT: Final = 256
_GITLAB_LIMIT: Final = 200
_INPUTS: Final = (
    ("targets", "what to build: names or patterns of the allowed targets, with commas"),
    ("include", "allowed targets to build as well"),
    ("exclude", "targets to leave out"),
)
_GITHUB_EMIT: Final = """\
with open(os.environ["GITHUB_OUTPUT"], "a") as output:
    print("matrix=" + json.dumps({"include": cells}), file=output)"""
# The child pipeline's text ends where the matrix begins; JSON is YAML.
_GITLAB_EMIT: Final = """\
for cell in cells:
    variables = {key.upper(): value for key, value in cell.items() if value}
    print("      -", json.dumps(variables))"""


def expanded_targets(patterns: Iterable[str], release: Release, compiler: str = "") -> list[str]:
    """Return targets by name as they are, and for patterns all that exist and can be built.

    A pattern of two parts means default levels; options of a level must be written out.
    InvalidError for a pattern that nothing matches.
    """
    found: list[str] = []
    for pattern in patterns:
        if "/" in pattern and not set(pattern) & set("*?["):
            found.append(pattern)
            continue
        picked = picked_targets(pattern, _existing(pattern, release, compiler))
        if not picked:
            raise InvalidError(f"{pattern}: no target that can be built matches")
        found += [one for one in picked if one not in found]
    return found


def _existing(pattern: str, release: Release, compiler: str) -> list[str]:
    listed = [
        row for row in rows(release, Selection(cgo=bool(compiler))) if _buildable(row, compiler)
    ]
    if pattern.count("/") < 2:
        return [f"{row.goos}/{row.goarch}" for row in listed if row.default_level]
    return [
        f"{row.goos}/{row.goarch}/{row.level}"
        for row in listed
        if row.level and row.level.count(",") == pattern.count(",")
    ]


def _buildable(row: Row, compiler: str) -> bool:
    if row.obstacle:
        return False
    try:
        if compiler == "gcc":
            gcc_of(row)
        elif compiler == "zig":
            zig_target(row)
    except InvalidError:
        return False
    return True


def without_excluded(targets: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """Return the targets that no pattern matches; InvalidError for one that matches none."""
    try:
        return chosen_targets(list(targets), list(patterns), list(targets))
    except ValueError as error:
        raise InvalidError(f"--exclude: {error}") from None


def github_workflow(cells: Sequence[Cell], options: WorkflowOptions) -> str:
    """Return a workflow: a job a target, which stops all others when it fails."""
    default = _default(cells, options, _GITHUB_LIMIT)
    lines = [_HEAD, "name: build", "on:", "  push:", "  pull_request:"]
    lines += ["  workflow_dispatch:", "    inputs:"]
    for name, description in _INPUTS:
        value = ",".join(default) if name == "targets" else ""
        lines += [f"      {name}:", f'        description: "{description}"']
        lines += ["        type: string", f'        default: "{value}"']
    lines += ["permissions:", "  contents: read", "jobs:", "  plan:", "    runs-on: ubuntu-latest"]
    lines += ["    outputs:", "      matrix: ${{ steps.plan.outputs.matrix }}"]
    lines += ["    steps:", "      - id: plan", "        env:"]
    lines += [f"          {name.upper()}: ${{{{ inputs.{name} }}}}" for name, _ in _INPUTS]
    script = plan_script(_cells(cells, options), default, _GITHUB_LIMIT, _GITHUB_EMIT)
    lines += _block("        run: |", ["python3 -I - <<'PLAN'", *script, "PLAN"])
    return "\n".join(lines + _github_build(options)) + "\n"


def _github_build(options: WorkflowOptions) -> list[str]:
    lines = ["  build:", "    needs: plan", "    runs-on: ubuntu-latest"]
    if options.provenance:
        lines += ["    permissions:", "      contents: read"]
        lines += ["      id-token: write", "      attestations: write"]
    lines += [
        "    strategy:",
        "      fail-fast: true",
        "      matrix: ${{ fromJSON(needs.plan.outputs.matrix) }}",
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
            "      - if: github.event_name != 'pull_request'",
            "        uses: actions/attest-build-provenance@v2",
            "        with:",
            "          subject-path: dist/*",
        ]
    return lines


def gitlab_pipeline(cells: Sequence[Cell], options: WorkflowOptions) -> str:
    """Return a pipeline whose first job writes a child pipeline with a parallel matrix."""
    default = _default(cells, options, _GITLAB_LIMIT)
    lines = [_HEAD, "stages: [plan, build]", "variables:"]
    for name, description in _INPUTS:
        value = ",".join(default) if name == "targets" else ""
        lines += [f"  {name.upper()}:", f'    value: "{value}"']
        lines += [f'    description: "{description}"']
    lines += ["plan:", "  stage: plan", "  image: python:3.12-alpine", "  script:"]
    script = plan_script(_cells(cells, options), default, _GITLAB_LIMIT, _GITLAB_EMIT)
    child = ["cat >targets.yml <<'CHILD'", *_gitlab_build(options), "CHILD"]
    script = ["python3 -I - >>targets.yml <<'PLAN'", *script, "PLAN"]
    lines += _block("    - |", [*child, *script])
    lines += ["  artifacts:", "    paths: [targets.yml]", "build:", "  stage: build"]
    lines += ["  trigger:", "    include:", "      - artifact: targets.yml", "        job: plan"]
    lines += ["    strategy: depend"]
    return "\n".join(lines) + "\n"


def _gitlab_build(options: WorkflowOptions) -> list[str]:
    lines = ["build:", f"  image: golang:{options.go_version}"]
    if options.provenance:
        lines += ["  variables:", '    RUNNER_GENERATE_ARTIFACTS_METADATA: "true"']
    return [
        *lines,
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
        "  parallel:",
        "    matrix:",
    ]


def _default(cells: Sequence[Cell], options: WorkflowOptions, limit: int) -> list[str]:
    default = list(options.default) or [cell.platform for cell in cells]
    if len(default) > limit:
        raise InvalidError(f"{len(default)} targets, and a matrix has at most {limit} jobs")
    return default


def _block(key: str, lines: Iterable[str]) -> list[str]:
    """A key with a text of several lines, two columns to the right of where the key begins."""
    indent = " " * (len(key) - len(key.lstrip(" ")) + 2)
    return [key, *(f"{indent}{line}".rstrip() for line in lines)]


def _cells(cells: Sequence[Cell], options: WorkflowOptions) -> list[dict[str, str]]:
    return [_cell(cell, options) for cell in cells]


def _cell(cell: Cell, options: WorkflowOptions) -> dict[str, str]:
    package = gcc_of(cell.row)[1] if options.compiler == "gcc" else ""
    found = {"target": cell.platform, "artifact": cell.file, "packages": package}
    if options.prove and (device := proving_device(cell.row)):
        found["proved_on"] = device
    return found


def _installs(options: WorkflowOptions) -> list[str]:
    wanted = "sampan ziglang" if options.compiler == "zig" else "sampan"
    commands = [f"pip install {wanted}"]
    if options.prove:
        commands.append("sudo apt-get install -y --no-install-recommends qemu-user-static")
    return commands


def _flags(options: WorkflowOptions) -> str:
    return f"--cgo {options.compiler or 'off'}" + (" --prove" if options.prove else "")
