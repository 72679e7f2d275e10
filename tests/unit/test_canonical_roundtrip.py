"""Any value of any type comes back equal from a guest's memory; any memory gives a value or a trap, nothing else."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guesthouse.engine.canonical import Signature, compile_function
from guesthouse.engine.types import FuncType, ListType, OptionType, Primitive, TupleType, Type
from guesthouse.engine.values import Some
from guesthouse.errors import Trap
from unit.fake_guest import FakeGuest, core_values
from unit.wit_strategies import typed_values, types, values

RESULT_AT = 64
INTERESTING = [0, 1, 2, 3, 4, 7, 8, 0x7F, 0x80, 0xFF, 0x100, 1024, 1 << 16, 0xD800, 0x110000, 0x7FFFFFFF, 0xFFFFFFFF]


def returning(kind: Type) -> Signature:
    return compile_function("test:types/round", "trip", FuncType((), kind))


def taking(kinds: list[Type]) -> Signature:
    named = tuple((f"p{n}", kind) for n, kind in enumerate(kinds))
    return compile_function("test:types/round", "trip", FuncType(named))


def lower_result(guest: FakeGuest, signature: Signature, value: Any) -> list[int | float]:
    """The core results from which an export's answer with this value would be lifted."""
    in_memory = not signature.core_results and bool(signature.export_results)
    cells = guest.apply(signature.lower_result(guest.context, value, [RESULT_AT] if in_memory else []))
    return [RESULT_AT] if in_memory else core_values(cells, signature.core_results)


@settings(max_examples=400, deadline=None)
@given(typed_values)
def test_a_result_comes_back_equal_from_memory(case: tuple[Type, Any]) -> None:
    """lift_result(lower_result(value)) == value."""
    kind, value = case
    guest, signature = FakeGuest(), returning(kind)
    flat = lower_result(guest, signature, value)
    assert signature.lift_result(guest.context, flat) == value


@settings(max_examples=300, deadline=None)
@given(st.lists(typed_values, max_size=6))
def test_parameters_come_back_equal_flat_or_spilled(cases: list[tuple[Type, Any]]) -> None:
    """lift_params(lower_params(values)) == values, with few parameters (flat) and with many (in memory)."""
    signature = taking([kind for kind, _ in cases])
    guest = FakeGuest()
    plan = signature.lower_params(guest.context, [value for _, value in cases])
    flat = core_values(guest.apply(plan), signature.export_params)
    assert signature.lift_params(guest.context, flat) == tuple(value for _, value in cases)


def outcome(lift: Callable[..., Any], guest: FakeGuest, flat: list[int | float]) -> tuple[Any, str | None]:
    """What is lifted, or the reason of the trap, which is one of two."""
    reason = None
    try:
        return lift(guest.context, flat), None
    except Trap as trap:
        reason = trap.reason
    assert reason in ("canonical-abi", "lift-budget")
    return None, reason


def damage(guest: FakeGuest, data: st.DataObject) -> None:
    """Overwrites words and bytes where the value lies, and a little around."""
    for _ in range(data.draw(st.integers(1, 4))):
        low, high = data.draw(st.sampled_from([(RESULT_AT, RESULT_AT + 80), (1024, max(1028, guest.top))]))
        if data.draw(st.booleans()):
            guest.bytes[data.draw(st.integers(low, high))] = data.draw(st.integers(0, 255))
        else:
            word = data.draw(st.sampled_from(INTERESTING) | st.integers(0, 0xFFFFFFFF))
            struct.pack_into("<I", guest.bytes, data.draw(st.integers(low, high)) & ~3, word)


