"""`sampan go explain`: the cause of each failure of the corpus is ranked first."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gobuild import binaries, test_check
from tests.gobuild.test_targets import sampan_go

from sampan.gobuild.core.binary.inspection import Inspection, inspect_binary
from sampan.gobuild.core.explain.diagnosis import SIGNATURES, Diagnosis, diagnose
from sampan.gobuild.core.explain.instruction import instruction_level
from sampan.gobuild.core.explain.report import diagnosis_json, diagnosis_text
from sampan.gobuild.core.explain.trace import read_trace
from sampan.gobuild.shell.logs import decoded

CORPUS = Path(__file__).parent / "corpus"


def cases() -> list[tuple[str, str, str]]:
    """Rule, where the words come from, the words."""
    text = (CORPUS / "failures.txt").read_text()
    found = []
    for block in text.split("\n== ")[1:]:
        rule, how, words = block.split("\n", 2)
        found.append((rule, how.removeprefix("how: "), words.strip("\n") + "\n"))
    return found


def made() -> list[tuple[str, str, str]]:
    """The failures that scripts/corpus.py produces: cause, how, words."""
    found = []
    for path in sorted((CORPUS / "made").glob("*.log")):
        how, words = path.read_text().split("\n", 1)
        found.append((path.stem.split(".")[0], how, words))
    return found


def first(text: str, binary: Inspection | None = None) -> str:
    found = diagnose(text, binary)
    return found.causes[0].rule if found.causes else ""


@pytest.mark.parametrize(("rule", "how", "words"), cases(), ids=lambda value: str(value)[:40])
def test_the_cause_is_ranked_first(rule: str, how: str, words: str) -> None:
    assert how.startswith(("made", "source"))
    found = diagnose(words)
    assert found.causes[0].rule == rule
    assert found.known and found.causes[0].evidence and found.causes[0].remedy


@pytest.mark.parametrize(("rule", "how", "words"), made(), ids=lambda value: str(value)[:40])
def test_a_failure_that_was_produced_is_explained(rule: str, how: str, words: str) -> None:
    assert how.startswith("# made with Go ")
    found = diagnose(words)
    assert found.known and found.causes[0].rule == rule


def test_the_corpus_is_large_enough() -> None:
    projects = len(test_check.FAULTS) + len(test_check.CLEAN)
    assert len(cases()) + len(made()) + len(list(CORPUS.glob("*.log"))) + projects >= 120
    assert len(test_check.CLEAN) >= 10


def test_every_rule_has_a_case() -> None:
    tested = {rule for rule, _, _ in (*cases(), *made())}
    tested |= {path.stem for path in CORPUS.glob("*.log")}
    weak = {"names-differ", "segmentation-fault", "bad-pointer", "sdk-missing"}
    assert {one.rule for one in SIGNATURES} - tested == weak


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.log")), ids=lambda path: path.stem)
def test_real_traces(path: Path) -> None:
    text = path.read_text()
    assert first(text) == path.stem
    own = read_trace(text).own_frame
    assert own is not None and own.function.startswith("main.")
    # The same as a collector of logs writes it.
    lines = "".join(f"app-1  | {line}\n" for line in text.splitlines())
    assert first(lines) == path.stem
    assert read_trace(lines).own_frame == own


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "listening on :8080\nGET / 200\n",
        "2026/01/02 open /etc/app.yaml: no such file or directory\n",
        'level=info msg="user not found" path=/api/users: not found\n',
        "connect: connection refused\n",
        "copied 132 files, code 139\n",
    ],
)
def test_ordinary_words_are_unknown_and_say_what_to_collect(text: str) -> None:
    found = diagnose(text)
    assert not found.known and found.collect
    assert diagnosis_text(found, False).startswith("unknown")


def program(**set_: str) -> Inspection:
    data = binaries.elf(62, b"", binaries.inline_buildinfo(set_))
    return inspect_binary("app", data)[0]


def test_the_program_contradicts_and_confirms() -> None:
    words = "exec /app: no such file or directory\n"
    static = program(GOOS="linux", GOARCH="amd64", CGO_ENABLED="0")
    found = diagnose(words, static)
    assert not found.known and "no loader" in found.causes[0].against[0]
    data = binaries.elf(
        62, b"", binaries.inline_buildinfo({}), interpreter="/lib64/ld-linux-x86-64.so.2"
    )
    found = diagnose(words, inspect_binary("app", data)[0])
    assert found.causes[0].sure == "certain"
    assert "asks for /lib64/ld-linux" in found.causes[0].evidence[-1]


def test_the_lowest_level_speaks_against_the_level() -> None:
    words = "Illegal instruction (core dumped)\n"
    lowest = diagnose(words, program(GOOS="linux", GOARCH="amd64", GOAMD64="v1"))
    assert not lowest.known and "the lowest" in lowest.causes[0].against[0]


@pytest.mark.parametrize(
    ("code", "goarch", "level"),
    [
        ("2000e1b8", "arm64", "LSE"),  # ldaddal w1, w0, [x1]
        ("20fce188", "arm64", "LSE"),  # casal w1, w0, [x1]
        ("40fc5f88", "arm64", ""),  # ldaxr w0, [x2]
        ("2048284e", "arm64", "cryptographic"),  # aese v0.16b, v1.16b
        ("2a1000e3", "arm", "GOARM=7"),  # movw r1, #42
        ("5bf07ff5", "arm", "barrier"),  # dmb ish
        ("000b30ee", "arm", "VFP"),  # vadd.f64 d0, d0, d0
        ("0000a0e1", "arm", ""),  # nop
        ("c5fd6f00", "amd64", "v3"),  # vmovdqa ymm0, [rax]
        ("62f17c48", "amd64", "v4"),
        ("f3480fb8c1", "amd64", "v2"),  # popcnt rax, rcx
        ("4889c8", "amd64", ""),  # mov rax, rcx
    ],
)
def test_an_instruction_names_its_level(code: str, goarch: str, level: str) -> None:
    found = instruction_level(bytes.fromhex(code), goarch)
    assert level in found and bool(found) == bool(level)


def test_a_printed_instruction_makes_the_cause_certain() -> None:
    words = next(
        w for r, _, w in cases() if r == "illegal-instruction" and "instruction bytes" in w
    )
    (cause,) = [one for one in diagnose(words).causes if one.rule == "illegal-instruction"]
    assert cause.sure == "certain" and "LSE atomics" in cause.evidence[-1]


def test_frames_belong_to_somebody() -> None:
    trace = read_trace(
        "panic: x\n\ngoroutine 7 [running]:\n"
        "panic({0x1, 0x2})\n\truntime/panic.go:859 +0x1\n"
        "net/http.(*conn).serve(0x1)\n\tnet/http/server.go:2102 +0x2\n"
        "main._Cfunc_puts(0x1)\n\t_cgo_gotypes.go:41 +0x3\n"
        "github.com/a/b.(*T).Do(...)\n\t/go/pkg/mod/github.com/a/b@v1/t.go:7\n"
        "created by main.main in goroutine 1\n\t/src/main.go:3 +0x4\n"
    )
    assert [one.owner for one in trace.frames] == ["runtime", "std", "cgo", "module", "module"]
    assert trace.frames[3].function == "github.com/a/b.(*T).Do" and trace.frames[3].line == 7
    assert (trace.reason, trace.state, trace.goroutines) == ("panic: x", "running", 1)


RACE = """==================
WARNING: DATA RACE
Write at 0x00c00009e008 by goroutine 7:
  sync/atomic.AddInt64()
      /go/src/runtime/race_amd64.s:289 +0xb
  github.com/a/b.(*Counter).Add()
      /src/b/counter.go:12 +0x45
  main.main.func1()
      /src/main.go:6 +0x45

