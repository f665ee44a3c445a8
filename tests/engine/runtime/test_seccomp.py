"""Filters, run by a small interpreter of classic BPF and compared with what the rules say."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.base.errors import InvalidError, UnsupportedError
from sampan.engine.runtime.core.capability import ALL, DEFAULT
from sampan.engine.runtime.core.seccomp import compile_filter, filter_flags
from sampan.engine.runtime.core.seccomp_default import ALWAYS, default_profile, docker_profile
from sampan.engine.runtime.core.seccomp_profile import parse_profile, resolve
from sampan.engine.runtime.core.syscall_table import NUMBERS, X32_NUMBERS

X86_64, X86, AARCH64 = 0xC000003E, 0x40000003, 0xC00000B7
ALLOW, EPERM, ENOSYS, KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000
NAMES = NUMBERS["x86_64"]


def verdict(program: bytes, token: int, number: int, args: tuple[int, ...] = ()) -> int:
    """Run the program over one `struct seccomp_data`."""
    padded = (*args, 0, 0, 0, 0, 0, 0)[:6]
    data = struct.pack("=IIQ6Q", number, token, 0, *padded)
    accumulator, at = 0, 0
    while True:
        code, yes, no, value = struct.unpack_from("=HBBI", program, at * 8)
        at += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", data, value)
            case 0x54:
                accumulator &= value
            case 0x05:
                at += value
            case 0x15:
                at += yes if accumulator == value else no
            case 0x25:
                at += yes if accumulator > value else no
            case 0x35:
                at += yes if accumulator >= value else no
            case 0x06:
                return int(value)
            case _:
                raise AssertionError(f"unknown instruction {code:#x}")


def profile(*rules: dict[str, Any]) -> dict[str, Any]:
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32", "SCMP_ARCH_X86"],
        "syscalls": list(rules),
    }


COMPARE = {
    "NE": lambda a, v, w: a != v,
    "EQ": lambda a, v, w: a == v,
    "LT": lambda a, v, w: a < v,
    "LE": lambda a, v, w: a <= v,
    "GE": lambda a, v, w: a >= v,
    "GT": lambda a, v, w: a > v,
    "MASKED_EQ": lambda a, v, w: a & v == w,
}
words = st.sampled_from([0, 1, 5, 0xFFFFFFFF, 0x100000000, 0x100000005, 0xFFFFFFFFFFFFFFFF]) | (
    st.integers(0, (1 << 64) - 1)
)
conditions = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from(sorted(COMPARE)), words, words),
    min_size=1,
    max_size=3,
)


@given(st.lists(conditions, min_size=1, max_size=4), st.lists(words, min_size=6, max_size=6))
def test_arguments_are_compared_as_the_rules_say(
    rules: list[list[tuple[int, str, int, int]]], args: list[int]
) -> None:
    program = compile_filter(
        profile(
            *(
                {
                    "names": ["socket"],
                    "action": "SCMP_ACT_ALLOW",
                    "args": [
                        {"index": i, "op": f"SCMP_CMP_{op}", "value": v, "valueTwo": w}
                        for i, op, v, w in rule
                    ],
                }
                for rule in rules
            )
        )
    )
    holds = any(
        # An argument that is compared twice makes the comparisons alternatives.
        (all if len({i for i, *_ in rule}) == len(rule) else any)(
            COMPARE[op](args[i], v, w) for i, op, v, w in rule
        )
        for rule in rules
    )
    found = verdict(program, X86_64, NAMES["socket"], tuple(args))
    assert found == (ALLOW if holds else EPERM)


@given(st.sets(st.sampled_from(sorted(NAMES)), max_size=60))
def test_every_number_gets_its_verdict(allowed: set[str]) -> None:
    program = compile_filter(profile({"names": sorted(allowed), "action": "SCMP_ACT_ALLOW"}))
    newest = max((NAMES[name] for name in allowed), default=max(NAMES.values()))
    for name, number in NAMES.items():
        refused = ENOSYS if number > newest else EPERM
        assert verdict(program, X86_64, number) == (ALLOW if name in allowed else refused), name
    assert verdict(program, AARCH64, NAMES["read"]) == KILL


def test_docker_s_default_policy() -> None:
    found = default_profile(DEFAULT, "amd64")
    assert found is not None
    program = compile_filter(found)
    assert len(ALWAYS) == len(set(ALWAYS)) == 361
    assert len(docker_profile()["syscalls"]) == 33
    assert (found["defaultAction"], found["defaultErrnoRet"]) == ("SCMP_ACT_ERRNO", 1)
    for name in ("read", "execve", "ptrace", "chroot", "socketpair", "clone"):
        assert verdict(program, X86_64, NAMES[name]) == ALLOW, name
    for name in ("mount", "bpf", "unshare", "setns", "reboot", "kexec_load", "add_key", "acct"):
        assert verdict(program, X86_64, NAMES[name]) == EPERM, name
    assert verdict(program, X86_64, NAMES["clone"], (0x10000000,)) == EPERM
    assert verdict(program, X86_64, NAMES["clone3"]) == ENOSYS
    assert verdict(program, X86_64, NAMES["socket"], (40,)) == EPERM
    assert verdict(program, X86_64, NAMES["socket"], (38,)) == EPERM
    for family in (1, 2, 16, 39, 44):
        assert verdict(program, X86_64, NAMES["socket"], (family,)) == ALLOW
    assert verdict(program, X86_64, NAMES["personality"], (0xFFFFFFFF,)) == ALLOW
    assert verdict(program, X86_64, NAMES["personality"], (4,)) == EPERM
    assert verdict(program, X86_64, NAMES["read"] | 0x40000000) == ALLOW
    assert verdict(program, X86, NUMBERS["x86"]["mount"]) == EPERM
    assert verdict(program, X86, NUMBERS["x86"]["socketcall"]) == ALLOW


def test_capabilities_open_what_they_are_for() -> None:
    found = default_profile(ALL, "amd64")
    assert found is not None
    program = compile_filter(found)
    for name in ("mount", "bpf", "unshare", "clone3", "reboot", "settimeofday"):
        assert verdict(program, X86_64, NAMES[name]) == ALLOW, name


def test_what_cannot_be_compiled() -> None:
    with pytest.raises(UnsupportedError, match="NOTIFY"):
        compile_filter({"defaultAction": "SCMP_ACT_NOTIFY"})
    with pytest.raises(InvalidError, match="unknown action"):
        compile_filter({"defaultAction": "SCMP_ACT_SMILE"})
    with pytest.raises(InvalidError, match=r"\$.linux.seccomp: KeyError: 'defaultAction'"):
        compile_filter({})
    with pytest.raises(InvalidError, match="SCMP_ARCH_VAX"):
        compile_filter({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_VAX"]})


def test_calls_newer_than_the_profile_are_unknown_not_forbidden() -> None:
    rule = {"names": ["statx"], "action": "SCMP_ACT_ALLOW"}
    program = compile_filter(profile(rule))
    assert verdict(program, X86_64, NAMES["rseq"]) == ENOSYS
    assert verdict(program, X86_64, NAMES["bpf"]) == EPERM
    open_filter = profile({"names": ["statx"], "action": "SCMP_ACT_ERRNO"})
    program = compile_filter({**open_filter, "defaultAction": "SCMP_ACT_ALLOW"})
    assert verdict(program, X86_64, NAMES["rseq"]) == ALLOW
    assert verdict(program, X86_64, NAMES["statx"]) == EPERM


def test_another_abi_is_no_way_around_a_rule() -> None:
    rule = {"names": ["ptrace"], "action": "SCMP_ACT_ERRNO"}
    document = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    x32 = 0x40000000
    program = compile_filter({**document, "architectures": ["SCMP_ARCH_X86_64"]})
    assert verdict(program, X86_64, NAMES["ptrace"]) == EPERM
    assert verdict(program, X86_64, NAMES["ptrace"] | x32) == KILL
    assert verdict(program, X86, NUMBERS["x86"]["ptrace"]) == KILL
    both = {**document, "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"]}
    program = compile_filter(both)
    assert verdict(program, X86_64, NAMES["ptrace"] | x32) == EPERM
    assert verdict(program, X86_64, X32_NUMBERS["ptrace"] | x32) == EPERM
    assert verdict(program, X86_64, NAMES["read"] | x32) == ALLOW


def test_a_rule_that_repeats_the_default_says_nothing() -> None:
    same = {"names": ["socket"], "action": "SCMP_ACT_ERRNO"}
    inet = {"index": 0, "op": "SCMP_CMP_EQ", "value": 2}
    allowed = {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [inet]}
    program = compile_filter(profile(same, allowed))
    assert verdict(program, X86_64, NAMES["socket"], (2,)) == ALLOW
    assert verdict(program, X86_64, NAMES["socket"], (1,)) == EPERM


def test_flags_of_a_filter() -> None:
    assert filter_flags({}) == 0
    assert filter_flags({"flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"]}) == 2
    with pytest.raises(InvalidError, match="FLAG_SING"):
        filter_flags({"flags": ["SECCOMP_FILTER_FLAG_SING"]})


def test_a_user_s_profile_in_docker_s_form() -> None:
    text = """{"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"],
      "syscalls": [
        {"name": "read", "action": "SCMP_ACT_ALLOW"},
        {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["chroot"], "action": "SCMP_ACT_ALLOW", "excludes": {"arches": ["amd64"]}},
        {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "99.0"}}
      ]}"""
    found = resolve(parse_profile(text), DEFAULT, "amd64", (6, 1))
    assert found is not None
    assert [rule["names"] for rule in found["syscalls"]] == [["read"]]
    assert found["architectures"] == ["SCMP_ARCH_X86_64"]
    assert resolve(parse_profile("{}"), DEFAULT, "amd64", (6, 1)) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no", "Decoding seccomp profile failed"),
        ("[]", "expected an object"),
        (
            '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "a", "names": ["b"]}]}',
            "both 'name' and 'names' are specified in the seccomp profile",
        ),
        (
            '{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["a"], "archMap": [{}]}',
            "both 'architectures' and 'archMap' are specified",
        ),
    ],
)
def test_a_wrong_profile_is_answered_in_docker_s_words(text: str, message: str) -> None:
    with pytest.raises(InvalidError, match=message):
        resolve(parse_profile(text), (), "amd64", (6, 1))
