"""`sampan go prove`: does a program run on the processor of a device?"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from sampan.base.record import changed
from sampan.gobuild.core.explain.report import (
    diagnosis_json,
    diagnosis_text,
    fault_document,
)
from sampan.gobuild.shell.binaries import inspected
from sampan.gobuild.shell.proof import Proof, prove

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Run the program and print how it went; 1 when it failed or was killed."""
    words = list(arguments)
    own, behind = words, []
    if "--" in words:
        at = words.index("--")
        own, behind = words[:at], words[at + 1 :]
    parser = argparse.ArgumentParser(
        prog="sampan go prove",
        description="Run a Linux program under QEMU's user emulation with the processor of a "
        "device, in a root of its own: without files, processes or network of this machine.",
    )
    parser.add_argument("file", help="the program; its arguments follow behind --")
    parser.add_argument("--on", required=True, metavar="DEVICE")
    parser.add_argument("--root", default="", help="where its loader and libraries are")
    parser.add_argument("--shared", action="store_true", help="let it see files and network here")
    parser.add_argument("--timeout", type=float, default=5, metavar="SECONDS")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    flags = parser.parse_args(own)
    with inspected(flags.file) as found:
        proof = prove(found[0], flags.on, behind, flags.root, flags.timeout, not flags.shared)
    print(_json(proof) if flags.format == "json" else _text(flags.file, proof))
    return int(not proof.fine)


def _outcome(proof: Proof) -> str:
    if proof.outcome == "running":
        return "starts and keeps running"
    if proof.outcome == "killed":
        return f"killed by {proof.signal}"
    return f"exits with {proof.exit_code}"


def _text(path: str, proof: Proof) -> str:
    model = f"qemu-{proof.model.emulator} -cpu {proof.model.processor}"
    nearly = "" if proof.model.exact else ", which stands for it"
    parts = [f"{path} on {proof.device} ({model}{nearly}): {_outcome(proof)}"]
    parts += [f"  | {line}" for line in proof.output.splitlines()[-10:]]
    if proof.fault:
        parts.append(f"{proof.fault_signal} at {proof.fault}")
    if proof.shared:
        parts.append(f"not isolated: {proof.shared}")
    if proof.predicted:
        parts.append(f"expected: {proof.device} {proof.predicted}")
    if proof.diagnosis:
        parts.append(diagnosis_text(changed(proof.diagnosis, fault=None), False))
    return "\n".join(parts)


def _json(proof: Proof) -> str:
    document = {
        "device": proof.device,
        "processor": proof.model.processor,
        "exact": proof.model.exact,
        "fine": proof.fine,
        "outcome": proof.outcome,
        "exit_code": proof.exit_code,
        "signal": proof.signal,
        "output": proof.output,
        "predicted": proof.predicted,
        "fault": proof.fault and {"signal": proof.fault_signal, **fault_document(proof.fault)},
        "not_isolated": proof.shared,
        "diagnosis": json.loads(diagnosis_json(proof.diagnosis)) if proof.diagnosis else None,
    }
    return json.dumps(document, indent=1)
