"""A replay as people look at it: a line for each host call, in the order of the guest's life, and how it ended.

Recorded calls stand with their numbers, those of `--until` and `--set`; what the guest asked of its host alone (its buffers,
its own request) is between them in one dim line.  Values are JSON, cut where they are long; `--json` has all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Final

from guesthouse.cli.output import shown
from guesthouse.dispatch.replay_values import written_bytes
from guesthouse.dispatch.replayed import Replayed, Step, brief

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

MARKS: Final = {"read": ("○", "cyan"), "write": ("●", "yellow"), "none": ("·", "bright_black")}
"""A call by its effect."""
ENDS: Final = {
    "changed": ("✎", "magenta", "changed: "),
    "open": ("…", "bright_black", "no result is recorded: the invocation had come this far"),
    "stopped": ("■", "blue", "stopped before this call"),
    "diverged": ("✗", "red", "not what was recorded"),
    "trapped": ("✗", "red", "trapped"),
}
"""A call that was not answered as recorded: mark, colour, words."""
VERDICTS: Final = {
    "identical": ("✓", "green"),
    "otherwise": ("≠", "yellow"),
    "diverged": ("✗", "red"),
    "stopped": ("■", "blue"),
    "unrecorded": ("✎", "magenta"),
}
BESIDE: Final = 4
"""Columns that are lost to number and mark."""
LEAST: Final = 40
"""Columns that a call gets in the narrowest terminal."""
LONG: Final = 400
"""Characters of an answer that are shown."""
MOST: Final = 240
"""And in the widest, or where there is none."""


def timeline(found: Replayed, width: int, *, every: bool = False) -> Iterator[RenderableType]:
    """The lines of a replay; `every` call that is not recorded has one of its own."""
    from rich.table import Table

    yield _head(found)
    yield ""
    table = Table(box=None, padding=(0, 1, 0, 0), show_header=False, pad_edge=False)
    digits = len(str(max(found.entries - 1, 0)))
    table.add_column(justify="right", style="bright_black", min_width=digits, no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    room = min(max(LEAST, width - digits - BESIDE), MOST)
    for number, mark, line in _rows(found.steps, room, every):
        table.add_row(number, mark, line)
    if found.steps:
        yield table
        yield ""
    yield from _end(found)


def _head(found: Replayed) -> Text:
    from rich.text import Text

    what = f"{found.entries} recorded call{'' if found.entries == 1 else 's'}"
    version = f", version {found.version}" if found.version else ""
    return Text.assemble(
        (shown(found.id), "bold"), f"  {shown(found.function)}{version}  ", (what, "bright_black"), no_wrap=True
    )


def _rows(steps: Sequence[Step], room: int, every: bool) -> Iterator[tuple[str, Text, Text]]:
    from rich.text import Text

    for local, group in groupby(steps, lambda step: step.number is None and step.answered == "local"):
        if local and not every:
            yield "", Text("·", "bright_black"), Text(_folded(list(group)), "bright_black")
            continue
        for step in group:
            mark, colour = MARKS.get(step.effect, MARKS["none"])
            if step.answered in ENDS:
                mark, colour, _ = ENDS[step.answered]
            number = "" if step.number is None else str(step.number)
            yield number, Text(mark, colour), _line(step, room)


def _folded(steps: Sequence[Step]) -> str:
    """`bytes.[method]buffer.read-all ×2, wasi:cli …`: what was asked of the host alone."""
    counts = Counter(_name(step) for step in steps)
    return ", ".join(name if count == 1 else f"{name} ×{count}" for name, count in counts.items())


def _name(step: Step) -> str:
    """Without what the component model puts in front of methods."""
    name = step.name
    for word in ("[method]", "[static]", "[constructor]"):
        name = name.replace(word, "")
    return shown(name)


def _line(step: Step, room: int) -> Text:
    """`cache-scalar.get(key: "user:17") → {ok: {hit: "Ada"}}`."""
    from rich.text import Text

    local = step.answered == "local"
    owner, _, function = _name(step).partition(".")
    _, colour, words = ENDS.get(step.answered, ("", "", ""))
    fixed = len(owner) + len(function) + len(words) + sum(len(name) + 4 for name, _ in step.args) + 6
    texts, result = _fitted(step, max(LEAST // 2, room - fixed))
    line = Text().append(f"{owner}.", "bright_black").append(function, "bright_black" if local else "bold").append("(")
    for number, ((name, _), text) in enumerate(zip(step.args, texts, strict=True)):
        line.append(", " if number else "")
        line.append(f"{shown(name)}: " if name else "", "bright_black").append(text)
    line.append(")")
    if not step.returns:
        return line.append(f"  {words}", colour) if words else line
    failed = isinstance(step.result, dict) and set(step.result) == {"err"}
    line.append(" → ", "bright_black").append(words, colour)
    return line.append(result, "red" if failed else "bright_black" if local else "green")


def _fitted(step: Step, room: int) -> tuple[list[str], str]:
    """Arguments and result in about `room` characters; what one does not need, the others have."""
    result = shown(brief(step.result, room)) if step.returns else ""
    texts = [shown(brief(value, room)) for _, value in step.args]
    needed = sum(map(len, texts))
    if needed + len(result) > room:
        for_args = max(room - len(result), room // 2) if needed else 0
        each = for_args // max(1, len(texts))
        texts = [shown(brief(value, each)) for _, value in step.args]
        result = shown(brief(step.result, room - sum(map(len, texts)))) if step.returns else ""
    return texts, result


def _end(found: Replayed) -> Iterator[RenderableType]:
    from rich.text import Text

    mark, colour = VERDICTS[found.verdict]
    yield Text.assemble((f"{mark} ", f"bold {colour}"), (_sentence(found), "bold"))
    if found.body and found.ended.result:
        yield Text(f"  {shown(brief(written_bytes(found.body), LONG))}", "green")
    if found.text:
        yield Text("\n".join(f"  {shown(line)}" for line in found.text.splitlines()))
    if found.backtrace:
        yield Text("\n".join(f"  {shown(line)}" for line in found.backtrace.splitlines()), "bright_black")
    if found.log:
        yield ""
        for level, source, text in found.log:
            style = {"error": "red", "warn": "yellow"}.get(level, "")
            yield Text.assemble((f"  {level:<5} {source:<6} ", "bright_black"), (shown(text), style))


def _sentence(found: Replayed) -> str:
    """The verdict in words."""
    if found.verdict == "identical":
        if found.recorded.result:
            return f"the same end as recorded: {found.ended}"
        return f"the same, as far as the journal goes: {found.entries} calls"
    if found.verdict == "otherwise":
        return f"it ends otherwise: {found.ended}; recorded was: {found.recorded}"
    if found.verdict == "diverged":
        return f"it diverges at call {found.reached}"
    if found.verdict == "stopped":
        return f"stopped before call {found.reached}"
    return f"what comes now is not recorded: after the change the guest went another way at call {found.reached}"
