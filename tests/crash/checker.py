"""Judges what became of the calls of a crash run, when the server is up again and has nothing more to do.

Promises: every sentence in `faults` names the call and what is wrong with it; what only a crash may cause is allowed
only to calls in whose life one was.  Must not know how the server works: it sees its answers, its records and the world.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from crash.calls import ATTEMPTS, DELAY_S, Call
from crash.world import Seen, answer_of

STRIKES = 2
"""Kills of a process after which a call that ran each time is not run again."""


@dataclass
class History:
    """Everything that a judgement rests on."""

    calls: Sequence[Call]
    records: Mapping[str, Sequence[dict[str, Any]]]
    """Of `GET /invocations`, by the call's own id; chained ones by the id of their parent."""
    spawned: Sequence[dict[str, Any]]
    """Records of spawned runs."""
    outputs: Mapping[str, bytes]
    """By the id of the invocation, of those that succeeded."""
    seen: Callable[[int], Seen]
    kills_ms: Sequence[int]
    """When the server was killed, ascending."""
    politely: bool = False
    """Whether it was asked to end instead: a host that ends may give spawned runs up, and says so."""

    def kills(self, call: Call, record: dict[str, Any] | None) -> int:
        """How often it was killed in the life of a call."""
        end = (record or {}).get("ended_at")
        last = len(self.kills_ms) if end is None else bisect_right(self.kills_ms, milliseconds(end))
        return last - bisect_left(self.kills_ms, call.began_ms)


def milliseconds(time: str) -> int:
    """Since 1970-01-01 UTC, of a time in a record."""
    return int(datetime.fromisoformat(time).timestamp() * 1000)


@dataclass
class Verdict:
    """What was found."""

    faults: list[str] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)
    """Calls by kind and final state."""


def judge(history: History, name_of: Callable[[Call], str]) -> Verdict:
    """All calls of a history; `name_of` is what a call is known by."""
    verdict = Verdict()
    for call in history.calls:
        if call.kind == "spawn":
            _runs_at_most(verdict, call, history.seen(call.serial), 1)
        else:
            _judge(verdict, history, call, list(history.records.get(name_of(call), ())))
    _judge_spawns(verdict, history)
    return verdict


def _judge(verdict: Verdict, history: History, call: Call, records: list[dict[str, Any]]) -> None:
    def fault(what: str) -> None:
        verdict.faults.append(f"call {call.serial} ({call.kind}, sent {call.sent}, ids {call.ids}): {what}; {records}")

    seen = history.seen(call.serial)
    if len(set(call.ids)) > 1:
        fault("one Idempotency-Key has several ids")
    if len(records) > 1:
        fault("it has several records")
        return
    if not records:
        if call.ids or any(answer.startswith(b"2") for answer in call.answers):
            fault("it was acknowledged and is lost")
        if len(call.refused) == call.sent and seen.runs:
            fault("it was refused and ran")
        return
    (record,) = records
    verdict.states[f"{call.kind} {record['state']}"] += 1
    if len(call.refused) == call.sent:
        fault("it was refused and has a record")
    if not history.kills_ms and not call.ids and not call.answers:
        fault("a server that ended in order took it and did not answer")
    if call.ids and record["id"] != call.ids[0]:
        fault("its record has another id than its acknowledgement")
    kills = history.kills(call, record)
    if record["state"] not in _states(call, kills, record["attempts"]):
        fault(f"it cannot have ended so, with {kills} kills in its life")
    _judge_output(fault, history, call, record)
    _judge_runs(fault, history, call, record)
    _judge_callback(fault, history, call, record)


def _states(call: Call, kills: int, attempts: int) -> set[str]:
    """How a call may end, with so many kills in its life: each may have cut off one of its attempts."""
    if call.kind == "cancel-far":
        return {"cancelled"}
    states = {"cancelled"} if call.cancelling else set()
    if call.fails >= ATTEMPTS:
        return states | {"dead"}
    states.add("succeeded")
    if kills >= STRIKES or (kills and attempts >= (1 if call.kind == "once" else ATTEMPTS)):
        states.add("dead")
    return states


