"""`guesthouse invoke`: calls a function of a running server; its answer goes to standard output as it comes."""

from __future__ import annotations

import base64
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import click

from guesthouse.cli.client import Client, failure_of, problem_of
from guesthouse.cli.completion import function_names
from guesthouse.cli.logs import named
from guesthouse.cli.options import Command, namespace_option, request_options, url_option
from guesthouse.cli.output import Failure, Output, duration, shown, with_output
from guesthouse.clock import SYSTEM_CLOCK

if TYPE_CHECKING:
    from httpx2 import Response


def answer_options(command: Command) -> Command:
    """How an answer is shown: `--include`."""
    return click.option("-i", "--include", is_flag=True, help="Also say status and headers.")(command)


@click.command(
    epilog="""\
\b
Examples:
  guesthouse invoke greet -d '{"name": "Ada"}'
  guesthouse invoke checksum -d @photo.jpg
  guesthouse invoke headers/some/path -X GET -q page=2 -H accept:text/html
  guesthouse invoke ticker -q events=5 -q every_ms=1000
  guesthouse invoke resize -d @photo.jpg --async --callback https://example.org/done
"""
)
@click.argument("target", metavar="NAME[/PATH]", shell_complete=function_names)
@namespace_option
@request_options
@answer_options
@click.option("--async", "queue", is_flag=True, help="Queue the call: do not wait for its end.")
@click.option("--callback", metavar="URL", help="Where the result of a queued call is sent.")
@click.option("--delay", metavar="TIME", help="How long a queued call waits at least: seconds, or 90s, 15m, 2h, 1d.")
@click.option("--key", help="Queued calls with the same key share a bound on how many run at once.")
@click.option("--wait", type=click.IntRange(0, 600), metavar="SECONDS", help="Wait so long for a queued call, at most.")
@url_option
@with_output
def invoke(
    output: Output,
    target: str,
    namespace: str,
    data: bytes,
    method: str,
    header: tuple[tuple[str, str], ...],
    query: tuple[tuple[str, str], ...],
    include: bool,
    queue: bool,
    callback: str | None,
    delay: str | None,
    key: str | None,
    wait: int | None,
    url: str,
) -> None:
    """Calls a function and prints its answer.

    With --async the call is on the server's disk when this returns, and runs when its turn has come; its id is
    printed. The exit status is 1 for an answer with a status of 400 or more.
    """
    wishes = {
        "x-callback-url": callback,
        "guesthouse-delay": delay,
        "guesthouse-key": key,
        "prefer": None if wait is None else f"wait={wait}",
    }
    given = [(name, value) for name, value in wishes.items() if value is not None]
    if given and not queue:
        raise click.UsageError("--callback, --delay, --key and --wait need --async")
    if queue and method != "POST":
        raise click.UsageError(f"a queued call is a POST: --async cannot go with --method {method}")
    path = path_of(namespace, target, query, queue)
    with Client(url) as client:
        began = SYSTEM_CLOCK.monotonic_ns()
        with (
            output.working(f"waiting {wait} s at most") if wait else nullcontext(lambda: None) as answered,
            client.stream(method, path, content=data, headers=[*header, *given]) as response,
        ):
            answered()
            if queue and _is_queued(response):
                _say_queued(output, response, wait)
            else:
                name = target.partition("/")[0]
                show_answer(output, response, name, include, began, named(namespace, name))


def _is_queued(response: Response) -> bool:
    """Whether a call was queued, and this is not its result."""
    place = f"/invocations/{response.headers.get('x-invocation-id')}"
    return response.status_code == 202 and response.headers.get("location") == place


def _say_queued(output: Output, response: Response, waited: int | None) -> None:
    queued = response.headers["x-invocation-id"]
    document = {"id": queued, "call_id": response.headers["x-call-id"], "location": response.headers["location"]}
    output.result(document, queued)
    state = f"it has not ended after {waited} s, and goes on" if waited else "queued"
    output.say(f"{state}: `guesthouse invocations show {queued}` says how it stands, `… attach {queued}` waits for it")


def show_answer(
    output: Output, response: Response, function: str, include: bool, began: int, whose: str = "NAME"
) -> None:
    """Prints what a function answered, while it arrives.

    `began` is when it was asked (`Clock.monotonic_ns`), `whose` names it to the command that shows its log.
    """
    if output.as_json:
        response.read()
        output.result(document_of(response, SYSTEM_CLOCK.monotonic_ns() - began), "")
        raise click.exceptions.Exit(response.status_code >= 400)
    if include:
        _say_head(output, response, SYSTEM_CLOCK.monotonic_ns() - began)
    _pass_on(response, function, whose)


def path_of(namespace: str, target: str, query: tuple[tuple[str, str], ...] = (), queue: bool = False) -> str:
    """The path of a call, or of one that is to be queued; `target` is a name that a path and a query may follow."""
    place, _, own = target.partition("?")
    name, slash, rest = place.partition("/")
    namespace, name = quote(namespace, safe=""), quote(name, safe="")
    function = f"/async-function/{name}.{namespace}" if queue else f"/functions/{namespace}/{name}"
    path = f"{function}{slash}{rest.replace('#', '%23')}"
    queries = "&".join(part for part in (own.replace("#", "%23"), urlencode(query)) if part)
    return f"{path}?{queries}" if queries else path


def document_of(response: Response, duration_ns: int) -> dict[str, Any]:
    """The outcome as `--json` prints it; a body that is not UTF-8 comes as `body_base64`."""
    document: dict[str, Any] = {
        "status": response.status_code,
        "headers": [[name, value] for name, value in response.headers.multi_items()],
        "invocation_id": response.headers.get("x-invocation-id"),
        "duration_ms": duration_ns / 1e6,
        "error": problem_of(response),
    }
    return document | body_of(response.content)


def body_of(body: bytes) -> dict[str, str]:
    """A body as JSON can hold it."""
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(body).decode("ascii")}


def _say_head(output: Output, response: Response, duration_ns: int) -> None:
    output.say(f"{response.status_code} {response.reason_phrase} after {duration(duration_ns)}")
    for name, value in response.headers.multi_items():
        output.say(shown(f"{name}: {value}"))
    output.say("")


def _pass_on(response: Response, function: str, whose: str) -> None:
    """The body, byte for byte and piece by piece; the server's own refusals are said instead."""
    if response.status_code >= 400 and "problem+json" in response.headers.get("content-type", ""):
        response.read()
        if problem_of(response) is not None:
            raise failure_of(response, whose)
        sys.stdout.buffer.write(response.content)
    else:
        for piece in response.iter_raw():
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
    sys.stdout.buffer.flush()
    if response.status_code >= 400:
        raise Failure(f"{function} answered with status {response.status_code}")
