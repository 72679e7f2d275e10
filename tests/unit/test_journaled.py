"""Host interfaces with a journal: each call has the effect that it should, and answers the same in every run."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from guesthouse.durable.errors import JournalDamaged, Suspended
from guesthouse.durable.hook import refusal
from guesthouse.engine.hostcall import Effect
from guesthouse.engine.types import FuncType, OwnType, ResourceType
from guesthouse.engine.values import Err, Ok
from guesthouse.interfaces import standard
from guesthouse.interfaces.aws.auth import AUTH, AwsAuthInterface
from guesthouse.interfaces.aws.base import Client, CredentialsProvider
from guesthouse.interfaces.base import Interface, host_call
from guesthouse.interfaces.cache import MemoryCache
from guesthouse.interfaces.log import LogInterface
from guesthouse.interfaces.topic import TopicBroker, TopicInterface
from guesthouse.interfaces.valkey.interface import Client as UrlClient
from guesthouse.interfaces.wasi import WasiInterface
from guesthouse.registry.deployment import Manifest
from unit.interface_fakes import SimulatedClock, deployment
from unit.journal_fakes import World
from unit.journaled_world import Life, every_call
from unit.wasi_world import MS, P1, SECOND, Guest

MONOTONIC, WALL, POLL = (
    "wasi:clocks/monotonic-clock@0.2.12",
    "wasi:clocks/wall-clock@0.2.12",
    "wasi:io/poll@0.2.12",
)
RANDOM = "wasi:random/random@0.2.12"
SCALAR, LIST = "momento:cache-scalar/cache-scalar@1.0.0", "momento:cache-list/cache-list@1.0.0"
TOPIC = "momento:topic/topic@1.0.0"
HOUR = 3_600_000

READS = {
    "aws-ddb": {"[method]client.get-item"},
    "aws-s3": {"[method]client.get", "[method]client.get-extended"},
    "aws-secrets": {"[method]client.get-secret-value"},
    "cache": {"get", "get-with-hash", "list-fetch", "list-length"},
    "http": {"get"},
    "token": {"generate-disposable-token"},
    "wasi": {
        "get-environment",
        "get-insecure-random-bytes",
        "get-insecure-random-u64",
        "get-random-bytes",
        "get-random-u64",
        "insecure-seed",
    },
}
WRITES = {
    "aws-ddb": {"[method]client.put-item"},
    "aws-lambda": {"[method]client.invoke"},
    "aws-s3": {"[method]client.put", "[method]client.put-extended"},
    "cache": {
        "delete",
        "list-concatenate-back",
        "list-concatenate-front",
        "list-erase",
        "list-pop-back",
        "list-pop-front",
        "list-push-back",
        "list-push-front",
        "list-remove",
        "list-retain",
        "set",
        "set-if",
        "set-if-hash",
    },
    "http": {"delete", "invoke", "invoke-with-timeout", "post", "put"},
    "spawn": {"spawn-function"},
    "topic": {"publish", "publish-bytes"},
    "valkey": {"[method]client.pipe", "[method]cluster-client.command"},
    "web": {"send-data", "send-response-start", "send-sse"},
}


def everything() -> list[Interface]:
    """All interfaces but those for durable guests, over nothing: their calls are only listed."""
    nothing: Any = None

    class Clients:
        limits = MemoryCache(SimulatedClock(), 1).limits
        transactional, lasting = True, True

    found = standard(
        SimulatedClock(), cache=cast("Any", Clients()), topics=TopicBroker(), spawner=nothing, disposable=nothing,
        aws=nothing, http_client=object(), valkey=object(),
    )  # fmt: skip
    return [each for each in found if each.name != "durable"]


def test_every_host_call_has_the_effect_that_it_should() -> None:
    """Whoever adds one decides here whether it reads or changes the world; all others are functions of the invocation."""
    found: dict[Effect, dict[str, set[str]]] = {Effect.READ: {}, Effect.WRITE: {}}
    for interface, call, _ in every_call(everything()):
        if call.effect is not Effect.NONE:
            found[call.effect].setdefault(interface.name, set()).add(call.function)
    assert found[Effect.READ] == READS
    assert found[Effect.WRITE] == WRITES


def test_whatever_is_recorded_can_be_written_down() -> None:
    """No function of ours that reads or changes the world answers a resource that another run could not be given."""
    interfaces = everything()
    classes = {key: owner for each in interfaces for key, owner in each.resources.items()}
    assert refusal([(call, func) for _, call, func in every_call(interfaces)], classes) is None


def test_what_cannot_be_written_down_is_refused_with_the_reason() -> None:
    """A function that answers a socket, say, cannot be told about it once more."""

    class Sockets(Interface):
        name = "sockets"

        @host_call("test:net/sockets", "open", Effect.READ)
        def open_one(self, invocation: Any) -> Any: ...

    (call,) = Sockets().host_calls()
    func = FuncType((), OwnType(ResourceType("test:net/sockets", "socket")))
    assert "test:net/sockets 'open' answers a socket" in (refusal([(call, func)], {}) or "")


# -- time


def clocks(world: World, clock: SimulatedClock) -> Life:
    return Life(world, WasiInterface(clock, clock.sleep))


def test_the_monotonic_clock_goes_on_in_the_next_run() -> None:
    """It shows what it showed, then what the wall's clock says has passed, though the machine's own one began anew."""
    world, clock = World(), SimulatedClock()
    first = clocks(world, clock)
    shown = first(MONOTONIC, "now")
    clock.pass_ms(1_500)
    assert first(MONOTONIC, "now") == shown + 1_500 * MS
    first.ends()
    later = SimulatedClock(monotonic_ns=77, wall_ns=clock.wall + 10 * SECOND)
    second = clocks(world, later)
    assert second(MONOTONIC, "now") == shown
    assert second(MONOTONIC, "now") == shown + 1_500 * MS
    assert second(MONOTONIC, "now") == shown + 11_500 * MS
    later.pass_ms(5)
    assert second(MONOTONIC, "now") == shown + 11_505 * MS


def test_the_monotonic_clock_never_goes_back() -> None:
    """Also where the wall's clock was set back between two runs."""
    world, clock = World(), SimulatedClock()
    first = clocks(world, clock)
    first(MONOTONIC, "now")
    clock.pass_ms(60_000)
    shown = first(MONOTONIC, "now")
    first.ends()
    second = clocks(world, SimulatedClock(wall_ns=clock.wall - 3_600 * SECOND))
    assert [second(MONOTONIC, "now") for _ in range(3)][1:] == [shown, shown]


