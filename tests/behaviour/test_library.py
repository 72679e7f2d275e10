"""The library: `Host` from several threads, `AsyncHost` with many calls at once, and what is refused, and how."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from guesthouse import AsyncHost, Host, Interface, Invocation, host_call
from guesthouse.errors import AdmissionFull, Cancelled, Draining, HostError, InvalidModule, LinkError
from probes import GATE, PATIENCE, RUNNER, RUNNING, WIT, Gate, on_loop
from support import FORMS, guest, host_with, wat


def runs(host, number):
    """Calls the library that waits at the gate."""
    return host.call("runner", "run", number, interface=RUNNER)


# -- many at once


@pytest.mark.parametrize("form", FORMS)
def test_results_of_several_threads_are_not_mixed(form):
    """Calls that compute, that read streams, that wait and that fail, from eight threads: each gets its own answer."""

    def work(thread: int) -> int:
        for round_ in range(30):
            tag = f"{thread}-{round_}"
            assert host.invoke("echo", tag.encode()).text == tag
            assert host.invoke("greet", json.dumps({"name": tag}).encode()).text == f'{{"message":"Hello, {tag}!"}}'
            seen = json.loads(host.invoke("headers", path=tag).body)
            assert seen["path"] == tag
            ids.append(seen["environment"]["invocation"])
            if round_ % 5 == 0:
                assert host.invoke("clock", query=[("sleep_ms", "1")]).result == "ok"
                failed = host.invoke("panic", tag.encode())
                assert failed.result == "trapped"
                assert any(tag in record.text for record in failed.logs)
        return thread

    ids: list[str] = []
    with host_with("echo", "greet", "headers", "clock", "panic", form=form) as host:
        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(work, range(8))) == list(range(8))
        assert len(set(ids)) == 8 * 30
        counts = {name: host.inner.metrics.recorder(f"default/{name}", "web").outcomes for name in ("echo", "panic")}
        assert counts == {"echo": {"ok": 240}, "panic": {"trapped": 48}}
        assert host.inner.dispatcher.pool.in_use == 0


def test_a_deploy_in_the_midst_of_calls_gives_each_call_one_version():
    """Old answer or new answer, and no error."""
    with host_with("echo") as host, ThreadPoolExecutor(3) as threads:
        host.deploy("changing", guest("echo"))
        stop = threading.Event()

        def call() -> set[bytes]:
            seen = set()
            while not stop.is_set():
                seen.add(host.invoke("changing", b'{"name": "A"}').body)
            return seen

        calling = [threads.submit(call) for _ in range(3)]
        for _ in range(5):
            host.deploy("changing", guest("greet"))
            host.deploy("changing", guest("echo"))
        stop.set()
        seen = set.union(*[call.result() for call in calling])
        assert seen <= {b'{"name": "A"}', b'{"message":"Hello, A!"}'}


def test_many_calls_wait_at_once_on_one_loop():
    """200 guests are suspended in a host function; each comes back with its own result."""

    async def scenario() -> None:
        gate = Gate()
        async with AsyncHost(interfaces=[gate]) as host:
            await host.deploy("runner", wat(RUNNING))
            calls = [asyncio.ensure_future(runs(host, number)) for number in range(200)]
            await gate.arrivals(200)
            assert host.dispatcher.pool.in_use == 200
            await gate.open()
            assert await asyncio.gather(*calls) == list(range(200))
            assert host.dispatcher.pool.in_use == 0

    asyncio.run(scenario())


def test_hosts_of_one_process_are_strangers():
    """Same names, other functions: nothing is shared but the engine."""
    with host_with("echo") as first, Host() as second:
        second.deploy("echo", guest("greet"))
        assert first.invoke("echo", b"{}").body == b"{}"
        assert second.invoke("echo", b"{}").status == 400


# -- admission


def test_the_next_guest_is_refused_when_all_slots_are_taken():
    """Refused at once and without a trace; a slot that is given back can be used again."""

    async def scenario() -> None:
        gate = Gate()
        async with AsyncHost(interfaces=[gate], slots=2) as host:
            await host.deploy("runner", wat(RUNNING))
            await host.deploy("echo", guest("echo"))
            calls = [asyncio.ensure_future(runs(host, number)) for number in range(2)]
            await gate.arrivals(2)
            with pytest.raises(AdmissionFull, match="all 2 instances are in use"):
                await host.invoke("echo", b"x")
            with pytest.raises(AdmissionFull):
                await runs(host, 3)
            calls[0].cancel()
            await asyncio.wait(calls[:1])
            assert (await host.invoke("echo", b"x")).body == b"x"
            await gate.open()
            assert await calls[1] == 1

    asyncio.run(scenario())


def test_cancelling_the_task_cancels_the_guest():
    """The host function is cancelled where it waits, the guest's store is gone, and the log of metrics says so."""

    async def scenario() -> None:
        gate = Gate()
        async with AsyncHost(interfaces=[gate]) as host:
            await host.deploy("runner", wat(RUNNING))
            call = asyncio.ensure_future(runs(host, 1))
            await gate.arrivals()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert (gate.cancelled, host.dispatcher.pool.in_use) == (1, 0)
            assert host.metrics.recorder("default/runner", "call").outcomes == {"cancelled": 1}

    asyncio.run(scenario())


# -- the end


