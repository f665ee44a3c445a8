#!/usr/bin/env bash
# Build the clients that Debian does not package, at pinned versions, into .tools/bin.
# A tool that is already there is kept. Needs Go; .ci/run sees to that.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
bin=$root/.tools/bin
etcd_version=v3.6.5

mkdir -p "$bin"
export CGO_ENABLED=0 GOBIN=$bin GOFLAGS=-mod=mod GOTOOLCHAIN=auto

# Go before 1.21 cannot fetch the newer Go that a tool asks for by itself.
if ! go version | grep -Eq 'go1\.(2[1-9]|[3-9][0-9])'; then
    go install golang.org/dl/go1.24.6@latest
    "$bin/go1.24.6" download
    PATH=$("$bin/go1.24.6" env GOROOT)/bin:$PATH
fi

install_tool() { # name, package@version
    [ -x "$bin/$1" ] || { echo "tools: building $1"; go install "$2"; }
}

build_etcd() { # name, package
    [ -x "$bin/$1" ] && return
    echo "tools: building $1 $etcd_version"
    local work
    work=$(mktemp -d)
    (
        cd "$work"
        go mod init tools >/dev/null 2>&1
        go get "$2@$etcd_version"
        go build -o "$bin/$1" "$2"
    )
    rm -rf "$work"
}

build_plugin() { # name, module, version, package, what sets its version
    [ -x "$bin/$1" ] && return
    echo "tools: building $1 $3"
    local source work
    source=$(cd / && go mod download -json "$2@$3" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
    work=$(mktemp -d)
    cp -r "$source/." "$work"
    chmod -R u+w "$work"
    (cd "$work" && go build -trimpath -ldflags "-s -w -X $5=$3" -o "$bin/$1" "$4")
    rm -rf "$work"
}

install_tool h2spec github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible
install_tool crictl sigs.k8s.io/cri-tools/cmd/crictl@v1.34.0
install_tool grpcurl github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3
build_etcd etcdctl36 go.etcd.io/etcd/etcdctl/v3
build_etcd etcd36 go.etcd.io/etcd/server/v3
buildx=github.com/docker/buildx compose=github.com/docker/compose/v2
build_plugin docker-buildx $buildx v0.29.1 ./cmd/buildx $buildx/version.Version
build_plugin docker-compose-v2 $compose v2.40.3 ./cmd $compose/internal.Version

# A whole root file system as an image for tests: Debian's own, without anything of this machine.
if [ ! -f "$root/.tools/debian.tar" ]; then
    echo "tools: making debian.tar"
    tree=$(mktemp -d)
    chmod 755 "$tree"
    debootstrap --variant=minbase bookworm "$tree" >"$tree.log" 2>&1 || { tail -n 20 "$tree.log"; exit 1; }
    rm -rf "$tree"/var/cache/apt/archives/*.deb "$tree.log"
    tar -C "$tree" --numeric-owner --sort=name -cf "$root/.tools/debian.tar.new" .
    mv "$root/.tools/debian.tar.new" "$root/.tools/debian.tar"
    rm -rf "$tree"
fi

# Emulators of other processors, unpacked and not installed: nothing on this machine shall run
# foreign programs by itself.
if [ ! -x "$bin/qemu-arm-static" ]; then
    echo "tools: unpacking qemu-user-static"
    tree=$(mktemp -d)
    chmod 777 "$tree"
    (
        cd "$tree"
        apt-get download -q qemu-user-static >/dev/null 2>&1 || { apt-get update -q; apt-get download -q qemu-user-static; }
        dpkg -x qemu-user-static_*.deb .
    )
    for name in arm aarch64 x86_64; do install "$tree/usr/bin/qemu-$name-static" "$bin/"; done
    rm -rf "$tree"
fi
