"""Running `go build` for a matrix: in parallel, each result inspected and, if wanted, run."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed

from sampan.base.errors import InvalidError
from sampan.base.record import record
from sampan.gobuild.core.buildplan import Cell, cell_environment, gcc_of, proving_device, zig_target
from sampan.gobuild.core.explain.diagnosis import Diagnosis, diagnose
from sampan.gobuild.shell.binaries import inspected
from sampan.gobuild.shell.proof import Proof, prove

__all__ = ["Built", "Matrix", "build_matrix", "cgo_compiler", "find_zig"]

_OUTPUT_LIMIT = 1 << 20


@record
class Matrix:
    """What is built: the package, where to, how cgo gets its compiler, and what else Go is told.

    `compiler` is `zig`, `gcc` or empty for no cgo; `glibc` the floor for zig, empty for musl.
    """

    package: str
    directory: str
    cells: tuple[Cell, ...]
    compiler: str = ""
    glibc: str = ""
    flags: tuple[str, ...] = ()
    prove: bool = False


@record
class Built:
    """One result. `problems` are why it is not as asked for; `proof` when it was run."""

    cell: Cell
    path: str
    problems: tuple[str, ...]
    facts: str = ""
    proof: Proof | None = None
    diagnosis: Diagnosis | None = None
    output: str = ""

    @property
    def fine(self) -> bool:
        """Whether it was built as asked for, and ran well if it was run."""
        return not self.problems and (self.proof is None or self.proof.fine)


def find_zig() -> str:
    """Return the command of zig, on PATH or of PyPI's ziglang; empty without."""
    if shutil.which("zig"):
        return "zig"
    if importlib.util.find_spec("ziglang"):
        return f"{sys.executable} -m ziglang"
    return ""


def build_matrix(
    matrix: Matrix,
    jobs: int,
    done: Callable[[Built], None],
    begun: Callable[[Cell, str], None] = lambda cell, step: None,
) -> list[Built]:
    """Build all cells, `jobs` at a time, tell each to `done`, and return them in their order.

    `begun` hears from a cell what is being done: it is called from several threads. InvalidError
    before anything is started when Go or a compiler is missing.
    """
    go = shutil.which("go")
    if go is None:
        raise InvalidError(
            f"go is not on PATH: {sys.executable} -m pip install 'sampan[go]', or from go.dev/dl"
        )
    compilers = {cell.file: _compiler(matrix, cell) for cell in matrix.cells}
    os.makedirs(matrix.directory, exist_ok=True)
    results: dict[str, Built] = {}
    with ThreadPoolExecutor(max(1, jobs)) as pool:
        waiting = [
            pool.submit(_build, go, matrix, cell, compilers[cell.file], begun)
            for cell in matrix.cells
        ]
        for future in as_completed(waiting):
            built = future.result()
            results[built.cell.file] = built
            done(built)
    return [results[cell.file] for cell in matrix.cells]


def _compiler(matrix: Matrix, cell: Cell) -> str:
    if matrix.compiler == "zig":
        zig = find_zig()
        if not zig:
            raise InvalidError(
                "zig is neither on PATH nor installed as ziglang: "
                f"{sys.executable} -m pip install 'sampan[zig]'"
            )
        return f"{zig} cc -target {zig_target(cell.row, matrix.glibc)}"
    if matrix.compiler == "gcc":
        name, package = gcc_of(cell.row)
        if not shutil.which(name):
            raise InvalidError(
                f"{cell.platform}: no C compiler {name} on PATH (Debian: {package}); or --cgo zig, "
                f"after {sys.executable} -m pip install 'sampan[zig]'"
            )
        return name
    return ""


def _build(
    go: str, matrix: Matrix, cell: Cell, compiler: str, begun: Callable[[Cell, str], None]
) -> Built:
    begun(cell, f"compiling with {compiler.partition(' -target')[0]}" if compiler else "compiling")
    path = os.path.join(matrix.directory, cell.file)
    flags: list[str] = list(matrix.flags)
    if compiler and matrix.compiler == "zig" and not matrix.glibc and cell.row.goos == "linux":
        flags.append("-ldflags=-linkmode=external -extldflags=-static")
    command = [go, "build", *flags, "-o", os.path.abspath(path), matrix.package]
    cxx = compiler.replace(" cc -target", " c++ -target") if " cc -target" in compiler else ""
    environment = {**os.environ, **cell_environment(cell, compiler, cxx)}
    done = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    output = done.stdout[-_OUTPUT_LIMIT:].decode("utf-8", "replace")
    if done.returncode:
        problem = f"go build failed with {done.returncode}"
        return Built(cell, path, (problem,), diagnosis=diagnose(output), output=output)
    begun(cell, "inspecting and running" if matrix.prove else "inspecting")
    return _looked_at(cell, path, matrix.prove)


def _looked_at(cell: Cell, path: str, run: bool) -> Built:
    row = cell.row
    if row.goarch == "wasm":
        return Built(cell, path, (), "WebAssembly, not inspected")
    with inspected(path) as (one, *_):
        problems = [finding.summary for finding in one.findings]
        for name, wanted, got in (
            ("platform", f"{row.goos}/{row.goarch}", f"{one.goos}/{one.goarch}"),
            ("recorded level", row.level, one.recorded_level),
        ):
            if wanted and wanted != got:
                problems.append(f"{name} is {got or 'nothing'}, not {wanted}")
        if one.cgo == "yes" and not row.cgo:
            problems.append("cgo is in it: " + "; ".join(one.cgo_evidence))
        facts = f"{one.linking}, cgo {one.cgo}"
        if one.glibc:
            facts += f", glibc {one.glibc}"
        proof = None
        device = proving_device(row) if run else ""
        if device and not problems:
            try:
                proof = prove(one, device)
            except InvalidError as error:
                problems.append(f"not proved: {error}")
        elif run and not problems:
            facts += ", not proved: no emulated processor for it"
        return Built(cell, path, tuple(problems), facts, proof)


def cgo_compiler(mode: str, needed: bool) -> str:
    """Return `zig`, `gcc` or empty for a mode; `auto` takes what is there when cgo is needed."""
    if mode == "auto":
        return ("zig" if find_zig() else "gcc") if needed else ""
    return "" if mode == "off" else mode