def test_a_host_that_drains_takes_nothing_new_and_finishes_what_runs():
    """The call that waits gets its answer; new calls and spawns are refused."""

    async def scenario() -> None:
        gate = Gate()
        host = AsyncHost(interfaces=[gate])
        await host.deploy("runner", wat(RUNNING))
        await host.deploy("spawn-unit", guest("spawn-unit"))
        call = asyncio.ensure_future(runs(host, 7))
        await gate.arrivals()
        closing = asyncio.ensure_future(host.close())
        while not host.dispatcher.draining:
            await asyncio.sleep(0)
        with pytest.raises(Draining):
            await runs(host, 8)
        with pytest.raises(Draining):
            await host.spawn("spawn-unit")
        await gate.open()
        assert await call == 7
        await closing

    asyncio.run(scenario())


def test_what_does_not_end_while_draining_is_cancelled():
    """Whoever waits for it is told, in the outcome; after that nothing runs any more."""

    async def scenario() -> None:
        gate = Gate()
        host = AsyncHost(interfaces=[gate])
        await host.deploy("runner", wat(RUNNING))
        await host.deploy("spin", guest("spin"))
        waiting, spinning = asyncio.ensure_future(runs(host, 7)), asyncio.ensure_future(host.invoke("spin"))
        await gate.arrivals()
        await host.close(drain_seconds=0)
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(Cancelled):
                await waiting
            assert (await spinning).result == "cancelled"
        assert (gate.cancelled, host.dispatcher.pool.in_use) == (1, 0)

    asyncio.run(scenario())


def test_closing_a_host_ends_the_calls_of_other_threads():
    """No thread is left waiting for a loop that has stopped."""
    gate = Gate()
    host = Host(interfaces=[gate])
    host.deploy("runner", wat(RUNNING))
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(runs, host, 1)
        on_loop(host, gate.arrivals())
        host.close(drain_seconds=0)
        assert isinstance(call.exception(timeout=PATIENCE), Cancelled)


def test_a_host_can_be_closed_twice_and_not_used_afterwards():
    """Every verb says what is wrong, at once."""
    host = Host()
    host.deploy("echo", guest("echo"))
    host.close()
    host.close()
    verbs = [
        lambda: host.invoke("echo", b""),
        lambda: host.call("echo", "x"),
        lambda: host.spawn("echo"),
        lambda: host.deploy("echo", guest("echo")),
        lambda: host.delete("echo"),
        lambda: host.inspect(guest("greet")),
    ]
    for verb in verbs:
        with pytest.raises(HostError, match="closed"):
            verb()


def test_an_async_host_can_be_closed_twice_and_not_used_afterwards():
    """The same without threads."""

    async def scenario() -> None:
        host = AsyncHost()
        await host.deploy("echo", guest("echo"))
        await host.close()
        await host.close()
        for work in (
            host.invoke("echo"),
            host.call("echo", "x"),
            host.spawn("echo"),
            host.deploy("echo", b""),
            host.delete("echo"),
        ):
            with pytest.raises(HostError, match="closed"):
                await work

    asyncio.run(scenario())


class Recursive(Interface):
    """A host function that calls the host which runs it."""

    name = "recursive"
    wit = WIT
    host: Host

    @host_call(GATE, "wait")
    async def wait(self, invocation: Invocation) -> None:
        self.host.invoke("echo", b"")


def test_a_host_function_cannot_call_the_synchronous_host_that_runs_it():
    """It would wait for itself: the error says what to do instead, and no instance is left behind."""
    recursive = Recursive()
    with Host(interfaces=[recursive]) as host:
        recursive.host = host
        host.deploy("runner", wat(RUNNING))
        host.deploy("echo", guest("echo"))
        with pytest.raises(HostError, match="use AsyncHost there"):
            runs(host, 1)
        assert host.inner.dispatcher.pool.in_use == 0


# -- deploy

TWO_MODULES = """
(component
  (core module $one (func (export "one") (result i32) i32.const 1))
  (core module $two (import "one" "one" (func $one (result i32))) (func (export "run") (result i32) call $one))
  (core instance $one (instantiate $one))
  (core instance $two (instantiate $two (with "one" (instance $one))))
  (func (export "run") (result u32) (canon lift (core func $two "run"))))
"""


@pytest.mark.parametrize(
    ("wasm", "kind", "message"),
    [
        (b"", InvalidModule, "WebAssembly"),
        (b"#!/bin/sh\n", InvalidModule, "WebAssembly"),
        (b"\0asm\1\0\0\0\xff", InvalidModule, ""),
        (guest("calculator"), LinkError, "example:calculator/"),
        (guest("calculator", "wasip1"), LinkError, "example:calculator/"),
        (wat("(module)"), InvalidModule, "exports no function that can be called"),
        (wat('(module (import "acme:mail/send@1.2.0" "post" (func)))'), LinkError, "acme:mail/send@1.2.0"),
        (wat(TWO_MODULES), InvalidModule, "only one can be run"),
    ],
    ids=["nothing", "a script", "cut off", "imports of a component", "imports of a module", "no exports", "unknown import", "two modules"],
)
def test_what_cannot_run_is_refused_at_deploy(wasm, kind, message):
    """With an error of our own that says why; nothing is stored."""
    with Host() as host:
        with pytest.raises(kind, match=message):
            host.deploy("bad", wasm)
        assert host.inner.registry.get("default", "bad") is None
