"""Logs and topics: where the words of a guest go, what the host says of it, and what a client never gets to read.

What each call of the logging interface does is in `test_log_calls.py`.
"""

from __future__ import annotations

import asyncio

import pytest

from guesthouse.interfaces.topic.broker import Message, Subscription
from guesthouse.telemetry import LogRecord
from probes import PATIENCE, on_loop, redeploy
from support import FORMS, guest, host_with

NAMES = ("logger", "publisher", "panic", "stdout-flood", "log-flood", "exiter")


@pytest.fixture(scope="module", params=FORMS)
def host(request):
    with host_with(*NAMES, form=request.param) as host:
        host.deploy("publisher", guest("publisher", request.param), namespace="other")
        yield host


@pytest.fixture
def listen(host):
    """Subscribes to a topic; afterwards reads what has arrived."""
    opened = []

    def subscribe(topic: str, namespace: str = "default") -> Subscription:
        opened.append(on_loop(host, _subscribe(host, namespace, topic)))
        return opened[-1]

    yield subscribe
    for subscription in opened:
        subscription.close()


async def _subscribe(host, namespace: str, topic: str) -> Subscription:
    return host.inner.topics.subscribe(namespace, topic)


async def _read(subscription: Subscription, count: int) -> list[Message]:
    async with asyncio.timeout(PATIENCE):
        return [await anext(subscription) for _ in range(count)]


def read(host, subscription: Subscription, count: int) -> list[Message]:
    """The next messages; fails if one more is there."""
    messages = on_loop(host, _read(subscription, count))
    assert not subscription.waiting
    return messages


def by_the_guest(outcome) -> list[LogRecord]:
    """The guest's own records of an outcome."""
    return [record for record in outcome.logs if record.source == "guest"]


# -- topics


def test_text_and_bytes_reach_a_subscriber_as_what_they_are(host, listen):
    """In the order of publishing, numbered."""
    subscription = listen("news")
    for body, headers in ((b"hello", [("content-type", "text/plain")]), (b"\xff\0", []), (b"hello", [])):
        assert host.invoke("publisher", body, path="news", headers=headers).status == 204
    messages = read(host, subscription, 3)
    assert [message.value for message in messages] == ["hello", b"\xff\0", b"hello"]
    assert sorted({message.sequence for message in messages}) == [message.sequence for message in messages]


def test_publishing_to_nobody_succeeds(host):
    """Nothing is kept for those who come later."""
    assert host.invoke("publisher", b"x", path="unheard").status == 204
    assert host.inner.topics.topics == 0


def test_topics_belong_to_a_namespace_and_to_their_name(host, listen):
    """Every subscriber of the topic hears it, and nobody else."""
    two = listen("news"), listen("news")
    others = listen("news", "other"), listen("olds")
    host.invoke("publisher", b"x", path="news")
    assert [read(host, one, 1)[0].value for one in two] == [b"x", b"x"]
    assert [one.waiting for one in others] == [0, 0]
    host.invoke("publisher", b"y", path="news", namespace="other")
    assert read(host, others[0], 1)[0].value == b"y"


@pytest.mark.parametrize(
    ("topic", "body", "word"),
    [("", b"x", "InvalidArgument"), ("x" * 1025, b"x", "InvalidArgument"), ("big", b"x" * 4097, "LimitExceeded")],
)
def test_what_cannot_be_published_is_an_error_value(host, listen, topic, body, word):
    """For text and bytes alike."""
    for headers in ([], [("content-type", "text/plain")]):
        outcome = host.invoke("publisher", body, path=topic, headers=headers)
        assert (outcome.status, outcome.result) == (500, "ok")
        assert word in outcome.text


# -- logs


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("Debug", ["DEBUG", "INFO", "WARN", "ERROR"]),
        ("Info", ["INFO", "WARN", "ERROR"]),
        ("Warn", ["WARN", "ERROR"]),
        ("Error", ["ERROR"]),
        ("Off", []),
    ],
)
def test_a_destination_gets_the_records_at_its_level_and_above(host, listen, level, expected):
    """The guest's crate sends all of them; the host filters for the topic, and keeps all in the function's log."""
    subscription = listen("audit")
    outcome = host.invoke("logger", b"it happened", query=[("topic", "audit"), ("level", level)])
    *messages, ended = read(host, subscription, len(expected) + 1)
    assert [message.value.split(" ")[0] for message in messages] == expected
    assert all(message.value.endswith("it happened") for message in messages)
    assert " system " in ended.value  # the crate asks for the host's records at info
    assert [record.level for record in by_the_guest(outcome)] == ["debug", "info", "warn", "error"]


