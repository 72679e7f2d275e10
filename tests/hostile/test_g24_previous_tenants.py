"""G24: nothing of what a guest left behind is seen by the next one in its slot: memory, table, globals, buffers."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any

import pytest

from guesthouse import AsyncHost, Host, Interface, host_call
from guesthouse.errors import DeadlineExceeded, GuesthouseError
from harness import failure, often, run
from support import FORMS, guest, wat

HOST = "test:g24/host@1.0.0"
RUNNER = "test:g24/runner@1.0.0"
CANARY = 0x43414E41
PAGES = 2048
SMALL = 16
MEMORY_MIB = 48
SEED = 20_261_121


class Helps(Interface):
    """Gives and takes texts full of canaries, and things."""

    name = "helps"
    wit = """
    package test:g24@1.0.0;
    interface host {
      resource thing;
      text: func() -> string; wait: func(); fail: func(); make: func() -> thing; look: func(thing: borrow<thing>) -> u32;
    }
    interface runner { run: func(way: u32) -> u32; scan: func(way: u32) -> u32; }
    """

    @host_call(HOST, "text")
    def text(self, invocation: Any) -> str:
        return "ANAC" * 4_096

    @host_call(HOST, "wait")
    async def wait(self, invocation: Any) -> None:
        await asyncio.sleep(60)

    @host_call(HOST, "fail")
    async def fail(self, invocation: Any) -> None:
        raise ValueError

    @host_call(HOST, "make")
    def make(self, invocation: Any) -> list[int]:
        return [1]

    @host_call(HOST, "look")
    def look(self, invocation: Any, thing: list[int]) -> int:
        return 7


INTERFACES = (Helps,)
FILL = f"""
  (func $fill (local $at i32) (local $end i32)
    (drop (memory.grow (i32.const GROW)))
    (local.set $end (i32.mul (memory.size) (i32.const 65536)))
    (loop $again
      (i32.store (local.get $at) (i32.const {CANARY}))
      (br_if $again (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 4))) (local.get $end))))
    (table.fill (i32.const 0) (ref.func $fill) (i32.const 1000))
    (drop (table.grow (ref.func $fill) (i32.const 10000)))
    (global.set $secret (i32.const {CANARY})))"""
ENDS = {
    "trap": "(unreachable)",
    "out of bounds": "(drop (i32.load (i32.const -4)))",
    "stack": "(call $deep)",
    "fuel": "(loop (br 0))",
    "host error": "(call $fail)",
    "deadline while it waits": "(call $wait)",
    "after a text": "(call $text (i32.const 64)) (unreachable)",
    "with a handle": "(drop (call $make)) (unreachable)",
    "answer": "",
}
IMPORTS = f"""
  (import "{HOST}" "text" (func $text (param i32)))
  (import "{HOST}" "wait" (func $wait))
  (import "{HOST}" "fail" (func $fail_))
  (import "{HOST}" "make" (func $make (result i32)))
  (import "{HOST}" "look" (func $look (param i32) (result i32)))
"""


def leaves(end: str, when: str = "called", grow: int = SMALL - 1) -> bytes:
    """A guest that fills all it has with canaries and then ends, in its export, its start function or `_initialize`."""
    body = f"(call $fill) {ENDS[end].replace('$fail', '$fail_')}"
    early = {
        "called": "",
        "starting": f"(func $start {body}) (start $start)",
        "initializing": f'(func (export "_initialize") {body})',
    }[when]
    return wat(f"""(module {IMPORTS} (memory (export "memory") 1) (table 1000 11000 funcref) (elem declare func $fill)
      (global $secret (mut i32) (i32.const 0))
      (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
      (func $deep (call $deep)) {FILL.replace("GROW", str(grow))} {early}
      (func (export "{RUNNER}#run") (param i32) (result i32) {body if when == "called" else ""} (i32.const 1)))""")


SCANS_TEXT = f"""(module {IMPORTS} (memory (export "memory") 1) (table 1000 11000 funcref)
  (global $secret (mut i32) (i32.const 0))
  (func $memory (result i32) (local $at i32) (local $end i32) (local $hits i32)
    (local.set $end (i32.mul (memory.size) (i32.const 65536)))
    (loop $again
      (local.set $hits (i32.add (local.get $hits) (i32.ne (i32.load (local.get $at)) (i32.const 0))))
      (br_if $again (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 4))) (local.get $end))))
    (local.get $hits))
  (func $table (result i32) (local $at i32) (local $hits i32)
    (loop $again
      (local.set $hits (i32.add (local.get $hits) (i32.eqz (ref.is_null (table.get (local.get $at))))))
      (br_if $again (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 1))) (table.size))))
    (local.get $hits))
  (func (export "{RUNNER}#scan") (param $grow i32) (result i32)
    (drop (memory.grow (local.get $grow)))
    (drop (table.grow (ref.null func) (i32.const 10000)))
    (i32.add (i32.add (call $memory) (call $table)) (global.get $secret)))
  (func (export "{RUNNER}#run") (param $handle i32) (result i32) (call $look (local.get $handle))))"""
SCANS = wat(SCANS_TEXT)
"""A guest without any data of its own: whatever it finds that is not zero is somebody else's."""


