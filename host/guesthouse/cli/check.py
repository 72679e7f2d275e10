"""`guesthouse check`: whether a new module does what was recorded of an old one, before it is deployed."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import click

from guesthouse.cli.client import PROBLEM, Client, failure_of, problem_of
from guesthouse.cli.completion import function_names
from guesthouse.cli.invocations import STATES, listed
from guesthouse.cli.options import url_option
from guesthouse.cli.output import Failure, Output, shown, with_output
from guesthouse.cli.replay import isolated

if TYPE_CHECKING:
    from guesthouse.dispatch.replayed import Replayed

NO_JOURNAL = ("no-journal", "not-found")
"""Problems of invocations that leave nothing to check: nothing was recorded of them, or it is gone by now."""
SHOWN_DIFFERENCES = 10
"""Of those that differ, both calls of so many are shown; `--json` has all."""
WORDS = {
    "identical": "identical",
    "otherwise": "ends otherwise",
    "diverged": "diverges",
    "unreadable": "cannot be replayed",
}


@dataclass(slots=True)
class Checked:
    """One journal against the new module."""

    id: str
    state: str
    version: int | None
    found: Replayed | None
    problem: str = ""
    """Why it could not be replayed."""

    @property
    def verdict(self) -> str:
        """A word of `WORDS`."""
        return "unreadable" if self.found is None else self.found.verdict

    def document(self) -> dict[str, Any]:
        """As JSON, without the calls that are the same."""
        found = None if self.found is None else self.found.document()
        told: dict[str, Any] = {
            name: value for name, value in (found or {}).items() if name not in ("id", "steps", "log", "version")
        }
        return {
            **told,
            "id": self.id,
            "state": self.state,
            "version": self.version,
            "verdict": self.verdict,
            "detail": self.problem or told.get("detail", ""),
        }


@click.command(
    epilog="""\
\b
Examples:
  guesthouse check target/wasm32-wasip2/release/charge.wasm --against charge
  guesthouse check charge.wasm --against billing/charge --state suspended
  guesthouse check charge.wasm recorded/*.guesthouse
"""
)
@click.argument("wasm", metavar="NEW.wasm", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("files", metavar="[FILE]...", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--against",
    metavar="[NAMESPACE/]FUNCTION",
    shell_complete=function_names,
    help="The function whose journals to use.",
)
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="How many, the newest first.")
@click.option("--state", type=click.Choice(STATES), help="Only invocations in this state.")
@url_option
@with_output
def check(
    output: Output, wasm: Path, files: tuple[Path, ...], against: str | None, limit: int, state: str | None, url: str
) -> None:
    """Replays recorded invocations on a new module.

    Those of a durable function, which have to go on on the new module or stay on the old one, and what the flight
    recorder has kept. FILEs are what `guesthouse invocations export` wrote. Everything runs here; the server only
    gives the journals. The exit status is 1 where a journal comes to another call or another end.
    """
    if (against is None) == (not files):
        raise click.UsageError("give --against FUNCTION, or files that `guesthouse invocations export` wrote")
    import asyncio

    exports = _from_files(files) if against is None else _from_server(url, against, limit, state)
    with output.progress("compiling") as say:
        found = asyncio.run(_check(wasm.read_bytes(), exports, say))
    if not found:
        raise Failure(f"there is no journal{f' of {against}' if against else ''} to check against")
    _report(output, wasm, found)
    raise click.exceptions.Exit(any(each.verdict != "identical" for each in found))


def _from_files(files: tuple[Path, ...]) -> Iterator[bytes]:
    for file in files:
        yield file.read_bytes()


def _from_server(url: str, against: str, limit: int, state: str | None) -> Iterator[bytes]:
    """The newest journals of a function, without its module."""
    namespace, _, name = against.rpartition("/")
    query = {"function": f"{namespace or 'default'}/{name}", **({} if state is None else {"state": state})}
    with Client(url) as client:
        count = 0
        for record in listed(client, query, None):
            data = _export(client, record["id"])
            if data is not None:
                yield data
                count += 1
            if count == limit:
                return


def _export(client: Client, id: str) -> bytes | None:
    path = f"/invocations/{quote(id, safe='')}/export?{urlencode({'module': 'false'})}"
    with client.stream("GET", path) as response:
        response.read()
        if response.is_success:
            return response.content
        problem = problem_of(response)
        if problem is not None and problem["type"].removeprefix(PROBLEM) in NO_JOURNAL:
            return None
        raise failure_of(response)


async def _check(wasm: bytes, exports: Iterator[bytes], say: Callable[[str], None]) -> list[Checked]:
    found: list[Checked] = []
    async with isolated() as host:
        async for data in _beside(exports):
            found.append(await _one(host, wasm, data))
            differing = sum(each.verdict != "identical" for each in found)
            say(f"{len(found)} replayed{f', {differing} of them differ' if differing else ''}")
    return found


async def _beside(exports: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Fetches them in a thread: the host's loop is not to wait for a server."""
    import asyncio

    while (data := await asyncio.to_thread(next, exports, None)) is not None:
        yield data


async def _one(host: Any, wasm: bytes, data: bytes) -> Checked:
    from guesthouse.dispatch.exports import read_export
    from guesthouse.errors import InputError, InvalidModule

    export = read_export(data)
    record = export.record
    try:
        replayed, problem = await host.replay(export, wasm=wasm), ""
    except InvalidModule:
        raise  # it is so for all of them
    except InputError as error:
        replayed, problem = None, str(error)
    return Checked(record.id, record.state, record.version or None, replayed, problem)


def _report(output: Output, wasm: Path, found: list[Checked]) -> None:
    if output.as_json:
        output.result([each.document() for each in found], "")
        return
    counts = Counter(each.verdict for each in found)
    output.table(("RESULT", "JOURNALS"), [(words, str(counts[word])) for word, words in WORDS.items() if counts[word]])
    differing = [each for each in found if each.verdict != "identical"]
    for each in differing[:SHOWN_DIFFERENCES]:
        click.echo(f"\n{_headline(each)}")
        text = each.problem or (each.found.text if each.found is not None else "")
        for line in text.splitlines():
            click.echo(f"  {shown(line)}")
    if len(differing) > SHOWN_DIFFERENCES:
        click.echo(f"\nand {len(differing) - SHOWN_DIFFERENCES} more: --json has all")
    if differing:
        output.say(f"{shown(str(wasm))} does not do what was recorded: invocations that go on stay on their version")
    else:
        output.say(f"{shown(str(wasm))} does all that was recorded")


def _headline(each: Checked) -> str:
    words = WORDS[each.verdict]
    if each.found is not None and each.verdict == "diverged":
        words += f" at call {each.found.reached}"
    version = f", version {each.version}" if each.version else ""
    return f"{click.style(shown(each.id), bold=True)} {each.state}{version}: {click.style(words, fg='red')}"
