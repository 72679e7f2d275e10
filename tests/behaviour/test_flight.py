"""The flight recorder: calls of functions that are not durable, recorded by policy, and run again from that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from guesthouse import AsyncHost
from guesthouse.dispatch.collector import Collector
from guesthouse.dispatch.exports import read_export
from guesthouse.dispatch.recordings import NoJournal
from guesthouse.interfaces.invocation import WebRequest
from guesthouse.net.client import OutboundConfig
from guesthouse.net.policy import OutboundPolicy
from guesthouse.queue.config import InvocationsConfig
from guesthouse.queue.queue import UnknownInvocation
from recordings import FLIGHT, PATIENCE, ended, export_of
from scripted import Outside, Script
from served import Origin
from stage import Scene, perform
from support import FORMS, guest

LOOPBACK = OutboundPolicy.of(schemes=("http",), allow_addresses=("127.0.0.0/8",))
LOOK = ("look", "a")
ANSWERS = Script((LOOK, ("store", "b", 1), LOOK))


def hosted(work: Callable[[AsyncHost], Awaitable[None]], **options: Any) -> None:
    """Runs a test with a host that records."""

    async def on_loop() -> None:
        options.setdefault("invocations", FLIGHT)
        async with AsyncHost(interfaces=[Outside()], **options) as host:
            await work(host)

    asyncio.run(on_loop())


def recordings(host: AsyncHost, result: str) -> float:
    """How many recordings ended so."""
    found = [
        sample.value
        for family in host.metrics.collect()
        for sample in family.samples
        if sample.name == "guesthouse_flight_total" and sample.labels == {"result": result}
    ]
    return sum(found)


async def when_recorded(host: AsyncHost, result: str, count: int) -> None:
    """Waits until so many recordings ended so."""
    async with asyncio.timeout(PATIENCE):
        while recordings(host, result) < count:
            await asyncio.sleep(0.002)


@pytest.mark.parametrize("form", FORMS)
def test_a_call_that_trapped_traps_again_with_the_same_backtrace(form: str) -> None:
    """With what it logged, from one file, on a host that knows nothing of it."""

    async def work(host: AsyncHost) -> None:
        await host.deploy("panic", guest("panic", form))
        outcome = await host.invoke("panic", b'"no"')
        assert outcome.error is not None
        data = await export_of(host, outcome.invocation_id)
        async with AsyncHost() as other:
            found = await other.replay(data)
        assert (found.verdict, found.ended.result, found.ended.reason) == ("identical", "trapped", "unreachable")
        frames = [line.split(": ", 1)[1].strip() for line in found.backtrace.splitlines()]
        assert frames
        assert all(frame in str(outcome.error) for frame in frames)
        said = [(level, text) for level, source, text in found.log]
        assert said == [(line.level, line.text) for line in outcome.logs if line.source != "system"]

    hosted(work)


@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        (InvocationsConfig(), set()),
        (InvocationsConfig(flight="failed"), {"traps"}),
        (InvocationsConfig(flight="failed", record="off"), {"traps"}),
        (InvocationsConfig(flight="sampled", flight_sample=1.0), {"answers", "traps"}),
        (InvocationsConfig(flight="sampled", flight_sample=1e-12), set()),
        (InvocationsConfig(flight="all"), {"answers", "traps"}),
        (InvocationsConfig(flight="all", record="all"), {"answers", "traps"}),
    ],
    ids=["off", "failed", "without-records", "sampled", "sampled-rarely", "all", "all-with-records"],
)
def test_the_policy_says_whose_calls_are_kept(policy: InvocationsConfig, kept: set[str]) -> None:
    """Each that is kept can be exported, and is the same in a replay."""

    async def work(host: AsyncHost) -> None:
        ids = {}
        for name, script in (("answers", ANSWERS), ("traps", ANSWERS.ending(traps=True))):
            await host.deploy(name, script.wasm)
            ids[name] = (await host.invoke(name, b"body")).invocation_id
        await when_recorded(host, "stored", len(kept))
        await host.backlog.recorder.close()
        for name, call in ids.items():
            if name in kept:
                assert (await host.replay(await export_of(host, call))).identical
            else:
                with pytest.raises((NoJournal, UnknownInvocation)):
                    await host.export(call)

    hosted(work, invocations=policy)


def test_what_is_not_recorded_is_linked_without_a_journal() -> None:
    """Where the recorder is off, calls are what they were."""

    async def work(host: AsyncHost) -> None:
        await host.deploy("answers", ANSWERS.wasm)
        assert not host.deployer.recorded
        assert host.dispatcher.runs.__name__ == "Running"

    hosted(work, invocations=InvocationsConfig())


def test_a_recording_that_is_too_long_is_left_out_and_counted() -> None:
    """The call is answered as ever: a body and a journal over the bound."""

    async def work(host: AsyncHost) -> None:
        await host.deploy("echo", guest("echo"))
        await host.deploy("many", Script((LOOK,) * 200).wasm)
        long = await host.invoke("echo", b"x" * 2_000)
        many = await host.invoke("many", b"")
        assert (long.status, len(long.body), many.status) == (200, 2_000, 200)
        await when_recorded(host, "too-long", 2)
        assert (await host.invoke("echo", b"short")).body == b"short"
        await when_recorded(host, "stored", 1)

    hosted(work, invocations=InvocationsConfig(flight="all", flight_bytes=1_024))


def test_spawned_runs_are_recorded() -> None:
    """With their payload."""

    async def work(host: AsyncHost) -> None:
        await host.deploy("spawn-result", guest("spawn-result"))
        call = await host.spawn("spawn-result", b'{"name": "Ada"}')
        data = await export_of(host, call)
        assert read_export(data).request.body == b'{"name": "Ada"}'
        assert (await host.replay(data)).identical

    hosted(work)


def test_of_a_queued_call_the_last_attempt_is_recorded() -> None:
    """Earlier ones are not what became of it."""

    async def work(scene: Scene) -> None:
        retry = {"attempts": 3, "min_wait_ms": 1, "max_wait_ms": 1}
        await scene.deploy(retry=retry)
        scene.stage.script[b"x"] = [(503, ""), (500, ""), (201, "")]
        call = await scene.enqueue(b"x")
        assert (await scene.ended(call)).status == 201
        found = await scene.host.replay(await export_of(scene.host, call))
        assert (found.verdict, found.recorded.status, found.ended.status) == ("identical", 201, 201)

    perform(work, invocations=FLIGHT)


def test_a_dead_letter_is_recorded_and_can_be_redriven() -> None:
    """Its recording is of the run that failed; the next end has one of its own."""

    async def work(scene: Scene) -> None:
        await scene.deploy(retry={"attempts": 1})
        scene.stage.script[b"x"] = [(503, ""), (200, "")]
        call = await scene.enqueue(b"x")
        await scene.when(call, lambda record: record.state == "dead")
        assert (await scene.host.replay(await export_of(scene.host, call))).recorded.status == 503
        await scene.host.redrive(call)
        assert (await scene.ended(call)).state == "succeeded"
        assert (await scene.host.replay(await export_of(scene.host, call))).recorded.status == 200

    perform(work, invocations=FLIGHT)


@pytest.mark.parametrize("form", FORMS)
def test_commands_are_recorded(form: str) -> None:
    """Their input, their environment, what they wrote."""

    async def work(host: AsyncHost) -> None:
        await host.deploy("cat", guest("cat", form))
        outcome = await host.invoke("cat", b"a line\n")
        found = await host.replay(await export_of(host, outcome.invocation_id))
        assert (found.verdict, found.body) == ("identical", b"a line\n")

    hosted(work)


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    """A body that arrives piece by piece."""
    for piece in data:
        await asyncio.sleep(0)
        yield piece


def test_a_body_that_arrives_piece_by_piece_arrives_so_again() -> None:
    """As the guest has read it."""

    async def work(host: AsyncHost) -> None:
        deployment = await host.deploy("checksum", guest("checksum"))
        await host.dispatcher.load(deployment)
        sink = Collector()
        body = pieces(b"one ", b"two ", b"three")
        outcome = sink.complete(await host.dispatcher.web(deployment, WebRequest(), body, sink))
        found = await host.replay(await export_of(host, outcome.invocation_id))
        assert (found.verdict, found.body) == ("identical", outcome.body)

    hosted(work)


def test_an_answer_of_another_server_is_recorded_while_it_streams() -> None:
    """Nothing is collected first; the replay needs no server."""

    async def work(host: AsyncHost) -> None:
        await host.deploy("proxy", guest("proxy"))
        with Origin() as origin:
            url = origin.url("/page")
            outcome = await host.invoke("proxy", query=[("url", url)], method="GET")
        found = await host.replay(await export_of(host, outcome.invocation_id))
        assert (found.verdict, found.ended.status, found.body) == ("identical", outcome.status, outcome.body)

    hosted(work, outbound=OutboundConfig(LOOPBACK))


def test_detached_work_is_recorded_with_its_call() -> None:
    """The recording ends where the last task did."""

    async def work(host: AsyncHost) -> None:
        await host.deploy("detached", guest("detached"))
        with Origin() as origin:
            order = f'{{"customer": "Ada", "item": "engine", "push": "{origin.url("/page")}"}}'
            outcome = await host.invoke("detached", order.encode())
            assert outcome.detached is not None
            await outcome.detached.end()
        found = await host.replay(await export_of(host, outcome.invocation_id))
        assert found.identical, found.text
        assert "http.invoke" in [step.name for step in found.steps]

    hosted(work, outbound=OutboundConfig(LOOPBACK))


@pytest.mark.parametrize(("name", "result"), [("spin", "fuel"), ("spin", "deadline")])
def test_a_call_that_ran_out_of_something_does_so_again(name: str, result: str) -> None:
    """Or out of the other thing: how fast a machine is, is not recorded."""
    limits = {"fuel": 10_000_000} if result == "fuel" else {"deadline_ms": 50}

    async def work(host: AsyncHost) -> None:
        await host.deploy(name, guest(name), limits=limits)
        outcome = await host.invoke(name, b"")
        assert outcome.result == result
        assert (await host.replay(await export_of(host, outcome.invocation_id))).identical

    hosted(work)


def test_a_call_that_was_cut_off_in_a_host_call_comes_as_far_again() -> None:
    """That call has no result: the replay ends there, which is the same end."""

    async def work(host: AsyncHost) -> None:
        await host.deploy("fetch", guest("fetch"), limits={"deadline_ms": 300})
        with Origin() as origin:
            order = f'{{"verb": "GET", "url": "{origin.url("/held")}"}}'
            outcome = await host.invoke("fetch", order.encode())
            origin.release.set()
        assert outcome.result == "deadline"
        found = await host.replay(await export_of(host, outcome.invocation_id))
        assert (found.verdict, found.steps[-1].answered) == ("identical", "open")

    hosted(work, outbound=OutboundConfig(LOOPBACK))


def test_recordings_survive_a_restart(tmp_path: Any) -> None:
    """They are stored with their records."""

    async def on_loop() -> None:
        async with AsyncHost(tmp_path, interfaces=[Outside()], invocations=FLIGHT) as host:
            await host.deploy("answers", ANSWERS.wasm)
            call = (await host.invoke("answers", b"x")).invocation_id
        async with AsyncHost(tmp_path, interfaces=[Outside()]) as host:
            assert (await host.replay(await host.export(call))).identical

    asyncio.run(on_loop())


def test_durable_calls_keep_their_own_journal() -> None:
    """The recorder has nothing to do with them."""

    async def work(host: AsyncHost) -> None:
        await host.deploy("answers", ANSWERS.wasm, durable=True)
        call = await host.enqueue("answers", b"x")
        await ended(host, call)
        assert read_export(await export_of(host, call)).kind == "durable"
        assert recordings(host, "stored") == 0

    hosted(work)
