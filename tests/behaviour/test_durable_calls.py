"""Calls of durable functions: what they do is done once, whatever becomes of the host in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from detaching import POLICY
from guesthouse import AsyncHost, OutboundConfig
from guesthouse.errors import BadRequest, InvalidModule
from guesthouse.queue.call import Record
from keyed_server import KeyedServer
from play import JUDGE, Play, crash, ended, in_state, on_loop, player
from stage import MovedClock, Stage
from support import guest, wat

LIBRARY = '(module (memory (export "memory") 1) (func (export "guesthouse:detached/guest@1.0.0#run")))'
QUICK = {"min_wait_ms": 1, "max_wait_ms": 1}


@asynccontextmanager
async def playing(
    play: Play, path: Path | None = None, deploys: bool = True, **options: Any
) -> AsyncIterator[AsyncHost]:
    """A host whose function `player` is durable."""
    async with AsyncHost(path, interfaces=[play]) as host:
        play.plays_on(host)
        if deploys:
            options.setdefault("durable", {"grace_ms": 0})
            await host.deploy("player", player(), retry=QUICK, **options)
        yield host


async def answer(host: AsyncHost, record: Record) -> bytes:
    output = await host.output(record.id)
    assert output is not None, record
    return output.body


@on_loop
async def test_a_direct_call_is_answered_as_any_other_and_is_on_disk_before_it_begins() -> None:
    """Its record says that it is durable."""
    play = Play()
    async with playing(play) as host:
        outcome = await host.invoke("player", b"rw")
        assert (outcome.result, outcome.status, outcome.body, outcome.error) == ("ok", 200, b"\1\1", None)
        record = await host.invocation(outcome.invocation_id)
        assert (record.mode, record.state, record.version, record.attempts) == ("durable", "succeeded", 1, 1)
        assert (record.journal_entries, record.result) == (2, "ok")
        assert record.journal_bytes > 0


@on_loop
async def test_a_crash_in_the_middle_is_not_seen_by_the_function(tmp_path: Path) -> None:
    """The next host tells it what it was told, and each effect is there once."""
    play = Play(holding=True)
    host = await AsyncHost(tmp_path, interfaces=[play]).__aenter__()
    play.plays_on(host)
    await host.deploy("player", player(), durable=True)
    call = await host.enqueue("player", b"rwrwr")
    await play.until(lambda: play.effects)
    play.release()
    await play.until(lambda: len(play.effects) == 2)  # the second one is done, and nobody was told
    await crash(host)
    play.holding = False
    async with playing(play, tmp_path, deploys=False) as host:
        record = await ended(host, call)
        assert (record.state, record.attempts) == ("succeeded", 1)
        assert await answer(host, record) == b"\1\1\2\3\3"
    assert [at for _, at in play.effects] == [1, 3, 3], "what a crash cut off is done again, and nothing else"
    assert play.asked == ["r0", "w1", "r2", "w3", "w3", "r4"]


@on_loop
async def test_what_failed_is_tried_again_behind_the_last_effect() -> None:
    """What was read before it stays as it was; what was read after it is read again."""
    play = Play(script={3: [0, 1]})
    async with playing(play) as host:
        outcome = await host.invoke("player", b"rwrc")
        assert (outcome.result, outcome.body) == ("ok", b"\1\1\3\1")
        assert play.asked == ["r0", "w1", "r2", "c3", "r2", "c3"]
        assert len(play.effects) == 1
        assert (await host.invocation(outcome.invocation_id)).attempts == 2


@on_loop
async def test_a_status_of_the_retry_policy_is_tried_again_from_there() -> None:
    """As a trap is."""
    play = Play(script={1: [503, 1]})
    async with playing(play) as host:
        outcome = await host.invoke("player", b"wc")
        assert (outcome.status, outcome.body) == (200, b"\1\1")
        assert play.asked == ["w0", "c1", "c1"]


@on_loop
async def test_a_call_that_keeps_failing_is_a_dead_letter_and_goes_on_where_it_was() -> None:
    """Redriven, it has all of its attempts, and what it has done stays done."""
    play = Play(script={1: [0]})
    async with playing(play) as host:
        call = await host.enqueue("player", b"wc")
        record = await ended(host, call)
        assert (record.state, record.result, record.attempts) == ("dead", "trapped", 5)
        play.script = {}
        await host.redrive(call)
        record = await in_state(host, call, "succeeded")
        assert await answer(host, record) == b"\1\1"
        assert len(play.effects) == 1


@on_loop
async def test_an_answer_of_the_function_ends_its_journal() -> None:
    """With its status, and what came of it is one record."""
    play = Play(script={1: [404]})
    async with playing(play) as host:
        outcome = await host.invoke("player", b"wc")
        assert (outcome.status, outcome.body) == (404, b"\1\1")
        assert (await host.invocation(outcome.invocation_id)).state == "succeeded"


@on_loop
async def test_the_function_decides_what_is_tried_again() -> None:
    """Whatever the status and the retry policy: `terminal` never, `temporary` as often as the policy allows."""
    stage = Stage(script={b"no": [(503, "terminal")], b"later": [(200, "temporary"), (404, "Temporary"), (200, "")]})
    async with AsyncHost(interfaces=[stage]) as host:
        await host.deploy("judge", wat(JUDGE), retry=QUICK, durable=True)
        refused = await ended(host, await host.enqueue("judge", b"no"))
        assert (refused.state, refused.result, refused.status, refused.attempts) == ("failed", "failed", 503, 1)
        assert await answer(host, refused) == b"no"
        done = await ended(host, await host.enqueue("judge", b"later"))
        assert (done.state, done.status, done.attempts) == ("succeeded", 200, 3)


@on_loop
async def test_lines_of_the_log_are_written_once(tmp_path: Path) -> None:
    """A replay is silent until it has come to where the last run was."""
    play = Play()
    async with playing(play, tmp_path) as host:
        call = await host.enqueue("player", b"lwlfl")
        await in_state(host, call, "suspended")
        await play.complete(call, 3, 1)
        await ended(host, call)
        entries = host.logs.tail("default/player", 100)
        assert [entry.record.text for entry in entries if entry.record.source == "guest"] == [
            "line 0",
            "line 2",
            "line 4",
        ]


@on_loop
async def test_deadline_and_fuel_begin_again_where_it_goes_on() -> None:
    """What a replay uses up was bounded when it was recorded."""
    play = Play()
    async with playing(play) as host:
        outcome = await host.invoke("player", b"s")
        assert outcome.fuel_used is not None
        await host.deploy(
            "player",
            player(),
            durable={"grace_ms": 0},
            limits={"fuel": outcome.fuel_used + 10_000},
            retry={"attempts": 1},
        )
        call = await host.enqueue("player", b"sfsfs")
        for at in (1, 3):
            await in_state(host, call, "suspended")
            await play.complete(call, at, 7)
            await play.until(lambda at=at: play.asked.count(f"f{at}") == 2)
        record = await ended(host, call)
        assert (record.state, await answer(host, record)) == ("succeeded", b"\1\7\1\7\1")
        assert (await host.invoke("player", b"ss")).result == "fuel"


@on_loop
async def test_a_journal_that_is_too_long_puts_its_call_away() -> None:
    """With the reason; nothing that it did is lost."""
    play = Play()
    async with playing(play, durable={"journal_bytes": 64 * 1024}) as host:
        record = await ended(host, await host.enqueue("player", b"w" + b"r" * 20_000))
        assert (record.state, record.result) == ("dead", "journal")
        assert "65536 are the most" in record.reason
        assert len(play.effects) == 1


@on_loop
async def test_a_call_that_the_host_dies_of_is_put_away(tmp_path: Path) -> None:
    """After ten times without coming any further; what comes further begins to count anew."""
    play = Play(holding=True)
    call = ""
    for number in range(10):
        host = await AsyncHost(tmp_path, interfaces=[play]).__aenter__()
        play.plays_on(host)
        if not call:
            await host.deploy("player", player(), durable=True)
            call = await host.enqueue("player", b"w")
        await play.until(lambda number=number: len(play.effects) > number)
        await crash(host)
    async with playing(play, tmp_path, deploys=False) as host:
        record = await ended(host, call)
        assert (record.state, record.result) == ("dead", "lost")
        assert "without coming any further" in record.reason


@on_loop
async def test_a_spawn_function_can_be_durable() -> None:
    """Then starting it queues a durable call."""
    async with AsyncHost() as host:
        await host.deploy("spawn-outcome", guest("spawn-outcome"), durable=True)
        record = await ended(host, await host.spawn("spawn-outcome", b'{"word": "ok"}'))
        assert (record.mode, record.version, record.journal_entries) == ("durable", 1, 0)


@on_loop
async def test_a_command_can_be_durable() -> None:
    """Its clock, its random numbers and its output are those of one run."""
    async with AsyncHost() as host:
        await host.deploy("sha512sum", guest("sha512sum", "wasip1"), durable=True)
        outcome = await host.invoke("sha512sum", b"hello")
        assert outcome.status == 200
        assert outcome.body.startswith(b"9b71d224bd62f3785d96d46ad3ea3d73")
        assert (await host.invocation(outcome.invocation_id)).mode == "durable"


@on_loop
async def test_every_way_of_calling_makes_a_durable_call(tmp_path: Path) -> None:
    """Queued, and with a key for which one runs at a time."""
    play = Play()
    async with playing(play) as host:
        call = await host.enqueue("player", b"r", key="k")
        request = await host.request(call) if (await host.invocation(call)).ended_ms is None else None
        assert request is None or (request.durable, request.exclusive) == (True, True)
        assert (await ended(host, call)).mode == "durable"


@on_loop
async def test_calls_with_one_key_run_one_at_a_time_also_while_one_waits() -> None:
    """In their order; other keys have their own turn."""
    play = Play()
    async with playing(play) as host:
        first = await host.enqueue("player", b"fw", key="a")
        await in_state(host, first, "suspended")
        second = await host.enqueue("player", b"rrw", key="a")
        other = await host.enqueue("player", b"rw", key="b")
        await ended(host, other)
        assert (await host.invocation(second)).state == "queued"
        await play.complete(first, 0, 1)
        await ended(host, second)
        assert [call for call, _ in play.effects] == [other, first, second]


@pytest.mark.parametrize("name", ["sse-proxy", "ticker"])
@on_loop
async def test_what_answers_piece_by_piece_cannot_be_durable(name: str) -> None:
    """The reason is said at deploy, and nothing is stored."""
    async with AsyncHost() as host:
        with pytest.raises((BadRequest, InvalidModule), match="durable"):
            await host.deploy(name, guest(name), durable=True)
        assert host.registry.get("default", name) is None


@on_loop
async def test_what_uses_the_cache_in_memory_cannot_be_durable(tmp_path: Path) -> None:
    """The cache has to survive what the function survives."""
    async with AsyncHost() as host:
        with pytest.raises((BadRequest, InvalidModule), match="cache"):
            await host.deploy("cache-conditions", guest("cache-conditions"), durable=True)


@on_loop
async def test_a_library_cannot_be_durable() -> None:
    """Nobody can queue its calls."""
    async with AsyncHost() as host:
        with pytest.raises(BadRequest, match="durable"):
            await host.deploy("library", wat(LIBRARY), durable=True)


@on_loop
async def test_a_call_that_waited_for_another_version_runs_on_that() -> None:
    """Also where that is not durable (any more), or is now."""
    play = Play()
    async with playing(play) as host:
        call = await host.enqueue("player", b"rw", delay_ms=3_600_000)
        await host.deploy("player", player())
        later = await host.enqueue("player", b"rw", delay_ms=3_600_000)
        await host.deploy("player", player(), durable=True)
        assert (await host.request(call)).durable
        assert not (await host.request(later)).durable


@on_loop
async def test_a_caller_who_gives_up_ends_nothing() -> None:
    """The call goes on, and its answer is kept."""
    play = Play()
    async with playing(play) as host:
        caller = asyncio.create_task(host.invoke("player", b"rfw"))
        await play.until(lambda: "f1" in play.asked)
        (records, _) = await host.invocations("player")
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        await play.complete(records[0].id, 1, 9)
        record = await ended(host, records[0].id)
        assert (record.state, await answer(host, record)) == ("succeeded", b"\1\x09\1")


@on_loop
async def test_detached_work_belongs_to_a_durable_call(tmp_path: Path) -> None:
    """Its answer is there when all of it is done; a crash in the middle of it loses nothing, and does nothing twice."""
    with KeyedServer() as server:
        server.hold("send", "after")
        order = {"customer": "Ada", "item": "engine", "push": server.url("send")}
        host = await AsyncHost(tmp_path, outbound=OutboundConfig(POLICY)).__aenter__()
        await host.deploy("detached", guest("detached"), durable=True)
        call = await host.enqueue("detached", json.dumps(order).encode())
        await asyncio.to_thread(server.holds)
        await crash(host)
        async with AsyncHost(tmp_path, outbound=OutboundConfig(POLICY)) as host:
            record = await ended(host, call)
            assert (record.state, record.status, record.attempts, record.note) == ("succeeded", 202, 1, "")
            assert await answer(host, record) == b'{"accepted":"engine"}'
            assert record.detached_ns > 0
        assert server.done == {"send": 1}
        assert [asked.key for asked in server.asked] == [server.asked[0].key] * 2
        assert server.asked[0].key != ""


@on_loop
async def test_a_schedule_and_a_chained_call_make_durable_calls() -> None:
    """As every other way of calling does."""
    play, clock = Play(), MovedClock()
    clock.wall_offset_ms = 30_000 - clock.wall_ns() // 1_000_000 % 60_000  # in the middle of a minute
    async with AsyncHost(interfaces=[play], clock=clock, public_urls=["http://here.test"]) as host:
        play.plays_on(host)
        schedule = [{"cron": "* * * * *", "body": "wr"}]
        await host.deploy("player", player(), durable={"grace_ms": 0}, schedule=schedule)
        await host.deploy("echo", guest("echo"))
        await host.backlog.cron.turn()
        clock.wall_offset_ms += 60_000
        await host.backlog.cron.turn()
        await play.until(lambda: "r1" in play.asked)
        await host.enqueue("echo", b"rrr", callback="http://here.test/function/player")
        await play.until(lambda: "r2" in play.asked)
        records, _ = await host.invocations("player")
        assert {record.mode for record in records} == {"durable"}
        assert len(records) == 2


@pytest.mark.parametrize(
    ("said", "expected"),
    [(True, 1_000), ({}, 1_000), ({"grace_ms": 5}, 5), (False, None), (None, None)],
)
@on_loop
async def test_a_deploy_says_whether_a_function_is_durable_and_on_which_terms(said: Any, expected: int | None) -> None:
    """What is not said is as usual."""
    async with AsyncHost() as host:
        deployed = await host.deploy("echo", guest("echo"), durable=said)
        policy = deployed.manifest.durable
        assert (None if policy is None else policy.grace_ms) == expected


@pytest.mark.parametrize(
    "said", ["yes", 1, {"grace": 5}, {"grace_ms": -1}, {"grace_ms": True}, {"ambiguous": {"a.test": "perhaps"}}]
)
@on_loop
async def test_other_terms_are_refused(said: Any) -> None:
    """With what was expected."""
    async with AsyncHost() as host:
        with pytest.raises(BadRequest, match="durable"):
            await host.deploy("echo", guest("echo"), durable=said)


@pytest.mark.parametrize(
    "host",
    ["API.example.com", "https://api.example.com", "api.example.com:443", "*.example.com", "api.example.com.", "ü.de"],
)
@on_loop
async def test_a_host_that_no_request_could_be_to_is_refused(host: str) -> None:
    """It would be thought of as a promise that its requests are not repeated, and be none."""
    async with AsyncHost() as at:
        with pytest.raises(BadRequest, match="ambiguous"):
            await at.deploy("calls", guest("http-calls"), durable={"ambiguous": {host: "fail"}})


@pytest.mark.parametrize("host", ["api.example.com", "127.0.0.1", "::1", "localhost", "xn--tda.de"])
@on_loop
async def test_a_host_is_named_as_requests_name_it(host: str) -> None:
    """A name in small letters, or an address."""
    async with AsyncHost() as at:
        await at.deploy("calls", guest("http-calls"), durable={"ambiguous": {host: "fail"}})
