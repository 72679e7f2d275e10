"""Replays of exported invocations: call by call, up to a call, with other answers, on other modules, from damaged files."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from guesthouse import AsyncHost, Host
from guesthouse.dispatch.exports import InvalidExport, read_export, write_export
from guesthouse.dispatch.recordings import NoJournal
from guesthouse.durable.errors import JournalError
from guesthouse.errors import BadRequest, InvalidModule, LinkError
from guesthouse.queue.config import InvocationsConfig
from guesthouse.queue.queue import UnknownInvocation
from recordings import FLIGHT, export_of, recorded, when
from scripted import OUTSIDE, Outside, Script
from support import guest, wat

SCRIPT = Script((("look", "a"), ("store", "b", 1), ("clock",), ("random",), ("look", "c")))
TRAPPING = SCRIPT.ending(traps=True)
ONCE = {"attempts": 1}


def hosted(work: Callable[[AsyncHost, Outside], Awaitable[None]], **options: Any) -> None:
    """Runs a test with a host that has the interface of scripts."""

    async def on_loop() -> None:
        outside = Outside()
        async with AsyncHost(interfaces=[outside], **options) as host:
            await work(host, outside)

    asyncio.run(on_loop())


@pytest.mark.parametrize("durable", [True, None], ids=["durable", "flight"])
def test_every_call_is_shown_with_arguments_and_result(durable: bool | None) -> None:
    """Recorded ones with their numbers; nothing is called in earnest."""

    async def work(host: AsyncHost, outside: Outside) -> None:
        data = await recorded(host, SCRIPT.wasm, durable=durable)
        before = list(outside.looks), outside.stores.copy()
        found = await host.replay(data)
        assert (found.verdict, found.ended.status, found.reached) == ("identical", 200, found.entries)
        look, store, clock, random, again = found.steps
        assert (look.number, look.name, look.effect) == (0, "outside.look", "read")
        assert (look.args, look.result, look.answered) == ([("key", "a")], 1, "recorded")
        assert (store.args, store.result, store.effect) == ([("key", "b"), ("value", 1)], 1, "write")
        assert clock.result % 1_000_000 == 0
        assert isinstance(random.result, int)
        assert again.args == [("key", "c")]
        assert (list(outside.looks), outside.stores) == before
        document = found.document()
        assert document["steps"][1]["args"] == [{"name": "key", "value": "b"}, {"name": "value", "value": 1}]
        assert document["replayed"]["body_sha256"] == document["recorded"]["body_sha256"]

    hosted(work, invocations=FLIGHT)


def test_a_trap_of_a_durable_call_is_reproduced() -> None:
    """Its kind and its backtrace, from the journal of a dead letter."""

    async def work(host: AsyncHost, _: Outside) -> None:
        found = await host.replay(await recorded(host, TRAPPING.wasm, durable=True, retry=ONCE))
        assert (found.verdict, found.ended.result, found.ended.reason) == ("identical", "trapped", "unreachable")
        assert "wasm function" in found.backtrace

    hosted(work)


def test_an_invocation_that_waits_is_the_same_as_far_as_it_came() -> None:
    """What it waits for is the last line."""

    async def work(host: AsyncHost, _: Outside) -> None:
        waiting = Script((("look", "a"), ("sleep", 3_600_000)))
        found = await host.replay(await recorded(host, waiting.wasm, durable={"grace_ms": 0}))
        assert (found.verdict, found.recorded.result, found.ended.result) == ("identical", "", "")
        assert (found.steps[-1].name, found.steps[-1].answered) == ("promises.wait", "open")

    hosted(work)


def test_a_replay_stops_before_the_call_that_was_named() -> None:
    """With the call's arguments, and where the guest is; also inside of a call that is not recorded as a whole."""

    async def work(host: AsyncHost, _: Outside) -> None:
        data = await recorded(host, SCRIPT.wasm, durable=True)
        found = await host.replay(data, until=1)
        assert (found.verdict, found.reached) == ("stopped", 1)
        last = found.steps[-1]
        assert (last.number, last.name, last.answered, last.args[0]) == (1, "outside.store", "stopped", ("key", "b"))
        assert not last.returns
        assert "wasm function" in found.backtrace
        inside = await host.replay(data, until=3)
        assert (inside.steps[-1].name, inside.steps[-1].answered) == ("monotonic-clock.now", "stopped")
        beyond = await host.replay(data, until=99)
        assert (beyond.verdict, beyond.text) == ("identical", "it did not come to call 99")

    hosted(work)


