"""Gives the definitions of a component their meaning: every index resolved to what it stands for.

It promises to raise nothing but `InvalidModule`, in bounded time and memory, and that whatever an index, an alias, an
argument or an export leads to is there and of the right sort.  It does not prove that a component is valid; it must not
know which components can run here (`unbundle` does), nor what hosts offer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from guesthouse.engine.component_items import (
    CoreExport,
    CoreInstance,
    Function,
    Instance,
    LoweredFunction,
    Options,
    ResourceFunction,
    conforming,
    sort_of,
)
from guesthouse.engine.component_syntax import MAX_NESTING, Budgets, ComponentSyntax
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
    ScopeExpression,
    TypeDefinition,
)
from guesthouse.engine.component_types import (
    ROOT,
    FunctionEntry,
    ValueEntry,
    build_function,
    build_value,
    check_interface,
    check_label,
    merge_worlds,
    named,
    refuse,
)
from guesthouse.engine.types import ResourceType, WorldType
from guesthouse.engine.wasm_reader import Reader
from guesthouse.errors import InvalidModule

MAX_CORE_INSTANCES = 256
"""Core instances: tools make one for each imported interface, and five more."""


@dataclass(frozen=True, slots=True, eq=False)
class ScopeType:
    """An instance type, a component type or a nested component, and as much of the scope around it as it sees."""

    kind: str
    definitions: tuple[Definition, ...]
    scope: Scope
    visible: int


@dataclass(slots=True, eq=False)
class Scope:
    """The index spaces of one component or type, which `define` fills in the file's order.

    `kind` is component, nested, or the kind of type.  `owner` is the interface that new resources and functions belong
    to.  `arguments` are what imports stand for; `None` where they stand for themselves.
    """

    kind: str
    owner: str
    budgets: Budgets
    parent: ScopeType | None = None
    arguments: dict[str, Any] | None = None
    depth: int = 0
    spaces: dict[str, list[Any]] = field(default_factory=dict)
    imports: dict[str, Any] = field(default_factory=dict)
    exports: dict[str, Any] = field(default_factory=dict)

    def define(self, definition: Definition) -> None:
        """Adds what `definition` means to its index space."""
        self.budgets.steps.spend()
        _MEANINGS[type(definition)](self, definition)

    def add(self, sort: str, item: Any) -> None:
        """Adds `item` to the index space of that sort."""
        self.spaces.setdefault(sort, []).append(item)

    def size(self, sort: str) -> int:
        """How many items the index space of that sort has."""
        return len(self.spaces.get(sort, ()))

    def get(self, sort: str, index: int, at: int) -> Any:
        """What stands at `index`."""
        if index >= self.size(sort):
            raise refuse(at, f"there is no {sort} {index:,}")
        return self.spaces[sort][index]

    def type_at(self, at: int) -> Callable[[int], Any]:
        """The type index space, for a definition at byte `at`."""
        return lambda index: self.get("type", index, at)

    def inner(self, type_: ScopeType, owner: str, arguments: dict[str, Any] | None = None) -> Scope:
        """What `type_` amounts to where new resources belong to `owner`."""
        if self.depth >= MAX_NESTING:
            raise InvalidModule(f"the component cannot be used: it leads more than {MAX_NESTING} levels deep")
        scope = Scope(type_.kind, owner, self.budgets, type_, arguments, self.depth + 1)
        for definition in type_.definitions:
            scope.define(definition)
        return scope

    def ascribed(self, name: str, ascription: Ascription, at: int) -> Any:
        """Something new as it is ascribed to the import or export `name`."""
        if ascription.index is None:
            return ResourceType(self.owner, check_label(name))
        entry = self.get("type", ascription.index, at)
        if isinstance(entry, FunctionEntry | ValueEntry):
            self.budgets.nodes.spend(entry.nodes)
        if ascription.sort == "type":
            return named(entry, name)
        if ascription.sort == "function" and isinstance(entry, FunctionEntry):
            return Function(entry.type, self.owner, name)
        if isinstance(entry, ScopeType) and entry.kind == ascription.sort:
            if entry.kind == "component":
                return entry
            return Instance(self.inner(entry, check_interface(name)).exports)
        raise refuse(at, f"{name!r} is a {ascription.sort}, but its type is of something else")

    def bound(self, name: str, ascription: Ascription, at: int) -> Any:
        """The argument for the import `name`, which has to be what the import asks for."""
        argument = (self.arguments or {}).get(name)
        if ascription.index is None and isinstance(argument, ResourceType):
            return argument
        found = conforming(self.ascribed(name, ascription, at), argument)
        if found is None:
            raise refuse(at, f"the argument {name!r} of a nested component is missing or not what it imports")
        return argument if isinstance(argument, ValueEntry) else found  # an argument has the better name


def read_component(data: bytes) -> Scope:
    """The meaning of the component in `data`; raises `InvalidModule`."""
    return _meaning(ComponentSyntax(Reader(data), Budgets()))


def _meaning(syntax: ComponentSyntax) -> Scope:
    scope = Scope("component", ROOT, syntax.budgets)
    for definition in syntax.definitions:
        scope.define(definition)
    return scope


def read_world(data: bytes, sections: Iterable[tuple[int, int]]) -> WorldType:
    """The world that the `component-type:*` custom sections from `start` to `end` describe; raises `InvalidModule`.

    Each published crate brings a section of its own; the world is what they say together.
    """
    budgets = Budgets()
    return merge_worlds([_world_section(data, start, end, budgets) for start, end in sections])


def _world_section(data: bytes, start: int, end: int, budgets: Budgets) -> WorldType:
    syntax = ComponentSyntax(Reader(data, start, end), budgets)
    versions = [data[begin:stop] for name, begin, stop in syntax.customs if name == "wit-component-encoding"]
    if versions != [b"\x04\x00"]:
        raise refuse(start, "a component-type section is not of version 4, or its strings are not UTF-8")
    scope = _meaning(syntax)
    for _ in range(2):  # it exports, by its short name, a type that exports, by its full name, the world's type
        types = [item for item in scope.exports.values() if isinstance(item, ScopeType) and item.kind == "component"]
        if len(scope.exports) != 1 or not types:
            raise refuse(start, "a component-type section does not hold one world")
        scope = scope.inner(types[0], ROOT)
    return world_of(scope)


def world_of(scope: Scope) -> WorldType:
    """What a component or component type imports and exports; types that stand in the world itself are left out."""
    world = WorldType({}, {})
    for items, interfaces, functions in (
        (scope.imports, world.imports, world.function_imports),
        (scope.exports, world.exports, world.function_exports),
    ):
        for name, item in items.items():
            if isinstance(item, Instance):
                interfaces[name] = item.interface(check_interface(name))
            elif isinstance(item, Function):
                functions[check_label(name)] = item.type
            elif not isinstance(item, ValueEntry) and not (isinstance(item, ResourceType) and item.interface != ROOT):
                raise InvalidModule(f"the component cannot be used: {name!r} is no interface, function or value type")
    return world


def _only_at_top(scope: Scope, at: int) -> None:
    if scope.kind != "component":
        raise refuse(at, "a nested component does more than pass on types and functions")


def _core_module(scope: Scope, definition: CoreModuleDefinition) -> None:
    _only_at_top(scope, definition.at)
    scope.add("core module", definition)


def _nested(scope: Scope, definition: NestedComponent) -> None:
    _only_at_top(scope, definition.at)
    scope.add("component", ScopeType("nested", definition.definitions, scope, scope.size("type")))


def _collect(scope: Scope, pairs: tuple[tuple[str, str, int], ...], at: int) -> dict[str, Any]:
    scope.budgets.steps.spend(len(pairs))
    items = {name: scope.get(sort, index, at) for name, sort, index in pairs}
    if len(items) != len(pairs):
        raise refuse(at, "a name is repeated")
    return items


def _instantiation(scope: Scope, definition: Instantiation) -> None:
    at = definition.at
    _only_at_top(scope, at)
    arguments = _collect(scope, definition.arguments, at)
    if definition.core:
        _add_core_instance(scope, CoreInstance(scope.get("core module", definition.index, at), arguments, {}), at)
        return
    component = scope.get("component", definition.index, at)
    if component.kind != "nested":
        raise refuse(at, "a component is instantiated that is not inside")
    scope.add("instance", Instance(scope.inner(component, "", arguments).exports))


def _bundle(scope: Scope, definition: Bundle) -> None:
    exports = _collect(scope, definition.exports, definition.at)
    if definition.core:
        _only_at_top(scope, definition.at)
        _add_core_instance(scope, CoreInstance(None, {}, exports), definition.at)
    else:
        scope.add("instance", Instance({name: named(item, name) for name, item in exports.items()}))


def _add_core_instance(scope: Scope, instance: CoreInstance, at: int) -> None:
    if scope.size("core instance") >= MAX_CORE_INSTANCES:
        raise refuse(at, f"there are more than {MAX_CORE_INSTANCES} core instances")
    scope.add("core instance", instance)


def _export_alias(scope: Scope, alias: ExportAlias) -> None:
    instance = scope.get("core instance" if alias.core else "instance", alias.instance, alias.at)
    if alias.core and instance.module is not None:
        item = CoreExport(instance, alias.sort, alias.name)
    else:
        item = instance.exports.get(alias.name)
    if item is None or sort_of(item) != alias.sort or alias.sort.startswith("core ") != alias.core:
        raise refuse(alias.at, f"an instance has no {alias.sort} {alias.name!r}")
    scope.add(alias.sort, item)


def _outer_alias(scope: Scope, alias: OuterAlias) -> None:
    if alias.sort != "type":
        raise refuse(alias.at, f"a {alias.sort} from outside is used")
    visible = None
    target = scope
    for _ in range(alias.count):
        if target.parent is None:
            raise refuse(alias.at, f"there are not {alias.count:,} levels outside")
        visible, target = target.parent.visible, target.parent.scope
    if visible is not None and alias.index >= visible:
        raise refuse(alias.at, f"there is no type {alias.index:,} outside")
    scope.add("type", target.get("type", alias.index, alias.at))


def _type(scope: Scope, definition: TypeDefinition) -> None:
    at, expression = definition.at, definition.expression
    if expression is None:
        raise refuse(at, "it defines a resource of its own, and only the host's can be used")
    if isinstance(expression, ScopeExpression):
        scope.add("type", ScopeType(expression.kind, expression.declarations, scope, scope.size("type")))
        return
    scope.budgets.steps.spend(len(expression.names) + len(expression.references))
    if isinstance(expression, FunctionExpression):
        scope.add("type", build_function(expression, scope.type_at(at), at))
    else:
        scope.add("type", build_value(expression, scope.type_at(at), at))


def _canonical(scope: Scope, canonical: Canonical) -> None:
    at, index = canonical.at, canonical.index
    _only_at_top(scope, at)
    if canonical.kind == "lift":
        type_ = scope.get("type", canonical.type, at)
        if not isinstance(type_, FunctionEntry):
            raise refuse(at, "what is lifted has no function type")
        core = scope.get("core function", index, at)
        scope.add("function", Function(type_.type, core=core, options=_options(scope, canonical)))
    elif canonical.kind == "lower":
        function = scope.get("function", index, at)
        scope.add("core function", LoweredFunction(function, _options(scope, canonical)))
    else:
        resource = scope.get("type", index, at)
        if not isinstance(resource, ResourceType):
            raise refuse(at, f"{canonical.kind} is of no resource")
        scope.add("core function", ResourceFunction(canonical.kind, resource))


def _options(scope: Scope, canonical: Canonical) -> Options:
    found: dict[str, Any] = {}
    for word, index in canonical.options:
        key = word if word in ("memory", "realloc", "post-return") else "encoding"
        if key in found:
            raise refuse(canonical.at, f"the canonical option {word} is repeated")
        sort = "core memory" if key == "memory" else "core function"
        found[key] = word if key == "encoding" else scope.get(sort, index, canonical.at)
    encoding = found.get("encoding", "utf8")
    return Options(encoding, found.get("memory"), found.get("realloc"), found.get("post-return"))


def _import(scope: Scope, definition: ImportDefinition) -> None:
    name, at = definition.name, definition.at
    if name in scope.imports:
        raise refuse(at, f"the import {name!r} is repeated")
    resolve = scope.ascribed if scope.arguments is None else scope.bound
    scope.imports[name] = resolve(name, definition.ascription, at)
    scope.add(definition.ascription.sort, scope.imports[name])


def _export(scope: Scope, definition: ExportDefinition) -> None:
    name, at, ascription = definition.name, definition.at, definition.ascription
    if name in scope.exports:
        raise refuse(at, f"the export {name!r} is repeated")
    expected = ascription and scope.ascribed(name, ascription, at)
    if definition.index is None:
        item = expected
    else:
        item = named(scope.get(definition.sort, definition.index, at), name)
        if ascription:
            item = conforming(expected, item)
            if item is None:
                raise refuse(at, f"the export {name!r} is not of the type that is ascribed to it")
    scope.exports[name] = item
    scope.add(definition.sort, item)


_MEANINGS: dict[type, Callable[[Scope, Any], None]] = {
    CoreModuleDefinition: _core_module,
    NestedComponent: _nested,
    Instantiation: _instantiation,
    Bundle: _bundle,
    ExportAlias: _export_alias,
    OuterAlias: _outer_alias,
    TypeDefinition: _type,
    Canonical: _canonical,
    ImportDefinition: _import,
    ExportDefinition: _export,
}
