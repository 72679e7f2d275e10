"""Logging: who gets which record, and that a flood or a wrong configuration loses nothing that matters."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from guesthouse.engine.values import Err, Ok
from guesthouse.errors import BadRequest, Unavailable
from guesthouse.interfaces.invocation import Invocation
from guesthouse.interfaces.log import LogDestination, LogInterface
from guesthouse.limits import Limits
from guesthouse.registry.deployment import Manifest
from guesthouse.telemetry import InvocationLog
from unit.interface_fakes import SimulatedClock, calls, deployment, invocation

LEVELS = ["debug", "info", "warn", "error"]
ROLE = "arn:aws:iam::123456789012:role/logs"
TIME = "2023-11-14T22:13:20.123456789Z"
"""When the simulated clock begins."""


class Topics:
    def __init__(self) -> None:
        self.lines: list[tuple[str, str, str]] = []

    def publish(self, namespace: str, topic: str, line: str) -> None:
        self.lines.append((namespace, topic, line))

    def of(self, topic: str) -> list[str]:
        return [line for _, name, line in self.lines if name == topic]


class Groups:
    """A `CloudWatch` that keeps everything, and refuses groups called `closed`."""

    def __init__(self) -> None:
        self.opened: list[tuple[str, str, str | None]] = []
        self.lines: list[str] = []

    async def open(self, invocation: Invocation, role_arn: str, group: str, region: str | None) -> LogDestination:
        await asyncio.sleep(0)
        if group == "closed":
            raise Unavailable("this role may not write there")
        self.opened.append((role_arn, group, region))
        return self

    def send(self, time_ns: int, line: str) -> None:
        self.lines.append(line)

    async def close(self) -> None:
        self.opened.clear()


def fresh(
    limits: Limits | None = None, grants: frozenset[str] | None = None, cloudwatch: Groups | None = None
) -> tuple[LogInterface, Topics, Invocation]:
    topics = Topics()
    run = invocation(limits=limits, of=deployment(manifest=Manifest(grants=grants)))
    run.log = InvocationLog(run.limits, run.id, clock=SimulatedClock())
    return LogInterface(topics.publish, cloudwatch), topics, run


def to(topic: str, guest: str = "info", system: str = "off") -> Any:
    return (guest, system, ("topic", (topic,)))


def to_group(group: str = "group", role: str = ROLE) -> Any:
    return ("info", "off", ("cloudwatch", (role, group)))


def records(run: Invocation) -> list[tuple[str, str, str]]:
    return [(record.level, record.text, record.source) for record in run.log.records]


def opened(answer: Any) -> Any:
    """An answer that had to wait."""

    async def wait() -> Any:
        return await answer

    return asyncio.run(wait())


def refusal(answer: Any) -> str:
    """The text of `err(auth(text))`."""
    assert isinstance(answer, Err)
    kind, text = answer.error
    assert kind == "auth"
    return str(text)


@pytest.mark.parametrize("threshold", ["off", *LEVELS])
def test_a_destination_gets_what_is_at_or_above_its_threshold(threshold: str) -> None:
    """`off` lets nothing pass; guest and system thresholds are apart."""
    log, topics, run = fresh()
    assert log.configure_logging(run, [to("guest", threshold, "off"), to("system", "off", threshold)]) == Ok()
    for level in LEVELS:
        log.log(run, f"guest {level}", level)
        run.log.write(level, f"system {level}", "system")
    passing = [] if threshold == "off" else LEVELS[LEVELS.index(threshold) :]
    assert topics.of("guest") == [f"guest {level}" for level in passing]
    assert [line.rpartition(" ")[2] for line in topics.of("system")] == passing


@pytest.mark.parametrize("source", ["stdout", "stderr", "system"])
def test_what_is_not_the_guests_own_record_counts_as_the_hosts(source: str) -> None:
    """The host captures standard output and error: the line looks like those of the crates and names its invocation."""
    log, topics, run = fresh()
    log.configure_logging(run, [to("guest", "debug", "off"), to("system", "off", "debug")])
    run.log.write("warn", "look\nERROR forged", source)
    assert topics.of("guest") == []
    assert topics.of("system") == [f"WARN {TIME} {source} inv-1 look\\nERROR forged"]


def test_every_record_reaches_the_invocations_own_log() -> None:
    """Whatever was configured, or nothing; a record of level off is none."""
    log, _, run = fresh()
    log.log(run, "before", "debug")
    log.configure_logging(run, [to("t", "off", "off")])
    log.log(run, "after", "error")
    log.log(run, "never", "off")
    run.log.write("info", "done", "system")
    assert records(run) == [("debug", "before", "guest"), ("error", "after", "guest"), ("info", "done", "system")]


def test_lines_go_to_the_topics_of_the_functions_namespace() -> None:
    """The guest's line is published as it is, whatever is in it."""
    log, topics, run = fresh()
    log.configure_logging(run, [to("t")])
    log.log(run, "INFO line\n\x1b[2J", "info")
    assert topics.lines == [("default", "t", "INFO line\n\x1b[2J")]


