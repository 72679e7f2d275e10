"""Builds WIT types from type expressions of a component, and interfaces and worlds from what they export.

It promises types that are as small and as well named as `wit` allows: whoever walks one needs no bounds of its own.  It
must not know index spaces: they are handed to it as functions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from guesthouse.engine.component_tree import FunctionExpression, Reference, ValueExpression
from guesthouse.engine.types import (
    BorrowType,
    EnumType,
    FlagsType,
    FuncType,
    InterfaceType,
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
    WorldType,
)
from guesthouse.errors import InvalidModule

MAX_NODES = 2_000
"""Nodes of one type written out in full: types that share their parts could otherwise grow without end."""
MAX_DEPTH = 64
"""Types within each other: WIT of real interfaces has under ten."""
ROOT = "$root"
"""The name under which core modules import functions that stand in the world itself."""

_WORD = r"(?:[a-z][a-z0-9]*|[A-Z][A-Z0-9]*)(?:-(?:[a-z0-9]+|[A-Z0-9]+))*"
_LABEL = re.compile(_WORD)
_FUNCTION = re.compile(rf"{_WORD}|\[constructor\](?P<made>{_WORD})|\[(?:method|static)\](?P<owner>{_WORD})\.{_WORD}")
_INTERFACE = re.compile(rf"{_WORD}(?::{_WORD})+(?:/{_WORD})+(?:@\d+\.\d+\.\d+(?:[-+][0-9A-Za-z.+-]+)?)?|{_WORD}")


@dataclass(frozen=True, slots=True)
class FunctionEntry:
    """A function type, and how large it is: nodes in all."""

    type: FuncType
    nodes: int


@dataclass(frozen=True, slots=True)
class ValueEntry:
    """A value type, and how large it is: nodes in all, and levels."""

    type: Type
    nodes: int = 1
    depth: int = 1


TypeAt = Callable[[int], Any]
"""What stands at an index of the type index space; raises `InvalidModule` if nothing does."""


def refuse(at: int, reason: str) -> InvalidModule:
    """The error for a component that breaks a rule, or uses what is not supported, at byte `at`."""
    return InvalidModule(f"the component cannot be used: {reason} (at byte {at})")


def check_label(name: str) -> str:
    """`name`, if it is a WIT name such as `max-size`."""
    if not _LABEL.fullmatch(name):
        raise InvalidModule(f"the component cannot be used: {name!r} is no WIT name")
    return name


def check_interface(name: str) -> str:
    """`name`, if it is an interface id such as `momento:bytes/bytes@1.0.0`, or a plain name."""
    if not _INTERFACE.fullmatch(name):
        raise InvalidModule(f"the component cannot be used: {name!r} is no name of an interface")
    return name


def named(entry: Any, name: str) -> Any:
    """The same type entry, called `name` if it is of a type that has a name and has none yet."""
    if isinstance(entry, ValueEntry) and getattr(entry.type, "name", None) == "":
        return replace(entry, type=replace(entry.type, name=name))  # type: ignore[arg-type]
    return entry


def value_entry(reference: Reference, type_at: TypeAt, at: int) -> ValueEntry:
    """The value type that `reference` stands for."""
    if isinstance(reference, str):
        return ValueEntry(Primitive(reference))
    entry = type_at(reference)
    if not isinstance(entry, ValueEntry):
        raise refuse(at, f"type {reference} is no value type")
    return entry


def build_value(expression: ValueExpression, type_at: TypeAt, at: int) -> ValueEntry:
    """The value type that `expression` describes; raises `InvalidModule` for what WIT does not allow."""
    names, references = expression.names, expression.references
    if expression.kind in ("own", "borrow"):
        resource = type_at(references[0]) if isinstance(references[0], int) else None
        if not isinstance(resource, ResourceType):
            raise refuse(at, "a handle is of no resource")
        return ValueEntry(OwnType(resource) if expression.kind == "own" else BorrowType(resource))
    _check_labels(names, at)
    parts = [None if reference is None else value_entry(reference, type_at, at) for reference in references]
    if expression.kind == "primitive":
        assert parts[0] is not None
        return parts[0]
    if not names and not parts:
        raise refuse(at, f"a {expression.kind} is empty")
    nodes = 1 + len(names) + sum(part.nodes for part in parts if part)
    depth = 1 + max((part.depth for part in parts if part), default=0)
    if nodes > MAX_NODES or depth > MAX_DEPTH:
        raise refuse(at, f"a type has more than {MAX_NODES:,} nodes or {MAX_DEPTH} levels")
    return ValueEntry(_MAKE[expression.kind](names, [part and part.type for part in parts]), nodes, depth)


def _check_labels(names: Iterable[str], at: int) -> None:
    seen = set()
    for name in names:
        folded = check_label(name).lower()
        if folded in seen:
            raise refuse(at, f"the name {name!r} is repeated")
        seen.add(folded)


def _flags(names: tuple[str, ...], parts: list[Any]) -> FlagsType:
    if len(names) > 32:
        raise InvalidModule(f"the component cannot be used: flags have {len(names)} names, and 32 are the most")
    return FlagsType(names)


_MAKE: dict[str, Callable[[tuple[str, ...], list[Any]], Type]] = {
    "record": lambda names, parts: RecordType(tuple(zip(names, parts, strict=True))),
    "variant": lambda names, parts: VariantType(tuple(zip(names, parts, strict=True))),
    "enum": lambda names, parts: EnumType(names),
    "flags": _flags,
    "list": lambda names, parts: ListType(parts[0]),
    "tuple": lambda names, parts: TupleType(tuple(parts)),
    "option": lambda names, parts: OptionType(parts[0]),
    "result": lambda names, parts: ResultType(parts[0], parts[1]),
}


def build_function(expression: FunctionExpression, type_at: TypeAt, at: int) -> FunctionEntry:
    """The function type that `expression` describes."""
    _check_labels(expression.names, at)
    entries = [value_entry(reference, type_at, at) for reference in expression.references]
    result = None if expression.result is None else value_entry(expression.result, type_at, at)
    nodes = 1 + sum(entry.nodes for entry in entries) + (result.nodes if result else 0)
    if nodes > MAX_NODES:
        raise refuse(at, f"a function's type has more than {MAX_NODES:,} nodes")
    params = zip(expression.names, (entry.type for entry in entries), strict=True)
    return FunctionEntry(FuncType(tuple(params), result.type if result else None), nodes)


def build_interface(name: str, functions: dict[str, FuncType], resources: dict[str, ResourceType]) -> InterfaceType:
    """The interface `name`; `resources` are all that it exports, of which it owns some and only uses others."""
    for function, type_ in functions.items():
        match = _FUNCTION.fullmatch(function)
        if match is None:
            raise InvalidModule(f"{name}: {function!r} is no name of a function that is supported")
        owner = match["made"] or match["owner"]
        if owner is not None:
            _check_owner(name, function, type_, resources.get(owner))
    owned = sorted({r.name for r in resources.values() if r.interface == name})
    return InterfaceType(name, functions, tuple(owned))


def _check_owner(interface: str, function: str, type_: FuncType, resource: ResourceType | None) -> None:
    if resource is None:
        raise InvalidModule(f"{interface}: {function} belongs to a resource that the interface does not have")
    first = type_.params[0] if type_.params else None
    if function.startswith("[method]") and first != ("self", BorrowType(resource)):
        raise InvalidModule(f"{interface}: the first parameter of {function} is not self: borrow<{resource}>")


def merge_worlds(worlds: Iterable[WorldType]) -> WorldType:
    """One world with all that `worlds` import and export; raises `InvalidModule` where two of them disagree."""
    merged = WorldType({}, {})
    for world in worlds:
        for interfaces, more in ((merged.imports, world.imports), (merged.exports, world.exports)):
            for name, interface in more.items():
                interfaces[name] = _merged(interfaces[name], interface) if name in interfaces else interface
        _merge_functions("the world", merged.function_imports, world.function_imports)
        _merge_functions("the world", merged.function_exports, world.function_exports)
    return merged


def _merged(one: InterfaceType, other: InterfaceType) -> InterfaceType:
    functions = dict(one.functions)
    _merge_functions(one.name, functions, other.functions)
    return InterfaceType(one.name, functions, tuple(sorted({*one.resources, *other.resources})))


def _merge_functions(where: str, functions: dict[str, FuncType], more: dict[str, FuncType]) -> None:
    for name, type_ in more.items():
        if functions.setdefault(name, type_) != type_:
            raise InvalidModule(f"{where}: {name} has two types, {str(functions[name])[:300]} and {str(type_)[:300]}")
