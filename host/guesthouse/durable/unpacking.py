"""Plain values of a journal as WIT values again (see `codec`), checked through and through.

Promises: what is no value of its type raises `JournalDamaged`: a journal which something else has changed reaches no guest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from guesthouse.durable.errors import JournalDamaged
from guesthouse.durable.showing import show
from guesthouse.engine.types import (
    BorrowType,
    EnumType,
    FlagsType,
    ListType,
    OptionType,
    OwnType,
    Primitive,
    ResourceType,
    ResultType,
    TupleType,
    Type,
    VariantType,
)
from guesthouse.engine.values import Err, Ok, Some
from guesthouse.errors import GuesthouseError

Unpack = Callable[[Any], Any]
Classes = Mapping[tuple[str, str], type]
"""Python class of each resource, by interface id and name."""

RANGES: Final = {
    f"{sign}{bits}": (0, (1 << bits) - 1) if sign == "u" else (-1 << (bits - 1), (1 << (bits - 1)) - 1)
    for sign in "us"
    for bits in (8, 16, 32, 64)
}
BYTES: Final = ListType(Primitive("u8"))


def unpacker(kind: Type | None, classes: Classes) -> Unpack:
    """Makes the value of a type out of a plain one, or raises `JournalDamaged`."""
    if kind is None:
        return _nothing
    inner = _unpacker(kind, classes)

    def unpack(plain: Any) -> Any:
        try:
            return inner(plain)
        except _Unfit as unfit:
            raise JournalDamaged(f"the journal has {show(unfit.plain)} where a {unfit.kind} belongs") from None

    return unpack


class _Unfit(Exception):
    """A plain value that is not one of a type."""

    def __init__(self, kind: object, plain: Any) -> None:
        self.kind = kind
        self.plain = plain


def _nothing(plain: Any) -> None:
    if plain is not None:
        raise JournalDamaged(f"the journal has {show(plain)} where nothing belongs")


def _unpacker(kind: Type, classes: Classes) -> Unpack:
    match kind:
        case Primitive():
            return _unpack_primitive(kind)
        case EnumType():
            names = frozenset(kind.cases)
            return _checked(kind, lambda plain: type(plain) is str and plain in names)
        case FlagsType():
            return _unpack_flags(kind)
        case OwnType() | BorrowType():
            return _unpack_resource(kind.resource, classes)
        case OptionType():
            return _unpack_option(kind, _unpacker(kind.some, classes))
        case ResultType():
            parts = [None if part is None else _unpacker(part, classes) for part in (kind.ok, kind.error)]
            return _unpack_result(kind, *parts)
        case ListType():
            if kind == BYTES:
                return _checked("list<u8>", lambda plain: type(plain) is bytes)
            return _unpack_list(kind, _unpacker(kind.element, classes))
        case VariantType():
            cases = {name: None if inner is None else _unpacker(inner, classes) for name, inner in kind.cases}
            return _unpack_variant(kind, cases)
        case TupleType():
            return _unpack_row(kind, [_unpacker(item, classes) for item in kind.items])
    return _unpack_row(kind, [_unpacker(field, classes) for _, field in kind.fields])


def _checked(kind: object, fits: Callable[[Any], bool]) -> Unpack:
    def unpack(plain: Any) -> Any:
        if fits(plain):
            return plain
        raise _Unfit(kind, plain)

    return unpack


def _unpack_primitive(kind: Primitive) -> Unpack:
    name = kind.name
    if name in RANGES:
        low, high = RANGES[name]
        return _checked(kind, lambda plain: type(plain) is int and low <= plain <= high)
    if name == "bool":
        return _checked(kind, lambda plain: type(plain) is bool)
    if name in ("f32", "f64"):
        return _checked(kind, lambda plain: type(plain) is float or (type(plain) is int and abs(plain) < 1 << 53))
    if name == "char":
        return _checked(kind, lambda plain: type(plain) is str and len(plain) == 1)
    return _checked(kind, lambda plain: type(plain) is str)


def _unpack_flags(kind: FlagsType) -> Unpack:
    names = frozenset(kind.names)

    def unpack(plain: Any) -> Any:
        if type(plain) is list and all(type(name) is str for name in plain) and names.issuperset(plain):
            return frozenset(plain)
        raise _Unfit(kind, plain)

    return unpack


def _unpack_resource(resource: ResourceType, classes: Classes) -> Unpack:
    owner = classes.get((resource.interface, resource.name))
    made: Callable[[Any], Any] | None = getattr(owner, "unpacked", None)

    def unpack(plain: Any) -> Any:
        if made is None:
            raise _Unfit(resource, plain)
        try:
            return made(plain)
        except GuesthouseError:
            raise
        except Exception:
            raise _Unfit(resource, plain) from None

    return unpack


def _unpack_option(kind: OptionType, inner: Unpack) -> Unpack:
    if not isinstance(kind.some, OptionType):
        return lambda plain: None if plain is None else inner(plain)

    def unpack(plain: Any) -> Any:
        if plain is None:
            return None
        if type(plain) is not list or len(plain) != 1:
            raise _Unfit(kind, plain)
        return Some(inner(plain[0]))

    return unpack


def _unpack_result(kind: ResultType, ok: Unpack | None, error: Unpack | None) -> Unpack:
    def unpack(plain: Any) -> Any:
        if type(plain) is list and len(plain) == 2 and type(plain[0]) is int and 0 <= plain[0] <= 1:
            case, payload = plain
            inner = error if case else ok
            payload = None if inner is None else inner(payload)
            return Err(payload) if case else Ok(payload)
        raise _Unfit(kind, plain)

    return unpack


def _unpack_list(kind: ListType, element: Unpack) -> Unpack:
    def unpack(plain: Any) -> Any:
        if type(plain) is not list:
            raise _Unfit(kind, plain)
        return [element(each) for each in plain]

    return unpack


def _unpack_variant(kind: VariantType, cases: Mapping[str, Unpack | None]) -> Unpack:
    def unpack(plain: Any) -> Any:
        if type(plain) is list and len(plain) == 2 and type(plain[0]) is str and plain[0] in cases:
            inner = cases[plain[0]]
            return plain[0], None if inner is None else inner(plain[1])
        raise _Unfit(kind, plain)

    return unpack


def _unpack_row(kind: Type, items: list[Unpack]) -> Unpack:
    size = len(items)

    def unpack(plain: Any) -> Any:
        if type(plain) is not list or len(plain) != size:
            raise _Unfit(kind, plain)
        return tuple([item(each) for item, each in zip(items, plain, strict=True)])

    return unpack
