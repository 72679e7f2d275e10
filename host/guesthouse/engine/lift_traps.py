"""What generated lifting code calls where values need more than an expression: the traps, and conversions of bits.

Messages name the rule that the guest broke, with numbers; never text of the guest's.
"""

from __future__ import annotations

from struct import pack, unpack
from typing import Any, NoReturn

from guesthouse.engine.values import Err, Ok, Some
from guesthouse.errors import Trap


def _trap(message: str) -> Trap:
    return Trap(message, "canonical-abi")


def bad_pointer(pointer: int, size: int, align: int, end: int) -> NoReturn:
    """Traps for an address that is unaligned or out of bounds."""
    if pointer & (align - 1):
        raise _trap(f"pointer {pointer:#x} is not aligned to {align}")
    raise _trap(f"pointer {pointer:#x} with {size} bytes lies outside the memory of {end} bytes")


def over_budget() -> NoReturn:
    """Traps for more bytes than the guest may have lifted."""
    raise Trap("the values are larger than what may be lifted out of the guest", "lift-budget")


def bad_case(discriminant: int, cases: int) -> NoReturn:
    """Traps for a discriminant without a case."""
    raise _trap(f"discriminant {discriminant} is out of range: there are {cases} cases")


def bad_char(scalar: int) -> NoReturn:
    """Traps for a char that is no Unicode scalar value."""
    raise _trap(f"char {scalar:#x} is not a Unicode scalar value")


def bad_text(error: UnicodeDecodeError) -> Trap:
    """The trap for a string that is not UTF-8."""
    return _trap(f"string is not valid UTF-8 at its byte {error.start}")


def chars(codes: list[int]) -> list[str]:
    """Unicode scalar values as strings; traps for others."""
    for code in codes:
        if code > 0x10FFFF or 0xD800 <= code < 0xE000:
            bad_char(code)
    return list(map(chr, codes))


def float_of(bits: int) -> float:
    """The f32 whose bits lie in a joined i32 or i64."""
    value: float = unpack("<f", pack("<I", bits & 0xFFFFFFFF))[0]
    return value


def double_of(bits: int) -> float:
    """The f64 whose bits lie in a joined i64."""
    value: float = unpack("<d", pack("<Q", bits))[0]
    return value


def decode_floats(values: list[Any], letters: str) -> None:
    """Core values come as bits; puts floats in the place of those that are floats by their letter."""
    for index, letter in enumerate(letters):
        if letter in "fF":
            values[index] = (float_of if letter == "f" else double_of)(values[index])


LIFT_NAMES: dict[str, Any] = {
    function.__name__: function
    for function in (bad_pointer, over_budget, bad_case, bad_char, bad_text, chars, float_of, double_of)
} | {"new": tuple.__new__, "view": memoryview, "Ok": Ok, "Err": Err, "Some": Some}
"""What generated lifting code can see, besides its own constants."""
