"""What guests of both generations can do with the logging interface, and what arrives where they send their records."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from guesthouse import Host, Outcome
from guesthouse.interfaces.topic import Message, Subscription
from probes import on_loop
from support import guest, host_with

ALL_FORMS = ("wasip2", "wasip1", "unknown-unknown")
WITH_CLOCK = ALL_FORMS[:2]
"""The forms in which the crates can stamp a line with the time, and print."""
GENERATIONS = ("log-calls", "old-log-calls")
TIME = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z"


class Runs:
    """A host with the guests of one form, and what their topics heard."""

    def __init__(self, host: Host, form: str) -> None:
        self.host = host
        self.form = form
        self._heard: dict[str, Subscription] = {}

    def listen(self, *topics: str) -> None:
        """Hears these topics from now on."""

        async def subscribe() -> None:
            for topic in topics:
                self._heard[topic] = self.host.inner.topics.subscribe("default", topic, 10_000)

        on_loop(self.host, subscribe())

    def lines(self, topic: str) -> list[str]:
        """What arrived since the last call."""
        return [str(message.value) for message in self._heard[topic].take(10_000) if isinstance(message, Message)]

    def close(self) -> None:
        """Hears nothing any more."""
        for subscription in self._heard.values():
            subscription.close()
        self._heard.clear()

    def __call__(self, name: str, *steps: dict[str, Any], **options: Any) -> Outcome:
        return self.host.invoke(name, json.dumps(steps).encode(), **options)


@pytest.fixture(scope="module")
def hosts() -> Iterator[dict[str, Host]]:
    made: dict[str, Host] = {}
    yield made
    for host in made.values():
        host.close()


@pytest.fixture(params=ALL_FORMS)
def runs(request: pytest.FixtureRequest, hosts: dict[str, Host]) -> Iterator[Runs]:
    form = request.param
    if form not in hosts:
        hosts[form] = host = Host()
        for name in (*GENERATIONS, "log-mixed"):
            host.deploy(name, guest(name, form))
    runs = Runs(hosts[form], form)
    yield runs
    runs.close()


def to(topic: str, level: str = "info", system: str = "off") -> dict[str, str]:
    return {"topic": topic, "level": level, "system": system}


def log(level: str, text: str, times: int = 1) -> dict[str, Any]:
    return {"log": [level, text, times]}


def kept(outcome: Outcome, *sources: str) -> list[tuple[str, str]]:
    """Level and text of an outcome's records from these sources."""
    return [(record.level, record.text) for record in outcome.logs if record.source in sources]


@pytest.mark.parametrize("name", GENERATIONS)
def test_records_arrive_in_order_where_they_were_sent(runs: Runs, name: str) -> None:
    """Straight to the host: each destination gets what its threshold lets pass, as the guest wrote it."""
    runs.listen("all", "some", "none")
    outcome = runs(
        name,
        {"configure": [to("all", "debug"), to("some", "warn"), to("none", "off")]},
        *(log(level, f"{level}\n text") for level in ("debug", "info", "warn", "error", "off")),
    )
    assert (outcome.status, outcome.text) == (200, "[null]")
    assert runs.lines("all") == [f"{level}\n text" for level in ("debug", "info", "warn", "error")]
    assert runs.lines("some") == ["warn\n text", "error\n text"]
    assert runs.lines("none") == []
    assert kept(outcome, "guest") == [(level, f"{level}\\n text") for level in ("debug", "info", "warn", "error")]


@pytest.mark.parametrize("name", GENERATIONS)
def test_the_crates_lines_arrive_as_they_format_them(runs: Runs, name: str) -> None:
    """`LEVEL time module file:line message`; without a clock the crate panics, and that arrives as well."""
    runs.listen("lines")
    outcome = runs(name, {"configure-logs": [to("lines", system="error")]}, {"info": "it happened"})
    lines = runs.lines("lines")
    if runs.form in WITH_CLOCK:
        assert outcome.text == "[null]"
        (line,) = lines
        module = name.replace("-", "_")
        assert re.fullmatch(rf"INFO 20[\d-]+T[\d:]+(\.\d{{1,9}})?Z {module} \S+/lib\.rs:\d+ it happened", line)
    else:
        assert outcome.error is not None
        assert re.match(rf"ERROR {TIME} system {outcome.invocation_id} the guest gave up", lines[0])


