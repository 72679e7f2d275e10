"""Proves how the core modules of a component are wired together, for the one shape that can be taken apart.

That shape: a main module; a shim, whose functions do nothing but jump through its table; helpers, which fill that table
or call `_initialize` and do nothing else; and a preview 1 adapter.  `Wiring` promises that these roles are proved by
what the modules contain and how they are instantiated, never by a name that a tool wrote into them.  It must not know
WIT types.
"""

from __future__ import annotations

from guesthouse.engine.component import Scope
from guesthouse.engine.component_items import (
    CoreExport,
    CoreInstance,
    CoreItem,
    LoweredFunction,
    ResourceFunction,
    sort_of,
)
from guesthouse.engine.wasm_binary import CoreModule, Import, read_module
from guesthouse.engine.wasm_reader import Reader
from guesthouse.errors import InvalidModule

MAX_MODULES = 8
"""Core modules of a component: tools make a main module, a shim, two helpers and an adapter."""
PREVIEW1 = "wasi_snapshot_preview1"
INITIALIZE = "_initialize"
"""The export by which a module's static constructors run, once, before anything else."""
START = "_start"
"""The export of a program that runs all of it."""
SHIM, HELPER, ADAPTER = "wit-component:shim", "wit-component:fixups", f"wit-component:adapter:{PREVIEW1}"

_NO_LOCALS, _LOCAL_GET, _I32_CONST, _CALL_INDIRECT, _END = 0, 0x20, 0x41, 0x11, 0x0B


def unusable(reason: str) -> InvalidModule:
    """The error for a component that cannot be taken apart."""
    return InvalidModule(f"this component cannot run here: {reason}")


class Wiring:
    """The main module of a component, and what stands behind its imports and exports.

    `dropped` names the other modules by their role.
    """

    def __init__(self, wasm: bytes, scope: Scope) -> None:
        self._modules = _read_modules(wasm, scope)
        self._shim: CoreInstance | None = None
        self._slots: dict[str, int] = {}
        self._filled: dict[int, CoreItem] = {}
        helpers, others = self._sort_out()
        self._main = self._choose_main(others)
        self.main = self._modules[self._main]
        for helper in helpers:
            self._apply(helper)
        starts = [helper for helper in helpers if self._modules[helper].start_function is not None]
        if len(starts) != (INITIALIZE in self.main.exports):
            raise unusable(f"it does not call the main module's {INITIALIZE} exactly once")
        if len(self._filled) != len(self._slots):
            raise unusable("the table of its shim module is not filled by the fix-up module")
        self._adapters = [instance for instance in others if instance is not self._main]
        for adapter in self._adapters:
            self._check_adapter(adapter)
        self.dropped = (*[SHIM] * bool(self._shim), *[HELPER] * len(helpers), *[ADAPTER] * len(self._adapters))

    def behind(self, import_: Import) -> CoreItem:
        """What an import of the main module stands for, with the shim out of the way."""
        return self.resolve(_argument(self._main, import_))

    def resolve(self, item: CoreItem) -> CoreItem:
        """What `item` stands for, with the shim out of the way."""
        if not isinstance(item, CoreExport) or item.instance is not self._shim:
            return item
        found = self._filled.get(self._slots.get(item.name, -1))
        if found is None or (isinstance(found, CoreExport) and found.instance is self._shim):
            raise unusable(f"the function {item.name!r} of its shim module leads nowhere")
        return found

    def from_main(self, item: CoreItem | None, kind: str) -> int | None:
        """The index of the main module's function or memory that `item` is; `None` if it is something else."""
        if item is None or not isinstance(item, CoreExport) or item.instance is not self._main:
            return None
        exported, index = self.main.exports.get(item.name, ("", 0))
        return index if exported == kind and item.sort == f"core {kind}" else None

    def is_preview1(self, item: CoreItem, import_: Import) -> bool:
        """Whether the main module's import is a function of preview 1, which the adapter answers."""
        if not isinstance(item, CoreExport) or item.instance not in self._adapters or import_.module != PREVIEW1:
            return False
        exported, _ = self._modules[item.instance].exports.get(item.name, ("", 0))
        return exported == "function" and item.name == import_.name

    def runs_main(self, item: CoreItem, name: str) -> bool:
        """Whether `item` is the function `name` of an adapter that was given the main module's `_start` to run."""
        if not isinstance(item, CoreExport) or item.instance not in self._adapters or item.name != name:
            return False
        adapter = self._modules[item.instance]
        if adapter.exports.get(name, ("", 0))[0] != "function":
            return False
        given = [import_ for import_ in adapter.imports if import_.name == START]
        found = [self.from_main(self.resolve(_argument(item.instance, import_)), "function") for import_ in given]
        return bool(found) and found == [self.main.exports.get(START, ("", None))[1]]

    def _sort_out(self) -> tuple[list[CoreInstance], list[CoreInstance]]:
        """Finds the shim; answers the helpers and all others."""
        helpers, others = [], []
        for instance, module in self._modules.items():
            slots = _trampolines(module)
            if slots is not None:
                if self._shim is not None:
                    raise unusable("it has several shim modules")
                self._shim, self._slots = instance, slots
            elif _is_helper(module):
                helpers.append(instance)
            else:
                others.append(instance)
        return helpers, others

    def _choose_main(self, others: list[CoreInstance]) -> CoreInstance:
        if not others:
            raise unusable("it has no core module that does anything")
        if len(others) == 1:
            return others[0]
        owners = [instance for instance in others if not _imports(self._modules[instance], "memory")]
        if len(owners) != 1 or len(others) != 2:
            raise self._several(others)
        return owners[0]

    def _several(self, others: list[CoreInstance]) -> InvalidModule:
        names = ", ".join(repr(self._modules[instance].name or "unnamed") for instance in others)
        return unusable(f"it links several core modules ({names}), and only one can be run")

    def _apply(self, helper: CoreInstance) -> None:
        """Fills the shim's table as `helper` does; refuses a helper that does anything else."""
        module = self._modules[helper]
        functions, tables = _imports(module, "function"), _imports(module, "table")
        if module.start_function is not None:
            started = _argument(helper, functions[module.start_function])
            if started != CoreExport(self._main, "core function", INITIALIZE):
                raise unusable(f"it starts with something other than the main module's {INITIALIZE}")
        for segment in module.segments:
            if segment.table is None or segment.offset is None or segment.functions is None:
                raise unusable("its fix-up module does not just fill a table")
            if segment.table >= len(tables) or not self._is_shim_table(_argument(helper, tables[segment.table])):
                raise unusable("its fix-up module fills a table that is not the shim module's")
            for slot, function in enumerate(segment.functions, segment.offset):
                if slot in self._filled or slot not in self._slots.values() or function >= len(functions):
                    raise unusable("its fix-up module fills the table with something strange")
                self._filled[slot] = _argument(helper, functions[function])

    def _is_shim_table(self, item: CoreItem) -> bool:
        if not isinstance(item, CoreExport) or self._shim is None or item.instance is not self._shim:
            return False
        return self._modules[self._shim].exports.get(item.name) == ("table", 0)

    def _check_adapter(self, adapter: CoreInstance) -> None:
        """Refuses a module that sees more than an adapter does: the main module's memory and functions, and WASI.

        For a program, which has no allocator to lend, it begins with getting itself memory for a stack.
        """
        module = self._modules[adapter]
        if (module.start_function is not None and START not in self.main.exports) or module.data_segments:
            raise self._several([self._main, adapter])
        for import_ in module.imports:
            item = self.resolve(_argument(adapter, import_))
            if isinstance(item, LoweredFunction):
                fits = item.function.interface.startswith("wasi:")
            elif isinstance(item, ResourceFunction):
                fits = item.kind == "resource.drop" and item.resource.interface.startswith("wasi:")
            else:
                fits = import_.kind in ("memory", "function") and self.from_main(item, import_.kind) is not None
            if not fits:
                raise self._several([self._main, adapter])


