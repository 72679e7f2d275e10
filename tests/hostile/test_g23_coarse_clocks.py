"""G23: a guest's clocks are too coarse to measure what others do, and say nothing of the host's."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest

from guesthouse import Host, Interface, host_call
from harness import often
from support import wat

HOST = "test:g23/host@1.0.0"
RUNNER = "test:g23/runner@1.0.0"
STEP = 1_000_000


class Keeps(Interface):
    """Keeps the readings of a guest."""

    name = "keeps"
    wit = """
    package test:g23@1.0.0;
    interface host { keep: func(readings: list<u64>); }
    interface runner { run: func() -> u32; }
    """
    readings: tuple[int, ...] = ()

    @host_call(HOST, "keep")
    def keep(self, invocation: Any, readings: list[int]) -> None:
        Keeps.readings = tuple(readings)


INTERFACES = (Keeps,)
COUNT = 20_000
CLOCKS = {
    "monotonic": (
        '(import "wasi:clocks/monotonic-clock@0.2.0" "now" (func $now (result i64)))',
        "(i64.store (local.get $at) (call $now))",
    ),
    "wall": (
        '(import "wasi:clocks/wall-clock@0.2.0" "now" (func $now (param i32)))',
        """(call $now (i32.const 0)) (i64.store (local.get $at) (i64.add
            (i64.mul (i64.load (i32.const 0)) (i64.const 1000000000)) (i64.extend_i32_u (i32.load (i32.const 8)))))""",
    ),
    "preview 1 monotonic": (
        '(import "wasi_snapshot_preview1" "clock_time_get" (func $now (param i32 i64 i32) (result i32)))',
        "(drop (call $now (i32.const 1) (i64.const 1) (local.get $at)))",
    ),
    "preview 1 wall": (
        '(import "wasi_snapshot_preview1" "clock_time_get" (func $now (param i32 i64 i32) (result i32)))',
        "(drop (call $now (i32.const 0) (i64.const 0) (local.get $at)))",
    ),
}


def module(clock: str, count: int = COUNT) -> bytes:
    """A guest that reads a clock as often as it can and shows what it read."""
    imports, read = CLOCKS[clock]
    return wat(f"""(module {imports} (import "{HOST}" "keep" (func $keep (param i32 i32)))
      (memory (export "memory") 64)
      (func (export "{RUNNER}#run") (result i32) (local $at i32)
        (local.set $at (i32.const 1024))
        (loop $again {read}
          (br_if $again (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 8))) (i32.const {1024 + 8 * count}))))
        (call $keep (i32.const 1024) (i32.const {count})) (i32.const 1)))""")


def read(host: Host, clock: str, count: int = COUNT) -> tuple[int, ...]:
    """What a guest reads."""
    host.deploy("clock", module(clock, count), limits={"host_calls": 10 * count})
    assert host.call("clock", "run", interface=RUNNER) == 1
    return Keeps.readings


@pytest.mark.parametrize("clock", CLOCKS)
def test_a_clock_steps_by_a_millisecond(host: Host, clock: str) -> None:
    """Read as fast as can be, it shows nothing finer, however precise an answer was asked for; it never goes back."""
    for _ in range(often(1)):
        readings = read(host, clock)
        assert len(readings) == COUNT
        assert all(reading % STEP == 0 for reading in readings)
        steps = [after - before for before, after in itertools.pairwise(readings)]
        assert min(steps) >= 0
        assert steps.count(0) > COUNT // 4


@pytest.mark.parametrize("clock", ["monotonic", "preview 1 monotonic"])
def test_the_monotonic_clock_begins_anywhere(host: Host, clock: str) -> None:
    """Two guests cannot compare theirs, nor tell how long the host has been running."""
    host.deploy("clock", module(clock, 1))
    beginnings = set()
    for _ in range(8):
        host.call("clock", "run", interface=RUNNER)
        (reading,) = Keeps.readings
        assert abs(reading - time.monotonic_ns()) > 1_000_000_000
        beginnings.add(reading)
    assert len(beginnings) == 8
    assert max(beginnings) - min(beginnings) > 1_000_000_000_000


def test_the_wall_clock_is_right_to_the_millisecond(host: Host) -> None:
    """Coarse, but not wrong."""
    before = time.time_ns()
    (reading,) = read(host, "wall", 1)
    assert before - STEP <= reading <= time.time_ns()


@pytest.mark.parametrize("clock", [2, 3, 4, 99, -1])
def test_there_is_no_finer_clock(host: Host, clock: int) -> None:
    """Processor time, of the process or of a thread, is no clock here."""
    host.deploy(
        "clock",
        wat(f"""(module
          (import "wasi_snapshot_preview1" "clock_time_get" (func $now (param i32 i64 i32) (result i32)))
          (import "wasi_snapshot_preview1" "clock_res_get" (func $resolution (param i32 i32) (result i32)))
          (memory (export "memory") 1)
          (func (export "{RUNNER}#run") (result i32)
            (i32.and (i32.ne (call $now (i32.const {clock}) (i64.const 1) (i32.const 16)) (i32.const 0))
                     (i32.ne (call $resolution (i32.const {clock}) (i32.const 16)) (i32.const 0)))))"""),
    )
    assert host.call("clock", "run", interface=RUNNER) == 1


def test_there_are_no_threads_to_count_with(host: Host) -> None:
    """A shared memory, with which a second thread would be a clock, is refused."""
    for text in (
        '(module (memory (export "memory") 1 1 shared))',
        '(module (memory (export "memory") 1) (func (drop (i32.atomic.load (i32.const 0)))))',
    ):
        with pytest.raises(ValueError, match=r"."):
            host.deploy("threads", wat(text))


def test_random_bytes_are_not_the_clocks(host: Host) -> None:
    """What is called insecure is the kernel's as well: two guests never have the same."""
    seen = set()
    host.deploy(
        "dice",
        wat(f"""(module (import "wasi:random/insecure@0.2.0" "get-insecure-random-u64" (func $dice (result i64)))
          (import "wasi:random/insecure-seed@0.2.0" "insecure-seed" (func $seed (param i32)))
          (import "{HOST}" "keep" (func $keep (param i32 i32)))
          (memory (export "memory") 1)
          (func (export "{RUNNER}#run") (result i32)
            (i64.store (i32.const 16) (call $dice)) (call $seed (i32.const 24))
            (call $keep (i32.const 16) (i32.const 3)) (i32.const 1)))"""),
    )
    for _ in range(often(20)):
        host.call("dice", "run", interface=RUNNER)
        seen |= set(Keeps.readings)
    assert len(seen) == often(20) * 3
