"""The traps of lifting, which lift.c calls.

Messages name the rule that the guest broke, with numbers; never text of the guest's.
"""

from __future__ import annotations

from typing import NoReturn

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


def bad_text(data: bytes) -> NoReturn:
    """Traps for a string that is not UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise _trap(f"string is not valid UTF-8 at its byte {error.start}") from None
    raise AssertionError("the string is valid")


TRAPS = (bad_pointer, over_budget, bad_case, bad_char, bad_text)
"""In the order of `trap_kind` of lift.c."""
