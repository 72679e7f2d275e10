"""How two signatures that do not fit are told apart."""

from __future__ import annotations

import pytest

from guesthouse.engine.types import FuncType, Primitive, TupleType, Type
from guesthouse.engine.wit import Abi, describe_difference

U8 = Primitive("u8")


def function(text: str, before: str) -> FuncType:
    abi = Abi()
    abi.add(f"package a:b@1.0.0; interface i {{ {before} f: {text}; }}")
    found = abi.find("a:b/i@1.0.0")
    assert found is not None
    return found.functions["f"]


@pytest.mark.parametrize(
    ("expected", "found", "said"),
    [
        ("func(a: u8)", "func(b: u8)", None),
        ("func()", "func(b: u8)", "parameters: expected 0 (), found 1 (b)"),
        ("func(a: u8)", "func(a: u16)", "parameter a: expected u8, found u16"),
        ("func() -> u8", "func()", "result: expected u8, found nothing"),
        (
            "func() -> result<_, string>",
            "func() -> result<u8, string>",
            "result, ok: expected nothing, found u8",
        ),
        (
            "func() -> result<list<u8>, string>",
            "func() -> result<list<u16>, string>",
            "result, ok, element: expected u8, found u16",
        ),
        ("func(t: tuple<u8, u8>)", "func(t: tuple<u8>)", "parameter t, item 1: expected `1`, found nothing"),
        ("func(a: list<u8>)", "func(a: option<u8>)", "parameter a: expected list<u8>, found option<u8>"),
        ("func(a: e)", "func(a: e2)", "parameter a, case 1: expected `two`, found `three`"),
        ("func(a: v)", "func(a: v2)", "parameter a, case 2: expected nothing, found `more`"),
        ("func(a: v)", "func(a: v3)", "parameter a, case y: expected u8, found nothing"),
        ("func(a: r)", "func(a: r2)", "parameter a, field y, some: expected string, found char"),
        ("func(a: fl)", "func(a: fl2)", "parameter a, flag 0: expected `a`, found `b`"),
        (
            "func(a: h)",
            "func(a: h2)",
            "parameter a: expected the resource h of a:b/i@1.0.0, found the resource h2 of a:b/i@1.0.0",
        ),
        ("func(a: borrow<h>)", "func(a: h)", "parameter a: expected borrow<h>, found own<h>"),
        ("func(a: list<list<list<r>>>)", "func(a: r)", "parameter a: expected list<list<…>>, found record r"),
    ],
)
def test_a_difference_is_named_by_its_path(expected: str, found: str, said: str | None) -> None:
    """Where, what was expected, what was found; parameter names are no difference."""
    types = """
        enum e { one, two } enum e2 { one, three }
        variant v { x, y(u8) } variant v2 { x, y(u8), more } variant v3 { x, y }
        record r { x: u8, y: option<string> } record r2 { x: u8, y: option<char> }
        flags fl { a } flags fl2 { b }
        resource h; resource h2;
    """
    assert describe_difference(function(expected, types), function(found, types)) == said


def test_a_strange_type_is_described_shortly() -> None:
    """A type that spells out to 2^60 parts gets one short line."""
    huge: Type = U8
    for _ in range(60):
        huge = TupleType((huge, huge))
    said = describe_difference(FuncType((("a", U8),)), FuncType((("a", huge),)))
    assert said == "parameter a: expected u8, found a tuple of 2"