def test_the_scan_finds_what_there_is(host: Host) -> None:
    """The detector itself: a guest that fills and scans in one call finds every word and every element."""
    both = SCANS_TEXT.replace("(func $memory", FILL.replace("GROW", "0") + "(func $memory", 1).replace(
        "(drop (memory.grow (local.get $grow)))", "(call $fill)"
    )
    host.deploy("both", wat(both.replace("(global $secret", "(elem declare func $fill) (global $secret", 1)))
    assert host.call("both", "scan", 0, interface=RUNNER) == (65536 // 4 + 11_000 + CANARY) % (1 << 32)


def leave(host: Host, name: str) -> None:
    """Calls a guest that leaves canaries, however it ends."""
    with contextlib.suppress(GuesthouseError):
        host.call(name, "run", 0, interface=RUNNER)


@pytest.mark.parametrize("when", ["called", "starting", "initializing"])
@pytest.mark.parametrize("end", ENDS)
def test_the_next_guest_finds_nothing(host: Host, end: str, when: str) -> None:
    """After each way to end, also in the middle of instantiation: no word, no table element, no global is left."""
    limits = {"deadline_ms": 200 if "deadline" in end else 20_000, "fuel": 50_000_000}
    host.deploy("leaves", leaves(end, when), limits=limits)
    host.deploy("scans", SCANS)
    for _ in range(often(1 if "deadline" in end else 3)):
        leave(host, "leaves")
        assert host.call("scans", "scan", SMALL + 1, interface=RUNNER) == 0


@pytest.mark.parametrize("end", ["trap", "answer", "fuel"])
def test_all_of_a_slots_memory_is_clean(host: Host, end: str) -> None:
    """128 MiB of canaries, then a guest that grows to as much and looks at every word."""
    host.deploy("leaves", leaves(end, grow=PAGES - 1), limits={"fuel": 1_000_000_000})
    host.deploy("scans", SCANS)
    for _ in range(often(1)):
        leave(host, "leaves")
        assert host.call("scans", "scan", PAGES - 1, interface=RUNNER) == 0


def test_nothing_is_found_among_many_at_once(host: Host) -> None:
    """Leaving and scanning in a random order in many slots, on the loop and on workers (10⁴ alternations in the soak)."""
    for end in ENDS:
        if "deadline" not in end:
            host.deploy(end.replace(" ", "-"), leaves(end), limits={"fuel": 20_000_000})
    host.deploy("scans", SCANS)
    names = [end.replace(" ", "-") for end in ENDS if "deadline" not in end]
    dice = random.Random(SEED)

    async def attack(inner: AsyncHost) -> None:
        for _ in range(often(2)):
            work: list[Any] = []
            for _ in range(50):
                if dice.random() < 0.5:
                    work.append(inner.call(dice.choice(names), "run", 0, interface=RUNNER))
                else:
                    work.append(inner.call("scans", "scan", dice.randrange(SMALL), interface=RUNNER))
            for found in await asyncio.gather(*work, return_exceptions=True):
                assert isinstance(found, GuesthouseError) or found in (0, 1)
            assert await inner.call("scans", "scan", SMALL, interface=RUNNER) == 0

    run(host, attack)


def test_a_handle_of_the_guest_before_is_nothing(host: Host) -> None:
    """The numbers begin anew, and what they meant is gone."""
    host.deploy("leaves", leaves("with a handle"))
    host.deploy("scans", SCANS)
    leave(host, "leaves")
    for handle in range(4):
        assert getattr(failure(host, "scans", "run", handle, interface=RUNNER), "reason", "") == "resource"


@pytest.mark.parametrize("form", FORMS)
def test_a_real_guests_statics_begin_anew(host: Host, form: str) -> None:
    """A counter in a static variable is 1 in every call."""
    host.deploy("mutate-global", guest("mutate-global", form))
    assert {host.invoke("mutate-global", b"x").text for _ in range(often(100))} == {"1"}


def test_a_failed_instantiation_leaves_nothing(host: Host) -> None:
    """A module whose data does not fit is a trap at each call; the slot is clean and free afterwards."""
    host.deploy(
        "broken",
        wat(f"""(module (memory (export "memory") 1) (table 1 funcref)
          (data (i32.const 0) "CANA") (data (i32.const 65536) "CANA")
          (func (export "{RUNNER}#run") (param i32) (result i32) (i32.const 1)))"""),
    )
    host.deploy("scans", SCANS)
    for _ in range(often(20)):
        assert not isinstance(failure(host, "broken", "run", 0, interface=RUNNER), DeadlineExceeded)
        assert host.call("scans", "scan", 1, interface=RUNNER) == 0