@settings(max_examples=500, deadline=None)
@given(typed_values, st.data())
def test_damaged_memory_gives_a_value_that_fits_or_a_trap(case: tuple[Type, Any], data: st.DataObject) -> None:
    """Whatever is lifted can be lowered again; everything else is a Trap with reason canonical-abi or lift-budget."""
    kind, value = case
    guest, signature = FakeGuest(budget=1 << 20), returning(kind)
    flat = lower_result(guest, signature, value)
    damage(guest, data)
    lifted, reason = outcome(signature.lift_result, guest, flat)
    if reason is None:
        lower_result(FakeGuest(1 << 22), signature, lifted)


@settings(max_examples=300, deadline=None)
@given(st.lists(types, min_size=1, max_size=4), st.data())
def test_random_core_arguments_give_values_or_a_trap(kinds: list[Type], data: st.DataObject) -> None:
    """Any core arguments at all, over any memory, are either lifted or trapped."""
    signature = taking(kinds)
    cells = [
        data.draw(st.sampled_from(INTERESTING) | st.integers(0, (1 << (64 if letter in "IF" else 32)) - 1))
        for letter in signature.core_params
    ]
    guest = FakeGuest(4096, budget=1 << 20)
    guest.bytes[:] = data.draw(st.binary(min_size=64, max_size=64)) * 64
    lifted, reason = outcome(signature.lift_params, guest, core_values(cells, signature.core_params))
    assert reason or len(lifted) == len(kinds)


WRONG = [
    None,
    -1,
    1 << 64,
    1.5,
    "a",
    "ab",
    "\ud800",
    b"a",
    [],
    [object()],
    (),
    ("a", None),
    {},
    object(),
    Some(1),
    True,
]


@settings(max_examples=300, deadline=None)
@given(types, st.sampled_from(WRONG))
def test_a_wrong_value_is_lowered_right_or_refused_with_words(kind: Type, wrong: Any) -> None:
    """A value of another type raises TypeError or ValueError that names the function, or happens to fit."""
    guest, signature = FakeGuest(), returning(kind)
    words, flat = "", []
    try:
        flat = lower_result(guest, signature, wrong)
    except (TypeError, ValueError) as error:
        words = str(error)
    if words:
        assert words.startswith("test:types/round#trip: result")
    else:
        lifted, other = signature.lift_result(guest.context, flat), FakeGuest()
        assert lower_result(other, signature, lifted) == flat
        assert other.bytes == guest.bytes


def nested(depth: int, wrap: Any) -> Type:
    kind: Type = Primitive("string")
    for _ in range(depth):
        kind = wrap(kind)
    return kind


@pytest.mark.parametrize("wrap", [ListType, OptionType, lambda kind: TupleType((Primitive("u8"), kind))])
def test_types_of_the_greatest_depth_compile_and_come_back(wrap: Any) -> None:
    """Sixty-four levels need helper functions, as Python allows only so many nested blocks."""
    value: Any = "deep"
    for level in range(63):
        wrapped = {ListType: [value], OptionType: Some(value) if level else value}
        value = wrapped.get(wrap, (level, value))
    guest, signature = FakeGuest(), returning(nested(63, wrap))
    flat = lower_result(guest, signature, value)
    assert signature.lift_result(guest.context, flat) == value
    signature = taking([nested(63, wrap)])
    flat = core_values(guest.apply(signature.lower_params(guest.context, [value])), signature.export_params)
    assert signature.lift_params(guest.context, flat) == (value,)


@settings(max_examples=100, deadline=None)
@given(types.flatmap(lambda kind: st.tuples(st.just(kind), st.lists(values(kind), max_size=30))))
def test_what_is_lifted_is_charged(case: tuple[Type, list[Any]]) -> None:
    """The budget falls by at least sixteen bytes for each element, and never by lifting nothing."""
    kind, items = case
    value: Any = bytes(items) if kind == Primitive("u8") else items
    guest, signature = FakeGuest(1 << 20), returning(ListType(kind))
    flat = lower_result(guest, signature, value)
    cx = guest.context
    signature.lift_result(cx, flat)
    assert guest.budget - cx.lift_budget >= (1 if kind == Primitive("u8") else 16) * len(items)
