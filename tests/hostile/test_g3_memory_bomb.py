"""G3: memory has a limit for each guest, which the guest meets as -1, and it is given back."""

from __future__ import annotations

import asyncio

import pytest

from guesthouse import AsyncHost, Host, Interface
from guesthouse.errors import BadRequest, InvalidModule, Trap
from harness import failure, often, run
from support import FORMS, guest, wat

RUNNER = "test:g3/runner@1.0.0"
MiB = 1 << 20
AT_ONCE = 4
MEMORY_MIB = 48


class Runner(Interface):
    """Names the export."""

    name = "runner"
    wit = "package test:g3@1.0.0; interface runner { run: func() -> u32; }"


INTERFACES = (Runner,)

GROWS = f"""
(module (memory (export "memory") 1)
  (func (export "{RUNNER}#run") (result i32)
    (loop $again
      (if (i32.ne (memory.grow (i32.const 1)) (i32.const -1)) (then
        (i32.store (i32.mul (i32.sub (memory.size) (i32.const 1)) (i32.const 65536)) (i32.const 1))
        (br $again))))
    (memory.size)))"""


@pytest.mark.parametrize("form", FORMS)
def test_a_memory_bomb_is_a_trap_that_says_so(host: Host, form: str) -> None:
    """Rust aborts when it gets no more: 502, out of memory, with the peak that it reached."""
    host.deploy("bomb", guest("memory-bomb", form), limits={"memory_bytes": 24 * MiB})
    outcome = host.invoke("bomb")
    assert isinstance(outcome.error, Trap)
    assert (outcome.result, outcome.error.reason, outcome.error.status) == ("trapped", "out-of-memory", 502)
    assert 22 * MiB < outcome.peak_memory <= 24 * MiB


@pytest.mark.parametrize("limit", [MiB, 16 * MiB, 128 * MiB])
def test_growing_ends_exactly_at_the_limit(host: Host, limit: int) -> None:
    """The guest sees -1 at its limit, and goes on."""
    host.deploy("grows", wat(GROWS), limits={"memory_bytes": limit})
    assert host.call("grows", "run", interface=RUNNER) == limit >> 16


def test_bombs_at_once_give_everything_back(host: Host) -> None:
    """Four guests at 128 MiB each, again and again: the process does not keep it (the host asserts that afterwards)."""
    host.deploy("grows", wat(GROWS))

    async def attack(inner: AsyncHost) -> None:
        for _ in range(often(3)):
            calls = (inner.call("grows", "run", interface=RUNNER) for _ in range(AT_ONCE))
            assert await asyncio.gather(*calls) == [128 * MiB >> 16] * AT_ONCE

    run(host, attack)


@pytest.mark.parametrize("pages", [2049, 65536])
def test_a_memory_that_begins_too_large_is_refused(host: Host, pages: int) -> None:
    """At deploy, not at the first call."""
    with pytest.raises(InvalidModule, match="pages"):
        host.deploy("large", wat(GROWS.replace('"memory") 1', f'"memory") {pages}')))


def test_a_limit_below_what_a_module_begins_with_is_refused(host: Host) -> None:
    """It could never be instantiated."""
    with pytest.raises(InvalidModule, match="over its limit"):
        host.deploy("large", wat(GROWS.replace('"memory") 1', '"memory") 32')), limits={"memory_bytes": MiB})


@pytest.mark.parametrize("limit", [1, 65535, 128 * MiB + 1, 1 << 40])
def test_a_limit_that_cannot_be_is_refused(host: Host, limit: int) -> None:
    """Less than a page, and more than a slot of the pool has."""
    with pytest.raises(BadRequest, match="memory_bytes"):
        host.deploy("grows", wat(GROWS), limits={"memory_bytes": limit})


def test_memory_is_not_reached_through_the_address_arithmetic(host: Host) -> None:
    """4 GiB and beyond, by base and offset: a trap of this guest, never another's memory."""
    for access in ("(i32.load offset=4294967295 (i32.const -1))", "(i32.load (i32.const -4))"):
        host.deploy(
            "far",
            wat(f'(module (memory (export "memory") 1) (func (export "{RUNNER}#run") (result i32) {access}))'),
        )
        assert getattr(failure(host, "far", "run", interface=RUNNER), "reason", "") == "memory-out-of-bounds"
