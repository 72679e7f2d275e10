"""WIT values as plain ones that MessagePack can hold, as their types say; `unpacking` makes them WIT values again.

| WIT | plain |
|---|---|
| bool, integers, floats, string, char, enum, `list<u8>` | themselves |
| list, tuple, record | array |
| variant | array of the case's name and its payload |
| flags | array of names, in the type's order |
| option | nil or the value; of an option of an option an array of the value |
| result | array of 0 for ok or 1 for an error, and the value |
| own, borrow | what `packed()` of the object says |

What need not change is handed on as it is.  Promises: secrets among arguments (see `SECRETS`) are written as a digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from guesthouse.durable.showing import HIDDEN
from guesthouse.durable.unpacking import Classes
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
from guesthouse.engine.values import Err

Pack = Callable[[Any], Any]

SECRETS: Final = frozenset({"authorization", "password", "secret", "secret-access-key", "session-token"})
"""Parameters and fields, by their WIT names, whose values no journal holds in clear among arguments."""
SECRET_HEADERS: Final = frozenset(
    {"authorization", "proxy-authorization", "cookie", "x-api-key", "x-amz-security-token"}
)
"""Headers, likewise, in fields and parameters called `headers`."""
HEADERS: Final = ListType(TupleType((Primitive("string"), Primitive("string"))))

_encode: Final = msgspec.msgpack.Encoder().encode


# -- packing


def packer(kind: Type | None) -> Pack | None:
    """Packs values of a type; `None` where they are plain already."""
    return None if kind is None else _packer(kind, False)


def arguments_packer(func: FuncType) -> Callable[[tuple[Any, ...]], Any]:
    """Packs a call's arguments for comparing: secrets as digests, resources as far as they say what they are."""
    packs = [_named(name, kind) for name, kind in func.params]
    if not any(packs):
        return _as_it_is
    return lambda args: [value if pack is None else pack(value) for pack, value in zip(packs, args, strict=True)]


def _as_it_is(value: Any) -> Any:
    return value


def _named(name: str, kind: Type) -> Pack | None:
    """How a parameter or field of an argument is packed."""
    if name in SECRETS:
        inner = _packer(kind, True)
        return lambda value: hidden(value if inner is None else inner(value))
    if name == "headers" and kind == HEADERS:
        return _pack_headers
    return _packer(kind, True)


def hidden(plain: Any) -> dict[str, bytes]:
    """What stands for a secret: enough to tell it from another one."""
    return {HIDDEN: hashlib.sha256(_encode(plain)).digest()[:8]}


def _pack_headers(headers: Any) -> Any:
    return [(name, hidden(value) if name.lower() in SECRET_HEADERS else value) for name, value in headers]


def _packer(kind: Type, argument: bool) -> Pack | None:
    match kind:
        case Primitive() | EnumType():
            return None
        case FlagsType():
            return _pack_flags(kind.names)
        case OwnType() | BorrowType():
            return _pack_argument if argument else _pack_resource
        case OptionType():
            return _pack_option(kind.some, _packer(kind.some, argument))
        case ResultType():
            return _pack_result(*(None if part is None else _packer(part, argument) for part in (kind.ok, kind.error)))
        case ListType():
            return _pack_list(_packer(kind.element, argument))
        case VariantType():
            return _pack_variant({name: None if held is None else _packer(held, argument) for name, held in kind.cases})
        case TupleType():
            return _pack_row([_packer(item, argument) for item in kind.items])
    return _pack_row([_named(*field) if argument else _packer(field[1], False) for field in kind.fields])


def _pack_resource(obj: Any) -> Any:
    return obj.packed()


def _pack_argument(obj: Any) -> Any:
    packed = getattr(obj, "packed", None)
    return type(obj).__name__ if packed is None else packed()


def _pack_flags(names: tuple[str, ...]) -> Pack:
    return lambda value: [name for name in names if name in value]


def _pack_option(kind: Type, inner: Pack | None) -> Pack | None:
    if isinstance(kind, OptionType):
        return lambda value: None if value is None else [value.value if inner is None else inner(value.value)]
    if inner is None:
        return None
    return lambda value: None if value is None else inner(value)


def _pack_result(ok: Pack | None, error: Pack | None) -> Pack:
    def pack(value: Any) -> tuple[int, Any]:
        (found,) = value
        if type(value) is Err:
            return 1, found if error is None else error(found)
        return 0, found if ok is None else ok(found)

    return pack


def _pack_list(element: Pack | None) -> Pack | None:
    if element is None:
        return None
    return lambda value: [element(each) for each in value]


def _pack_variant(cases: Mapping[str, Pack | None]) -> Pack | None:
    if not any(cases.values()):
        return None

    def pack(value: Any) -> tuple[str, Any]:
        case, payload = value
        inner = cases[case]
        return case, payload if inner is None else inner(payload)

    return pack


def _pack_row(items: list[Pack | None]) -> Pack | None:
    if not any(items):
        return None
    return lambda value: [each if pack is None else pack(each) for pack, each in zip(items, value, strict=True)]


# -- resources


def unpackable(kind: Type | None, classes: Classes) -> ResourceType | None:
    """A resource among the values of a type that cannot be packed and unpacked."""
    return next(
        (found for found in _held(kind) if not _can_be_packed(classes.get((found.interface, found.name)))), None
    )


def _can_be_packed(owner: type | None) -> bool:
    return owner is not None and hasattr(owner, "packed") and hasattr(owner, "unpacked")


def _held(kind: Type | None) -> Iterator[ResourceType]:
    if isinstance(kind, OwnType | BorrowType):
        yield kind.resource
    for part in _parts(kind):
        yield from _held(part)


def _parts(kind: Type | None) -> tuple[Type | None, ...]:
    match kind:
        case OptionType():
            return (kind.some,)
        case ResultType():
            return (kind.ok, kind.error)
        case ListType():
            return (kind.element,)
        case VariantType():
            return tuple(payload for _, payload in kind.cases)
        case TupleType():
            return kind.items
        case RecordType():
            return tuple(field for _, field in kind.fields)
    return ()


def resources_of(kind: Type | None) -> Callable[[Any], Iterator[Any]] | None:
    """Finds the objects of resources in values of a type; `None` where there are none."""
    if next(_held(kind), None) is None:
        return None
    return _objects


def _objects(value: Any) -> Iterator[Any]:
    """Whatever is no value of another kind is a resource."""
    if isinstance(value, list | tuple):
        for each in value:
            yield from _objects(each)
    elif not (value is None or isinstance(value, str | int | float | bytes | bytearray | memoryview | frozenset | set)):
        yield value
