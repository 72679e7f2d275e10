"""G9: what a guest claims to be large is checked against its memory and its budget before the host allocates anything."""

from __future__ import annotations

import time
import tracemalloc
from typing import Any

import pytest

from guesthouse import Host, Interface, host_call
from guesthouse.engine.instance import ENVELOPE_BYTES
from guesthouse.errors import Trap
from harness import LATE, failure, often
from support import wat

HOST = "test:g9/host@1.0.0"
RUNNER = "test:g9/runner@1.0.0"
MEMORY = 128 << 20
MEMORY_MIB = 160
TYPES = {
    "text": ("string", 1, 1),
    "bytes": ("list<u8>", 1, 1),
    "bools": ("list<bool>", 1, 1),
    "numbers": ("list<u32>", 4, 4),
    "wide": ("list<u64>", 8, 8),
    "floats": ("list<f64>", 8, 8),
    "chars": ("list<char>", 4, 4),
    "texts": ("list<string>", 8, 4),
    "blobs": ("list<list<u8>>", 8, 4),
    "nested": ("list<list<list<u8>>>", 8, 4),
    "small-tuples": ("list<tuple<u8>>", 1, 1),
    "pairs": ("list<tuple<string, string>>", 16, 4),
    "options": ("list<option<bool>>", 2, 1),
    "results": ("list<result<u8, u8>>", 2, 1),
    "sets": ("list<flags-of>", 1, 1),
    "records": ("list<record-of>", 6, 2),
}
"""Names of host functions: the type of their parameter, the size of an element and its alignment."""


class Takes(Interface):
    """Takes one value of each type and forgets it."""

    name = "takes"
    wit = f"""
    package test:g9@1.0.0;
    interface host {{
      flags flags-of {{ a, b, c, d, e, f, g, h }}
      record record-of {{ a: u8, b: u16, c: option<u8> }}
      {" ".join(f"{name}: func(value: {kind});" for name, (kind, _, _) in TYPES.items())}
    }}
    interface runner {{ run: func(pointer: u32, length: u32) -> u32; answer: func(pointer: u32, length: u32) -> string; }}
    """
    taken: Any = None

    def take(self, invocation: Any, value: Any) -> None:
        """Keeps it until the next one, so that it counts."""
        Takes.taken = None
        Takes.taken = value


for _name in TYPES:
    Takes.take = host_call(HOST, _name)(Takes.take)  # type: ignore[method-assign]
INTERFACES = (Takes,)


def module(name: str, prepare: str = "", repeat: int = 1) -> bytes:
    """A guest with all its memory that passes a pointer and a length to the host function `name`."""
    return wat(f"""(module (import "{HOST}" "{name}" (func $take (param i32 i32)))
      (memory (export "memory") {MEMORY >> 16})
      (func (export "{RUNNER}#run") (param $at i32) (param $length i32) (result i32) (local $n i32)
        {prepare} (local.set $n (i32.const {repeat}))
        (loop $again (call $take (local.get $at) (local.get $length))
          (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (i32.const 1))
      (func (export "{RUNNER}#answer") (param $at i32) (param $length i32) (result i32)
        (i32.store (i32.const 16) (local.get $at)) (i32.store (i32.const 20) (local.get $length)) (i32.const 16)))""")


@pytest.fixture(autouse=True)
def forget() -> Any:
    """Lets go of the last value."""
    yield
    Takes.taken = None


