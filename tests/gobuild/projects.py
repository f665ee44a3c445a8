"""Projects with a fault and the findings expected, and projects that are configured well."""

from __future__ import annotations

NET = 'package main\n\nimport "net/http"\n\nfunc main() { http.ListenAndServe("", nil) }\n'
PLAIN = 'package main\n\nimport "fmt"\n\nfunc main() { fmt.Println() }\n'
CLIENT = 'package main\n\nimport "net/http"\n\nfunc main() { http.Get("https://a") }\n'
ZONES = 'package main\n\nimport "time"\n\nfunc main() { time.LoadLocation("Asia/Tokyo") }\n'
CGO = 'package main\n\n// #include <stdio.h>\nimport "C"\n\nfunc main() { C.puts(nil) }\n'
SQLITE = "module a.b/c\n\ngo 1.26\n\nrequire github.com/mattn/go-sqlite3 v1.14.24\n"
GOOD_DOCKERFILE = """FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS TARGETARCH TARGETVARIANT
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH GOARM=${TARGETVARIANT#v} go build -o /app .
FROM gcr.io/distroless/static
COPY --from=build /app /app
"""
MULTI = "on: push\njobs:\n  a:\n    steps:\n      - run: docker buildx build --platform %s .\n"
WORKFLOW = ".github/workflows/ci.yml"
MATRIX = """jobs:
  build:
    strategy:
      matrix:
        goos: [linux, windows]
        goarch: [amd64, riscv64]
"""


def dockerfile(*lines: str, final: str = "scratch", base: str = "golang:1.26") -> str:
    build = "\n".join(lines)
    return f"FROM {base} AS build\n{build}\nFROM {final}\nCOPY --from=build /app /app\n"


def pod(arch: str, image: str, kind: str = "containers") -> str:
    other = "containers: [{name: z, image: z}]\n  " if kind != "containers" else ""
    return (
        "apiVersion: v1\nkind: Pod\nspec:\n  nodeSelector:\n"
        f"    kubernetes.io/arch: {arch}\n  {other}{kind}:\n  - name: a\n    image: {image}\n"
    )


