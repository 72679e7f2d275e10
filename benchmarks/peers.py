"""The same echo through other libraries for Python: wasmtime-py and Extism's SDK.

Each is used as its own documentation shows, at its fastest: modules compiled and linked beforehand, nothing repeated per
call but what isolation needs.
"""

from __future__ import annotations

from typing import Any

import extism  # type: ignore[import-untyped]
import wasmtime
from extism.extism import CompiledPlugin  # type: ignore[import-untyped]

INVOKE = "momento:web-function/guest-function-web@1.0.0#invoke"

EXTISM_HANDS_BACK = """(module
  (import "extism:host/env" "input_offset" (func $offset (result i64)))
  (import "extism:host/env" "input_length" (func $length (result i64)))
  (import "extism:host/env" "output_set" (func $output (param i64 i64)))
  (memory (export "memory") 17)
  (func (export "echo") (result i32)
    (call $output (call $offset) (call $length))
    (i32.const 0)))"""
"""Hands its input back without reading it, as the Momento echo does with its buffer."""

EXTISM_COPIES = """(module
  (import "extism:host/env" "input_length" (func $length (result i64)))
  (import "extism:host/env" "input_load_u64" (func $load (param i64) (result i64)))
  (import "extism:host/env" "input_load_u8" (func $load_byte (param i64) (result i32)))
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "store_u64" (func $store (param i64 i64)))
  (import "extism:host/env" "store_u8" (func $store_byte (param i64 i32)))
  (import "extism:host/env" "output_set" (func $output (param i64 i64)))
  (memory (export "memory") 64)
  (func (export "echo") (result i32) (local $n i64) (local $i i64) (local $out i64)
    (local.set $n (call $length))
    (block $read (loop $more
      (br_if $read (i64.gt_u (i64.add (local.get $i) (i64.const 8)) (local.get $n)))
      (i64.store (i32.wrap_i64 (local.get $i)) (call $load (local.get $i)))
      (local.set $i (i64.add (local.get $i) (i64.const 8)))
      (br $more)))
    (block $read (loop $more
      (br_if $read (i64.ge_u (local.get $i) (local.get $n)))
      (i32.store8 (i32.wrap_i64 (local.get $i)) (call $load_byte (local.get $i)))
      (local.set $i (i64.add (local.get $i) (i64.const 1)))
      (br $more)))
    (local.set $out (call $alloc (local.get $n)))
    (local.set $i (i64.const 0))
    (block $written (loop $more
      (br_if $written (i64.gt_u (i64.add (local.get $i) (i64.const 8)) (local.get $n)))
      (call $store (i64.add (local.get $out) (local.get $i)) (i64.load (i32.wrap_i64 (local.get $i))))
      (local.set $i (i64.add (local.get $i) (i64.const 8)))
      (br $more)))
    (block $written (loop $more
      (br_if $written (i64.ge_u (local.get $i) (local.get $n)))
      (call $store_byte (i64.add (local.get $out) (local.get $i)) (i32.load8_u (i32.wrap_i64 (local.get $i))))
      (local.set $i (i64.add (local.get $i) (i64.const 1)))
      (br $more)))
    (call $output (local.get $out) (local.get $n))
    (i32.const 0)))"""
"""Copies its input into its own memory and back, word by word, as Extism's plug-in kits do."""


class ExtismReused:
    """One plug-in for all calls: no isolation between them."""

    def __init__(self, wat: str) -> None:
        self._compiled = CompiledPlugin(bytes(wasmtime.wat2wasm(wat)))
        self._plugin = extism.Plugin(self._compiled)

    def call(self, body: bytes) -> bytes:
        """The echo of `body`."""
        answer: bytes = self._plugin.call("echo", body)
        return answer


class ExtismFresh:
    """A plug-in for each call, made from what was compiled once."""

    def __init__(self, wat: str) -> None:
        self._compiled = CompiledPlugin(bytes(wasmtime.wat2wasm(wat)))

    def call(self, body: bytes) -> bytes:
        """The echo of `body`."""
        with extism.Plugin(self._compiled) as plugin:
            answer: bytes = plugin.call("echo", body)
            return answer


class WasmtimePy:
    """wasmtime-py with the Momento echo's core module and a canonical ABI written by hand; a fresh store for each call."""

    def __init__(self, core: bytes) -> None:
        config = wasmtime.Config()
        config.consume_fuel = True
        config.epoch_interruption = True
        self._engine = wasmtime.Engine(config)
        module = wasmtime.Module(self._engine, core)
        linker = wasmtime.Linker(self._engine)
        handle = wasmtime.FuncType([wasmtime.ValType.i32()], [])
        linker.define_func("momento:bytes/bytes@1.0.0", "[resource-drop]buffer", handle, lambda dropped: None)
        linker.define_unknown_imports_as_traps(module)
        self._pre = linker.instantiate_pre(module)

    def call(self, body: bytes) -> bytes:
        """The echo of `body`, which passes through the guest as a handle."""
        store = wasmtime.Store(self._engine)
        store.set_limits(memory_size=128 << 20)
        store.set_fuel(1_000_000_000)
        store.set_epoch_deadline(1_000)
        exports: Any = self._pre.instantiate(store).exports(store)
        at = exports[INVOKE](store, 0, 1, 0)
        response = exports["memory"].read(store, at, at + 24)
        status, passed_on, handle = int.from_bytes(response[:2], "little"), response[12] == 0, response[16]
        exports["cabi_post_" + INVOKE](store, at)
        store.close()
        assert (status, passed_on, handle) == (200, True, 1)
        return body
