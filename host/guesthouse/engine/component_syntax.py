"""Reads the component binary format into plain definitions, in the file's order.

It promises to raise nothing but `InvalidModule`, and to bound depth and number of what it reads: the WIT 0.2 features
(no async, no streams), which is what component tools emit for them.  It knows the grammar; it must not know index
spaces, nor what any definition means: `component` does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from guesthouse.engine.component_tree import (
    Ascription,
    Bundle,
    Canonical,
    CoreModuleDefinition,
    Definition,
    ExportAlias,
    ExportDefinition,
    FunctionExpression,
    ImportDefinition,
    Instantiation,
    NestedComponent,
    OuterAlias,
    Reference,
    ScopeExpression,
    TypeDefinition,
    ValueExpression,
)
from guesthouse.engine.wasm_reader import Reader
from guesthouse.errors import InvalidModule

T = TypeVar("T")

PREAMBLE = b"\0asm\x0d\0\x01\0"
MAX_SIZE = 1 << 20
"""Bytes of a component outside its core modules and custom sections: real ones have some tens of KiB."""
MAX_DEFINITIONS = 20_000
"""Sections, definitions and declarations at all levels together: a guest of five crates has 1,600."""
MAX_STEPS = 200_000
"""Definitions and their parts that get a meaning, counted for each use of a type or component: bounds the time."""
MAX_NODES = 500_000
"""Nodes of the types of all imports and exports, written out in full: bounds what comparing them costs."""
MAX_NESTING = 32
"""Levels of components and of types in each other: tools emit four."""
MAX_ITEMS = 1_000
"""Fields, cases, parameters, arguments or exports in one definition: real ones have under 100."""

_PRIMITIVES = ("bool", "s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64", "f32", "f64", "char", "string")
_PRIMITIVE_CODES = {0x7F - place: name for place, name in enumerate(_PRIMITIVES)}
_CORE_SORTS = {0: "function", 1: "table", 2: "memory", 3: "global", 0x10: "type", 0x11: "module", 0x12: "instance"}
_SORTS = {1: "function", 2: "value", 3: "type", 4: "component", 5: "instance"}
_ENCODINGS = ("utf8", "utf16", "latin1+utf16")
_INDEXED_OPTIONS = {3: "memory", 4: "realloc", 5: "post-return"}
_RESOURCE_BUILTINS = {2: "resource.new", 3: "resource.drop", 4: "resource.rep"}


class Budget:
    """So many of `what` in all; raises `InvalidModule` when they are used up."""

    __slots__ = ("left", "limit", "what")

    def __init__(self, limit: int, what: str) -> None:
        self.limit = self.left = limit
        self.what = what

    def spend(self, amount: int = 1) -> None:
        """Uses up `amount`."""
        self.left -= amount
        if self.left < 0:
            raise InvalidModule(f"the component has more than {self.limit:,} {self.what}")


class Budgets:
    """What reading one file may use up, shared by all components in it."""

    __slots__ = ("definitions", "nodes", "size", "steps")

    def __init__(self) -> None:
        self.size = Budget(MAX_SIZE, "bytes of definitions")
        self.definitions = Budget(MAX_DEFINITIONS, "definitions")
        self.steps = Budget(MAX_STEPS, "uses of definitions")
        self.nodes = Budget(MAX_NODES, "parts of types")


class ComponentSyntax:
    """The definitions of the component in `reader`, and the custom sections at its top: (name, start, end)."""

    def __init__(self, reader: Reader, budgets: Budgets, depth: int = 0) -> None:
        self.budgets = budgets
        self.depth = depth
        self.definitions: list[Definition] = []
        self.customs: list[tuple[str, int, int]] = []
        if depth > MAX_NESTING:
            raise reader.invalid(f"components are nested more than {MAX_NESTING} deep")
        if reader.data[reader.position : min(reader.position + 8, reader.end)] != PREAMBLE:
            raise reader.invalid("this does not begin as a component of version 13")
        reader.skip(8)
        while reader.left:
            at = reader.position
            budgets.definitions.spend()
            self._section(reader.byte(), reader.part(), at)

    def _section(self, section: int, part: Reader, at: int) -> None:
        if section == 0:
            self.customs.append((part.name(), part.position, part.end))
        elif section == 1:
            self._add(CoreModuleDefinition(at, part.position, part.end))
        elif section == 4:
            nested = ComponentSyntax(part, self.budgets, self.depth + 1)
            self._add(NestedComponent(at, tuple(nested.definitions)))
        elif section in _SECTIONS:
            self.budgets.size.spend(part.left)
            item = _SECTIONS[section]
            for _ in range(part.count("definitions", MAX_DEFINITIONS)):
                self._add(item(part, self.budgets.definitions, self.depth))
            part.finish("section")
        else:
            what = {3: "core type", 9: "start", 12: "value"}.get(section, "unknown")
            raise part.invalid(f"section {section} ({what}) is not supported in a component", at)

    def _add(self, definition: Definition) -> None:
        self.budgets.definitions.spend()
        self.definitions.append(definition)


def _sort(reader: Reader) -> str:
    at = reader.position
    code = reader.byte()
    sort = _SORTS.get(code)
    if code == 0:
        sort = _CORE_SORTS.get(reader.byte())
        sort = sort and f"core {sort}"
    if sort is None:
        raise reader.invalid("this is no sort of definition", at)
    return sort


def _external_name(reader: Reader) -> str:
    if reader.byte() > 1:  # older tools wrote 1 before the names of interfaces
        raise reader.invalid("names with options are not supported", reader.position - 1)
    return reader.name()


def _many(reader: Reader, what: str, item: Callable[[Reader], T]) -> tuple[T, ...]:
    return tuple([item(reader) for _ in range(reader.count(what, MAX_ITEMS))])


def _reference(reader: Reader) -> Reference:
    at = reader.position
    code = reader.signed(33)
    if code >= 0:
        return code
    name = _PRIMITIVE_CODES.get(code & 0x7F)
    if name is None or reader.position != at + 1:
        raise reader.invalid("this is no value type that is supported", at)
    return name


def _optional(reader: Reader) -> Reference | None:
    flag = reader.byte()
    if flag > 1:
        raise reader.invalid("a payload is neither there nor absent", reader.position - 1)
    return _reference(reader) if flag else None


def _core_instance(reader: Reader, budget: Budget, depth: int) -> Definition:
    at = reader.position
    if _either(reader):
        return Bundle(at, True, _many(reader, "exports", _core_export))
    return Instantiation(at, True, reader.u32(), _many(reader, "arguments", _core_argument))


def _either(reader: Reader) -> int:
    choice = reader.byte()
    if choice > 1:
        raise reader.invalid(f"{choice:#x} stands where only 0 or 1 may", reader.position - 1)
    return choice


def _core_argument(reader: Reader) -> tuple[str, str, int]:
    name = reader.name()
    if reader.byte() != 0x12:
        raise reader.invalid("a core argument is no instance", reader.position - 1)
    return name, "core instance", reader.u32()


def _core_export(reader: Reader) -> tuple[str, str, int]:
    name = reader.name()
    sort = _CORE_SORTS.get(reader.byte())
    if sort is None:
        raise reader.invalid("this is no sort of core definition", reader.position - 1)
    return name, f"core {sort}", reader.u32()


def _instance(reader: Reader, budget: Budget, depth: int) -> Definition:
    at = reader.position
    if _either(reader):
        return Bundle(at, False, _many(reader, "exports", lambda r: (_external_name(r), _sort(r), r.u32())))
    return Instantiation(at, False, reader.u32(), _many(reader, "arguments", lambda r: (r.name(), _sort(r), r.u32())))


def _alias(reader: Reader, budget: Budget, depth: int) -> Definition:
    at = reader.position
    sort = _sort(reader)
    target = reader.byte()
    if target > 2:
        raise reader.invalid("this is no target of an alias", reader.position - 1)
    if target == 2:
        return OuterAlias(at, sort, reader.u32(), reader.u32())
    return ExportAlias(at, target == 1, sort, reader.u32(), reader.name())


def _type(reader: Reader, budget: Budget, depth: int) -> Definition:
    at = reader.position
    code = reader.byte()
    if code == 0x3F:
        if reader.byte() != 0x7F:
            raise reader.invalid("a resource is not represented by an i32", at)
        if _either(reader):
            reader.u32()
        return TypeDefinition(at, None)
    if code == 0x40:
        fields = _many(reader, "parameters", lambda r: (r.name(), _reference(r)))
        names, references = [name for name, _ in fields], [reference for _, reference in fields]
        return TypeDefinition(at, FunctionExpression(tuple(names), tuple(references), _result(reader)))
    if code in (0x41, 0x42):
        if depth >= MAX_NESTING:
            raise reader.invalid(f"types are nested more than {MAX_NESTING} deep", at)
        return TypeDefinition(at, _scope(reader, budget, depth + 1, "component" if code == 0x41 else "instance"))
    if code in _PRIMITIVE_CODES:
        return TypeDefinition(at, ValueExpression("primitive", (), (_PRIMITIVE_CODES[code],)))
    if code not in _VALUES:
        raise reader.invalid(f"type {code:#x} is none that is supported (WIT 0.2 without async)", at)
    kind, read = _VALUES[code]
    return TypeDefinition(at, ValueExpression(kind, *read(reader)))


def _result(reader: Reader) -> Reference | None:
    if not _either(reader):
        return _reference(reader)
    if reader.byte() != 0:
        raise reader.invalid("a function has several results", reader.position - 1)
    return None


def _scope(reader: Reader, budget: Budget, depth: int, kind: str) -> ScopeExpression:
    declarations = []
    for _ in range(reader.count("declarations", MAX_DEFINITIONS)):
        budget.spend()
        at = reader.position
        code = reader.byte()
        if code == 1:
            declarations.append(_type(reader, budget, depth))
        elif code == 2:
            declarations.append(_alias(reader, budget, depth))
        elif code == 3 and kind == "component":
            declarations.append(_import(reader, budget, depth))
        elif code == 4:
            name, ascription = _external_name(reader), _ascription(reader)
            declarations.append(ExportDefinition(at, name, ascription.sort, None, ascription))
        else:
            raise reader.invalid(f"declaration {code:#x} is none that is supported", at)
    return ScopeExpression(kind, tuple(declarations))


def _ascription(reader: Reader) -> Ascription:
    sort = _sort(reader)
    if sort == "type":
        return Ascription(sort, None if _either(reader) else reader.u32())
    if sort not in ("function", "instance", "component"):
        raise reader.invalid(f"imports and exports of a {sort} are not supported")
    return Ascription(sort, reader.u32())


def _import(reader: Reader, budget: Budget, depth: int) -> Definition:
    return ImportDefinition(reader.position, _external_name(reader), _ascription(reader))


def _export(reader: Reader, budget: Budget, depth: int) -> Definition:
    at = reader.position
    name, sort, index = _external_name(reader), _sort(reader), reader.u32()
    return ExportDefinition(at, name, sort, index, _ascription(reader) if _either(reader) else None)


def _canonical(reader: Reader, budget: Budget, depth: int) -> Definition:
    at = reader.position
    code = reader.byte()
    if code in _RESOURCE_BUILTINS:
        return Canonical(at, _RESOURCE_BUILTINS[code], reader.u32())
    if code > 1:
        raise reader.invalid(f"canonical function {code:#x} is not supported (async and threads are not)", at)
    if reader.byte() != 0:
        raise reader.invalid("this is no canonical function", at)
    if code == 1:
        return Canonical(at, "lower", reader.u32(), _many(reader, "options", _option))
    return Canonical(at, "lift", reader.u32(), _many(reader, "options", _option), reader.u32())


def _option(reader: Reader) -> tuple[str, int]:
    code = reader.byte()
    if code < len(_ENCODINGS):
        return _ENCODINGS[code], 0
    if code not in _INDEXED_OPTIONS:
        raise reader.invalid(f"canonical option {code:#x} is not supported (async and GC are not)", reader.position - 1)
    return _INDEXED_OPTIONS[code], reader.u32()


_Fields = tuple[tuple[str, ...], tuple[Reference | None, ...]]


def _record(reader: Reader) -> _Fields:
    fields = _many(reader, "fields", lambda r: (r.name(), _reference(r)))
    return tuple(name for name, _ in fields), tuple(reference for _, reference in fields)


def _variant(reader: Reader) -> _Fields:
    cases = _many(reader, "cases", _case)
    return tuple(name for name, _ in cases), tuple(payload for _, payload in cases)


def _case(reader: Reader) -> tuple[str, Reference | None]:
    case = reader.name(), _optional(reader)
    if reader.byte() != 0:
        raise reader.invalid("a case refines another", reader.position - 1)
    return case


def _labels(reader: Reader) -> _Fields:
    return _many(reader, "names", Reader.name), ()


_VALUES: dict[int, tuple[str, Callable[[Reader], _Fields]]] = {
    0x72: ("record", _record),
    0x71: ("variant", _variant),
    0x70: ("list", lambda r: ((), (_reference(r),))),
    0x6F: ("tuple", lambda r: ((), _many(r, "items", _reference))),
    0x6E: ("flags", _labels),
    0x6D: ("enum", _labels),
    0x6B: ("option", lambda r: ((), (_reference(r),))),
    0x6A: ("result", lambda r: ((), (_optional(r), _optional(r)))),
    0x69: ("own", lambda r: ((), (r.u32(),))),
    0x68: ("borrow", lambda r: ((), (r.u32(),))),
}

_SECTIONS: dict[int, Callable[[Reader, Budget, int], Definition]] = {
    2: _core_instance,
    5: _instance,
    6: _alias,
    7: _type,
    8: _canonical,
    10: _import,
    11: _export,
}
