"""G12: a handle means what the host gave it out for, in this guest, as long as it lives; any other number is a trap."""

from __future__ import annotations

import random
from typing import Any

import pytest

from guesthouse import Host, Interface, host_call
from guesthouse.errors import Trap
from harness import failure, often
from support import wat

HOST = "test:g12/host@1.0.0"
RUNNER = "test:g12/runner@1.0.0"
SEED = 20_261_121


class Thing:
    """Something that the host keeps; counts those that are alive."""

    alive = 0

    def __init__(self, number: int) -> None:
        Thing.alive += 1
        self.number = number
        self.open = True

    def close(self) -> None:
        """Once, by whoever has it last."""
        assert self.open
        self.open = False
        Thing.alive -= 1


class Other(Thing):
    """Something of another kind."""


class Keeps(Interface):
    """Makes things, looks at them, takes them, takes two at once."""

    name = "keeps"
    wit = """
    package test:g12@1.0.0;
    interface host {
      resource thing; resource other;
      make: func(number: u32) -> thing; make-other: func(number: u32) -> other;
      look: func(thing: borrow<thing>) -> u32; look-other: func(other: borrow<other>) -> u32;
      look-twice: func(first: borrow<thing>, second: borrow<thing>) -> u32;
      take: func(thing: thing) -> u32; take-both: func(first: thing, second: thing) -> u32;
      take-and-look: func(first: thing, second: borrow<thing>) -> u32;
      look-and-take: func(first: borrow<thing>, second: thing) -> u32;
      take-many: func(things: list<thing>) -> u32;
    }
    interface runner { run: func(number: u32) -> u32; hold: func(thing: borrow<host.thing>) -> u32; }
    """.replace("borrow<host.thing>", "u32")

    @host_call(HOST, "make")
    def make(self, invocation: Any, number: int) -> Thing:
        return Thing(number)

    @host_call(HOST, "make-other")
    def make_other(self, invocation: Any, number: int) -> Other:
        return Other(number)

    @host_call(HOST, "look")
    @host_call(HOST, "look-other")
    async def look(self, invocation: Any, thing: Thing) -> int:
        return thing.number

    @host_call(HOST, "look-twice")
    def look_twice(self, invocation: Any, first: Thing, second: Thing) -> int:
        return first.number + second.number

    @host_call(HOST, "take")
    def take(self, invocation: Any, thing: Thing) -> int:
        thing.close()
        return thing.number

    @host_call(HOST, "take-both")
    @host_call(HOST, "take-and-look")
    @host_call(HOST, "look-and-take")
    def take_both(self, invocation: Any, first: Thing, second: Thing) -> int:
        for thing in {first, second}:
            thing.close()
        return first.number + second.number

    @host_call(HOST, "take-many")
    def take_many(self, invocation: Any, things: list[Thing]) -> int:
        for thing in things:
            thing.close()
        return len(things)


INTERFACES = (Keeps,)
IMPORTS = f"""
  (import "{HOST}" "make" (func $make (param i32) (result i32)))
  (import "{HOST}" "make-other" (func $make-other (param i32) (result i32)))
  (import "{HOST}" "look" (func $look (param i32) (result i32)))
  (import "{HOST}" "look-other" (func $look-other (param i32) (result i32)))
  (import "{HOST}" "look-twice" (func $look-twice (param i32 i32) (result i32)))
  (import "{HOST}" "take" (func $take (param i32) (result i32)))
  (import "{HOST}" "take-both" (func $take-both (param i32 i32) (result i32)))
  (import "{HOST}" "take-and-look" (func $take-and-look (param i32 i32) (result i32)))
  (import "{HOST}" "look-and-take" (func $look-and-take (param i32 i32) (result i32)))
  (import "{HOST}" "take-many" (func $take-many (param i32 i32) (result i32)))
  (import "{HOST}" "[resource-drop]thing" (func $drop (param i32)))
  (import "{HOST}" "[resource-drop]other" (func $drop-other (param i32)))
  (memory (export "memory") 1)"""
A, B, N = "(local.get $a)", "(local.get $b)", "(local.get $number)"


def module(body: str) -> bytes:
    """A guest that has a thing, another one, something else, and a number that it may take for one of them."""
    return wat(f"""(module {IMPORTS}
      (func (export "{RUNNER}#run") (param $number i32) (result i32)
        (local $a i32) (local $b i32) (local $other i32)
        (local.set $a (call $make (i32.const 10)))
        (local.set $b (call $make (i32.const 20)))
        (local.set $other (call $make-other (i32.const 30)))
        {body}))""")


