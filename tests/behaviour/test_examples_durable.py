"""The durable examples on a real server, which is killed while they wait: approval, first-answer, reminder, basket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gateway_server import Answer
from harness import until
from keyed_server import KeyedServer
from probing import Probes, probes, told
from queued import enqueue
from support import manifest

THREE = ("wasip2", "wasip1", "unknown-unknown")
NEVER = [{"sleep": 3_600_000}, {"wait": {"of": 0}}]


def begin(at: Probes, name: str, body: Any, **headers: str) -> str:
    """Queues a call of it."""
    named = {word.replace("_", "-"): value for word, value in headers.items()}
    return enqueue(at.host, name, json.dumps(body).encode(), named)


@pytest.fixture
def chat() -> Iterator[KeyedServer]:
    """What the examples tell."""
    with KeyedServer() as server:
        yield server


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Probes]:
    with probes(tmp_path_factory.mktemp("examples")) as found:
        for name in ("approval", "first-answer", "basket"):
            found.deploy(name, name)
        yield found


# -- approval


def asked(at: Probes, chat: KeyedServer, place: str = "chat") -> tuple[str, str]:
    """An approval that waits for its answer: its id, and that of the awakeable."""
    call = begin(at, "approval", {"what": "tea", "tell": chat.url(place)})
    return call, json.loads(told(chat, place))["awakeable"]


@pytest.mark.parametrize("form", THREE)
def test_an_approval_survives_a_kill_of_the_host_and_is_given_over_http(
    tmp_path: Path, chat: KeyedServer, form: str
) -> None:
    """Suspended, host killed, approved with a POST, done; whoever was asked was asked once."""
    with probes(tmp_path) as at:
        at.deploy("approval", "approval", form=form)
        call, awakeable = asked(at, chat)
        at.suspended(call)
    with probes(tmp_path) as at:
        assert at.record(call)["state"] == "suspended"
        assert at.resolve(awakeable, {"by": "Ada"}).status == 202
        assert at.answer(call).json == {"approved": {"by": "Ada"}}
    assert chat.done == {"chat": 1}


def test_a_rejection_reaches_the_function_with_its_reason(at: Probes, chat: KeyedServer) -> None:
    """It is no error of the function, which answers with it; and it is not tried again."""
    call, awakeable = asked(at, chat)
    assert at.reject(awakeable, "too expensive").status == 202
    assert at.answer(call).json == {"rejected": {"reason": "too expensive"}}
    assert at.record(call)["attempts"] == 1


@pytest.mark.parametrize("body", [b'{"from": "Ada"}', b"{", b"\xff", b""])
def test_a_completion_that_is_not_what_was_expected_is_a_failure_for_good(
    at: Probes, chat: KeyedServer, body: bytes
) -> None:
    """JSON of another kind, no JSON, no text, nothing: accepted, and final for the function."""
    call, awakeable = asked(at, chat)
    assert at.host.request("POST", f"/restate/awakeables/{awakeable}/resolve", body).status == 202
    reason = at.answer(call).json["rejected"]["reason"]
    assert reason.startswith("a payload is not what was expected: ")
    assert at.record(call)["attempts"] == 1


def test_the_first_completion_counts(at: Probes, chat: KeyedServer) -> None:
    """Further ones are accepted while the function waits on, and change nothing."""
    call, awakeable = asked(at, chat)
    assert at.resolve(awakeable, {"by": "Ada"}).status == 202
    assert at.answer(call).json == {"approved": {"by": "Ada"}}
    assert at.reject(awakeable, "no").status in (202, 404)
    assert at.answer(call).json == {"approved": {"by": "Ada"}}


def test_a_direct_caller_waits_for_the_person(at: Probes, chat: KeyedServer) -> None:
    """As long as the connection lives the answer comes on it."""
    with ThreadPoolExecutor() as pool:
        body = json.dumps({"what": "tea", "tell": chat.url("direct")}).encode()
        answer = pool.submit(at.host.call, "approval", body)
        awakeable = json.loads(told(chat, "direct"))["awakeable"]
        assert not answer.done()
        assert at.resolve(awakeable, {"by": "Bob"}).status == 202
        assert answer.result(30).json == {"approved": {"by": "Bob"}}


def test_without_an_address_the_question_is_in_the_log(at: Probes) -> None:
    """With the path that answers it."""
    call = begin(at, "approval", {"what": "a new engine"})
    at.suspended(call)

    def lines() -> list[str]:
        found = at.host.request("GET", "/functions/manage/default/approval/logs").body.splitlines()
        return [json.loads(line)["text"] for line in found]

    until(lambda: any("a new engine?" in line for line in lines()), "nothing was logged")
    (line,) = [line for line in lines() if "a new engine?" in line]
    assert at.resolve(line.rpartition("/")[2].strip(), {"by": "Ada"}).status == 202
    assert at.answer(call).json == {"approved": {"by": "Ada"}}


def test_what_waits_is_suspended_after_its_grace_also_where_a_time_will_come(at: Probes, chat: KeyedServer) -> None:
    """The clock is looked at each second meanwhile, which makes nobody stay."""
    at.deploy("patient", "approval", durable=True)
    call = begin(at, "patient", {"what": "tea", "tell": chat.url("patient")})
    awakeable = json.loads(told(chat, "patient"))["awakeable"]
    at.suspended(call)
    assert at.resolve(awakeable, {"by": "Ada"}).status == 202
    assert at.answer(call).json == {"approved": {"by": "Ada"}}


def test_an_approval_can_be_cancelled(at: Probes, chat: KeyedServer) -> None:
    """The function ends at its wait, and the awakeable is gone with it."""
    call, awakeable = asked(at, chat)
    at.suspended(call)
    assert at.post(f"/invocations/{call}/cancel").status == 202
    until(lambda: at.record(call)["state"] not in ("queued", "running", "suspended"), "it goes on")
    assert at.record(call)["state"] != "succeeded"
    assert at.resolve(awakeable, {"by": "Ada"}).status == 404


# -- first-answer


def answering(at: Probes, name: str, script: list[Any]) -> None:
    """Deploys a probe that always does the same."""
    at.deploy(name, environment={"SCRIPT": json.dumps(script)})


def runs(at: Probes, name: str) -> list[dict[str, Any]]:
    """What is known of the calls of a function."""
    found: list[dict[str, Any]] = at.host.request("GET", f"/invocations?function=default/{name}").json["invocations"]
    return found


def first(at: Probes, *names: str, within_ms: int = 30_000) -> Answer:
    """The first answer of several functions."""
    body = {"ask": names, "question": "which one?", "within_ms": within_ms}
    return at.answer(begin(at, "first-answer", body))


def test_the_first_to_succeed_wins_and_the_others_are_cancelled(at: Probes) -> None:
    """One that failed before is no answer, and one that has none yet ends."""
    answering(at, "broken", [{"fail": {"terminal": "it is broken"}}])
    answering(at, "slow", NEVER)
    answering(at, "fast", [{"sleep": 50}, {"wait": {"of": 0}}, {"answer": {"body": {"it": "is this one"}}}])
    assert first(at, "broken", "slow", "fast").json == {"by": "fast", "answer": {"it": "is this one"}}
    (slow,) = runs(at, "slow")
    until(lambda: at.record(slow["id"])["state"] not in ("queued", "running", "suspended"), "it goes on")


def test_where_all_fail_the_last_failure_is_the_answer(at: Probes) -> None:
    """With its text."""
    answering(at, "wrong", [{"fail": {"terminal": "it is wrong"}}])
    answer = first(at, "wrong", "wrong")
    assert (answer.status, answer.body) == (422, b"it is wrong")


def test_what_took_too_long_is_cancelled(at: Probes) -> None:
    """And whoever asked is told so."""
    answering(at, "late", NEVER)
    answer = first(at, "late", within_ms=20)
    assert (answer.status, answer.body) == (504, b"nobody answered in time")
    (late,) = runs(at, "late")
    until(lambda: at.record(late["id"])["state"] not in ("queued", "running", "suspended"), "it goes on")


# -- reminder


def test_a_reminder_goes_on_after_a_kill_and_sends_nothing_twice(tmp_path: Path, chat: KeyedServer) -> None:
    """Here it is a second and not a month."""
    reminder = {"text": "water the plants", "to": chat.url("push"), "every_s": 1, "times": 2}
    with probes(tmp_path) as at:
        at.deploy("reminder", "reminder")
        call = begin(at, "reminder", reminder)
        assert told(chat, "push") == "water the plants"
    with probes(tmp_path) as at:
        assert at.answer(call).json == {"sent": 2}
    assert chat.done == {"push": 2}
    assert len(chat.keys["push"]) == 2


# -- basket


def test_a_basket_is_kept_for_each_customer(at: Probes) -> None:
    """Calls of one customer find what those before them left; another one has another basket."""
    calls = [begin(at, "basket", {"add": "tea", "count": 1}, guesthouse_key="ada") for _ in range(5)]
    other = begin(at, "basket", {"add": "milk", "count": 1}, guesthouse_key="bob")
    assert [at.answer(call).json for call in calls] == [{"tea": count} for count in range(1, 6)]
    assert at.answer(other).json == {"milk": 1}


def test_a_failure_for_good_is_told_and_changes_nothing(at: Probes) -> None:
    """It has the status that the function gave it, and is not tried again."""
    begin(at, "basket", {"add": "tea", "count": 2}, guesthouse_key="eve")
    call = begin(at, "basket", {"remove": "milk"}, guesthouse_key="eve")
    answer = at.answer(call)
    assert (answer.status, answer.body) == (404, b"there is no milk")
    assert at.record(call)["attempts"] == 1
    assert at.answer(begin(at, "basket", "show", guesthouse_key="eve")).json == {"tea": 2}


def test_without_a_key_there_is_no_basket(at: Probes) -> None:
    """State is that of a key."""
    assert 400 <= at.answer(begin(at, "basket", "show")).status < 500


def test_a_basket_survives_a_kill(tmp_path: Path) -> None:
    """It is on disk when the answer leaves."""
    with probes(tmp_path) as at:
        at.deploy("basket", "basket")
        order = begin(at, "basket", {"add": "tea", "count": 2}, guesthouse_key="ada")
        assert at.answer(order).json == {"tea": 2}
    with probes(tmp_path) as at:
        assert at.answer(begin(at, "basket", "show", guesthouse_key="ada")).json == {"tea": 2}


def test_every_durable_example_exists_in_every_form() -> None:
    """They are there to be copied from."""
    names = ("approval", "basket", "charge", "find-customers", "first-answer", "reminder")
    assert all((name, form) in manifest() for name in names for form in THREE)
