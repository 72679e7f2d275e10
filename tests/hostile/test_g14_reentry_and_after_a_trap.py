"""G14: an instance is used once: nothing of it is called after a trap, and it cannot leave where it may not."""

from __future__ import annotations

from typing import Any

import pytest

from guesthouse import Host, Interface, host_call
from guesthouse.errors import InvalidModule, Trap
from guesthouse.interfaces.bytes import Buffer
from harness import failure, often
from support import wat

HOST = "test:g14/host@1.0.0"
RUNNER = "test:g14/runner@1.0.0"
SIGNATURE = "(param i32 i32 i32 i32) (result i32)"


class Calls(Interface):
    """Counts who calls."""

    name = "calls"
    wit = """
    package test:g14@1.0.0;
    interface host {
      resource thing;
      plain: func(); later: func(); text: func() -> string; text-later: func() -> string; make: func() -> thing;
    }
    interface runner { run: func() -> u32; take: func(text: string) -> u32; answer: func() -> string; }
    """
    seen = 0

    @host_call(HOST, "plain")
    def plain(self, invocation: Any) -> None:
        Calls.seen += 1

    @host_call(HOST, "later")
    async def later(self, invocation: Any) -> None:
        Calls.seen += 1

    @host_call(HOST, "text")
    def text(self, invocation: Any) -> str:
        return "text"

    @host_call(HOST, "text-later")
    async def text_later(self, invocation: Any) -> str:
        return "text"

    @host_call(HOST, "make")
    def make(self, invocation: Any) -> object:
        return Buffer(b"thing")


INTERFACES = (Calls,)
IMPORTS = f"""
  (import "{HOST}" "plain" (func $plain))
  (import "{HOST}" "later" (func $later))
  (import "{HOST}" "text" (func $text (param i32)))
  (import "{HOST}" "text-later" (func $text-later (param i32)))
  (import "{HOST}" "make" (func $make (result i32)))
  (import "{HOST}" "[resource-drop]thing" (func $drop (param i32)))
  (type $none (func))
  (table 2 funcref) (elem (i32.const 0) $plain $later)
  (memory (export "memory") 1)
  (global $thing (mut i32) (i32.const 0))"""
LEAVING = {
    "a plain host function": "(call $plain)",
    "an asynchronous one": "(call $later)",
    "one that answers text": "(call $text (i32.const 64))",
    "an asynchronous one that answers text": "(call $text-later (i32.const 64))",
    "through a table": "(call_indirect (type $none) (i32.const 1))",
    "dropping a resource": "(call $drop (global.get $thing))",
}


@pytest.mark.parametrize("leaving", LEAVING.values(), ids=LEAVING)
@pytest.mark.parametrize("when", ["argument", "plain answer", "later answer"])
def test_the_allocator_may_not_leave(host: Host, leaving: str, when: str) -> None:
    """A host call from inside `cabi_realloc` is a trap of this guest, in every state in which the host calls it."""
    call = {
        "argument": "(nop)",
        "plain answer": "(call $text (i32.const 16))",
        "later answer": "(call $text-later (i32.const 16))",
    }
    host.deploy(
        "leaves",
        wat(f"""(module {IMPORTS}
          (func (export "cabi_realloc") {SIGNATURE} {leaving} (i32.const 1024))
          (func (export "{RUNNER}#take") (param i32 i32) (result i32) (i32.const 1))
          (func (export "{RUNNER}#run") (result i32)
            (global.set $thing (call $make)) {call[when]} (i32.const 1)))"""),
    )
    before = Calls.seen
    for _ in range(often(3)):
        error = failure(host, "leaves", *(("take", "x") if when == "argument" else ("run",)), interface=RUNNER)
        assert isinstance(error, Trap)
        assert error.reason == "may-leave"
    assert Calls.seen == before


