"""Spawning as a guest sees it: a start, or a value that says why not."""

import pytest

from guesthouse.engine.values import Err, Ok
from guesthouse.errors import AdmissionFull, BodyTooLarge, Draining, HostError, NotFound, Unavailable
from guesthouse.interfaces.bytes import Buffer, Data, StreamFailed
from guesthouse.interfaces.invocation import Invocation
from guesthouse.interfaces.spawn import SpawnInterface, SpawnLimit
from guesthouse.limits import Limits
from unit.interface_fakes import calls, chunks, invocation, now

RUN = invocation()


class FakeSpawner:
    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.started: list[tuple[Invocation, str, bytes]] = []

    async def spawn(self, parent: Invocation, name: str, payload: bytes) -> None:
        if self.failure is not None:
            raise self.failure
        self.started.append((parent, name, payload))


@pytest.mark.parametrize(
    "data",
    [
        b"payload",
        ("value", b"payload"),
        ("buffer", Buffer(b"payload")),
        ("buffer", Buffer(source=chunks(b"pay", b"load"))),
    ],
)
def test_a_spawn_hands_over_name_payload_and_parent(data: Data) -> None:
    """The older list and the newer data alike."""
    spawner = FakeSpawner()
    assert now(SpawnInterface(spawner).spawn_function(RUN, "fill", data)) == Ok()
    assert spawner.started == [(RUN, "fill", b"payload")]


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (NotFound("no"), ("function-not-found", None)),
        (SpawnLimit("depth: over 16"), ("limit", "depth: over 16")),
        (AdmissionFull(), ("limit", "too many invocations are running")),
        (Draining(), ("limit", "the host is shutting down")),
        (BodyTooLarge("over 5 bytes"), ("limit", "over 5 bytes")),
        (Unavailable("disk"), ("internal-error", None)),
    ],
)
def test_what_stands_in_the_way_is_a_value(failure: Exception, error: object) -> None:
    """Nothing of it traps the caller."""
    assert now(SpawnInterface(FakeSpawner(failure)).spawn_function(RUN, "fill", b"")) == Err(error)


def test_a_bug_in_the_host_is_no_value() -> None:
    """It goes up, where it becomes a trap of this invocation."""
    with pytest.raises(HostError):
        now(SpawnInterface(FakeSpawner(HostError("bug"))).spawn_function(RUN, "fill", b""))


def test_a_payload_over_the_limit_is_not_collected() -> None:
    """`limit`, and nothing is started."""
    spawner = FakeSpawner()
    run = invocation(limits=Limits(request_bytes=4))
    streamed = ("buffer", Buffer(source=chunks(b"abc", b"de")))
    for data in (b"abcde", ("value", b"abcde"), streamed):
        answer = now(SpawnInterface(spawner).spawn_function(run, "fill", data))
        assert isinstance(answer, Err)
        assert answer.error[0] == "limit"
    assert spawner.started == []


def test_a_payload_that_breaks_off_starts_nothing() -> None:
    """An internal error for the caller."""
    spawner = FakeSpawner()
    broken = ("buffer", Buffer(source=chunks(b"a", StreamFailed("gone"))))
    assert now(SpawnInterface(spawner).spawn_function(RUN, "fill", broken)) == Err(("internal-error", None))
    assert spawner.started == []


def test_both_packages_are_answered() -> None:
    """The published one and the older."""
    assert {name for name, _ in calls(SpawnInterface(FakeSpawner()))} == {
        "momento:spawn/spawn@1.0.0",
        "momento:host/spawn@1.0.0",
    }
