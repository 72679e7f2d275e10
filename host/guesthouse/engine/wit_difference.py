"""Where two function types differ, said in one line for the people who have to mend it.

Promises: the walk is bounded by the expected type, however strange the found one is.  Knows nothing of WIT text.
"""

from __future__ import annotations

from collections.abc import Sequence

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
from guesthouse.engine.wit_version import compatible


def describe_difference(expected: FuncType, found: FuncType) -> str | None:
    """Says where `found` differs from `expected`: the path, what is expected there and what was found.

    `None` means that the one can be called as the other.  The names of parameters are no part of the call, and a
    resource is the same in every compatible version of the interface that owns it.
    """
    if len(expected.params) != len(found.params):
        return f"parameters: expected {_names(expected)}, found {_names(found)}"
    for (name, wanted), (_, given) in zip(expected.params, found.params, strict=True):
        difference = _difference(wanted, given, f"parameter {name}")
        if difference is not None:
            return difference
    return _optional(expected.result, found.result, "result")


def _names(function: FuncType) -> str:
    return f"{len(function.params)} ({', '.join(name for name, _ in function.params)})"


def _optional(expected: Type | None, found: Type | None, path: str) -> str | None:
    if expected is None or found is None:
        return None if expected is found else _said(path, _brief(expected), _brief(found))
    return _difference(expected, found, path)


def _said(path: str, expected: str, found: str) -> str:
    return f"{path}: expected {expected}, found {found}"


def _difference(expected: Type, found: Type, path: str) -> str | None:
    if expected is found:
        return None
    if type(expected) is not type(found):
        return _said(path, _brief(expected), _brief(found))
    match expected, found:
        case Primitive(), Primitive():
            return None if expected.name == found.name else _said(path, expected.name, found.name)
        case ListType(), ListType():
            return _difference(expected.element, found.element, f"{path}, element")
        case OptionType(), OptionType():
            return _difference(expected.some, found.some, f"{path}, some")
        case ResultType(), ResultType():
            return _optional(expected.ok, found.ok, f"{path}, ok") or _optional(
                expected.error, found.error, f"{path}, error"
            )
        case TupleType(), TupleType():
            return _members(_numbered(expected), _numbered(found), path, "item")
        case RecordType(), RecordType():
            return _members(expected.fields, found.fields, path, "field")
        case VariantType(), VariantType():
            return _members(expected.cases, found.cases, path, "case")
        case EnumType(), EnumType():
            return _members(_bare(expected.cases), _bare(found.cases), path, "case")
        case FlagsType(), FlagsType():
            return _members(_bare(expected.names), _bare(found.names), path, "flag")
        case ((OwnType() | BorrowType()), (OwnType() | BorrowType())):
            return _resource(expected.resource, found.resource, path)
    return None


Members = Sequence[tuple[str, Type | None]]


def _numbered(made: TupleType) -> Members:
    return tuple((str(index), item) for index, item in enumerate(made.items))


def _bare(names: tuple[str, ...]) -> Members:
    return tuple((name, None) for name in names)


def _members(expected: Members, found: Members, path: str, what: str) -> str | None:
    for index, ((name, wanted), (found_name, given)) in enumerate(zip(expected, found, strict=False)):
        if name != found_name:
            return _said(f"{path}, {what} {index}", f"`{name}`", f"`{found_name}`")
        difference = _optional(wanted, given, f"{path}, {what} {name}")
        if difference is not None:
            return difference
    if len(expected) > len(found):
        return _said(f"{path}, {what} {len(found)}", f"`{expected[len(found)][0]}`", "nothing")
    if len(found) > len(expected):
        return _said(f"{path}, {what} {len(expected)}", "nothing", f"`{found[len(expected)][0]}`")
    return None


def _resource(expected: ResourceType, found: ResourceType, path: str) -> str | None:
    if expected.name == found.name and compatible(expected.interface, found.interface):
        return None
    return _said(
        path, f"the resource {expected.name} of {expected.interface}", f"the resource {found.name} of {found.interface}"
    )


def _brief(made: Type | None, depth: int = 2) -> str:
    """A type in a few words: unlike `str`, it stays short for any type."""
    if depth == 0:
        return "…"
    match made:
        case None:
            return "nothing"
        case ListType():
            return f"list<{_brief(made.element, depth - 1)}>"
        case OptionType():
            return f"option<{_brief(made.some, depth - 1)}>"
        case ResultType():
            ok, error = ("_" if part is None else _brief(part, depth - 1) for part in (made.ok, made.error))
            return f"result<{ok}, {error}>"
        case TupleType():
            return f"a tuple of {len(made.items)}"
        case RecordType():
            return f"record {made.name}".rstrip()
        case VariantType():
            return f"variant {made.name}".rstrip()
        case EnumType():
            return f"enum {made.name}".rstrip()
        case FlagsType():
            return f"flags {made.name}".rstrip()
        case _:
            return str(made)
