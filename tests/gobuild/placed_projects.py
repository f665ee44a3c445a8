"""Projects whose faults, or their absence, depend on where a command runs and what a value is."""

from __future__ import annotations

from tests.gobuild.projects import CGO, CLIENT, PLAIN, SQLITE, WORKFLOW, dockerfile

PLAIN_MODULE = "module a.b/plain\n\ngo 1.26\n"
STORE = 'package store\n\n// #include <stdio.h>\nimport "C"\n\nfunc Put() { C.puts(nil) }\n'
SERVER = 'package main\n\nimport "a.b/c/internal/store"\n\nfunc main() { store.Put() }\n'
DRIVER = 'package main\n\nimport _ "github.com/mattn/go-sqlite3"\n\nfunc main() {}\n'
NESTED = {"go.mod": PLAIN_MODULE, "main.go": PLAIN, "svc/go.mod": SQLITE, "svc/main.go": DRIVER}
PROGRAMS = {
    "go.mod": "module a.b/c\n\ngo 1.26\n",
    "internal/store/store.go": STORE,
    "cmd/server/main.go": SERVER,
    "cmd/tool/main.go": PLAIN,
}


def workflow(*steps: str, head: str = "") -> str:
    body = "".join(f"      - {one}\n" for one in steps)
    return f"on: push\n{head}jobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n{body}"


FAULTS: list[tuple[str, dict[str, str], list[str]]] = [
    (
        "a nested module's Dockerfile without cgo",
        NESTED
        | {
            "svc/Dockerfile": dockerfile(
                "WORKDIR /src", "COPY . .", "RUN CGO_ENABLED=0 go build -o /app"
            )
        },
        ["cgo-off"],
    ),
    (
        "a nested module built from the root's context",
        NESTED
        | {
            "docker/Dockerfile": dockerfile(
                "WORKDIR /src",
                "COPY svc/go.mod svc/go.sum ./",
                "COPY svc/ ./",
                "ENV CGO_ENABLED=0",
                "RUN go build -o /app .",
            )
        },
        ["cgo-off"],
    ),
    (
        "a nested module by its working directory",
        NESTED
        | {
            WORKFLOW: workflow(
                "run: CGO_ENABLED=0 go build .",
                "run: CGO_ENABLED=0 go build .\n        working-directory: svc",
            )
        },
        ["cgo-off"],
    ),
    (
        "a nested module by cd and cross compiling",
        NESTED | {"Makefile": "all:\n\tGOARCH=arm64 go build\n\tcd svc && GOARCH=arm64 go build\n"},
        ["cgo-unset"],
    ),
    (
        "a workspace whose modules import each other",
        {
            "go.work": "go 1.26\n\nuse (\n\t./app\n\t./lib\n)\n",
            "app/go.mod": "module a.b/app\n\ngo 1.26\n",
            "app/main.go": SERVER.replace("c/internal", "lib"),
            "lib/go.mod": "module a.b/lib\n\ngo 1.26\n",
            "lib/store/store.go": STORE,
            "build.sh": "#!/bin/sh\nexport CGO_ENABLED=0\ngo build ./app\n",
        },
        ["cgo-off"],
    ),
    (
        "an image whose Go is older than the nested module",
        NESTED
        | {
            "svc/Dockerfile": dockerfile(
                "COPY . .", "RUN go build -o /app", base="golang:1.24", final="debian:trixie"
            )
        },
        ["go-too-old"],
    ),
    (
        "a script in a directory of its own, that is called from the root",
        PROGRAMS
        | {
            "scripts/build.sh": "#!/bin/sh\nset -e\nexport CGO_ENABLED=0\n"
            "go build -o bin/server ./cmd/server\n",
            "scripts/tool.sh": "cd cmd/tool && CGO_ENABLED=0 go build .\n",
        },
        ["cgo-off"],
    ),
    (
        "a job whose image is older than the module it builds",
        {
            "new/go.mod": PLAIN_MODULE,
            "new/main.go": PLAIN,
            "old/go.mod": "module a.b/old\n\ngo 1.23\n",
            "old/main.go": PLAIN,
            ".gitlab-ci.yml": "image: golang:1.24\n"
            "a:\n  script:\n    - cd old\n    - go build .\n"
            "b:\n  script:\n    - cd new\n    - go build .\n",
        },
        ["go-too-old"],
    ),
    (
        "an image for the program that needs C",
        PROGRAMS
        | {
            "Dockerfile": dockerfile(
                "WORKDIR /src",
                "COPY . .",
                "RUN go build -o /tool ./cmd/tool && go build -o /app ./cmd/server",
            )
        },
        ["cgo-runtime"],
    ),
    (
        "the one program of several that needs C",
        PROGRAMS
        | {
            "Makefile": "server:\n\tCGO_ENABLED=0 go build -o bin/server ./cmd/server\n"
            "tool:\n\tCGO_ENABLED=0 go build -o bin/tool ./cmd/tool\n"
        },
        ["cgo-off"],
    ),
    (
        "a program in C itself, by its import path, in a job without cgo",
        PROGRAMS
        | {
            "cmd/server/main.go": CGO,
            WORKFLOW: workflow("run: go install a.b/c/cmd/server", head="env:\n  CGO_ENABLED: 0\n"),
        },
        ["cgo-off"],
    ),
    (
        "the goreleaser build of the program that needs C",
        PROGRAMS
        | {
            ".goreleaser.yaml": "builds:\n  - id: tool\n    main: ./cmd/tool\n"
            "    env: [CGO_ENABLED=0]\n  - id: server\n    main: ./cmd/server\n"
            "    goarch: [amd64]\n    env:\n      - CGO_ENABLED=0\n"
        },
        ["cgo-off"],
    ),
]

