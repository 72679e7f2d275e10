"""What the tests of CloudWatch as a destination stand on: a double of the service, and work done with it or the real one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aws_server import REGION, ROLE, AwsServer
from guesthouse.engine.values import Err, Ok
from guesthouse.interfaces.invocation import Invocation
from guesthouse.interfaces.log import LogInterface
from guesthouse.interfaces.log.cloudwatch import CloudWatchLogs
from guesthouse.net.aws import AwsAnswer, AwsClients, AwsFailure, AwsRequest, Credentials
from guesthouse.net.aws_failures import NOT_FOUND, OTHER
from guesthouse.telemetry import InvocationLog
from unit.interface_fakes import deployment, invocation

PATIENCE = 30
GROUP = "/functions/greet"
Work = Callable[["Service"], Awaitable[None]]


class FakeAws:
    """Log groups in memory: the operations that are used, and failures that tests ask for."""

    def __init__(self) -> None:
        self.groups: dict[str, dict[str, list[dict[str, Any]]]] = {}
        self.operations: list[str] = []
        self.roles: list[tuple[str, str]] = []
        self.failures: dict[str, list[AwsFailure]] = {}
        """What the next calls of an operation answer."""
        self.held: asyncio.Event | None = None
        """Set it, and lines are taken no more until it is."""
        self.info: dict[str, int] = {}

    async def assume_role(self, role_arn: str, region: str) -> Credentials:
        self.roles.append((role_arn, region))
        self._fail("assume_role")
        return Credentials("id", "secret", "token")

    async def call(self, request: AwsRequest) -> AwsAnswer:
        self.operations.append(request.operation)
        await asyncio.sleep(0)
        self._fail(request.operation)
        fields = dict(request.parameters)
        group, stream = fields["logGroupName"], fields.get("logStreamName", "")
        if request.operation == "create_log_group":
            if group in self.groups:
                raise AwsFailure(OTHER, "ResourceAlreadyExistsException: the group")
            self.groups[group] = {}
            return AwsAnswer({}, b"", None)
        if group not in self.groups:
            raise AwsFailure(NOT_FOUND, "ResourceNotFoundException: the group")
        streams = self.groups[group]
        if request.operation == "create_log_stream":
            if stream in streams:
                raise AwsFailure(OTHER, "ResourceAlreadyExistsException: the stream")
            streams[stream] = []
            return AwsAnswer({}, b"", None)
        if stream not in streams:
            raise AwsFailure(NOT_FOUND, "ResourceNotFoundException: the stream")
        if self.held is not None:
            await self.held.wait()
        events = fields["logEvents"]
        assert 0 < len(events) <= 10_000
        assert sum(len(event["message"].encode()) + 26 for event in events) <= 1_048_576
        assert events == sorted(events, key=lambda event: event["timestamp"])
        streams[stream] += events
        return AwsAnswer({"rejectedLogEventsInfo": self.info} if self.info else {}, b"", None)

    def _fail(self, operation: str) -> None:
        failures = self.failures.get(operation)
        if failures:
            raise failures.pop(0)


class Service:
    """A place for logs, real or not, and the interface that writes there."""

    def __init__(self, aws: Any, server: AwsServer | None = None) -> None:
        self.aws = aws
        self.server = server
        self.naps: list[float] = []
        self.dropped = 0
        self.logs = CloudWatchLogs(aws, REGION, dropped=self._drop, sleep=self._sleep)
        self.interface = LogInterface(lambda *_: None, self.logs)

    async def run(self, group: str = GROUP, role: str = ROLE, name: str = "greet") -> Invocation:
        """An invocation that has configured its log."""
        run = self.fresh(name)
        answer = self.interface.configure_logging(run, [("debug", "off", ("cloudwatch", (role, group)))])
        assert not isinstance(answer, Err), answer
        assert await answer == Ok()  # type: ignore[misc]
        return run

    async def refusal(self, group: str = GROUP) -> str:
        """The text of `err(auth(text))` for an invocation that tries to."""
        answer = self.interface.configure_logging(self.fresh(), [("debug", "off", ("cloudwatch", (ROLE, group)))])
        assert not isinstance(answer, Ok | Err)
        found = await answer
        assert isinstance(found, Err)
        assert found.error[0] == "auth"
        return str(found.error[1])

    def fresh(self, name: str = "greet") -> Invocation:
        run = invocation(of=deployment(name))
        run.log = InvocationLog(run.limits, run.id)
        return run

    def log(self, run: Invocation, *texts: str) -> None:
        for text in texts:
            self.interface.log(run, text, "info")

    def stored(self, group: str = GROUP) -> dict[str, list[str]]:
        """The lines of a group by stream; after `end` only."""
        if self.server is None:
            found = self.aws.groups[group]
            return {name: [event["message"] for event in events] for name, events in found.items()}
        streams = self.server.do("logs", "describe_log_streams", logGroupName=group)["logStreams"]
        names = [stream["logStreamName"] for stream in streams]
        return {
            name: [
                event["message"]
                for event in self.server.do(
                    "logs", "get_log_events", logGroupName=group, logStreamName=name, startFromHead=True
                )["events"]
            ]
            for name in names
        }

    def lines(self) -> list[str]:
        """Those of the only stream."""
        (lines,) = self.stored().values()
        return lines

    def _drop(self, count: int) -> None:
        self.dropped += count

    async def _sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        await asyncio.sleep(0)


def perform(work: Work, server: AwsServer | None = None) -> Service:
    """Runs work on a loop of its own, and closes what it used."""

    async def run() -> Service:
        aws = FakeAws() if server is None else AwsClients(server.config)
        service = Service(aws, server)
        async with asyncio.timeout(PATIENCE):
            await work(service)
            await service.interface.close()
            if isinstance(aws, AwsClients):
                await aws.close()
        return service

    return asyncio.run(run())


async def until(happened: Callable[[], bool]) -> None:
    """Lets others run until something has happened."""
    while not happened():
        await asyncio.sleep(0)
