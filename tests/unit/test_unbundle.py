"""Unbundling: the main module is found, its wiring is proved, and everything else is refused with the reason."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wasmtime import Engine, Module, wat2wasm

from guesthouse.engine.module import CoreImport
from guesthouse.engine.types import FuncType, Primitive
from guesthouse.engine.unbundle import unbundle
from guesthouse.errors import InvalidModule
from unit.component_text import ADAPTED, COMMANDS, PREBUILT, PROGRAM, component

GUESTS = sorted(PREBUILT.glob("*.wasm"))
PROGRAMS = [PREBUILT / f"{name}.wasip1.wasm" for name in sorted(COMMANDS)]


def test_the_main_module_is_taken_out_and_its_imports_are_traced_to_their_interfaces() -> None:
    """Through the shim's table to the lowered function, although the core name has another version."""
    guest = unbundle(component())
    assert guest.form == "component"
    assert guest.imports == (
        CoreImport("demo:bytes/bytes@1.0.0", "[method]buffer.read", "ii", ""),
        CoreImport("demo:bytes/bytes@1.0.0", "[resource-drop]buffer", "i", ""),
    )
    assert guest.aliases == {"demo:bytes/bytes@1.0.0": "demo:bytes/bytes@1.0.3"}
    assert guest.exports == {
        "cabi_realloc": ("iiii", "i"),
        "wrong_realloc": ("iiii", "i"),
        "demo:app/run@1.0.0#run": ("ii", "i"),
        "cabi_post_demo:app/run@1.0.0#run": ("i", ""),
        "_initialize": ("", ""),
        "other": ("", ""),
    }
    assert (guest.memory, guest.memory_min, guest.memory_max) == ("memory", 2, 9)
    assert guest.dropped == ("wit-component:shim", "wit-component:fixups", "wit-component:fixups")
    string = Primitive("string")
    assert guest.world is not None
    assert guest.world.exports["demo:app/run@1.0.0"].functions == {"run": FuncType((("request", string),), string)}
    assert guest.world.imports.keys() == {"demo:bytes/bytes@1.0.3"}


@pytest.mark.parametrize("path", [path for path in GUESTS if path not in PROGRAMS], ids=lambda path: path.name)
def test_every_real_guest_can_be_taken_apart(path: Path) -> None:
    """What is taken out compiles, and has the imports and exports that are reported."""
    guest = unbundle(path.read_bytes())
    assert guest.world is not None
    assert guest.memory == "memory"
    assert guest.form == ("component" if ".wasip2" in path.name else "core")
    assert set(guest.aliases) <= {item.module for item in guest.imports}
    for name, interface in guest.world.exports.items():
        assert all(f"{name}#{function}" in guest.exports for function in interface.functions)
    for item in guest.imports:
        if item.module != "wasi_snapshot_preview1":
            interface = guest.world.imports[guest.aliases.get(item.module, item.module)]
            drops = {f"[resource-drop]{resource}" for resource in interface.resources}
            assert item.name in interface.functions.keys() | drops


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
def test_a_program_of_preview_1_is_its_start_function(path: Path) -> None:
    """It brings no types, and imports nothing but preview 1."""
    guest = unbundle(path.read_bytes())
    assert guest.world is None
    assert guest.exports["_start"] == ("", "")
    assert {item.module for item in guest.imports} == {"wasi_snapshot_preview1"}


def test_the_module_that_is_taken_out_compiles() -> None:
    """The core module of a real component is whole: the engine accepts it and names the same imports."""
    guest = unbundle((PREBUILT / "echo.wasip2.wasm").read_bytes())
    imports = Module(Engine(), guest.core).imports
    assert [(item.module, item.name) for item in imports] == [(item.module, item.name) for item in guest.imports]