def test_a_topic_of_the_functions_name_is_where_logs_go_by_default(host, listen):
    """That is how the example is written."""
    subscription = listen("logger")
    host.invoke("logger", b"here")
    levels = [message.value.split(" ")[0] for message in read(host, subscription, 4)]
    assert levels == ["INFO", "WARN", "ERROR", "INFO"]


def test_a_guest_whose_log_cannot_be_configured_answers_500(host):
    """It passes the error on, as most do."""
    outcome = host.invoke("logger", b"x", query=[("topic", "")])
    assert outcome.status == 500
    assert "1 to 1024 bytes" in outcome.text


def test_what_the_host_has_to_say_goes_to_the_topic_as_well(host, listen):
    """A guest that is ended cannot log any more: the host does, where the guest had asked for it."""
    subscription = listen("cut-off")
    for calls in range(5, 40):  # the forms differ in how many they make before the first record
        redeploy(host, "logger", "cut-off", host_calls=calls)
        outcome = host.invoke("cut-off", b"x", query=[("level", "Debug")])
        if by_the_guest(outcome):
            break
    cut = f"more than {calls} host calls"
    assert outcome.error.reason == "host-calls"
    _, guests, error, ended = outcome.logs
    assert [(record.level, record.source) for record in (error, ended)] == [("error", "system"), ("info", "system")]
    assert error.text == cut
    assert ended.text.startswith("ended: trapped after ")
    told = [message.value for message in subscription.take(100)][-3:]
    assert told[0] == guests.text
    assert [line.split(" ", 4)[4] for line in told[1:]] == [cut, ended.text]


def test_the_log_of_an_outcome_is_in_the_functions_log_too(host):
    """With the id of the invocation."""
    outcome = host.invoke("logger", b"both")
    entries = host.inner.logs.tail("default/logger", len(outcome.logs))
    assert [entry.record for entry in entries] == list(outcome.logs)
    assert {entry.invocation_id for entry in entries} == {outcome.invocation_id}
    assert all("both" in record.text for record in by_the_guest(outcome))
    assert by_the_guest(outcome)


def test_a_record_is_one_line_whatever_the_guest_writes(host, listen):
    """Line breaks and terminal escapes are shown, not obeyed."""
    outcome = host.invoke("logger", b"one\ntwo\x1b[31m\r")
    assert all(record.text.endswith("one\\ntwo\\x1b[31m\\r") for record in by_the_guest(outcome))
    assert by_the_guest(outcome)


# -- what a guest prints, and what ends it


def test_a_panic_is_in_the_log_and_not_in_what_a_client_reads(host):
    """The message may hold anything; the error says publicly only that there was none."""
    outcome = host.invoke("panic", b"the password is hunter2")
    assert (outcome.result, outcome.status, outcome.body) == ("trapped", 0, b"")
    assert outcome.error.reason == "unreachable"
    assert "hunter2" not in outcome.error.public
    stderr = [record for record in outcome.logs if record.source == "stderr"]
    assert "the password is hunter2" in [record.text for record in stderr]
    assert {record.level for record in stderr} == {"error"}
    system = [record.text for record in outcome.logs if record.source == "system"]
    assert system[0].startswith("the guest gave up (unreachable")


def test_an_exit_is_a_trap_with_its_code(host):
    """A function has to answer; ending itself is no answer."""
    outcome = host.invoke("exiter")
    assert (outcome.result, outcome.error.reason) == ("trapped", "exit")
    assert any("exited with" in record.text for record in outcome.logs)


@pytest.mark.parametrize(("name", "source"), [("stdout-flood", "stdout"), ("log-flood", "guest")])
def test_a_flood_is_cut_at_the_limits_and_its_rest_counted(host, listen, name, source):
    """The first lines are kept, the last line says how many are not; a topic gets no more than the log."""
    redeploy(host, name, "flood", log_lines=20, host_calls=2_000)
    subscription = listen("log-flood")
    outcome = host.invoke("flood")
    assert outcome.error.reason == "host-calls"
    lines = [record for record in outcome.logs if record.source == source]
    assert 19 <= len(lines) <= 20
    assert all("water" in record.text for record in lines)
    assert outcome.logs[-1].source == "system"
    assert outcome.logs[-1].text.startswith("dropped ")
    if name == "log-flood":
        told = [message.value for message in subscription.take(1_000)]
        assert len(told) <= 20 + 3
        assert " log records over the limits of " in told[-1]


def test_a_log_is_bounded_in_bytes_as_well(host):
    """A few enormous lines are cut to what there is room for."""
    redeploy(host, "logger", "terse", log_bytes=1000)
    outcome = host.invoke("terse", b"x" * 3000)
    assert sum(len(record.text) for record in outcome.logs if record.source == "guest") <= 1000
    assert outcome.logs[-1].text.startswith("dropped ")