def test_a_changed_result_is_what_the_guest_sees() -> None:
    """It goes on as far as the journal knows what it asks; its answer shows the change."""

    async def work(host: AsyncHost, _: Outside) -> None:
        data = await recorded(host, SCRIPT.wasm, durable=True)
        last = (await host.replay(data)).steps[-1]
        assert last.number is not None
        found = await host.replay(data, changes={last.number: 77})
        assert (found.verdict, found.steps[-1].answered, found.body) == ("otherwise", "changed", b"M\0\0\0")
        assert found.text == "the body of the answer is another one"

    hosted(work)


def test_what_is_not_recorded_ends_a_replay_with_a_change() -> None:
    """What the world would have answered there, nobody knows."""

    async def work(host: AsyncHost, _: Outside) -> None:
        way = ("branch", (("look", "odd"),), (("look", "even"), ("look", "more")))
        data = await recorded(host, Script((("look", "a"), way)).wasm, durable=True)
        found = await host.replay(data, changes={0: 2})
        assert (found.verdict, found.reached, found.steps[-1].answered) == ("unrecorded", 1, "diverged")
        assert 'look("odd")' in found.text
        assert 'look("even")' in found.text
        longer = Script((("look", "a"), ("branch", (("look", "x"),), (("look", "x"), ("look", "y")))))
        found = await host.replay(await recorded(host, longer.wasm, durable=True), changes={0: 2})
        assert (found.verdict, found.steps[-1].answered) == ("unrecorded", "open")

    hosted(work)


@pytest.mark.parametrize("wanted", ["text", -1, 1 << 32, None, {"ok": 1}])
def test_a_change_that_does_not_fit_the_type_is_refused(wanted: Any) -> None:
    """With the place, before the guest sees anything of it."""

    async def work(host: AsyncHost, _: Outside) -> None:
        data = await recorded(host, SCRIPT.wasm, durable=True)
        with pytest.raises(BadRequest, match="call 0 has to be u32"):
            await host.replay(data, changes={0: wanted})

    hosted(work)


def test_a_call_that_answers_into_memory_cannot_be_changed() -> None:
    """A function of preview 1 has no result to set."""

    async def work(host: AsyncHost, _: Outside) -> None:
        data = await recorded(host, guest("dice", "wasip1"), b"", durable=True, retry=ONCE)
        first = next(step for step in (await host.replay(data)).steps if step.interface == "wasi_snapshot_preview1")
        assert first.number is not None
        with pytest.raises(BadRequest, match="memory"):
            await host.replay(data, changes={first.number: 0})

    hosted(work)


def test_a_change_that_nobody_came_to_is_said() -> None:
    """Otherwise a typing error would be obeyed in silence."""

    async def work(host: AsyncHost, _: Outside) -> None:
        found = await host.replay(await recorded(host, SCRIPT.wasm, durable=True), changes={50: 1})
        assert (found.verdict, found.text) == ("identical", "it did not come to call 50")

    hosted(work)


def test_a_host_that_lacks_an_interface_says_so() -> None:
    """What a module imports has to be there to be replayed."""

    async def work(host: AsyncHost, _: Outside) -> None:
        data = await recorded(host, SCRIPT.wasm, durable=True)
        async with AsyncHost() as other:
            with pytest.raises(LinkError, match=OUTSIDE):
                await other.replay(data)

    hosted(work)


def test_an_export_without_its_module_needs_another_one() -> None:
    """Where nothing is deployed and nothing given, there is nothing to run."""

    async def work(host: AsyncHost, _: Outside) -> None:
        data = await recorded(host, SCRIPT.wasm, durable=True)
        without = replace(read_export(data), wasm=None)
        with pytest.raises(BadRequest, match="no module"):
            await host.replay(without)
        assert (await host.replay(without, wasm=SCRIPT.wasm)).identical
        with pytest.raises(InvalidModule):
            await host.replay(without, wasm=b"nonsense")

    hosted(work)


def test_a_module_of_another_kind_is_refused() -> None:
    """A library has no export that a request could go to."""
    library = wat('(module (memory (export "memory") 1) (func (export "test:a/b#c")))')

    async def work(host: AsyncHost, _: Outside) -> None:
        data = await recorded(host, SCRIPT.wasm, durable=True)
        with pytest.raises((BadRequest, InvalidModule)):
            await host.replay(data, wasm=library)

    hosted(work)


def test_what_was_not_recorded_cannot_be_exported() -> None:
    """Nor what never was."""

    async def work(host: AsyncHost, _: Outside) -> None:
        await host.deploy("echo", guest("echo"))
        call = await host.enqueue("echo", b"x")
        await host.attach(call)
        for ask in (host.export, host.journal):
            with pytest.raises(NoJournal):
                await ask(call)
            with pytest.raises(UnknownInvocation):
                await ask("nothing")

    hosted(work)


