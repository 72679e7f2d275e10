"""The independent oracle: wasmtime's own component model does what our canonical ABI does, for one type at a time.

For a type T a component is written as text.  Its guest copies raw bytes to address 0 of its only page, zeroes the rest,
and then gives a T that lies there to the host, takes one, or calls a host function with core arguments from there.  What
wasmtime made of it comes back: a value, or memory up to the end of its heap and the sizes and alignments asked of it.
"""

from __future__ import annotations

import ctypes
from ctypes import byref
from functools import lru_cache
from typing import Any, NamedTuple

from wasmtime import Config, Engine, Store, WasmtimeError
from wasmtime import _ffi as ffi
from wasmtime.component import Component, Linker

from conformance.oracle_values import Value, bytes_from_c, from_c, to_c
from guesthouse.engine.canonical import flatten_core_signature
from guesthouse.engine.types import (
    EnumType,
    FlagsType,
    FuncType,
    ListType,
    OptionType,
    Primitive,
    RecordType,
    ResultType,
    TupleType,
    Type,
    VariantType,
)

PAGE = 65536
HEAP = 4096
"""Raw bytes lie below, what wasmtime allocates from here on."""
RESULT_CELL = 64
"""The 8-byte cell in which a flat result of the host function is kept."""
CORE = {"i": "i32", "I": "i64", "f": "f32", "F": "f64"}

LIBC = f"""
  (core module $libc
    (memory (export "memory") 1)
    (global $top (mut i32) (i32.const {HEAP}))
    (global $log (mut i32) (i32.const 61440))
    (func (export "top") (result i32) (global.get $top))
    (func (export "log") (result i32) (global.get $log))
    (func (export "reset") (global.set $top (i32.const {HEAP})) (global.set $log (i32.const 61440)))
    (func (export "realloc") (param $old i32) (param $had i32) (param $align i32) (param $size i32) (result i32)
      (local $at i32)
      (if (local.get $old) (then (unreachable)))
      (local.set $at (i32.and
        (i32.sub (i32.add (global.get $top) (local.get $align)) (i32.const 1))
        (i32.sub (i32.const 0) (local.get $align))))
      (global.set $top (i32.add (local.get $at) (local.get $size)))
      (if (i32.lt_u (global.get $log) (i32.const 65000)) (then
        (i32.store (global.get $log) (local.get $align))
        (i32.store offset=4 (global.get $log) (local.get $size))
        (global.set $log (i32.add (global.get $log) (i32.const 8)))))
      (local.get $at)))
"""


class Writing(NamedTuple):
    """What wasmtime wrote: memory up to the end of the heap, and what it asked of realloc as (align, size)."""

    memory: bytes
    calls: list[tuple[int, int]]


class Wat:
    """The text of types: records, variants, enums and flags must be named, by imports here."""

    def __init__(self) -> None:
        self.named: dict[Type, str] = {}
        self.lines: list[str] = []

    def text(self, kind: Type) -> str:
        """A reference to the type, its definitions being in `lines`."""
        match kind:
            case Primitive():
                return kind.name
            case ListType():
                return f"(list {self.text(kind.element)})"
            case TupleType():
                return f"(tuple {' '.join(map(self.text, kind.items))})"
            case OptionType():
                return f"(option {self.text(kind.some)})"
            case ResultType():
                ok = "" if kind.ok is None else f" {self.text(kind.ok)}"
                return f"(result{ok}{'' if kind.error is None else f' (error {self.text(kind.error)})'})"
        if kind not in self.named:
            body = self._body(kind)
            number = len(self.named)
            self.lines.append(f'(type $d{number} {body}) (import "t{number}" (type $t{number} (eq $d{number})))')
            self.named[kind] = f"$t{number}"
        return self.named[kind]

    def _body(self, kind: Type) -> str:
        match kind:
            case RecordType():
                fields = ((name, self.text(field)) for name, field in kind.fields)
                return f"(record {' '.join(f'(field {_quoted(name)} {field})' for name, field in fields)})"
            case VariantType():
                cases = ((name, "" if payload is None else self.text(payload)) for name, payload in kind.cases)
                return f"(variant {' '.join(f'(case {_quoted(name)} {payload})' for name, payload in cases)})"
            case EnumType():
                return f"(enum {' '.join(map(_quoted, kind.cases))})"
        assert isinstance(kind, FlagsType)
        return f"(flags {' '.join(map(_quoted, kind.names))})"


def _quoted(name: str) -> str:
    return f'"{name}"'


def _core(letters: str, word: str) -> str:
    return f"({word} {' '.join(CORE[letter] for letter in letters)})" if letters else ""


