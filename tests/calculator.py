"""The host's side of the guest `calculator`: interfaces as a user would write them, right ones and wrong ones."""

from __future__ import annotations

import asyncio

from guesthouse import Err, Interface, Invocation, Ok, host_call
from support import ROOT

RATES = "example:calculator/rates@1.0.0"
PAPER = "example:calculator/paper@1.0.0"
WIT = (ROOT / "guests/examples/calculator/wit/calculator.wit").read_text()


class Rates(Interface):
    """Exchange rates; `answer` replaces what is right."""

    name = "rates"
    wit = WIT
    answer: object = None

    @host_call(RATES, "rate")
    async def rate(self, invocation: Invocation, currency: str):
        await asyncio.sleep(0)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer or {"EUR": Ok(2.0)}.get(currency) or Err(("unknown-currency", currency))


class Tape:
    """A WIT resource is a plain object."""

    def __init__(self, title: str) -> None:
        self.lines = [title]
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


class Paper(Interface):
    """Constructor, methods and a static function."""

    name = "paper"
    wit = WIT  # the same text in two classes is fine
    resources = {(PAPER, "tape"): Tape}  # noqa: RUF012

    def __init__(self) -> None:
        self.tapes: list[Tape] = []

    @host_call(PAPER, "[constructor]tape")
    def tape(self, invocation: Invocation, title: str) -> Tape:
        self.tapes.append(Tape(title))
        return self.tapes[-1]

    @host_call(PAPER, "[method]tape.print")
    def print(self, invocation: Invocation, tape: Tape, line: str) -> None:
        tape.lines.append(line)

    @host_call(PAPER, "[method]tape.lines")
    def lines(self, invocation: Invocation, tape: Tape) -> list[str]:
        return tape.lines

    @host_call(PAPER, "[static]tape.splice")
    async def splice(self, invocation: Invocation, first: Tape, second: Tape) -> Tape:
        await asyncio.sleep(0)
        spliced = Tape("")
        spliced.lines = first.lines + second.lines
        return spliced


class HalfOfPaper(Paper):
    """Forgets one function."""

    splice = None


class OtherRates(Interface):
    """Has another idea of the type; goes with `PlainPaper`, since two WIT texts must not differ."""

    name = "rates"
    wit = WIT.replace("-> result<f64, rate-error>", "-> result<u64, rate-error>")

    @host_call(RATES, "rate")
    def rate(self, invocation: Invocation, currency: str) -> Ok[int]:
        return Ok(1)


class PlainPaper(Paper):
    """Leaves the WIT text to another class."""

    wit = ""
