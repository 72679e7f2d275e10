"""G4: tables have a limit, which is met at deploy or as -1."""

from __future__ import annotations

import pytest

from guesthouse import Host, Interface
from guesthouse.errors import InvalidModule
from harness import failure
from support import wat

RUNNER = "test:g4/runner@1.0.0"


class Runner(Interface):
    """Names the export."""

    name = "runner"
    wit = "package test:g4@1.0.0; interface runner { run: func() -> u32; }"


INTERFACES = (Runner,)


def module(table: str, body: str = "(i32.const 1)") -> bytes:
    """A guest with tables."""
    return wat(f'(module {table} (memory (export "memory") 1) (func (export "{RUNNER}#run") (result i32) {body}))')


GROW = """(loop $again
    (br_if $again (i32.ne (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1)))) (table.size $t)"""


@pytest.mark.parametrize(
    "table",
    [
        "(table 4294967295 funcref)",
        "(table 20001 funcref)",
        "(table 20001 30000 externref)",
        "(table 0 funcref) " * 9,
        "(table 20000 funcref) " * 2,
        "(table 0 funcref) (table 0 externref)",
    ],
)
def test_a_table_that_no_instance_can_hold_is_refused(host: Host, table: str) -> None:
    """At deploy, as a fault of the module."""
    with pytest.raises(InvalidModule):
        host.deploy("table", module(table))


@pytest.mark.parametrize(("limit", "reached"), [(20_000, 20_000), (5_500, 5_000), (1, 0)])
def test_growing_ends_at_the_limit(host: Host, limit: int, reached: int) -> None:
    """The guest sees -1 and goes on."""
    host.deploy("table", module("(table $t 0 funcref)", GROW), limits={"table_elements": limit})
    assert host.call("table", "run", interface=RUNNER) == reached


def test_a_limit_above_the_pools_is_met_all_the_same(host: Host) -> None:
    """A slot holds 20,000 elements, whatever a deployment is allowed."""
    host.deploy("table", module("(table $t 0 funcref)", GROW), limits={"table_elements": 1 << 40})
    assert host.call("table", "run", interface=RUNNER) == 20_000


@pytest.mark.parametrize("index", [-1, 20_000, 1 << 30])
def test_an_element_that_is_not_there_traps(host: Host, index: int) -> None:
    """Reading, writing and calling it."""
    for access in (
        f"(ref.is_null (table.get $t (i32.const {index})))",
        f"(table.set $t (i32.const {index}) (ref.null func)) (i32.const 1)",
        f"(call_indirect $t (result i32) (i32.const {index}))",
    ):
        host.deploy("table", module("(table $t 20000 funcref)", access))
        assert getattr(failure(host, "table", "run", interface=RUNNER), "reason", "") == "table-out-of-bounds"