Previous read at 0x00c00009e008 by main goroutine:
  main.main()
      /src/main.go:7 +0x104

Goroutine 7 (running) created at:
  main.main()
      /src/main.go:6 +0xf9
==================
"""


@pytest.mark.parametrize("prefix", ["", "app-1  | "])
def test_both_sides_of_a_data_race_are_told(prefix: str) -> None:
    text = "".join(f"{prefix}{line}\n" for line in RACE.splitlines())
    found = diagnose(text)
    assert found.causes[0].rule == "data-race"
    write, read = found.trace.race
    assert (write.what, write.by) == ("write", "goroutine 7")
    assert [one.owner for one in write.frames] == ["std", "module", "module"]
    assert write.own_frame is not None and write.own_frame.file == "/src/b/counter.go"
    assert (read.what, read.by) == ("previous read", "main goroutine")
    assert read.own_frame is not None and read.own_frame.line == 7
    said = diagnosis_text(found, markdown=False)
    assert "write by goroutine 7: github.com/a/b.(*Counter).Add (/src/b/counter.go:12)" in said


def _as_json_file(text: str) -> str:
    lines = text.splitlines(keepends=True)
    return "".join(
        json.dumps({"log": line, "stream": "stderr", "time": "x"}) + "\n" for line in lines
    )


def _as_cri(text: str) -> str:
    moments = ("2026-11-26T10:00:00.1Z", "2026-11-26T10:00:00.123456789Z")
    lines = text.splitlines()
    found = [f"{moments[at % 2]} stderr F {line}\n" for at, line in enumerate(lines)]
    half = len(lines[0]) // 2
    found[0] = f"{moments[0]} stderr P {lines[0][:half]}\n{moments[1]} stderr F {lines[0][half:]}\n"
    return "".join(found)


def _as_field(text: str) -> str:
    return "started\n" + json.dumps({"level": "error", "msg": "recovered", "stack": text}) + "\n"


@pytest.mark.parametrize("collect", [_as_json_file, _as_cri, _as_field])
@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.log"))[:6], ids=lambda path: path.stem)
def test_what_collectors_put_around_a_trace_does_not_hide_it(
    collect: Callable[[str], str], path: Path
) -> None:
    text = path.read_text()
    collected = decoded(collect(text).encode())
    assert first(collected) == path.stem
    assert read_trace(collected).own_frame == read_trace(text).own_frame


def test_a_cause_behind_much_noise_is_found() -> None:
    noise = "open /etc/app.yaml: no such file or directory\nnot found: exit code 0\n" * 1500
    assert first(noise + "exec /app: no such file or directory\n") == "missing-loader"


def test_every_rule_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs/go-doctor.md").read_text()
    assert [one.rule for one in SIGNATURES if f"`{one.rule}`" not in text] == []


def test_encodings() -> None:
    words = "fatal error: all goroutines are asleep - deadlock!\r\n"
    for data in (words.encode("utf-16"), words.encode("utf-8-sig"), b"\xff\xfe\x00" + b"\xff"):
        text = decoded(data)
        assert first(text) in ("deadlock", "")
    assert first(decoded(words.encode("utf-16"))) == "deadlock"
    coloured = words.replace("all goroutines", "all \x1b[31;1mgoroutines\x1b[0m")
    assert first(decoded(coloured.encode())) == "deadlock"
    # A letter whose lower case is longer shifts all places behind it.
    assert first("İİİ\n" + words) == "deadlock"


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.sampled_from([word for one in SIGNATURES for word in one.words]),
            st.sampled_from(["goroutine 1 [x]:\n", "main.f()\n", "\t/a.go:1 +0x1\n", "\n", "\0"]),
            st.text(max_size=20),
        ),
        max_size=40,
    )
)
def test_any_text_is_diagnosed_without_a_crash(pieces: list[str]) -> None:
    found: Diagnosis = diagnose("".join(pieces))
    json.loads(diagnosis_json(found))
    diagnosis_text(found, True)


def test_the_command(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("noise\nexec /app: exec format error\n")
    text = sampan_go("explain", str(log))
    assert text.returncode == 0
    assert "line 2: exec /app" in text.stdout and "fix: " in text.stdout
    piped = subprocess.run(
        [sys.executable, "-m", "sampan.cli.main", "go", "explain", "--format", "json"],
        input=b"all is well",
        capture_output=True,
        check=False,
    )
    assert piped.returncode == 1 and json.loads(piped.stdout)["known"] is False
    assert sampan_go("explain", str(tmp_path / "none")).returncode == 2
