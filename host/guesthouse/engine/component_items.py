"""What the indices of a component stand for: instances, functions and core items, as plain data.

`component` makes them, `unbundle` reads them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from guesthouse.engine.component_tree import CoreModuleDefinition
from guesthouse.engine.component_types import ValueEntry, build_interface
from guesthouse.engine.types import FuncType, InterfaceType, ResourceType


@dataclass(frozen=True, slots=True, eq=False)
class CoreInstance:
    """An instance of `module`, or (`module` is `None`) a bundle of items that were there already."""

    module: CoreModuleDefinition | None
    arguments: dict[str, CoreInstance]
    exports: dict[str, CoreItem]


@dataclass(frozen=True, slots=True)
class CoreExport:
    """What an instance of a module exports under `name`; nothing has checked yet that it does."""

    instance: CoreInstance
    sort: str
    name: str


@dataclass(frozen=True, slots=True)
class Options:
    """How lifting and lowering reach the guest's memory."""

    encoding: str
    memory: CoreItem | None
    realloc: CoreItem | None
    post_return: CoreItem | None


@dataclass(frozen=True, slots=True, eq=False)
class LoweredFunction:
    """A component function as a core function."""

    function: Function
    options: Options


@dataclass(frozen=True, slots=True)
class ResourceFunction:
    """resource.new, resource.drop or resource.rep of `resource`, as a core function."""

    kind: str
    resource: ResourceType


CoreItem = CoreExport | LoweredFunction | ResourceFunction


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """A component function: `name` of `interface`, where it is imported, or the core function `core`, lifted."""

    type: FuncType
    interface: str = ""
    name: str = ""
    core: CoreItem | None = None
    options: Options | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """A component instance, by what it exports."""

    exports: dict[str, Any]

    def interface(self, name: str) -> InterfaceType:
        """Its functions and resources, as the interface `name`."""
        functions = {key: item.type for key, item in self.exports.items() if isinstance(item, Function)}
        resources = {key: item for key, item in self.exports.items() if isinstance(item, ResourceType)}
        return build_interface(name, functions, resources)


def sort_of(item: Any) -> str:
    """The index space to which `item` belongs."""
    if isinstance(item, CoreExport):
        return item.sort
    if isinstance(item, LoweredFunction | ResourceFunction):
        return "core function"
    if isinstance(item, CoreInstance):
        return "core instance"
    if isinstance(item, Function):
        return "function"
    return "instance" if isinstance(item, Instance) else "type"


def conforming(expected: Any, item: Any) -> Any:
    """`item` as `expected` describes it (the names of its types, nothing but its exports); `None` if it differs."""
    if isinstance(expected, ResourceType) and expected == item:
        return item
    if isinstance(expected, ValueEntry) and isinstance(item, ValueEntry) and expected.type == item.type:
        return expected
    if isinstance(expected, Function) and isinstance(item, Function) and expected.type == item.type:
        return replace(item, type=expected.type)
    if isinstance(expected, Instance) and isinstance(item, Instance):
        exports = {name: conforming(inner, item.exports.get(name)) for name, inner in expected.exports.items()}
        return None if None in exports.values() else Instance(exports)
    return None
