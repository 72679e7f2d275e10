"""Journals and the hook: what a guest is told twice is the same, and what it causes happens once, wherever the process dies."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guesthouse.durable.errors import (
    Ambiguous,
    Diverged,
    JournalDamaged,
    Suspended,
)
from guesthouse.durable.journal import Journal
from guesthouse.durable.records import Header, decided_segment
from guesthouse.engine.values import Err, Ok
from guesthouse.errors import Trap
from unit.journal_fakes import Guest, Policy, Run, World, diverges, life, of, play, played, until_done

FUNCTIONS = ("look", "look-later", "look-blocking", "buy", "note")


# -- crashes


@given(st.lists(st.sampled_from(FUNCTIONS), min_size=1, max_size=5))
@settings(max_examples=25, deadline=None)
def test_a_crash_at_any_point_changes_nothing(names: list[str]) -> None:
    """Results and effects are those of a life without a crash; only what was read may have been read again."""
    expected, results = until_done(of(*names))
    for dies_at in range(1, expected.steps + 1):
        found, got = until_done(of(*names), dies_at=dies_at)
        assert [type(result) for result in got] == [type(result) for result in results]
        assert [result for result in got if not isinstance(result, int)] == [
            result for result in results if not isinstance(result, int)
        ]
        assert found.bought == expected.bought
        assert found.notes() == expected.notes()


@pytest.mark.parametrize("dies_at", range(1, 7))
def test_every_crash_point_of_one_effect(dies_at: int) -> None:
    """Before and after the intent, before and after the effect, before and after its result: the same key, done once."""
    found, results = until_done(of("look", "buy"), dies_at=dies_at)
    assert results[1] == Ok(1)
    assert set(found.bought.values()) == {1}
    assert len({key for key, _ in found.asked}) == 1
    assert len(found.asked) == (2 if 4 <= dies_at <= 5 else 1)
    assert found.ambiguous == (["repeat"] if 2 <= dies_at <= 5 else [])


def test_a_recorded_effect_is_not_made_again_by_another_run() -> None:
    """A whole journal answers everything."""
    found, results = until_done(of("look", "buy", "note", "look"))
    looks, asked = found.looks, list(found.asked)
    assert play(found, of("look", "buy", "note", "look")) == results
    assert (found.looks, found.asked) == (looks, asked)


def test_units_of_work_are_committed_with_the_journal_or_not_at_all() -> None:
    """Of two units the first is answered from the journal where the process died behind it."""
    for dies_at in (1, 2):
        found, results = until_done(of("note"), dies_at=dies_at)
        assert results == [Ok(3)]
        assert found.notes() == ["note-0-1", "note-0-2"]


def test_a_unit_that_is_refused_leaves_no_trace_in_the_journal() -> None:
    """The guest is told the error, also the second time."""

    async def guest(run: Run) -> Any:
        return await run.call("note", "bad"), await run.call("note", "good")

    found, results = until_done(guest)
    assert results[0] == Err("refused")
    assert found.notes() == ["bad-1", "good-1", "good-2"]
    assert play(found, guest) == results


def test_keys_are_the_same_in_each_run_and_differ_between_effects() -> None:
    """They come from the invocation and the place of the effect in it, whatever was read between."""
    with_looks, _ = until_done(of("look", "buy", "look", "look", "buy"))
    without, _ = until_done(of("buy", "buy"))
    assert [key for key, _ in with_looks.asked] == [key for key, _ in without.asked]
    assert len({key for key, _ in without.asked}) == 2


# -- what was perhaps done


@pytest.mark.parametrize("dies_at", [3, 4, 5])
def test_a_deployment_may_say_that_the_guest_is_told(dies_at: int) -> None:
    """`fail`: the call is not repeated, and the guest goes on with its error."""
    found, results = until_done(of("buy", "buy"), Policy(ambiguous={"shop.test": "fail"}), dies_at=dies_at)
    assert results[0] == Err("perhaps bought")
    assert isinstance(results[1], Ok)
    assert found.ambiguous == ["fail"]
    assert len(found.asked) == (1 if dies_at == 3 else 2)


def test_a_deployment_may_ask_somebody() -> None:
    """`ask`: the run ends; what is decided is appended, and the next run does it."""
    policy = Policy(ambiguous={"shop.test": "ask"})
    for word, expected in (("repeat", Ok(1)), ("fail", Err("perhaps bought"))):
        found = World()
        found.dies_at = 5
        with pytest.raises(Ambiguous, match=r'call 0.*buy\("buy-0"\)'):
            asyncio.run(life(found, of("buy"), policy))
        found.segments.append(decided_segment(word))
        assert asyncio.run(life(found, of("buy"), policy)) == [expected]
        assert found.ambiguous == ["ask", word]


@pytest.mark.parametrize("later", range(1, 7))
def test_a_decision_to_repeat_is_for_one_time(later: int) -> None:
    """Where a crash cuts the repetition off as well, somebody is asked again."""
    policy = Policy(ambiguous={"shop.test": "ask"})
    found = World()
    found.dies_at = 5
    with pytest.raises(Ambiguous):
        asyncio.run(life(found, of("buy"), policy))
    found.segments.append(decided_segment("repeat"))
    found.dies_at = found.steps + later
    with suppress(Ambiguous):
        asyncio.run(life(found, of("buy"), policy))
    assert len(found.asked) <= 2, "done a third time, and nobody was asked"


# -- long bodies


def test_a_replay_never_has_to_unpack_much_at_once() -> None:
    """A body of zeros would be a few kilobytes on disk, and hold up everybody while it is unpacked, in each further run."""
    found = World()

    async def work() -> None:
        run = Run(found, Policy(journal_bytes=16 << 20))
        run.journal.add("shop#look", b"\x90", bytes(8 << 20))
        await run.journal.flush()

    asyncio.run(work())
    assert sum(map(len, found.segments)) > 8 << 20


# -- divergence


@pytest.mark.parametrize(
    ("recorded", "found", "entry", "words"),
    [
        (("look", "buy"), ("buy", "look"), 0, ("look", "buy")),
        (("look", "buy"), ("look", "look", "buy"), 1, ("buy", "look")),
        (("look", "buy"), ("buy",), 0, ("look", "buy")),
        (("look", "look-later"), ("look", "note"), 1, ("look-later", "note")),
        (("look", "buy"), ("look",), 1, ("buy", "ended (ok)")),
        (("note", "buy"), (), 0, ("note", "ended (ok)")),
    ],
)
def test_another_call_is_a_divergence_with_both_calls(
    recorded: tuple[str, ...], found: tuple[str, ...], entry: int, words: tuple[str, str]
) -> None:
    """Order, function, one more, one less, an early end: at the first entry that differs, before anything is done."""
    error = diverges(of(*recorded), of(*found))
    assert error.entry == entry
    assert words[0] in error.recorded
    assert words[1] in error.found
    assert error.recorded in str(error)
    assert error.found in str(error)


@pytest.mark.parametrize("size", [3, 200, 300, 100_000])
def test_another_argument_is_a_divergence(size: int) -> None:
    """However long it is; what is shown of it is short."""

    def guest(what: str) -> Guest:
        async def buys(run: Run) -> Any:
            return await run.call("buy", what)

        return buys

    there, _ = until_done(guest("a" * size))
    assert play(there, guest("a" * size)) == Ok(1)
    error = diverges(guest("a" * size), guest("a" * (size - 1) + "b"))
    assert len(str(error)) < 1_500
    assert there.asked == [(there.asked[0][0], "a" * size)]


def test_who_hides_a_divergence_does_not_get_on() -> None:
    """It is raised again by the next call, by the next append and by the end."""
    there, _ = until_done(of("look", "buy"))

    async def guest(run: Run) -> None:
        for name in ("buy", "look", "buy"):
            with pytest.raises(Diverged):
                await run.call(name)
        with pytest.raises(Diverged):
            run.journal.observe("the clock", lambda: 1)
        with pytest.raises(Diverged):
            await run.journal.flush()
        with pytest.raises(Diverged):
            run.journal.finish("ok")
        assert run.journal.cut() == b""

    play(there, guest)


def test_a_journal_of_somebody_else_is_refused() -> None:
    """The header says whose it is."""
    there, _ = until_done(of("look"))
    with pytest.raises(JournalDamaged, match="the journal of inv-1, not of inv-2"):
        Journal(None, there.segments, header=Header("inv-2", 1, "00", "test"))


# -- what is read inside of calls that are not recorded


def test_what_is_observed_is_the_same_in_every_run() -> None:
    """Values of JSON's kinds and bytes, read once."""

    async def guest(run: Run) -> Any:
        read = run.world.looks
        run.world.looks += 1
        first = run.invocation.observe("the looks", lambda: [read, b"bytes", None])
        await run.call("buy")
        return first

    found, first = until_done(guest, dies_at=6)
    assert first == [0, b"bytes", None]
    assert found.looks == 2


