"""Guests in WAT, and the host interface they talk to, for what needs a guest that stops exactly where a test wants it.

`Gate` suspends guests until a test lets them go on, and remembers what they say: no test has to guess how long
something takes.  The waiting helpers end when what they wait for has happened, or fail after `PATIENCE` seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from guesthouse import AsyncHost, Host, Interface, Invocation, host_call

T = TypeVar("T")
PATIENCE = 20

GATE = "test:gate/gate@1.0.0"
RUNNER = "test:gate/runner@1.0.0"
WIT = """
package test:gate@1.0.0;
interface gate {
  wait: func();
  say: func(text: list<u8>);
  metadata: func(headers: list<tuple<string, string>>, query: list<tuple<string, string>>, path: option<string>,
                 method: string, environment: list<tuple<string, string>>);
}
interface runner { run: func(number: u32) -> u32; }
"""


class Gate(Interface):
    """Holds every guest that calls `wait` until `open`; must be used on one loop."""

    name = "gate"
    wit = WIT

    def __init__(self) -> None:
        self.said: list[bytes] = []
        self.seen: list[tuple[Any, ...]] = []
        self.waiting = 0
        self.cancelled = 0
        self._opened = asyncio.Event()
        self._changed = asyncio.Event()

    @host_call(GATE, "wait")
    async def wait(self, invocation: Invocation) -> None:
        self.waiting += 1
        self._changed.set()
        try:
            await self._opened.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.waiting -= 1

    @host_call(GATE, "say")
    def say(self, invocation: Invocation, text: bytes) -> None:
        self.said.append(text)

    @host_call(GATE, "metadata")
    def metadata(self, invocation: Invocation, *seen: Any) -> None:
        self.seen.append(seen)

    async def arrivals(self, count: int = 1) -> None:
        """Waits until `count` guests wait here."""
        async with asyncio.timeout(PATIENCE):
            while self.waiting < count:
                self._changed.clear()
                await self._changed.wait()

    async def open(self) -> None:
        """Lets everybody through, from now on."""
        self._opened.set()


def on_loop(host: Host, work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine on the loop of a synchronous host."""
    return host._run(work)


def redeploy(host: Host, name: str, as_name: str = "", **limits: int) -> None:
    """Deploys what `name` is once more, with other limits."""
    wasm = host.inner.registry.wasm(host.inner.deployment(name).digest)
    host.deploy(as_name or name, wasm, limits=limits)


async def spawns_ended(host: AsyncHost) -> None:
    """Waits until every spawned run, and what it spawned itself, has ended and is counted."""
    async with asyncio.timeout(PATIENCE):
        while tasks := host.dispatcher.spawner._tasks:
            await asyncio.wait(tasks)


def settled(host: Host) -> dict[str, int]:
    """How many spawns ended with which outcome, once all have ended."""
    on_loop(host, spawns_ended(host.inner))
    return spawn_counts(host.inner)


def spawn_counts(host: AsyncHost) -> dict[str, int]:
    """The counter that Prometheus sees, by outcome."""
    families = {family.name: family for family in host.metrics.collect()}
    return {sample.labels["outcome"]: int(sample.value) for sample in families["guesthouse_spawns"].samples}


ALLOCATOR = """
  (memory (export "memory") 1)
  (global $top (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (global.set $top (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
    (global.get $top)
    (global.set $top (i32.add (global.get $top) (local.get 3))))
"""

SPAWNED = f"""
(module
  (import "{GATE}" "wait" (func $wait))
  (import "{GATE}" "say" (func $say (param i32 i32)))
  {ALLOCATOR}
  (global $calls (mut i32) (i32.const 0))
  (func (export "momento:functions/guest-function-spawn@1.0.0#spawned") (param $at i32) (param $size i32)
    (local $first i32)
    (if (global.get $calls) (then (unreachable)))
    (global.set $calls (i32.const 1))
    (call $say (local.get $at) (local.get $size))
    (local.set $first (i32.load8_u (local.get $at)))
    (if (i32.eq (local.get $first) (i32.const {ord("w")})) (then (call $wait)))
    (if (i32.eq (local.get $first) (i32.const {ord("s")})) (then (loop $again (br $again))))
    (if (i32.eq (local.get $first) (i32.const {ord("t")})) (then (unreachable)))))
"""
"""A spawn function that says its payload and then, by the first letter, waits, spins, traps or returns.

It traps as well where it finds that an instance had a call before."""

SPAWNS_AND_TRAPS = f"""
(module
  (import "momento:host/spawn@1.0.0" "spawn-function" (func $spawn (param i32 i32 i32 i32 i32)))
  {ALLOCATOR}
  (data (i32.const 16) "spawned")
  (func (export "momento:functions/guest-function-web@1.0.0#post") (param $at i32) (param $size i32) (result i32)
    (call $spawn (i32.const 16) (i32.const 7) (local.get $at) (local.get $size) (i32.const 64))
    (unreachable)))
"""
"""A web function that starts the spawn function `spawned` with its body as the payload, and dies."""

SUPPORT = "momento:functions/web-function-support@1.0.0"
SPAWNED_AND_CURIOUS = f"""
(module
  (import "{SUPPORT}" "headers" (func $headers (param i32)))
  (import "{SUPPORT}" "query-parameters" (func $query (param i32)))
  (import "{SUPPORT}" "invocation-path" (func $path (param i32)))
  (import "{SUPPORT}" "http-method" (func $method (param i32)))
  (import "wasi:cli/environment@0.2.0" "get-environment" (func $environment (param i32)))
  (import "{GATE}" "metadata" (func $metadata (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
  {ALLOCATOR}
  (func (export "momento:functions/guest-function-spawn@1.0.0#spawned") (param i32 i32)
    (call $headers (i32.const 0))
    (call $query (i32.const 16))
    (call $path (i32.const 32))
    (call $method (i32.const 48))
    (call $environment (i32.const 64))
    (call $metadata
      (i32.load (i32.const 0)) (i32.load (i32.const 4))
      (i32.load (i32.const 16)) (i32.load (i32.const 20))
      (i32.load8_u (i32.const 32)) (i32.load (i32.const 36)) (i32.load (i32.const 40))
      (i32.load (i32.const 48)) (i32.load (i32.const 52))
      (i32.load (i32.const 64)) (i32.load (i32.const 68)))))
"""
"""A spawn function that tells the gate what it learns of a request, and its environment."""

RUNNING = f"""
(module
  (import "{GATE}" "wait" (func $wait))
  (memory (export "memory") 1)
  (func (export "{RUNNER}#run") (param $number i32) (result i32)
    (call $wait)
    (local.get $number)))
"""
"""A library that waits at the gate and answers what it was given."""
