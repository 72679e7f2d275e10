"""WASI: a guest's standard library finds what it names, time passes coarsely, and it sees nothing of the host."""

import inspect
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.engine.values import Err, Ok
from guesthouse.engine.wit import Abi
from guesthouse.errors import DeadlineExceeded, Trap
from guesthouse.interfaces import standard
from guesthouse.interfaces.cache import MemoryCache
from guesthouse.interfaces.topic import TopicBroker
from guesthouse.limits import Limits
from guesthouse.registry.deployment import Manifest
from unit.interface_fakes import SimulatedClock, close, deployment
from unit.wasi_world import MS, SECOND, World

# --- completeness


def test_every_function_in_abi_of_an_answered_interface_is_answered() -> None:
    """And nothing is answered that `abi/` does not have; every resource has its class."""
    clock = SimulatedClock()
    interfaces = standard(
        clock, cache=MemoryCache(clock), topics=TopicBroker(), spawner=None, disposable=None, aws=None
    )  # type: ignore[arg-type]
    abi = Abi.load()
    answered = {(call.interface, call.function) for one in interfaces for call in one.host_calls() if call.core is None}
    resources = {name for one in interfaces for name in one.resources}
    for interface in {name for name, _ in answered}:
        known = abi.find(interface)
        assert known is not None, interface
        assert set(known.functions) == {name for owner, name in answered if owner == interface}
        assert set(known.resources) == {name for owner, name in resources if owner == interface}
    assert len({one.name for one in interfaces}) == len(interfaces)


def test_only_what_waits_is_awaited() -> None:
    """Every function is plain: it answers at once unless it has to sleep."""
    assert not [call for call in World().calls.values() if inspect.iscoroutinefunction(call.method)]


# --- clocks


def test_both_clocks_step_by_a_millisecond() -> None:
    """Within one millisecond of the host there is one value (G23)."""
    world = World()
    seen = set()
    for _ in range(3_000):
        world.clock.pass_ns(1_000)
        wall = world.call("clocks/wall-clock", "now")
        seen.add((world.call("clocks/monotonic-clock", "now"), wall.seconds * SECOND + wall.nanoseconds))
    assert len({monotonic for monotonic, _ in seen}) <= 4
    assert len({wall for _, wall in seen}) <= 4
    assert all(monotonic % MS == 0 and wall % MS == 0 for monotonic, wall in seen)
    assert world.call("clocks/monotonic-clock", "resolution") == MS
    assert world.call("clocks/wall-clock", "resolution") == (0, MS)


def test_the_wall_clock_is_the_real_time() -> None:
    """Log lines carry it."""
    assert World().call("clocks/wall-clock", "now") == (1_700_000_000, 123_000_000)


def test_the_monotonic_clock_tells_nothing_of_the_hosts() -> None:
    """Its origin is drawn for each invocation; it is positive from the start and advances with time."""
    world = World()
    first = world.call("clocks/monotonic-clock", "now")
    other = World()
    other.clock.randoms = 77
    assert first != other.call("clocks/monotonic-clock", "now")
    assert first > SECOND
    world.clock.pass_ms(1500)
    assert world.call("clocks/monotonic-clock", "now") - first in (1500 * MS, 1499 * MS, 1501 * MS)


@given(st.integers(0, 10 * SECOND), st.integers(0, 2 * MS))
def test_after_a_sleep_the_guests_clock_has_moved_at_least_that_far(duration: int, phase: int) -> None:
    """For every duration and every phase of the host's clock; and the host does not sleep much longer."""
    world = World()
    world.clock.pass_ns(phase)
    before = world.call("clocks/monotonic-clock", "now")
    pollable = world.call("clocks/monotonic-clock", "subscribe-duration", duration)
    world.call("io/poll", "[method]pollable.block", pollable)
    assert world.call("io/poll", "[method]pollable.ready", pollable)
    assert world.call("clocks/monotonic-clock", "now") - before >= duration
    assert sum(world.clock.naps) * 1e9 <= duration + MS + 1_000


def test_waiting_for_an_instant_ends_when_the_clock_shows_it() -> None:
    """A past instant is ready at once."""
    world = World()
    start = world.call("clocks/monotonic-clock", "now")
    pollable = world.call("clocks/monotonic-clock", "subscribe-instant", start + 5_500_000)
    assert not world.call("io/poll", "[method]pollable.ready", pollable)
    world.call("io/poll", "[method]pollable.block", pollable)
    assert world.call("clocks/monotonic-clock", "now") == start + 6 * MS
    past = world.call("clocks/monotonic-clock", "subscribe-instant", 0)
    assert world.plain("wasi:io/poll@0.2.12", "[method]pollable.block", past) is None


