"""`LogInterface`: `logging` of both generations.

Promises: every record reaches the invocation's own log whatever the guest configured; `log` never traps or waits; a
configuration is taken over as a whole or not at all.  The bounds of the invocation's log hold for its destinations too.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from guesthouse.engine.values import Err, Ok
from guesthouse.errors import BadRequest, GuesthouseError
from guesthouse.interfaces.base import Interface, host_call
from guesthouse.interfaces.log.destinations import LogDestination, Publish, Route, Routes, TopicDestination
from guesthouse.interfaces.patterns import check_pattern, is_granted
from guesthouse.interfaces.topic.broker import MOST_MESSAGE_BYTES
from guesthouse.registry.topics import check_topic
from guesthouse.telemetry.records import NOTHING, SEVERITY

if TYPE_CHECKING:
    from guesthouse.interfaces.invocation import Invocation

LOGGING = "momento:log/logging@1.0.0"
LOGGING_V1 = "momento:host/logging@1.0.0"
MOST_DESTINATIONS = 16
"""Destinations of one invocation: each record goes to all of them."""
ROLE = re.compile(r"arn:aws[a-z-]{0,16}:iam::[0-9]{12}:role/[\w+=,.@/-]{1,512}\Z", re.ASCII)
GROUP = re.compile(
    r"(?:arn:aws[a-z-]{0,16}:logs:([a-z0-9-]{1,32}):[0-9]{12}:log-group:)?([\w./#-]{1,512})(?::\*)?\Z", re.ASCII
)
"""A log group as guests name it: its name, or its ARN, which says in which region it is."""

Input: TypeAlias = "tuple[str, str, tuple[str, Any]]"
Configured: TypeAlias = "Ok[None] | Err[tuple[str, str]]"


class CloudWatch(Protocol):
    """Opens log groups of CloudWatch."""

    async def open(self, invocation: Invocation, role_arn: str, group: str, region: str | None) -> LogDestination:
        """A group of that name, made where it is missing; raises a `GuesthouseError` whose text the guest may read."""

    async def close(self) -> None:
        """Sends what is there; called once, when the host stops."""


class LogInterface(Interface):
    """`logging`: `publish` carries lines to topics, `cloudwatch` opens log groups where the host has AWS.

    `topic_bytes` is what a topic takes as one message: longer lines are cut there.
    """

    name = "log"

    def __init__(
        self, publish: Publish, cloudwatch: CloudWatch | None = None, *, topic_bytes: int = MOST_MESSAGE_BYTES
    ) -> None:
        self._publish = publish
        self._cloudwatch = cloudwatch
        self._topic_bytes = topic_bytes

    def check_grant(self, pattern: str) -> None:
        """`topic:NAME` and `cloudwatch:GROUP`, either with a `*` at its end for all that begin so."""
        kind, _, rest = pattern.partition(":")
        if kind not in ("topic", "cloudwatch"):
            raise BadRequest(f"the grant log:{pattern[:64]}: it is log:topic:NAME or log:cloudwatch:GROUP")
        check_pattern(f"{self.name}:{kind}", rest)

    def open(self, invocation: Invocation) -> Routes:
        return Routes(invocation.id)

    async def close(self) -> None:
        if self._cloudwatch is not None:
            await self._cloudwatch.close()

    @host_call(LOGGING, "configure-logging")
    @host_call(LOGGING_V1, "configure-logging")
    def configure_logging(self, invocation: Invocation, inputs: Sequence[Input]) -> Configured | Awaitable[Configured]:
        """Adds destinations, all or none; those of the first call also get the host's records from before it."""
        refused = invocation.observe("log destinations", lambda: self._refusal(invocation, inputs))
        if refused is not None:
            return Err(("auth", refused))
        if any(kind == "cloudwatch" for _, _, (kind, _) in inputs):
            return self._configure_opened(invocation, inputs)
        return self._add(invocation, [self._topic(invocation, *where) for _, _, (_, where) in inputs], inputs)

    @host_call(LOGGING, "log")
    @host_call(LOGGING_V1, "log")
    def log(self, invocation: Invocation, text: str, level: str) -> None:
        """One record of the guest; one of level `off` is none."""
        if level != "off":
            invocation.log.write(level, text, "guest")

    def _refusal(self, invocation: Invocation, inputs: Sequence[Input]) -> str | None:
        """Why these cannot be destinations."""
        routes: Routes = invocation.state(self)
        try:
            if len(routes.all) + len(inputs) > MOST_DESTINATIONS:
                raise BadRequest(f"there can be at most {MOST_DESTINATIONS} log destinations")
            for _, _, (kind, where) in inputs:
                self._check(invocation, kind, where)
        except BadRequest as refused:
            return str(refused)
        return None

    def _check(self, invocation: Invocation, kind: str, where: Any) -> None:
        if kind == "topic":
            (topic,) = where
            check_topic(topic)
            self._check_granted(invocation, f"topic:{topic}")
            return
        role, group = where
        if not ROLE.match(role):
            raise BadRequest("the role of a log destination looks like arn:aws:iam::123456789012:role/NAME")
        named = GROUP.match(group)
        if named is None:
            raise BadRequest("the name of a log group has 1 to 512 letters, digits and any of _ - / . #")
        self._check_granted(invocation, f"cloudwatch:{named[2]}")
        if self._cloudwatch is None:
            raise BadRequest("logging to CloudWatch needs AWS, which this host does not have: install guesthouse[aws]")

    def _check_granted(self, invocation: Invocation, wanted: str) -> None:
        if not is_granted(invocation, self.name, wanted):
            raise BadRequest(f"the function was not granted {self.name}:{wanted[:80]}")

    def _topic(self, invocation: Invocation, topic: str) -> LogDestination:
        return TopicDestination(self._publish, invocation.deployment.namespace, topic, self._topic_bytes)

    async def _configure_opened(self, invocation: Invocation, inputs: Sequence[Input]) -> Configured:
        destinations: list[LogDestination] = []
        failed = None
        try:
            for _, _, (kind, where) in inputs:
                opened = self._topic(invocation, *where) if kind == "topic" else await self._group(invocation, *where)
                destinations.append(opened)
        except GuesthouseError as error:
            failed = str(error)
        told = invocation.observe("log groups", lambda: failed)
        if told is not None:
            return Err(("auth", told))
        if (
            failed is not None
        ):  # what an earlier run could open: the guest was told that all is well, and logs go nowhere
            return self._add(invocation, (), ())
        return self._add(invocation, destinations, inputs)

    async def _group(self, invocation: Invocation, role: str, group: str) -> LogDestination:
        if self._cloudwatch is None:
            raise BadRequest("this host has no AWS")
        named = GROUP.match(group)
        if named is None:
            raise BadRequest("this is no name of a log group")
        return await self._cloudwatch.open(invocation, role, named[2], named[1])

    def _add(
        self, invocation: Invocation, destinations: Sequence[LogDestination], inputs: Sequence[Input]
    ) -> Configured:
        routes: Routes = invocation.state(self)
        log = invocation.log
        added = [
            Route(destination, SEVERITY[guest] or NOTHING, SEVERITY[system] or NOTHING)
            for destination, (guest, system, _) in zip(destinations, inputs, strict=True)
        ]
        routes.add(added, log.records)
        log.tee = routes
        return Ok()
