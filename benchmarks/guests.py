"""The guests that are measured: prebuilt ones, and small ones in WebAssembly's text form."""

from __future__ import annotations

from pathlib import Path

import wasmtime

PREBUILT = Path(__file__).resolve().parents[1] / "guests" / "prebuilt"
FORMS = ("wasip2", "wasip2-small-stack", "wasip1", "unknown-unknown")
"""The first is how people build a Momento function; the second has the template's link flags."""

WEB = "momento:web-function/guest-function-web@1.0.0"

_COPY = f"""(module
  (import "momento:bytes/bytes@1.0.0" "[method]buffer.read" (func $read (param i32 i32 i32)))
  (import "momento:bytes/bytes@1.0.0" "[resource-drop]buffer" (func $drop (param i32)))
  (memory (export "memory") 17)
  (global $top (mut i32) (i32.const 1048576))
  (func (export "cabi_realloc") (param i32 i32) (param $align i32) (param $size i32) (result i32) (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $top) (i32.sub (local.get $align) (i32.const 1)))
                            (i32.sub (i32.const 0) (local.get $align))))
    (global.set $top (i32.add (local.get $at) (local.get $size)))
    (if (i32.gt_u (global.get $top) (i32.shl (memory.size) (i32.const 16)))
      (then (drop (memory.grow (i32.add (i32.const 1)
        (i32.shr_u (i32.sub (global.get $top) (i32.shl (memory.size) (i32.const 16))) (i32.const 16)))))))
    (local.get $at))
  (func (export "{WEB}#invoke") (param i32) (param $buffer i32) (param i32) (result i32)
    (call $read (local.get $buffer) (i32.const 0x7fffffff) (i32.const 2048))
    (call $drop (local.get $buffer))
    (i32.store16 (i32.const 1024) (i32.const 200))
    (i64.store (i32.const 1028) (i64.const 0))
    (i32.store8 (i32.const 1036) (i32.const 1))
    (i64.store (i32.const 1040) (i64.load (i32.const 2052)))
    (i32.const 1024))
  (func (export "cabi_post_{WEB}#invoke") (param i32)))"""

_WAIT = f"""(module
  (import "bench:wait/wait@1.0.0" "forever" (func $forever))
  (memory (export "memory") 2)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536))
  (func (export "{WEB}#invoke") (param i32 i32 i32) (result i32)
    (i32.store16 (i32.const 1024) (i32.const 200))
    (i32.store8 (i32.const 1036) (i32.const 1))
    (call $forever)
    (i32.const 1024)))"""

_SLEEP = """(module
  (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $after (param i64) (result i32)))
  (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
  (memory (export "memory") 2)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536))
  (func (export "%s#invoke") (param i32 i32 i32) (result i32)
    (i32.store16 (i32.const 1024) (i32.const 200))
    (i32.store8 (i32.const 1036) (i32.const 1))
    (call $block (call $after (i64.const %d)))
    (i32.const 1024)))"""

_COMPUTE = """(module
  (memory (export "memory") 2)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536))
  (func (export "%s#invoke") (param i32 i32 i32) (result i32) (local $left i32)
    (local.set $left (i32.const %d))
    (loop $again
      (i32.store (i32.const 2048) (i32.add (i32.load (i32.const 2048)) (local.get $left)))
      (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    (i32.store16 (i32.const 1024) (i32.const 200))
    (i32.store8 (i32.const 1036) (i32.const 1))
    (i32.const 1024)))"""

WAIT_WIT = """package bench:wait@1.0.0;
interface wait {
  forever: func();
}
"""


def prebuilt(name: str, form: str = "wasip2") -> bytes:
    """A guest of `guests/prebuilt`."""
    return (PREBUILT / f"{name}.{form}.wasm").read_bytes()


def copying_echo() -> bytes:
    """A web function that reads its whole body into its memory and answers it from there, and does nothing else."""
    return bytes(wasmtime.wat2wasm(_COPY))


def waiting() -> bytes:
    """A web function that calls `bench:wait/wait` (`WAIT_WIT`) and answers when that returns."""
    return bytes(wasmtime.wat2wasm(_WAIT))


def sleeping(milliseconds: int) -> bytes:
    """A web function that answers nothing, after so long."""
    return bytes(wasmtime.wat2wasm(_SLEEP % (WEB, milliseconds * 1_000_000)))


def computing(turns: int) -> bytes:
    """A web function that goes through a loop so many times, and answers nothing."""
    return bytes(wasmtime.wat2wasm(_COMPUTE % (WEB, turns)))
