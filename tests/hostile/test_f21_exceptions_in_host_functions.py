"""F21: whatever a host function raises ends in a trap of that one guest: never success, never another guest's error."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from guesthouse import AsyncHost, Host, Interface, host_call
from guesthouse.errors import Cancelled, DeadlineExceeded, FuelExhausted, GuesthouseError, HostError, Trap
from harness import failure, often, run
from support import wat

HOST = "test:f21/host@1.0.0"
RUNNER = "test:f21/runner@1.0.0"
SEED = 20_261_121


class Odd(Exception):
    """An exception whose text cannot be encoded."""

    def __str__(self) -> str:
        return "\ud800 odd"


RAISED: dict[str, BaseException] = {
    "Exception": Exception("x"),
    "BaseException": BaseException("x"),
    "KeyboardInterrupt": KeyboardInterrupt(),
    "SystemExit": SystemExit(3),
    "SystemExit of nothing": SystemExit(),
    "GeneratorExit": GeneratorExit(),
    "MemoryError": MemoryError(),
    "RecursionError": RecursionError(),
    "CancelledError": asyncio.CancelledError(),
    "TimeoutError": TimeoutError(),
    "StopIteration": StopIteration(7),
    "StopAsyncIteration": StopAsyncIteration(),
    "an exception group": BaseExceptionGroup("x", [KeyboardInterrupt(), ValueError("y")]),
    "text that cannot be encoded": Odd(),
    "a trap with such a text": Trap("\ud800", "\udfff"),
    "a trap with a zero in it": Trap("a\0b"),
    "a trap without a text": Trap(""),
    "a trap with a long text": Trap("long " * 10_000),
    "what looks like a deadline": DeadlineExceeded(),
    "what looks like fuel": FuelExhausted(),
    "what looks like a cancellation": Cancelled(),
    "an error of ours": GuesthouseError("x"),
}
NUMBERS = list(RAISED)


def deep(levels: int) -> int:
    """Recurses until Python gives up."""
    return deep(levels + 1) + 1


class Raises(Interface):
    """Raises what it is told, in each kind of host function; `good` and `good-later` do not."""

    name = "raises"
    wit = """
    package test:f21@1.0.0;
    interface host {
      resource thing;
      plain: func(number: u32) -> u32;
      later: func(number: u32) -> u32;
      after-a-turn: func(number: u32) -> u32;
      blocking: func(number: u32) -> u32;
      recurses: func(number: u32) -> u32;
      wrong: func(number: u32) -> u32;
      good: func(number: u32) -> u32;
      good-later: func(number: u32) -> u32;
      make: func(number: u32) -> thing;
    }
    interface runner {
      plain: func(number: u32) -> u32;
      later: func(number: u32) -> u32;
      after-a-turn: func(number: u32) -> u32;
      blocking: func(number: u32) -> u32;
      recurses: func(number: u32) -> u32;
      wrong: func(number: u32) -> u32;
      good: func(number: u32) -> u32;
      good-later: func(number: u32) -> u32;
      leave: func(number: u32) -> u32;
      drop: func(number: u32) -> u32;
    }
    """

    @host_call(HOST, "plain")
    def plain(self, invocation: Any, number: int) -> int:
        raise RAISED[NUMBERS[number]]

    @host_call(HOST, "later")
    async def later(self, invocation: Any, number: int) -> int:
        raise RAISED[NUMBERS[number]]

    @host_call(HOST, "after-a-turn")
    async def after_a_turn(self, invocation: Any, number: int) -> int:
        await asyncio.sleep(0)
        raise RAISED[NUMBERS[number]]

    @host_call(HOST, "blocking", blocking=True)
    def blocking(self, invocation: Any, number: int) -> int:
        raise RAISED[NUMBERS[number]]

    @host_call(HOST, "recurses")
    def recurses(self, invocation: Any, number: int) -> int:
        return deep(number)

    @host_call(HOST, "wrong")
    def wrong(self, invocation: Any, number: int) -> Any:
        return (None, "7", -1, 1 << 32, 1.5, [], (), object(), {"a": 1}, b"7", ..., asyncio.sleep)[number]

    @host_call(HOST, "good")
    def good(self, invocation: Any, number: int) -> int:
        return number + 1

    @host_call(HOST, "good-later")
    async def good_later(self, invocation: Any, number: int) -> int:
        await asyncio.sleep(0.001)
        return number + 1

    @host_call(HOST, "make")
    def make(self, invocation: Any, number: int) -> Any:
        return Closes(RAISED[NUMBERS[number]])


class Closes:
    """A resource that raises when it is closed."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def close(self) -> None:
        """Fails."""
        raise self.error


