"""G13: what a guest leaves behind goes with it, and it can only have so much at once."""

from __future__ import annotations

from typing import Any

import pytest

from guesthouse import Host, Interface, host_call
from guesthouse.errors import Trap
from harness import failure, often
from support import FORMS, guest, wat

HOST = "test:g13/host@1.0.0"
RUNNER = "test:g13/runner@1.0.0"
LIMIT = 1_024
MEMORY_MIB = 24


class Thing:
    """Something large; the order in which things are closed is kept."""

    closed: list[int] = []  # noqa: RUF012
    alive = 0

    def __init__(self, number: int) -> None:
        self.number = number
        self.weight = bytes(10_000)
        Thing.alive += 1

    def close(self) -> None:
        """Remembers who went."""
        Thing.closed.append(self.number)
        Thing.alive -= 1


class Makes(Interface):
    """Makes things, one after the other."""

    name = "makes"
    wit = """
    package test:g13@1.0.0;
    interface host { resource thing; make: func(number: u32) -> thing; many: func(count: u32) -> list<thing>; }
    interface runner { run: func(count: u32) -> u32; trap: func(count: u32) -> u32; churn: func(count: u32) -> u32; }
    """

    @host_call(HOST, "make")
    def make(self, invocation: Any, number: int) -> Thing:
        return Thing(number)

    @host_call(HOST, "many")
    def many(self, invocation: Any, count: int) -> list[Thing]:
        return [Thing(number) for number in range(count)]


INTERFACES = (Makes,)
GUEST = f"""(module
  (import "{HOST}" "make" (func $make (param i32) (result i32)))
  (import "{HOST}" "[resource-drop]thing" (func $drop (param i32)))
  (memory (export "memory") 1)
  (func $leak (param $count i32) (local $n i32)
    (loop $again
      (if (i32.lt_u (local.get $n) (local.get $count)) (then
        (drop (call $make (local.get $n)))
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br $again)))))
  (func (export "{RUNNER}#run") (param i32) (result i32) (call $leak (local.get 0)) (i32.const 1))
  (func (export "{RUNNER}#trap") (param i32) (result i32) (call $leak (local.get 0)) (unreachable))
  (func (export "{RUNNER}#churn") (param $count i32) (result i32)
    (loop $again
      (call $drop (call $make (local.get $count)))
      (br_if $again (local.tee $count (i32.sub (local.get $count) (i32.const 1))))) (i32.const 1)))"""


@pytest.fixture
def leaking(host: Host) -> Any:
    """The host with the guest that leaks, and nothing closed yet."""
    host.deploy("leaks", wat(GUEST), limits={"host_calls": 1 << 40})
    Thing.closed.clear()
    yield host
    assert Thing.alive == 0


@pytest.mark.parametrize("function", ["run", "trap"])
def test_what_is_left_is_closed_the_newest_first(leaking: Host, function: str) -> None:
    """After an answer and after a trap."""
    if function == "run":
        leaking.call("leaks", "run", 100, interface=RUNNER)
    else:
        failure(leaking, "leaks", "trap", 100, interface=RUNNER)
    assert Thing.closed == list(range(99, -1, -1))


def test_a_guest_has_only_so_many_at_once(leaking: Host) -> None:
    """1,024; the next one is a trap, and is closed as well."""
    assert leaking.call("leaks", "run", LIMIT, interface=RUNNER) == 1
    error = failure(leaking, "leaks", "run", LIMIT + 1, interface=RUNNER)
    assert isinstance(error, Trap)
    assert error.reason == "resource-limit"
    assert len(Thing.closed) == LIMIT + LIMIT + 1


def test_a_list_of_more_than_it_may_have_traps(leaking: Host) -> None:
    """In the middle of lowering an answer: what the guest was given is closed; what it was not given never was its own."""
    leaking.deploy(
        "greedy",
        wat(f"""(module (import "{HOST}" "many" (func $many (param i32 i32)))
          (memory (export "memory") 1) (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
          (func (export "{RUNNER}#run") (param i32) (result i32) (call $many (local.get 0) (i32.const 16)) (i32.const 1)))"""),
    )
    assert leaking.call("greedy", "run", LIMIT, interface=RUNNER) == 1
    error = failure(leaking, "greedy", "run", LIMIT + 10, interface=RUNNER)
    assert getattr(error, "reason", "") == "resource-limit"
    assert Thing.alive == 9
    Thing.alive = 0


def test_dropping_makes_room(leaking: Host) -> None:
    """One at a time, for as long as it likes (10⁵ in the soak)."""
    count = min(often(5_000), 100_000)
    assert leaking.call("leaks", "churn", count, interface=RUNNER) == 1
    assert len(Thing.closed) == count


def test_leaking_again_and_again_costs_nothing(leaking: Host) -> None:
    """A thousand things of 10 kB in each of many calls: the process stays as it is (the host asserts that afterwards)."""
    for _ in range(often(30)):
        leaking.call("leaks", "run", 1_000, interface=RUNNER)
        Thing.closed.clear()


@pytest.mark.parametrize("form", FORMS)
def test_bodies_that_are_never_read_cost_nothing(host: Host, form: str) -> None:
    """A web function that ignores its body, which is a resource: 1 MiB each time."""
    host.deploy("mutate-global", guest("mutate-global", form))
    for _ in range(often(100)):
        assert host.invoke("mutate-global", bytes(1 << 20)).text == "1"
