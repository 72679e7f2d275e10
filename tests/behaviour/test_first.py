"""The two tests that come first: a guest must not be able to end the process through the host's own work."""

from __future__ import annotations

import json

import pytest

from guesthouse import Err, Host, Interface, Invocation, Ok, host_call
from guesthouse.errors import Trap
from support import wat

WIT = """
package test:first@1.0.0;
interface parser {
  parse: func(text: string) -> result<u32, string>;
  reply: func(size: u32) -> string;
}
interface runner {
  run: func() -> u32;
}
"""

NESTED = 20_000

PARSING_GUEST = f"""
(module
  (import "test:first/parser@1.0.0" "parse" (func $parse (param i32 i32 i32)))
  (memory (export "memory") 2)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536))
  (func (export "test:first/runner@1.0.0#run") (result i32)
    (memory.fill (i32.const 1024) (i32.const 91) (i32.const {NESTED}))
    (memory.fill (i32.const {1024 + NESTED}) (i32.const 93) (i32.const {NESTED}))
    (call $parse (i32.const 1024) (i32.const {2 * NESTED}) (i32.const 512))
    (i32.load8_u (i32.const 512))))
"""

SPINNING_REALLOC = """
(module
  (import "test:first/parser@1.0.0" "reply" (func $reply (param i32 i32)))
  (memory (export "memory") 2)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (loop $l (br $l)) (unreachable))
  (func (export "test:first/runner@1.0.0#run") (result i32)
    (call $reply (i32.const 10) (i32.const 512))
    (i32.load (i32.const 516))))
"""


class Parser(Interface):
    """Parses JSON with Python's recursive parser."""

    name = "parser"
    wit = WIT

    @host_call("test:first/parser@1.0.0", "parse")
    def parse(self, invocation: Invocation, text: str) -> Ok[int] | Err[str]:
        try:
            json.loads(text)
        except RecursionError:
            return Err("too deep")
        return Ok(len(text))

    @host_call("test:first/parser@1.0.0", "reply")
    def reply(self, invocation: Invocation, size: int) -> str:
        return "x" * size


@pytest.fixture
def host():
    with Host(interfaces=[Parser()]) as host:
        yield host


def run(host: Host) -> int:
    return host.call("guest", "run", interface="test:first/runner@1.0.0")


def test_json_nested_20_000_deep_in_a_host_function_does_not_end_the_process(host):
    """Python runs on its own thread's stack, never on a guest's fiber: deep recursion is an ordinary RecursionError."""
    host.deploy("guest", wat(PARSING_GUEST))
    assert run(host) in (0, 1)


def test_a_guest_whose_realloc_spins_is_ended_and_the_host_goes_on(host):
    """The host waits for cabi_realloc in the middle of a host call, where nothing can yield: it has a bound of its own."""
    host.deploy("guest", wat(SPINNING_REALLOC))
    with pytest.raises(Trap, match="cabi_realloc ran too long") as caught:
        run(host)
    assert caught.value.reason == "realloc"
    host.deploy("guest", wat(PARSING_GUEST))
    assert run(host) in (0, 1)