def test_records_before_the_configuration_go_nowhere_but_the_hosts_wait() -> None:
    """The first configuration gets the host's records from before it, filtered and in order; later ones do not."""
    log, topics, run = fresh()
    log.log(run, "early guest", "error")
    run.log.write("debug", "early debug", "system")
    run.log.write("info", "early info", "system")
    run.log.write("error", "early stderr", "stderr")
    log.configure_logging(run, [to("first", "debug", "info"), to("all", "off", "debug")])
    log.configure_logging(run, [to("second", "debug", "debug")])
    log.log(run, "late", "info")
    assert [line.partition("inv-1 ")[2] or line for line in topics.of("first")] == [
        "early info",
        "early stderr",
        "late",
    ]
    assert [line.partition("inv-1 ")[2] for line in topics.of("all")] == ["early debug", "early info", "early stderr"]
    assert topics.of("second") == ["late"]


def test_an_empty_first_configuration_is_the_first() -> None:
    """Then the records from before it are for nobody."""
    log, topics, run = fresh()
    run.log.write("error", "early", "system")
    assert log.configure_logging(run, []) == Ok()
    log.configure_logging(run, [to("t", "debug", "debug")])
    assert topics.of("t") == []


@pytest.mark.parametrize("wrong", [to(""), to("x" * 1025), to("é" * 513), to_group()])
def test_a_configuration_is_taken_over_as_a_whole_or_not_at_all(wrong: Any) -> None:
    """One bad destination refuses all, and the first good configuration is still the first."""
    log, topics, run = fresh()
    run.log.write("info", "early", "system")
    assert refusal(log.configure_logging(run, [to("t"), wrong]))
    log.log(run, "x", "error")
    assert topics.lines == []
    log.configure_logging(run, [to("t", "off", "info")])
    assert len(topics.of("t")) == 1


def test_destinations_are_bounded_in_number() -> None:
    """A seventeenth is refused, also in a later call."""
    log, topics, run = fresh()
    assert "at most 16" in refusal(log.configure_logging(run, [to("t")] * 17))
    assert log.configure_logging(run, [to("t")] * 16) == Ok()
    assert "at most 16" in refusal(log.configure_logging(run, [to("t")]))
    log.log(run, "x", "info")
    assert topics.of("t") == ["x"] * 16


def test_a_long_line_is_cut_to_what_a_topic_takes() -> None:
    """Between characters; the invocation's own log gets all of it."""
    log, topics, run = fresh()
    log.configure_logging(run, [to("t")])
    log.log(run, "é" * 3000, "info")
    assert topics.of("t") == ["é" * 2048]
    assert records(run)[0][1] == "é" * 3000


@pytest.mark.parametrize("limits", [Limits(log_lines=5), Limits(log_bytes=25)])
def test_a_flood_is_bounded_and_its_rest_counted_in_the_end(limits: Limits) -> None:
    """Five lines pass, by number or by bytes; what the host says still does, and at last how many did not."""
    log, topics, run = fresh(limits)
    log.configure_logging(run, [to("t", "info", "info")])
    for _ in range(100):
        log.log(run, "12345", "info")
    run.log.write("error", "the end", "system")
    assert isinstance(run.log, InvocationLog)
    assert run.log.close() == 95
    assert topics.of("t")[:5] == ["12345"] * 5
    trap, dropped = topics.of("t")[5:]
    assert trap.endswith("the end")
    assert "dropped 95 log records" in dropped


