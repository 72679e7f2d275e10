"""Queued calls: run with what was asked, tried again as the deployment says, and ended exactly once."""

from __future__ import annotations

import json
from email.utils import formatdate

import pytest

from guesthouse.queue.config import QueueConfig
from guesthouse.queue.queue import UnknownInvocation
from probes import RUNNING, Gate
from stage import Scene, perform
from support import guest, wat

HOUR_MS = 3_600_000
WAITS = {"min_wait_ms": 60_000, "max_wait_ms": 60_000}


# -- what runs


def test_a_call_runs_with_all_that_was_asked_and_its_answer_is_kept():
    """Method, path, query, headers, token id and body reach the function; status, headers and body stay readable."""

    async def work(scene: Scene) -> None:
        await scene.host.deploy("headers", guest("headers"))
        call = await scene.enqueue(
            b"ignored", "headers", method="PUT", path="a/b", query=[("q", "1")], headers=[("x-a", "b")], token_id="t"
        )
        record = await scene.ended(call)
        output = await scene.host.queue.output(call)
        assert (record.state, record.result, record.status, record.attempts, record.mode) == (
            "succeeded",
            "ok",
            200,
            1,
            "async",
        )
        assert min(record.fuel, record.peak_memory, record.duration_ns) > 0
        assert record.queued_ms <= record.started_ms <= record.answered_ms <= record.ended_ms
        assert record.host_calls["web"] > 3
        assert ("content-type", "application/json; charset=utf-8") in [tuple(pair) for pair in output.headers]
        for part in (b'"method":"PUT"', b'"path":"a/b"', b'"x-a":"b"', b'"invocation":"' + call.encode()):
            assert part in output.body

    perform(work)


@pytest.mark.parametrize("form", ["wasip2", "wasip1"])
def test_a_streamed_answer_is_collected(form):
    """Nobody reads along: what the function sends in pieces is its answer."""

    async def work(scene: Scene) -> None:
        await scene.host.deploy("ticker", guest("ticker", form))
        record = await scene.ended(
            call := await scene.enqueue(b"", "ticker", query=[("events", "3"), ("every_ms", "1")])
        )
        output = await scene.host.queue.output(call)
        assert (record.state, record.status) == ("succeeded", 200)
        assert output.body.count(b"data: tick") == 3

    perform(work)


def test_a_spawn_function_can_be_queued():
    """Its payload is the body; what it says of its end is the end of the call, and its note stays."""

    async def work(scene: Scene) -> None:
        await scene.host.deploy("spawned", guest("spawn-outcome"), retry={"attempts": 1})
        good = await scene.ended(await scene.enqueue(b'{"ok-note":"12 rows"}', "spawned"))
        assert (good.state, good.result, good.note) == ("succeeded", "ok", "12 rows")
        bad = await scene.ended(await scene.enqueue(b'{"failed-note":"disk full"}', "spawned"))
        assert (bad.state, bad.result, bad.note) == ("dead", "failed", "disk full")
        dropped = await scene.ended(await scene.enqueue(b"no json", "spawned"))
        assert (dropped.state, dropped.result) == ("dead", "dropped")
        assert await scene.host.queue.output(good.id) is None

    perform(work)


@pytest.mark.parametrize("form", ["wasip2", "wasip1"])
def test_a_command_can_be_queued(form):
    """Its standard output is the answer that is kept."""

    async def work(scene: Scene) -> None:
        await scene.host.deploy("cat", guest("cat", form))
        call = await scene.enqueue(b"what it was given", "cat")
        assert (await scene.ended(call)).state == "succeeded"
        assert (await scene.host.queue.output(call)).body == b"what it was given"

    perform(work)


def test_a_call_ends_with_its_detached_work():
    """Its time is told apart from that of the answer, and the call is running until then."""

    async def work(scene: Scene) -> None:
        await scene.host.deploy("worker", guest("detached-calls"))
        steps = json.dumps([{"queue": ["rest", [{"sleep": 50}]]}, {"status": 201}])
        record = await scene.ended(await scene.enqueue(b"", "worker", query=[("do", steps)]))
        assert (record.state, record.status) == ("succeeded", 201)
        assert record.detached_ns >= 50_000_000
        assert record.ended_ms >= record.answered_ms + 50

    perform(work)


def test_a_call_starts_by_itself_once_it_is_queued_and_not_before_its_time():
    """A delayed call waits for the wall's clock, however that is moved (F9); a call behind it does not wait for it."""

    async def work(scene: Scene) -> None:
        await scene.deploy()
        due_ms = scene.now_ms() + HOUR_MS
        late = await scene.enqueue(b"late", due_ms=due_ms)
        await scene.ended(await scene.enqueue(b"now"))
        scene.clock.wall_offset_ms -= 2 * HOUR_MS
        scene.host.consumer.nudge()
        await scene.ended(await scene.enqueue(b"now too"))
        scene.clock.wall_offset_ms += 2 * HOUR_MS
        scene.advance(HOUR_MS - 60_000)
        await scene.ended(await scene.enqueue(b"still"))
        assert scene.stage.ran == [b"now", b"now too", b"still"]
        scene.advance(60_001)
        assert (await scene.ended(late)).state == "succeeded"

    perform(work)