def test_a_core_module_without_types_has_no_world() -> None:
    """Then only core signatures are known."""
    guest = unbundle(wat2wasm('(module (import "a" "b" (func (param i64))) (memory 1) (func (export "f")))'))
    assert guest.world is None
    assert guest.form == "core"
    assert guest.imports == (CoreImport("a", "b", "I", ""),)
    assert guest.exports == {"f": ("", "")}
    assert (guest.memory, guest.memory_min, guest.memory_max) == (None, 1, None)


def test_a_component_of_one_module_needs_no_shim() -> None:
    """A function that needs no memory is lowered straight into the main module."""
    guest = unbundle(
        wat2wasm("""(component
          (import "log" (func $log (param "level" u8)))
          (core module $Main (import "$root" "log" (func (param i32))) (func (export "run")))
          (core func $l (canon lower (func $log)))
          (core instance $given (export "log" (func $l)))
          (core instance $main (instantiate $Main (with "$root" (instance $given))))
          (func $run (canon lift (core func $main "run")))
          (export "run" (func $run)))""")
    )
    assert guest.dropped == ()
    assert guest.aliases == {}
    assert guest.world is not None
    assert guest.world.function_imports == {"log": FuncType((("level", Primitive("u8")),))}
    assert guest.world.function_exports == {"run": FuncType(())}


def test_the_preview_1_adapter_is_recognised_and_left_out() -> None:
    """The host answers preview 1 itself, so what only the adapter imports is not asked for either."""
    guest = unbundle(wat2wasm(ADAPTED))
    assert guest.imports == (CoreImport("wasi_snapshot_preview1", "fd_write", "iiii", "i"),)
    assert guest.dropped[-1] == "wit-component:adapter:wasi_snapshot_preview1"
    assert guest.aliases == {}
    assert guest.world is not None
    assert guest.world.imports == {}


def test_what_an_adapter_makes_a_command_is_the_main_modules_start() -> None:
    """The adapter goes, and with it the export that it made of `_start`."""
    guest = unbundle(wat2wasm(PROGRAM))
    assert guest.exports["_start"] == ("", "")
    assert not [name for name in guest.exports if "run" in name]
    assert guest.world is not None
    assert list(guest.world.exports) == ["wasi:cli/run@0.2.12"]
    assert guest.dropped[-1] == "wit-component:adapter:wasi_snapshot_preview1"


def test_a_redirected_interface_is_resolved() -> None:
    """The core name may be anything: what it stands for is what the instantiation says."""
    guest = unbundle(component(("demo:bytes/bytes@1.0.0", "quite:different/name@7.0.0")))
    assert guest.aliases == {"quite:different/name@7.0.0": "demo:bytes/bytes@1.0.3"}


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([path for path in GUESTS if path.name.startswith(("spin", "echo"))]), st.data())
def test_damaged_guests_do_no_harm(path: Path, data: st.DataObject) -> None:
    """A real guest, cut off or with other bytes in it, is taken apart or refused, in time."""
    wasm = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        del wasm[data.draw(st.integers(0, len(wasm))) :]
    for _ in range(data.draw(st.integers(0, 4)) if wasm else 0):
        edge = data.draw(st.integers(-min(9_000, len(wasm)), min(3_000, len(wasm) - 1)))
        wasm[edge] ^= 1 << data.draw(st.integers(0, 7))
    begin = time.process_time()
    with suppress(InvalidModule):
        unbundle(bytes(wasm))
    assert time.process_time() - begin < 3


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_damaged_wiring_is_proved_or_refused(data: st.DataObject) -> None:
    """Where a change leaves the component acceptable, each import still leads to an interface of its world."""
    wasm = bytearray(component())
    for _ in range(data.draw(st.integers(1, 3))):
        wasm[data.draw(st.integers(8, len(wasm) - 1))] = data.draw(st.integers(0, 255))
    try:
        guest = unbundle(bytes(wasm))
    except InvalidModule:
        return
    assert guest.world is not None
    for item in guest.imports:
        assert guest.aliases.get(item.module, item.module) in guest.world.imports