FINE = {
    "looking": (f"(call $look {A})", 10),
    "looking again and again": (f"(drop (call $look {A})) (drop (call $look {A})) (call $look {A})", 10),
    "looking at one twice": (f"(call $look-twice {A} {A})", 20),
    "taking": (f"(call $take {B})", 20),
    "taking two": (f"(call $take-both {A} {B})", 30),
    "taking one and looking at another": (f"(call $take-and-look {A} {B})", 30),
    "dropping": (f"(call $drop {A}) (i32.const 1)", 1),
    "the other kind": ("(call $look-other (local.get $other))", 30),
}
FORGED = {
    "a number of its own": f"(call $look {N})",
    "taking a number of its own": f"(call $take {N})",
    "dropping a number of its own": f"(call $drop {N}) (i32.const 1)",
    "a number of its own beside a thing": f"(call $look-twice {A} {N})",
    "a thing beside a number of its own": f"(call $look-twice {N} {A})",
}
WRONG = {
    "another kind": "(call $look (local.get $other))",
    "a thing as another kind": f"(call $look-other {A})",
    "dropping another kind": "(call $drop (local.get $other)) (i32.const 1)",
    "after it was dropped": f"(call $drop {A}) (call $look {A})",
    "after it was taken": f"(drop (call $take {A})) (call $look {A})",
    "dropping twice": f"(call $drop {A}) (call $drop {A}) (i32.const 1)",
    "taking twice": f"(drop (call $take {A})) (call $take {A})",
    "dropping what was taken": f"(drop (call $take {A})) (call $drop {A}) (i32.const 1)",
    "taking one thing as two": f"(call $take-both {A} {A})",
    "taking what is looked at": f"(call $look-and-take {A} {A})",
    "looking at what is taken": f"(call $take-and-look {A} {A})",
    "the old number of a new thing": f"(call $drop {A}) (drop (call $make (i32.const 1))) (call $look {A})",
    "a list with one thing twice": f"""(i32.store (i32.const 0) {A}) (i32.store (i32.const 4) {B})
        (i32.store (i32.const 8) {A}) (call $take-many (i32.const 0) (i32.const 3))""",
}
NUMBERS = (0, -1, 4, 5, 100, 1 << 16, 1 << 30, 0x7FFFFFFF, -0x80000000, id(object()) & 0x7FFFFFFF)


def numbers() -> list[int]:
    """Numbers that are no handle of a guest that has been given three."""
    dice = random.Random(SEED)
    return [*NUMBERS, *(dice.randrange(4, 1 << 32) for _ in range(often(10)))]


@pytest.fixture(autouse=True)
def balance() -> Any:
    """Whatever happens, each thing is closed once."""
    before = Thing.alive
    yield
    assert Thing.alive == before


@pytest.mark.parametrize(("body", "answer"), FINE.values(), ids=FINE)
def test_a_handle_is_good_for_what_it_was_given_for(host: Host, body: str, answer: int) -> None:
    """And what the guest leaves behind is closed when it ends."""
    host.deploy("handles", module(body))
    assert host.call("handles", "run", 0, interface=RUNNER) == answer


@pytest.mark.parametrize("body", FORGED.values(), ids=FORGED)
def test_a_forged_handle_traps(host: Host, body: str) -> None:
    """Zero, negative, large, random: none is anything."""
    host.deploy("handles", module(body))
    for number in numbers():
        error = failure(host, "handles", "run", number & 0xFFFFFFFF, interface=RUNNER)
        assert isinstance(error, Trap)
        assert error.reason == "resource"


@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG)
def test_a_handle_used_wrongly_traps(host: Host, body: str) -> None:
    """As another kind, after its end, twice, or lent and given away in one call."""
    host.deploy("handles", module(body))
    error = failure(host, "handles", "run", 0, interface=RUNNER)
    assert isinstance(error, Trap)
    assert error.reason == "resource"


def test_a_handle_of_another_guest_is_nothing_here(host: Host) -> None:
    """Numbers are counted for each guest: the same number is its own thing, never the other's."""
    host.deploy("answers", module(A))
    host.deploy("looks", module(f"(call $look {N})"))
    stolen = host.call("answers", "run", 0, interface=RUNNER)
    assert host.call("looks", "run", stolen, interface=RUNNER) == 10
    host.deploy(
        "early",
        wat(f"""(module {IMPORTS}
      (func (export "{RUNNER}#run") (param i32) (result i32) (call $look (local.get 0))))"""),
    )
    error = failure(host, "early", "run", stolen, interface=RUNNER)
    assert getattr(error, "reason", "") == "resource"


def test_a_handle_says_nothing_of_the_host(host: Host) -> None:
    """No address, no count of others: the first handles of every guest are the same small numbers."""
    host.deploy("answers", module("(i32.or (i32.or (local.get $a) (local.get $b)) (local.get $other))"))
    assert {host.call("answers", "run", 0, interface=RUNNER) for _ in range(5)} == {1 | 2 | 3}
