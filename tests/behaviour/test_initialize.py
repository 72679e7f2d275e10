"""`_initialize` of a core module runs before its first call, and may wait for the host like any other code of a guest."""

from __future__ import annotations

import asyncio

import pytest

from guesthouse import Host, Interface, Invocation, host_call
from support import wat

SLOW = "test:slow/slow@1.0.0"
GUEST = f"""
(module
  (import "{SLOW}" "wait" (func $wait))
  (memory (export "memory") 4)
  (global $free (mut i32) (i32.const 1024))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    global.get $free
    (global.set $free (i32.add (global.get $free) (i32.and (i32.add (local.get 3) (i32.const 7)) (i32.const -8)))))
  (func (export "_initialize") call $wait)
  (func (export "momento:functions/guest-function-web@1.0.0#post") (param $at i32) (param $length i32) (result i32)
    (i32.store16 (i32.const 0) (i32.const 200))
    (i32.store (i32.const 12) (local.get $at))
    (i32.store (i32.const 16) (local.get $length))
    i32.const 0))
"""


class Slow(Interface):
    """Waits for a turn of the loop, and allocates meanwhile what has the size of the arguments."""

    name = "slow"
    wit = "package test:slow@1.0.0; interface slow { wait: func(); }"

    @host_call(SLOW, "wait")
    async def wait(self, invocation: Invocation) -> None:
        self.others = [bytes([0xAA]) * size for size in range(3_900, 4_400)]
        await asyncio.sleep(0)


@pytest.mark.parametrize("size", [0, 1, 4_096, 100_000])
def test_arguments_survive_an_initialize_that_waits(size: int) -> None:
    """They are lowered after it, and have to be the caller's still."""
    body = bytes(range(256)) * (size // 256) + b"z" * (size % 256)
    with Host(interfaces=[Slow()]) as host:
        host.deploy("echo", wat(GUEST))
        for _ in range(20):
            outcome = host.invoke("echo", body)
            assert (outcome.result, outcome.body == body) == ("ok", True)
