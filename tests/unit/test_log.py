"""Logging: who gets which record, and that a flood or a wrong configuration loses nothing that matters."""

from typing import Any

import pytest

from guesthouse.engine.values import Err, Ok
from guesthouse.interfaces.invocation import Invocation
from guesthouse.interfaces.log import LogInterface
from guesthouse.limits import Limits
from unit.interface_fakes import FakeLog, calls, close, deployment, invocation

LEVELS = ["debug", "info", "warn", "error"]


class Topics:
    def __init__(self) -> None:
        self.lines: list[tuple[str, str, str]] = []

    def publish(self, namespace: str, topic: str, line: str) -> None:
        self.lines.append((namespace, topic, line))

    def of(self, topic: str) -> list[str]:
        return [line for _, name, line in self.lines if name == topic]


def fresh(limits: Limits | None = None) -> tuple[LogInterface, Topics, Invocation]:
    topics = Topics()
    return LogInterface(topics.publish), topics, invocation(limits=limits, of=deployment(imports=frozenset({"log"})))


def to(topic: str, guest: str = "info", system: str = "info") -> Any:
    return (guest, system, ("topic", (topic,)))


def records(run: Invocation) -> list[tuple[str, str, str]]:
    assert isinstance(run.log, FakeLog)
    return run.log.records


@pytest.mark.parametrize("threshold", ["off", *LEVELS])
def test_a_destination_gets_what_is_at_or_above_its_threshold(threshold: str) -> None:
    """`off` lets nothing pass; guest and system thresholds are apart."""
    log, topics, run = fresh()
    assert log.configure_logging(run, [to("guest", threshold, "off"), to("system", "off", threshold)]) == Ok()
    for level in LEVELS:
        log.log(run, f"guest {level}", level)
        log.system(run, level, f"system {level}")
    passing = [] if threshold == "off" else LEVELS[LEVELS.index(threshold) :]
    assert topics.of("guest") == [f"guest {level}" for level in passing]
    assert topics.of("system") == [f"system {level}" for level in passing]


def test_every_record_reaches_the_invocations_own_log() -> None:
    """Whatever was configured, or nothing; a record of level off is none."""
    log, _, run = fresh()
    log.log(run, "before", "debug")
    log.configure_logging(run, [to("t", "off", "off")])
    log.log(run, "after", "error")
    log.log(run, "never", "off")
    log.system(run, "info", "done")
    assert records(run) == [("debug", "before", "guest"), ("error", "after", "guest"), ("info", "done", "system")]


def test_lines_go_to_the_topics_of_the_functions_namespace() -> None:
    """The line is published as it is."""
    log, topics, run = fresh()
    log.configure_logging(run, [to("t")])
    log.log(run, "INFO line", "info")
    assert topics.lines == [("default", "t", "INFO line")]


def test_records_before_the_configuration_go_nowhere_but_system_records_wait() -> None:
    """The first configuration gets the system records from before it, filtered; later ones do not."""
    log, topics, run = fresh()
    log.log(run, "early guest", "error")
    log.system(run, "debug", "early debug")
    log.system(run, "info", "early info")
    log.configure_logging(run, [to("first", "debug", "info")])
    log.configure_logging(run, [to("second", "debug", "debug")])
    log.log(run, "late", "info")
    assert topics.of("first") == ["early info", "late"]
    assert topics.of("second") == ["late"]


def test_cloudwatch_is_refused_with_a_word_about_the_extra() -> None:
    """`err(auth(text))`; nothing of that configuration is taken over, and the first good one is still the first."""
    log, topics, run = fresh()
    log.system(run, "info", "early")
    cloudwatch = ("info", "info", ("cloudwatch", ("arn:aws:iam::1:role/x", "group")))
    answer = log.configure_logging(run, [to("t"), cloudwatch])
    assert isinstance(answer, Err)
    assert answer.error[0] == "auth"
    assert "extra 'aws'" in answer.error[1]
    log.log(run, "x", "error")
    assert topics.lines == []
    log.configure_logging(run, [to("t")])
    assert topics.of("t") == ["early"]


def test_destinations_need_a_name_and_are_bounded() -> None:
    """An empty topic name, or a seventeenth destination, is an error."""
    log, _, run = fresh()
    assert isinstance(log.configure_logging(run, [to("")]), Err)
    assert isinstance(log.configure_logging(run, [to("t")] * 17), Err)
    assert log.configure_logging(run, [to("t")] * 16) == Ok()
    assert isinstance(log.configure_logging(run, [to("t")]), Err)


def test_a_long_line_is_cut_to_what_a_topic_takes() -> None:
    """Between characters; the invocation's own log gets all of it."""
    log, topics, run = fresh()
    log.configure_logging(run, [to("t")])
    log.log(run, "é" * 3000, "info")
    assert topics.of("t") == ["é" * 2048]
    assert records(run)[0][1] == "é" * 3000


@pytest.mark.parametrize("limits", [Limits(log_lines=5), Limits(log_bytes=25)])
def test_a_flood_is_bounded_and_its_rest_counted_in_the_end(limits: Limits) -> None:
    """Five lines pass, by number or by bytes; one line tells how many did not."""
    log, topics, run = fresh(limits)
    log.configure_logging(run, [to("t")])
    for _ in range(100):
        log.log(run, "12345", "info")
    assert topics.of("t") == ["12345"] * 5
    close(run)
    assert topics.of("t")[5:] == ["95 log lines were dropped"]


def test_system_records_that_wait_are_bounded() -> None:
    """A guest that never configures costs no memory."""
    log, topics, run = fresh()
    for number in range(1000):
        log.system(run, "info", str(number))
    log.configure_logging(run, [to("t")])
    assert topics.of("t") == [str(number) for number in range(100)]


def test_a_guest_that_imports_no_logging_has_no_log_state() -> None:
    """The host's records about it go to its log only."""
    log, _, _ = fresh()
    run = invocation()
    log.system(run, "info", "x")
    assert records(run) == [("info", "x", "system")]
    assert run.states == {}


def test_both_generations_answer_both_functions() -> None:
    """Four functions in all."""
    assert len(calls(fresh()[0])) == 4
