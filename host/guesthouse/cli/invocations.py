"""`guesthouse invocations`: what became of calls, and what to do about them, on a running server."""

from __future__ import annotations

import sys
from base64 import b64decode
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, urlencode

import click

from guesthouse.cli.client import PROBLEM, Client, failure_of, problem_of, that_it_may_read
from guesthouse.cli.completion import function_names
from guesthouse.cli.invoke import answer_options, show_answer
from guesthouse.cli.logs import log_of
from guesthouse.cli.options import namespace_option, url_option
from guesthouse.cli.output import Failure, Output, duration, moment, shown, size, with_output
from guesthouse.clock import SYSTEM_CLOCK

STATES = ("queued", "running", "suspended", "succeeded", "failed", "dead", "cancelled", "lost")
PAGE = 1_000
"""Records that a server gives at once."""
COLOURS = {"succeeded": "green", "failed": "red", "dead": "red", "lost": "red", "cancelled": "yellow"}
LONGEST_ANSWER = 80
"""Characters of a reason in a list; `show` has all of it."""
KEPT = "of direct calls a server keeps those that failed, unless told otherwise"


@click.group()
def invocations() -> None:
    """Lists and shows invocations; cancels them, and queues dead letters once more.

    An invocation is one call of a function. Its id is in the header x-invocation-id of each answer, and what
    `guesthouse invoke --async` prints.
    """


@invocations.command(
    name="ls",
    epilog="""\
\b
Examples:
  guesthouse invocations ls
  guesthouse invocations ls resize --state dead --since 1d
  guesthouse invocations ls --state dead --json | jq -r '.[].id' | xargs guesthouse invocations redrive
""",
)
@click.argument("function", required=False, shell_complete=function_names)
@namespace_option
@click.option("--state", type=click.Choice(STATES), help="Only those in this state.")
@click.option("--since", metavar="TIME", help="Only from then on: 90s, 15m, 2h, 1d ago, or 2026-01-02T03:04:05Z.")
@click.option("-n", "--count", type=click.IntRange(1), default=20, show_default=True, help="How many.")
@url_option
@with_output
def list_invocations(
    output: Output, function: str | None, namespace: str, state: str | None, since: str | None, count: int, url: str
) -> None:
    """Lists invocations, newest first: all, or those of FUNCTION."""
    chosen = {"function": f"{namespace}/{function}" if function else None, "state": state, "since": since}
    query = {key: value for key, value in chosen.items() if value is not None}
    with Client(url) as client:
        found = list(listed(client, query, count))
    if output.as_json:
        output.result(found, "")
    elif found:
        output.table(
            ("INVOCATION", "FUNCTION", "MODE", "STATE", "ATTEMPTS", "WHEN", "TOOK", "ANSWER"),
            [_row(each) for each in found],
        )
    else:
        output.say(f"there are no such invocations{that_it_may_read()}: {KEPT}")


def listed(client: Client, query: dict[str, str], count: int | None) -> Iterator[dict[str, Any]]:
    """Up to `count` records, or all, page by page."""
    after: str | None = None
    left = count
    while left is None or left > 0:
        more = {} if after is None else {"after": after}
        most = PAGE if left is None else min(left, PAGE)
        page = client.ask("GET", f"/invocations?{urlencode({**query, **more, 'limit': most})}").json()
        yield from page["invocations"][:left]
        left = None if left is None else left - len(page["invocations"])
        after = page["next"]
        if after is None:
            return


def _row(record: dict[str, Any]) -> tuple[str, ...]:
    return (
        record["id"],
        f"{record['namespace']}/{record['name']}",
        record["mode"],
        record["state"],
        str(record["attempts"]),
        moment(record["queued_at"] or record["started_at"]),
        duration(record["duration_ms"] * 1e6) if record["duration_ms"] else "",
        _answer(record),
    )


def _answer(record: dict[str, Any]) -> str:
    """In a few words; `show` has all of them."""
    due = f"due {moment(record['due_at'])}" if record["due_at"] else ""
    waits = f"waits for {record['waits_for']}" if record["waits_for"] else ""
    answer = record["reason"].partition(";")[0].rstrip(".") or waits or str(record["status"] or record["result"])
    if len(answer) > LONGEST_ANSWER:
        answer = f"{answer[: LONGEST_ANSWER - 1]}…"
    return ", ".join(part for part in (answer, due) if part)


