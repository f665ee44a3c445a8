"""AArch64: the extensions of ARMv8.1 and above, the optional ones of ARMv8.0, and traps.

Source: Arm Architecture Reference Manual for A-profile, C4, "A64 instruction set encoding".
"""

from __future__ import annotations

from typing import Final

from sampan.gobuild.core.isa.pattern import Instruction, Pattern, first

__all__ = ["decode"]

_LSE: Final = "LSE atomics (GOARM64=v8.1 and above, or ,lse)"
_CRYPTO: Final = "cryptographic instructions (GOARM64 with ,crypto)"
_CRC: Final = "CRC-32 instructions (optional in v8.0, GOARM64=v8.1 and above)"
_RCPC: Final = "load-acquire RCpc (GOARM64=v8.3 and above)"
_SVE: Final = "SVE (GOARM64=v9.0 and above; optional in v8.2)"
_FP16: Final = "half precision arithmetic (optional in v8.2)"
_DOT: Final = "dot products (GOARM64=v8.4 and above; optional in v8.2)"
_HASH3: Final = "SHA-512, SHA-3, SM3 or SM4 (optional in v8.2)"
_PAUTH: Final = "pointer authentication (GOARM64=v8.3 and above)"
_COMPLEX: Final = "complex arithmetic (GOARM64=v8.3 and above)"
_MATRIX: Final = "matrix products and bfloat16 (GOARM64=v8.6 and above)"
_MOPS: Final = "memory copy instructions, MOPS (GOARM64=v8.8, v9.3 and above)"
_CSSC: Final = "common short sequences, CSSC (GOARM64=v8.9, v9.4 and above)"
_TRAP: Final = "no processor: it is a trap, put where control must not come"

