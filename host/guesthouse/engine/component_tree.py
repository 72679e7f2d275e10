"""The definitions of a component as plain data, as they stand in the file: indices are not resolved.

`component_syntax` makes them, `component` gives them meaning.
"""

from __future__ import annotations

from dataclasses import dataclass

Reference = int | str
"""A value type where it is used: an index among the types, or the name of a primitive type."""


@dataclass(frozen=True, slots=True)
class ValueExpression:
    """A value type by the word for it; `references` may hold `None` for a payload that is absent."""

    kind: str
    names: tuple[str, ...]
    references: tuple[Reference | None, ...]


@dataclass(frozen=True, slots=True)
class FunctionExpression:
    """A function type."""

    names: tuple[str, ...]
    references: tuple[Reference, ...]
    result: Reference | None


@dataclass(frozen=True, slots=True)
class ScopeExpression:
    """An instance type or a component type: declarations with index spaces of their own."""

    kind: str
    declarations: tuple[Definition, ...]


@dataclass(frozen=True, slots=True)
class Ascription:
    """What an import or export declares to be: of that sort and the type with that index; `None`: a new resource."""

    sort: str
    index: int | None


@dataclass(frozen=True, slots=True)
class CoreModuleDefinition:
    """A core module: the bytes from `start` to `end`."""

    at: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class NestedComponent:
    """A component inside."""

    at: int
    definitions: tuple[Definition, ...]


@dataclass(frozen=True, slots=True)
class Instantiation:
    """An instance of a module or component, with arguments by name: (name, sort, index)."""

    at: int
    core: bool
    index: int
    arguments: tuple[tuple[str, str, int], ...]


@dataclass(frozen=True, slots=True)
class Bundle:
    """An instance made of what is there already: (name, sort, index)."""

    at: int
    core: bool
    exports: tuple[tuple[str, str, int], ...]


@dataclass(frozen=True, slots=True)
class ExportAlias:
    """Another name for what an instance exports; `core` says of which kind the instance is."""

    at: int
    core: bool
    sort: str
    instance: int
    name: str


@dataclass(frozen=True, slots=True)
class OuterAlias:
    """Another name for what stands `count` levels further out."""

    at: int
    sort: str
    count: int
    index: int


@dataclass(frozen=True, slots=True)
class TypeDefinition:
    """A type; `None` for a resource that the component itself defines."""

    at: int
    expression: ValueExpression | FunctionExpression | ScopeExpression | None


@dataclass(frozen=True, slots=True)
class Canonical:
    """lift, lower, resource.new, resource.drop or resource.rep of `index`; `type` is the type of what is lifted."""

    at: int
    kind: str
    index: int
    options: tuple[tuple[str, int], ...] = ()
    type: int = 0


@dataclass(frozen=True, slots=True)
class ImportDefinition:
    """An import, of a component or of a component type."""

    at: int
    name: str
    ascription: Ascription


@dataclass(frozen=True, slots=True)
class ExportDefinition:
    """An export: of what `sort` and `index` say in a component, of the ascribed type alone in a type."""

    at: int
    name: str
    sort: str
    index: int | None
    ascription: Ascription | None


Definition = (
    CoreModuleDefinition
    | NestedComponent
    | Instantiation
    | Bundle
    | ExportAlias
    | OuterAlias
    | TypeDefinition
    | Canonical
    | ImportDefinition
    | ExportDefinition
)