def test_the_wall_clock_and_chance_answer_the_same_again() -> None:
    """And live ones come after them."""
    world, clock = World(), SimulatedClock()
    first = clocks(world, clock)
    told = [first(WALL, "now"), first(RANDOM, "get-random-u64"), first(RANDOM, "get-random-bytes", 5)]
    first.ends()
    clock.pass_ms(99)
    second = clocks(world, clock)
    again = [second(WALL, "now"), second(RANDOM, "get-random-u64"), second(RANDOM, "get-random-bytes", 5)]
    assert again == told
    assert second(WALL, "now") != told[0]


def test_a_sleep_that_has_passed_is_not_slept_again() -> None:
    """Only what is left of one that was cut off."""
    world, clock = World(), SimulatedClock()

    def naps(life: Life) -> None:
        for _ in range(2):
            nap = life(MONOTONIC, "subscribe-duration", 10 * SECOND)
            life(POLL, "[method]pollable.block", nap)
            life(MONOTONIC, "now")

    first = clocks(world, clock)
    nap = first(MONOTONIC, "subscribe-duration", 10 * SECOND)
    first(POLL, "[method]pollable.block", nap)
    first(MONOTONIC, "now")
    first(MONOTONIC, "subscribe-duration", 10 * SECOND)
    assert sum(clock.naps) == pytest.approx(10, abs=0.01)
    first.ends()
    clock.pass_ms(4_000)
    clock.naps.clear()
    naps(clocks(world, clock))
    assert sum(clock.naps) == pytest.approx(6, abs=0.01)