def expected(call: Call) -> bytes:
    """The answer of a call that succeeds."""
    return answer_of(call.serial, call.body) if call.runs else call.body


def _judge_output(fault: Callable[[str], None], history: History, call: Call, record: dict[str, Any]) -> None:
    if record["state"] == "succeeded" and history.outputs.get(record["id"]) != expected(call):
        fault(f"its answer is {history.outputs.get(record['id'])!r:.100}, not {expected(call)!r:.100}")
    for answer in call.answers:
        if answer.startswith(b"2") and (answer != b"200 " + expected(call) or record["state"] != "succeeded"):
            fault(f"its client was told {answer!r:.100}")


def _judge_runs(fault: Callable[[str], None], history: History, call: Call, record: dict[str, Any]) -> None:
    seen, kills = history.seen(call.serial), history.kills(call, record)
    if not call.runs:
        return
    if record["state"] == "succeeded" and seen.runs <= call.fails:
        fault(f"it succeeded after {seen.runs} runs, of which {call.fails} had to fail")
    if seen.runs > record["attempts"] or seen.runs > (1 if call.kind == "once" else ATTEMPTS):
        fault(f"it ran {seen.runs} times in {record['attempts']} attempts")
    if seen.overlaps:
        fault("two of its runs were alive at once in one process")
    if call.kind == "cancel-far" and seen.runs:
        fault("it ran before it was cancelled, an hour too early")
    if call.kind == "delay" and seen.runs and seen.first_run_ms < call.began_ms + DELAY_S * 1000 - 50:
        fault(f"it ran {seen.first_run_ms - call.began_ms} ms after it was sent")
    if record["state"] == "dead" and not kills and seen.runs != ATTEMPTS:
        fault(f"it was given up after {seen.runs} runs")


def _judge_callback(fault: Callable[[str], None], history: History, call: Call, record: dict[str, Any]) -> None:
    seen = history.seen(call.serial)
    if call.callback:
        if not seen.callbacks:
            fault("its callback did not arrive")
        elif record["state"] == "succeeded" and {body for _, body in seen.callbacks} != {expected(call)}:
            fault(f"its callback brought {seen.callbacks!r:.200}")
    if call.kind == "chain":
        children = history.records.get(f"of {record['id']}", ())
        if len(children) != 1 or children[0]["state"] not in {"succeeded", "dead"}:
            fault(f"the call that it is chained to has the records {children}")
        elif children[0]["state"] == "succeeded" and record["state"] == "succeeded":
            if set(seen.chained) != {expected(call)}:
                fault(f"the function that it is chained to was given {seen.chained!r:.200}")
        elif children[0]["state"] == "dead" and history.kills(call, children[0]) < STRIKES:
            fault("the call that it is chained to was given up without a crash")


def _runs_at_most(verdict: Verdict, call: Call, seen: Seen, most: int) -> None:
    if seen.runs > most:
        verdict.faults.append(f"call {call.serial} ({call.kind}) ran {seen.runs} times")


def _judge_spawns(verdict: Verdict, history: History) -> None:
    """They have no ids that clients know: as many records as accepted, and none that succeeded without having run."""
    calls = [call for call in history.calls if call.kind == "spawn"]
    accepted, sent = sum(bool(call.answers) for call in calls), sum(call.sent for call in calls)
    ran = sum(history.seen(call.serial).runs for call in calls)
    states = Counter(record["state"] for record in history.spawned)
    for state, count in states.items():
        verdict.states[f"spawn {state}"] += count
    if not accepted <= len(history.spawned) <= sent:
        verdict.faults.append(f"{accepted} to {sent} spawned runs have the records {dict(states)}")
    ends = {"succeeded", "failed", "cancelled" if history.politely else "lost"}
    if not states.keys() <= ends:
        verdict.faults.append(f"spawned runs ended as {dict(states)}")
    if states["succeeded"] > ran:
        verdict.faults.append(f"{states['succeeded']} spawned runs succeeded, and {ran} ran")
    if states["lost"] and not history.kills_ms:
        verdict.faults.append("spawned runs were lost without a crash")
