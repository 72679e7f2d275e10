"""G2: one instruction that works for long does not put the deadline off."""

from __future__ import annotations

import time

import pytest

from guesthouse import Host, Interface
from guesthouse.errors import DeadlineExceeded
from harness import LATE, failure, often
from support import wat

RUNNER = "test:g2/runner@1.0.0"
ALL = 128 << 20
DEADLINE_MS = 100
SLOW = 1.0 + LATE
"""What the first operation on 128 MiB of fresh memory can take where the kernel is short of processors: it cannot be cut."""


class Runner(Interface):
    """Names the export."""

    name = "runner"
    wit = "package test:g2@1.0.0; interface runner { run: func() -> u32; }"


INTERFACES = (Runner,)

FILL = f"(memory.fill (i32.const 0) (i32.const 7) (i32.const {ALL}))"
COPY = f"(memory.copy (i32.const 1) (i32.const 0) (i32.const {ALL - 1}))"
INIT = "(memory.init $data (i32.const 0) (i32.const 0) (i32.const 65536))"
TABLE = "(table.fill $table (i32.const 0) (ref.null func) (i32.const 20000))"
TABLE_COPY = "(table.copy (i32.const 1) (i32.const 0) (i32.const 19999))"
OPERATIONS = {"fill": FILL, "copy": COPY, "init": INIT, "table fill": TABLE, "table copy": TABLE_COPY}


def module(body: str, pages: int = ALL >> 16) -> bytes:
    """A guest with all its memory, a full table and a large passive segment."""
    return wat(f"""(module (memory (export "memory") {pages}) (table $table 20000 funcref)
        (data $data "{"x" * 65536}")
        (func (export "{RUNNER}#run") (result i32) {body} (i32.const 1)))""")


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
@pytest.mark.parametrize("way", ["in a loop", "one after the other"])
def test_bulk_operations_end_at_the_deadline(host: Host, operation: str, way: str) -> None:
    """100 ms of deadline; the target is to end 100 ms later at most, in a loop and in a line without any branch."""
    body = f"(loop {operation} (br 0))" if way == "in a loop" else operation * 400
    host.deploy("bulk", module(body), limits={"deadline_ms": DEADLINE_MS})
    for _ in range(often(1)):
        began = time.monotonic()
        try:
            error = failure(host, "bulk", "run", interface=RUNNER)
        except AssertionError:
            assert way == "one after the other"  # 400 operations on little are done in time
            assert operation not in (FILL, COPY)
        else:
            assert isinstance(error, DeadlineExceeded)
        assert time.monotonic() - began < DEADLINE_MS / 1000 + SLOW


def test_a_bulk_operation_that_is_out_of_bounds_traps_at_once(host: Host) -> None:
    """It is checked before the first byte is written."""
    host.deploy("bulk", module(f"(memory.fill (i32.const 1) (i32.const 7) (i32.const {ALL}))"))
    error = failure(host, "bulk", "run", interface=RUNNER)
    assert getattr(error, "reason", "") in ("memory-out-of-bounds", "out-of-memory")
