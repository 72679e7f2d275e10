"""How a run with a journal ends that is no outcome of its guest.

GuesthouseError
├── Suspended         it waits for something, and is torn down until then
├── Ambiguous         a crash cut a request off, and somebody has to decide whether it is repeated
├── JournalError      the journal cannot be gone on with
│   ├── Diverged          the guest did not do again what it had done
│   ├── JournalDamaged    what is stored is no journal of ours (any more)
│   ├── JournalTooNew     it was written by a newer version of the host
│   └── JournalFull       it would be longer than it may be
└── JournalEnded      a replay without a sink has come to its end: there is nothing to go on with
"""

from __future__ import annotations

from typing import Any

from guesthouse.errors import GuesthouseError, Unavailable


class Suspended(GuesthouseError):
    """The run ends here and another one goes on when what it waits for has come: no failure, and no attempt."""

    title = "The invocation waits"

    def __init__(self, wait: Any, what: str = "") -> None:
        super().__init__("the invocation is suspended")
        self.wait = wait
        """What it waits for: a `Wait` of the queue."""
        self.what = what
        """The same in words, for people: without anything that only its guest may know."""


class Ambiguous(GuesthouseError):
    """A request was perhaps sent before a crash, and the deployment says to ask before it is repeated."""

    problem_type = "ambiguous"
    title = "A request was perhaps sent before a crash"

    def __init__(self, entry: int, call: str) -> None:
        super().__init__(f"call {entry}, which a crash cut off, was perhaps done already: {call}")
        self.entry = entry
        self.call = call
        """The call, as text."""


class JournalError(GuesthouseError):
    """The journal cannot be gone on with; journal and request are kept."""

    problem_type = "journal"
    title = "The invocation's journal cannot be used"
    traced = True


class Diverged(JournalError):
    """The guest did not do again what it had done: `recorded` and `found` are both calls, as text."""

    problem_type = "diverged"
    title = "The function did not do again what it had done"

    def __init__(self, entry: int, recorded: str, found: str) -> None:
        super().__init__(f"call {entry} differs: recorded is {recorded}, and the guest now did {found}")
        self.entry = entry
        self.recorded = recorded
        self.found = found


class JournalDamaged(JournalError):
    """What is stored is not what was written."""


class JournalTooNew(JournalError):
    """It was written by a newer version of the host: this one must not guess."""


class JournalFull(JournalError):
    """The journal, or one entry of it, would be larger than it may be."""

    problem_type = "journal-full"
    title = "The invocation's journal is full"


class JournalEnded(Unavailable):
    """A journal that is replayed without a sink has come to its end: nothing is called live."""

    problem_type = "journal-ended"
    title = "The journal has ended"
    traced = True