# -- tried again


def test_a_failure_is_tried_again_until_it_succeeds():
    """Statuses and traps that the policy names; each run is counted, the record is that of the last."""

    async def work(scene: Scene) -> None:
        await scene.deploy(retry={"attempts": 4, **WAITS})
        scene.stage.script[b"x"] = [(500, ""), (0, ""), (503, ""), (201, "")]
        call = await scene.enqueue(b"x")
        for attempts in (1, 2, 3):
            await scene.retried(call, attempts)
            scene.advance(60_001)
        record = await scene.ended(call)
        assert (record.state, record.status, record.attempts, scene.stage.ran) == ("succeeded", 201, 4, [b"x"] * 4)
        assert scene.metric("guesthouse_queue_attempts_total", outcome="retried") == 3
        assert scene.metric("guesthouse_queue_attempts_total", outcome="succeeded") == 1

    perform(work)


@pytest.mark.parametrize(("status", "runs"), [(400, 1), (404, 1), (501, 1), (204, 1), (408, 2), (504, 2)])
def test_an_answer_that_the_policy_does_not_name_is_the_answer(status, runs):
    """A mistake of the caller's is not tried again, and is no dead letter: the function has answered."""

    async def work(scene: Scene) -> None:
        await scene.deploy(retry={"attempts": 2, **WAITS})
        scene.stage.script[b"x"] = [(status, "")]
        call = await scene.enqueue(b"x")
        if runs == 2:
            await scene.retried(call, 1)
            scene.advance(60_001)
        record = await scene.ended(call)
        assert (record.state, record.status, record.attempts) == ("dead" if runs == 2 else "succeeded", status, runs)

    perform(work)


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_retry_after_is_waited_for(form):
    """Seconds or a date: no run before; and what it asks for beyond the policy's longest wait is cut down."""

    async def work(scene: Scene) -> None:
        await scene.deploy(retry={"min_wait_ms": 1, "max_wait_ms": 50_000}, flow={"adaptive": False})
        asked_ms = scene.now_ms() // 1_000 * 1_000 + 41_000
        asked = "40" if form == "seconds" else formatdate(asked_ms / 1_000, usegmt=True)
        scene.stage.script[b"x"] = [(503, asked), (503, "86400"), (200, "")]
        call = await scene.enqueue(b"x")
        record = await scene.retried(call, 1)
        assert record.due_ms >= (record.started_ms + 40_000 if form == "seconds" else asked_ms)
        assert record.due_ms <= scene.now_ms() + 42_000
        scene.advance(45_000)
        record = await scene.retried(call, 2)
        assert record.started_ms + 50_000 <= record.due_ms <= scene.now_ms() + 50_000
        scene.advance(55_000)
        assert (await scene.ended(call)).state == "succeeded"

    perform(work)


def test_a_call_that_may_not_be_tried_again_is_a_dead_letter_with_its_request():
    """The reason is the host's word; its request can be read and driven once more, with all its runs."""

    async def work(scene: Scene) -> None:
        await scene.deploy(retry={"attempts": 2, **WAITS})
        scene.stage.script[b"x"] = [(0, ""), (0, ""), (200, "")]
        call = await scene.enqueue(b"x", path="p")
        await scene.retried(call, 1)
        scene.advance(60_001)
        record = await scene.ended(call)
        assert (record.state, record.result, record.attempts) == ("dead", "trapped", 2)
        assert (
            record.reason
            == "The function ended without an answer; its log says why; it ran 2 times, as often as it may"
        )
        request = await scene.host.queue.request(call)
        assert (request.body, request.path) == (b"x", "p")
        await scene.host.queue.redrive(call)
        scene.host.consumer.wake(("default", "actor"))
        record = await scene.when(call, lambda record: record.state == "succeeded")
        assert record.attempts == 3
        with pytest.raises(UnknownInvocation):
            await scene.host.queue.redrive(call)

    perform(work)


def test_a_call_can_say_how_often_it_runs():
    """`attempts` of the call goes before the deployment's."""

    async def work(scene: Scene) -> None:
        await scene.deploy(retry={"attempts": 5, **WAITS})
        scene.stage.script[b"x"] = [(500, "")]
        record = await scene.ended(await scene.enqueue(b"x", attempts=1))
        assert (record.state, record.attempts) == ("dead", 1)
        assert record.reason == "the function answered 500; it ran once, as often as it may"

    perform(work)


def test_a_call_that_is_too_old_is_not_tried_again():
    """The policy's longest age counts from its acceptance."""

    async def work(scene: Scene) -> None:
        await scene.deploy(retry={"attempts": 9, "max_age_ms": HOUR_MS, **WAITS})
        scene.stage.script[b"x"] = [(500, "")]
        call = await scene.enqueue(b"x")
        await scene.retried(call, 1)
        scene.advance(2 * HOUR_MS)
        record = await scene.ended(call)
        assert (record.state, record.attempts) == ("dead", 2)
        assert "longest age" in record.reason

    perform(work)


