"""The guests of `durable.py`, in WebAssembly's text form, and the interface that they share with it."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import IO

import wasmtime

from benchmarks.guests import WEB
from guesthouse.engine.hostcall import Effect
from guesthouse.interfaces.base import Interface, host_call
from guesthouse.interfaces.invocation import Invocation

DESK = "bench:durable/desk@1.0.0"
DURABLE = "guesthouse:durable"
SCALAR = "momento:cache-scalar/cache-scalar@1.0.0"

_IMPORTS = f"""
  (import "{DESK}" "note" (func $note (param i32 i32)))
  (import "{DESK}" "look" (func $look (param i32) (result i32)))
  (import "{DURABLE}/promises@1.0.0" "awakeable" (func $awakeable (result i32)))
  (import "{DURABLE}/promises@1.0.0" "sleep-until" (func $sleep-until (param i64) (result i32)))
  (import "{DURABLE}/promises@1.0.0" "[method]promise.id" (func $id (param i32 i32)))
  (import "{DURABLE}/promises@1.0.0" "wait" (func $wait (param i32 i32 i64 i32)))
  (import "{DURABLE}/steps@1.0.0" "begin" (func $begin (param i32 i32 i32 i64 i64 i32)))
  (import "{DURABLE}/steps@1.0.0" "end" (func $end (param i32 i32 i32 i32 i64 i32 i32 i32)))
  (import "{SCALAR}" "set" (func $set (param i32 i32 i32 i32 i32 i32 i64 i32)))"""

_GUEST = f"""(module {_IMPORTS}
  (memory (export "memory") 2)
  (data (i32.const 16) "some-key")
  (data (i32.const 32) "a step")
  (global $top (mut i32) (i32.const 65536))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (global.set $top (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
    (global.get $top)
    (global.set $top (i32.add (global.get $top) (local.get 3))))
  (func $wait-for (param $promise i32)
    (call $wait (local.get $promise) (i32.const 0) (i64.const 0) (i32.const 512)))
  (func $await (local $promise i32)
    (local.set $promise (call $awakeable))
    (call $id (local.get $promise) (i32.const 512))
    (call $note (i32.load (i32.const 512)) (i32.load (i32.const 516)))
    (call $wait-for (local.get $promise)))
  (func (export "{WEB}#invoke") (param i32 i32 i32) (result i32) (local $left i32)
    (local.set $left (i32.const %(times)d))
    (if (local.get $left) (then (loop $again
      (global.set $top (i32.const 65536))
      %(each)s
      (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))))
    %(then)s
    (i32.store16 (i32.const 1024) (i32.const 200))
    (i32.store8 (i32.const 1036) (i32.const 1))
    (i32.const 1024)))"""

EACH = {
    "read": "(drop (call $look (local.get $left)))",
    "step": """(call $begin (i32.const 32) (i32.const 6) (i32.const 1) (i64.const 1) (i64.const 1) (i32.const 512))
      (call $end (i32.const 0) (i32.const 16) (i32.const 8) (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0)
        (i32.const 512))""",
    "cache set": """(call $set (i32.const 1) (i32.const 16) (i32.const 8) (i32.const 1) (i32.const 64) (i32.const 100)
        (i64.const 3600000) (i32.const 512))""",
}
"""What a guest can do many times: a call whose result is recorded, a named step (which is on the disk when it ends), and a
call that changes the persisted cache, in one transaction with its entry."""


def repeating(what: str, times: int, *, waits: bool = False) -> bytes:
    """A web function that does one of `EACH` so many times, and then answers, or waits until it is told to."""
    then = "(call $await)" if waits else ""
    return bytes(wasmtime.wat2wasm(_GUEST % {"times": times, "each": EACH[what], "then": then}))


def awaiting() -> bytes:
    """A web function that notes the id of an awakeable, waits for it and answers."""
    return repeating("read", 0, waits=True)


def sleeping_until(milliseconds: int) -> bytes:
    """A web function that sleeps until then (since 1970-01-01 UTC) and answers."""
    then = f"(call $wait-for (call $sleep-until (i64.const {milliseconds})))"
    return bytes(wasmtime.wat2wasm(_GUEST % {"times": 0, "each": "", "then": then}))


class Desk(Interface):
    """What the guests tell the benchmark: ids of awakeables, kept in a file and not in the memory that is measured."""

    name = "desk"
    wit = """package bench:durable@1.0.0;
    interface desk {
        note: func(id: string);
        look: func(number: u32) -> u32;
    }"""

    def __init__(self, notes: Path) -> None:
        self._path = notes
        self._file: IO[str] = notes.open("w")
        self.noted = array("L", [0])
        """How many ids there are."""

    @host_call(DESK, "note")
    def note(self, invocation: Invocation, id: str) -> None:
        """Said by each run of an invocation, also by one that is replayed."""
        self._file.write(id + "\n")
        self.noted[0] += 1

    @host_call(DESK, "look", Effect.READ)
    def look(self, invocation: Invocation, number: int) -> int:
        """A reading of the world, which is recorded."""
        return number

    def ids(self) -> list[str]:
        """All that were noted."""
        self._file.flush()
        return self._path.read_text().split()