FAULTS: list[tuple[str, dict[str, str], list[str]]] = [
    ("level in a Makefile", {"Makefile": "build:\n\tGOAMD64=v5 go build\n"}, ["level-invalid"]),
    ("level with a capital", {"a.sh": "export GOAMD64=V3\n"}, ["level-invalid"]),
    ("variant as a level", {"Makefile": "GOARM ?= v7\n"}, ["level-invalid"]),
    ("arm64 without a minor", {"a.sh": "GOARM64=v8 go build\n"}, ["level-invalid"]),
    ("extension with a plus", {"a.sh": "GOARM64=v8.0+lse go build\n"}, ["level-invalid"]),
    ("386 with a coprocessor", {"a.sh": "GO386=387 go build\n"}, ["level-invalid"]),
    ("uname's name", {"a.sh": "GOARCH=x86_64 go build\n"}, ["platform-unknown"]),
    ("macos", {"Makefile": "GOOS := macos\n"}, ["platform-unknown"]),
    ("no such port", {"a.sh": "GOOS=darwin GOARCH=386 go build\n"}, ["platform-missing"]),
    (
        "no such port over two lines",
        {"a.sh": "GOOS=windows \\\n  GOARCH=riscv64 go build\n"},
        ["platform-missing"],
    ),
    ("CGO_ENABLED=false", {"a.sh": "CGO_ENABLED=false go build\n"}, ["cgo-value"]),
    ("sqlite without cgo", {"go.mod": SQLITE, "Makefile": "CGO_ENABLED=0\n"}, ["cgo-off"]),
    (
        "an imported driver without cgo",
        {
            "go.mod": SQLITE,
            "a.go": 'package main\n\nimport _ "github.com/mattn/go-sqlite3"\n\nfunc main() {}\n',
            "a.sh": "CGO_ENABLED=0 go build\n",
        },
        ["cgo-off"],
    ),
    ("import C without cgo", {"a.go": CGO, "a.sh": "CGO_ENABLED=0 go build\n"}, ["cgo-off"]),
    (
        "C in a package for Linux",
        {
            "a/a.go": "//go:build linux && cgo\n\n" + CGO.replace("main", "a"),
            "a.sh": "CGO_ENABLED=0 go build\n",
        },
        ["cgo-off"],
    ),
    ("cgo lost by crossing", {"a.go": CGO, "a.sh": "GOARCH=arm64 go build\n"}, ["cgo-unset"]),
    (
        "cgo with the host's compiler",
        {"a.go": CGO, "a.sh": "CGO_ENABLED=1 GOARCH=arm64 go build\n"},
        ["cgo-without-compiler"],
    ),
    (
        "ARG not declared",
        {"Dockerfile": dockerfile("RUN CGO_ENABLED=0 GOARCH=$TARGETARCH go build -o /app")},
        ["build-platform", "arg-lost"],
    ),
    (
        "ARG before FROM",
        {"Dockerfile": "ARG GOFLAGS=-v\n" + dockerfile("RUN go build $GOFLAGS -o /app")},
        ["arg-lost"],
    ),
    (
        "target ignored",
        {
            "Dockerfile": "FROM --platform=$BUILDPLATFORM golang AS b\nRUN CGO_ENABLED=0 go build\n"
            "FROM scratch\nCOPY --from=b /app /app\n"
        },
        ["target-ignored"],
    ),
    (
        "emulated compiler",
        {
            "Dockerfile": dockerfile("RUN CGO_ENABLED=0 go build -o /app"),
            WORKFLOW: MULTI % "linux/amd64,linux/arm64",
        },
        ["build-platform"],
    ),
    (
        "variant with its v",
        {"Dockerfile": GOOD_DOCKERFILE.replace("${TARGETVARIANT#v}", "$TARGETVARIANT")},
        ["variant-not-level"],
    ),
    (
        "variant not mapped",
        {
            "Dockerfile": GOOD_DOCKERFILE.replace("GOARM=${TARGETVARIANT#v} ", ""),
            WORKFLOW: MULTI % "linux/arm/v6,linux/arm64",
        },
        ["variant-unmapped"],
    ),
    (
        "cache defeated",
        {"Dockerfile": dockerfile("COPY . .", "RUN go mod download", "RUN go build -o /app")},
        ["cache-order"],
    ),
    (
        "glibc into scratch",
        {"Dockerfile": dockerfile("RUN go build -o /app"), "a.go": NET},
        ["cgo-runtime"],
    ),
    (
        "glibc into alpine",
        {"Dockerfile": dockerfile("RUN go build -o /app", final="alpine:3.22"), "a.go": CGO},
        ["cgo-runtime"],
    ),
    (
        "musl into debian",
        {
            "Dockerfile": dockerfile(
                "RUN apk add gcc musl-dev",
                "RUN go build -o /app",
                base="golang:1.26-alpine",
                final="debian:12",
            ),
            "a.go": CGO,
        },
        ["cgo-runtime"],
    ),
    (
        "newer glibc",
        {
            "Dockerfile": dockerfile("RUN go build -o /app", final="debian:bookworm"),
            "a.go": NET,
        },
        ["glibc-newer"],
    ),
    (
        "no certificates",
        {"Dockerfile": dockerfile("RUN CGO_ENABLED=0 go build -o /app"), "a.go": CLIENT},
        ["certificates-missing"],
    ),
    (
        "no time zones",
        {
            "Dockerfile": dockerfile("RUN CGO_ENABLED=0 go build -o /app", final="alpine"),
            "a.go": ZONES,
        },
        ["zones-missing"],
    ),
    (
        "last stage of the build machine",
        {"Dockerfile": GOOD_DOCKERFILE.replace("FROM gcr", "FROM --platform=$BUILDPLATFORM gcr")},
        ["final-build-platform"],
    ),
    (
        "last stage pinned",
        {
            "Dockerfile": GOOD_DOCKERFILE.replace("FROM gcr", "FROM --platform=linux/amd64 gcr"),
            WORKFLOW: MULTI % "linux/amd64,linux/arm64",
        },
        ["platform-pinned"],
    ),
    ("wrong container platform", {WORKFLOW: MULTI % "linux/armv7"}, ["platform-unknown"]),
    ("cell that cannot exist", {WORKFLOW: MATRIX}, ["platform-missing"]),
    (
        "included cell that cannot exist",
        {
            WORKFLOW: MATRIX.replace(
                "riscv64]", "arm64]\n        include: [{goos: darwin, goarch: arm}]"
            )
        },
        ["platform-missing"],
    ),
    (
        "gitlab matrix",
        {
            ".gitlab-ci.yml": "a:\n  parallel:\n    matrix:\n      - GOOS: [linux]\n"
            "        GOARCH: [x86]\n"
        },
        ["platform-unknown"],
    ),
    ("gitlab variable", {".gitlab-ci.yml": "variables:\n  GOARM: v6\n"}, ["level-invalid"]),
    (
        "goreleaser level",
        {".goreleaser.yaml": "builds:\n  - env: [CGO_ENABLED=0]\n    goarm: [6, 8]\n"},
        ["level-invalid"],
    ),
    (
        "goreleaser cgo",
        {".goreleaser.yml": "builds:\n  - env: [CGO_ENABLED=1]\n    goarch: [amd64, arm64]\n"},
        ["cgo-without-compiler"],
    ),
    (
        "goreleaser target",
        {".goreleaser.yml": "builds:\n  - env: [CGO_ENABLED=0]\n    targets: [darwin_386]\n"},
        ["platform-missing"],
    ),
    ("node label", {"k8s/a.yaml": pod("aarch64", "a/b")}, ["arch-label"]),
    ("image of another architecture", {"a.yaml": pod("arm64", "a/b:1-amd64")}, ["arch-not-built"]),
    (
        "init container of another architecture",
        {"a.yaml": pod("arm64", "a/b:1-amd64", "initContainers")},
        ["arch-not-built"],
    ),
    (
        "own image not built",
        {
            "a.yaml": pod("arm64", "acme/app:1"),
            WORKFLOW: MULTI % "linux/amd64 -t acme/app:1",
        },
        ["arch-not-built"],
    ),
]


