"""Owned handles of the native things: the engine, modules, linkers, programs and guests.

Input is checked before C is called and results after; no cffi object leaves this package.  Closing twice does nothing, and
a finalizer only frees.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from guesthouse._native.api import calls, check, ffi, glue
from guesthouse.errors import HostError, InvalidModule

BLOCK_BYTES = ffi.sizeof("gh_block")


class NativeConfig(NamedTuple):
    """`gh_config` of glue.h: what an engine is made with."""

    pooling: bool
    slots: int
    warm_slots: int
    decommit_batch: int
    keep_resident: int
    max_memory: int
    table_elements: int
    stack: int
    memory_reservation: int
    memory_guard: int
    tick_us: int


class EngineHandle:
    """A wasmtime engine with its epoch ticker.  Raises `HostError` where the library refuses the configuration."""

    def __init__(self, config: NativeConfig) -> None:
        out = ffi.new("gh_engine **")
        problem = check(glue.gh_engine_new(ffi.new("gh_config *", config._asdict()), out))
        if problem:
            raise HostError(problem)
        self.pointer = ffi.gc(out[0], glue.gh_engine_delete)

    def compile(self, wasm: bytes) -> bytes:
        """The artefact (native code) of a core module.  Raises `InvalidModule` with the library's words."""
        artefact, size = ffi.new("uint8_t **"), ffi.new("size_t *")
        problem = check(glue.gh_compile(self.pointer, ffi.from_buffer(wasm), len(wasm), artefact, size))
        if problem:
            raise InvalidModule(problem)
        try:
            return bytes(ffi.buffer(artefact[0], size[0]))
        finally:
            glue.gh_free(artefact[0])

    def load(self, artefact: bytes) -> ModuleHandle:
        """The module of an artefact.  The bytes become native code: only ever pass what `compile` made."""
        return ModuleHandle(self, artefact)

    def close(self) -> None:
        """Stops the ticker; every module and program of it must be closed."""
        ffi.release(self.pointer)


class ModuleHandle:
    """A module that is ready to be linked."""

    def __init__(self, engine: EngineHandle, artefact: bytes) -> None:
        out = ffi.new("gh_module **")
        problem = check(glue.gh_module_load(engine.pointer, ffi.from_buffer(artefact), len(artefact), out))
        if problem:
            raise HostError(f"an artefact of our own does not load: {problem}")
        self.pointer = ffi.gc(out[0], glue.gh_module_delete)


class ProgramHandle:
    """A module linked to its imports, which are numbered slots.  Core types are letters: i I f F.

    `imports` is (module, name, params, results) in the order of the slots; `realloc` names an export that must be a function
    (i32, i32, i32, i32) -> (i32), or is empty.  Raises `InvalidModule` where the library
    finds an import that was not given, or given with another type.
    """

    def __init__(
        self,
        engine: EngineHandle,
        module: ModuleHandle,
        imports: list[tuple[str, str, str, str]],
        memory: str | None,
        realloc: str,
    ) -> None:
        linker = ffi.gc(glue.gh_linker_new(engine.pointer), glue.gh_linker_delete)
        for slot, (space, name, params, results) in enumerate(imports):
            space_utf8, name_utf8 = space.encode(), name.encode()
            problem = check(
                glue.gh_linker_define(
                    linker,
                    space_utf8,
                    len(space_utf8),
                    name_utf8,
                    len(name_utf8),
                    params.encode(),
                    results.encode(),
                    slot,
                )
            )
            if problem:
                raise InvalidModule(problem)
        out = ffi.new("gh_program **")
        problem = check(
            glue.gh_program_new(linker, module.pointer, (memory or "").encode(), realloc.encode(), b"_initialize", out)
        )
        if problem:
            raise InvalidModule(problem)
        self.pointer = ffi.gc(out[0], glue.gh_program_delete)
        self._engine = engine  # the program's stores live in it

    def export(self, name: str, params: str, results: str) -> int:
        """The index by which guests call an export; its post-return function, where there is one, is found by name."""
        index = glue.gh_program_export(
            self.pointer, name.encode(), f"cabi_post_{name}".encode(), params.encode(), results.encode()
        )
        if index < 0:
            raise InvalidModule(f"the export {name!r} has more parameters or results than the canonical ABI knows")
        return index


def address_of(pointer: Any) -> int:
    """Where something of C lies, for the functions of call.c; it must be kept alive besides."""
    return int(ffi.cast("uintptr_t", pointer))


class Target:
    """An export of a program under the limits of one deployment: what a guest is started with.

    `run(address, deadline_ns, plan, cx)` instantiates a guest and calls the export with lowered arguments: where it is done
    after its first slice, it gives what `end(address, cx)` gives for one that took longer, else a status of `api`.  That is
    (the lifted result, fuel used, or `None` where it is not known, peak memory in bytes), and the store is deleted; where the
    result cannot be lifted both raise its `Trap` and leave the store.
    """

    __slots__ = ("_limits", "_program", "end", "flat", "fuel", "pointer", "run")

    def __init__(
        self,
        program: ProgramHandle,
        export_index: int,
        *,
        flat: int,
        lift: Callable[..., Any] | None,
        lift_bytes: int,
        fuel: int,
        memory: int,
        tables: int,
        realloc_slices: int,
    ) -> None:
        self._program = program
        self._limits = ffi.new("gh_limits *", [fuel, memory, tables, realloc_slices])
        self.pointer = ffi.new("gh_target *", [program.pointer, self._limits, export_index])
        self.flat = flat
        self.fuel = fuel
        self.run, self.end = calls.callee(address_of(self.pointer), flat, lift, lift_bytes)


