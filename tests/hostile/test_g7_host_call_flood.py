"""G7: host calls cost the host's time, so an invocation has only so many, and others have their turn in between."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from guesthouse import AsyncHost, Host, Interface, host_call
from guesthouse.errors import Trap
from harness import LATE, failure, often, run
from support import FORMS, guest, wat

HOST = "test:g7/host@1.0.0"
RUNNER = "test:g7/runner@1.0.0"


class Counts(Interface):
    """Counts its calls, of each kind."""

    name = "counts"
    wit = """
    package test:g7@1.0.0;
    interface host { plain: func(); at-once: func(); turn: func(); take: func(text: string); text: func() -> string; }
    interface runner { run: func() -> u32; }
    """
    calls = 0

    @host_call(HOST, "plain")
    def plain(self, invocation: Any) -> None:
        Counts.calls += 1

    @host_call(HOST, "at-once")
    async def at_once(self, invocation: Any) -> None:
        Counts.calls += 1

    @host_call(HOST, "turn")
    async def turn(self, invocation: Any) -> None:
        Counts.calls += 1
        await asyncio.sleep(0)

    @host_call(HOST, "take")
    def take(self, invocation: Any, text: str) -> None:
        Counts.calls += 1

    @host_call(HOST, "text")
    def text(self, invocation: Any) -> str:
        Counts.calls += 1
        return "text"


INTERFACES = (Counts,)
CALLS = {
    "plain": "(call $plain)",
    "at once": "(call $at-once)",
    "with a turn": "(call $turn)",
    "with text": "(call $take (i32.const 16) (i32.const 1000))",
    "answering text": "(call $text (i32.const 16))",
}


def module(call: str, between: str = "") -> bytes:
    """A guest that calls the host without end."""
    return wat(f"""(module
      (import "{HOST}" "plain" (func $plain)) (import "{HOST}" "at-once" (func $at-once))
      (import "{HOST}" "turn" (func $turn)) (import "{HOST}" "take" (func $take (param i32 i32)))
      (import "{HOST}" "text" (func $text (param i32)))
      (memory (export "memory") 1)
      (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
      (func (export "{RUNNER}#run") (result i32) (loop {call} {between} (br 0)) (unreachable)))""")


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_flood_ends_after_so_many_calls(host: Host, call: str) -> None:
    """Exactly so many are answered; the next is counted before anything of it is lifted, and is a trap."""
    host.deploy("flood", module(call), limits={"host_calls": 5_000})
    Counts.calls = 0
    error = failure(host, "flood", "run", interface=RUNNER)
    assert isinstance(error, Trap)
    assert error.reason == "host-calls"
    assert Counts.calls == 5_000


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["call-flood", "log-flood", "stdout-flood"])
def test_a_real_guest_that_floods_ends(host: Host, name: str, form: str) -> None:
    """On the published crates: cache, log and standard output."""
    host.deploy(name, guest(name, form), limits={"host_calls": 2_000})
    outcome = host.invoke(name)
    assert isinstance(outcome.error, Trap)
    assert outcome.error.reason == "host-calls"


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_flood_ends_at_its_deadline(host: Host, call: str) -> None:
    """However fast the host answers, and whether that needs a turn of the loop or none."""
    host.deploy(
        "flood", module(call), limits={"host_calls": 1 << 40, "deadline_ms": 100, "invocation_lift_bytes": 1 << 50}
    )
    began = time.monotonic()
    assert type(failure(host, "flood", "run", interface=RUNNER)).__name__ == "DeadlineExceeded"
    assert time.monotonic() - began < 0.1 + LATE


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_floods_leave_others_their_turn(host: Host, call: str) -> None:
    """Beside ten floods another function is answered; the target is a p99 of 20 ms."""
    host.deploy(
        "flood", module(call), limits={"host_calls": 1 << 40, "deadline_ms": 600, "invocation_lift_bytes": 1 << 50}
    )

    async def attack(inner: AsyncHost) -> list[float]:
        floods = [asyncio.ensure_future(inner.call("flood", "run", interface=RUNNER)) for _ in range(10)]
        taken = []
        while not all(flood.done() for flood in floods):
            began = time.monotonic()
            assert (await inner.invoke("echo", b"x")).result == "ok"
            taken.append(time.monotonic() - began)
            began = time.monotonic()
            await asyncio.sleep(0.002)
            taken.append(time.monotonic() - began - 0.002)
        await asyncio.gather(*floods, return_exceptions=True)
        return sorted(taken)

    for _ in range(often(1)):
        taken = run(host, attack)
        assert len(taken) > 20
        assert taken[-1] < 0.3
