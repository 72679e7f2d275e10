"""Detached work, in process: what goes on after the answer, in which order, and what becomes of it when something goes wrong.

The guest `detached-calls` does what `?do=` lists, and its tasks do what they list.  Where a test has to know that a task is
at work, the task waits for an origin that holds its request.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from detaching import CALLS, FORMS, afresh, counted, detaching, do, done, heard, held, idle, lines, order, over, queue
from guesthouse import AsyncHost
from guesthouse.errors import AdmissionFull, BadAnswer, Cancelled, DeadlineExceeded, Trap
from guesthouse.interfaces.invocation import WebRequest
from harness import until
from http_guests import upstream_of
from probes import on_loop, redeploy
from served import Origin
from upstream import Steps


@pytest.fixture(scope="module", params=FORMS)
def shared(request):
    with detaching(request.param, CALLS, "old-detached-calls", "echo") as host:
        yield host


@pytest.fixture
def host(shared):
    """A host on which nothing runs, and whose logs and counts begin at nothing."""
    return afresh(shared)


@pytest.fixture
def origin():
    with Origin() as origin:
        yield origin


# -- the answer, and then the work


def test_the_answer_is_there_while_its_detached_work_goes_on(host, origin):
    """However long the task takes: it is provably at work when the caller has its answer, and ends after that."""
    outcome = do(host, queue("send-push", held(origin)))
    assert (outcome.result, outcome.status, outcome.text) == ("ok", 200, "answered")
    origin.holds()
    assert outcome.detached.result == ""
    assert host.inner.dispatcher.detached == {outcome.detached}
    origin.release.set()
    assert over(host, outcome).result == "ok"
    assert counted(host) == {("send-push", "ok"): 1}


def test_tasks_run_one_by_one_in_order_and_may_start_more(host):
    """What a task queues comes behind all that wait."""
    with heard(host) as said:
        tasks = queue("a", {"say": "a"}, queue("c", {"say": "c"}, queue("d", {"say": "d"}))), queue("b", {"say": "b"})
        assert done(host, *tasks, {"say": "handler"}) == {"ok": 4}
    assert said == ["handler", "a", "b", "c", "d"]


def test_an_error_is_logged_and_counted_under_its_name_and_stops_no_other(host):
    """The one behind it runs, and the work as a whole went well."""
    outcome = do(host, queue("index", {"fail": "the disk\nis full"}), queue("send-push"), queue("index"))
    assert over(host, outcome).result == "ok"
    assert counted(host) == {("index", "failed"): 1, ("index", "ok"): 1, ("send-push", "ok"): 1}
    assert lines(host) == ["detached task index failed: the disk\\nis full"]


def test_the_work_shares_the_memory_of_the_call_and_what_it_was_given(host):
    """The request's body is the guest's until the last task ends."""
    with heard(host) as said:
        assert done(host, queue("later", "body"), body=b"kept") == {"ok": 1}
    assert said == ["kept"]


def test_the_time_before_and_after_the_answer_is_told_apart(host, origin):
    """Two figures in the outcome, two modes in the metrics, each with its own fuel."""
    host.inner.metrics._recorders.clear()
    redeploy(host, CALLS, "apart")
    outcome = do(host, queue("a", held(origin)), name="apart")
    before = outcome.duration_ns
    origin.holds()
    origin.release.set()
    detached = over(host, outcome)
    assert outcome.duration_ns == before
    assert detached.duration_ns > 0
    seen = {mode: host.inner.metrics.recorder("default/apart", mode) for mode in ("web", "detached")}
    assert {mode: found.outcomes for mode, found in seen.items()} == {"web": {"ok": 1}, "detached": {"ok": 1}}
    assert (seen["web"].duration, seen["detached"].duration) == (before, detached.duration_ns)
    assert (seen["web"].fuel, seen["detached"].fuel) == (outcome.fuel_used, detached.fuel_used)
    assert detached.fuel_used > 0


def test_a_function_that_queues_nothing_ends_with_its_answer(host):
    """It has the export, and pays nothing for it."""
    assert do(host, {"say": "x"}).detached is None
    assert host.invoke("echo", b"x").detached is None
    idle(host)


def test_the_place_in_the_pool_stays_taken_until_the_last_task_has_ended(origin):
    """Nobody else runs there meanwhile, and then somebody does."""
    with detaching("wasip2", CALLS, slots=1) as host:
        outcome = do(host, queue("a", held(origin)), queue("b", {"get": origin.url("/page")}))
        origin.holds()
        with pytest.raises(AdmissionFull):
            do(host)
        origin.release.set()
        over(host, outcome)
        assert do(host).status == 200


def test_the_older_generation_has_it_as_well(host):
    """The same crate beside `post!`."""
    with heard(host) as said:
        assert done(host, body=b"a\n-b\nc", name="old-detached-calls") == {"ok": 2, "failed": 1}
    assert said == ["a", "-b", "c"]


def test_a_function_that_begins_on_a_worker_has_it_as_well(host):
    """Its recent calls used up slices, so this one does not even begin on the loop."""
    host.inner.dispatcher._prepared[id(host.inner.deployment(CALLS))].pre.hot = True
    assert done(host, queue("a"), queue("b", {"say": "b"})) == {"ok": 2}


def test_what_is_done_after_the_answer_does_not_send_later_calls_to_a_worker():
    """They begin on the loop as before, and are answered in their first slice, if that is enough."""
    with detaching("wasip2") as other:
        done(other, *[queue(f"t{number}", {"say": "x"}) for number in range(40)])
        assert not other.inner.dispatcher._prepared[id(other.inner.deployment(CALLS))].pre.hot


def test_calls_of_many_threads_each_have_their_own(host):
    """No task sees another call's."""
    found: list[dict[str, int]] = []
    threads = [
        threading.Thread(target=lambda n=n: found.append(done(host, *[queue(f"t{i}") for i in range(n)])))
        for n in range(1, 9)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(counts["ok"] for counts in found) == list(range(1, 9))


@pytest.mark.parametrize("form", ["wasip2", "wasip1"])
def test_the_log_is_open_until_the_last_task_has_ended(form):
    """What a task prints is a record of its invocation, and nothing comes after the end."""
    with detaching(form, CALLS) as host:
        outcome = do(host, {"print": "before"}, queue("a", {"print": "after"}), queue("b", {"fail": "no"}))
        over(host, outcome)
        assert lines(host) == ["before", "after", "detached task b failed: no"]
        assert [record.text for record in outcome.logs] == lines(host)


def test_one_limit_of_the_log_covers_both(host):
    """Failing tasks cannot write more lines than the invocation may; that some are missing is said at the end."""
    redeploy(host, CALLS, "wordy", log_lines=3)
    assert done(host, *[queue(f"t{number}", {"fail": "no"}) for number in range(10)], name="wordy") == {"failed": 10}
    assert len(lines(host, "wordy")) == 4
    assert lines(host, "wordy")[-1].startswith("dropped 7 log records")


# -- whatever the answer is


@pytest.mark.parametrize("steps", [[{"status": 500}], [{"status": 404}], [{"fail": "an error of its own"}]])
def test_it_runs_after_an_error_was_answered(host, steps):
    """The function answered; what, is its own affair."""
    outcome = do(host, queue("a", {"say": "a"}), *steps)
    assert outcome.result == "ok"
    assert dict(over(host, outcome).tasks.counts) == {"ok": 1}


def test_it_runs_after_an_answer_that_the_host_refuses_to_send(host):
    """A status that is none: the caller is told 502, and the tasks run all the same."""
    outcome = do(host, queue("a"), {"status": 99})
    assert isinstance(outcome.error, BadAnswer)
    detached = over(host, outcome)
    assert (detached.result, dict(detached.tasks.counts)) == ("ok", {"ok": 1})


@pytest.mark.parametrize("kind", ["sse", "raw"])
def test_a_streamed_answer_is_complete_before_and_cannot_be_added_to(host, kind):
    """A task that streams gets an error, and the answer is as it was."""
    outcome = do(host, queue("late", {kind: "late"}), {kind: "in time"})
    assert outcome.body == (b"data: in time\n\n" if kind == "sse" else b"in time")
    assert dict(over(host, outcome).tasks.counts) == {"failed": 1}
    refusal = (
        "this invocation has nobody to stream a response to" if kind == "sse" else "the response was already started"
    )
    assert lines(host) == [f"detached task late failed: {refusal}"]


def test_a_body_that_still_arrives_is_passed_on_before_it_begins(host):
    """The answer has left when its last byte has."""
    steps = Steps(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"5\r\nfirst\r\n")
    with upstream_of(host, lambda request: steps()) as upstream, heard(host) as said:
        answers: list[Any] = []
        calling = threading.Thread(
            target=lambda: answers.append(do(host, queue("a", {"say": "a"}), {"pass": upstream.url()}))
        )
        calling.start()
        on_loop(host, upstream.arrived.wait())
        assert host.inner.dispatcher.detached == set()
        host._loop.call_soon_threadsafe(steps.end, b"4\r\nlast\r\n0\r\n\r\n")
        calling.join()
        assert answers[0].body == b"firstlast"
        assert dict(over(host, answers[0]).tasks.counts) == {"ok": 1}
    assert said == ["a"]


@pytest.mark.parametrize("how", ["says so", "is cancelled"])
def test_where_nobody_takes_the_answer_any_more_it_runs_nevertheless(host, how):
    """The function has done its part; that the body did not arrive is not its fault."""

    class Leaving:
        invocation_id = ""

        def __init__(self) -> None:
            self.begun = asyncio.Event()

        async def start(self, status: int, headers: Any) -> None:
            self.begun.set()
            if how == "says so":
                raise Cancelled("the client went away")

        async def send(self, data: bytes) -> None:
            pass

        async def left(self) -> None:
            pass

    async def call(inner: AsyncHost, url: str) -> None:
        sink = Leaving()
        request = WebRequest(query=order(queue("a", {"say": "a"}), {"pass": url}))
        calling = asyncio.ensure_future(inner.dispatcher.web(inner.deployment(CALLS), request, b"", sink))
        await sink.begun.wait()
        if how == "says so":
            assert (await calling).result == "cancelled"
        else:
            calling.cancel()
            await asyncio.wait((calling,))
        for detached in list(inner.dispatcher.detached):
            await detached.end()

    steps = Steps(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"5\r\nfirst\r\n")
    with upstream_of(host, lambda request: steps()) as upstream, heard(host) as said:
        on_loop(host, call(host.inner, upstream.url()))
    assert said == ["a"]
    assert counted(host) == {("a", "ok"): 1}


# -- what ends it


def test_a_trap_ends_the_rest_and_each_is_counted_as_lost(host):
    """The one that trapped is among them; what had ended before stays as it ended."""
    outcome = do(host, queue("a"), queue("b", queue("e"), "trap"), queue("c"), queue("d"))
    detached = over(host, outcome)
    assert (outcome.result, outcome.text) == ("ok", "answered")
    assert (detached.result, type(detached.error)) == ("trapped", Trap)
    assert counted(host) == {("a", "ok"): 1, **{(name, "lost"): 1 for name in "bcde"}}
    assert "detached tasks lost: b, c, d, e" in lines(host)
    assert host.invoke("echo", b"well?").body == b"well?"


@pytest.mark.parametrize("how", ["spin", "wait"])
def test_the_deadline_ends_the_rest(host, origin, how):
    """It is that of the whole invocation, whether a task computes or waits; the answer was in time."""
    redeploy(host, CALLS, "short", deadline_ms=1_000)
    outcome = do(host, queue("a", "spin" if how == "spin" else held(origin)), queue("b"), name="short")
    detached = over(host, outcome)
    assert outcome.result == "ok"
    assert (detached.result, type(detached.error)) == ("deadline", DeadlineExceeded)
    assert counted(host, "short") == {("a", "lost"): 1, ("b", "lost"): 1}


def test_the_fuel_is_one_for_both(host):
    """What the answer left is what the tasks may use."""
    redeploy(host, CALLS, "thirsty", fuel=20_000_000)
    detached = over(host, do(host, queue("a", "spin"), name="thirsty"))
    assert detached.result == "fuel"
    assert counted(host, "thirsty") == {("a", "lost"): 1}


def test_host_calls_are_counted_for_both(host):
    """The bound is on the invocation."""
    redeploy(host, CALLS, "modest", host_calls=30)
    detached = over(host, do(host, *[queue(f"t{number}") for number in range(20)], name="modest"))
    assert (detached.result, detached.error.reason) == ("trapped", "host-calls")
    assert detached.tasks.counts["ok"] > 0
    assert detached.tasks.counts["ok"] + detached.tasks.counts["lost"] == 20


@pytest.mark.parametrize("how", ["trap", "spin"])
def test_where_the_function_itself_does_not_answer_nothing_runs(host, how):
    """A trap or the deadline: what was queued is lost, and counted so."""
    redeploy(host, CALLS, "silent", deadline_ms=500)
    with heard(host) as said:
        outcome = do(host, queue("a", {"say": "a"}), how, name="silent")
        assert outcome.result == ("trapped" if how == "trap" else "deadline")
        assert outcome.detached is None
        idle(host)
    assert said == []
    assert counted(host, "silent") == {("a", "lost"): 1}
    assert "detached tasks lost: a" in lines(host, "silent")


def test_somebody_can_give_it_up(host, origin):
    """As any invocation: by its id, while it works on."""
    outcome = do(host, queue("a", held(origin)), queue("b"))
    origin.holds()

    async def give_up() -> None:
        (running,) = host.inner.dispatcher.waiting
        assert running.id == outcome.invocation_id
        running.give_up()

    on_loop(host, give_up())
    assert over(host, outcome).result == "cancelled"
    assert counted(host) == {("a", "lost"): 1, ("b", "lost"): 1}


def test_closing_the_host_waits_for_it(origin):
    """A task that is at work when the host is told to close ends as if nothing was."""
    with detaching("wasip2", CALLS) as host:
        outcome = do(host, queue("a", held(origin)), queue("b"))
        origin.holds()
        closing = threading.Thread(target=host.close, args=(60,))
        closing.start()
        until(lambda: host.inner.dispatcher.draining, "the host did not begin to close")
        assert outcome.detached.result == ""
        origin.release.set()
        closing.join()
    assert (outcome.detached.result, dict(outcome.detached.tasks.counts)) == ("ok", {"ok": 2})


def test_closing_the_host_waits_no_longer_than_it_was_told(origin):
    """What is cut off is lost, and counted under its name."""
    with detaching("wasip2", CALLS) as host:
        outcome = do(host, queue("a", held(origin)), queue("b"))
        origin.holds()
        host.close(0)
        assert outcome.detached.result == "cancelled"
        assert counted(host) == {("a", "lost"): 1, ("b", "lost"): 1}
        assert host.inner.dispatcher.pool.in_use == 0