_USED = struct.Struct("<QQ?")
"""fuel_left, peak_memory and fuel_known."""
_USED_AT = ffi.offsetof("gh_guest", "fuel_left")


class GuestHandle:
    """The native side of one invocation at a time; used by one thread at a time.

    All methods keep the GIL but those that are called `…_released`, which are for a worker's thread.
    """

    __slots__ = ("_kept", "_reply", "address", "fields", "header")

    def __init__(self) -> None:
        self.fields = ffi.gc(glue.gh_guest_new(), glue.gh_guest_delete)
        self.header: Any = ffi.buffer(self.fields, _USED_AT + _USED.size)
        """The beginning of `gh_guest`, which lift.c reads too: memory, its size, the values, what was used."""
        self.address = address_of(self.fields)
        # The arguments are lowered after `_initialize`, which may call the host: one more plan is in use then.
        self._kept = self._reply = (b"", b"")

    def keep(self, plan: tuple[bytes, bytes]) -> None:
        """Keeps the plan of the arguments of a guest that `Target.run` did not bring to its end."""
        self._kept = plan

    def start_released(self, target: Target, deadline_ns: int, plan: tuple[bytes, bytes]) -> int:
        """Instantiates and calls with lowered arguments, without the GIL; returns a status of `api`."""
        self._kept = plan
        blocks, blob = plan
        count = len(blocks) // BLOCK_BYTES
        return glue.gh_start_released(self.fields, target.pointer, deadline_ns, blob, target.flat, blocks, count)

    def call_released(self, target: Target, plan: tuple[bytes, bytes]) -> int:
        """Ends the call that is done, and calls another export of the same instance, without the GIL; returns a status."""
        self._kept = plan
        blocks, blob = plan
        count = len(blocks) // BLOCK_BYTES
        return glue.gh_call_released(self.fields, target.pointer, blob, target.flat, blocks, count)

    def answer(self, blob: bytes, flat: int, blocks: bytes) -> int:
        """Answers the waiting host call with a lowered value; returns a status."""
        self._reply = (blob, blocks)
        return glue.gh_answer(self.fields, blob, flat, blocks, len(blocks) // BLOCK_BYTES)

    def answer_released(self, blob: bytes, flat: int, blocks: bytes) -> int:
        """`answer` without the GIL."""
        self._reply = (blob, blocks)
        return glue.gh_answer_released(self.fields, blob, flat, blocks, len(blocks) // BLOCK_BYTES)

    def answer_trap(self, message: str) -> int:
        """Answers the waiting host call with a trap; returns a status."""
        return glue.gh_answer_trap(self.fields, message.encode(errors="replace")[:1000].replace(b"\0", b" "))

    def go_on(self) -> int:
        """One more slice of a guest that yielded; returns a status."""
        return glue.gh_continue(self.fields)

    def go_on_released(self) -> int:
        """`go_on` without the GIL."""
        return glue.gh_continue_released(self.fields)

    def new_slice(self) -> None:
        """Gives a guest that waited for something outside a whole slice again."""
        glue.gh_new_slice(self.fields)

    def renew(self, target: Target, deadline_ns: int) -> None:
        """Gives a guest that waits in a host call a new deadline, and the fuel and limits of a target."""
        glue.gh_renew(self.fields, target.pointer, deadline_ns)

    def finish(self) -> None:
        """Deletes the store of a guest whose call is done."""
        glue.gh_finish(self.fields)

    def measure(self) -> None:
        """Fetches what `used` answers, of a guest whose call is done and whose store stays."""
        glue.gh_measure(self.fields)

    def cancel(self) -> int:
        """Ends a guest in whatever state it is, also one that never started."""
        return glue.gh_cancel(self.fields)

    def request_cancel(self) -> None:
        """Asks a guest that another thread may be running to end at its next epoch."""
        glue.gh_request_cancel(self.fields)

    def memory(self) -> Any:
        """The whole linear memory as a buffer; valid until the guest runs again."""
        size = self.fields.memory_size
        return ffi.buffer(self.fields.memory, size) if size else b""

    def values(self, count: int) -> list[int]:
        """The first `count` core values of the waiting host call."""
        return ffi.unpack(self.fields.values, count)  # type: ignore[no-any-return]

    def used(self) -> tuple[int, int, bool]:
        """Fuel that is left, peak memory in bytes, and whether the fuel is known; once it was measured, or has ended."""
        return _USED.unpack_from(self.header, _USED_AT)

    def message(self) -> str:
        """What the library said of the failure."""
        return ffi.string(self.fields.message).decode(errors="replace")  # type: ignore[no-any-return]


def stores() -> tuple[int, int]:
    """Stores made and deleted in this process: equal when nothing runs."""
    return glue.gh_stores_made(), glue.gh_stores_deleted()