def _main(kind: Type) -> str:
    """The guest: `lift` gives a T, `lower` takes one, `call` calls the host with core arguments from memory."""
    (params, results), _ = flatten_core_signature(FuncType((("x", kind),), kind))
    _, (_, lifted) = flatten_core_signature(FuncType((), kind))
    (lowered, _), _ = flatten_core_signature(FuncType((("x", kind),)))
    loads = " ".join(f"({CORE[letter]}.load (i32.const {8 * index}))" for index, letter in enumerate(params))
    call = f"(call $host {loads})"
    stores = " ".join(
        f"({CORE[letter]}.store (i32.const {8 * index}) (local.get {index}))" for index, letter in enumerate(lowered)
    )
    return f"""
  (core module $main
    (import "libc" "memory" (memory 1))
    (import "libc" "top" (func $top (result i32)))
    (import "libc" "log" (func $log (result i32)))
    (import "libc" "reset" (func $reset))
    (import "env" "host" (func $host {_core(params, "param")} {_core(results, "result")}))
    (func $place (param $at i32) (param $size i32)
      (memory.copy (i32.const 0) (local.get $at) (local.get $size))
      (memory.fill (local.get $size) (i32.const 0) (i32.sub (i32.const {PAGE}) (local.get $size)))
      (call $reset))
    (func $dump (result i32)
      (i32.store (i32.const 65520) (i32.const 0)) (i32.store (i32.const 65524) (call $top))
      (i32.store (i32.const 65528) (i32.const 61440))
      (i32.store (i32.const 65532) (i32.sub (call $log) (i32.const 61440)))
      (i32.const 65520))
    (func (export "lift") (param i32 i32) {_core(lifted, "result")}
      (call $place (local.get 0) (local.get 1)) ({CORE[lifted]}.load (i32.const 0)))
    (func (export "lower") {_core(lowered, "param")} (result i32) {stores} (call $dump))
    (func (export "call") (param i32 i32) (result i32)
      (call $place (local.get 0) (local.get 1))
      {f"({CORE[results]}.store (i32.const {8 * RESULT_CELL}) {call})" if results else call}
      (call $dump)))
"""


def component_text(kind: Type) -> str:
    """The component for a type."""
    wat = Wat()
    t = wat.text(kind)
    options = '(memory (core memory $li "memory")) (realloc (core func $li "realloc"))'
    dump = "(result (tuple (list u8) (list u8)))"
    lifts = "\n".join(
        f'  (func (export "{name}") {signature} (canon lift (core func $mi "{name}") {options}))'
        for name, signature in {
            "lift": f'(param "raw" (list u8)) (result {t})',
            "lower": f'(param "x" {t}) {dump}',
            "call": f'(param "raw" (list u8)) {dump}',
        }.items()
    )
    return f"""(component
  {" ".join(wat.lines)}
  (import "host" (func $host (param "x" {t}) (result {t})))
  {LIBC}
  (core instance $li (instantiate $libc))
  (core func $host_core (canon lower (func $host) {options}))
  {_main(kind)}
  (core instance $mi (instantiate $main
    (with "libc" (instance $li)) (with "env" (instance (export "host" (func $host_core))))))
{lifts})"""


@lru_cache(maxsize=1)
def engine() -> Engine:
    """One engine for all, which compiles fast rather than well."""
    config = Config()
    config.cranelift_opt_level = "none"
    return Engine(config)


BYTES = ListType(Primitive("u8"))


class Oracle:
    """wasmtime's view of one type; every call gets a fresh store.  Traps are `WasmtimeError`s."""

    def __init__(self, kind: Type) -> None:
        self.kind = kind
        self.answer: Any = None
        self.seen: Any = None
        self._component = Component(engine(), component_text(kind))
        self._linker = Linker(engine())
        self._callback = ffi.wasmtime_component_func_callback_t(self._host)
        self._finalizer = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: None)
        with self._linker.root() as root:
            name = ctypes.create_string_buffer(b"host")
            add = ffi.wasmtime_component_linker_instance_add_func
            _check(add(root.ptr(), name, 4, self._callback, None, self._finalizer))

    def _host(self, _data: Any, _context: Any, _type: Any, args: Any, _nargs: int, results: Any, _nresults: int) -> int:
        self.seen = from_c(self.kind, args[0])
        to_c(self.kind, self.answer, results[0])
        return 0

    def _run(self, name: str, argument_type: Type, argument: Any) -> Any:
        store = Store(engine())
        instance = self._linker.instantiate(store, self._component)
        function = instance.get_func(store, name)
        assert function is not None
        arguments, result = (Value * 1)(), Value()
        to_c(argument_type, argument, arguments[0])
        try:
            call = ffi.wasmtime_component_func_call
            _check(call(byref(function._func), store._context(), arguments, 1, byref(result), 1))
        finally:
            ffi.wasmtime_component_val_delete(byref(arguments[0]))
        return result

    def lift(self, raw: bytes) -> Any:
        """The value of a T: its first 8 bytes are the core result, a pointer to it or itself."""
        result = self._run("lift", BYTES, raw)
        try:
            return from_c(self.kind, result)
        finally:
            ffi.wasmtime_component_val_delete(byref(result))

    def lower(self, value: Any) -> Writing:
        """What a guest's export is given for a value: core arguments in cells from address 0 on, the rest on the heap."""
        return self._written(self._run("lower", self.kind, value))

    def call(self, raw: bytes, answer: Any) -> tuple[Any, Writing]:
        """What the host gets when core arguments from cells at 0 import-call it, and what its answer writes."""
        self.answer = answer
        written = self._written(self._run("call", BYTES, raw))
        return self.seen, written

    def _written(self, result: Any) -> Writing:
        try:
            memory, log = (bytes_from_c(result.of.tuple.data[index]) for index in range(2))
        finally:
            ffi.wasmtime_component_val_delete(byref(result))
        words = [int.from_bytes(log[at : at + 4], "little") for at in range(0, len(log), 4)]
        return Writing(memory, list(zip(words[::2], words[1::2], strict=True)))


@lru_cache(maxsize=256)
def oracle(kind: Type) -> Oracle:
    """The oracle of a type, compiled once."""
    return Oracle(kind)


def _check(error: Any) -> None:
    if error:
        raise WasmtimeError._from_ptr(error)