def test_what_a_policy_does_not_try_again_is_dead_at_once():
    """Out of fuel by default, and whatever a deployment takes out of its list."""

    async def work(scene: Scene) -> None:
        await scene.deploy(retry={"results": ["deadline"], "statuses": []})
        scene.stage.script[b"trap"] = [(0, "")]
        record = await scene.ended(await scene.enqueue(b"trap"))
        assert (record.state, record.attempts) == ("dead", 1)
        scene.stage.script[b"500"] = [(500, "")]
        assert (await scene.ended(await scene.enqueue(b"500"))).state == "succeeded"

    perform(work)


def test_an_answer_that_is_too_long_to_be_kept_is_dead_and_says_so():
    """It is not thrown away in silence, and not made again and again either."""

    async def work(scene: Scene) -> None:
        await scene.deploy()
        record = await scene.ended(await scene.enqueue(bytes(1_001)))
        assert (record.state, record.reason) == ("dead", "the answer is over 1000 bytes: it cannot be kept")
        assert (await scene.ended(await scene.enqueue(bytes(1_000)))).state == "succeeded"

    perform(work, queue=QueueConfig(output_bytes=1_000))


def test_a_failure_of_the_host_itself_is_tried_again(monkeypatch):
    """It has no room for files, say: that passes, and the call is not given up for it."""

    async def work(scene: Scene) -> None:
        await scene.deploy(retry=WAITS)
        begin = scene.host.dispatcher.queued_now

        def fail(*_):
            monkeypatch.setattr(scene.host.dispatcher, "queued_now", begin)
            raise OSError("too many open files")

        monkeypatch.setattr(scene.host.dispatcher, "queued_now", fail)
        call = await scene.enqueue(b"x")
        record = await scene.retried(call, 1)
        assert (record.result, record.reason) == ("failed", "The host failed; its log says why.")
        scene.advance(60_001)
        assert (await scene.ended(call)).state == "succeeded"

    perform(work)


def test_a_body_that_the_function_does_not_take_any_more_is_dead_at_once():
    """The caller's mistake, or a new version's smaller bound: it stays wrong."""

    async def work(scene: Scene) -> None:
        await scene.deploy(limits={"request_bytes": 3})
        record = await scene.ended(await scene.enqueue(b"four"))
        assert (record.state, record.attempts, record.reason) == ("dead", 1, "the body is over 3 bytes")

    perform(work)


# -- the function changes


def test_each_attempt_runs_on_the_current_version():
    """A fix that is deployed between two attempts is what the second one runs."""

    async def work(scene: Scene) -> None:
        await scene.deploy(retry=WAITS)
        scene.stage.script[b"x"] = [(500, ""), (200, "")]
        call = await scene.enqueue(b"x")
        assert (await scene.retried(call, 1)).version == 1
        await scene.deploy(retry=WAITS)
        scene.advance(60_001)
        assert (await scene.ended(call)).version == 2

    perform(work)


def test_calls_of_a_deleted_function_are_dead_letters_and_can_be_driven_once_it_is_back():
    """What waits is buried with that reason; nothing of it is lost."""

    async def work(scene: Scene) -> None:
        await scene.deploy(flow={"max_inflight": 1})
        scene.stage.holding = True
        first = await scene.enqueue(b"first")
        await scene.stage.when(lambda: scene.stage.acting["actor"] == 1)
        second = await scene.enqueue(b"second")
        await scene.host.delete("actor")
        record = await scene.ended(second)
        assert (record.state, record.reason, record.version) == ("dead", "the function was deleted", 0)
        scene.stage.let_go(2)
        assert (await scene.ended(first)).state == "succeeded"
        await scene.deploy()
        await scene.host.queue.redrive(second)
        scene.host.consumer.wake(("default", "actor"))
        assert (await scene.when(second, lambda record: record.state == "succeeded")).reason == ""

    perform(work)


def test_a_function_that_became_a_library_has_its_calls_buried():
    """What cannot be called from the queue any more says so."""

    async def work(scene: Scene) -> None:
        await scene.host.deploy("actor", wat(RUNNING))
        record = await scene.ended(await scene.enqueue(b"x"))
        assert (record.state, record.reason) == ("dead", "it is a library function now: it cannot be queued")

    perform(work, interfaces=[Gate()])


def test_a_call_ends_also_where_its_result_cannot_be_sent_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong with the callback: the call is over, once, with its answer."""

    def fails(*_: object) -> None:
        raise RuntimeError("no callback can be made of this")

    async def work(scene: Scene) -> None:
        monkeypatch.setattr(scene.host.consumer._settler, "_further", fails)
        await scene.deploy()
        record = await scene.ended(await scene.enqueue(b"once", callback="http://127.0.0.1:1/"))
        assert (record.state, record.attempts, scene.stage.ran) == ("succeeded", 1, [b"once"])
        assert await scene.host.queue.next_callback_ms() is None

    perform(work)