@invocations.command(
    epilog="""\
\b
Example:
  guesthouse invocations show 5f0c2c3d9a8b7e6f00000000002a
"""
)
@click.argument("id")
@url_option
@with_output
def show(output: Output, id: str, url: str) -> None:
    """Shows what is known of an invocation."""
    with Client(url) as client:
        found = client.ask("GET", path_of(id)).json()
    output.result(found, "\n".join(_lines(found)))
    if not output.as_json:
        for hint in _hints(found):
            output.say(hint)


def _hints(found: dict[str, Any]) -> Iterator[str]:
    """What can be done next."""
    invocation, state = found["id"], found["state"]
    of_it = f"{invocation}`"
    if found["started_at"]:
        yield f"its log: `{log_of(found['namespace'], found['name'], invocation)}`"
    if state in ("queued", "running", "suspended"):
        yield f"wait for it: `guesthouse invocations attach {of_it}; end it: `guesthouse invocations cancel {of_it}"
    elif found["mode"] in ("async", "durable") and found["status"]:
        yield f"its answer: `guesthouse invocations output {of_it}"
    if found["journal_entries"]:
        yield f"what it did, call by call: `guesthouse replay {of_it}"
    if state == "dead":
        yield f"what it was asked: `guesthouse invocations request {of_it}"
        again = "run it again"
        if found["result"] == "ambiguous":
            again = "do it once more"
            yield f"let it see that as failed: `guesthouse invocations redrive {invocation} --fail`"
        yield f"{again}: `guesthouse invocations redrive {of_it}; give it up: `guesthouse invocations drop {of_it}"


def _lines(found: dict[str, Any]) -> list[str]:
    spent = {} if not found["duration_ms"] else {"took": duration(found["duration_ms"] * 1e6)}
    if found["detached_ms"]:
        spent["worked on"] = f"{duration(found['detached_ms'] * 1e6)} after its answer"
    texts = {
        "function": f"{found['namespace']}/{found['name']}"
        + (f", version {found['version']}" if found["version"] else ""),
        "mode": found["mode"],
        "attempts": str(found["attempts"]),
        "result": found["result"],
        "status": str(found["status"] or ""),
        "reason": found["reason"],
        "waits for": found["waits_for"] or "",
        "note": found["note"],
        "queued": _exact(found["queued_at"]),
        "due": _exact(found["due_at"]),
        "started": _exact(found["started_at"]),
        "ended": _exact(found["ended_at"]),
        **spent,
        "fuel": "" if found["fuel"] is None else f"{found['fuel']:,}",
        "memory": size(found["peak_memory"]) if found["peak_memory"] else "",
        "host calls": ", ".join(f"{name} {count}" for name, count in sorted(found["host_calls"].items())),
        "journal": f"{found['journal_entries']} entries, {size(found['journal_bytes'])}"
        if found["journal_bytes"]
        else "",
        "parent": found["parent"] or "",
        "root": found["root"] if found["root"] != found["id"] else "",
        "call id": found["call_id"] if found["call_id"] != found["id"] else "",
    }
    head = f"{click.style(found['id'], bold=True)} {click.style(found['state'], fg=COLOURS.get(found['state']))}"
    return [head, *(f"  {title:<10} {shown(text)}" for title, text in texts.items() if text)]


@invocations.command(
    epilog="""\
\b
Examples:
  guesthouse invocations output 5f0c2c3d9a8b7e6f00000000002a
  guesthouse invocations output 5f0c2c3d9a8b7e6f00000000002a -i
"""
)
@click.argument("id")
@answer_options
@url_option
@with_output
def output(output: Output, id: str, include: bool, url: str) -> None:
    """Prints what an invocation answered.

    The exit status is 1 for an answer with a status of 400 or more, and where there is none.
    """
    _print_answer(output, url, path_of(id, "output"), id, include)


@invocations.command(
    epilog="""\
\b
Examples:
  guesthouse invocations request 5f0c2c3d9a8b7e6f00000000002a
  guesthouse invocations request 5f0c2c3d9a8b7e6f00000000002a -i
"""
)
@click.argument("id")
@click.option("-i", "--include", is_flag=True, help="Also say method, path, query and headers.")
@url_option
@with_output
def request(output: Output, id: str, include: bool, url: str) -> None:
    """Prints the body with which a queued call or a dead letter was called."""
    with Client(url) as client:
        found = client.ask("GET", path_of(id, "request")).json()
    if output.as_json:
        output.result(found, "")
        return
    if include:
        query = urlencode([(name, value) for name, value in found["query"]])
        output.say(shown(f"{found['method']} /{found['path'] or ''}" + (f"?{query}" if query else "")))
        for name, value in found["headers"]:
            output.say(shown(f"{name}: {value}"))
        output.say("")
    body = b64decode(found["body_base64"]) if "body_base64" in found else found["body"].encode()
    sys.stdout.buffer.write(body)
    sys.stdout.buffer.flush()


