"""G14, for detached work: the second call of an instance, and guests that lie about their tasks.

They are modules in WAT on the older web interface, which has one function and no buffers.
"""

from __future__ import annotations

from typing import Any

import pytest

from detaching import counted, lines, over
from guesthouse import Host
from guesthouse.errors import LinkError
from harness import often
from support import wat

TASKS = "guesthouse:detached/tasks@1.0.0"
RUN = "guesthouse:detached/guest@1.0.0#run"
POST = "momento:functions/guest-function-web@1.0.0#post"
METHOD = "momento:functions/web-function-support@1.0.0"

QUEUE = "(call $queue (i32.const 96) (i32.const 1) (i32.const 256))"
"""Queues a task named t."""
END = "(call $end (i32.const 0) (i32.const 0) (i32.const 0))"


def module(handler: str = QUEUE, run: str = "", more: str = "") -> bytes:
    """A web function that does `handler` and answers 200 with `ok`; `run` is what it does after that."""
    export = f'(func (export "{RUN}") {run})' if run is not None else ""
    return wat(f"""(module
      (import "{TASKS}" "queue" (func $queue (param i32 i32 i32)))
      (import "{TASKS}" "begin" (func $begin))
      (import "{TASKS}" "end" (func $end (param i32 i32 i32)))
      (memory (export "memory") 2)
      (global $n (mut i32) (i32.const 0))
      (data (i32.const 64) "\\c8\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\60\\00\\00\\00\\02\\00\\00\\00")
      (data (i32.const 96) "ok")
      (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
      (func (export "{POST}") (param i32 i32) (result i32) {handler} (i32.const 64))
      {export} {more})""")


def call(host: Host, wasm: bytes, **limits: int) -> Any:
    """The detached work of one call, which was answered as ever; on a function whose counts begin at nothing."""
    host.delete("liar")
    host.deploy("liar", wasm, limits=limits)
    outcome = host.invoke("liar")
    assert (outcome.result, outcome.status, outcome.text) == ("ok", 200, "ok")
    return over(host, outcome)


@pytest.mark.parametrize(
    ("run", "tasks"),
    [
        ("(call $begin) (call $begin)", {("o", "lost"): 1}),
        (END, {("o", "lost"): 1}),
        (f"(call $begin) {END} {END}", {("o", "ok"): 1}),
        (f"(call $begin) {END} (call $begin)", {("o", "ok"): 1}),
        ("(call $end (i32.const 2) (i32.const 0) (i32.const 0))", {("o", "lost"): 1}),
        ("(call $begin) (call $end (i32.const 1) (i32.const -1) (i32.const 9))", {("o", "lost"): 1}),
    ],
)
def test_a_forged_order_of_tasks_is_a_trap(host: Host, run: str, tasks: dict[tuple[str, str], int]) -> None:
    """Begin twice, end twice, more than were queued, an outcome that is none: the work ends, and the books are right."""
    for _ in range(often(3)):
        detached = call(host, module(QUEUE, run))
        assert detached.result == "trapped"
        assert counted(host, "liar") == tasks


@pytest.mark.parametrize("step", ["(call $begin)", END])
def test_nothing_begins_or_ends_before_the_answer(host: Host, step: str) -> None:
    """It is a trap of the call itself, and what was queued is lost."""
    host.delete("early")
    host.deploy("early", module(f"{QUEUE} {step}"))
    outcome = host.invoke("early")
    assert (outcome.result, outcome.error.reason) == ("trapped", "detached")
    assert counted(host, "early")["o", "lost"] == 1


@pytest.mark.parametrize("run", ["", "(call $begin)", f"(call $begin) {END} {QUEUE} {QUEUE}"])
def test_what_a_guest_does_not_do_is_lost(host: Host, run: str) -> None:
    """It returned while tasks wait, or in the middle of one: it is not asked twice."""
    detached = call(host, module(f"{QUEUE} {QUEUE}", run))
    assert detached.result == "ok"
    assert detached.tasks.counts["lost"] >= 1
    assert sum(detached.tasks.counts.values()) == detached.tasks.registered


def test_a_flood_of_tasks_ends_at_its_limit(host: Host) -> None:
    """Queueing for ever in the answer is refused by value; each that was accepted is counted, no name is kept after that."""
    flood = (
        "(loop $again (call $queue (i32.const 96) (i32.const 1) (i32.const 256)) "
        "(br_if $again (i32.eqz (i32.load8_u (i32.const 256)))))"
    )
    detached = call(host, module(flood, ""))
    assert detached.tasks.registered == 1_000
    assert detached.tasks.counts == {"lost": 1_000}
    assert counted(host, "liar") == {("o", "lost"): 1_000, ("o", "refused"): 1}
    assert "and 992 more" in "\n".join(lines(host, "liar"))
    assert not detached.tasks.queued


def test_tasks_that_queue_tasks_for_ever_end_at_the_same_limit(host: Host) -> None:
    """Each does what it was queued for, and queues the next: 100 in all, as was said at deploy."""
    chain = f"(loop $again (call $begin) {QUEUE} {END} (br_if $again (i32.eqz (i32.load8_u (i32.const 256)))))"
    detached = call(host, module(QUEUE, chain), detached_tasks=100)
    assert (detached.result, dict(detached.tasks.counts)) == ("ok", {"ok": 100})
    assert counted(host, "liar") == {("o", "ok"): 100, ("o", "refused"): 1}


