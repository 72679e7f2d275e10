"""Components as text, wired as component tools wire them, for tests to change; and where the real guests are."""

from __future__ import annotations

import json
import os
from pathlib import Path

from wasmtime import wat2wasm

PREBUILT = Path(os.environ.get("TEST_GUESTS", Path(__file__).parents[2] / "guests" / "prebuilt"))
COMMANDS = frozenset(
    entry["name"]
    for entry in json.loads((PREBUILT / "manifest.json").read_text())["guests"]
    if entry["kind"] == "command"
)
"""Guests that are programs: as core modules they say nothing of types."""

BYTES = """
  (import "demo:bytes/bytes@1.0.3" (instance $bytes
    (export "buffer" (type $buffer (sub resource)))
    (export "[method]buffer.read" (func (param "self" (borrow $buffer)) (result (list u8))))
    (export "other" (func (param "self" (borrow $buffer)) (result (list u8))))))
  (alias export $bytes "buffer" (type $buffer))"""
MAIN = """
  (core module $Main
    (import "demo:bytes/bytes@1.0.0" "[method]buffer.read" (func $read (param i32 i32)))
    (import "demo:bytes/bytes@1.0.0" "[resource-drop]buffer" (func (param i32)))
    (memory (export "memory") 2 9)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
    (func (export "wrong_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
    (func (export "demo:app/run@1.0.0#run") (param i32 i32) (result i32) unreachable)
    (func (export "cabi_post_demo:app/run@1.0.0#run") (param i32))
    (func (export "_initialize"))
    (func (export "other"))
    (func (export "vector") (param v128)))"""
SHIM = """
  (core module $Shim
    (type $t (func (param i32 i32)))
    (table (export "$imports") 1 1 funcref)
    (func (export "0") (type $t) local.get 0 local.get 1 i32.const 0 call_indirect (type $t)))"""
FIXUP = """
  (core module $Fixup
    (type $t (func (param i32 i32)))
    (import "actual" "0" (func (type $t)))
    (import "shim" "$imports" (table 1 1 funcref))
    (elem (i32.const 0) func 0))"""
STARTER = """
  (core module $Starter (import "" "" (func)) (start 0))
  (core instance $begin (export "" (func $main "_initialize")))
  (core instance (instantiate $Starter (with "" (instance $begin))))"""
INSTANCES = """
  (core instance $shim (instantiate $Shim))
  (core func $drop (canon resource.drop $buffer))
  (core instance $given
    (export "[method]buffer.read" (func $shim "0"))
    (export "[resource-drop]buffer" (func $drop)))
  (core instance $main (instantiate $Main (with "demo:bytes/bytes@1.0.0" (instance $given))))
  (alias core export $main "memory" (core memory $memory))
  (alias core export $main "cabi_realloc" (core func $realloc))
  (core func $read (canon lower (func $bytes "[method]buffer.read") (memory $memory) (realloc $realloc)))
  (core instance $actual (export "0" (func $read)))
  (core instance $fixup (instantiate $Fixup (with "actual" (instance $actual)) (with "shim" (instance $shim))))"""
EXPORTS = """
  (func $run (param "request" string) (result string)
    (canon lift (core func $main "demo:app/run@1.0.0#run") string-encoding=utf8 (memory $memory) (realloc $realloc)
      (post-return (core func $main "cabi_post_demo:app/run@1.0.0#run"))))
  (instance $app (export "run" (func $run)))
  (export "demo:app/run@1.0.0" (instance $app))"""
PARTS = (BYTES, MAIN, SHIM, FIXUP, INSTANCES, STARTER, EXPORTS)

ADAPTED = """(component
  (import "wasi:cli/environment@0.2.12" (instance $environment
    (export "get-environment" (func (result (list string))))))
  (import "wasi:io/error@0.2.12" (instance $error (export "error" (type (sub resource)))))
  (core module $Main
    (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
    (func (export "run")))
  (core module $Adapter
    (import "env" "memory" (memory 0))
    (import "__main_module__" "cabi_realloc" (func (param i32 i32 i32 i32) (result i32)))
    (import "wasi:cli/environment@0.2.12" "get-environment" (func (param i32)))
    (func (export "cabi_import_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
    (func (export "fd_write") (param i32 i32 i32 i32) (result i32) unreachable))
  (core module $Shim
    (type $a (func (param i32 i32 i32 i32) (result i32)))
    (type $b (func (param i32)))
    (table (export "$imports") 2 2 funcref)
    (func (export "0") (type $a)
      local.get 0 local.get 1 local.get 2 local.get 3 i32.const 0 call_indirect (type $a))
    (func (export "1") (type $b) local.get 0 i32.const 1 call_indirect (type $b)))
  (core module $Fixup
    (import "" "0" (func (param i32 i32 i32 i32) (result i32)))
    (import "" "1" (func (param i32)))
    (import "" "$imports" (table 2 2 funcref))
    (elem (i32.const 0) func 0 1))
  (core instance $shim (instantiate $Shim))
  (core instance $preview (export "fd_write" (func $shim "0")))
  (core instance $main (instantiate $Main (with "wasi_snapshot_preview1" (instance $preview))))
  (alias core export $main "memory" (core memory $memory))
  (core instance $env (export "memory" (memory $memory)))
  (core instance $back (export "cabi_realloc" (func $main "cabi_realloc")))
  (core instance $wasi (export "get-environment" (func $shim "1")))
  (core instance $adapter (instantiate $Adapter
    (with "env" (instance $env))
    (with "__main_module__" (instance $back))
    (with "wasi:cli/environment@0.2.12" (instance $wasi))))
  (core func $get (canon lower (func $environment "get-environment") (memory $memory)
    (realloc (core func $adapter "cabi_import_realloc")) string-encoding=utf8))
  (core instance $actual
    (export "0" (func $adapter "fd_write")) (export "1" (func $get)) (export "$imports" (table $shim "$imports")))
  (core instance (instantiate $Fixup (with "" (instance $actual))))
  (func $run (canon lift (core func $main "run")))
  (export "run" (func $run)))"""

PROGRAM = (
    ADAPTED.replace('(func (export "run")))', '(func (export "_start")))')
    .replace(
        """(import "__main_module__" "cabi_realloc" (func (param i32 i32 i32 i32) (result i32)))""",
        """(import "__main_module__" "_start" (func))""",
    )
    .replace(
        """(func (export "cabi_import_realloc")""",
        """(func (export "wasi:cli/run@0.2.12#run") (result i32) unreachable)
    (func $stack) (start $stack)
    (func (export "cabi_import_realloc")""",
    )
    .replace('(export "cabi_realloc" (func $main "cabi_realloc"))', '(export "_start" (func $main "_start"))')
    .replace(
        """(func $run (canon lift (core func $main "run")))
  (export "run" (func $run))""",
        """(func $run (result (result)) (canon lift (core func $adapter "wasi:cli/run@0.2.12#run")))
  (instance $program (export "run" (func $run)))
  (export "wasi:cli/run@0.2.12" (instance $program))""",
    )
)
"""A program of preview 1 as component tools wrap it: the adapter begins with a stack for itself, and runs `_start`."""


def component(*changes: tuple[str, str], more: str = "") -> bytes:
    """A component as the tools wire it, with `changes` (old text, new text), each of which must apply."""
    wat = "".join(PARTS)
    for old, new in changes:
        assert old in wat, old
        wat = wat.replace(old, new)
    return bytes(wat2wasm(f"(component {wat} {more})"))
