"""Journals: what a retry begins with, steps, bounds, journals without a sink, and journals that something else has changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guesthouse.durable.errors import (
    Diverged,
    JournalEnded,
    JournalError,
    JournalFull,
)
from guesthouse.durable.reading import Reading
from guesthouse.durable.records import cut_segment
from guesthouse.engine.values import Err, Ok
from guesthouse.errors import Trap
from unit.journal_fakes import HEADER, Crash, Guest, Policy, Run, World, diverges, life, of, played, until_done

# -- retries


def failing(*names: str) -> Callable[[World], bytes]:
    """A run that makes these calls and then fails: what it leaves."""

    def run(world: World) -> bytes:
        found = Run(world)
        asyncio.run(played(found, of(*names)))
        return found.journal.cut()

    return run


def kept(world: World) -> int:
    """Entries that count."""
    journal, count = Reading(world.segments), 0
    while journal.ahead is not None:
        count += type(journal.ahead).__name__ in ("Call", "Intent", "Observed", "Step")
        journal.advance()
    return count


@pytest.mark.parametrize(
    ("names", "refused", "left"),
    [
        (("look",), 0, 0),
        (("buy", "look"), 0, 1),
        (("look", "buy", "look", "look"), 0, 2),
        (("note", "look"), 0, 1),
        (("buy", "look", "buy"), 2, 0),
        (("look", "buy"), 1, 0),
    ],
)
def test_a_retry_begins_behind_the_last_effect_that_succeeded(names: tuple[str, ...], refused: int, left: int) -> None:
    """What was read after it, and effects that failed, are done again."""
    found = World()
    found.refusals = refused
    segment = failing(*names)(found)
    if segment:
        found.segments.append(segment)
    assert kept(found) == left
    done = len(found.asked)
    asyncio.run(life(found, of(*names)))
    assert len(found.asked) - done == sum(name == "buy" for name in names[left:])
    assert all(count == 1 for count in found.bought.values())


def test_an_effect_that_is_tried_again_has_the_same_key() -> None:
    """Whoever honours keys does it once, also where the first answer was only lost."""
    found = World()
    found.refusals = 1
    found.segments.append(failing("look", "buy")(found))
    asyncio.run(life(found, of("look", "buy")))
    assert len(found.asked) == 2
    assert len({key for key, _ in found.asked}) == 1


def test_a_run_that_ends_in_the_middle_of_an_effect_leaves_it_as_a_crash_does() -> None:
    """A deadline says no more about what was done than a crash: the deployment decides, and units that are committed count."""
    policy = Policy(ambiguous={"shop.test": "fail"})
    found = World()
    run = Run(found, policy)

    async def ends_in_the_middle() -> None:
        await run.call("look", "look-0")
        found.dies_at = found.steps + 4  # the effect is made, and its result is never seen
        with suppress(Crash):
            await run.call("buy", "buy-1")

    asyncio.run(ends_in_the_middle())
    assert run.journal.cut() == b""
    results = asyncio.run(life(found, of("look", "buy"), policy))
    assert results == [1, Err("perhaps bought")]
    assert len(found.asked) == 1


def test_a_unit_that_was_committed_is_kept_by_a_retry() -> None:
    """Also where the run ended before the call that it was a part of."""
    found = World()
    run = Run(found)

    async def ends_in_the_middle() -> None:
        found.dies_at = 1
        with suppress(Crash):
            await run.call("note", "note-0")

    asyncio.run(ends_in_the_middle())
    found.segments.append(run.journal.cut() or b"")
    found.segments = [segment for segment in found.segments if segment]
    assert asyncio.run(life(found, of("note"))) == [Ok(3)]
    assert found.notes() == ["note-0-1", "note-0-2"]


def test_what_a_guest_was_told_is_durable_before_an_effect_inside_of_a_step() -> None:
    """A run after a crash does the step with the same arguments, and so under the same key."""
    found = World()

    async def guest(run: Run) -> Any:
        seen = await run.call("look")
        begun = run.journal.steps.begin("pay")
        if not begun.ended:
            await run.call("buy", f"for {seen}")
            found.step()
            await run.journal.steps.end(None)
        return seen

    found.dies_at = 5
    assert asyncio.run(life(found, guest)) == 1
    assert len(found.asked) == 2
    assert len(set(found.asked)) == 1


def test_a_run_that_fails_in_its_replay_leaves_the_journal_alone() -> None:
    """What was done stays done, however early it fails."""
    found, _ = until_done(of("buy", "look", "buy"))
    assert failing("buy")(found) == b""


def test_somebody_may_cut_a_journal_at_any_entry() -> None:
    """What was kept is told again, the rest is done anew; effects keep their keys."""
    found, _ = until_done(of("look", "buy", "look"))
    found.segments.append(cut_segment(1))
    results = asyncio.run(life(found, of("look", "buy", "look")))
    assert results[0] == 1
    assert [key for key, _ in found.asked] == [found.asked[0][0]] * 2


# -- steps


async def step(run: Run, *names: str) -> Any:
    """A step that makes these calls, of which the last result counts."""
    begun = run.journal.steps.begin("pay")
    if begun.ended:
        return begun.outcome
    result = None
    for name in names:
        result = await run.call(name)
    await run.journal.steps.end([result[0]] if isinstance(result, tuple) else result)
    return [result[0]] if isinstance(result, tuple) else result


def test_a_step_that_ended_is_not_run_again() -> None:
    """Its calls are not recorded one by one; a crash inside begins it anew, with the same keys."""

    async def guest(run: Run) -> Any:
        first = await step(run, "look", "buy", "buy")
        return first, await run.call("buy")

    expected, results = until_done(guest)
    for dies_at in range(1, expected.steps + 1):
        found, got = until_done(guest, dies_at=dies_at)
        assert got == results
        assert found.bought == expected.bought
    assert kept(expected) == 2
    assert len(expected.bought) == 3


def test_how_often_a_step_ran_in_vain_survives_a_crash() -> None:
    """With the time of its next run."""
    found = World()
    run = Run(found)

    async def tries() -> None:
        assert run.journal.steps.begin("pay").runs == 0
        await run.call("buy")
        await run.journal.steps.tried(1, 5_000)
        await run.call("buy")

    asyncio.run(tries())
    again = Run(found).journal.steps.begin("pay")
    assert (again.runs, again.due_ms, again.ended) == (1, 5_000, False)
    assert len({key for key, _ in found.asked}) == 1


def test_another_step_is_a_divergence() -> None:
    """And so is a call in its place."""

    def begins(name: str) -> Guest:
        async def guest(run: Run) -> None:
            if not run.journal.steps.begin(name).ended:
                await run.journal.steps.end(None)

        return guest

    assert '"pay"' in diverges(begins("pay"), begins("ship")).recorded
    assert "buy" in diverges(begins("pay"), of("buy")).found
    assert "look" in diverges(of("look"), begins("pay")).recorded


# -- bounds


def test_a_journal_is_bounded() -> None:
    """One that needs more ends the run, and says how much it would have had."""
    run = Run(World(), Policy(journal_bytes=10_000))

    async def guest(run: Run) -> None:
        while True:
            await run.call("look", "a" * 100)

    with pytest.raises(JournalFull, match="10000 are the most"):
        asyncio.run(played(run, guest))
    assert len(run.journal.pending()) < 11_000


def test_a_recorder_leaves_out_what_there_is_no_room_for() -> None:
    """The call does not notice."""
    run = Run(World(), Policy(journal_bytes=10_000), keeps=False)

    async def guest(run: Run) -> int:
        for _ in range(1_000):
            last: int = await run.call("look", "a" * 100)
        return last

    assert asyncio.run(played(run, guest)) == 1_000
    assert run.journal.full


def test_reads_are_appended_before_there_are_too_many_of_them() -> None:
    """A guest that only reads does not read everything again after a crash."""
    found = World()
    run = Run(found)

    async def guest(run: Run) -> None:
        for _ in range(1_000):
            await run.call("look", "a" * 100)

    asyncio.run(played(run, guest))
    assert len(found.segments) >= 1
    assert Run(found).journal.replaying


# -- without a sink


def recorded(guest: Guest) -> tuple[World, Any]:
    """A world with the journal of a recorder in it."""
    found = World()
    run = Run(found, keeps=False)
    result = asyncio.run(played(run, guest))
    found.segments = [run.journal.finish("ok", 200)]
    return found, result


def test_a_recorder_records_without_waiting_and_replays_offline() -> None:
    """Everything is answered from the journal, and nothing reaches the world."""
    names = ("look", "buy", "note", "look-later", "look-blocking")
    found, results = recorded(of(*names))
    asked, looks, notes = list(found.asked), found.looks, found.notes()
    run = Run(found, keeps=False)
    assert asyncio.run(played(run, of(*names))) == results
    run.journal.finish("ok", 200)
    assert (found.asked, found.looks, found.notes()) == (asked, looks, notes)
    assert run.journal.reading.end is not None
    assert run.journal.reading.end.status == 200


def test_an_offline_replay_never_goes_on_live() -> None:
    """Where the journal ends, the run ends, whatever the guest calls."""
    found, _ = recorded(of("look"))
    for name in ("look", "buy", "note", "look-later"):
        run = Run(found, keeps=False)
        with pytest.raises(JournalEnded):
            asyncio.run(played(run, of("look", name)))
        with pytest.raises(JournalEnded):
            run.journal.finish("ok")
    assert found.looks == 1
    assert not found.notes()


def test_an_offline_replay_finds_divergence_as_well() -> None:
    """The same error, with both calls."""
    found, _ = recorded(of("look", "buy"))
    with pytest.raises(Diverged):
        asyncio.run(played(Run(found, keeps=False), of("buy")))


# -- damage


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_journal_that_was_changed_never_does_harm(data: st.DataObject) -> None:
    """It is found out, or what counts of it is what was written."""
    found, results = until_done(of("look", "buy", "note"))
    segments = list(found.segments)
    at = data.draw(st.integers(0, len(segments) - 1))
    how = data.draw(st.sampled_from(["drop", "twice", "swap", "flip", "cut"]))
    if how == "drop":
        del segments[at]
    elif how == "twice":
        segments.insert(at, segments[at])
    elif how == "swap":
        other = data.draw(st.integers(0, len(segments) - 1))
        segments[at], segments[other] = segments[other], segments[at]
    else:
        place = data.draw(st.integers(0, len(segments[at]) - 1))
        changed = bytearray(segments[at])
        changed[place] ^= 1
        segments[at] = bytes(changed) if how == "flip" else segments[at][:place]
    found.segments = segments
    try:
        run = Run(found)
        got = asyncio.run(played(run, of("look", "buy", "note")))
    except (JournalError, Trap):
        return
    assert [type(result) for result in got] == [type(result) for result in results]
    assert HEADER.id == run.journal.id