@pytest.mark.parametrize(("size", "result"), [(0, "refused"), (65, "refused"), (60_000, "refused"), (64, "lost")])
def test_a_name_has_1_to_64_bytes(host: Host, size: int, result: str) -> None:
    """What has not is refused by value: the call goes on."""
    handler = (
        f"(memory.fill (i32.const 512) (i32.const 97) (i32.const {size}))"
        f"(call $queue (i32.const 512) (i32.const {size}) (i32.const 256))"
    )
    host.delete("named")
    host.deploy("named", module(handler))
    outcome = host.invoke("named")
    assert (outcome.result, outcome.detached is None) == ("ok", result == "refused")
    if outcome.detached is not None:
        over(host, outcome)
    assert counted(host, "named") == {("a" * min(size, 64), result): 1}


def test_a_name_that_is_no_utf_8_is_a_trap(host: Host) -> None:
    """As everywhere (G11)."""
    host.deploy("bytes", module("(i32.store8 (i32.const 96) (i32.const 0xff))" + QUEUE))
    outcome = host.invoke("bytes")
    assert outcome.result == "trapped"
    assert counted(host, "bytes") == {}


def test_a_name_cannot_forge_a_line_of_the_log(host: Host) -> None:
    """Line breaks and terminal escapes in it are shown as what they are (G15)."""
    name = "(i32.store (i32.const 512) (i32.const 0x1b5d0a61))"
    handler = f"{name} (call $queue (i32.const 512) (i32.const 4) (i32.const 256))"
    call(host, module(handler))
    assert lines(host, "liar")[-1] == "detached tasks lost: a\\n]\\x1b"


def test_a_guest_that_cannot_be_called_again_queues_nothing(host: Host) -> None:
    """It imports the tasks, but exports nothing that would do them: refused by value."""
    host.deploy("half", module(run=None))  # type: ignore[arg-type]
    outcome = host.invoke("half")
    assert (outcome.result, outcome.detached) == ("ok", None)
    assert counted(host, "half") == {("o", "refused"): 1}


@pytest.mark.parametrize(
    "signature", ["(param i32)", "(result i32) (i32.const 0)", "(param i64) (result f32) (f32.const 0)"]
)
def test_an_export_of_another_type_is_refused_at_deploy(host: Host, signature: str) -> None:
    """It is never called with what it does not take."""
    with pytest.raises(LinkError, match="does not fit"):
        host.deploy("odd", module(run=signature))


def test_post_return_runs_once_before_the_work(host: Host) -> None:
    """With what the call returned, and only where the instance goes on."""
    post = (
        f'(func (export "cabi_post_{POST}") (param $at i32) (global.set $n (i32.add (global.get $n) (local.get $at))))'
    )
    check = "(if (i32.ne (global.get $n) (i32.const 64)) (then (unreachable)))"
    detached = call(host, module(QUEUE, f"{check} (call $begin) {END}", post))
    assert (detached.result, dict(detached.tasks.counts)) == ("ok", {"ok": 1})


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("(param i32) (call $begin)", "may-leave"),
        ("(param i32) (unreachable)", "unreachable"),
        ("(param i32 i64)", None),
        ("(param i32) (result i32) (i32.const 1)", None),
    ],
)
def test_a_post_return_that_does_what_it_may_not_ends_the_work(host: Host, body: str, reason: str | None) -> None:
    """Host calls, traps, other types: the answer has left, the tasks are lost."""
    detached = call(host, module(QUEUE, f"(call $begin) {END}", f'(func (export "cabi_post_{POST}") {body})'))
    assert (detached.result, dict(detached.tasks.counts)) == ("trapped", {"lost": 1})
    assert reason is None or detached.error.reason == reason


@pytest.mark.parametrize("where", ["post", "run"])
def test_what_never_ends_ends_at_the_deadline(host: Host, where: str) -> None:
    """In the post-return of the answer as well as in the work itself; it yields meanwhile, so others are served."""
    spin = "(loop $again (br $again))"
    post = f'(func (export "cabi_post_{POST}") (param i32) {spin if where == "post" else ""})'
    detached = call(host, module(QUEUE, spin if where == "run" else "", post), deadline_ms=1_000)
    assert (detached.result, dict(detached.tasks.counts)) == ("deadline", {"lost": 1})


def test_many_at_once_that_never_end_leave_the_host_as_it_was(host: Host) -> None:
    """Their places are taken until the deadline, and no longer; calls of others are answered meanwhile."""
    host.delete("spins")
    host.deploy("spins", module(QUEUE, "(loop $again (br $again))"), limits={"deadline_ms": 2_000})
    outcomes = [host.invoke("spins") for _ in range(often(30))]
    assert host.invoke("echo", b"well?").body == b"well?"
    assert {over(host, outcome).result for outcome in outcomes} == {"deadline"}
    assert counted(host, "spins") == {("o", "lost"): len(outcomes)}
