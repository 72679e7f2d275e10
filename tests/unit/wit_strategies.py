"""Hypothesis strategies for WIT types and for the values of a type, in the form in which they are lifted."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

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
from guesthouse.engine.values import Err, Ok, Some

NUMBERS = ["s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64", "f32", "f64"]
NAMES = ["a", "b-c", "class", "from", "count", "index", "x1", "long-name-with-parts", "none", "ok"]
WIDTHS = {"8": 8, "16": 16, "32": 32, "64": 64}

primitives = st.sampled_from([*NUMBERS, "bool", "char", "string"]).map(Primitive)


def names(least: int, most: int) -> st.SearchStrategy[tuple[str, ...]]:
    """Different WIT names; more than there are come with numbers."""
    pool = [*NAMES, *(f"n{number}" for number in range(max(0, most - len(NAMES))))]
    return st.lists(st.sampled_from(pool), min_size=least, max_size=most, unique=True).map(tuple)


def _zipped(labels: tuple[str, ...], inner: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[tuple[str, Any], ...]]:
    return st.tuples(*(st.tuples(st.just(label), inner) for label in labels))


def _compound(inner: st.SearchStrategy[Type]) -> st.SearchStrategy[Type]:
    maybe = st.none() | inner
    return st.one_of(
        inner.map(ListType),
        inner.map(OptionType),
        st.builds(ResultType, maybe, maybe),
        st.lists(inner, min_size=1, max_size=4).map(lambda items: TupleType(tuple(items))),
        names(1, 4).flatmap(lambda labels: _zipped(labels, inner)).map(RecordType),
        names(1, 5).flatmap(lambda labels: _zipped(labels, maybe)).map(VariantType),
    )


leaves = st.one_of(primitives, names(1, 40).map(EnumType), names(1, 32).map(FlagsType))
types: st.SearchStrategy[Type] = st.recursive(leaves, _compound, max_leaves=10)


def number_values(name: str) -> st.SearchStrategy[Any]:
    """Numbers of a primitive type, without NaN (which equals nothing)."""
    width = WIDTHS[name[1:]]
    if name[0] == "f":
        return st.floats(width=32 if width == 32 else 64, allow_nan=False)
    if name[0] == "s":
        return st.integers(-(1 << width - 1), (1 << width - 1) - 1)
    return st.integers(0, (1 << width) - 1)


chars = st.characters(exclude_categories=["Cs"])
texts = st.text(chars, max_size=12)


def values(kind: Type) -> st.SearchStrategy[Any]:
    """The values of a type."""
    match kind:
        case Primitive("bool"):
            return st.booleans()
        case Primitive("char"):
            return chars
        case Primitive("string"):
            return texts
        case Primitive():
            return number_values(kind.name)
        case ListType(Primitive("u8")):
            return st.binary(max_size=20)
        case ListType():
            return st.lists(values(kind.element), max_size=4)
        case TupleType():
            return st.tuples(*map(values, kind.items))
        case RecordType():
            return st.tuples(*(values(field) for _, field in kind.fields))
        case EnumType():
            return st.sampled_from(kind.cases)
        case FlagsType():
            return st.frozensets(st.sampled_from(kind.names))
    return _variant_values(kind)


def _variant_values(kind: Type) -> st.SearchStrategy[Any]:
    match kind:
        case OptionType(OptionType()):
            return st.none() | values(kind.some).map(Some)
        case OptionType():
            return st.none() | values(kind.some)
        case ResultType():
            return _maybe(kind.ok).map(Ok) | _maybe(kind.error).map(Err)
        case VariantType():
            return st.one_of(*(st.tuples(st.just(name), _maybe(payload)) for name, payload in kind.cases))
    raise AssertionError(kind)


def _maybe(kind: Type | None) -> st.SearchStrategy[Any]:
    return st.none() if kind is None else values(kind)


typed_values = types.flatmap(lambda kind: st.tuples(st.just(kind), values(kind)))