INTERFACES = (Raises,)
KINDS = ("plain", "later", "after-a-turn", "blocking", "recurses", "wrong", "good", "good-later")
GUEST = f"""(module
  {" ".join(f'(import "{HOST}" "{kind}" (func ${kind} (param i32) (result i32)))' for kind in KINDS)}
  (import "{HOST}" "make" (func $make (param i32) (result i32)))
  (import "{HOST}" "[resource-drop]thing" (func $drop (param i32)))
  (memory (export "memory") 1)
  {" ".join(f'(func (export "{RUNNER}#{kind}") (param i32) (result i32) (call ${kind} (local.get 0)))' for kind in KINDS)}
  (func (export "{RUNNER}#leave") (param i32) (result i32)
    (call $make (local.get 0)) (call $make (local.get 0)) (drop) (drop) (i32.const 1))
  (func (export "{RUNNER}#drop") (param i32) (result i32)
    (call $drop (call $make (local.get 0))) (i32.const 1)))"""


@pytest.fixture
def raising(host: Host) -> Host:
    """The host with the guest that calls all these."""
    host.deploy("guest", wat(GUEST), limits={"deadline_ms": 5_000})
    return host


@pytest.mark.parametrize("kind", ["plain", "later", "after-a-turn", "blocking"])
@pytest.mark.parametrize("number", range(len(NUMBERS)), ids=NUMBERS)
def test_whatever_is_raised_is_a_trap(raising: Host, kind: str, number: int) -> None:
    """The error of the host's own tree is kept, everything else is the host's fault and named; it comes at once."""
    expected = RAISED[NUMBERS[number]]
    for _ in range(often(2)):
        error = failure(raising, "guest", kind, number, interface=RUNNER)
        if isinstance(expected, GuesthouseError):
            assert error is expected
        else:
            assert type(error) is HostError
            assert "raised" in str(error)
            assert kind in str(error)
            assert error.status == 500


def test_real_recursion_is_a_trap(raising: Host) -> None:
    """Python's own stack is deep enough for its limit, wherever guests run."""
    for _ in range(often(3)):
        assert "RecursionError" in str(failure(raising, "guest", "recurses", 0, interface=RUNNER))


@pytest.mark.parametrize("number", range(12))
def test_an_answer_of_another_type_is_a_trap(raising: Host, number: int) -> None:
    """Never cut, never converted, never left out."""
    assert type(failure(raising, "guest", "wrong", number, interface=RUNNER)) is HostError


@pytest.mark.parametrize("number", range(len(NUMBERS)), ids=NUMBERS)
def test_a_resource_that_cannot_be_closed_costs_nobody_a_slot(raising: Host, number: int) -> None:
    """Dropped by the guest, that is a trap; left behind, the host's log is told and the answer stands."""
    assert raising.call("guest", "leave", number, interface=RUNNER) == 1
    expected = RAISED[NUMBERS[number]]
    error = failure(raising, "guest", "drop", number, interface=RUNNER)
    assert error is expected or type(error) is HostError
    assert raising.inner.dispatcher.pool.in_use == 0


def test_no_error_reaches_another_guest(raising: Host) -> None:
    """Hundreds at once, of which some fail in every way: the others have their own answers, each."""
    dice = random.Random(SEED)

    async def attack(inner: AsyncHost) -> None:
        for _ in range(often(3)):
            calls = [
                (dice.choice(("good", "good-later", "plain", "later", "after-a-turn")), dice.randrange(len(NUMBERS)))
                for _ in range(100)
            ]
            work = [inner.call("guest", kind, number, interface=RUNNER) for kind, number in calls]
            for (kind, number), ended in zip(calls, await asyncio.gather(*work, return_exceptions=True), strict=True):
                if kind.startswith("good"):
                    assert ended == number + 1
                else:
                    assert isinstance(ended, GuesthouseError)
                    assert ended is RAISED[NUMBERS[number]] or type(ended) is HostError

    run(raising, attack)


def test_the_callers_own_cancellation_is_not_taken_for_the_functions(raising: Host) -> None:
    """A host function that raises CancelledError is a trap; a caller who is cancelled meanwhile sees a cancellation."""

    async def attack(inner: AsyncHost) -> None:
        number = NUMBERS.index("CancelledError")
        with pytest.raises(HostError):
            await inner.call("guest", "after-a-turn", number, interface=RUNNER)
        task = asyncio.ensure_future(inner.call("guest", "good-later", 1, interface=RUNNER))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await inner.call("guest", "good-later", 1, interface=RUNNER) == 2

    run(raising, attack)