@pytest.mark.parametrize("name", GENERATIONS)
def test_a_bad_destination_is_an_error_value(runs: Runs, name: str) -> None:
    """`err(auth(text))`, and nothing of that call is taken over; a later one may be better."""
    runs.listen("good", "better")
    outcome = runs(
        name,
        {"configure": [to("good"), to("")]},
        {"configure": [{"role": "nobody", "group": "g"}]},
        log("error", "lost"),
        {"configure": [to("better")]},
        log("error", "found"),
    )
    empty, role, fine = json.loads(outcome.text)
    assert empty.endswith("a topic's name has 1 to 1024 bytes")
    assert "arn:aws:iam::" in role
    assert fine is None
    assert (runs.lines("good"), runs.lines("better")) == ([], ["found"])
    assert kept(outcome, "guest") == [("error", "lost"), ("error", "found")]


@pytest.mark.parametrize("name", GENERATIONS)
def test_the_crates_tell_of_a_bad_destination(runs: Runs, name: str) -> None:
    """In the words of their error."""
    outcome = runs(name, {"configure-logs": [to("")]})
    (text,) = json.loads(outcome.text)
    assert text == "Invalid auth provided for configuration! a topic's name has 1 to 1024 bytes"


@pytest.mark.parametrize("name", GENERATIONS)
def test_a_fresh_instance_configures_its_own_logger(runs: Runs, name: str) -> None:
    """The crates install one logger for each instance: a second call in one says so, the next invocation does not."""
    for _ in range(2):
        outcome = runs(name, {"configure-logs": [to("a")]}, {"configure-logs": [to("b")]})
        first, second = json.loads(outcome.text)
        assert first is None
        assert "Failed to configure logger! SetLoggerError(())" in second


@pytest.mark.parametrize("name", GENERATIONS)
def test_later_calls_add_destinations(runs: Runs, name: str) -> None:
    """The first ones stay; only they get what the host said before, and no destination gets what was before it."""
    runs.listen("first", "second")
    outcome = runs(
        name,
        log("info", "before"),
        {"configure": [to("first", system="debug")]},
        log("info", "between"),
        {"configure": [to("second", system="debug")]},
        log("info", "after"),
    )
    began, between, after, ended = runs.lines("first")
    assert re.fullmatch(rf"DEBUG {TIME} system {outcome.invocation_id} began: web, version \d+", began)
    assert (between, after) == ("between", "after")
    assert re.fullmatch(
        rf"INFO {TIME} system {outcome.invocation_id} ended: ok with status 200 after [\d.,]+ ms, "
        r"[\d,]+ fuel, [\d,]+ bytes of memory",
        ended,
    )
    assert runs.lines("second") == ["after", ended]


@pytest.mark.parametrize("name", GENERATIONS)
def test_what_was_logged_before_a_trap_is_not_lost(runs: Runs, name: str) -> None:
    """Then come the panic's own words, why the host ended it, and what it took."""
    runs.listen("last")
    outcome = runs(
        name, {"configure": [to("last", "debug", "info")]}, log("debug", "first words"), {"panic": "last words"}
    )
    assert outcome.result == "trapped"
    first, *rest, ended = runs.lines("last")
    assert first == "first words"
    assert " system " in ended
    assert " ended: trapped after " in ended
    assert any(" system " in line and "the guest gave up (unreachable" in line for line in rest)
    if runs.form in WITH_CLOCK:  # the other form has no standard error
        assert re.fullmatch(rf"ERROR {TIME} stderr {outcome.invocation_id} last words", rest[2])


@pytest.mark.parametrize("name", GENERATIONS)
def test_output_is_captured_into_the_hosts_records(runs: Runs, name: str) -> None:
    """Standard output at info, standard error at error, also what came before the first configuration."""
    runs.listen("output", "errors")
    runs(
        name,
        {"print": "early"},
        {"configure": [to("output", "off", "info"), to("errors", "off", "error")]},
        {"print": "out"},
        {"eprint": "err"},
    )
    output = [line.split(" ", 4)[::2] for line in runs.lines("output")[:-1]]
    errors = [line.split(" ", 4)[::2] for line in runs.lines("errors")]
    if runs.form in WITH_CLOCK:
        assert output == [["INFO", "stdout", "early"], ["INFO", "stdout", "out"], ["ERROR", "stderr", "err"]]
        assert errors == [["ERROR", "stderr", "err"]]
    else:
        assert (output, errors) == ([], [])


