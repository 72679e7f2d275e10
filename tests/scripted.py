"""Guests that are a list of host calls: written down, changed a little, and made into a module.

`Script` says which calls a guest makes, in which order, and how it ends; `mutants` changes it as people change functions
that are at work.  `Outside` is the host interface that scripts look at and change: it counts what reaches it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from guesthouse import Interface, Invocation, host_call
from guesthouse.engine.hostcall import Effect
from support import wat

OUTSIDE = "test:outside/outside@1.0.0"
WEB = "momento:functions/guest-function-web@1.0.0#post"
SCALAR, LIST = "momento:cache-scalar/cache-scalar@1.0.0", "momento:cache-list/cache-list@1.0.0"
PROMISES, STEPS = "guesthouse:durable/promises@1.0.0", "guesthouse:durable/steps@1.0.0"
HOUR_MS = 3_600_000

Op = tuple[str | int | tuple["Op", ...], ...]
"""What a guest does: a word of `IMPORTS` and its arguments; `("branch", then, else)` goes by whether the last result is odd."""

IMPORTS = {
    "look": f'(import "{OUTSIDE}" "look" (func $look (param i32 i32) (result i32)))',
    "store": f'(import "{OUTSIDE}" "store" (func $store (param i32 i32 i32) (result i32)))',
    "peek": f'(import "{OUTSIDE}" "peek" (func $peek (result i32)))',
    "get": f'(import "{SCALAR}" "get" (func $get (param i32 i32 i32 i32)))',
    "set": f'(import "{SCALAR}" "set" (func $set (param i32 i32 i32 i32 i32 i32 i64 i32)))',
    "push": f'(import "{LIST}" "list-push-back" (func $push (param i32 i32 i32 i32 i32 i32 i64 i32 i32 i32)))',
    "clock": '(import "wasi:clocks/monotonic-clock@0.2.12" "now" (func $clock (result i64)))',
    "random": '(import "wasi:random/random@0.2.12" "get-random-u64" (func $random (result i64)))',
    "sleep": f'(import "{PROMISES}" "sleep" (func $sleep (param i64) (result i32)))',
    "awakeable": f'(import "{PROMISES}" "awakeable" (func $awakeable (result i32)))',
    "begin": f'(import "{STEPS}" "begin" (func $begin (param i32 i32 i32 i64 i64 i32)))',
    "end": f'(import "{STEPS}" "end" (func $end (param i32 i32 i32 i32 i64 i32 i32 i32)))',
    "wait": f'(import "{PROMISES}" "wait" (func $wait (param i32 i32 i64 i32)))',
}
NEEDS = {"sleep": {"sleep", "wait"}, "awakeable": {"awakeable", "wait"}, "step": {"begin", "end"}}
"""Words that are several calls."""


@dataclass
class Outside(Interface):
    """What scripts ask; `looks` and `stores` are what came here, in order."""

    name = "outside"
    wit = """package test:outside@1.0.0;
    interface outside {
        look: func(key: list<u8>) -> u32;
        store: func(key: list<u8>, value: u32) -> u32;
        peek: func() -> u32;
    }"""

    seed: int = 0
    """What `peek` answers: in another process, another thing."""
    looks: list[bytes] = field(default_factory=list)
    stores: Counter[tuple[bytes, int]] = field(default_factory=Counter)

    __hash__ = Interface.__hash__

    @host_call(OUTSIDE, "look", effect=Effect.READ)
    def look(self, invocation: Invocation, key: bytes) -> int:
        self.looks.append(key)
        return len(self.looks)

    @host_call(OUTSIDE, "store", effect=Effect.WRITE)
    def store(self, invocation: Invocation, key: bytes, value: int) -> int:
        self.stores[key, value] += 1
        return self.stores[key, value]

    @host_call(OUTSIDE, "peek", effect=Effect.NONE)
    def peek(self, invocation: Invocation) -> int:
        """Breaks the rule for what has no effect: it is no function of the invocation."""
        return self.seed


@dataclass(frozen=True)
class Script:
    """A web function that does `ops` and then answers 200, or traps."""

    ops: tuple[Op, ...]
    traps: bool = False

    def ending(self, *, traps: bool) -> Script:
        """The same with another end."""
        return replace(self, traps=traps)

    @property
    def wasm(self) -> bytes:
        """The module."""
        return wat(self.text)

    @property
    def text(self) -> str:
        """The module as WebAssembly text."""
        code, literals = _Code(), dict[str, int]()
        body = "\n".join(code.of(op, literals) for op in self.ops)
        used = [IMPORTS[word] for word in IMPORTS if word in code.used]
        data = "\n".join(f'(data (i32.const {at}) "{text}")' for text, at in literals.items())
        end = "unreachable" if self.traps else _ANSWER
        return f"""(module
  {" ".join(used)}
  (memory (export "memory") 4)
  (global $top (mut i32) (i32.const 65536))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (global.set $top (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
    (global.get $top)
    (global.set $top (i32.add (global.get $top) (local.get 3))))
  {data}
  (func (export "{WEB}") (param $at i32) (param $size i32) (result i32) (local $last i32)
    {body}
    {end}))"""


_ANSWER = """(i32.store16 (i32.const 96) (i32.const 200))
    (i32.store (i32.const 100) (i32.const 0)) (i32.store (i32.const 104) (i32.const 0))
    (i32.store (i32.const 108) (i32.const 128)) (i32.store (i32.const 112) (i32.const 4))
    (i32.store (i32.const 128) (local.get $last))
    (i32.const 96)"""
"""The answer's body is the last result, four bytes."""


class _Code:
    """Text of instructions, and which imports they need."""

    def __init__(self) -> None:
        self.used: set[str] = set()

    def of(self, op: Op, literals: dict[str, int]) -> str:
        """The instructions of one op; each leaves its result in $last."""
        word, *arguments = op
        if word == "branch":
            ways = [" ".join(self.of(inner, literals) for inner in way) for way in arguments if isinstance(way, tuple)]
            return f"(if (i32.and (local.get $last) (i32.const 1)) (then {ways[0]}) (else {ways[1]}))"
        self.used |= NEEDS.get(str(word), {str(word)})
        texts = [_literal(argument, literals) if isinstance(argument, str) else argument for argument in arguments]
        return f"(local.set $last {_call(str(word), texts)})"


def _literal(text: str, literals: dict[str, int]) -> str:
    at = literals.setdefault(text, 1024 + sum(map(len, literals)))
    return f"(i32.const {at}) (i32.const {len(text)})"


def _call(word: str, given: list[object]) -> str:
    """An expression that makes the call and is its result as an i32."""
    value = "(i32.const 1)"  # `data` by value
    match word:
        case "look":
            return f"(call $look {given[0]})"
        case "store":
            return f"(call $store {given[0]} (i32.const {given[1]}))"
        case "peek":
            return "(call $peek)"
        case "get":
            return f"(block (result i32) (call $get {value} {given[0]} (i32.const 512)) (i32.load8_u (i32.const 516)))"
        case "set":
            call = f"(call $set {value} {given[0]} {value} {given[1]} (i64.const {HOUR_MS}) (i32.const 512))"
            return f"(block (result i32) {call} (i32.load8_u (i32.const 512)))"
        case "push":
            more = f"(i64.const {HOUR_MS}) (i32.const 1) (i32.const 1000) (i32.const 512)"
            return f"(block (result i32) (call $push {value} {given[0]} {value} {given[1]} {more}) (i32.load (i32.const 516)))"
        case "clock":
            return "(i32.wrap_i64 (call $clock))"
        case "random":
            return "(i32.wrap_i64 (call $random))"
        case "step":
            begin = f"(call $begin {given[0]} (i32.const 1) (i64.const 1) (i64.const 1) (i32.const 512))"
            done = "(i32.const 0) (i32.const 16) (i32.const 0) (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0)"
            begun = "(i32.eq (i32.load8_u (i32.const 516)) (i32.const 1))"
            run = f"(if {begun} (then (call $end {done} (i32.const 512))))"
            return f"(block (result i32) {begin} {run} (i32.const 0))"
        case "sleep" | "awakeable":
            made = f"(call $sleep (i64.const {given[0]}))" if word == "sleep" else "(call $awakeable)"
            waited = f"(call $wait {made} (i32.const 0) (i64.const 0) (i32.const 512))"
            return f"(block (result i32) {waited} (i32.load8_u (i32.const 512)))"
    raise ValueError(word)


# -- changes


def mutants(script: Script) -> Iterator[tuple[str, Script]]:
    """Every change of one place that makes another sequence of recorded calls, by what was done."""
    ops = script.ops
    seen = {ops}
    for what, changed in _changes(ops):
        if changed not in seen:
            seen.add(changed)
            yield what, replace(script, ops=changed)


def _changes(ops: tuple[Op, ...]) -> Iterator[tuple[str, tuple[Op, ...]]]:
    for at, op in enumerate(ops):
        before, after = ops[:at], ops[at + 1 :]
        if after:
            yield f"order-{at}", (*before, after[0], op, *after[1:])
        yield f"removed-{at}", (*before, *after)
        yield f"added-{at}", (*before, ("look", "something new"), *ops[at:])
        yield f"twice-{at}", (*before, op, *ops[at:])
        yield f"argument-{at}", (*before, _another_argument(op), *after)
        yield f"function-{at}", (*before, _another_function(op), *after)


def _another_argument(op: Op) -> Op:
    """The same call with one argument changed; of a call without any, the call itself."""
    if len(op) == 1:
        return op
    last = op[-1]
    return (*op[:-1], f"{last}!" if isinstance(last, str) else int(last) + 1)  # type: ignore[arg-type]


def _another_function(op: Op) -> Op:
    """Another call with the same arguments, where there is one that fits."""
    others = {"look": "get", "get": "look", "set": "push", "push": "set", "clock": "random", "random": "clock"}
    word = str(op[0])
    return (others[word], *op[1:]) if word in others else ("look", word)
