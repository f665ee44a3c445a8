"""Measure the Go doctor: how long its commands take, and how often its answers are right."""

from __future__ import annotations

import argparse
import hashlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from bench.report import machine, write_section
from tests.gobuild import test_check, test_explain

from sampan.gobuild.core.explain.diagnosis import diagnose

ANSWERS: Final = ("| | right | precision | recall | wanted |", "|---|---:|---:|---:|---:|")
SAMPAN: Final = (sys.executable, "-m", "sampan.cli.main", "go")


class Case(NamedTuple):
    """A case by its name: the rules that are right, and those that were answered."""

    name: str
    expected: Counter[str]
    answered: Counter[str]


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


def held_out(name: str) -> bool:
    """Tell whether a case is of the third that rules are not changed for, by its name alone."""
    return hashlib.sha256(name.encode()).digest()[0] % 3 == 0


def project_cases() -> list[Case]:
    """The faulty and the clean projects."""
    cases = []
    for name, files, expected in [*test_check.FAULTS, *((*one, []) for one in test_check.CLEAN)]:
        cases.append(Case(f"check {name}", Counter(expected), Counter(test_check.rules(files))))
    return cases


def log_cases() -> list[Case]:
    """The failures: the cause that is right, and the one ranked first, none when unknown."""
    logs = [(path.stem, path.name, path.read_text()) for path in test_explain.CORPUS.glob("*.log")]
    logs += test_explain.cases()
    logs += test_explain.made()
    cases = []
    for rule, how, words in logs:
        found = diagnose(words)
        first = [found.causes[0].rule] if found.known else []
        cases.append(Case(f"explain {rule} {how}", Counter([rule]), Counter(first)))
    return cases


def quality() -> list[str]:
    """Rows of the table of answers: cases right, precision and recall, whole and held out."""
    projects = project_cases()
    rows = []
    for kind, wanted, cases in (
        ("`check`: projects with exactly the findings expected", "95 %", projects),
        ("`check`: clean ones of them", "all", [one for one in projects if not one.expected]),
        ("`explain`: the cause ranked first", "95 %, 98 % precision", log_cases()),
    ):
        part = [one for one in cases if held_out(one.name)]
        rows += [scored(kind, wanted, cases), scored("... of it held out", wanted, part)]
    return rows


def scored(name: str, wanted: str, cases: Sequence[Case]) -> str:
    """A row: cases answered exactly, how much of what is said is right, how much is found."""
    exact = sum(one.expected == one.answered for one in cases)
    right = sum((one.expected & one.answered).total() for one in cases)
    said = sum(one.answered.total() for one in cases)
    meant = sum(one.expected.total() for one in cases)
    precision, recall = (
        f"{right / of:.1%}, {right} of {of}" if of else "-" for of in (said, meant)
    )
    return f"| {name} | {exact} of {len(cases)} | {precision} | {recall} | {wanted} |"


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
    answers = "\n".join([*ANSWERS, *quality()])
    print(f"{times}\n\n{answers}")
    if not args.no_report:
        words = " ".join(["gobuild", *sys.argv[2:]])
        write_section(
            "The Go doctor",
            f"""Written by `make bench ARGS="{words}"` on {datetime.now(UTC):%Y-%m-%d}.

{times}

Medians of {args.rounds} rounds of the whole command; the least and the greatest in parentheses.

{answers}

The answers are of the corpus and the projects in `tests/gobuild`; on others they are not measured.
About a third of the cases is held out: a hash of the case's name decides. Since they were marked
(2026-11-26) no rule was changed after looking at a failure of this part, unless it is noted here.
Most cases were written by who wrote the rules, and the tests require every one: these figures
say whether an answer was lost, not how the doctor does on what it has never seen.

- Machine: {machine()}.
""",
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
