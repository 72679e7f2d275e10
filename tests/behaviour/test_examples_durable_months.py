"""The durable examples in simulated time, in which a month is nothing: reminders, and approvals that nobody gives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from guesthouse.testing import Answer, Request, SimulatedHost, answer
from support import guest

PUSH = "https://push.example.com/send"
MONTH = timedelta(days=30)


@pytest.fixture
def host() -> Iterator[SimulatedHost]:
    with SimulatedHost() as host:
        yield host


def begin(host: SimulatedHost, name: str, body: Any) -> str:
    """Deploys an example, and begins a call of it."""
    host.deploy(name, guest(name), durable=True)
    return host.enqueue(name, json.dumps(body).encode())


def remind(host: SimulatedHost, times: int) -> tuple[str, list[datetime]]:
    """Begins reminders of each month: the call, and when they came."""
    came: list[datetime] = []

    def push(request: Request) -> Answer:
        assert request.body == b"water the plants"
        came.append(host.now)
        return answer(204)

    host.http.on("POST", PUSH).call(push)
    order = {"text": "water the plants", "to": PUSH, "every_s": MONTH // timedelta(seconds=1), "times": times}
    return begin(host, "reminder", order), came


def monthly(began: datetime, came: list[datetime]) -> None:
    """One a month, to the second."""
    for number, time in enumerate(came, 1):
        assert timedelta() <= time - began - number * MONTH < timedelta(seconds=number)


def test_a_reminder_comes_each_month_of_a_year(host: SimulatedHost) -> None:
    """Not before its time, and once."""
    began = host.now
    call, came = remind(host, 12)
    host.advance(MONTH - timedelta(seconds=1))
    assert came == []
    assert host.run_to_end(call).json() == {"sent": 12}
    assert len(came) == 12
    monthly(began, came)


def test_a_reminder_does_not_mind_that_the_host_is_killed_each_month(host: SimulatedHost) -> None:
    """A sleep is a time and not a duration: what the host was down for does not come on top."""
    began = host.now
    call, came = remind(host, 4)
    for _ in range(4):
        host.advance(days=20)
        host.crash(down=timedelta(days=5))
    assert host.run_to_end(call).json() == {"sent": 4}
    assert len(came) == 4
    monthly(began, came)


def test_a_reminder_that_cannot_be_sent_now_is_sent_later(host: SimulatedHost) -> None:
    """Its step is tried again until it succeeds; what was sent before is not sent again."""
    route = host.http.on("POST", PUSH).answer(204).answer(503, times=3).reset().answer(204)
    order = {"text": "t", "to": PUSH, "every_s": 60, "times": 2}
    assert host.run_to_end(begin(host, "reminder", order)).json() == {"sent": 2}
    assert len(route.requests) == 6


def test_an_approval_that_nobody_gives_is_none_after_a_week(host: SimulatedHost) -> None:
    """However often the host is started in that week."""
    call = begin(host, "approval", {"what": "a new engine"})
    for _ in range(6):
        host.advance(days=1)
        host.crash()
    assert host.result(call).record.state == "suspended"
    host.advance(days=1, seconds=1)
    assert host.result(call).json() == {"rejected": {"reason": "nobody answered within a week"}}


def test_an_approval_on_the_last_day_is_one(host: SimulatedHost) -> None:
    """It is completed by the id that it named on the first."""
    call = begin(host, "approval", {"what": "a new engine"})
    (approval,) = host.awakeables()
    host.advance(days=6, hours=23)
    host.resolve(approval.id, b'{"by": "Ada"}')
    assert host.run_to_end(call).json() == {"approved": {"by": "Ada"}}


def test_whoever_is_asked_is_asked_until_the_question_arrives(host: SimulatedHost) -> None:
    """The step that asks is tried again; what it asks with is the same."""
    route = host.http.on("POST", "https://chat.example.com/").answer(500).reset().answer(200)
    call = begin(host, "approval", {"what": "tea", "tell": "https://chat.example.com/"})
    host.advance(minutes=30)
    ids = {json.loads(request.body)["awakeable"] for request in route.requests}
    assert (len(route.requests), len(ids)) == (3, 1)
    host.resolve(ids.pop(), b'{"by": "Ada"}')
    assert host.run_to_end(call).json() == {"approved": {"by": "Ada"}}