@pytest.mark.parametrize("name", TYPES)
def test_a_length_beyond_memory_traps_at_once(host: Host, name: str) -> None:
    """Every overflow that pointer, length and size can make; the target is a millisecond of the host's time."""
    _, size, align = TYPES[name]
    host.deploy("claims", module(name))
    host.call("claims", "run", 0, 0, interface=RUNNER)
    lengths = (0xFFFFFFFF, 0x80000000, 0x7FFFFFFF, MEMORY // size + 1, (1 << 32) // size, (1 << 32) // size + 1)
    for length in lengths:
        began = time.monotonic()
        error = failure(host, "claims", "run", align, min(length, 0xFFFFFFFF), interface=RUNNER)
        assert time.monotonic() - began < LATE
        assert getattr(error, "reason", "") == "canonical-abi"
    for pointer in (MEMORY, MEMORY + 1, 0xFFFFFFFF, 0xFFFFFFFF - 7, 0x80000000):
        for length in (1, 2, 0xFFFFFFFF):
            error = failure(host, "claims", "run", pointer, length, interface=RUNNER)
            assert getattr(error, "reason", "") == "canonical-abi"


@pytest.mark.parametrize("name", TYPES)
def test_a_value_in_memory_is_bounded_by_the_budget(host: Host, name: str) -> None:
    """All of a guest's memory as one value is over 32 MiB: a trap before the list is made, in no time."""
    _, size, _ = TYPES[name]
    host.deploy("whole", module(name))
    host.call("whole", "run", 0, 0, interface=RUNNER)
    began = time.monotonic()
    error = failure(host, "whole", "run", 0, MEMORY // size, interface=RUNNER)
    assert getattr(error, "reason", "") == "lift-budget"
    assert time.monotonic() - began < LATE


@pytest.mark.parametrize("name", TYPES)
def test_the_host_never_allocates_twice_the_budget(host: Host, name: str) -> None:
    """The longest list that is let through, of elements that are nothing, takes at most 2 x 4 MiB of Python's memory."""
    budget = 4 << 20
    host.deploy("most", module(name), limits={"lift_bytes": budget, "fuel": 1 << 40})
    low, high = 0, MEMORY
    while high - low > 1:  # how many elements are let through
        middle = (low + high) // 2
        try:
            host.call("most", "run", 0, middle, interface=RUNNER)
            low = middle
        except Trap:
            high = middle
    Takes.taken = None
    tracemalloc.start()
    try:
        host.call("most", "run", 0, low, interface=RUNNER)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert low > 1_000
    assert peak < 2 * budget + (1 << 20), f"{low} elements took {peak >> 20} MiB"


ALIASES = """
    (local.set $n (i32.const 0))
    (loop $fill
      (i32.store (i32.add (i32.const 1024) (i32.mul (local.get $n) (i32.const 8))) (i32.const 67108864))
      (i32.store (i32.add (i32.const 1028) (i32.mul (local.get $n) (i32.const 8))) (i32.const {size}))
      (br_if $fill (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const {count}))))"""


@pytest.mark.parametrize("name", ["texts", "blobs"])
@pytest.mark.parametrize(("count", "size"), [(1_000_000, 8 << 20), (100, 8 << 20), (5, 8 << 20), (100_000, 1_000)])
def test_aliases_of_one_buffer_are_each_charged(host: Host, name: str, count: int, size: int) -> None:
    """A million lists that all are the same 8 MiB would be 8 TB here: they trap when the budget is used up."""
    host.deploy("aliases", module(name, ALIASES.format(count=count, size=size)))
    began = time.monotonic()
    error = failure(host, "aliases", "run", 1024, count, interface=RUNNER)
    assert getattr(error, "reason", "") == "lift-budget"
    assert time.monotonic() - began < 1 + LATE


def test_an_invocation_has_a_budget_for_all_its_calls(host: Host) -> None:
    """Many calls that are each allowed come to an end: 128 MiB in all."""
    host.deploy("often", module("bytes", repeat=often(20)), limits={"lift_bytes": 32 << 20})
    error = failure(host, "often", "run", 0, 30 << 20, interface=RUNNER)
    assert getattr(error, "reason", "") == "lift-budget"
    host.deploy("often", module("bytes", repeat=4))
    assert host.call("often", "run", 0, 30 << 20, interface=RUNNER) == 1


def test_an_answer_is_bounded_as_well(host: Host) -> None:
    """What an export answers is lifted within the limit of response bytes, and a little for what surrounds them."""
    host.deploy("answers", module("bytes"), limits={"response_bytes": 1 << 20})
    assert len(host.call("answers", "answer", 1024, 1 << 20, interface=RUNNER)) == 1 << 20
    for pointer, length, reason in (
        (1024, (1 << 20) + ENVELOPE_BYTES + 1, "lift-budget"),
        (1024, 0xFFFFFFFF, "canonical-abi"),
        (0xFFFFFFFF, 1, "canonical-abi"),
        (MEMORY, 1, "canonical-abi"),
    ):
        error = failure(host, "answers", "answer", pointer, length, interface=RUNNER)
        assert getattr(error, "reason", "") == reason
