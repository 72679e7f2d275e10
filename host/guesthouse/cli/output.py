"""`Output`: where a command's words go: its result to standard output, all talk to standard error.

Colours and spinners appear on a terminal only, and never with NO_COLOR set.  Text that comes from elsewhere is
shown with its control characters escaped.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from math import ceil
from typing import IO, TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import Console

P = ParamSpec("P")
R = TypeVar("R")
PIPE_WIDTH = 10_000
"""Columns of output that is not a terminal: nothing that reads it wants wrapped lines."""
_AS_JSON = "guesthouse.as_json"


class Failure(click.ClickException):
    """The command did not do what it was asked to; `document` is what `--json` says of it."""

    def __init__(self, message: str, document: dict[str, Any] | None = None, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click declares it for the class and reads it from the object
        self.document = document or {"type": "failed", "detail": message}
        self.as_json = False

    def show(self, file: IO[Any] | None = None) -> None:
        """Says it on standard error."""
        if self.as_json:
            click.echo(json.dumps({"error": self.document}), err=True)
        else:
            click.echo(f"{click.style('error:', fg='red', bold=True)} {shown(self.message)}", err=True)


def says_json(context: click.Context) -> bool:
    """True where the command of this context was called with `--json`."""
    return bool(context.meta.get(_AS_JSON))


class Output:
    """What a command says, in the form that its caller asked for."""

    def __init__(self, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet

    def result(self, document: Any, text: str) -> None:
        """The result: `document` on one line with `--json`, else `text`."""
        click.echo(json.dumps(document) if self.as_json else text)

    def done(self, document: Any, text: str) -> None:
        """As `result`, for a command whose work is its result: with `--quiet` only JSON is printed."""
        if self.as_json or not self.quiet:
            self.result(document, text)

    def say(self, text: str) -> None:
        """Talk, left out with `--quiet`."""
        if not self.quiet:
            click.echo(text, err=True)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Rows in columns as wide as they need."""
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
        for number, column in enumerate(columns):
            table.add_column(column, overflow="fold", no_wrap=number == 0)  # the first is what people copy
        for row in rows:
            table.add_row(*(Text(shown(cell)) for cell in row))
        console(sys.stdout).print(table)

    @contextmanager
    def working(self, text: str) -> Iterator[Callable[[], None]]:
        """Shows that something takes time, where a person is looking on; what it gives ends that earlier."""
        if self.quiet or self.as_json or not sys.stderr.isatty():
            yield lambda: None
            return
        with console(sys.stderr).status(text) as status:
            yield status.stop

    @contextmanager
    def progress(self, text: str) -> Iterator[Callable[[str], None]]:
        """As `working`, for what goes on step by step: what it gives changes the text."""
        if self.quiet or self.as_json or not sys.stderr.isatty():
            yield lambda text: None
            return
        with console(sys.stderr).status(text) as status:
            yield status.update


@contextmanager
def until_interrupted() -> Iterator[None]:
    """For what goes on without an end: Ctrl-C is how it ends, and nothing is wrong."""
    try:
        yield
    except KeyboardInterrupt:
        raise click.exceptions.Exit(0) from None


def with_output(command: Callable[Concatenate[Output, P], R]) -> Callable[P, R]:
    """Gives a command the options `--json` and `--quiet`, and an `Output` as its first argument."""

    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @click.option("--quiet", is_flag=True, help="Print results and errors only.")
    @wraps(command)
    def wrapped(*args: P.args, **options: P.kwargs) -> R:
        as_json, quiet = bool(options.pop("as_json")), bool(options.pop("quiet"))
        click.get_current_context().meta[_AS_JSON] = as_json
        return command(Output(as_json, quiet), *args, **options)

    return wrapped


def shown(text: str) -> str:
    """`text` without anything that a terminal would obey; line breaks stay."""
    if text.isprintable():
        return text
    from guesthouse.telemetry.records import escape

    return "\n".join(escape(line) for line in text.split("\n"))


def kind(function: dict[str, Any]) -> str:
    """What kind of function something that a server has described is, and whether its calls survive crashes."""
    return f"durable {function['kind']}" if function.get("durable") else str(function["kind"])


def size(count: int) -> str:
    """A number of bytes for people: `64.0 KiB`."""
    amount = float(count)
    for unit in ("bytes", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def duration(nanoseconds: float) -> str:
    """A time for people: `0.031 ms`."""
    milliseconds = nanoseconds / 1e6
    return f"{milliseconds / 1000:.2f} s" if milliseconds >= 1_000 else f"{milliseconds:.3g} ms"


def moment(time: str | None) -> str:
    """A time of the server's, which is UTC, for people: `2026-01-02 03:04:05Z`; empty where there is none."""
    return "" if time is None else time[:19].replace("T", " ") + "Z"


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of `values` that at least `share` of them do not exceed."""
    return sorted(values)[max(0, ceil(share * len(values)) - 1)]


def console(stream: Any) -> Console:
    """Prints to a stream as `rich` does: as wide as a terminal, or without wrapping where it is none."""
    from rich.console import Console

    return Console(file=stream, highlight=False, width=None if stream.isatty() else PIPE_WIDTH)