def test_poll_answers_what_is_ready_and_waits_for_the_first() -> None:
    """Indexes of the ready ones; with none ready the earliest decides."""
    world = World()

    def timer(duration: int) -> Any:
        return world.call("clocks/monotonic-clock", "subscribe-duration", duration)

    ready = world.call("io/streams", "[method]input-stream.subscribe", world.call("cli/stdin", "get-stdin"))
    assert world.plain("wasi:io/poll@0.2.12", "poll", [timer(SECOND), ready, timer(0)]) == [1, 2]
    assert world.call("io/poll", "poll", [timer(3 * SECOND), timer(SECOND), timer(2 * SECOND)]) == [1]
    assert 0.99 < sum(world.clock.naps) < 1.01


@pytest.mark.parametrize("count", [0, 1025])
def test_poll_of_nothing_or_of_too_much_traps(count: int) -> None:
    """The specification says so of an empty list; the other is a bound."""
    world = World()
    pollable = world.call("clocks/monotonic-clock", "subscribe-duration", 0)
    with pytest.raises(Trap):
        world.call("io/poll", "poll", [pollable] * count)


def test_no_sleep_outlasts_the_deadline() -> None:
    """A wait of an hour, or of 2**64-1 nanoseconds, ends at the deadline with its error (G8)."""
    for duration in (3600 * SECOND, 2**64 - 1):
        world = World()
        world.run.deadline_ns = world.clock.monotonic_ns() + 300 * MS
        pollable = world.call("clocks/monotonic-clock", "subscribe-duration", duration)
        with pytest.raises(DeadlineExceeded):
            world.call("io/poll", "poll", [pollable])
        assert sum(world.clock.naps) == pytest.approx(0.3)


def test_a_long_sleep_is_taken_in_several_naps() -> None:
    """No event loop is asked for an absurd number of seconds."""
    world = World()
    pollable = world.call("clocks/monotonic-clock", "subscribe-duration", 10_000 * SECOND)
    world.call("io/poll", "[method]pollable.block", pollable)
    assert len(world.clock.naps) == 3
    assert max(world.clock.naps) <= 3600


# --- environment, exit, randomness, files


def test_the_environment_says_who_it_is_and_then_what_was_deployed() -> None:
    """Nothing of the host's own environment, no arguments, no directory, no terminal (G25)."""
    of = deployment("greet", "shop", manifest=Manifest(environment={"B": "2", "A": "ä=1"}))
    world = World(of=of)
    names = [("__CACHE_NAME", "shop"), ("__FUNCTION_NAME", "greet"), ("__INVOCATION_ID", "inv-1")]
    expected = [*names, ("B", "2"), ("A", "ä=1")]
    assert world.call("cli/environment", "get-environment") == expected
    assert world.call("cli/environment", "get-arguments") == []
    assert world.call("cli/environment", "initial-cwd") is None
    for stream in ("stdin", "stdout", "stderr"):
        assert world.call(f"cli/terminal-{stream}", f"get-terminal-{stream}") is None
    assert world.p1("environ_sizes_get", 0, 4) == 0
    assert world.p1("environ_get", 100, 1000) == 0
    entries = [f"{name}={value}".encode() for name, value in expected]
    assert (world.guest.u32(0), world.guest.u32(4)) == (5, sum(len(entry) + 1 for entry in entries))
    for index, entry in enumerate(entries):
        assert world.guest.read(world.guest.u32(100 + 4 * index), len(entry) + 1) == entry + b"\0"
    assert world.p1("args_sizes_get", 0, 4) == 0
    assert (world.guest.u32(0), world.guest.u32(4)) == (0, 0)
    assert world.p1("args_get", 0, 4) == 0


def test_exit_is_a_trap_that_says_how() -> None:
    """A guest that ends itself has not answered, not even with success."""
    world = World()
    for how, text in (
        (lambda: world.call("cli/exit", "exit", Ok()), "exited with success"),
        (lambda: world.call("cli/exit", "exit", Err()), "exited with failure"),
        (lambda: world.call("cli/exit", "exit-with-code", 3), "exited with status 3"),
        (lambda: world.p1("proc_exit", 7), "exited with status 7"),
    ):
        with pytest.raises(Trap, match=text) as caught:
            how()
        assert caught.value.reason == "exit"


def test_randomness_is_the_clocks_and_bounded() -> None:
    """64 KiB at once are allowed, one byte more traps, before anything is allocated."""
    world = World()
    for function in ("random/random get-random-bytes", "random/insecure get-insecure-random-bytes"):
        interface, name = function.split()
        assert len(world.call(interface, name, 65536)) == 65536
        for count in (65537, 2**64 - 1):
            with pytest.raises(Trap):
                world.call(interface, name, count)
    assert 0 <= world.call("random/random", "get-random-u64") < 2**64
    assert world.call("random/insecure", "get-insecure-random-u64") != world.call("random/random", "get-random-u64")
    low, high = world.call("random/insecure-seed", "insecure-seed")
    assert 0 <= low < 2**64
    assert 0 <= high < 2**64
    assert world.p1("random_get", 8, 16) == 0
    assert world.guest.u64(8) != 0
    with pytest.raises(Trap):
        world.p1("random_get", 0, 65537)


