"""A call that repeats an earlier one's idempotency key, and wants to be told of its end.

Promises: whoever attaches is told, also of an end that was long ago; the call runs once.
"""

from __future__ import annotations

from typing import Final

from guesthouse.queue.call import Completion, Output, Record
from guesthouse.queue.completing import Telling, tell
from guesthouse.queue.rows import RECORD_COLUMNS, Code, completion_of, packed, read_output, read_record
from guesthouse.queue.unit import Unit

_FORGOTTEN: Final = Completion(
    "failed", packed({"message": "it was called before, and how it ended is not kept any more", "metadata": []})
)


def attach(unit: Unit, id: str, owner: int, number: int) -> None:
    """Lets the end of an invocation complete one more future: at once where it has ended."""
    found = unit.rows("SELECT seq, state FROM invocations WHERE id = ?", (id,))
    if found and found[0][1] < Code.DEAD:
        seq = found[0][0]
        unit.execute("INSERT OR IGNORE INTO attached (seq, owner, number) VALUES (?, ?, ?)", (seq, owner, number))
        unit.execute("UPDATE invocations SET attached = attached + 1 WHERE seq = ?", (seq,))
        return
    completion = _completion(unit, found[0][0]) if found else _FORGOTTEN
    tell(unit, [Telling(owner, number, completion)])


def _completion(unit: Unit, seq: int) -> Completion:
    """What an invocation came to that has ended."""
    record: Record = read_record(unit.rows(f"SELECT {RECORD_COLUMNS} FROM invocations WHERE seq = ?", (seq,))[0])
    found = unit.rows("SELECT status, headers, body FROM outputs WHERE seq = ?", (seq,))
    output: Output | None = read_output(found[0]) if found else None
    return completion_of(record, output)
