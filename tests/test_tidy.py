"""The house rules that a test can hold: sizes, names, docstrings, and docs that keep up.

`EXCEPTIONS` may only shrink: an entry that is no longer needed, or larger than needed, fails too.
"""

from __future__ import annotations

import ast
import functools
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.real import ROOT

FILE_WALL_LINES = 800
FUNCTION_WALL_LINES = 70
BANNED_MODULES = frozenset(
    {"utils", "util", "helpers", "helper", "common", "manager", "managers", "misc", "lib", "stuff"}
)
# Notes to oneself and tones that do not belong into a product; words of the workshop.
FORBIDDEN = re.compile(
    r"\b(?:TODO|FIXME|XXX|HACK|blazing(?:ly)?|awesome|supercharge|effortless(?:ly)?|seamless(?:ly)?)\b"
)
TEXT = frozenset({".py", ".pyi", ".md", ".toml", ".sh", ".txt", ".proto", ".yaml", ".yml", ""})

# "path" -> lines, or "path::function" -> lines.
EXCEPTIONS: dict[str, int] = {}


@functools.cache
def tracked() -> tuple[Path, ...]:
    """Every file under version control, or about to be."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout.decode()
    paths = {ROOT / name for name in listed.split("\0") if name}
    return tuple(sorted(path for path in paths if path.is_file()))


@functools.cache
def sources() -> tuple[Path, ...]:
    """Our own Python files, without generated ones."""
    return tuple(
        path for path in tracked() if path.suffix == ".py" and not path.stem.endswith("_pb2")
    )


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Name and length in lines of every function; decorators and docstring do not count."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            has_doc = ast.get_docstring(node, clean=False) is not None
            doc = (first.end_lineno or 0) - first.lineno + 1 if has_doc else 0
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1 - doc


def over(found: dict[str, int]) -> list[str]:
    """What exceeds its wall without an exception that says exactly so much."""
    return sorted(
        f"{where}: {lines} lines"
        for where, lines in found.items()
        if lines != EXCEPTIONS.get(where)
    )


def oversized_files() -> dict[str, int]:
    sizes = {name_of(path): path.read_text().count("\n") for path in sources()}
    return {name: lines for name, lines in sizes.items() if lines > FILE_WALL_LINES}


def oversized_functions() -> dict[str, int]:
    found: dict[str, int] = {}
    for path in sources():
        for name, lines in functions(parsed(path)):
            if lines > FUNCTION_WALL_LINES:
                found[f"{name_of(path)}::{name}"] = lines
    return found


def test_no_file_is_longer_than_the_wall() -> None:
    assert over(oversized_files()) == []


def test_no_function_is_longer_than_the_wall() -> None:
    assert over(oversized_functions()) == []


def test_the_exception_list_only_shrinks() -> None:
    found = oversized_files() | oversized_functions()
    assert {name: found.get(name) for name in EXCEPTIONS} == EXCEPTIONS


def test_modules_are_named_for_what_they_are() -> None:
    named = [
        name_of(path)
        for path in sources()
        if BANNED_MODULES & {part.removesuffix(".py") for part in path.relative_to(ROOT).parts}
    ]
    assert named == []


def test_every_package_and_module_has_a_docstring() -> None:
    missing = [
        name_of(path)
        for path in sources()
        if name_of(path).startswith("src/") and ast.get_docstring(parsed(path)) is None
    ]
    assert missing == []


def test_a_package_file_is_a_docstring_and_all() -> None:
    def allowed(node: ast.stmt) -> bool:
        return isinstance(node, ast.Expr | ast.Import | ast.ImportFrom | ast.Assign)

    wrong = [
        name_of(path)
        for path in sources()
        if path.name == "__init__.py" and not all(allowed(node) for node in parsed(path).body)
    ]
    assert wrong == []


def test_every_module_declares_what_it_offers() -> None:
    def declares(path: Path) -> bool:
        return any(
            isinstance(node, ast.Assign | ast.AnnAssign) and "__all__" in ast.unparse(node)
            for node in parsed(path).body
        )

    missing = [
        name_of(path)
        for path in sources()
        if name_of(path).startswith("src/") and path.name != "__init__.py" and not declares(path)
    ]
    assert missing == []


def test_no_forbidden_words() -> None:
    found = [
        f"{name_of(path)}:{number}: {line.strip()}"
        for path in tracked()
        if path.suffix in TEXT and path != Path(__file__) and path.name != "LICENSE"
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if FORBIDDEN.search(line)
    ]
    assert found == []


def test_imports_do_not_hide_in_functions_of_the_cores() -> None:
    """A core states what it needs at the top; only the command line imports lazily."""
    hidden = [
        f"{name_of(path)}::{node.name}"
        for path in sources()
        if name_of(path).startswith(("src/sampan/store/core/", "src/sampan/wire/"))
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and any(isinstance(inner, ast.Import | ast.ImportFrom) for inner in ast.walk(node))
    ]
    assert hidden == []


def test_every_own_flag_is_documented() -> None:
    """The flags that etcd does not have stand in docs/; etcd's own in docs/compat/etcd.md."""
    flags = pytest.importorskip("sampan.cli.etcd_flags")
    text = documentation()
    missing = [name for name in flags.FLAGS if not re.search(rf"--{name}(?![\w-])", text)]
    assert missing == []


def test_every_metric_is_documented() -> None:
    """A metric name in the server's source stands in docs/ (or begins like a documented one)."""
    metric = re.compile(r"\b((?:sampan|etcd|grpc)_[a-z][a-z0-9_]*_[a-z0-9_]+)\b")
    path = ROOT / "src/sampan/store/api/metrics.py"
    if not path.exists():
        pytest.skip("no metrics yet")
    names = set(metric.findall(path.read_text()))
    text = documentation()
    assert sorted(name for name in names if name not in text) == []


def test_every_route_is_documented() -> None:
    """Every HTTP path that the store's API serves stands in docs/."""
    route = re.compile(r"\"(/(?:v3/)?[a-z]+(?:/[a-z-]+)*(?:\.json|\.yaml)?)\"")
    text = documentation()
    missing = {
        found
        for name in ("http.py", "gateway.py", "openapi.py")
        if (path := ROOT / "src/sampan/store/api" / name).exists()
        for found in route.findall(path.read_text())
        if found not in text
    }
    assert sorted(missing) == []


@functools.cache
def documentation() -> str:
    return "\n".join(path.read_text() for path in tracked() if path.suffix == ".md")
