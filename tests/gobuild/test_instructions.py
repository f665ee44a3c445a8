"""Which instruction is of which extension: encodings by the manuals, and what is ordinary."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.gobuild.core.isa.instruction import decode
from sampan.gobuild.core.levels import LEVELS

WORDS = [
    ("arm64", 0xB8E103E0, "ldaddal w1, w0, [sp]", "LSE"),
    ("arm64", 0x88FBFC83, "casal w27, w3, [x4]", "LSE"),
    ("arm64", 0xF8208041, "swp x0, x1, [x2]", "LSE"),
    ("arm64", 0x48207C82, "casp x0, x2, [x4]", "LSE"),
    ("arm64", 0x38BFC020, "ldapr", "v8.3"),
    ("arm64", 0x4E284800, "aese", "crypto"),
    ("arm64", 0x5E004020, "sha1/sha256", "crypto"),
    ("arm64", 0x1AC04020, "crc32", "CRC-32"),
    ("arm64", 0x04204000, "sve", "SVE"),
    ("arm64", 0x19010440, "cpy/set", "MOPS"),
    ("arm64", 0xCE608000, "sha512", "SHA-512"),
    ("arm64", 0x1EE02800, "half precision", "v8.2"),
    ("arm64", 0x4E849400, "sdot/udot", "dot products"),
    ("arm64", 0xD4200000, "brk", "a trap"),
    ("arm", 0xE300102A, "movw", "GOARM=7"),
    ("arm", 0xE34A1BCD, "movt", "GOARM=7"),
    ("arm", 0xF57FF05B, "dmb", "GOARM=7"),
    ("arm", 0xE1B20F9F, "ldrexd", "GOARM=7"),
    ("arm", 0xE1921F9F, "ldrex", "ARMv6"),
    ("arm", 0xEE300B01, "vfp", "GOARM=6"),
    ("arm", 0xF2000840, "neon", "NEON"),
    ("arm", 0xE710F110, "sdiv/udiv", "division"),
    ("riscv64", 0x20B52533, "sh1add", "rva22u64"),
    ("riscv64", 0x40B57533, "andn", "Zbb"),
    ("riscv64", 0x0EB55533, "czero.eqz", "rva23u64"),
    ("riscv64", 0x02008057, "vector arithmetic", "rva23u64"),
    ("ppc64le", 0x7C630474, "cnttzd", "power9"),
    ("ppc64le", 0xF4030011, "lxv", "power9"),
    ("ppc64le", 0x06100000, "a prefixed instruction", "power10"),
    ("mipsle", 0x46000000, "cop1", "hardfloat"),
]
BYTES = [
    ("amd64", "62f17c481000", "an AVX-512 instruction", "v4"),
    ("amd64", "c5fdfec1", "an AVX2 instruction", "AVX2"),
    ("amd64", "c5f858c1", "an AVX instruction", "AVX (GOAMD64=v3)"),
    ("amd64", "c4e2f0f2c2", "andn", "BMI1"),
    ("amd64", "c4e2fbf6c1", "mulx", "BMI2"),
    ("amd64", "c4e2f198c2", "vfmadd", "FMA"),
    ("amd64", "f3480fb8c1", "popcnt", "v2"),
    ("amd64", "f30fbdc1", "lzcnt", "v3"),
    ("amd64", "660f3a0fc108", "palignr", "SSSE3"),
    ("amd64", "660f3817c1", "sse4.1", "SSE4.1"),
    ("amd64", "f20f38f1c1", "crc32", "SSE4.2"),
    ("amd64", "480f38f000", "movbe", "MOVBE"),
    ("amd64", "f0480fc70f", "cmpxchg16b", "v2"),
    ("amd64", "660f38dcc1", "aes", "in no level"),
    ("amd64", "0f0b", "ud2", "a trap"),
]
ORDINARY = [
    ("arm64", (0x885FFC20).to_bytes(4, "little")),  # ldaxr w0, [x1]
    ("arm64", (0x1EE24000).to_bytes(4, "little")),  # fcvt s0, h0, which v8.0 has
    ("arm", (0xE3A00000).to_bytes(4, "little")),
    ("riscv64", (0x00B50533).to_bytes(4, "little")),
    ("ppc64le", (0x7C632214).to_bytes(4, "little")),
    ("amd64", bytes.fromhex("f20f58c1")),  # addsd
    ("386", bytes.fromhex("c500")),  # lds, where amd64 has VEX
]


@pytest.mark.parametrize(("goarch", "word", "name", "needs"), WORDS)
def test_a_word_is_of_its_extension(goarch: str, word: int, name: str, needs: str) -> None:
    found = decode(word.to_bytes(4, "little"), goarch)
    assert found and found.name == name and needs in found.needs


@pytest.mark.parametrize(("goarch", "code", "name", "needs"), BYTES)
def test_an_instruction_of_x86_is_of_its_extension(
    goarch: str, code: str, name: str, needs: str
) -> None:
    found = decode(bytes.fromhex(code), goarch)
    assert found and found.name == name and needs in found.needs


@pytest.mark.parametrize(("goarch", "code"), ORDINARY)
def test_what_every_processor_has_decides_nothing(goarch: str, code: bytes) -> None:
    assert decode(code, goarch) is None


def test_big_endian_words_are_read_as_such() -> None:
    assert decode((0x7C630474).to_bytes(4, "big"), "ppc64") is not None
    assert decode((0x46000000).to_bytes(4, "big"), "mips") is not None


@given(st.binary(max_size=16), st.sampled_from([*LEVELS, "s390x"]))
def test_any_bytes_are_decoded_or_not(code: bytes, goarch: str) -> None:
    decode(code, goarch)
