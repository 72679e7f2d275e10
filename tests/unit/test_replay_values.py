"""WIT values as JSON, for whoever looks at a replay or changes what it is told."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.dispatch.replay_values import read, written, written_args
from guesthouse.dispatch.replayed import brief
from guesthouse.engine.types import (
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
from guesthouse.errors import BadRequest
from guesthouse.interfaces.bytes import Buffer
from unit.wit_strategies import typed_values, types

STRING = Primitive("string")
BUFFER = OwnType(ResourceType("momento:bytes/bytes@1.0.0", "buffer"))
DATA = VariantType((("buffer", BUFFER), ("value", ListType(Primitive("u8")))))


def documents() -> st.SearchStrategy[Any]:
    """Any JSON."""
    plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
    return st.recursive(plain, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10)


@given(typed_values)
def test_what_is_written_is_read_back(typed: tuple[Type, Any]) -> None:
    """Through real JSON, for every type."""
    kind, value = typed
    assert read(json.loads(json.dumps(written(value, kind))), kind) == value


@given(types, documents())
def test_other_json_is_refused_or_a_value(kind: Type, document: Any) -> None:
    """With the one error; what is read is a value of the type, so it is written and read as the same."""
    try:
        value = read(document, kind)
    except BadRequest:
        return
    assert read(written(value, kind), kind) == value


def test_odd_floats_are_words() -> None:
    """JSON has no others."""
    kind = Primitive("f64")
    assert [written(value, kind) for value in (math.inf, -math.inf)] == ["inf", "-inf"]
    assert math.isnan(read(written(math.nan, kind), kind))


def test_bytes_are_text_where_they_can_be() -> None:
    """Otherwise base64; both, and numbers, are read."""
    kind = ListType(Primitive("u8"))
    assert written(b"Ada", kind) == "Ada"
    assert written(b"\xff", kind) == {"base64": "/w=="}
    assert [read(each, kind) for each in ("Ada", {"base64": "/w=="}, [65, 255])] == [b"Ada", b"\xff", b"A\xff"]


def test_a_buffer_is_its_bytes() -> None:
    """As long as they are all there; one that still arrives says only what it is."""

    async def never() -> Any:
        yield b""

    assert written(("buffer", Buffer(b"page")), DATA) == {"buffer": "page"}
    assert written(("buffer", Buffer(source=never())), DATA) == {"buffer": {"resource": "buffer"}}
    case, buffer = read({"buffer": "page"}, DATA)
    assert (case, buffer.take()) == ("buffer", b"page")


@pytest.mark.parametrize(
    ("kind", "document", "place"),
    [
        (Primitive("u8"), 256, "the value has to be u8"),
        (Primitive("u8"), True, "the value has to be u8"),
        (Primitive("char"), "ab", "the value has to be char"),
        (STRING, "\ud800", "the value has to be string"),
        (ListType(STRING), ["a", 1], r"the value\[1\] has to be string"),
        (TupleType((STRING, STRING)), ["a"], "tuple<string, string>"),
        (RecordType((("name", STRING), ("age", STRING))), {"name": "x"}, "an object with name, age"),
        (RecordType((("name", STRING),)), {"name": 1}, r"the value\.name has to be string"),
        (VariantType((("hit", STRING), ("miss", None))), "hit", r"the value\.hit has to be string"),
        (VariantType((("hit", STRING), ("miss", None))), {"near": 1}, "one of hit, miss"),
        (EnumType(("a", "b")), "c", "one of a, b"),
        (FlagsType(("a", "b")), ["c"], "some of a, b"),
        (ResultType(STRING, None), {"ok": 1}, r"the value\.ok has to be string"),
        (ResultType(STRING, None), 3, r'"ok": …'),
        (OptionType(OptionType(STRING)), "x", "option<option<string>>"),
        (OwnType(ResourceType("a:b/c", "client")), "x", "a client, which cannot be made from JSON"),
        (None, 1, "has to be null"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(kind: Type | None, document: Any, place: str) -> None:
    """So that whoever wrote it finds it."""
    with pytest.raises(BadRequest, match=place):
        read(document, kind)


def test_arguments_are_written_by_their_types() -> None:
    """Without types as well as can be."""
    func = FuncType((("key", ListType(Primitive("u8"))), ("found", OptionType(STRING))))
    assert written_args([b"k", None], func) == ["k", None]
    assert written_args([b"k", 3, Buffer(b"x"), object()], None) == ["k", 3, "x", {"resource": "object"}]


@pytest.mark.parametrize(
    ("value", "most", "text"),
    [
        ("short", 20, '"short"'),
        ("x" * 50, 30, f'"{"x" * 16}…" (50 bytes)'),
        ("function-not-found", 8, '"function-not-found"'),
        ({"ok": {"hit": "Ada"}}, 40, '{ok: {hit: "Ada"}}'),
        ([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], 30, "[1, 2, 3, 4, … 11 more]"),
        ({"base64": "AAAA"}, 40, "3 bytes that are no text"),
        (None, 10, "null"),
        ({"resource": "promise", "is": [3, "sign_1" + "A" * 50, None]}, 10, f"<promise sign_1{'A' * 50}>"),
        ({"resource": "promise", "is": [3, "", 1_000]}, 10, "<promise 3>"),
        ({"resource": "client", "is": ["x" * 100]}, 30, f'<client "{"x" * 15}…" (100 bytes)>'),
        ({"resource": "pollable"}, 10, "<pollable>"),
    ],
)
def test_a_value_is_cut_where_it_is_long(value: Any, most: int, text: str) -> None:
    """And says what was left out."""
    assert brief(value, most) == text


@given(documents(), st.integers(0, 80))
def test_any_json_has_a_short_form(document: Any, most: int) -> None:
    """However deep and long it is."""
    assert isinstance(brief(document, most), str)