def _read_modules(wasm: bytes, scope: Scope) -> dict[CoreInstance, CoreModule]:
    """The core modules by their instances: each has exactly one."""
    bundles_too: list[CoreInstance] = scope.spaces.get("core instance", [])
    instances = [(instance, instance.module) for instance in bundles_too if instance.module is not None]
    if len(instances) > MAX_MODULES:
        raise unusable(f"it has {len(instances)} instances of core modules, and {MAX_MODULES} are the most")
    starts = {module.start for _, module in instances}
    if len(starts) != len(instances) or len(starts) != scope.size("core module"):
        raise unusable("one of its core modules is instantiated several times, or not at all")
    return {instance: read_module(wasm, module.start, module.end) for instance, module in instances}


def _imports(module: CoreModule, kind: str) -> list[Import]:
    return [import_ for import_ in module.imports if import_.kind == kind]


def _argument(instance: CoreInstance, import_: Import) -> CoreItem:
    """What `instance` was given for one of its imports."""
    source, sort = instance.arguments.get(import_.module), f"core {import_.kind}"
    item: CoreItem | None = None
    if source is not None:
        item = source.exports.get(import_.name) if source.module is None else CoreExport(source, sort, import_.name)
    if item is None or sort_of(item) != sort:
        raise unusable(f"the import {import_.module!r} {import_.name!r} of one of its core modules is not satisfied")
    return item


def _is_helper(module: CoreModule) -> bool:
    """Whether the module has nothing but imports, element segments and a start function."""
    own = module.bodies or module.memories or module.globals or module.exports or module.data_segments
    return not own and len(module.tables) == len(_imports(module, "table")) and bool(module.imports)


def _trampolines(module: CoreModule) -> dict[str, int] | None:
    """For a shim, the slot of its table that each of its functions calls; `None` for any other module."""
    functions = {name: index for name, (kind, index) in module.exports.items() if kind == "function"}
    size = len(module.bodies)
    strange = module.imports or module.memories or module.globals or module.segments or module.data_segments
    if strange or module.start_function is not None or not size or len(functions) != size:
        return None
    if len(module.tables) != 1 or (module.tables[0].minimum, module.tables[0].maximum) != (size, size):
        return None
    slots = {name: _slot(module, index) for name, index in functions.items()}
    found = {name: slot for name, slot in slots.items() if slot is not None}
    return found if sorted(found.values()) == list(range(size)) else None


def _slot(module: CoreModule, function: int) -> int | None:
    """The table slot to which the function passes all its parameters, if that is all it does."""
    signature = module.functions[function]
    reader = Reader(module.data, *module.bodies[function])
    passed = [part for index in range(len(signature[0])) for part in (_LOCAL_GET, index)]
    try:
        if any(reader.u32() != value for value in (_NO_LOCALS, *passed, _I32_CONST)):
            return None
        slot = reader.signed(32)
        call, type_, table, end = reader.byte(), reader.u32(), reader.u32(), reader.byte()
    except InvalidModule:
        return None
    if (call, table, end, reader.left) != (_CALL_INDIRECT, 0, _END, 0):
        return None
    return slot if type_ < len(module.types) and module.types[type_] == signature else None
