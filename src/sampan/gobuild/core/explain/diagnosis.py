"""Ranking the causes that a text allows, with the lines that speak for them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from sampan.base.record import changed, record
from sampan.gobuild.core.binary.inspection import Inspection
from sampan.gobuild.core.explain.building import BUILDING
from sampan.gobuild.core.explain.fault import (
    Disassembler,
    Fault,
    code_at,
    fault_at,
    printed_address,
)
from sampan.gobuild.core.explain.instruction import printed_bytes
from sampan.gobuild.core.explain.running import RUNNING
from sampan.gobuild.core.explain.signature import Signature
from sampan.gobuild.core.explain.starting import STARTING
from sampan.gobuild.core.explain.trace import Trace, read_trace
from sampan.gobuild.core.levels import LEVELS

__all__ = ["SIGNATURES", "Cause", "Diagnosis", "diagnose"]

SIGNATURES: Final = (*STARTING, *BUILDING, *RUNNING)
_HITS: Final = 2000
_SHOWN: Final = 3
_COLLECT: Final = (
    "the whole standard error from the first line, with GOTRACEBACK=all",
    "`sampan go inspect` of the program, or --binary PROGRAM here",
    "`uname -a` and /proc/cpuinfo of the machine; the image and its platform",
    "`kubectl describe pod`, `docker inspect` (exit code), and `dmesg` of that time",
)


@record
class Cause:
    """A possible cause. `weight` is 0 to 100; `evidence` speaks for it, `against` does not."""

    rule: str
    weight: int
    summary: str
    remedy: str
    evidence: tuple[str, ...]
    against: tuple[str, ...] = ()
    check: str = ""

    @property
    def sure(self) -> str:
        """How sure it is, in a word."""
        return "certain" if self.weight >= 95 else "likely" if self.weight >= 70 else "possible"


@record
class Diagnosis:
    """Causes, the surest first. `collect` says what is needed when nothing decides.

    `fault` is the instruction that failed, as far as it is known.
    """

    causes: tuple[Cause, ...]
    trace: Trace
    collect: tuple[str, ...]
    fault: Fault | None = None

    @property
    def known(self) -> bool:
        """Whether there is a cause that is more than possible."""
        return bool(self.causes) and self.causes[0].weight >= 70


def diagnose(
    text: str,
    binary: Inspection | None = None,
    fault: Fault | None = None,
    disassembler: Disassembler | None = None,
) -> Diagnosis:
    """Return what a log says of the cause; with the program, what that says too.

    `fault` is where it stopped, when that was seen; else it is taken from the text.
    """
    lower = text.lower()
    trace = read_trace(text)
    fault = fault or _printed_fault(text, trace, binary, disassembler)
    found: dict[str, Cause] = {}
    for signature in SIGNATURES:
        cause = _matched(signature, text, lower)
        if cause and cause.weight > (found[cause.rule].weight if cause.rule in found else -1):
            found[cause.rule] = cause
    causes = [_by_instruction(_by_binary(one, binary), fault) for one in found.values()]
    causes = [one for one in causes if one.weight > 0]
    causes.sort(key=lambda one: -one.weight)
    known = bool(causes) and causes[0].weight >= 70
    return Diagnosis(tuple(causes), trace, () if known else _COLLECT, fault)


def _printed_fault(
    text: str, trace: Trace, binary: Inspection | None, disassembler: Disassembler | None
) -> Fault | None:
    """What Go or the kernel printed of the instruction, with what the program has there."""
    code, address = printed_bytes(text), printed_address(text)
    goarch = binary.goarch if binary else trace.goarch
    executable = binary.executable if binary else None
    if executable and address is not None and not code:
        code = code_at(executable, address)
    if not code and (address is None or executable is None):
        return None
    return fault_at(executable, goarch, address or 0, code, disassembler)


def _matched(signature: Signature, text: str, lower: str) -> Cause | None:
    if any(word not in lower for word in signature.also):
        return None
    pattern = re.compile(signature.pattern, re.IGNORECASE) if signature.pattern else None
    evidence: list[str] = []
    for word in signature.words:
        for line, number in _lines_with(word, text, lower):
            if any(other in line.lower() for other in signature.unless):
                continue
            if pattern and not pattern.search(line):
                continue
            shown = f"line {number}: {line.strip()[:200]}"
            if shown not in evidence:
                evidence.append(shown)
            if len(evidence) == _SHOWN:
                break
    if not evidence:
        return None
    return Cause(
        signature.rule,
        signature.weight,
        signature.cause,
        signature.remedy,
        tuple(evidence),
        check=signature.check,
    )


def _lines_with(word: str, text: str, lower: str) -> Iterator[tuple[str, int]]:
    """The lines that contain a word, and their numbers; at most 2000, each cut at 2000."""
    # Lower case may change the length of exotic letters; the places then cannot be trusted.
    source = text if len(text) == len(lower) else lower
    at = lower.find(word)
    number, counted = 1, 0
    for _ in range(_HITS):
        if at < 0:
            return
        start = lower.rfind("\n", 0, at) + 1
        end = lower.find("\n", at)
        end = len(lower) if end < 0 else end
        number += lower.count("\n", counted, start)
        counted = start
        yield source[max(start, at - 1000) : min(end, at + 1000)], number
        at = lower.find(word, end)


def _by_instruction(cause: Cause, fault: Fault | None) -> Cause:
    """A fault whose instruction is known is certain when the instruction tells its level."""
    if cause.rule != "illegal-instruction" or fault is None:
        return cause
    code = fault.code[:8].hex(" ")
    named = f" ({fault.text})" if fault.text else ""
    if fault.needs.startswith("no processor"):
        seen = f"the instruction {code}{named} is of {fault.needs}"
        return changed(cause, weight=min(cause.weight, 60), against=(*cause.against, seen))
    if fault.needs:
        seen = f"the instruction {code}{named} is of {fault.needs}"
        return changed(cause, weight=98, evidence=(*cause.evidence, seen))
    return cause


def _by_binary(cause: Cause, binary: Inspection | None) -> Cause:
    """Let the program confirm or contradict."""
    look = _LOOKS.get(cause.check)
    if binary is None or look is None:
        return cause
    gain, words = look(binary)
    weight = max(5, min(99, cause.weight + gain))
    if gain < 0:
        return changed(cause, weight=weight, against=(*cause.against, words))
    return changed(cause, weight=weight, evidence=(*cause.evidence, words))


def _platform(binary: Inspection) -> tuple[int, str]:
    return 2, f"the program is for {binary.goos or 'unknown'}/{binary.goarch}"


def _loader(binary: Inspection) -> tuple[int, str]:
    loader = binary.executable.interpreter
    return (20, f"the program asks for {loader}") if loader else (-60, "the program has no loader")


def _glibc(binary: Inspection) -> tuple[int, str]:
    if binary.glibc:
        return 1, f"the program needs glibc {binary.glibc}"
    return -60, "the program needs no glibc"


def _libraries(binary: Inspection) -> tuple[int, str]:
    needed = binary.executable.needed
    return (1, f"the program needs {', '.join(needed)}") if needed else (-60, "it needs no library")


def _alignment(binary: Inspection) -> tuple[int, str]:
    alignment = binary.executable.alignment
    said = f"its segments are aligned to {alignment} bytes"
    return (2, said) if alignment < 0x10000 else (-40, said)


def _level(binary: Inspection) -> tuple[int, str]:
    known = LEVELS.get(binary.goarch)
    if known is None or not binary.level.level:
        return 0, f"the level of the program is not known ({binary.goarch})"
    said = f"the code of the program is {known.variable}={binary.level.level} ({binary.level.sure})"
    lowest = binary.level.level in (known.values[0], f"{known.values[0]},softfloat")
    return (-30, f"{said}, the lowest") if lowest else (15, said)


def _cgo_off(binary: Inspection) -> tuple[int, str]:
    return (0, "the program has no cgo") if binary.cgo == "no" else (-60, "the program has cgo")


def _word_size(binary: Inspection) -> tuple[int, str]:
    bits = binary.executable.bits
    return (0 if bits == 32 else -20), f"the program has {bits} bits"


_LOOKS: Final[Mapping[str, Callable[[Inspection], tuple[int, str]]]] = {
    "platform": _platform,
    "loader": _loader,
    "glibc": _glibc,
    "libraries": _libraries,
    "alignment": _alignment,
    "level": _level,
    "cgo-off": _cgo_off,
    "word-size": _word_size,
}