def test_what_is_observed_later_is_the_same_in_every_run() -> None:
    """Also where it has to be waited for."""

    async def guest(run: Run) -> Any:
        async def read() -> int:
            run.world.looks += 1
            return run.world.looks

        first = await run.invocation.observe_later("the looks", read)
        await run.call("buy")
        return first

    assert until_done(guest, dies_at=6)[1] == 1


def test_observing_something_else_is_a_divergence() -> None:
    """And so is a call where something was observed."""

    def observing(what: str) -> Guest:
        async def guest(run: Run) -> Any:
            return run.invocation.observe(what, lambda: 1)

        return guest

    assert diverges(observing("the clock"), observing("a secret")).recorded == "reading the clock"
    assert "look" in diverges(observing("the clock"), of("look")).found


# -- traps, suspensions


def test_a_trap_of_a_host_function_is_recorded() -> None:
    """Another run of the same journal ends in the same way."""
    found = World()
    run = Run(found)
    with pytest.raises(Trap):
        asyncio.run(played(run, of("look", "trap")))
    found.segments.append(run.journal.finish("trapped", reason="shop"))
    again = Run(found)
    with pytest.raises(Trap, match="no such thing") as caught:
        asyncio.run(played(again, of("look", "trap")))
    assert caught.value.reason == "shop"
    again.journal.finish("trapped", reason="shop")


def test_who_is_asked_to_leave_does_so_before_the_next_effect() -> None:
    """What it was told so far is kept by whoever suspends it."""
    found = World()
    run = Run(found)
    wait = object()

    def leave() -> None:
        raise Suspended(wait)

    run.invocation.go_on = leave  # type: ignore[method-assign]
    with pytest.raises(Suspended) as caught:
        asyncio.run(played(run, of("look", "buy")))
    assert caught.value.wait is wait
    found.segments.append(run.journal.pending())
    results = play(found, of("look", "buy"))
    assert results == [1, Ok(1)]
    assert found.looks == 1


def test_the_end_of_the_replay_is_told_once() -> None:
    """At the last thing that was recorded: what comes then is live."""
    found, _ = until_done(of("look", "look"))
    run = Run(found)
    told: list[int] = []
    run.journal.on_live = lambda: told.append(run.journal.entry)
    asyncio.run(played(run, of("look", "look", "look")))
    assert told == [2]
    assert not run.journal.replaying
    assert not Run(World()).journal.replaying
