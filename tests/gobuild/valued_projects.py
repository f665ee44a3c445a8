"""Projects whose values stand behind variables, in matrices or in the inputs of a workflow."""

from __future__ import annotations

from tests.gobuild.placed_projects import NESTED, PROGRAMS
from tests.gobuild.projects import CGO, NET, WORKFLOW, dockerfile

CALLED = ".github/workflows/build.yml"
CALLED_TEXT = """on:
  workflow_call:
    inputs:
      arch: {type: string, default: amd64}
      system: {type: string, default: linux}
jobs:
  build:
    env:
      GOOS: ${{ inputs.system }}
      GOARCH: ${{ inputs.arch }}
    steps:
      - run: go build ./...
"""
CALL = "on: push\njobs:\n  a:\n    uses: ./.github/workflows/build.yml\n    with:\n"
CROSS = "GOOS=${{ matrix.os }} GOARCH=${{ matrix.arch }} go build ."


def matrix(axes: str, step: str) -> str:
    head = "on: push\njobs:\n  a:\n    strategy:\n      matrix:\n"
    return f"{head}{axes}    steps:\n      - {step}\n"


AXES = "        os: [linux, windows]\n        arch: [amd64, riscv64]\n"

FAULTS: list[tuple[str, dict[str, str], list[str]]] = [
    (
        "another variable of a Makefile",
        {"Makefile": "ARCH ?= aarch64\nbuild:\n\tGOARCH=$(ARCH) go build .\n"},
        ["platform-unknown"],
    ),
    (
        "one of the branches of a Makefile",
        {
            "Makefile": "ifdef OLD\nLEVEL := v0\nelse\nLEVEL := v3\nendif\n"
            "build:\n\tGOAMD64=$(LEVEL) go build .\n"
        },
        ["level-invalid"],
    ),
    (
        "variables of a target",
        {
            "Makefile": "GOARCH ?= riscv64\nwin: GOOS = windows\nwin: build\n"
            "build:\n\tGOOS=$(GOOS) GOARCH=$(GOARCH) go build .\n"
        },
        ["platform-missing"],
    ),
    (
        "the default of a build argument",
        {
            "Dockerfile": "ARG ARCH=x86_64\n"
            + dockerfile("ARG ARCH", "RUN CGO_ENABLED=0 GOARCH=$ARCH go build -o /app")
        },
        ["platform-unknown"],
    ),
    (
        "variables of two instructions",
        {
            "Dockerfile": dockerfile(
                "ENV CGO_ENABLED=0 GOOS=windows", "ENV GOARCH=riscv64", "RUN go build -o /app"
            )
        },
        ["platform-missing"],
    ),
    (
        "axes of other names",
        {WORKFLOW: matrix(AXES, f"run: {CROSS}")},
        ["platform-missing"],
    ),
    (
        "an excluded cell is another one",
        {
            WORKFLOW: matrix(
                AXES + "        go: ['1.25', '1.26']\n"
                "        exclude: [{os: windows, arch: riscv64, go: '1.25'}]\n",
                f"run: {CROSS}",
            )
        },
        ["platform-missing"],
    ),
    (
        "what is included in a cell",
        {
            WORKFLOW: matrix(
                "        arch: [amd64, arm]\n        include: [{arch: arm, level: v7}]\n",
                "run: go build .\n        env: {GOARCH: '${{ matrix.arch }}', "
                "GOARM: '${{ matrix.level }}'}",
            )
        },
        ["level-invalid"],
    ),
    (
        "platforms of a matrix",
        {
            WORKFLOW: matrix(
                "        platform: [linux/amd64, linux/armv7]\n",
                "uses: docker/build-push-action@v6\n        with:\n"
                "          platforms: ${{ matrix.platform }}",
            )
        },
        ["platform-unknown"],
    ),
    (
        "the input of a workflow of the project",
        {WORKFLOW: CALL + "      arch: x86_64\n", CALLED: CALLED_TEXT},
        ["platform-unknown"],
    ),
    (
        "two inputs that do not go together",
        {WORKFLOW: CALL + "      arch: riscv64\n      system: windows\n", CALLED: CALLED_TEXT},
        ["platform-missing"],
    ),
    (
        "a template of GitLab with a matrix",
        {
            ".gitlab-ci.yml": "variables: {GOOS: windows}\n.build:\n  script:\n    - go build .\n"
            "build:\n  extends: .build\n  variables: {GOARCH: $MACHINE}\n  parallel:\n"
            "    matrix:\n      - MACHINE: [amd64, riscv64]\n"
        },
        ["platform-missing"],
    ),
    (
        "an architecture that goreleaser never builds",
        {
            ".goreleaser.yaml": "builds:\n  - env: [CGO_ENABLED=0]\n    goos: [windows, darwin]\n"
            "    goarch: [amd64, arm64, s390x]\n"
        },
        ["platform-missing"],
    ),
    (
        "a directory and a program of a matrix",
        NESTED
        | {
            WORKFLOW: matrix(
                "        module: [., svc]\n",
                "run: CGO_ENABLED=0 go build .\n        working-directory: ${{ matrix.module }}",
            )
        },
        ["cgo-off"],
    ),
    (
        "cgo turned off in one line of YAML",
        {
            "main.go": CGO,
            WORKFLOW: "on: push\njobs:\n  a:\n    env: {CGO_ENABLED: 0}\n"
            "    steps:\n      - run: go build .\n",
        },
        ["cgo-off"],
    ),
]