def test_the_hosts_own_records_are_bounded_as_well() -> None:
    """64 of them, and 16 KiB, whatever the guest has room for; they take none of the guest's."""
    log, _, run = fresh(Limits(log_lines=2))
    for _ in range(200):
        run.log.write("info", "x", "system")
    log.log(run, "one", "info")
    log.log(run, "two", "info")
    assert [record.text for record in run.log.records] == ["x"] * 64 + ["one", "two"]
    _, _, run = fresh(Limits(log_bytes=10))
    run.log.write("info", "x" * 100_000, "system")
    assert len(run.log.records[0].text) == 16 << 10


# -- CloudWatch


def test_without_aws_cloudwatch_is_refused_with_a_word_about_it() -> None:
    """`err(auth(text))` names what to install."""
    log, _, run = fresh()
    assert "guesthouse[aws]" in refusal(log.configure_logging(run, [to_group()]))


def test_lines_go_to_log_groups_and_topics_alike() -> None:
    """The guest names a group by its name, or by an ARN that says where it is."""
    groups = Groups()
    log, topics, run = fresh(cloudwatch=groups)
    arn = "arn:aws:logs:eu-west-1:123456789012:log-group:/my/group:*"
    assert opened(log.configure_logging(run, [to_group(), to("t"), to_group(arn)])) == Ok()
    assert groups.opened == [(ROLE, "group", None), (ROLE, "/my/group", "eu-west-1")]
    log.log(run, "x", "info")
    assert groups.lines == ["x", "x"]
    assert topics.of("t") == ["x"]
    asyncio.run(log.close())
    assert groups.opened == []


def test_a_group_that_cannot_be_opened_refuses_the_configuration() -> None:
    """With the reason."""
    groups = Groups()
    log, topics, run = fresh(cloudwatch=groups)
    assert refusal(opened(log.configure_logging(run, [to("t"), to_group("closed")]))) == "this role may not write there"
    log.log(run, "x", "info")
    assert topics.lines == []


@pytest.mark.parametrize(
    "wrong",
    [
        to_group(""),
        to_group("a b"),
        to_group("x" * 513),
        to_group("group\n"),
        to_group("arn:aws:logs:eu-west-1:12:log-group:g"),
        to_group(role=""),
        to_group(role="logs"),
        to_group(role=ROLE + "\n"),
        to_group(role="arn:aws:iam::123456789012:user/logs"),
        to_group(role="arn:aws:iam::123456789012:role/" + "x" * 513),
    ],
)
def test_what_cannot_be_a_role_or_a_group_never_reaches_aws(wrong: Any) -> None:
    """It is `err(auth(text))` at once."""
    groups = Groups()
    log, _, run = fresh(cloudwatch=groups)
    assert "looks like" in (text := refusal(log.configure_logging(run, [wrong]))) or "letters" in text
    assert groups.opened == []


# -- grants


def test_a_grant_may_name_topics_and_groups() -> None:
    """What it does not name is refused when it is asked for."""
    groups = Groups()
    grants = frozenset({"log:topic:audit", "log:topic:app-*", "log:cloudwatch:/fn/*"})
    log, _, run = fresh(grants=grants, cloudwatch=groups)
    assert log.configure_logging(run, [to("audit"), to("app-1"), to("app-")]) == Ok()
    assert opened(log.configure_logging(run, [to_group("/fn/a")])) == Ok()
    arn = "arn:aws:logs:eu-west-1:123456789012:log-group:other"
    for wrong in (to("audit2"), to("app"), to_group("fn"), to_group(arn)):
        assert "was not granted log:" in refusal(log.configure_logging(run, [wrong]))


@pytest.mark.parametrize("grant", ["topic:a", "topic:a*", "topic:a:b", "cloudwatch:/x/*", "topic:*"])
def test_a_grant_names_a_kind_and_a_name(grant: str) -> None:
    """A star stands at its end."""
    fresh()[0].check_grant(grant)


@pytest.mark.parametrize("grant", ["audit", "topic", "topic:", "topic:a*b", "file:x", ""])
def test_a_grant_that_cannot_be_enforced_is_refused_at_deploy(grant: str) -> None:
    """It would be believed to restrict something."""
    with pytest.raises(BadRequest, match="log:topic:NAME"):
        fresh()[0].check_grant(grant)


def test_both_generations_answer_both_functions() -> None:
    """Four functions in all."""
    assert len(calls(fresh()[0])) == 4
