"""G15: a guest's log is bounded, one record is one line, and nothing in it is obeyed by who reads it."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from guesthouse import Host, Interface
from harness import LATE, often
from support import FORMS, guest, wat

LINES, SIZE = 1_000, 256 * 1024
RUNNER = "test:g15/runner@1.0.0"


class Runner(Interface):
    """Names the export."""

    name = "runner"
    wit = "package test:g15@1.0.0; interface runner { run: func() -> u32; }"


INTERFACES = (Runner,)
FORGED = [
    'one\n{"level":"error","text":"forged"}',
    "one\r\ntwo\rthree",
    "\x1b[2J\x1b[31mred\x1b]0;title\x07",
    "\x00\x07\x08\x7f\x9b31m",
    "\u2028\u2029\u0085next",
    "\u202egnp.exe\u2066",
    "\ufeffmark",
]


def size(logs: Any) -> int:
    """Bytes of text in some records."""
    return sum(len(record.text.encode()) for record in logs)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["log-flood", "stdout-flood"])
def test_a_flood_is_cut_and_counted(host: Host, name: str, form: str) -> None:
    """At most 1,000 records and 256 KiB, then how it ended, and one line that says how many are missing."""
    host.deploy(name, guest(name, form), limits={"host_calls": 20_000})
    for _ in range(often(1)):
        logs = host.invoke(name).logs
        assert sum(record.source != "system" for record in logs) == LINES
        assert len(logs) <= LINES + 4
        assert size(logs) < SIZE + 400
        assert any("host calls" in record.text for record in logs)
        assert logs[-1].source == "system"
        assert logs[-1].text.startswith("dropped ")


@pytest.mark.parametrize("form", FORMS)
def test_lines_that_fill_the_log_with_bytes_are_cut(host: Host, form: str) -> None:
    """A panic with a message of 4 MiB: 256 KiB of it are kept."""
    host.deploy("panic", guest("panic", form))
    outcome = host.invoke("panic", b"x" * (4 << 20))
    assert outcome.result == "trapped"
    assert size(outcome.logs) < SIZE + 2_000


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("text", FORGED)
@pytest.mark.parametrize("name", ["logger", "panic"])
def test_a_forged_line_is_part_of_its_own(host: Host, name: str, text: str, form: str) -> None:
    """Line ends, terminal escapes and what turns text around are written out."""
    host.deploy(name, guest(name, form))
    outcome = host.invoke(name, text.encode(), query=[("level", "debug")])
    assert outcome.logs
    for record in outcome.logs:
        assert record.text.replace("\t", "").isprintable() or "\u200b" in record.text
        assert not record.text.startswith('{"level"') or name == "panic"
    assert {record.source for record in outcome.logs} <= {"guest", "stderr", "system"}


def test_what_a_reader_sees_is_bounded_as_well(host: Host) -> None:
    """However many invocations flood: the newest thousand records of a function are kept."""
    host.deploy("log-flood", guest("log-flood"), limits={"host_calls": 2_000})
    for _ in range(often(5)):
        host.invoke("log-flood")
    entries = host.inner.logs.tail("default/log-flood", 1 << 20)
    assert len(entries) <= LINES
    assert all("\n" not in json.dumps(entry.record.text, ensure_ascii=False) for entry in entries)


LONG_LINES = f"""(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (func (export "{RUNNER}#run") (result i32) (local $n i32)
    (memory.fill (i32.const 65536) (i32.const BYTE) (i32.const 65536))
    (i32.store (i32.const 16) (i32.const 65536)) (i32.store (i32.const 20) (i32.const 65536))
    (local.set $n (i32.const 20000))
    (loop $again
      (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 32)))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i32.const 1)))"""


@pytest.mark.parametrize("byte", [0x78, 0x0A, 0xFF, 0x00, 0x1B])
def test_a_gigabyte_of_output_costs_little(host: Host, byte: int) -> None:
    """1.3 GB in lines without end, in empty lines, in bytes that are no text: bounded, in little time."""
    host.deploy("output", wat(LONG_LINES.replace("BYTE", str(byte))))
    began = time.monotonic()
    assert host.call("output", "run", interface=RUNNER) == 1
    assert time.monotonic() - began < 5 + LATE
    entries = host.inner.logs.tail("default/output", 1 << 20)
    newest = [entry.record for entry in entries if entry.invocation_id == entries[-1].invocation_id]
    assert 0 < size(newest) + len(newest) < SIZE + LINES + 200


@pytest.mark.parametrize(
    "vectors",
    [
        "(i32.const 16) (i32.const 0x0fffffff)",
        "(i32.const -16) (i32.const 2)",
        "(i32.const 65528) (i32.const 2)",
        "(i32.const 16) (i32.const 1025)",
    ],
)
def test_output_from_outside_memory_is_refused(host: Host, vectors: str) -> None:
    """As an error number or a trap of the guest."""
    host.deploy(
        "output",
        wat(f"""(module
          (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 1)
          (func (export "{RUNNER}#run") (result i32)
            (i32.store (i32.const 16) (i32.const 65000)) (i32.store (i32.const 20) (i32.const -1))
            (call $write (i32.const 1) {vectors} (i32.const 32))))"""),
    )
    try:
        assert host.call("output", "run", interface=RUNNER) != 0
    except Exception as error:
        assert getattr(error, "reason", "") == "memory-out-of-bounds"