_TABLE: Final[tuple[Pattern, ...]] = (
    (0xFFFF0000, 0x00000000, "udf", _TRAP),
    (0xFFE0001F, 0xD4200000, "brk", _TRAP),
    (0x3FFFFC00, 0x38BFC000, "ldapr", _RCPC),
    (0x3F200C00, 0x19000000, "ldapur/stlur", "RCpc with offsets (GOARM64=v8.4 and above)"),
    (0x3F20FC00, 0x38208000, "swp", _LSE),
    (0x3F200C00, 0x38200000, "ld<op>", _LSE),
    (0x3FA07C00, 0x08A07C00, "cas", _LSE),
    (0xBFA07C00, 0x08207C00, "casp", _LSE),
    (0xFFFFFC00, 0x4E284800, "aese", _CRYPTO),
    (0xFFFFFC00, 0x4E285800, "aesd", _CRYPTO),
    (0xFFFFFC00, 0x4E286800, "aesmc", _CRYPTO),
    (0xFFFFFC00, 0x4E287800, "aesimc", _CRYPTO),
    (0xFFFF8C00, 0x5E280800, "sha1h/sha1su1/sha256su0", _CRYPTO),
    (0xFFE08C00, 0x5E000000, "sha1/sha256", _CRYPTO),
    (0xBFE0FC00, 0x0EE0E000, "pmull", _CRYPTO),
    (0xFFE0B000, 0xCE608000, "sha512", _HASH3),
    (0xFFFFFC00, 0xCEC08000, "sha512su0", _HASH3),
    (0xFF000000, 0xCE000000, "eor3/bcax/xar/sm3/sm4", _HASH3),
    (0x7FE0E000, 0x1AC04000, "crc32", _CRC),
    (0x1E000000, 0x04000000, "sve", _SVE),
    (0x9E000000, 0x80000000, "sme", "SME (optional in v9.2)"),
    (0x3B200C00, 0x19000400, "cpy/set", _MOPS),
    (0xBF20F400, 0x2E008400, "sqrdmlah/sqrdmlsh", "rounding doubling multiply (GOARM64=v8.1)"),
    (0x9FE0FC00, 0x0E809400, "sdot/udot", _DOT),
    (0x9FC0F400, 0x0F80E000, "sdot/udot", _DOT),
    (0xBF20EC00, 0x2E00E400, "fcadd", _COMPLEX),
    (0xBF20E400, 0x2E00C400, "fcmla", _COMPLEX),
    (0xFFFFFC00, 0x1E7E0000, "fjcvtzs", "conversion as of JavaScript (GOARM64=v8.3 and above)"),
    (0xFF3E7C00, 0x1E284000, "frint32/frint64", "rounding to integers (GOARM64=v8.5 and above)"),
    (0xFFFF7C00, 0x1EE24000, "fcvt", ""),
    (0x7FE00000, 0x1EE00000, "half precision", _FP16),
    (0xFFFFC000, 0xDAC10000, "pac/aut", _PAUTH),
    (0xFEFFF800, 0xD61F0800, "braa/blraa", _PAUTH),
    (0xFFFFFBFF, 0xD65F0BFF, "retaa/retab", _PAUTH),
    (0xFF200400, 0xF8200400, "ldraa/ldrab", _PAUTH),
    (0xFFE0FC00, 0x9AC03000, "pacga", _PAUTH),
    (0xFFFFFFFF, 0xD500401F, "cfinv", "flag manipulation (GOARM64=v8.4 and above)"),
    (0xFFE07C10, 0xBA000400, "rmif", "flag manipulation (GOARM64=v8.4 and above)"),
    (0xFFFFBC1F, 0x3A00080D, "setf8/setf16", "flag manipulation (GOARM64=v8.4 and above)"),
    (0xFFFFFFFF, 0xD50330FF, "sb", "speculation barrier (GOARM64=v8.5 and above)"),
    (0xFF200000, 0xD9200000, "stg/ldg", "memory tagging (optional in v8.5)"),
    (0xDFE0FC00, 0x4E80A400, "smmla/ummla", _MATRIX),
    (0xFFE0FC00, 0x4E80AC00, "usmmla", _MATRIX),
    (0xBFE0FC00, 0x2E40FC00, "bfdot", _MATRIX),
    (0xFFE0FC00, 0x6E40EC00, "bfmmla", _MATRIX),
    (0xFFFFFFC0, 0xD5031000, "wfet/wfit", "waiting with a timeout (GOARM64=v8.7 and above)"),
    (0x7FFFF800, 0x5AC01800, "ctz/cnt", _CSSC),
    (0x7FFFFC00, 0x5AC02000, "abs", _CSSC),
    (0x7FE0F000, 0x1AC06000, "smax/smin/umax/umin", _CSSC),
)
_OPERATIONS: Final = ("add", "clr", "eor", "set", "smax", "smin", "umax", "umin")


def decode(code: bytes, _goarch: str) -> Instruction | None:
    """Return what the four bytes are; None when every ARMv8.0 has it."""
    if len(code) < 4:
        return None
    word = int.from_bytes(code[:4], "little")
    found = first(word, _TABLE)
    if found is None or found.needs != _LSE:
        return found
    return Instruction(_atomic(word, found.name), _LSE)


def _atomic(word: int, family: str) -> str:
    """The mnemonic of an atomic instruction with its order, size and registers."""
    size, source, base, target = word >> 30, word >> 16 & 31, word >> 5 & 31, word & 31
    address = "sp" if base == 31 else f"x{base}"
    if family.startswith("cas"):
        order = ("a" if word & 1 << 22 else "") + ("l" if word & 1 << 15 else "")
        wide = word & 1 << 30 if family == "casp" else size == 3
    else:
        order = ("a" if word & 1 << 23 else "") + ("l" if word & 1 << 22 else "")
        wide = size == 3
        if family == "ld<op>":
            family = "ld" + _OPERATIONS[word >> 12 & 7]
    narrow = ("b", "h", "", "")[size] if family != "casp" else ""
    kind = "x" if wide else "w"
    return (
        f"{family}{order}{narrow} {_register(kind, source)}, {_register(kind, target)}, [{address}]"
    )


def _register(kind: str, number: int) -> str:
    return f"{kind}zr" if number == 31 else f"{kind}{number}"