@invocations.command(
    epilog="""\
\b
Examples:
  guesthouse invocations attach 5f0c2c3d9a8b7e6f00000000002a
  guesthouse invocations attach 5f0c2c3d9a8b7e6f00000000002a --timeout 600
"""
)
@click.argument("id")
@click.option("--timeout", type=click.IntRange(0, 600), default=60, show_default=True, help="Seconds to wait at most.")
@answer_options
@url_option
@with_output
def attach(output: Output, id: str, timeout: int, include: bool, url: str) -> None:
    """Waits for the end of an invocation, and prints what it answered.

    The exit status is 1 for an answer with a status of 400 or more, and where it has not ended in time.
    """
    with output.working(f"waiting for {id}, {timeout} s at most") as done:
        _print_answer(output, url, f"{path_of(id, 'attach')}?timeout={timeout}", id, include, done)


def _print_answer(
    output: Output, url: str, path: str, id: str, include: bool, answered: Callable[[], None] = lambda: None
) -> None:
    """`answered` is called when there is something to print."""
    with Client(url) as client:
        began = SYSTEM_CLOCK.monotonic_ns()
        with client.stream("GET", path) as response:
            answered()
            may_be_ours = "problem+json" in response.headers.get("content-type", "")
            if response.status_code >= 400 and may_be_ours and not output.as_json:
                response.read()
                problem = problem_of(response)
                if problem is not None:
                    raise failure_of(response, hint=_hint(problem["type"].removeprefix(PROBLEM), id))
            if response.status_code == 202 and response.headers.get("location") == path_of(id):
                raise Failure(f"{id} has not ended: `guesthouse invocations show {id}` says how it stands")
            show_answer(output, response, "the function", include, began)


@invocations.command(
    epilog="""\
\b
Example:
  guesthouse invocations cancel 5f0c2c3d9a8b7e6f00000000002a
"""
)
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@url_option
@with_output
def cancel(output: Output, ids: tuple[str, ...], url: str) -> None:
    """Ends invocations that wait or run.

    A durable one is told at its next wait, after all that it called, and may still put right what it has done.
    """
    each_of(output, url, ids, "POST", "cancel", "cancelled")


@invocations.command(
    epilog="""\
\b
Example:
  guesthouse invocations kill 5f0c2c3d9a8b7e6f00000000002a
"""
)
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@url_option
@with_output
def kill(output: Output, ids: tuple[str, ...], url: str) -> None:
    """Ends invocations, and all that they called and wait for, without asking them."""
    each_of(output, url, ids, "POST", "kill", "killed")


@invocations.command(
    epilog="""\
\b
Example:
  guesthouse invocations drop 5f0c2c3d9a8b7e6f00000000002a
"""
)
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@url_option
@with_output
def drop(output: Output, ids: tuple[str, ...], url: str) -> None:
    """Forgets the requests of dead letters; their records stay."""
    each_of(output, url, ids, "DELETE", "request", "dropped")


def each_of(output: Output, url: str, ids: tuple[str, ...], method: str, more: str, done: str) -> None:
    """Asks the same of each, and says what was done."""
    with Client(url) as client:
        for each in ids:
            client.ask(method, path_of(each, more))
            output.done({"id": each, "done": done}, f"{done} {each}")


def path_of(id: str, more: str = "") -> str:
    """The path of an invocation's route."""
    return "/".join(["/invocations", quote(id, safe=""), *([more] if more else [])])


def _hint(problem: str, id: str) -> str | None:
    """What to do where there is no answer to print."""
    if problem == "not-ended":
        return f"`guesthouse invocations attach {id}` waits for it"
    if problem == "not-found":
        return "`guesthouse invocations ls` lists those that are kept"
    return None if problem in ("unauthorized", "forbidden") else f"`guesthouse invocations show {id}` says more"


def _exact(time: str | None) -> str:
    """As in the log, so that its lines can be found."""
    return "" if time is None else time.partition("+")[0] + "Z"