def test_a_journal_is_listed_without_what_was_said() -> None:
    """Also while the invocation waits."""

    async def work(host: AsyncHost, _: Outside) -> None:
        waiting = Script((("look", "secret"), ("store", "b", 1), ("sleep", 3_600_000)))
        await host.deploy("waits", waiting.wasm, durable={"grace_ms": 0})
        call = await host.enqueue("waits", b"x")
        await when(host, call, lambda record: record.state == "suspended")
        found = await host.journal(call)
        assert (found["kind"], found["ended"], found["not_shown"]) == ("durable", False, 0)
        names = [(entry["number"], entry["what"], entry["function"]) for entry in found["entries"]]
        assert names[:2] == [(0, "call", "look"), (1, "call", "store")]
        assert found["count"] == len(names)
        assert "secret" not in str(found)

    hosted(work)


def test_a_damaged_journal_is_refused_or_diverges() -> None:
    """Whatever is changed in it: no other outcome, and nothing outside is asked."""

    async def work(host: AsyncHost, outside: Outside) -> None:
        data = await recorded(host, SCRIPT.wasm, durable=True)
        export, before = read_export(data), len(outside.looks)
        whole = bytearray(b"".join(export.segments))
        for at in range(0, len(whole), 7):
            segments = [bytearray(segment) for segment in export.segments]
            place = at
            for segment in segments:
                if place < len(segment):
                    segment[place] ^= 0x41
                    break
                place -= len(segment)
            damaged = replace(export, segments=[bytes(segment) for segment in segments])
            with pytest.raises(JournalError):
                await host.replay(damaged)
        for count in range(len(export.segments)):
            shorter = replace(export, segments=export.segments[:count])
            try:
                assert (await host.replay(shorter)).verdict in ("identical", "diverged")
            except (JournalError, BadRequest):
                assert count == 0
        assert len(outside.looks) == before

    hosted(work)


def test_a_file_that_is_none_is_refused() -> None:
    """Before anything of it is run."""
    with Host() as host, pytest.raises(InvalidExport):
        host.replay(b"PK nonsense")


def test_a_replay_counts_and_logs_nothing_of_its_host() -> None:
    """Neither records nor metrics nor the function's log know of it."""

    async def work(host: AsyncHost, _: Outside) -> None:
        await host.deploy("logger", guest("logger"), durable=True)
        call = await host.enqueue("logger", b"a line")
        await host.attach(call)
        data = await export_of(host, call)
        records, _ = await host.invocations()
        before = len(records), len(host.logs.tail("default/logger", 1_000))
        found = await host.replay(data)
        assert found.identical
        assert found.log
        records, _ = await host.invocations()
        assert (len(records), len(host.logs.tail("default/logger", 1_000))) == before
        assert host.dispatcher.pool.in_use == 0

    hosted(work)


def test_a_journal_goes_with_its_request_where_there_is_no_room() -> None:
    """Before the record does: then nothing can be exported any more, and nothing of what was asked is left."""

    async def work(host: AsyncHost, _: Outside) -> None:
        await host.deploy("f", SCRIPT.wasm, durable=True)
        call = await host.enqueue("f", b"a body")
        await host.attach(call)
        assert (await host.request(call)).body == b"a body"
        size = host.queue.counts.kept_bytes
        assert await host.queue.sweep() > 0
        assert host.queue.counts.kept_bytes < size
        with pytest.raises(NoJournal):
            await host.export(call)
        with pytest.raises(UnknownInvocation):
            await host.request(call)
        assert (await host.invocation(call)).state == "succeeded"

    hosted(work, invocations=InvocationsConfig(keep_bytes=1_000))


def test_promises_of_a_function_that_is_not_durable_are_recorded_too() -> None:
    """They are in memory there, and the journal has what came of them."""

    async def work(host: AsyncHost, _: Outside) -> None:
        found = await host.replay(await recorded(host, Script((("look", "a"), ("sleep", 1), ("look", "b"))).wasm))
        assert found.identical, found.text
        assert "promises.wait" in [step.name for step in found.steps]

    hosted(work, invocations=FLIGHT)


def test_an_export_that_is_written_again_is_the_same_file() -> None:
    """Nothing gets lost between reading and writing."""

    async def work(host: AsyncHost, _: Outside) -> None:
        data = await recorded(host, SCRIPT.wasm, b"body", durable=True)
        assert write_export(read_export(data)) == data

    hosted(work)
