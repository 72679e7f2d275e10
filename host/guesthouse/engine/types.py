"""The WIT 0.2 types as frozen data: what the WIT parser, the component reader and the canonical ABI share.

Two types are equal when a guest built against one can be linked to the other: same shape, same names, same order.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Primitive:
    """bool, s8, u8, s16, u16, s32, u32, s64, u64, f32, f64, char or string."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class ListType:
    """list<element>"""

    element: Type

    def __str__(self) -> str:
        return f"list<{self.element}>"


@dataclass(frozen=True, slots=True)
class TupleType:
    """tuple<items…>"""

    items: tuple[Type, ...]

    def __str__(self) -> str:
        return f"tuple<{', '.join(map(str, self.items))}>"


@dataclass(frozen=True, slots=True)
class OptionType:
    """option<some>"""

    some: Type

    def __str__(self) -> str:
        return f"option<{self.some}>"


@dataclass(frozen=True, slots=True)
class ResultType:
    """result<ok, error>, where either may be absent"""

    ok: Type | None
    error: Type | None

    def __str__(self) -> str:
        if self.ok is None and self.error is None:
            return "result"
        return f"result<{self.ok or '_'}{f', {self.error}' if self.error is not None else ''}>"


@dataclass(frozen=True, slots=True)
class RecordType:
    """A record; the name is for people, the fields (WIT names, in order) are the type."""

    fields: tuple[tuple[str, Type], ...]
    name: str = field(default="", compare=False)

    def __str__(self) -> str:
        return self.name or f"record {{ {', '.join(f'{n}: {t}' for n, t in self.fields)} }}"


@dataclass(frozen=True, slots=True)
class VariantType:
    """A variant; each case has a WIT name and may have a payload."""

    cases: tuple[tuple[str, Type | None], ...]
    name: str = field(default="", compare=False)

    def __str__(self) -> str:
        return self.name or f"variant {{ {', '.join(n if t is None else f'{n}({t})' for n, t in self.cases)} }}"


@dataclass(frozen=True, slots=True)
class EnumType:
    """An enum: names in order."""

    cases: tuple[str, ...]
    name: str = field(default="", compare=False)

    def __str__(self) -> str:
        return self.name or f"enum {{ {', '.join(self.cases)} }}"


@dataclass(frozen=True, slots=True)
class FlagsType:
    """Flags: up to 32 names, bit 0 first."""

    names: tuple[str, ...]
    name: str = field(default="", compare=False)

    def __str__(self) -> str:
        return self.name or f"flags {{ {', '.join(self.names)} }}"


@dataclass(frozen=True, slots=True)
class ResourceType:
    """A resource, known by the interface that owns it (`momento:bytes/bytes@1.0.0`) and its name (`buffer`)."""

    interface: str
    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class OwnType:
    """own<resource>: the handle moves."""

    resource: ResourceType

    def __str__(self) -> str:
        return f"own<{self.resource}>"


@dataclass(frozen=True, slots=True)
class BorrowType:
    """borrow<resource>: the handle is lent for the time of the call."""

    resource: ResourceType

    def __str__(self) -> str:
        return f"borrow<{self.resource}>"


Type = (
    Primitive
    | ListType
    | TupleType
    | OptionType
    | ResultType
    | RecordType
    | VariantType
    | EnumType
    | FlagsType
    | OwnType
    | BorrowType
)


@dataclass(frozen=True, slots=True)
class FuncType:
    """A function: parameters (WIT name, type) in order, and at most one result."""

    params: tuple[tuple[str, Type], ...]
    result: Type | None = None

    def __str__(self) -> str:
        arrow = "" if self.result is None else f" -> {self.result}"
        return f"func({', '.join(f'{n}: {t}' for n, t in self.params)}){arrow}"


@dataclass(frozen=True, slots=True)
class InterfaceType:
    """An interface by its full id (`momento:bytes/bytes@1.0.0`).

    `functions` is keyed by the name that core modules use: `get`, `[constructor]client`, `[method]buffer.read`,
    `[static]thing.make`.  Methods carry their `self: borrow<resource>` as first parameter.  `resources` are the names of
    the resources that the interface owns; each has an implied core import `[resource-drop]NAME`.
    """

    name: str
    functions: dict[str, FuncType]
    resources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WorldType:
    """What a guest imports and exports: interfaces by id, and functions that stand in the world itself by name."""

    imports: dict[str, InterfaceType]
    exports: dict[str, InterfaceType]
    function_imports: dict[str, FuncType] = field(default_factory=dict)
    function_exports: dict[str, FuncType] = field(default_factory=dict)