def test_the_file_system_is_empty() -> None:
    """No directory to begin from, so no descriptor."""
    world = World(lambda namespace, name: b"")
    assert world.call("filesystem/preopens", "get-directories") == []
    assert world.call("filesystem/types", "filesystem-error-code", object()) is None


# --- standard streams


def stdout(world: World, *writes: bytes) -> None:
    stream = world.call("cli/stdout", "get-stdout")
    for data in writes:
        assert world.call("io/streams", "[method]output-stream.check-write", stream) == Ok(65536)
        assert world.call("io/streams", "[method]output-stream.write", stream, data) == Ok()
        assert world.call("io/streams", "[method]output-stream.blocking-flush", stream) == Ok()


def test_output_becomes_one_record_for_each_line() -> None:
    """However it was cut into writes; the last line without an end is logged when the invocation ends."""
    world = World()
    stdout(world, b"one\ntw", b"o\r\n\nthr", b"ee")
    error = world.call("cli/stderr", "get-stderr")
    assert world.call("io/streams", "[method]output-stream.blocking-write-and-flush", error, b"panic \xff\n") == Ok()
    assert world.log.records == [
        ("info", "one", "stdout"),
        ("info", "two", "stdout"),
        ("info", "", "stdout"),
        ("error", "panic \ufffd", "stderr"),
    ]
    close(world.run)
    assert world.log.records[4:] == [("info", "three", "stdout")]
    close(world.run)
    assert len(world.log.records) == 5


def test_two_handles_of_one_stream_share_its_line() -> None:
    """Asking for stdout again continues the unfinished line."""
    world = World()
    stdout(world, b"a")
    stdout(world, b"b\n")
    assert world.log.texts == ["ab"]


def test_a_line_without_end_is_cut_and_memory_stays_bounded() -> None:
    """Pieces of 8 KiB."""
    world = World()
    stdout(world, *[b"x" * 5000] * 10)
    assert {len(text) for text in world.log.texts} == {8192} or sum(map(len, world.log.texts)) >= 50_000 - 8192
    assert max(map(len, world.log.texts)) <= 8192
    close(world.run)
    assert "".join(world.log.texts) == "x" * 50_000


@pytest.mark.parametrize("data", [b"\n" * 65536, b"x" * 65536, b"ab\n" * 20_000])
def test_an_output_flood_costs_the_host_one_record_for_each_write(data: bytes) -> None:
    """Once the invocation's log lines are used up (G15); the records that still come let the log count."""
    world = World(limits=Limits(log_lines=10))
    stdout(world, data, data)
    before = len(world.log.records)
    assert 10 <= before <= 30
    stdout(world, *[data] * 50)
    assert len(world.log.records) <= before + 50


@given(st.lists(st.binary(max_size=30).map(lambda data: data.replace(b"\r", b"."))))
def test_any_writes_give_the_lines_of_their_sum(writes: list[bytes]) -> None:
    """The log is what splitting everything at once would give."""
    world = World()
    stdout(world, *writes)
    close(world.run)
    *lines, last = b"".join(writes).split(b"\n")
    expected = [line.decode("utf-8", "replace") for line in ([*lines, last] if last else lines)]
    assert world.log.texts == expected


def test_writing_more_than_permitted_traps() -> None:
    """`check-write` said how much."""
    world = World()
    stream = world.call("cli/stdout", "get-stdout")
    for function, argument in (("write", bytes(65537)), ("write-zeroes", 65537), ("write-zeroes", 2**64 - 1)):
        with pytest.raises(Trap):
            world.call("io/streams", f"[method]output-stream.{function}", stream, argument)


def test_standard_input_is_at_its_end() -> None:
    """Every read, skip and splice answers closed; waiting for it is not waiting."""
    world = World()
    stdin, out = world.call("cli/stdin", "get-stdin"), world.call("cli/stdout", "get-stdout")
    for function in ("read", "blocking-read", "skip", "blocking-skip"):
        assert world.call("io/streams", f"[method]input-stream.{function}", stdin, 10) == Err(("closed", None))
    assert world.call("io/streams", "[method]output-stream.splice", out, stdin, 10) == Err(("closed", None))
    pollable = world.call("io/streams", "[method]input-stream.subscribe", stdin)
    assert world.plain("wasi:io/poll@0.2.12", "[method]pollable.block", pollable) is None
