"""G5: a guest that runs out of stack traps, wherever it is: the process has another stack."""

from __future__ import annotations

from typing import Any

import pytest

from guesthouse import AsyncHost, Host, Interface, host_call
from guesthouse.errors import AdmissionFull, GuesthouseError, HostError, Trap
from harness import failure, often, run
from support import FORMS, guest, wat

HOST = "test:g5/host@1.0.0"
RUNNER = "test:g5/runner@1.0.0"
MEMORY_MIB = 96
"""A stack that was used once keeps its pages, up to 512 KiB, and the pool takes its warm slots in turn."""


class Deep(Interface):
    """Called at the bottom, plain and asynchronous; `again` calls a guest from a host function."""

    name = "deep"
    wit = """
    package test:g5@1.0.0;
    interface host { text: func() -> string; later: func() -> string; again: func(depth: u32) -> u32; }
    interface runner { run: func(depth: u32) -> u32; }
    """
    host: Host | None = None

    @host_call(HOST, "text")
    def text(self, invocation: Any) -> str:
        return "bottom"

    @host_call(HOST, "later")
    async def later(self, invocation: Any) -> str:
        return "bottom"

    @host_call(HOST, "again")
    async def again(self, invocation: Any, depth: int) -> int:
        assert Deep.host is not None
        answer: int = await Deep.host.inner.call("again", "run", depth, interface=RUNNER)
        return answer


INTERFACES = (Deep,)
IMPORTS = f"""
  (import "{HOST}" "text" (func $text (param i32)))
  (import "{HOST}" "later" (func $later (param i32)))
  (import "{HOST}" "again" (func $again (param i32) (result i32)))
  (memory (export "memory") 1)"""
REALLOC = '(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))'
RECURSIVE_REALLOC = """
  (func $r (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (i32.add (i32.const 1) (call $r (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 1))))"""


def dives(call: str, realloc: str = REALLOC) -> bytes:
    """A guest that calls the host `depth` calls down."""
    return wat(f"""(module {IMPORTS} {realloc}
      (func $dive (param $depth i32) (result i32)
        (if (result i32) (i32.eqz (local.get $depth))
          (then (call ${call} (i32.const 16)) (i32.load (i32.const 20)))
          (else (i32.add (i32.const 1) (call $dive (i32.sub (local.get $depth) (i32.const 1)))))))
      (func (export "{RUNNER}#run") (param $depth i32) (result i32) (call $dive (local.get $depth))))""")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("path", "reason"), [(None, "stack-overflow"), ("memory", "memory-out-of-bounds")])
def test_endless_recursion_traps(host: Host, form: str, path: str | None, reason: str) -> None:
    """Whether the engine's stack or the one in memory ends first: a trap, again and again (10,000 times in the soak)."""
    host.deploy("recurse", guest("recurse", form))
    for _ in range(often(20)):
        outcome = host.invoke("recurse", path=path)
        assert isinstance(outcome.error, Trap)
        assert outcome.error.reason == reason


@pytest.mark.parametrize("call", ["text", "later"])
def test_a_host_call_at_the_bottom_has_room(host: Host, call: str) -> None:
    """At any depth, up to the last call that fits: an answer or a trap, where the allocator runs below it too."""
    host.deploy("dives", dives(call))
    ends = set()
    for depth in [*range(0, 20_000, 500), *range(9_000, 9_000 + often(100))]:
        try:
            assert host.call("dives", "run", depth, interface=RUNNER) == depth + len("bottom")
            ends.add("answered")
        except Trap as trap:
            assert trap.reason == "stack-overflow"
            ends.add("trapped")
    assert ends == {"answered", "trapped"}


@pytest.mark.parametrize("call", ["text", "later"])
@pytest.mark.parametrize("depth", [0, 1_000, 5_000])
def test_recursion_in_the_allocator_traps(host: Host, call: str, depth: int) -> None:
    """It runs inside a host call, on what the guest left of its stack."""
    host.deploy("dives", dives(call, RECURSIVE_REALLOC))
    for _ in range(often(5)):
        error = failure(host, "dives", "run", depth, interface=RUNNER)
        assert getattr(error, "reason", "") == "stack-overflow"


@pytest.mark.parametrize(
    "where",
    [
        "(func $s (call $s)) (start $s)",
        '(func $i (export "_initialize") (call $i))',
        "(func $s (call $text (i32.const 16)) (call $s)) (start $s)",
    ],
)
def test_recursion_before_the_call_traps(host: Host, where: str) -> None:
    """In a start function there is no memory yet that the host could answer into: that traps as well."""
    host.deploy(
        "early",
        wat(
            f'(module {IMPORTS} {REALLOC} {where} (func (export "{RUNNER}#run") (param i32) (result i32) (i32.const 1)))'
        ),
    )
    assert isinstance(failure(host, "early", "run", 0, interface=RUNNER), Trap)


def test_a_guest_that_the_host_calls_back_is_another_instance(host: Host) -> None:
    """Guest, host, guest: nobody enters the instance that waits; how deep this goes, the pool bounds."""
    Deep.host = host
    host.deploy(
        "again",
        wat(f"""(module {IMPORTS} {REALLOC} (global $entered (mut i32) (i32.const 0))
          (func (export "{RUNNER}#run") (param $depth i32) (result i32)
            (if (global.get $entered) (then (unreachable)))
            (global.set $entered (i32.const 1))
            (if (i32.eqz (local.get $depth)) (then (return (i32.const 0))))
            (i32.add (i32.const 1) (call $again (i32.sub (local.get $depth) (i32.const 1))))))"""),
    )
    assert host.call("again", "run", 5, interface=RUNNER) == 5
    assert isinstance(failure(host, "again", "run", 1_000_000, interface=RUNNER), AdmissionFull | HostError)


def test_a_host_function_cannot_call_the_synchronous_host(host: Host) -> None:
    """It would wait for the loop it is running on: an error, not a deadlock."""

    async def attack(inner: AsyncHost) -> GuesthouseError:
        try:
            host.spawn("nothing")
        except GuesthouseError as error:
            return error
        raise AssertionError("it was not refused")

    assert isinstance(run(host, attack), HostError)
