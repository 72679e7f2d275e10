"""CloudWatch as a destination of logs: against moto's server, and against a double that fails when it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from aws_server import REGION, ROLE, AwsServer
from guesthouse.engine.values import Ok
from guesthouse.interfaces.log import LogInterface
from guesthouse.interfaces.log import cloudwatch as module
from guesthouse.interfaces.log.cloudwatch import CloudWatchLogs
from guesthouse.net.aws import AwsClients, AwsConfig, AwsFailure, Credentials
from guesthouse.net.aws_failures import MALFORMED, NOT_FOUND, OTHER, THROTTLED, TIMEOUT, UNAUTHORIZED
from unit.interface_fakes import close
from unit.log_service import GROUP, PATIENCE, Service, Work, perform, until


@pytest.fixture(params=["double", "moto"])
def service(request: pytest.FixtureRequest) -> Callable[[Work], Service]:
    """Runs work with the real thing, and with what stands for it."""
    server: AwsServer | None = request.getfixturevalue("aws_server") if request.param == "moto" else None

    def run(work: Work) -> Service:
        return perform(work, server)

    return run


@pytest.fixture
def double() -> Callable[[Work], Service]:
    """Runs work with what can be made to fail."""
    return perform


# -- the real thing, and what stands for it


def test_lines_arrive_in_order_in_a_group_that_is_made(service: Callable[[Work], Service]) -> None:
    """One stream for a function in one process; all that was logged is there when the host has closed."""

    async def work(service: Service) -> None:
        for number in range(3):
            run = await service.run()
            service.log(run, *(f"{number}.{index} é\n" for index in range(100)))
            close(run)

    done = service(work)
    ((name, lines),) = done.stored().items()
    assert name.startswith("default/greet/")
    assert [line.rstrip("\n") for line in lines] == [
        f"{number}.{index} é" for number in range(3) for index in range(100)
    ]
    assert done.dropped == 0


def test_a_group_that_is_there_is_used(service: Callable[[Work], Service]) -> None:
    """As it is after each start of a host."""

    async def work(service: Service) -> None:
        service.log(await service.run(), "one")
        again = CloudWatchLogs(service.aws, REGION)
        log = LogInterface(lambda *_: None, again)
        run = service.fresh()
        answer = log.configure_logging(run, [("info", "off", ("cloudwatch", (ROLE, GROUP)))])
        assert await answer == Ok()  # type: ignore[misc]
        log.log(run, "two", "info")
        await log.close()

    done = service(work)
    assert sorted(done.stored().values()) == [["one"], ["two"]]


def test_functions_have_streams_of_their_own(service: Callable[[Work], Service]) -> None:
    """In the same group."""

    async def work(service: Service) -> None:
        service.log(await service.run(name="one"), "of one")
        service.log(await service.run(name="two"), "of two")

    stored = service(work).stored()
    assert {name.split("/")[1]: lines for name, lines in stored.items()} == {"one": ["of one"], "two": ["of two"]}


def test_a_group_that_is_deleted_meanwhile_is_made_again(service: Callable[[Work], Service]) -> None:
    """Lines that come later are not lost."""

    async def work(service: Service) -> None:
        run = await service.run()
        if service.server is None:
            service.aws.groups.clear()
        else:
            await asyncio.to_thread(service.server.do, "logs", "delete_log_group", logGroupName=GROUP)
        service.log(run, "after")

    done = service(work)
    assert done.lines() == ["after"]
    assert done.dropped == 0


def test_an_empty_line_is_a_line(service: Callable[[Work], Service]) -> None:
    """AWS takes no empty ones."""

    async def work(service: Service) -> None:
        service.log(await service.run(), "", "x")

    assert [line.strip() for line in service(work).lines()] == ["", "x"]


def test_nothing_listens_where_aws_should_be() -> None:
    """The guest is told; it is `err(auth(text))` like every failure."""

    async def run() -> str:
        aws = AwsClients(AwsConfig(Credentials("id", "secret"), "http://127.0.0.1:9", attempts=1))
        service = Service(aws)
        try:
            async with asyncio.timeout(PATIENCE):
                return await service.refusal()
        finally:
            await service.interface.close()
            await aws.close()

    assert asyncio.run(run()) == "sts: no connection to its endpoint"


def test_without_credentials_of_its_own_a_host_says_so() -> None:
    """And what to set."""

    async def run() -> str:
        aws = AwsClients(AwsConfig())
        service = Service(aws)
        try:
            return await service.refusal()
        finally:
            await service.interface.close()
            await aws.close()

    assert "this host has no AWS credentials to assume roles with" in asyncio.run(run())


# -- what only the double can do


def test_the_role_is_assumed_where_the_group_is(double: Callable[[Work], Service]) -> None:
    """An ARN of a group says where."""

    async def work(service: Service) -> None:
        await service.run()
        await service.run("arn:aws:logs:eu-west-1:123456789012:log-group:other")

    done = double(work)
    assert set(done.aws.roles) == {(ROLE, REGION), (ROLE, "eu-west-1")}
    assert set(done.aws.groups) == {GROUP, "other"}


@pytest.mark.parametrize("operation", ["assume_role", "create_log_stream", "create_log_group"])
def test_what_aws_does_not_allow_is_told_and_tried_anew_next_time(
    double: Callable[[Work], Service], operation: str
) -> None:
    """Nothing of the first try is kept."""

    async def work(service: Service) -> None:
        service.aws.failures[operation] = [AwsFailure(UNAUTHORIZED, "AccessDenied: no")]
        assert await service.refusal() == "AccessDenied: no"
        service.log(await service.run(), "x")

    assert double(work).lines() == ["x"]


def test_lines_are_sent_together(double: Callable[[Work], Service]) -> None:
    """A thousand lines are one call, or a few."""

    async def work(service: Service) -> None:
        service.log(await service.run(), *map(str, range(1000)))

    done = double(work)
    assert len(done.lines()) == 1000
    assert done.aws.operations.count("put_log_events") <= 2


def test_a_batch_is_no_larger_than_aws_takes(double: Callable[[Work], Service]) -> None:
    """The double checks it: 1 MiB, with 26 bytes for each line; lines are cut."""

    async def work(service: Service) -> None:
        run = await service.run()
        for _ in range(7):
            stream = next(iter(service.logs._streams.values()))
            stream.send(0, "é" * 200_000)
        close(run)

    done = double(work)
    assert [len(line.encode()) for line in done.lines()] == [256_000] * 7
    assert done.aws.operations.count("put_log_events") == 3


def test_times_never_go_back_within_a_batch(double: Callable[[Work], Service]) -> None:
    """Though the clock may."""

    async def work(service: Service) -> None:
        await service.run()
        stream = next(iter(service.logs._streams.values()))
        for time_ms in (5, 3, 4, 9):
            stream.send(time_ms * 1_000_000, str(time_ms))

    done = double(work)
    assert done.lines() == ["5", "3", "4", "9"]


@pytest.mark.parametrize("kind", [THROTTLED, TIMEOUT, OTHER])
def test_a_passing_failure_is_tried_again(double: Callable[[Work], Service], kind: str) -> None:
    """Three times, with growing pauses; the order stays."""

    async def work(service: Service) -> None:
        run = await service.run()
        service.aws.failures["put_log_events"] = [AwsFailure(kind, "later")] * 3
        service.log(run, "one", "two")
        await until(lambda: not service.aws.failures["put_log_events"])
        service.log(run, "three")

    done = double(work)
    assert done.lines() == ["one", "two", "three"]
    assert done.dropped == 0
    assert [nap for nap in done.naps if nap >= 1] == [1, 2, 4]


@pytest.mark.parametrize(("kind", "tries"), [(THROTTLED, 4), (UNAUTHORIZED, 1), (MALFORMED, 1), (NOT_FOUND, 4)])
def test_what_cannot_be_sent_is_dropped_and_counted(double: Callable[[Work], Service], kind: str, tries: int) -> None:
    """After a bounded number of tries; a line there says how many lines are missing."""

    async def work(service: Service) -> None:
        run = await service.run()
        service.aws.failures["put_log_events"] = [AwsFailure(kind, "no")] * tries
        service.log(run, *["lost"] * 5)
        await until(lambda: service.dropped == 5)
        service.log(run, "found")

    done = double(work)
    assert done.lines() == ["found", "WARN 5 log lines before this one were dropped"]


@pytest.mark.parametrize(("line", "kept"), [("x", 10_000), ("y" * 256_000, 8)])
def test_lines_that_wait_are_bounded(double: Callable[[Work], Service], line: str, kept: int) -> None:
    """While AWS hangs, ten thousand lines or 2 MiB are kept; logging goes on at once."""

    async def work(service: Service) -> None:
        await service.run()
        stream = next(iter(service.logs._streams.values()))
        service.aws.held = asyncio.Event()
        stream.send(0, "first")
        await until(lambda: "put_log_events" in service.aws.operations)
        for _ in range(kept + 3):
            stream.send(0, line)
        assert service.dropped == 3
        service.aws.held.set()

    lines = double(work).lines()
    assert lines.count(line) == kept
    assert "WARN 3 log lines before this one were dropped" in lines


def test_what_aws_leaves_out_for_its_time_is_counted(double: Callable[[Work], Service]) -> None:
    """Too old, expired, or too new."""

    async def work(service: Service) -> None:
        run = await service.run()
        service.aws.info = {"tooOldLogEventEndIndex": 1, "expiredLogEventEndIndex": 2, "tooNewLogEventStartIndex": 4}
        service.log(run, *"abcde")
        await until(lambda: service.dropped == 3)

    double(work)


def test_a_host_that_closes_does_not_wait_for_ever(
    double: Callable[[Work], Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What AWS does not take in time is counted as dropped."""
    monkeypatch.setattr(module, "CLOSE_SECONDS", 0.05)

    async def work(service: Service) -> None:
        run = await service.run()
        service.aws.held = asyncio.Event()
        service.log(run, "one", "two")
        await until(lambda: "put_log_events" in service.aws.operations)
        service.log(run, "three")
        await service.interface.close()
        await until(lambda: service.dropped == 3)

    double(work)


