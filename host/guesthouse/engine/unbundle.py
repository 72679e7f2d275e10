"""Takes a guest apart: finds the one core module that does the work, and proves what its imports and exports stand for.

It promises that the core module, run by itself with each import answered by the interface function that `GuestModule`
names, does what the whole file does; what cannot be proved is refused with the reason.  It must not know which
interfaces a host offers, nor compare core signatures with WIT types: the linker does.
"""

from __future__ import annotations

import re

from guesthouse.engine import component_syntax
from guesthouse.engine.component import Scope, read_component, read_world, world_of
from guesthouse.engine.component_items import CoreItem, Function, Instance, LoweredFunction, Options, ResourceFunction
from guesthouse.engine.component_types import ROOT
from guesthouse.engine.module import CoreImport, GuestModule
from guesthouse.engine.types import WorldType
from guesthouse.engine.wasm_binary import PREAMBLE, CoreModule, Import, read_module, strip_custom
from guesthouse.engine.wasm_limits import MAX_SIZE
from guesthouse.engine.wiring import ADAPTER, Wiring, unusable
from guesthouse.errors import InvalidModule

REALLOC = "cabi_realloc"
_NUMBERS = frozenset("iIfF")
_RUN = re.compile(r"wasi:cli/run@0\.2\.[0-9]+#run")


def unbundle(wasm: bytes) -> GuestModule:
    """The guest in a component or a core module; raises `InvalidModule` for anything else, with the reason."""
    if len(wasm) > MAX_SIZE:
        raise InvalidModule(f"{len(wasm):,} bytes are more than the {MAX_SIZE:,} that are accepted")
    if wasm.startswith(PREAMBLE):
        return _unbundle_core(wasm)
    if wasm.startswith(component_syntax.PREAMBLE):
        return _unbundle_component(wasm)
    if wasm.startswith(b"\0asm"):
        raise InvalidModule("this is WebAssembly, but neither a core module of version 1 nor a component of version 13")
    raise InvalidModule("this is not WebAssembly: it does not begin with its magic number")


def _unbundle_core(wasm: bytes) -> GuestModule:
    module = read_module(wasm)
    sections = [(start, end) for name, start, end in module.customs if name.startswith("component-type")]
    world = read_world(wasm, sections) if sections else None
    return _guest(module, strip_custom(wasm), world, "core", {}, ())


def _unbundle_component(wasm: bytes) -> GuestModule:
    scope = read_component(wasm)
    world = world_of(scope)
    wiring = Wiring(wasm, scope)
    _function_imports(wiring.main)
    interfaces = _prove_imports(wiring)
    _prove_exports(scope, wiring)
    core = strip_custom(wasm[wiring.main.start : wiring.main.end])
    aliases = {module: interface for module, interface in interfaces.items() if module != interface}
    if ADAPTER in wiring.dropped:
        world = _without_unused_wasi(world, set(interfaces.values()))
    return _guest(wiring.main, core, world, "component", aliases, wiring.dropped)


def _guest(
    module: CoreModule,
    core: bytes,
    world: WorldType | None,
    form: str,
    aliases: dict[str, str],
    dropped: tuple[str, ...],
) -> GuestModule:
    memories = [name for name, (kind, _) in module.exports.items() if kind == "memory"]
    memory = module.memories[0] if module.memories else None
    return GuestModule(
        core=core,
        world=world,
        imports=_function_imports(module),
        exports=_function_exports(module),
        memory="memory" if "memory" in memories else next(iter(memories), None),
        memory_min=memory.minimum if memory else 0,
        memory_max=memory.maximum if memory else None,
        form=form,
        aliases=aliases,
        dropped=dropped,
    )


def _function_imports(module: CoreModule) -> tuple[CoreImport, ...]:
    found = []
    for import_ in module.imports:
        if import_.kind != "function":
            raise InvalidModule(f"the {import_.kind} {_title(import_)} is imported; only functions can be")
        params, results = module.functions[import_.index]
        if not _NUMBERS.issuperset(params + results):
            raise InvalidModule(f"the imported function {_title(import_)} has vectors or references in its type")
        found.append(CoreImport(import_.module, import_.name, params, results))
    return tuple(found)


