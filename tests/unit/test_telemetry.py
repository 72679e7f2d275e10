"""Metrics, log records of guests, and the host's own log."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import threading
from collections.abc import Iterator
from time import thread_time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from guesthouse.limits import Limits
from guesthouse.telemetry import Entry, FunctionLogs, InvocationLog, LogRecord, Metrics, configure_logging, logger
from guesthouse.telemetry.records import BYTES_IN_ALL, escape


def samples(metrics: Metrics, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    """The samples of one name, by their labels."""
    return {
        tuple(sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.expose().decode())
        for sample in family.samples
        if sample.name == name
    }


def test_an_invocation_is_counted_in_every_family() -> None:
    """Count by outcome; duration, fuel and memory as histograms in base units."""
    metrics = Metrics()
    recorder = metrics.recorder("default/echo", "web")
    recorder.record("ok", 1_500_000, 2_000, 131_072)
    recorder.record("trapped", 3_000_000_000, None, 1 << 30)
    labels = (("function", "default/echo"), ("mode", "web"))
    assert samples(metrics, "guesthouse_invocations_total") == {
        (*labels, ("outcome", "ok")): 1,
        (*labels, ("outcome", "trapped")): 1,
    }
    assert samples(metrics, "guesthouse_invocation_duration_seconds_sum")[labels] == pytest.approx(3.0015)
    assert samples(metrics, "guesthouse_invocation_duration_seconds_count")[labels] == 2
    assert samples(metrics, "guesthouse_invocation_fuel_count")[labels] == 1
    buckets = samples(metrics, "guesthouse_invocation_memory_bytes_bucket")
    assert buckets[("function", "default/echo"), ("le", "131072.0"), ("mode", "web")] == 1
    assert buckets[("function", "default/echo"), ("le", "65536.0"), ("mode", "web")] == 0
    assert buckets[("function", "default/echo"), ("le", "+Inf"), ("mode", "web")] == 2


@given(st.lists(st.integers(0, 10**13)))
def test_buckets_count_what_is_at_most_their_bound(durations: list[int]) -> None:
    """Cumulative, and the last one counts all."""
    metrics = Metrics()
    for duration in durations:
        metrics.recorder("f", "web").record("ok", duration, 0, 0)
    for labels, value in samples(metrics, "guesthouse_invocation_duration_seconds_bucket").items():
        bound = float(dict(labels)["le"])
        assert value == sum(duration <= bound * 1e9 * (1 + 1e-12) for duration in durations)


def test_labels_are_bounded() -> None:
    """What is over the bound is counted under `other`, and a deleted function makes room."""
    metrics = Metrics(most=3)
    for index in range(10):
        metrics.recorder(f"f/{index}", "web").record("ok", 1, 1, 1)
        metrics.host_call("i", f"{index}", "ok")
        metrics.problem(f"type-{index}")
    counts = samples(metrics, "guesthouse_invocations_total")
    assert len(counts) == 4
    assert counts[("function", "other"), ("mode", "web"), ("outcome", "ok")] == 7
    assert sum(samples(metrics, "guesthouse_host_calls_total").values()) == 10
    assert len(samples(metrics, "guesthouse_host_calls_total")) == 4
    assert len(samples(metrics, "guesthouse_http_problems_total")) == 4
    metrics.forget("f/0")
    assert metrics.recorder("f/new", "web") is not metrics.recorder("other", "web")


def test_the_same_pair_has_the_same_recorder() -> None:
    """So that it can be kept."""
    metrics = Metrics()
    assert metrics.recorder("f", "web") is metrics.recorder("f", "web")
    assert metrics.recorder("f", "web") is not metrics.recorder("f", "spawn")


def test_everything_else_is_exposed() -> None:
    """Counters, histograms and gauges by Prometheus' names; the process's own figures."""
    metrics = Metrics(version="1.2")
    metrics.spawn("dropped")
    metrics.storage_error("write")
    metrics.outbound_error("timeout")
    metrics.log_lines_dropped(7)
    metrics.admission_wait(1_000_000)
    metrics.compiled(40_000_000)
    metrics.loaded(100_000)
    metrics.gauge("pool_slots_used", "Slots in use", lambda: 3)
    text = metrics.expose().decode()
    for line in (
        'guesthouse_info{version="1.2"} 1.0',
        'guesthouse_spawns_total{outcome="dropped"} 1.0',
        'guesthouse_storage_errors_total{operation="write"} 1.0',
        'guesthouse_outbound_errors_total{reason="timeout"} 1.0',
        "guesthouse_log_lines_dropped_total 7.0",
        "guesthouse_admission_wait_seconds_count 1.0",
        "guesthouse_compile_seconds_sum 0.04",
        "guesthouse_load_seconds_count 1.0",
        "guesthouse_pool_slots_used 3.0",
        "process_open_fds",
    ):
        assert line in text


def test_two_hosts_do_not_share_metrics() -> None:
    """Each has a registry of its own."""
    one, other = Metrics(), Metrics()
    one.spawn("ok")
    assert samples(other, "guesthouse_spawns_total") == {}


@given(st.text())
def test_a_record_is_one_line_that_no_terminal_obeys(text: str) -> None:
    """G15: no line break of any kind, no control character, nothing that turns text around."""
    line = escape(text)
    assert len(line.splitlines()) <= 1
    assert not any((ord(c) < 32 and c != "\t") or 0x7F <= ord(c) < 0xA0 for c in line)
    assert not any(c in line for c in "\u2028\u2029\u202e\u2066")


def test_a_forged_line_is_part_of_the_record() -> None:
    """What looks like a second record stays in the first."""
    log = InvocationLog(Limits())
    log.write("info", '\x1b[2Jhi\n{"level":"error"}\r', "stdout")
    (record,) = log.records
    assert record.text == '\\x1b[2Jhi\\n{"level":"error"}\\r'


def test_the_last_line_break_is_not_part_of_the_record() -> None:
    """Every line of standard output ends with one."""
    log = InvocationLog(Limits())
    log.write("info", "hello\n", "stdout")
    assert log.records[0].text == "hello"


def test_a_log_is_cut_at_its_lines_and_says_so() -> None:
    """A thousand records, and one that counts the rest."""
    log = InvocationLog(Limits(log_lines=1000))
    for index in range(5000):
        log.write("info", str(index), "guest")
    assert log.close() == 4000
    assert len(log.records) == 1001
    assert log.records[-1][1:3] == ("warn", "system")
    assert "dropped 4000 " in log.records[-1].text
    log.write("info", "after the end", "guest")
    assert len(log.records) == 1001


@given(st.lists(st.text(max_size=300)), st.integers(1, 2000))
def test_a_log_never_holds_more_than_its_bytes(texts: list[str], most: int) -> None:
    """Counted as they are written, escapes and all."""
    log = InvocationLog(Limits(log_bytes=most))
    for text in texts:
        log.write("info", text, "guest")
    assert sum(len(record.text.encode()) for record in log.records) <= most


def test_a_gigabyte_in_one_record_is_cut_before_it_is_looked_at() -> None:
    """The first part of it is kept."""
    log = InvocationLog(Limits(log_bytes=1000))
    began = thread_time()
    log.write("info", "\x1b" * 50_000_000, "stdout")
    assert thread_time() - began < 2
    assert len(log.records[0].text) == 1000


def test_an_invocation_that_logs_nothing_costs_nothing() -> None:
    """Nothing is made before the first record."""
    log = InvocationLog(Limits())
    assert log.records == ()
    assert log.close() == 0


def record(text: str) -> LogRecord:
    return LogRecord(0, "info", "guest", text)


def test_a_function_keeps_its_newest_records() -> None:
    """Bounded in number."""
    logs = FunctionLogs(records_per_function=10)
    for index in range(100):
        logs.append("f", "id", record(str(index)))
    assert [entry.record.text for entry in logs.tail("f", 3)] == ["97", "98", "99"]
    assert len(logs.tail("f", 1000)) == 10
    assert logs.tail("f", 0) == []
    assert logs.tail("nobody", 5) == []


def test_all_functions_together_are_bounded() -> None:
    """The function that was quiet for longest loses its records first."""
    logs = FunctionLogs(bytes_in_all=100_000)
    logs.append("quiet", "id", record("old"))
    for _ in range(50):
        logs.append("loud", "id", record("x" * 10_000))
    assert logs.tail("quiet", 1) == []
    kept = sum(len(entry.record.text) for entry in logs.tail("loud", 100))
    assert kept <= 100_000


def test_an_invocation_writes_into_its_functions_log() -> None:
    """With its id."""
    logs = FunctionLogs()
    InvocationLog(Limits(), "id-7", logs.of("f")).write("error", "oh", "stderr")
    ((invocation_id, (_, *rest)),) = logs.tail("f", 9)
    assert (invocation_id, rest) == ("id-7", ["error", "stderr", "oh"])


def test_a_forgotten_function_costs_nothing_any_more() -> None:
    """Also while an invocation of it still writes."""
    logs = FunctionLogs(bytes_in_all=10_000)
    old = logs.of("f")
    logs.forget("f")
    for _ in range(100):
        old.append("id", record("x" * 100))
    logs.append("other", "id", record("here"))
    assert len(logs.tail("other", 9)) == 1


def test_a_follower_sees_old_records_and_then_new_ones() -> None:
    """In order, without a gap."""

    async def run() -> list[str]:
        logs = FunctionLogs()
        logs.append("f", "id", record("old"))
        follower = logs.follow("f", tail=5)
        seen = [await anext(follower)]
        logs.append("f", "id", record("new"))
        seen.append(await anext(follower))
        follower.close()
        return [entry.record.text for entry in seen]

    assert asyncio.run(run()) == ["old", "new"]


def test_a_follower_that_is_too_slow_is_told_where_and_how_much_it_missed() -> None:
    """The writer never waits for it; what is new comes after the line that says so, never in front of it."""

    async def run() -> list[Entry]:
        logs = FunctionLogs(records_per_follower=3)
        follower = logs.follow("f")
        for index in range(10):
            logs.append("f", "id", record(str(index)))
        seen = [await anext(follower)]
        logs.append("f", "id", record("too early"))
        seen += [await anext(follower) for _ in range(3)]
        logs.append("f", "id", record("new"))
        seen.append(await anext(follower))
        return seen

    texts = [entry.record.text for entry in asyncio.run(run())]
    assert texts == ["0", "1", "2", "dropped 8 log records because the reader is too slow", "new"]


def test_old_records_leave_a_follower_all_its_room_for_new_ones() -> None:
    """It lags behind by what was there before it came."""

    async def run() -> int:
        logs = FunctionLogs(records_per_follower=3)
        for index in range(5):
            logs.append("f", "id", record(str(index)))
        follower = logs.follow("f", tail=5)
        for index in range(3):
            logs.append("f", "id", record(str(index)))
        return len(follower.take(100))

    assert asyncio.run(run()) == 8


def test_a_follower_is_counted_from_the_call_on_and_forgotten_when_closed() -> None:
    """Before anything was read; closing it twice is fine; what it has can still be read."""

    async def run() -> list[str]:
        logs = FunctionLogs()
        with logs.follow("f") as follower:
            assert (logs.followers, logs.followed("f")) == (1, 1)
            logs.append("f", "id", record("here"))
        follower.close()
        assert (logs.followers, logs.followed("f")) == (0, 0)
        logs.append("f", "id", record("not this"))
        return [entry.record.text async for entry in follower]

    assert asyncio.run(run()) == ["here"]


def test_writers_in_other_threads_wake_a_follower_and_nothing_is_lost() -> None:
    """Also when its loop has ended before the writer has."""
    logs = FunctionLogs(records_per_function=100)

    def write() -> None:
        for index in range(2_000):
            logs.append("f", "id", record(str(index)))

    async def run() -> int:
        threads = [threading.Thread(target=write) for _ in range(4)]
        seen = 0
        follower = logs.follow("f")
        for thread in threads:
            thread.start()
        while seen < 8_000:
            text = (await anext(follower)).record.text
            seen += int(text.split()[1]) if text.startswith("dropped") else 1
        for thread in threads:
            thread.join()
        return seen

    assert asyncio.run(run()) == 8_000
    logs.append("f", "id", record("nobody reads this"))
    log = logs.of("f")
    assert log.bytes == sum(cost for _, cost in log.entries)
    assert logs._bytes_left == BYTES_IN_ALL - log.bytes


@pytest.fixture
def _logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("_logging")
def test_the_hosts_log_is_one_json_object_a_line() -> None:
    """Also where a value holds a line break, and for other libraries' warnings."""
    stream = io.StringIO()
    configure_logging(json=True, level="info", stream=stream)
    logger("part").bind(invocation_id="id-1").info("happened", name="a\nb", count=3)
    logger("part").debug("not this")
    logging.getLogger("uvicorn.error").warning("theirs %s", 1)
    logging.getLogger("uvicorn.error").info("nor this")
    try:
        raise ValueError("oh")
    except ValueError as error:
        logger("part").error("failed", exc_info=error)
    first, second, third = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (first["event"], first["invocation_id"], first["name"], first["count"]) == ("happened", "id-1", "a\nb", 3)
    assert (first["level"], first["logger"]) == ("info", "guesthouse.part")
    assert second["event"] == "theirs 1"
    assert "ValueError: oh" in third["exception"]


@pytest.mark.usefixtures("_logging")
@pytest.mark.parametrize("as_json", [True, False])
def test_a_traceback_shows_no_values(as_json: bool) -> None:
    """Local variables hold tokens and what clients sent."""
    stream, token = io.StringIO(), "gh_secret"
    configure_logging(json=as_json, stream=stream)
    try:
        raise ValueError(len(token))
    except ValueError as error:
        logger("part").error("failed", exc_info=error)
    assert "ValueError: 9" in stream.getvalue()
    assert token not in stream.getvalue()


@pytest.mark.usefixtures("_logging")
def test_configuring_the_log_twice_writes_once() -> None:
    """The last one counts."""
    first, second = io.StringIO(), io.StringIO()
    configure_logging(stream=first)
    configure_logging(stream=second)
    logger("part").info("happened", invocation_id="id-1")
    assert first.getvalue() == ""
    assert second.getvalue().count("happened") == 1
    assert "invocation_id=id-1" in second.getvalue()