def test_streams_are_bounded_and_unused_ones_make_room(
    double: Callable[[Work], Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guest that is refused is told."""
    monkeypatch.setattr(module, "MOST_STREAMS", 2)

    async def work(service: Service) -> None:
        first, _ = await service.run("one"), await service.run("two")
        assert "2 log streams" in await service.refusal("three")
        service.log(first, "x")
        close(first)
        await until(lambda: bool(service.stored("one") and next(iter(service.stored("one").values()))))
        service.log(await service.run("three"), "y")

    done = double(work)
    assert [list(done.stored(group).values()) for group in ("one", "two", "three")] == [[["x"]], [[]], [["y"]]]


def test_a_stream_that_nobody_uses_ends(double: Callable[[Work], Service]) -> None:
    """Not while an invocation may still log."""

    async def work(service: Service) -> None:
        service.logs = CloudWatchLogs(service.aws, REGION, sleep=service._sleep, idle_seconds=0.01)
        service.interface = LogInterface(lambda *_: None, service.logs)
        run = await service.run()
        await asyncio.sleep(0.05)
        assert len(service.logs._streams) == 1
        service.log(run, "late")
        close(run)
        while service.logs._streams:
            await asyncio.sleep(0.005)

    assert double(work).lines() == ["late"]


def test_many_that_open_a_group_at_once_open_it_once(double: Callable[[Work], Service]) -> None:
    """They wait for one another."""

    async def work(service: Service) -> None:
        await asyncio.gather(*(service.run() for _ in range(50)))

    assert double(work).aws.operations == ["create_log_stream", "create_log_group", "create_log_stream"]


def test_one_that_gives_up_waiting_takes_nothing_from_the_others(double: Callable[[Work], Service]) -> None:
    """A deadline may pass while a group is opened."""

    async def work(service: Service) -> None:
        first = asyncio.ensure_future(service.run())
        second = asyncio.ensure_future(service.run())
        await asyncio.sleep(0)
        first.cancel()
        service.log(await second, "x")

    assert double(work).lines() == ["x"]
