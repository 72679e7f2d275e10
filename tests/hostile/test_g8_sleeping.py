"""G8: a guest that waits holds no thread, and not longer than its deadline."""

from __future__ import annotations

import asyncio
import json
import threading
import time

import pytest

from guesthouse import AsyncHost, Host, Interface
from guesthouse.errors import DeadlineExceeded, Trap
from harness import LATE, failure, often, run, within
from support import FORMS, guest, wat

SLOTS = 1_000
MEMORY_MIB = 160
RUNNER = "test:g8/runner@1.0.0"
HOUR = 3_600_000_000_000


class Runner(Interface):
    """Names the export."""

    name = "runner"
    wit = "package test:g8@1.0.0; interface runner { run: func() -> u32; }"


INTERFACES = (Runner,)
SLEEPS = {
    "subscribe-duration": f"""
      (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
      (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $after (param i64) (result i32)))
      (memory (export "memory") 1)
      (func (export "{RUNNER}#run") (result i32) (call $block (call $after (i64.const TIME))) (i32.const 1))""",
    "subscribe-instant": f"""
      (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
      (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-instant" (func $at (param i64) (result i32)))
      (memory (export "memory") 1)
      (func (export "{RUNNER}#run") (result i32) (call $block (call $at (i64.const TIME))) (i32.const 1))""",
    "poll": f"""
      (import "wasi:io/poll@0.2.0" "poll" (func $poll (param i32 i32 i32)))
      (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $after (param i64) (result i32)))
      (memory (export "memory") 1)
      (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
      (func (export "{RUNNER}#run") (result i32)
        (i32.store (i32.const 16) (call $after (i64.const TIME))) (i32.store (i32.const 20) (call $after (i64.const TIME)))
        (call $poll (i32.const 16) (i32.const 2) (i32.const 32)) (i32.const 1))""",
    "poll_oneoff": f"""
      (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1)
      (func (export "{RUNNER}#run") (result i32)
        (i32.store (i32.const 32) (i32.const 1)) (i64.store (i32.const 40) (i64.const TIME))
        (call $poll (i32.const 16) (i32.const 256) (i32.const 1) (i32.const 512)))""",
}


@pytest.mark.parametrize("form", FORMS)
def test_an_hour_of_sleep_ends_at_the_deadline(host: Host, form: str) -> None:
    """300 ms of deadline, 504 then (target: within 20 ms)."""
    host.deploy("sleeper", guest("sleeper", form), limits={"deadline_ms": 300})
    for _ in range(often(1)):
        outcome = host.invoke("sleeper")
        assert (outcome.result, type(outcome.error)) == ("deadline", DeadlineExceeded)
        assert outcome.duration_ns >= 0.299e9
        assert within(outcome, 0.3)


@pytest.mark.parametrize("way", SLEEPS)
@pytest.mark.parametrize("time_ns", [HOUR, (1 << 63) - 1, -1], ids=["an hour", "292 years", "the largest number"])
def test_every_way_to_sleep_ends_at_the_deadline(host: Host, way: str, time_ns: int) -> None:
    """Both generations of WASI, and times that no clock will ever show."""
    if way == "subscribe-instant" and time_ns == HOUR:
        time_ns = 1 << 60  # the guest's clock begins somewhere after an hour
    host.deploy("sleeps", wat(f"(module {SLEEPS[way].replace('TIME', str(time_ns))})"), limits={"deadline_ms": 60})
    began = time.monotonic()
    error = failure(host, "sleeps", "run", interface=RUNNER)
    assert isinstance(error, DeadlineExceeded)
    assert 0.055 < time.monotonic() - began < 0.06 + LATE


@pytest.mark.parametrize("form", FORMS)
def test_a_short_sleep_is_as_long_as_it_says(host: Host, form: str) -> None:
    """50 ms, by the guest's own clock."""
    host.deploy("clock", guest("clock", form))
    outcome = host.invoke("clock", query=[("sleep_ms", "50")])
    assert 50_000_000 <= json.loads(outcome.body)["slept_ns"] < (0.05 + LATE) * 1e9


def test_sleepers_hold_no_thread(host: Host) -> None:
    """500 at once: no thread more, others are answered, and all wake at their deadline."""
    host.deploy("sleeper", guest("sleeper"), limits={"deadline_ms": 1_000})

    async def attack(inner: AsyncHost) -> None:
        before = threading.active_count()
        tasks = [asyncio.ensure_future(inner.invoke("sleeper")) for _ in range(500)]
        await asyncio.sleep(0)
        assert threading.active_count() <= before + inner.dispatcher.workers.count
        while not all(task.done() for task in tasks):
            began = time.monotonic()
            assert (await inner.invoke("echo", b"x")).result == "ok"
            assert time.monotonic() - began < LATE
            await asyncio.sleep(0.02)
        outcomes = [task.result() for task in tasks]
        assert {outcome.result for outcome in outcomes} == {"deadline"}
        assert all(within(outcome, 1.0) for outcome in outcomes)

    run(host, attack)


def test_polling_too_much_at_once_traps(host: Host) -> None:
    """1,025 pollables are no list that a program waits for; nor is none."""
    for count in (0, 1_025, 0x0FFFFFFF):
        host.deploy(
            "polls",
            wat(f"""(module (import "wasi:io/poll@0.2.0" "poll" (func $poll (param i32 i32 i32)))
              (memory (export "memory") 1)
              (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
              (func (export "{RUNNER}#run") (result i32)
                (call $poll (i32.const 16) (i32.const {count}) (i32.const 8)) (i32.const 1)))"""),
        )
        assert isinstance(failure(host, "polls", "run", interface=RUNNER), Trap)
