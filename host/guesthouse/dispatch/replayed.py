"""`Replayed`: what came of running an invocation once more from its journal: each call, and how it ended.  Values only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from guesthouse.dispatch.replay_values import written_bytes

Answered = Literal["recorded", "changed", "local", "open", "stopped", "diverged", "trapped"]
"""Who answered a call: the journal; whoever asked what if; the host anew, for it is none that is recorded; nobody, because
the journal ends before; nobody, because the replay was to stop there; nobody, because another call was recorded; nobody,
because it trapped."""
Verdict = Literal["identical", "otherwise", "diverged", "stopped", "unrecorded"]
"""The same calls and the same end (or, of one that goes on, everything as far as its journal goes); the same calls and
another end; another call than recorded; stopped where that was asked for; after a change, a call that the journal does
not know."""
SHORT: Final = 72
"""Characters of a value in a line for people."""
RESOURCE: Final = frozenset({"resource", "is"})
"""What JSON says of a resource."""
SHORTEST: Final = 8
"""What is cut would not be shorter."""
LONGEST_ID: Final = 64
"""Characters of an id that is never cut, for it is there to be copied: those of calls and awakeables are shorter."""


@dataclass(slots=True, kw_only=True)
class Step:
    """One host call of the guest."""

    number: int | None
    """Of its entry in the journal; `None` for calls that are not recorded."""
    interface: str
    function: str
    effect: str
    """none, read or write."""
    args: Sequence[tuple[str, Any]]
    """Names, and values as JSON (see `replay_values`)."""
    answered: Answered = "recorded"
    result: Any = None
    returns: bool = False
    """Whether there is a result: a call that was not answered has none, nor has a function without one."""
    error: str = ""
    """Why it was not answered."""

    @property
    def name(self) -> str:
        """The interface's own short name and the function's: `cache-scalar.get`."""
        return f"{self.interface.partition('/')[2].partition('@')[0] or self.interface}.{self.function}"

    def document(self) -> dict[str, Any]:
        """All of it, as JSON."""
        found: dict[str, Any] = {
            "number": self.number,
            "interface": self.interface,
            "function": self.function,
            "effect": self.effect,
            "args": [{"name": name, "value": value} for name, value in self.args],
            "answered": self.answered,
        }
        if self.returns:
            found["result"] = self.result
        if self.error:
            found["error"] = self.error
        return found


@dataclass(frozen=True, slots=True)
class Ended:
    """How an invocation ended: what two ends are compared by."""

    result: str
    """The word of `Outcome.result`; empty: it had not ended."""
    status: int = 0
    """HTTP status; 0: none."""
    body: str = ""
    """SHA-256 of the answer's body, in hexadecimal; empty where it is not known."""
    reason: str = ""
    """Of a trap its kind; it is compared where both are known."""

    def same(self, other: Ended) -> bool:
        """Whether both are the same end, as far as both are known."""
        pairs = ((self.body, other.body), (self.reason, other.reason))
        known = all(mine == theirs for mine, theirs in pairs if mine and theirs)
        return known and (self.result, self.status) == (other.result, other.status)

    def __str__(self) -> str:
        status = f" with status {self.status}" if self.status else ""
        reason = f" ({self.reason})" if self.reason else ""
        return f"{self.result}{reason}{status}" if self.result else "not ended"


