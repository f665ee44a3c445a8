"""The programs of the distribution and where they are; none is imported before it is run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import cast

from sampan.base.record import record

__all__ = ["LINKS", "OWN_FLAGS", "PROGRAMS", "Program", "run"]


@record
class Program:
    """A program: its module has `main(arguments) -> exit code`."""

    module: str
    summary: str


PROGRAMS: dict[str, Program] = {
    "etcd": Program("sampan.cli.etcd", "Run an etcd v3 server; takes etcd's own flags."),
    "etcdutl": Program("sampan.cli.etcdutl", "Look after etcd's files while no server runs."),
    "dockerd": Program(
        "sampan.cli.dockerd", "Run a container engine for the docker command line; its own flags."
    ),
    "runc": Program("sampan.cli.runc", "Run containers from OCI bundles; takes runc's commands."),
    "registry": Program("sampan.cli.registry", "Run a registry of images: OCI distribution."),
    "go": Program("sampan.cli.go", "The Go doctor: right binary, right machine, or why not."),
    "up": Program("sampan.cli.up", "Start the stack on this machine: store, engine, registry."),
    "down": Program("sampan.cli.down", "End the stack that `up` has started."),
    "status": Program("sampan.cli.status", "Show what of the stack runs."),
    "env": Program("sampan.cli.env", "Print where the stack is, for docker and etcdctl."),
    "ship": Program("sampan.cli.ship", "Build a source directory, run it, say where it is."),
    "releases": Program("sampan.cli.releases", "List what was shipped."),
    "rollback": Program("sampan.cli.rollback", "Return to an earlier release."),
    "record": Program("sampan.cli.record", "Record what an etcd tells its clients, to verify it."),
    "sim": Program("sampan.cli.sim", "Simulate a cluster of the store under failures."),
    "verify": Program("sampan.cli.verify", "Check what a store told its clients: see record."),
    "demo": Program("sampan.cli.demo", "Bring up the stack, ship a service, show what runs."),
}
LINKS = ("dockerd", "etcd", "etcdutl", "runc")
"""Program names that work as the name of a link."""
OWN_FLAGS = (*LINKS, "go")
"""Programs that read their flags themselves."""


def run(name: str, arguments: Sequence[str]) -> int:
    """Run one program with its arguments and return its exit code."""
    program = import_module(PROGRAMS[name].module).main
    return cast(Callable[[Sequence[str]], int], program)(arguments)
