"""Our canonical ABI and wasmtime's component model agree: same bytes written, same values read, same verdict on nonsense.

`TEST_SOAK=1` tries a hundred times more.  Run alone, this is the test to change the code generators by.
"""

from __future__ import annotations

import os
import struct
from typing import Any

from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from conformance.oracle import HEAP, PAGE, RESULT_CELL, oracle
from conformance.verdicts import arguments_in, on_argument, on_result, plain, signature_of
from guesthouse.engine.canonical import Signature
from guesthouse.engine.layout import Layout
from guesthouse.engine.types import EnumType, Primitive, TupleType, Type, VariantType
from unit.fake_guest import FakeGuest
from unit.wit_strategies import typed_values, values

EXAMPLES = 15_000 if os.environ.get("TEST_SOAK") else 150
IMAGE = 1024
"""Where what a value points to lies in a guest's image; the value itself lies lower."""
VALUE_AT = 64
ANSWER_AT = 2048
INTERESTING = [0, 1, 2, 3, 4, 5, 8, 31, 0x7F, 0x80, 0xFF, 0x100, 0x101, 0x7FFF, 0x8000, VALUE_AT, IMAGE, PAGE, PAGE - 8]
INTERESTING += [0xD7FF, 0xD800, 0xDFFF, 0xE000, 0x10FFFF, 0x110000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF8, 0xFFFFFFFF]

UNEVEN = VariantType((("a", TupleType((Primitive("u8"),) * 7)), ("b", Primitive("u32"))))
"""The largest case and the most aligned one are not the same."""

oracled = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
two_values = typed_values.flatmap(lambda case: st.tuples(st.just(case[0]), st.just(case[1]), values(case[0])))


def write_arguments(guest: FakeGuest, kind: Type, value: Any) -> Signature:
    """Lowers a value as core arguments, which go into cells from address 0 on."""
    signature = signature_of(kind)
    cells = guest.apply(signature.lower_params(guest.context, [value]))
    struct.pack_into(f"<{len(cells)}Q", guest.bytes, 0, *cells)
    return signature


@oracled
@given(typed_values)
@example((EnumType(tuple(f"n{n}" for n in range(300))), "n299"))
@example((VariantType((*((f"n{n}", None) for n in range(256)), ("last", Primitive("u8")))), ("last", 7)))
@example((TupleType((UNEVEN,) * 3), (("a", (1,) * 7), ("b", 2), ("a", (3,) * 7))))
def test_lowering_writes_what_wasmtime_writes(case: tuple[Type, Any]) -> None:
    """Core arguments, every byte of memory, and the order, sizes and alignments of the calls to realloc are the same."""
    kind, value = case
    guest = FakeGuest(PAGE, HEAP)
    write_arguments(guest, kind, value)
    theirs = oracle(kind).lower(value)
    assert theirs.calls == guest.calls
    assert theirs.memory == guest.bytes[: guest.top]


@oracled
@given(two_values)
def test_a_host_call_takes_and_answers_what_it_does_under_wasmtime(case: tuple[Type, Any, Any]) -> None:
    """The host sees the same argument; its answer is written to the same place in the same way."""
    kind, argument, answer = case
    guest = FakeGuest(PAGE, 512)
    signature = write_arguments(guest, kind, argument)
    assume(guest.top <= ANSWER_AT)
    if not signature.core_results:
        struct.pack_into("<I", guest.bytes, 8 * (len(signature.core_params) - 1), ANSWER_AT)
    raw = bytes(guest.bytes[:ANSWER_AT])
    seen, theirs = oracle(kind).call(raw, answer)
    flat = arguments_in(raw, signature)
    assert plain(signature.lift_params(guest.context, flat)[0]) == plain(seen) == plain(argument)
    guest.top, guest.calls = HEAP, []
    for cell in guest.apply(signature.lower_result(guest.context, answer, flat)):
        struct.pack_into("<Q", guest.bytes, 8 * RESULT_CELL, cell)
    assert theirs.calls == guest.calls
    assert theirs.memory == guest.bytes[: guest.top]


def damaged(data: st.DataObject, image: bytearray, spots: list[int], word: int) -> bytes:
    """The image with some spots overwritten: a byte, a word, or a pointer and length (`word` bytes apart) near the end."""
    spots = [spot for spot in spots if spot + word + 4 <= len(image)] or [0]
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.sampled_from(spots))
        match data.draw(st.integers(0, 2)):
            case 0:
                image[at] = data.draw(st.sampled_from([0, 1, 2, 3, 4, 0x7F, 0x80, 0xFF]) | st.integers(0, 255))
            case 1:
                number = data.draw(st.sampled_from(INTERESTING) | st.integers(0, 0xFFFFFFFF))
                struct.pack_into("<I", image, at, number)
            case 2 if at + word in spots:
                struct.pack_into("<I", image, at, PAGE - data.draw(st.integers(0, 17)))
                struct.pack_into("<I", image, at + word, data.draw(st.integers(0, 9)))
    return bytes(image)


@oracled
@given(typed_values, st.data())
def test_hostile_results_get_wasmtimes_verdict(case: tuple[Type, Any], data: st.DataObject) -> None:
    """Over damaged memory an export's result is the same value for both, or traps for both."""
    kind, value = case
    signature = signature_of(kind)
    guest = FakeGuest(PAGE, IMAGE)
    in_memory = not signature.core_results
    cells = guest.apply(signature.lower_result(guest.context, value, [VALUE_AT]))
    struct.pack_into("<Q", guest.bytes, 0, VALUE_AT if in_memory else cells[0])
    end = max(guest.top, IMAGE + 8)
    assume(end <= HEAP)
    spots = [VALUE_AT + slot.offset for slot in Layout().slots(kind)] if in_memory else []
    raw = damaged(data, guest.bytes[:end], [0, *spots, *spots, *range(IMAGE, end, 4)], 4)
    mine, theirs = on_result(kind, raw)
    assert mine == theirs


@oracled
@given(two_values, st.data())
@example((TupleType((Primitive("u8"),) * 20), (1,) * 20, (2,) * 20), None)
def test_hostile_arguments_get_wasmtimes_verdict(case: tuple[Type, Any, Any], data: st.DataObject | None) -> None:
    """With damaged core arguments and memory, a host call has the same argument for both, or traps for both."""
    kind, argument, answer = case
    guest = FakeGuest(PAGE, IMAGE)
    signature = write_arguments(guest, kind, argument)
    values_end = 8 * (len(signature.core_params) - (not signature.core_results))
    struct.pack_into("<I", guest.bytes, values_end, ANSWER_AT)
    end = max(guest.top, IMAGE + 8)
    assume(end <= ANSWER_AT)
    raw = bytes(guest.bytes[:end])
    if data is not None:
        raw = damaged(data, guest.bytes[:end], list(range(0, values_end, 8)), 8)
        raw = damaged(data, bytearray(raw), list(range(IMAGE, end, 4)), 4)
    mine, theirs = on_argument(kind, raw, answer)
    assert mine == theirs