def test_a_long_sleep_of_a_guest_that_knows_nothing_suspends_it() -> None:
    """Until the time of the wall at which it ends, whichever process that is in."""
    world, clock = World(), SimulatedClock()
    run = clocks(world, clock)

    async def no_patience(done: asyncio.Future[Any]) -> bool:
        return False

    run.run.linger = no_patience  # type: ignore[method-assign]  # of this one run
    nap = run(MONOTONIC, "subscribe-duration", 3_600 * SECOND)
    with pytest.raises(Suspended) as caught:
        run(POLL, "poll", [nap])
    assert caught.value.wait.until_ms == pytest.approx(clock.wall // MS + HOUR, abs=2)
    run.ends()
    clock.pass_ms(HOUR + 5)
    again = clocks(world, clock)
    nap = again(MONOTONIC, "subscribe-duration", 3_600 * SECOND)
    assert again(POLL, "poll", [nap]) == [0]


def test_a_sleep_inside_of_a_step_stays_in_memory() -> None:
    """The step would begin anew after a suspension, and sleep for ever; the deadline bounds it."""
    world, clock = World(), SimulatedClock()
    run = clocks(world, clock)

    async def no_patience(done: asyncio.Future[Any]) -> bool:
        return False

    run.run.linger = no_patience  # type: ignore[method-assign]  # of this one run
    run.journal.steps.begin("nap")
    nap = run(MONOTONIC, "subscribe-duration", 5 * SECOND)
    assert run(POLL, "poll", [nap]) == [0]
    assert sum(clock.naps) == pytest.approx(5, abs=0.01)


def test_preview_1_is_written_into_memory_again() -> None:
    """Chance, both clocks and timers: what lay in memory after a call lies there again."""
    world, clock = World(), SimulatedClock()

    def run() -> tuple[bytes, list[int]]:
        life, guest = clocks(world, clock), Guest()
        answers = [
            life(P1, "random_get", guest, 64, 16),
            life(P1, "clock_time_get", guest, 0, 1, 128),
            life(P1, "clock_time_get", guest, 1, 1, 136),
            life(P1, "environ_sizes_get", guest, 144, 148),
        ]
        guest.write(1024 + 8, b"\0")
        guest.write(1024 + 16, (1).to_bytes(4, "little"))
        guest.write(1024 + 24, (5 * SECOND).to_bytes(8, "little"))
        answers.append(life(P1, "poll_oneoff", guest, 1024, 2048, 1, 152))
        answers.append(life(P1, "clock_time_get", guest, 1, 1, 160))
        life.ends()
        return bytes(guest.memory), answers

    first = run()
    clock.pass_ms(12_345)
    naps = list(clock.naps)
    assert run() == first
    assert clock.naps == naps


def test_preview_1_answers_the_same_wherever_in_memory_it_is_asked_to() -> None:
    """After a step that is not run again a guest's memory is laid out differently: addresses are neither kept nor compared."""
    world, clock = World(), SimulatedClock()
    found = []
    for place in (64, 4_096):
        life, guest = clocks(world, clock), Guest()
        life(P1, "random_get", guest, place, 16)
        life(P1, "clock_time_get", guest, 0, 1, place + 16)
        life(P1, "environ_get", guest, place + 24, place + 64)
        life.ends()
        found.append((guest.read(place, 24), guest.read(place + 64, 32), guest.u32(place + 24) - place))
    assert found[0] == found[1]


@pytest.mark.parametrize("value", ["text", b"short", None, [1, 2]])
def test_what_was_observed_is_checked(value: Any) -> None:
    """A journal with something else in its place is damaged."""
    for function, what, args in (
        ("random_get", "16 random bytes", (64, 16)),
        ("clock_time_get", "the origin of the monotonic clock", (1, 1, 64)),
        ("environ_sizes_get", "the environment", (64, 68)),
    ):
        world = World()
        life = clocks(world, SimulatedClock())
        life.run.observe(what, lambda: value)
        life.ends()
        with pytest.raises(JournalDamaged):
            clocks(world, SimulatedClock())(P1, function, Guest(), *args)


# -- what is judged and read once


def test_a_secret_is_read_as_it_was() -> None:
    """Another value reaches the invocation where it goes on live."""
    values = {"key": b"old"}
    manifest = Manifest(secrets=frozenset({"key"}))

    def opened(world: World) -> Life:
        clock = SimulatedClock()
        wasi = WasiInterface(clock, clock.sleep, lambda namespace, name: values[name])
        return Life(world, wasi, of=deployment(manifest=manifest))

    def read(life: Life) -> bytes:
        types = "wasi:filesystem/types@0.2.12"
        ((root, _),) = life("wasi:filesystem/preopens@0.2.12", "get-directories")
        path = "var/openfaas/secrets/key"
        found = life(types, "[method]descriptor.open-at", root, frozenset(), path, frozenset(), frozenset({"read"}))
        data: bytes = found.value.data
        return data

    world = World()
    first = opened(world)
    assert read(first) == b"old"
    first.ends()
    values["key"] = b"new"
    second = opened(world)
    assert [read(second), read(second)] == [b"old", b"new"]


class Aws:
    """Clients of which every role can be assumed."""

    async def available(self) -> None: ...

    async def assume_role(self, role_arn: str, region: str) -> Any: ...


class Given:
    """What a guest brings along."""

    role_arn = "arn:aws:iam::123456789012:role/reader"
    access_key_id, secret_access_key = "AKIA", "s3cr3t"


@pytest.mark.parametrize("granted", [True, False])
def test_a_grant_is_judged_live_and_never_on_replay(granted: bool) -> None:
    """What was allowed stays allowed in the replay, and is refused where the invocation goes on; and the other way round."""

    def life(world: World, *, allowed: bool) -> Life:
        grants = frozenset(
            {f"aws-auth:{Given.role_arn}" if allowed else "aws-auth:arn:other", "topic:a" if allowed else "topic:b"}
        )
        interfaces = AwsAuthInterface(cast("Any", Aws())), TopicInterface(TopicBroker()), LogInterface(lambda *_: None)
        return Life(world, *interfaces, of=deployment(manifest=Manifest(grants=grants)))

    def asks(life: Life) -> list[type]:
        provider = life(AUTH, "provider", ("federated", Given()), "eu-central-1")
        return [type(provider), type(life(TOPIC, "publish", "a", "x"))]

    world = World()
    first = life(world, allowed=granted)
    told = [Ok, Ok] if granted else [Err, Err]
    assert asks(first) == told
    first.ends()
    second = life(world, allowed=not granted)
    assert asks(second) == told
    assert asks(second) == ([Err, Err] if granted else [Ok, Ok])


def test_keys_of_a_guest_reach_no_journal() -> None:
    """Neither where it shows them nor where they are used."""
    world = World()
    life = Life(world, AwsAuthInterface(cast("Any", Aws())))
    provider = life(AUTH, "provider", ("hardcoded", Given()), "eu-central-1").value
    assert isinstance(provider, CredentialsProvider)
    assert Client(provider).packed() == ["eu-central-1", "AKIA"]
    life.ends()
    assert b"s3cr3t" not in b"".join(world.segments)
    assert UrlClient("redis://user:pass@host").packed() != UrlClient("redis://user:word@host").packed()
    assert b"pass" not in UrlClient("redis://user:pass@host").packed()


def test_log_destinations_are_refused_as_they_were() -> None:
    """The guest is told the same; what works now is connected anyway."""
    lines: list[str] = []

    def life(world: World, *grants: str) -> Life:
        interface = LogInterface(lambda namespace, topic, line: lines.append(line))
        return Life(world, interface, of=deployment(manifest=Manifest(grants=frozenset(grants))))

    wanted = [("info", "off", ("topic", ("lines",)))]
    world = World()
    first = life(world, "log:topic:lines")
    assert first("momento:log/logging@1.0.0", "configure-logging", wanted) == Ok()
    first.ends()
    second = life(world, "log:topic:others")
    assert second("momento:log/logging@1.0.0", "configure-logging", wanted) == Ok()
    assert isinstance(second("momento:log/logging@1.0.0", "configure-logging", wanted), Err)
