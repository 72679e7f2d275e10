"""`Invocations`: everything about a call is checked before it is taken, and nobody who waits for its end asks twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, cast

import pytest

from gateway_server import FakeDispatcher, FakeRunner
from guesthouse.dispatch.dispatcher import Dispatcher
from guesthouse.dispatch.idempotency import idempotency_of
from guesthouse.dispatch.invocations import HasEnded, Invocations, NotDead, Wanted
from guesthouse.dispatch.waiters import Waiters
from guesthouse.errors import BadRequest, BodyTooLarge, Draining, GuesthouseError, NotFound, Unavailable
from guesthouse.limits import LONGEST_MS, Limits
from guesthouse.queue.call import Output, Record
from guesthouse.queue.queue import AnotherRequest, UnknownInvocation
from guesthouse.queue.store import StoredQueue
from guesthouse.registry.deployment import Deployment, Manifest
from guesthouse.storage.database import Database


class World:
    """A facade over a real queue in memory, with nobody who runs what is queued."""

    def __init__(self) -> None:
        self.database = Database(None)
        self.queue = StoredQueue(self.database)
        self.dispatcher = FakeDispatcher()
        self.runner = FakeRunner()
        self.waiters = Waiters()
        self.asked: list[str] = []
        self.calls = Invocations(
            self.queue,
            cast("Dispatcher", self.dispatcher),
            self.runner,
            self.waiters,
            check_callback=self.check,
            most_body_bytes=8,
        )

    def check(self, deployment: Deployment, url: str, allows: object) -> str:
        self.asked.append(url)
        if "evil" in url:
            raise BadRequest("the callback is forbidden")
        return url.lower()

    async def accept(self, **wanted: Any) -> str:
        return (await self.calls.accept(function(), Wanted(**wanted))).id

    async def end(self, state: str) -> Record:
        """Runs the next call, to an end in this state, and tells of it."""
        (lease,) = await self.queue.lease(("default", "echo"), 1)
        call = lease.call
        record = Record(id=call.id, namespace="default", name="echo", mode="async", state=cast("Any", state))
        end = self.queue.bury if state == "dead" else self.queue.succeed
        await end(lease, record, Output(200, [], b"out"), None)
        self.waiters.ended(record)
        return record


class Direct:
    """A direct call that runs, as far as it is looked at."""

    root = "direct"
    mode = "web"
    depth = 0
    given_up = False
    deployment = Deployment("default", "echo", 1, "ab" * 32, "web", 8, 0)

    def __init__(self) -> None:
        self.id = self.root

    def give_up(self) -> None:
        self.given_up = True


Test = Callable[[World], Coroutine[None, None, None]]


def in_a_world(test: Test) -> Callable[[], None]:
    """Makes a test of a coroutine function."""

    @wraps(test)
    def run() -> None:
        async def inside() -> None:
            world = World()
            try:
                await test(world)
            finally:
                await world.queue.close()
                world.database.close()

        asyncio.run(inside())

    del run.__wrapped__  # type: ignore[attr-defined]  # pytest would look for a fixture called world
    return run


def function(kind: str = "web", **limits: int) -> Deployment:
    manifest = Manifest(limits=Limits().with_changes(limits))
    return Deployment("default", "echo", 1, "ab" * 32, kind, 8, 0, manifest)


@in_a_world
async def test_what_is_accepted_is_in_the_queue_and_its_runner_is_told(world: World) -> None:
    """With all that its function will see."""
    taken = await world.accept(
        path="a", query=[("x", "1")], headers=[("h", "v")], body=b"body", key="k", callback="URL"
    )
    call = await world.queue.request(taken)
    assert (call.path, call.query, call.body, call.key, call.callback) == ("a", [("x", "1")], b"body", "k", "url")
    assert dict(call.headers)["x-call-id"] == taken
    assert dict(call.headers)["x-start-time"].isdigit()
    assert (await world.calls.find(taken)).state == "queued"
    assert world.runner.woken == [(("default", "echo"), 0)]


@in_a_world
async def test_a_delayed_call_is_told_with_its_time(world: World) -> None:
    """Milliseconds from now."""
    taken = await world.accept(delay_ms=60_000)
    found = await world.calls.find(taken)
    assert found.queued_ms is not None
    assert found.due_ms == found.queued_ms + 60_000
    assert world.runner.woken == [(("default", "echo"), found.due_ms)]


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        ({"body": b"x" * 9}, BodyTooLarge),
        ({"delay_ms": LONGEST_MS + 1}, BadRequest),
        ({"delay_ms": -1}, BadRequest),
        ({"callback": "evil"}, BadRequest),
        ({"key": ""}, BadRequest),
        ({"key": "x" * 257}, BadRequest),
        ({"key": "a\nb"}, BadRequest),
        ({"call_id": "x" * 129}, BadRequest),
        ({"call_id": "a\r\nb"}, BadRequest),
        ({"idempotency_key": ""}, BadRequest),
        ({"idempotency_key": "x" * 256}, BadRequest),
    ],
)
def test_what_is_wrong_with_a_call_is_found_before_it_is_taken(
    wanted: dict[str, Any], error: type[GuesthouseError]
) -> None:
    """Nothing is stored, and nobody is woken."""

    @in_a_world
    async def check(world: World) -> None:
        with pytest.raises(error):
            await world.accept(**wanted)
        assert await world.calls.list() == ([], None)
        assert world.runner.woken == []

    check()


@in_a_world
async def test_what_cannot_run_is_not_taken(world: World) -> None:
    """A library, a body over the function's own bound, and a host that stops."""
    with pytest.raises(NotFound, match="library"):
        await world.calls.accept(function("library"), Wanted())
    for kind in ("web", "spawn", "command"):
        await world.calls.accept(function(kind), Wanted())
    with pytest.raises(BodyTooLarge, match="over 4 bytes"):
        await world.calls.accept(function(request_bytes=4), Wanted(body=b"12345"))
    world.dispatcher.draining = True
    with pytest.raises(Draining):
        await world.calls.accept(function(), Wanted())


