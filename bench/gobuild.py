"""Measure the Go doctor: how long its commands take, and how often its answers are right."""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench.report import machine, write_section
from tests.gobuild import test_check, test_explain

from sampan.gobuild.core.explain.diagnosis import diagnose

SAMPAN: Final = (sys.executable, "-m", "sampan.cli.main", "go")


def timed(*words: str, allowed: tuple[int, ...] = (0,)) -> float:
    """Seconds of a command."""
    begun = time.perf_counter()
    done = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    if done.returncode not in allowed:
        raise RuntimeError(f"{words} failed with {done.returncode}")
    return time.perf_counter() - begun


def repository(place: Path) -> Path:
    """5,000 files: three of five are Go, the others manifests and scripts."""
    root = place / "repository"
    body = 'package a\n\nimport (\n\t"fmt"\n\t"net/http"\n)\n\n'
    body += "func F() { fmt.Println(http.StatusOK) }\n" * 80
    manifest = (
        "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n" + "  - {name: a, image: b}\n" * 10
    )
    kinds = (
        ("go", body),
        ("go", body),
        ("go", body),
        ("yaml", manifest),
        ("sh", "go build\n" * 30),
    )
    for index in range(5000):
        folder = root / f"p{index // 50}"
        folder.mkdir(parents=True, exist_ok=True)
        ending, text = kinds[index % 5]
        (folder / f"f{index}.{ending}").write_text(text)
    return root


def large_binary(place: Path) -> Path:
    """A Go program with as much behind it as makes 100 MB."""
    root = subprocess.check_output(["go", "env", "GOROOT"], text=True).strip()
    path = place / "program"
    shutil.copy(Path(root, "bin", "go"), path)
    with path.open("ab") as file:
        file.write(bytes((100 << 20) - path.stat().st_size))
    return path


def large_log(place: Path) -> Path:
    """10 MB of ordinary lines and a panic at the end."""
    line = 'app-1  | level=info msg="request done" path=/users status=200 exit code 0: not found\n'
    path = place / "log"
    path.write_text(line * (10_000_000 // len(line)) + "panic: unaligned 64-bit atomic operation\n")
    return path


def speed(place: Path, rounds: int) -> list[str]:
    """Rows of the table of times."""
    tree, program, log = repository(place), large_binary(place), large_log(place)
    moments: dict[str, tuple[str, Callable[[], float]]] = {
        "`targets`": ("0.2", lambda: timed(*SAMPAN, "targets")),
        "`check` of 5,000 files": ("2", lambda: timed(*SAMPAN, "check", str(tree))),
        "`inspect` of 100 MB": ("1", lambda: timed(*SAMPAN, "inspect", str(program))),
        "`go version -m` of it": ("", lambda: timed("go", "version", "-m", str(program))),
        "`explain` of 10 MB": ("1", lambda: timed(*SAMPAN, "explain", str(log))),
    }
    rows = []
    for name, (wanted, run) in moments.items():
        values = [run() for _ in range(rounds)]
        middle, least, most = statistics.median(values), min(values), max(values)
        rows.append(f"| {name} | {middle:.3f} ({least:.3f} to {most:.3f}) | {wanted} |")
    return rows


def quality() -> list[str]:
    """Rows of the table of answers: faults found, causes ranked first, clean projects clean."""
    faults = [test_check.rules(files) == expected for _, files, expected in test_check.FAULTS]
    clean = [not test_check.rules(files) for _, files in test_check.CLEAN]
    logs = [(path.stem, path.read_text()) for path in test_explain.CORPUS.glob("*.log")]
    logs += [(rule, words) for rule, _, words in test_explain.cases()]
    logs += [(rule, words) for rule, _, words in test_explain.made()]
    causes = [(rule, diagnose(words)) for rule, words in logs]
    first = [bool(found.causes) and found.causes[0].rule == rule for rule, found in causes]
    wrong = [found.known and found.causes[0].rule != rule for rule, found in causes]

    def row(name: str, hits: list[bool], wanted: str) -> str:
        return f"| {name} | {sum(hits)} of {len(hits)} | {wanted} |"

    return [
        row("`check`: faulty projects with exactly the finding expected", faults, "95 %"),
        row("`check`: clean projects without a finding", clean, "all"),
        row("`explain`: the cause ranked first", first, "95 %"),
        row("`explain`: a wrong cause ranked first", wrong, "2 %"),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the report's section."""
    parser = argparse.ArgumentParser(prog="bench gobuild", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-report", action="store_true", help="print, do not write the report")
    args = parser.parse_args(arguments)
    if shutil.which("go") is None:
        print("needs go", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        times = "\n".join(
            ["| | s | at most |", "|---|---:|---:|", *speed(Path(place), args.rounds)]
        )
    answers = "\n".join(["| | | wanted |", "|---|---:|---:|", *quality()])
    print(f"{times}\n\n{answers}")
    if not args.no_report:
        words = " ".join(["gobuild", *sys.argv[2:]])
        write_section(
            "The Go doctor",
            f"""Written by `make bench ARGS="{words}"` on {datetime.now(UTC):%Y-%m-%d}.

{times}

Medians of {args.rounds} rounds of the whole command; the least and the greatest in parentheses.

{answers}

The answers are of the corpus and the projects in `tests/gobuild`, which the rules were written by;
on others they are not measured.

- Machine: {machine()}.
""",
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