@pytest.mark.parametrize("body", [*LEAVING.values(), "(unreachable)", "(loop (br 0))"])
def test_post_return_can_do_nothing(host: Host, body: str) -> None:
    """It may not leave, could only free memory that goes anyway, and is left out: the answer is there."""
    host.deploy(
        "posts",
        wat(f"""(module {IMPORTS} (data (i32.const 64) "\\50\\00\\00\\00\\02\\00\\00\\00") (data (i32.const 80) "ok")
          (func (export "cabi_realloc") {SIGNATURE} (i32.const 1024))
          (func (export "cabi_post_{RUNNER}#answer") (param i32) {body})
          (func (export "{RUNNER}#answer") (result i32) (i32.const 64)))"""),
    )
    before = Calls.seen
    assert host.call("posts", "answer", interface=RUNNER) == "ok"
    assert Calls.seen == before


def test_nothing_runs_after_a_trap(host: Host) -> None:
    """What a guest counts begins anew at each call, whatever the call before it ended with."""
    host.deploy(
        "traps",
        wat(f"""(module {IMPORTS} (global $calls (mut i32) (i32.const 0))
          (func (export "cabi_realloc") {SIGNATURE} (i32.const 1024))
          (func (export "{RUNNER}#run") (result i32)
            (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
            (if (i32.ne (global.get $calls) (i32.const 1)) (then (return (i32.const 99))))
            (unreachable)))"""),
    )
    for _ in range(often(20)):
        error = failure(host, "traps", "run", interface=RUNNER)
        assert getattr(error, "reason", "") == "unreachable"


WRONG = {
    "a reference": "(param i32 i32 i32 funcref) (result i32) (i32.const 0)",
    "more parameters": "(param i32 i32 i32 i32 i64 i64 i64 i64 i64 i64 i64 i64) (result i32) (i32.const 0)",
    "fewer parameters": "(param i32) (result i32) (i32.const 0)",
    "wide parameters": "(param i64 i64 i64 i64) (result i32) (i32.const 0)",
    "no result": "(param i32 i32 i32 i32)",
    "more results": f"(param i32 i32 i32 i32) (result {'i64 ' * 20}) {'(i64.const -1)' * 20}",
    "a vector": "(param i32 i32 i32 i32) (result v128) (v128.const i64x2 -1 -1)",
    "a float": "(param i32 i32 i32 f32) (result i32) (i32.const 0)",
}


@pytest.mark.parametrize("signature", WRONG.values(), ids=WRONG)
def test_an_allocator_of_another_type_is_refused(host: Host, signature: str) -> None:
    """The host calls it with four numbers, unchecked: as references or on a larger stack they would end the process."""
    with pytest.raises(InvalidModule, match="cabi_realloc"):
        host.deploy(
            "wrong",
            wat(f"""(module {IMPORTS} (func (export "cabi_realloc") {signature})
              (func (export "{RUNNER}#run") (result i32) (call $text (i32.const 16)) (i32.const 1)))"""),
        )


@pytest.mark.parametrize(
    ("exports", "reason"),
    [
        ('(global (export "cabi_realloc") i32 (i32.const 0))', "realloc"),
        ('(table (export "cabi_realloc") 1 funcref)', "realloc"),
        ("", "realloc"),
    ],
)
def test_a_guest_without_an_allocator_traps_when_it_is_needed(host: Host, exports: str, reason: str) -> None:
    """Something else of that name is none."""
    imports = IMPORTS.replace("(table 2 funcref) (elem (i32.const 0) $plain $later)", "")
    host.deploy(
        "without",
        wat(f"""(module {imports} {exports}
          (func (export "{RUNNER}#run") (result i32) (call $text (i32.const 16)) (i32.const 1)))"""),
    )
    error = failure(host, "without", "run", interface=RUNNER)
    assert isinstance(error, Trap)
    assert error.reason == reason


@pytest.mark.parametrize(
    "early",
    [
        '(func (export "_initialize") (param i32) (result i32) (i32.const 1))',
        '(func (export "_initialize") (result i32) (i32.const 1))',
        '(func (export "_initialize") (param funcref))',
    ],
)
def test_an_initializer_of_another_type_traps(host: Host, early: str) -> None:
    """It is called with nothing, and checked."""
    host.deploy(
        "early",
        wat(f"""(module {IMPORTS} {early} (func (export "{RUNNER}#run") (result i32) (i32.const 1)))"""),
    )
    assert isinstance(failure(host, "early", "run", interface=RUNNER), Trap)