CLEAN: list[tuple[str, dict[str, str]]] = [
    (
        "a Makefile that leaves values to its caller",
        {
            "Makefile": "GOOS ?= $(shell go env GOOS)\nGOARCH ?= riscv64\nTARGETS = linux darwin\n"
            "UNAME := x86_64\nifeq ($(UNAME),x86_64)\nARCH := amd64\nelse\nARCH := arm64\nendif\n"
            "win: GOOS = windows\nwin: GOARCH = arm64\nwin: build\n"
            "build:\n\tGOOS=$(GOOS) GOARCH=$(GOARCH) go build .\n"
            "all:\n\tGOARCH=$(ARCH) go build .\n"
            "%-cross:\n\tGOOS=$* GOARCH=$(word 2,$(subst -, ,$@)) go build .\n"
            "loop:\n\tfor a in amd64 arm64; do GOOS=linux GOARCH=$$a go build .; done\n"
        },
    ),
    (
        "a machine's name that a Makefile translates",
        {
            "Makefile": "ARCH := x86_64\nifeq ($(ARCH),x86_64)\nARCH := amd64\nendif\n"
            "GO_BUILD = CGO_ENABLED=0 GOARCH=$(ARCH) go build\ntool:\n\t$(GO_BUILD) ./cmd/tool\n"
        }
        | PROGRAMS,
    ),
    (
        "build arguments with right defaults",
        {
            "Dockerfile": "ARG ARCH=arm64\n"
            + dockerfile(
                "ARG ARCH",
                "ARG LEVEL=v8",
                "ARG SYSTEM",
                "ENV CGO_ENABLED=0",
                "RUN GOOS=${SYSTEM:-linux} GOARCH=${ARCH} GOARM64=${LEVEL}.0 go build -o /app",
            ),
            "main.go": NET,
        },
    ),
    (
        "a matrix whose missing cells are excluded, guarded or not known",
        {
            WORKFLOW: matrix(
                AXES + "        exclude: [{os: windows, arch: riscv64}]\n", f"run: {CROSS}"
            ),
            ".github/workflows/guarded.yml": matrix(
                AXES, f"if: matrix.os != 'windows' || matrix.arch == 'amd64'\n        run: {CROSS}"
            ),
            ".github/workflows/shell.yml": matrix(
                AXES,
                'run: |\n          if [ "${{ matrix.os }}" = linux ]; then\n'
                f"            {CROSS}\n          fi",
            ),
            ".github/workflows/asked.yml": matrix(
                AXES + "        kind: ${{ fromJSON(needs.plan.outputs.kinds) }}\n"
                "        exclude: [{os: windows, arch: riscv64, kind: static}]\n",
                f"run: {CROSS}",
            ),
        },
    ),
    (
        "a called workflow with its defaults and right inputs",
        {
            WORKFLOW: CALL + "      arch: ${{ matrix.arch }}\n    strategy:\n      matrix:\n"
            "        arch: [arm64, riscv64]\n",
            CALLED: CALLED_TEXT,
        },
    ),
    (
        "variables of GitLab that are right together",
        {
            ".gitlab-ci.yml": "variables:\n  GOOS: linux\n  WHERE: $CI_COMMIT_REF\n"
            ".build:\n  variables: {GOARCH: $MACHINE}\n  script:\n    - go build .\n"
            "build:\n  extends: .build\n  parallel:\n    matrix:\n"
            "      - MACHINE: [amd64, riscv64]\n      - GOOS: windows\n        MACHINE: arm64\n"
        },
    ),
    (
        "pairs that goreleaser leaves out",
        {
            ".goreleaser.yaml": "builds:\n  - env: [CGO_ENABLED=0]\n"
            "    goos: [linux, windows, darwin]\n    goarch: ['386', amd64, arm64, riscv64]\n"
            "    ignore: [{goos: windows, goarch: arm64}]\n"
        },
    ),
    (
        "a matrix of programs with and without C",
        PROGRAMS
        | {
            WORKFLOW: matrix(
                "        include:\n          - {program: tool, cgo: 0}\n"
                "          - {program: server, cgo: 1}\n",
                "run: CGO_ENABLED=${{ matrix.cgo }} go build ./cmd/${{ matrix.program }}",
            )
        },
    ),
]