CLEAN: list[tuple[str, dict[str, str]]] = [
    (
        "an image for one of the programs that its stage builds",
        PROGRAMS
        | {
            "Dockerfile": dockerfile(
                "WORKDIR /src",
                "COPY . .",
                "RUN go build -o /app ./cmd/tool && go build -o /server ./cmd/server",
            )
        },
    ),
    (
        "C behind a tag in the older form, or where a condition has it",
        {
            "go.mod": SQLITE,
            "cmd/a/main.go": PLAIN,
            "cmd/a/key.go": "// +build keys\n\n" + CGO,
            "a.sh": "CGO_ENABLED=0 go build ./cmd/a\n",
            "cmd/b/main.go": DRIVER,
            "scripts/cross.sh": 'for os in "$@"; do\n\tif [ "$os" = linux ]; then\n'
            "\t\texport CGO_ENABLED=1\n\telse\n\t\texport CGO_ENABLED=0\n\tfi\n"
            "\tGOOS=$os go build ./cmd/b\ndone\n",
        },
    ),
    (
        "programs of other projects, built in images",
        {"go.mod": SQLITE, "main.go": DRIVER}
        | {
            "hack/Dockerfile": dockerfile(
                "WORKDIR /lint",
                "ADD https://a.b/lint.git#v1 .",
                "RUN CGO_ENABLED=0 go build -o /app ./cmd/lint",
                "WORKDIR /",
                "RUN git clone --depth 1 https://a.b/net && cd net && CGO_ENABLED=0 go build .",
                "WORKDIR /src",
                "COPY . .",
                "RUN CGO_ENABLED=0 go install a.b/tool/cmd/tool",
            )
        },
    ),
    (
        "a newer module of others, and one for a newer image",
        {
            "go.mod": PLAIN_MODULE,
            "main.go": PLAIN,
            "old/go.mod": "module a.b/old\n\ngo 1.23\n",
            "old/main.go": PLAIN,
            ".gitlab-ci.yml": "image: golang:1.24\n"
            "a:\n  script:\n    - cd old\n    - go test ./...\n"
            "b:\n  image: golang:1.26\n  script: [go build .]\n"
            "c:\n  script:\n    - git clone https://a.b/x && cd x && go build .\n"
            "d:\n  variables: {A: b}\n  script: [go install a.b/tool@latest]\n",
        },
    ),
    (
        "a nested module that needs cgo, and others that do not",
        NESTED
        | {
            "Makefile": "all:\n\tCGO_ENABLED=0 GOARCH=arm64 go build .\n"
            "svc:\n\tcd svc && CGO_ENABLED=1 go build\n",
            "Dockerfile": dockerfile("COPY . .", "RUN CGO_ENABLED=0 go build -o /app ."),
            "svc/Dockerfile": dockerfile(
                "RUN apk add build-base",
                "COPY svc/ .",
                "RUN go build -o /app",
                base="golang:alpine",
                final="alpine",
            ),
            WORKFLOW: workflow("run: CGO_ENABLED=0 go build ./..."),
        },
    ),
    (
        "what a nested module needs is not what the root's image needs",
        {
            "go.mod": PLAIN_MODULE,
            "main.go": PLAIN,
            "probe/go.mod": "module a.b/probe\n\ngo 1.27\n",
            "probe/main.go": CLIENT,
            "Dockerfile": dockerfile("COPY . .", "RUN CGO_ENABLED=0 go build -o /app ."),
        },
    ),
    (
        "programs without C beside one that needs it",
        PROGRAMS
        | {
            "Makefile": "tool: export CGO_ENABLED = 0\ntool:\n\tgo build ./cmd/tool\n"
            "server:\n\tgo build ./cmd/server\n",
            "Dockerfile": dockerfile(
                "WORKDIR /src", "COPY . .", "RUN CGO_ENABLED=0 go build -o /app ./cmd/tool"
            ),
            "build.sh": "export CGO_ENABLED=0\ngo build ./cmd/tool\n"
            "export CGO_ENABLED=1\ngo build ./cmd/server\n",
            WORKFLOW: "on: push\nenv:\n  CGO_ENABLED: 0\njobs:\n  a:\n    steps:\n"
            "      - run: go build ./cmd/tool\n"
            "      - env: {CGO_ENABLED: 1}\n        run: go build ./cmd/server\n",
        },
    ),
    (
        "a program chosen by a variable",
        PROGRAMS | {"Makefile": "%:\n\tCGO_ENABLED=0 go build ./cmd/$*\n"},
    ),
]