@dataclass(slots=True, kw_only=True)
class Replayed:
    """What came of a replay."""

    id: str
    function: str
    version: int
    digest: str
    """Of the module that ran in the replay."""
    verdict: Verdict
    entries: int
    """How many the journal has."""
    reached: int
    """How many of them the guest asked for again."""
    recorded: Ended
    ended: Ended
    text: str = ""
    """Why the verdict is not `identical`; both calls of a divergence."""
    backtrace: str = ""
    """Where the guest was when it trapped or was stopped."""
    steps: Sequence[Step] = ()
    log: Sequence[tuple[str, str, str]] = ()
    """What the guest logged: level, source and text."""
    body: bytes = field(default=b"", repr=False)
    """The answer."""

    @property
    def identical(self) -> bool:
        """Whether the module did what was recorded, from beginning to end."""
        return self.verdict == "identical"

    def document(self) -> dict[str, Any]:
        """All of it, as JSON."""
        return {
            "id": self.id,
            "function": self.function,
            "version": self.version,
            "digest": f"sha256:{self.digest}",
            "verdict": self.verdict,
            "detail": self.text,
            "entries": self.entries,
            "reached": self.reached,
            "recorded": _end_document(self.recorded),
            "replayed": {**_end_document(self.ended), "body": written_bytes(self.body) if self.body else None},
            "backtrace": self.backtrace.splitlines(),
            "steps": [step.document() for step in self.steps],
            "log": [{"level": level, "source": source, "text": text} for level, source, text in self.log],
        }


def _end_document(end: Ended) -> dict[str, Any]:
    return {
        "result": end.result or None,
        "status": end.status or None,
        "body_sha256": end.body or None,
        "trap": end.reason or None,
    }


def brief(value: Any, most: int = SHORT) -> str:
    """JSON in at most about `most` characters; what is left out is said: `"To whom it…" (1,204 bytes)`."""
    whole = _whole(value, most)
    if whole is not None:
        return whole
    if isinstance(value, str):
        size = f" ({len(value.encode()):,} bytes)"
        kept = max(6, most - len(size) - 3)
        if len(value) <= kept + len(size) + 1:  # nothing would be saved
            return json.dumps(value, ensure_ascii=False)
        return f'{json.dumps(value[:kept], ensure_ascii=False)[:-1]}…"{size}'
    if isinstance(value, Mapping):
        return _cut([f"{name}: " for name in value], list(value.values()), "{}", most)
    return _cut([""] * len(value), value, "[]", most) if isinstance(value, list) else str(value)


def _whole(value: Any, most: int) -> str | None:
    """All of a value, if it is no longer than that; it is not looked at any further where it is longer."""
    if isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False) if len(value) <= most else None
    elif isinstance(value, Mapping):
        if set(value) == {"base64"}:
            return f"{len(value['base64']) * 3 // 4:,} bytes that are no text"
        if "resource" in value and set(value) <= RESOURCE:
            return _resource(value, most)
        text = _whole_items([f"{name}: " for name in value], list(value.values()), "{}", most)
    elif isinstance(value, list):
        text = _whole_items([""] * len(value), value, "[]", most)
    else:
        return json.dumps(value)
    return text if text is not None and len(text) <= max(most, SHORTEST) else None


def _resource(value: Mapping[str, Any], most: int) -> str:
    """`<promise 3>`: what stands for one, with the first thing that is known of it, or its id if it has one."""
    first = value.get("is")
    if isinstance(first, list) and first:
        first = next((each for each in first if isinstance(each, str) and each), first[0])
    if isinstance(first, str):
        return f"<{value['resource']} {first if len(first) <= LONGEST_ID else brief(first, most)}>"
    return f"<{value['resource']}>" if first is None else f"<{value['resource']} {brief(first, most)}>"


def _whole_items(heads: Sequence[str], values: Sequence[Any], ends: str, most: int) -> str | None:
    parts: list[str] = []
    left = most
    for head, value in zip(heads, values, strict=True):
        part = _whole(value, left)
        if part is None or left < len(head) + len(part):
            return None
        parts.append(head + part)
        left -= len(parts[-1]) + 2
    return f"{ends[0]}{', '.join(parts)}{ends[1]}"


def _cut(heads: Sequence[str], values: Sequence[Any], ends: str, most: int) -> str:
    parts: list[str] = []
    left = most - len(", … 99 more") - 2
    for number, (head, value) in enumerate(zip(heads, values, strict=True)):
        if left < len(head) + SHORTEST and number:
            parts.append(f"… {len(values) - number} more")
            break
        parts.append(head + brief(value, max(SHORTEST, left - len(head))))
        left -= len(parts[-1]) + 2
    return f"{ends[0]}{', '.join(parts)}{ends[1]}"