@pytest.mark.parametrize("name", GENERATIONS)
def test_without_a_configuration_records_are_in_the_functions_log_alone(runs: Runs, name: str) -> None:
    """Whatever the guest says, its operator can read it."""
    outcome = runs(name, log("warn", "here"))
    assert kept(outcome, "guest") == [("warn", "here")]
    assert [record.text.split(":")[0] for record in outcome.logs if record.source == "system"] == ["began", "ended"]


@pytest.mark.parametrize("name", GENERATIONS)
def test_a_flood_is_cut_and_never_ends_the_guest(runs: Runs, name: str) -> None:
    """Ten thousand records: the guest answers, a thousand are kept, the destination hears the same and how many not."""
    runs.listen("flood")
    outcome = runs(name, {"configure": [to("flood", system="info")]}, log("info", "water", 10_000))
    assert outcome.status == 200
    lines = runs.lines("flood")
    assert lines[:1000] == ["water"] * 1000
    ended, dropped = lines[1000:]
    assert "ended: ok" in ended
    assert "dropped 9000 log records over the limits" in dropped
    assert len(kept(outcome, "guest")) == 1000


@pytest.mark.parametrize("name", GENERATIONS)
def test_a_long_line_is_cut_for_a_topic(runs: Runs, name: str) -> None:
    """At 4 KiB, between characters; the function's log has all of it."""
    runs.listen("long")
    outcome = runs(name, {"configure": [to("long")]}, log("info", "é" * 3000))
    assert runs.lines("long") == ["é" * 2048]
    assert kept(outcome, "guest") == [("info", "é" * 3000)]


@pytest.mark.parametrize("name", GENERATIONS)
def test_destinations_are_bounded(runs: Runs, name: str) -> None:
    """Sixteen for an invocation."""
    outcome = runs(name, {"configure": [to("t")] * 17}, {"configure": [to("t")] * 16}, {"configure": [to("t")]})
    first, second, third = json.loads(outcome.text)
    assert "at most 16" in first
    assert second is None
    assert "at most 16" in third


@pytest.mark.parametrize("name", GENERATIONS)
def test_a_log_group_needs_the_hosts_credentials(runs: Runs, name: str) -> None:
    """A host that has none says so, and what to set."""
    outcome = runs(name, {"configure": [{"role": "arn:aws:iam::123456789012:role/logs", "group": "g"}]})
    (text,) = json.loads(outcome.text)
    assert "this host has no AWS credentials" in text


def test_both_generations_log_from_one_guest(runs: Runs) -> None:
    """Their destinations and their records are one log."""
    runs.listen("old", "new")
    outcome = runs.host.invoke("log-mixed", b"words")
    assert outcome.text == "Ok(())"
    assert runs.lines("old")[:-1] == ["old words", "new words"]  # and how it ended
    assert runs.lines("new") == ["old words"]  # from warn on


@pytest.mark.parametrize("form", ALL_FORMS)
def test_a_grant_says_where_a_guest_may_log_to(form: str) -> None:
    """Elsewhere is an error value for the guest."""
    with host_with(form=form) as host:
        host.deploy("log-calls", guest("log-calls", form), grants=["log:topic:app-*"])
        body = json.dumps([{"configure": [to("app-1")]}, {"configure": [to("other")]}]).encode()
        fine, refused = json.loads(host.invoke("log-calls", body).text)
    assert fine is None
    assert refused == "the function was not granted log:topic:other"


def test_a_line_in_a_topic_starts_no_function() -> None:
    """A function that logs to the topic that starts it would never end."""
    with host_with("log-calls") as host:
        host.deploy("started", guest("spawn-unit"), topics=["t"])
        host.invoke("log-calls", json.dumps([{"configure": [to("t")]}, log("info", "x")]).encode())
        on_loop(host, asyncio.sleep(0))
        assert host.inner.dispatcher.spawner.in_flight == 0
        assert host.inner.logs.tail("default/started", 10) == []
