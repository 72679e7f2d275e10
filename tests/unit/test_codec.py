"""WIT values in journals: what was packed is unpacked the same, and what was not packed here reaches no guest."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.durable.codec import arguments_packer, packer, resources_of, unpackable
from guesthouse.durable.errors import JournalDamaged
from guesthouse.durable.showing import show
from guesthouse.durable.unpacking import unpacker
from guesthouse.engine.types import (
    BorrowType,
    EnumType,
    FlagsType,
    FuncType,
    ListType,
    OptionType,
    OwnType,
    Primitive,
    RecordType,
    ResourceType,
    ResultType,
    TupleType,
    Type,
    VariantType,
)
from guesthouse.engine.values import Err, Ok, Some
from guesthouse.interfaces.bytes import BYTES, Buffer, StreamFailed
from unit.wit_strategies import typed_values, types

BUFFER = ResourceType(BYTES, "buffer")
CLASSES: dict[tuple[str, str], type] = {(BYTES, "buffer"): Buffer}
TEXT, U8, U64 = Primitive("string"), Primitive("u8"), Primitive("u64")

plains = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def through(kind: Type | None, value: Any) -> Any:
    """A value, packed, written, read and unpacked."""
    pack = packer(kind)
    written = msgspec.msgpack.encode(value if pack is None else pack(value))
    return unpacker(kind, CLASSES)(msgspec.msgpack.decode(written))


@given(typed_values)
def test_a_value_of_any_type_comes_back_the_same(typed: tuple[Type, Any]) -> None:
    """Whatever its type is, and with the same Python types all the way down."""
    kind, value = typed
    found = through(kind, value)
    assert found == value
    assert _shape(found) == _shape(value)


def _shape(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value), [_shape(each) for each in value]
    return type(value)


@given(types, plains)
def test_what_is_no_value_of_a_type_is_refused_as_damage(kind: Type, plain: Any) -> None:
    """Either it is one, and packs to the same bytes again, or it raises `JournalDamaged`: nothing else."""
    try:
        value = unpacker(kind, CLASSES)(plain)
    except JournalDamaged:
        return
    through(kind, value)


@pytest.mark.parametrize(
    ("kind", "plain"),
    [
        (Primitive("u8"), 256),
        (Primitive("s8"), -129),
        (Primitive("u8"), True),
        (Primitive("bool"), 1),
        (Primitive("char"), "ab"),
        (TEXT, b"bytes"),
        (ListType(U8), "text"),
        (ListType(U8), [1, 2]),
        (ListType(TEXT), ["a", 1]),
        (TupleType((TEXT, TEXT)), ["a"]),
        (EnumType(("a", "b")), "c"),
        (FlagsType(("a", "b")), ["a", "c"]),
        (VariantType((("a", None), ("b", TEXT))), ["b", 5]),
        (VariantType((("a", None),)), ["z", None]),
        (ResultType(TEXT, None), [2, "a"]),
        (OptionType(OptionType(TEXT)), "a"),
        (OwnType(BUFFER), 5),
        (OwnType(ResourceType("test:a/b", "unknown")), b""),
        (None, 5),
    ],
)
def test_damage_is_named_with_the_type(kind: Type | None, plain: Any) -> None:
    """The error says what lies there and what belongs there."""
    with pytest.raises(JournalDamaged, match="the journal has"):
        unpacker(kind, CLASSES)(plain)


def test_not_a_number_comes_back_as_such() -> None:
    """A float that equals nothing is a float nevertheless."""
    assert math.isnan(through(Primitive("f64"), math.nan))
    assert through(Primitive("f64"), -0.0).hex() == "-0x0.0p+0"


def test_what_need_not_change_is_handed_on_as_it_is() -> None:
    """Numbers, text, bytes, and what is made of them, cost nothing to pack."""
    plain = RecordType((("a", U64), ("b", ListType(TupleType((TEXT, TEXT)))), ("c", OptionType(ListType(U8)))))
    assert packer(plain) is None
    assert packer(None) is None


def test_nested_options_and_results_keep_what_they_are() -> None:
    """Present without a value is not absent, and an error without a value is no ok without one."""
    nested = OptionType(OptionType(TEXT))
    assert [through(nested, value) for value in (None, Some(None), Some("a"))] == [None, Some(None), Some("a")]
    empty = ResultType(None, None)
    assert [type(through(empty, value)) for value in (Ok(), Err())] == [Ok, Err]


def test_a_buffer_comes_back_with_its_bytes_and_its_failure() -> None:
    """As the guest would have read it on: from its cursor, and why it broke off."""
    data = VariantType((("buffer", OwnType(BUFFER)), ("value", ListType(U8))))
    buffer = Buffer(b"hello")
    buffer.advance(2)
    _, found = through(data, ("buffer", buffer))
    assert (found.take(), found.complete, found.failure) == (b"llo", True, None)
    broken = Buffer(b"half")
    broken.failure = StreamFailed("too slow", timed_out=True)
    _, found = through(data, ("buffer", broken))
    assert (found.take(), str(found.failure), found.failure.timed_out) == (b"half", "too slow", True)


def test_resources_that_cannot_be_written_down_are_found() -> None:
    """Wherever in a type they are: functions that answer them cannot be durable."""
    deep = ResultType(ListType(OptionType(OwnType(ResourceType("test:a/b", "socket")))), TEXT)
    found = unpackable(deep, CLASSES)
    assert found is not None
    assert found.name == "socket"
    assert unpackable(ResultType(OwnType(BUFFER), TEXT), CLASSES) is None
    assert resources_of(ListType(TEXT)) is None
    search = resources_of(ListType(OwnType(BUFFER)))
    assert search is not None
    buffers = [Buffer(b"a"), Buffer(b"b")]
    assert list(search(buffers)) == buffers


class Handle:
    """A resource that does not say what it is."""


def test_secrets_among_arguments_are_written_as_digests() -> None:
    """The same secret packs the same, another one differently, and neither can be read."""
    func = FuncType(
        (
            ("request", RecordType((("url", TEXT), ("authorization", VariantType((("none", None), ("key", TEXT))))))),
            ("headers", ListType(TupleType((TEXT, TEXT)))),
            ("self", BorrowType(ResourceType("test:a/b", "handle"))),
        )
    )
    pack = arguments_packer(func)

    def packed(key: str, token: str) -> bytes:
        headers = [("Authorization", token), ("accept", "text/plain")]
        return msgspec.msgpack.encode(pack((("http://a", ("key", key)), headers, Handle())))

    first = packed("hunter2", "Bearer 12345")
    assert first == packed("hunter2", "Bearer 12345")
    assert len({first, packed("hunter3", "Bearer 12345"), packed("hunter2", "Bearer 12346")}) == 3
    assert b"hunter2" not in first
    assert b"12345" not in first
    assert b"text/plain" in first
    assert b"Handle" in first
    assert "hunter2" not in show(msgspec.msgpack.decode(first))
    assert "a secret" in show(msgspec.msgpack.decode(first))


@given(plains)
def test_what_is_shown_is_one_short_line_and_always_the_same(plain: Any) -> None:
    """People and logs get it: no control characters, no addresses, a bounded length."""
    text = show(plain)
    assert text == show(plain)
    assert text.isprintable()
    assert len(text) <= 400


def test_what_is_shown_of_long_values_says_how_long_they_are() -> None:
    """Text and bytes are cut, lists counted."""
    assert show("a" * 100) == f'"{"a" * 64}…" (100 characters)'
    assert show(b"\xff" * 9) == "9 bytes ffffffffffffffff…"
    assert show(list(range(10))) == "[0, 1, 2, 3, 4, 5, 6, 7, … 2 more]"
    assert show('say "hi"\n') == '"say \\"hi\\"\\n"'
