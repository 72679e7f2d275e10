"""G9: what a command claims in preview 1: lengths that lie outside memory, vectors without end, output without end."""

from __future__ import annotations

import pytest

from guesthouse import Host, Outcome
from guesthouse.errors import BadAnswer, CommandFailed, Trap
from support import FORMS, guest, wat

MIB = 1 << 20
WASI = {
    "args_sizes_get": "(param i32 i32) (result i32)",
    "args_get": "(param i32 i32) (result i32)",
    "environ_get": "(param i32 i32) (result i32)",
    "fd_read": "(param i32 i32 i32 i32) (result i32)",
    "fd_write": "(param i32 i32 i32 i32) (result i32)",
    "proc_exit": "(param i32)",
}
EXIT = "(call $proc_exit {}) unreachable"


def command(body: str, *, more: str = "", data: str = "") -> bytes:
    """A core module of one page of memory that runs `body`."""
    imports = "".join(
        f'(import "wasi_snapshot_preview1" "{name}" (func ${name} {type_}))' for name, type_ in WASI.items()
    )
    return wat(f'(module {imports} {more} (memory (export "memory") 1) {data} (func (export "_start") {body}))')


def run(host: Host, wasm: bytes, body: bytes = b"", **options: object) -> Outcome:
    """Runs it as the only version of its function."""
    host.deploy("command", wasm, **options)
    return host.invoke("command", body)


@pytest.mark.parametrize(
    "call",
    [
        "(call $args_sizes_get (i32.const 65533) (i32.const 0))",
        "(call $args_sizes_get (i32.const 0) (i32.const -1))",
        "(call $args_get (i32.const 65530) (i32.const 0))",
        "(call $args_get (i32.const 0) (i32.const 65530))",
        "(call $args_get (i32.const 0) (i32.const -4))",
        "(call $environ_get (i32.const 0) (i32.const 65500))",
        "(call $fd_read (i32.const 0) (i32.const 65532) (i32.const 1) (i32.const 0))",
        "(call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 65534))",
        "(call $fd_read (i32.const 0) (i32.const 8) (i32.const 1) (i32.const 0))",
        "(call $fd_write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0))",
    ],
)
def test_pointers_out_of_bounds_end_the_command(host: Host, call: str) -> None:
    """In the table, in a vector, for the answer: nothing is written beyond memory, and nothing is answered."""
    data = '(data (i32.const 0) "\\00\\01\\00\\00\\10\\00\\00\\00" "\\ff\\ff\\00\\00\\ff\\00\\00\\00")'
    outcome = run(host, command(f"(drop {call})", data=data), b"x" * 300, arguments=["a long enough argument"] * 20)
    assert outcome.result == "trapped"
    assert isinstance(outcome.error, Trap)
    assert outcome.error.reason == "memory-out-of-bounds"


def test_vectors_that_claim_gigabytes_take_what_one_call_gives(host: Host) -> None:
    """1,024 of them over the same byte: reading takes as much as fits or is there, more vectors are refused."""
    vectors = "".join("\\00\\80\\00\\00\\01\\00\\00\\00" for _ in range(1024))
    body = """
      (if (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1024) (i32.const 60000)) (then unreachable))
      (if (i32.ne (i32.load (i32.const 60000)) (i32.const 1024)) (then unreachable))
      (if (i32.ne (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1025) (i32.const 60000)) (i32.const 28))
        (then unreachable))
      (i32.store (i32.const 4) (i32.const -1))
      (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 60000)))"""
    outcome = run(host, command(body, data=f'(data (i32.const 0) "{vectors}")'), b"x" * MIB)
    assert outcome.result == "trapped"  # only the last one: a mebibyte does not fit behind 32 KiB
    assert outcome.error is not None
    assert outcome.error.reason == "memory-out-of-bounds"  # type: ignore[attr-defined]


@pytest.mark.parametrize("form", FORMS)
def test_output_without_end_is_not_kept(host: Host, form: str) -> None:
    """The bound is 64 MiB where nothing else is said: the command ends there, and its output goes."""
    outcome = run(host, guest("command-calls", form), arguments=["command", "write", str(1 << 30)])
    assert isinstance(outcome.error, BadAnswer)
    assert outcome.body == b""
    assert sum(len(record.text) for record in outcome.logs) < 300_000


@pytest.mark.parametrize("form", FORMS)
def test_output_in_single_bytes_ends_at_the_bound_of_host_calls(host: Host, form: str) -> None:
    """What is kept of each is small."""
    options = {"arguments": ["command", "drip", str(1 << 30)], "limits": {"host_calls": 10_000}}
    outcome = run(host, guest("command-calls", form), **options)
    assert isinstance(outcome.error, Trap)
    assert outcome.error.reason == "host-calls"


@pytest.mark.parametrize("code", [1, 255, 256, 2**31, 2**32 - 1])
def test_any_status_that_is_not_zero_is_a_failure(host: Host, code: int) -> None:
    """However large; it is not cut to a byte, for 256 would be a success."""
    outcome = run(host, command(EXIT.format(f"(i32.const {code})")))
    assert isinstance(outcome.error, CommandFailed)
    assert (outcome.result, outcome.error.code) == ("failed", code)


def test_nothing_runs_after_the_exit(host: Host) -> None:
    """Neither what follows it nor another exit."""
    outcome = run(host, command("(call $proc_exit (i32.const 0))" + EXIT.format("(i32.const 3)")))
    assert (outcome.result, outcome.status) == ("ok", 200)


def test_an_exit_while_the_host_writes_its_answer_is_no_success(host: Host) -> None:
    """The allocator that is asked for room ends the program instead: a trap, whatever status it names."""
    more = '(import "wasi:cli/environment@0.2.12" "get-environment" (func $get (param i32)))'
    realloc = f'(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) {EXIT.format("(i32.const 0)")})'
    outcome = run(host, command("(call $get (i32.const 64))", more=more, data=realloc))
    assert outcome.result == "trapped"
    assert outcome.status == 0
