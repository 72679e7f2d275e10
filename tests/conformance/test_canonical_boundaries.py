"""Every rule at its boundary, not by chance: each scalar, discriminant and pointer beside its limits, against wasmtime."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from conformance.verdicts import on_argument, on_result
from guesthouse.engine.types import (
    EnumType,
    FlagsType,
    ListType,
    OptionType,
    Primitive,
    RecordType,
    ResultType,
    TupleType,
    Type,
    VariantType,
)
from guesthouse.engine.values import Ok

PAGE = 65536
P = Primitive
SCALARS = {
    "bool": False, "s8": 0, "u8": 0, "s16": 0, "u16": 0, "s32": 0, "u32": 0, "s64": 0, "u64": 0, "f32": 0.0,
    "f64": 0.0, "char": "a",
}  # fmt: skip
CELLS = [0, 1, 2, 3, 0x7F, 0x80, 0xFF, 0x100, 0x1FF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0xD7FF, 0xD800, 0xDFFF, 0xE000]
CELLS += [0x10FFFF, 0x110000, 0x3F800000, 0x7F800000, 0x7FA00001, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
CELLS += [0x1_0000_0041, 0x7FF0_0000_0000_0000, 0x7FF4_0000_0000_0001, 0x8000_0000_0000_0000, 0xFFFF_FFFF_FFFF_FFFF]
JOINED = VariantType((*((f"c{n}", P(name)) for n, name in enumerate(SCALARS)), ("none", None)))
FLAGS = [FlagsType(tuple(f"f{n}" for n in range(count))) for count in (1, 3, 6, 7, 8, 9, 16, 17, 31, 32)]
ENUMS = [EnumType(tuple(f"e{n}" for n in range(count))) for count in (1, 3, 255, 256, 257)]
DISCRIMINATED = [
    OptionType(P("u8")),
    OptionType(OptionType(P("u8"))),
    ResultType(P("u8"), None),
    ResultType(None, None),
    VariantType((("a", None), ("b", P("u64")), ("c", P("f32")), ("d", P("u64")))),
]


def cell_of(value: int) -> bytes:
    return struct.pack("<Q", value)


@pytest.mark.parametrize("name", SCALARS)
def test_scalars_mean_the_same_flat_and_in_memory(name: str) -> None:
    """All interesting bits as a core value, as a flat parameter, and in memory."""
    pair = TupleType((P(name), P(name)))
    for bits in CELLS:
        for mine, theirs in (
            on_result(P(name), cell_of(bits)),
            on_argument(P(name), cell_of(bits) * 2, SCALARS[name]),
            on_result(pair, cell_of(64) + bytes(56) + cell_of(bits) * 2),
        ):
            assert mine == theirs, hex(bits)


@pytest.mark.parametrize("case", range(len(SCALARS) + 2))
def test_joined_payloads_mean_the_same(case: int) -> None:
    """Each case of a variant that joins everything to i64, with all interesting bits, flat and in memory."""
    for bits in CELLS:
        flat = cell_of(case) + cell_of(bits) + cell_of(2048)
        for mine, theirs in (
            on_argument(JOINED, flat, ("none", None)),
            on_result(JOINED, cell_of(64) + bytes(56) + cell_of(case) + cell_of(bits)),
        ):
            assert mine == theirs, hex(bits)


@pytest.mark.parametrize("kind", [*FLAGS, *ENUMS], ids=lambda kind: str(kind)[-12:])
def test_flags_and_enums_mean_the_same(kind: FlagsType | EnumType) -> None:
    """Unnamed bits, and numbers without a case, flat and in memory."""
    answer: Any = frozenset() if isinstance(kind, FlagsType) else kind.cases[0]
    for bits in CELLS[:25]:
        for mine, theirs in (
            on_result(kind, cell_of(bits)),
            on_argument(kind, cell_of(bits), answer),
            on_result(TupleType((kind, P("u64"))), cell_of(64) + bytes(56) + cell_of(bits) + bytes(16)),
        ):
            assert mine == theirs, hex(bits)


@pytest.mark.parametrize("kind", DISCRIMINATED, ids=str)
def test_discriminants_mean_the_same(kind: Type) -> None:
    """Numbers beside the last case, as a byte in memory (which is all that counts there) and as a whole core value."""
    answer: Any = ("a", None) if isinstance(kind, VariantType) else Ok(1 if kind == DISCRIMINATED[2] else None)
    answer = None if isinstance(kind, OptionType) else answer
    for outer in CELLS[:20]:
        for inner in (0, 1, 2, 0x100, 0x101):
            both = cell_of(outer) + cell_of(inner) + cell_of(2048) * 2
            image = cell_of(64) + bytes(56) + struct.pack("<BB6xQ", outer & 0xFF, inner & 0xFF, 7)
            for mine, theirs in (on_argument(kind, both, answer), on_result(kind, image)):
                assert mine == theirs, (outer, inner)


POINTED = [
    P("string"),
    ListType(P("u8")),
    ListType(P("s16")),
    ListType(P("u64")),
    ListType(P("char")),
    ListType(P("bool")),
    ListType(P("string")),
    ListType(RecordType((("a", P("u64")), ("b", P("u8"))))),
    ListType(TupleType((P("u16"), P("u8")))),
    ListType(ListType(P("u8"))),
]
POINTERS = [0, 1, 2, 4, 8, PAGE - 17, PAGE - 16, PAGE - 15, PAGE - 9, PAGE - 8, PAGE - 7, PAGE - 4, PAGE - 2]
POINTERS += [PAGE - 1, PAGE, PAGE + 1, PAGE + 8, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF8, 0xFFFFFFFF]
LENGTHS = [0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 18, 0x10000000, 0x1FFFFFFF, 0x20000000, 0x7FFFFFFF]
LENGTHS += [0x80000000, 0xFFFFFFFF]


@pytest.mark.parametrize("kind", POINTED, ids=str)
def test_pointers_and_lengths_mean_the_same(kind: Type) -> None:
    """Around the end of memory, at every alignment, and where pointer plus length wraps around."""
    for pointer in POINTERS:
        for length in LENGTHS:
            image = cell_of(64) + bytes(56) + struct.pack("<II", pointer, length)
            mine, theirs = on_result(kind, image)
            assert mine == theirs, (hex(pointer), hex(length))


@pytest.mark.parametrize("kind", [TupleType((P("u64"), P("u8"))), TupleType((P("u8"), P("u16"), P("u16")))], ids=str)
def test_result_pointers_mean_the_same(kind: Type) -> None:
    """The pointer to a result itself, around the end of memory and at every alignment."""
    for pointer in POINTERS:
        mine, theirs = on_result(kind, struct.pack("<Q", pointer))
        assert mine == theirs, hex(pointer)


TEXTS = ["c328", "eda080", "c080", "f09f98", "f09f9880", "ff", "fe", "c3a9", "edbfbf", "f4908080", "f48fbfbf", "00"]
TEXTS += [
    "e28082",
    "80",
    "c1bf",
    "e08080",
    "f0808080",
    "ee8080",
    "efbfbf",
    "61c3",
    "61c3a962",
    "efbbbf61",
    "f880808080",
]


@pytest.mark.parametrize("text", TEXTS)
def test_strings_mean_the_same(text: str) -> None:
    """Broken, overlong and surrogate UTF-8, and text at the edges of what is valid."""
    data = bytes.fromhex(text)
    image = cell_of(64) + bytes(56) + struct.pack("<II", 72, len(data)) + data
    mine, theirs = on_result(P("string"), image)
    assert mine == theirs
