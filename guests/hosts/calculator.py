"""What `examples/calculator` asks of its host: its WIT file, and a Python class that answers what it imports."""

from pathlib import Path
from typing import ClassVar

from guesthouse import Err, Interface, Invocation, Ok, host_call

RATES = "example:calculator/rates@1.0.0"
PAPER = "example:calculator/paper@1.0.0"
WIT = Path(__file__).parents[1] / "examples/calculator/wit/calculator.wit"


class Tape:
    """What a guest's handle of the resource `tape` stands for: any Python object will do."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines


class Office(Interface):
    """Knows what currencies cost, and has paper."""

    name = "office"
    wit = WIT.read_text()
    resources: ClassVar = {(PAPER, "tape"): Tape}

    @host_call(RATES, "rate")
    async def rate(self, invocation: Invocation, currency: str) -> Ok[float] | Err[tuple[str, str]]:
        price = {"EUR": 1.0, "USD": 0.5}.get(currency)
        return Err(("unknown-currency", currency)) if price is None else Ok(price)

    @host_call(PAPER, "[constructor]tape")
    def new_tape(self, invocation: Invocation, title: str) -> Tape:
        return Tape([title])

    @host_call(PAPER, "[method]tape.print")
    def print(self, invocation: Invocation, tape: Tape, line: str) -> None:
        tape.lines.append(line)

    @host_call(PAPER, "[static]tape.splice")
    def splice(self, invocation: Invocation, first: Tape, second: Tape) -> Tape:
        return Tape(first.lines + second.lines)