CLEAN: list[tuple[str, dict[str, str]]] = [
    ("plain", {"go.mod": "module a.b/c\n\ngo 1.26\n", "main.go": PLAIN}),
    ("multi-platform image", {"Dockerfile": GOOD_DOCKERFILE, "main.go": CLIENT}),
    (
        "multi-platform image in CI",
        {
            "Dockerfile": GOOD_DOCKERFILE,
            "main.go": CLIENT,
            WORKFLOW: MULTI % "linux/amd64,linux/arm64,linux/arm/v6",
            "k8s/pod.yaml": pod("arm64", "acme/app:1"),
        },
    ),
    (
        "one platform, cgo on glibc",
        {
            "go.mod": SQLITE,
            "main.go": NET,
            "Dockerfile": dockerfile(
                "RUN go build -o /app", base="golang:1.26-bookworm", final="debian:bookworm-slim"
            ),
        },
    ),
    (
        "cgo on musl",
        {
            "go.mod": SQLITE,
            "main.go": NET,
            "Dockerfile": dockerfile(
                "RUN apk add build-base",
                "RUN go build -o /app",
                base="golang:alpine",
                final="alpine",
            ),
        },
    ),
    (
        "certificates and zones copied",
        {
            "a.go": CLIENT,
            "b.go": ZONES,
            "Dockerfile": dockerfile("RUN CGO_ENABLED=0 go build -o /app")
            + "COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/\n"
            "COPY --from=build /usr/share/zoneinfo /usr/share/zoneinfo\n",
        },
    ),
    (
        "a health check of the program by itself",
        {
            "a.go": 'package main\n\nimport "net/http"\n\nfunc health() error {\n'
            '\t_, err := http.Get("http://127.0.0.1:8080/healthz")\n\treturn err\n}\n',
            "Dockerfile": dockerfile("RUN CGO_ENABLED=0 go build -o /app"),
        },
    ),
    (
        "zones built in",
        {
            "a.go": ZONES,
            "Dockerfile": dockerfile("RUN CGO_ENABLED=0 go build -tags timetzdata -o /app"),
        },
    ),
    (
        "matrix with an exclusion",
        {
            WORKFLOW: MATRIX
            + "        exclude: [{goos: windows, goarch: riscv64}]\n"
            + "    env: {CGO_ENABLED: 0}\n    steps:\n"
            + "      - run: GOOS=${{ matrix.goos }} GOARCH=${{ matrix.goarch }} go build ./...\n"
        },
    ),
    (
        "goreleaser",
        {
            ".goreleaser.yaml": "version: 2\nbuilds:\n  - env: [CGO_ENABLED=0]\n"
            "    goos: [linux, darwin]\n    goarch: [amd64, arm64, arm]\n    goarm: [6, 7]\n"
            "    goamd64: [v1, v3]\n"
        },
    ),
    (
        "Makefile with variables",
        {
            "Makefile": "GOOS ?= linux\nGOARCH ?= $(shell go env GOARCH)\nifeq ($(GOARCH),arm)\n"
            "GOARM := 6\nendif\nbuild:\n\tCGO_ENABLED=0 GOOS=$(GOOS) GOARCH=$(GOARCH) go build .\n"
            "# GOARCH=x86_64 was wrong\n"
        },
    ),
    (
        "optional cgo",
        {
            "a/fast.go": "//go:build cgo\n\n" + CGO,
            "a/slow.go": "//go:build !cgo\n\n" + PLAIN,
            "Makefile": "build:\n\tCGO_ENABLED=0 GOARCH=arm64 go build .\n",
        },
    ),
    (
        "cgo with a cross compiler",
        {
            "main.go": CGO,
            "a.sh": "CC='zig cc -target aarch64-linux-musl' CGO_ENABLED=1 GOARCH=arm64 "
            "go build .\n",
        },
    ),
    (
        "stages that share arguments",
        {
            "Dockerfile": "FROM --platform=$BUILDPLATFORM golang:1.26 AS base\n"
            "ARG TARGETOS TARGETARCH\nENV CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH\n"
            "FROM base AS build\nCOPY . .\nRUN go build -o /app\n"
            "FROM scratch\nCOPY --from=build /app /app\n",
            "main.go": NET,
        },
    ),
    (
        "messages and generators",
        {
            "a.sh": "echo usage: GOOS=os GOARCH=arch ./a.sh\nCGO_ENABLED=0 go build\n",
            "types.go": "//go:build ignore\n\n" + CGO,
        },
    ),
    (
        "C in other programs, systems and behind tags",
        {
            "main.go": PLAIN,
            "export/lib.go": CGO,
            "mount/a.go": "//go:build cmount && linux\n\n" + CGO.replace("main", "mount"),
            "disk/b_darwin.go": CGO.replace("main", "disk"),
            "disk/c.go": "//go:build darwin || freebsd\n\n" + CGO.replace("main", "disk"),
            "Makefile": "build:\n\tCGO_ENABLED=0 GOARCH=arm64 go build .\n",
        },
    ),
    (
        "names of platforms that container tools understand",
        {WORKFLOW: MULTI % "linux/x86_64,linux/aarch64,linux/arm/7"},
    ),
    (
        "a driver for tests only",
        {"go.mod": SQLITE, "main.go": PLAIN, "a.sh": "CGO_ENABLED=0 GOARCH=arm64 go build\n"},
    ),
    (
        "a file for one platform beside others",
        {
            "tools/Dockerfile": dockerfile("RUN CGO_ENABLED=0 go install a.b/c"),
            WORKFLOW: MULTI % "linux/amd64,linux/arm64",
        },
    ),
    ("not about Go", {"Dockerfile": "FROM node\nRUN npm ci\n", "a.yaml": pod("amd64", "nginx")}),
]
