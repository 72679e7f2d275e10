"""The library: calls for later, and what became of calls, without any server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from guesthouse import AsyncHost, Host
from guesthouse.dispatch.invocations import HasEnded, NotDead
from guesthouse.queue.queue import UnknownInvocation
from support import guest, host_with

DAY_MS = 86_400_000


def test_a_call_is_queued_attached_to_and_its_answer_read() -> None:
    """From a plain program."""
    with host_with("headers", slots=4) as host:
        queued = host.enqueue("headers", b"", path="a", query=[("x", "1")], headers=[("x-own", "1")], key="k")
        assert host.attach(queued, 30).state == "succeeded"
        output = host.output(queued)
        assert output is not None
        assert (output.status, b'"path":"a"' in output.body) == (200, True)
        assert [found.id for found in host.invocations("headers", state="succeeded")[0]] == [queued]


def test_a_queued_call_can_be_read_and_cancelled() -> None:
    """Once."""
    with host_with("echo", slots=4) as host:
        queued = host.enqueue("echo", b"body", delay_ms=DAY_MS)
        assert host.request(queued).body == b"body"
        assert host.output(queued) is None
        (queue,) = host.queues()
        assert (queue.function, queue.queued) == (("default", "echo"), 1)
        host.cancel(queued)
        assert host.invocation(queued).state == "cancelled"
        with pytest.raises(HasEnded):
            host.cancel(queued)
        assert host.queues() == []


def test_a_dead_letter_is_redriven_and_dropped() -> None:
    """With all its attempts; nothing else can be."""
    with Host(slots=4) as host:
        host.deploy("panic", guest("panic"), retry={"attempts": 1})
        queued = host.enqueue("panic", b'"no"')
        assert host.attach(queued, 30).state == "dead"
        host.redrive(queued)
        assert host.attach(queued, 30).attempts == 2
        host.drop(queued)
        for change in (host.redrive, host.drop):
            with pytest.raises(UnknownInvocation):
                change(queued)
        waiting = host.enqueue("panic", b'"no"', delay_ms=DAY_MS)
        with pytest.raises(NotDead):
            host.redrive(waiting)


def test_a_repeated_call_is_the_same_one() -> None:
    """By its idempotency key."""
    with host_with("dice", slots=4) as host:
        first, second = (host.enqueue("dice", idempotency_key="roll") for _ in range(2))
        assert first == second


def test_what_was_queued_is_there_after_a_restart(tmp_path: Path) -> None:
    """With a data directory; its time has not come meanwhile."""
    with Host(tmp_path, slots=4) as host:
        host.deploy("echo", guest("echo"))
        queued = host.enqueue("echo", b"x", delay_ms=DAY_MS)
        ended = host.enqueue("echo", b"kept")
        host.attach(ended, 30)
    with Host(tmp_path, slots=4) as host:
        assert host.invocation(queued).state == "queued"
        output = host.output(ended)
        assert output is not None
        assert output.body == b"kept"


def test_many_wait_for_one_end_on_one_loop() -> None:
    """And a host that closes lets go whoever still waits."""

    async def main() -> None:
        async with AsyncHost(slots=4) as host:
            await host.deploy("echo", guest("echo"))
            queued = await host.enqueue("echo", b"x")
            records = await asyncio.gather(*(host.attach(queued, 30) for _ in range(50)))
            assert {record.state for record in records} == {"succeeded"}
            delayed = await host.enqueue("echo", b"x", delay_ms=DAY_MS)
            waiting = asyncio.create_task(host.attach(delayed, 60))
            while host.dispatcher.waiters.count == 0:
                await asyncio.sleep(0)
        assert (await waiting).state == "queued"

    asyncio.run(main())


def test_no_id_of_an_invocation_tells_another() -> None:
    """They ascend, and each has a part of its own that nobody can guess: by its id alone a call may be looked at."""
    with Host() as host:
        ids = [host.inner.dispatcher.new_id() for _ in range(1_000)]
    assert ids == sorted(ids)
    assert len({each[-12:] for each in ids}) == 1_000
    assert len({len(each) for each in ids}) == 1
