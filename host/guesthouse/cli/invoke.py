"""`guesthouse invoke`: calls a function of a running server; its answer goes to standard output as it comes."""

from __future__ import annotations

import base64
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import click

from guesthouse.cli.client import Client, failure_of, problem_of
from guesthouse.cli.completion import function_names
from guesthouse.cli.options import namespace_option, request_options, url_option
from guesthouse.cli.output import Failure, Output, duration, with_output
from guesthouse.clock import SYSTEM_CLOCK

if TYPE_CHECKING:
    from httpx2 import Response


@click.command(
    epilog="""\
\b
Examples:
  guesthouse invoke greet -d '{"name": "Ada"}'
  guesthouse invoke checksum -d @photo.jpg
  guesthouse invoke headers/some/path -X GET -q page=2 -H accept:text/html
  guesthouse invoke ticker -q events=5 -q every_ms=1000
"""
)
@click.argument("target", metavar="NAME[/PATH]", shell_complete=function_names)
@namespace_option
@request_options
@click.option("-i", "--include", is_flag=True, help="Also say status and headers.")
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
    url: str,
) -> None:
    """Calls a function and prints its answer.

    The exit status is 1 for an answer with a status of 400 or more.
    """
    path = path_of(namespace, target, query)
    with Client(url) as client:
        began = SYSTEM_CLOCK.monotonic_ns()
        with client.stream(method, path, content=data, headers=list(header)) as response:
            _show(output, response, target.partition("/")[0], include, began)


def _show(output: Output, response: Response, function: str, include: bool, began: int) -> None:
    if output.as_json:
        response.read()
        output.result(document_of(response, SYSTEM_CLOCK.monotonic_ns() - began), "")
        raise click.exceptions.Exit(response.status_code >= 400)
    if include:
        _say_head(output, response, SYSTEM_CLOCK.monotonic_ns() - began)
    _pass_on(response, function)


def path_of(namespace: str, target: str, query: tuple[tuple[str, str], ...] = ()) -> str:
    """The path of a call; `target` is a name that a path and a query may follow."""
    place, _, own = target.partition("?")
    name, slash, rest = place.partition("/")
    path = f"/functions/{quote(namespace, safe='')}/{quote(name, safe='')}{slash}{rest.replace('#', '%23')}"
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
        output.say(f"{name}: {value}")
    output.say("")


def _pass_on(response: Response, function: str) -> None:
    """The body, byte for byte and piece by piece; the server's own refusals are said instead."""
    if response.status_code >= 400 and "problem+json" in response.headers.get("content-type", ""):
        response.read()
        if problem_of(response) is not None:
            raise failure_of(response, function)
        sys.stdout.buffer.write(response.content)
    else:
        for piece in response.iter_raw():
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
    sys.stdout.buffer.flush()
    if response.status_code >= 400:
        raise Failure(f"{function} answered with status {response.status_code}")
