"""`Linker`: fits a guest's imports to the host's functions and finds its exports; the result is an `InstancePre`.

A guest that cannot run is refused here, at deploy, with an error that names the interface, the function, what was expected
and what was found.  Nothing is ever linked that a name and a signature do not both fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from guesthouse._native.handle import ModuleHandle, ProgramHandle
from guesthouse.engine.canonical import EMPTY_PLAN, Plan, Signature, compile_function
from guesthouse.engine.engine import Engine
from guesthouse.engine.hostcall import HostCall
from guesthouse.engine.module import CoreImport, GuestModule
from guesthouse.engine.types import FuncType, InterfaceType, ResourceType
from guesthouse.engine.wit import Abi, describe_difference
from guesthouse.errors import LinkError

RESOURCE_DROP = "[resource-drop]"
REALLOC = "cabi_realloc"
START = "_start"
"""The export of a program: without arguments, results or WIT type."""


@dataclass(frozen=True, slots=True)
class Import:
    """What answers one import slot of a program, ready to be called."""

    call: HostCall | None
    """`None` for the dropping of a resource, which the engine answers itself."""
    interface: str
    function: str
    lift: Callable[[Any, Any], tuple[Any, ...]]
    """Takes the instance, and `GuestHandle.header` where the function has a WIT type, else its core values."""
    lower: Callable[[Any, Any, list[Any]], Plan]
    param_count: int
    flat: int
    """How many flat core values the answer has (0 or 1)."""
    needs_guest: bool
    untyped: bool
    """It has no WIT type: its core values are what is lifted."""
    local: bool
    """It may be called in any thread (see `HostCall`)."""
    func: FuncType | None = None
    """Its WIT type, if it has one and is no dropping of a resource."""


@dataclass(frozen=True, slots=True)
class Export:
    """A function of the guest that can be called."""

    interface: str
    function: str
    index: int
    flat: int
    """How many flat core values its arguments are."""
    signature: Signature
    func: FuncType


class InstancePre:
    """A program that is linked and ready: its import slots and exports, shared by all invocations of a deployment."""

    __slots__ = ("__weakref__", "exports", "hot", "imports", "program", "used")

    def __init__(self, program: ProgramHandle, imports: list[Import], exports: dict[tuple[str, str], Export]) -> None:
        self.program = program
        self.imports = imports
        self.exports = exports
        self.used = frozenset(slot.call.owner for slot in imports if slot.call is not None)
        """Words of the host interfaces that it imports: what it must be granted."""
        self.hot = False
        """Its recent calls used up slices: the next one starts on a worker."""


def _drop(resource: ResourceType) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def lift(cx: Any, flat: list[Any]) -> tuple[Any, ...]:
        cx.resources.drop(resource, flat[0])
        return ()

    return lift, lambda cx, value, flat: EMPTY_PLAN


def _core_lift(cx: Any, flat: list[Any]) -> tuple[Any, ...]:
    return tuple(flat)


def _core_lower(cx: Any, value: int, flat: list[Any]) -> Plan:
    return Plan(b"", (value & 0xFFFFFFFF).to_bytes(8, "little"))  # of `None`, this is a TypeError


def _core_nothing(cx: Any, value: None, flat: list[Any]) -> Plan:
    return EMPTY_PLAN


Wrap = Callable[[HostCall, FuncType | None], HostCall]
"""Makes of each host call that a guest imports the one that it is linked to."""


class Linker:
    """Links guests to one set of host functions.  Raises `LinkError` for what does not fit."""

    def __init__(self, engine: Engine, abi: Abi, calls: Iterable[HostCall]) -> None:
        self._engine = engine
        self._abi = abi
        self._calls: dict[tuple[str, str], HostCall] = {}
        for call in calls:
            key = (call.interface, call.function)
            if key in self._calls:
                raise ValueError(f"two host interfaces answer {call.interface} {call.function}")
            self._calls[key] = call

    def imports(self, module: GuestModule) -> list[Import]:
        """What will answer each import of the module, in its order."""
        return [self._resolve(module, item) for item in module.imports]

    def answered(self, module: GuestModule) -> list[tuple[str, str, bool]]:
        """Each import as interface and function, and whether this host answers it."""
        found = []
        for item in module.imports:
            interface_id = module.aliases.get(item.module, item.module)
            try:
                self._resolve(module, item)
            except LinkError:
                found.append((interface_id, item.name, False))
            else:
                found.append((interface_id, item.name, True))
        return found

    def link(self, module: GuestModule, native: ModuleHandle, wrap: Wrap | None = None) -> InstancePre:
        """The module, fitted to the host."""
        imports = self.imports(module)
        if wrap is not None:
            imports = [replace(slot, call=slot.call and wrap(slot.call, slot.func)) for slot in imports]
        names = [(item.module, item.name, item.params, item.results) for item in module.imports]
        # The native side calls it with unchecked core values: of another type it would end the process.
        realloc = REALLOC if module.exports.get(REALLOC) == ("iiii", "i") else ""
        program = ProgramHandle(self._engine.handle, native, names, module.memory, realloc)
        return InstancePre(program, imports, self._exports(module, program))

    # -- imports

    def _resolve(self, module: GuestModule, item: CoreImport) -> Import:
        interface_id = module.aliases.get(item.module, item.module)
        core = self._calls.get((interface_id, item.name))
        if core is not None and core.core is not None:
            return self._core_import(item, core)
        known = self._abi.find(interface_id)
        if known is None:
            raise LinkError(
                f"the guest imports {interface_id} ({item.name}), an interface that this host does not offer"
            )
        if item.name.startswith(RESOURCE_DROP):
            return self._resource_drop(known, item)
        func = known.functions.get(item.name)
        call = self._calls.get((known.name, item.name))
        if func is None or call is None:
            offered = ", ".join(sorted(name for owner, name in self._calls if owner == known.name)) or "nothing"
            raise LinkError(f"the guest imports {item.name!r} of {interface_id}; this host offers there: {offered}")
        self._check_type(module, interface_id, item.name, func)
        signature = compile_function(known.name, item.name, func)
        self._check_core(item, interface_id, signature.core_params, signature.core_results)
        return _typed_import(call, signature)

    def _core_import(self, item: CoreImport, call: HostCall) -> Import:
        params, _, results = (call.core or "").partition(":")
        self._check_core(item, call.interface, params, results)
        return Import(
            call, call.interface, call.function, _core_lift, _core_lower if results else _core_nothing, len(params),
            len(results), True, True, call.local,
        )  # fmt: skip

    def _resource_drop(self, known: InterfaceType, item: CoreImport) -> Import:
        name = item.name.removeprefix(RESOURCE_DROP)
        resource = _owner_of(known, name)
        if resource is None:
            raise LinkError(f"the guest drops a resource {name!r} of {known.name}, which has none of that name")
        self._check_core(item, known.name, "i", "")
        lift, lower = _drop(resource)
        return Import(None, known.name, item.name, lift, lower, 1, 0, False, True, True)

    def _check_type(self, module: GuestModule, interface_id: str, name: str, expected: FuncType) -> None:
        if module.world is None or interface_id not in module.world.imports:
            return
        found = module.world.imports[interface_id].functions.get(name)
        difference = None if found is None else describe_difference(expected, found)
        if difference is not None:
            raise LinkError(
                f"{interface_id} {name!r} does not fit: {difference}\n  the host offers: {expected}\n  the guest expects: {found}"
            )

    def _check_core(self, item: CoreImport, interface_id: str, params: str, results: str) -> None:
        if (item.params, item.results) != (params, results):
            raise LinkError(
                f"{interface_id} {item.name!r} does not fit: the host offers ({params}) -> ({results}), "
                f"the guest imports ({item.params}) -> ({item.results})  [i = i32, I = i64, f = f32, F = f64]"
            )

    # -- exports

    def _exports(self, module: GuestModule, program: ProgramHandle) -> dict[tuple[str, str], Export]:
        found = {}
        for interface_id, interface in self._exported_interfaces(module).items():
            for name, func in interface.functions.items():
                core_name = f"{interface_id}#{name}" if interface_id else name
                core = module.exports.get(core_name)
                if core is None:
                    continue
                signature = compile_function(interface_id, name, func)
                if core != (signature.export_params, signature.export_results):
                    raise LinkError(
                        f"the export {core_name!r} does not fit: {func} is ({signature.export_params}) -> "
                        f"({signature.export_results}), the guest's is ({core[0]}) -> ({core[1]})"
                    )
                index = program.export(core_name, *core)
                found[interface_id, name] = Export(interface_id, name, index, len(core[0]), signature, func)
        if module.exports.get(START) == ("", ""):
            signature, index = compile_function("", START, FuncType(())), program.export(START, "", "")
            found["", START] = Export("", START, index, 0, signature, signature.func)
        return found

    def _exported_interfaces(self, module: GuestModule) -> dict[str, InterfaceType]:
        """The guest's own word for what it exports; without types, what `abi/` says of names that it knows."""
        if module.world is not None:
            own = InterfaceType("", module.world.function_exports)
            for interface_id, interface in module.world.exports.items():
                self._check_known(interface_id, interface)
            return {**module.world.exports, "": own}
        ids = {name.partition("#")[0] for name in module.exports if "#" in name}
        return {known.name: known for name in ids if (known := self._abi.find(name)) is not None}

    def _check_known(self, interface_id: str, interface: InterfaceType) -> None:
        known = self._abi.find(interface_id)
        for name, func in interface.functions.items() if known is not None else ():
            expected = known.functions.get(name) if known is not None else None
            difference = None if expected is None else describe_difference(expected, func)
            if difference is not None:
                raise LinkError(f"the export {interface_id} {name!r} does not fit: {difference}")


def _owner_of(interface: InterfaceType, name: str) -> ResourceType | None:
    if name in interface.resources:
        return ResourceType(interface.name, name)
    return None


def _typed_import(call: HostCall, signature: Signature) -> Import:
    return Import(
        call=call,
        interface=call.interface,
        function=call.function,
        lift=signature.lift_params,
        lower=signature.lower_result,
        param_count=len(signature.core_params),
        flat=len(signature.core_results),
        needs_guest=False,
        untyped=False,
        local=call.local,
        func=signature.func,
    )