@in_a_world
async def test_a_repeated_call_is_the_first_one_and_wakes_nobody(world: World) -> None:
    """Another request with its key is refused."""
    wanted = Wanted(body=b"x", idempotency_key="k", principal_id="me")
    first, second = [await world.calls.accept(function(), wanted) for _ in range(2)]
    assert (first.id, first.replayed, second.replayed) == (second.id, False, True)
    assert len(world.runner.woken) == 1
    with pytest.raises(AnotherRequest):
        await world.calls.accept(function(), wanted._replace(body=b"y"))


def test_no_two_requests_have_the_same_digests() -> None:
    """Nor do two keys of different functions or callers, however their words are put together."""
    base: dict[str, Any] = {
        "namespace": "a",
        "name": "b",
        "principal_id": "c",
        "method": "POST",
        "path": "p",
        "query": [("q", "1")],
        "body": b"x",
    }
    first = idempotency_of("k", **base)
    changes: list[dict[str, Any]] = [
        {"namespace": "ab", "name": ""},
        {"name": "bc", "principal_id": ""},
        {"principal_id": "d"},
    ]
    assert len({idempotency_of("k", **base | change).key for change in changes} | {first.key}) == 4
    changes = [
        {"method": "PUT"},
        {"path": "pq"},
        {"query": [("q1", "")]},
        {"query": []},
        {"body": b"y"},
        {"path": None},
    ]
    assert len({idempotency_of("k", **base | change).request for change in changes} | {first.request}) == 7
    assert idempotency_of("k", **base | {"body": b"y"}).key == first.key
    shown = [idempotency_of("k", **base, headers=[(name, "me")]) for name in ("authorization", "cookie", "accept")]
    assert len({each.key for each in shown} | {first.key}) == 3
    assert {each.request for each in shown} == {first.request}


@in_a_world
async def test_whoever_attaches_is_told_of_the_end(world: World) -> None:
    """Before it, and after it, at once."""
    taken = await world.accept()
    waiting = asyncio.create_task(world.calls.attach(taken, 30))
    while taken not in world.waiters:
        await asyncio.sleep(0)
    await world.end("succeeded")
    assert (await waiting).state == "succeeded"
    assert (await world.calls.attach(taken, 30)).state == "succeeded"
    assert await world.calls.output(taken) == Output(200, [], b"out")


@in_a_world
async def test_waiting_has_an_end(world: World) -> None:
    """Then the invocation is as it is."""
    taken = await world.accept(delay_ms=60_000)
    assert (await world.calls.attach(taken, 0)).state == "queued"
    with pytest.raises(UnknownInvocation):
        await world.calls.attach("nothing", 30)
    assert world.waiters.count == 0


@in_a_world
async def test_a_queued_call_is_cancelled_and_whoever_waits_is_told(world: World) -> None:
    """Once; then there is nothing to cancel."""
    taken = await world.accept(delay_ms=60_000)
    waiting = asyncio.create_task(world.calls.attach(taken, 30))
    while taken not in world.waiters:
        await asyncio.sleep(0)
    await world.calls.cancel(taken)
    assert (await waiting).state == "cancelled"
    with pytest.raises(HasEnded):
        await world.calls.cancel(taken)
    with pytest.raises(UnknownInvocation):
        await world.calls.cancel("nothing")


@in_a_world
async def test_a_call_that_is_just_beginning_is_told_to_be_tried_again(world: World) -> None:
    """It was taken out of the queue, and nobody runs it yet."""
    taken = await world.accept()
    await world.queue.lease(("default", "echo"), 1)
    with pytest.raises(Unavailable, match="try again"):
        await world.calls.cancel(taken)


@in_a_world
async def test_a_direct_call_that_runs_is_found_and_can_be_given_up(world: World) -> None:
    """Although no queue knows it."""
    running = Direct()
    world.dispatcher.waiting = frozenset({running})
    assert (await world.calls.find("direct")).state == "running"
    await world.calls.cancel("direct")
    assert running.given_up


@in_a_world
async def test_whoever_attaches_to_a_direct_call_while_it_ends_is_told_of_it(world: World) -> None:
    """It ended while the queue was asked for it, and is written down nowhere."""
    running, find = Direct(), world.queue.find
    world.dispatcher.waiting = frozenset({running})
    ended = Record(id="direct", namespace="default", name="echo", mode="web", state="succeeded")

    async def late(id: str) -> Record:
        world.dispatcher.waiting = frozenset()
        world.waiters.ended(ended)
        return await find(id)

    world.queue.find = late  # type: ignore[method-assign]
    assert await world.calls.attach("direct", 30) == ended


@in_a_world
async def test_only_a_dead_letter_is_redriven_or_dropped(world: World) -> None:
    """Redriving tells the runner."""
    taken = await world.accept()
    for change in (world.calls.redrive, world.calls.drop):
        with pytest.raises(NotDead, match="queued"):
            await change(taken)
    await world.end("dead")
    world.runner.woken.clear()
    await world.calls.redrive(taken)
    assert (await world.calls.find(taken)).state == "queued"
    assert world.runner.woken == [(("default", "echo"), 0)]
    await world.end("dead")
    await world.calls.drop(taken)
    with pytest.raises(UnknownInvocation):
        await world.calls.request(taken)