def _function_exports(module: CoreModule) -> dict[str, tuple[str, str]]:
    types = {name: module.functions[index] for name, (kind, index) in module.exports.items() if kind == "function"}
    if types.get(REALLOC, ("iiii", "i")) != ("iiii", "i"):
        raise InvalidModule(f"the export {REALLOC!r} is no function (i32, i32, i32, i32) -> (i32)")
    return {name: type_ for name, type_ in types.items() if _NUMBERS.issuperset("".join(type_))}


def _title(import_: Import) -> str:
    return f"{import_.module!r} {import_.name!r}"


def _prove_imports(wiring: Wiring) -> dict[str, str]:
    """The interface that each core module name of the main module's imports stands for; refuses anything unclear."""
    interfaces: dict[str, str] = {}
    for import_ in wiring.main.imports:
        item = wiring.behind(import_)
        if wiring.is_preview1(item, import_):
            interface = import_.module
        elif isinstance(item, LoweredFunction):
            interface = _lowered_from(item, import_, wiring)
        elif isinstance(item, ResourceFunction):
            interface = _dropped_from(item, import_)
        else:
            raise unusable(f"the import {_title(import_)} is answered by another core module")
        known = interfaces.setdefault(import_.module, interface)
        if known != interface:
            raise unusable(f"imports from {import_.module!r} stand for functions of both {known!r} and {interface!r}")
    return interfaces


def _lowered_from(item: LoweredFunction, import_: Import, wiring: Wiring) -> str:
    function = item.function
    if function.core is not None:
        raise unusable(f"the import {_title(import_)} is answered by the component itself")
    if function.name != import_.name or (function.interface == ROOT) != (import_.module == ROOT):
        raise unusable(f"the import {_title(import_)} stands for {function.interface!r} {function.name!r}")
    _check_options(item.options, f"the import {_title(import_)}", wiring)
    if item.options.post_return is not None:
        raise unusable(f"the import {_title(import_)} has a post-return function")
    return function.interface


def _dropped_from(item: ResourceFunction, import_: Import) -> str:
    if item.kind != "resource.drop" or import_.name != f"[resource-drop]{item.resource}":
        raise unusable(f"the import {_title(import_)} stands for {item.kind} of {item.resource}")
    return item.resource.interface


def _check_options(options: Options, what: str, wiring: Wiring) -> None:
    if options.encoding != "utf8":
        raise unusable(f"{what} has strings in {options.encoding}, and only UTF-8 is supported")
    if options.memory is not None and wiring.from_main(options.memory, "memory") is None:
        raise unusable(f"{what} uses a memory that is not the main module's")
    if options.realloc is None:
        return
    kind, index = wiring.main.exports.get(REALLOC, ("", 0))
    if kind != "function" or wiring.from_main(wiring.resolve(options.realloc), "function") != index:
        raise unusable(f"{what} allocates with something other than the main module's {REALLOC}")


def _prove_exports(scope: Scope, wiring: Wiring) -> None:
    """Refuses an exported function that is not the main module's under the name that belongs to it."""
    for name, item in scope.exports.items():
        if isinstance(item, Function):
            _prove_export(item, name, wiring)
        elif isinstance(item, Instance):
            for inner, function in item.exports.items():
                if isinstance(function, Function):
                    _prove_export(function, f"{name}#{inner}", wiring)


def _prove_export(function: Function, name: str, wiring: Wiring) -> None:
    if function.core is None or function.options is None:
        raise unusable(f"the export {name!r} is one of its imports")
    if _RUN.fullmatch(name) and wiring.runs_main(function.core, name):
        return  # the main module's `_start` stands for it
    _prove_core_export(function.core, name, name, wiring)
    _check_options(function.options, f"the export {name!r}", wiring)
    twin = f"cabi_post_{name}"
    if function.options.post_return is not None:
        _prove_core_export(function.options.post_return, twin, name, wiring)
    elif twin in wiring.main.exports:
        raise unusable(f"the export {name!r} leaves out its post-return function")


def _prove_core_export(item: CoreItem, core_name: str, name: str, wiring: Wiring) -> None:
    kind, index = wiring.main.exports.get(core_name, ("", 0))
    if kind != "function" or wiring.from_main(wiring.resolve(item), "function") != index:
        raise unusable(f"the export {name!r} is not the main module's function {core_name!r}")


def _without_unused_wasi(world: WorldType, used: set[str]) -> WorldType:
    """`world` without what only the preview 1 adapter imports, which is left out."""
    imports = {name: type_ for name, type_ in world.imports.items() if name in used or not name.startswith("wasi:")}
    return WorldType(imports, world.exports, world.function_imports, world.function_exports)
