"""`guesthouse invoke --async`, `invocations` and `queues` against a real server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from command_line import Said, guesthouse
from queued import hold
from served import Origin, Served, config, served


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with Origin() as origin:
        yield origin


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("server")
    with served(folder / "data", "--config", config(folder)) as server:
        for name in ("basket", "echo", "fetch", "headers", "panic"):
            assert server.deploy(name).status == 204
        yield server


def queued(server: Served, *arguments: str) -> str:
    """Queues a call; its id."""
    said = server("invoke", *arguments, "--async", "--quiet")
    assert (said.status, said.err) == (0, "")
    return said.out.strip()


def dead(server: Served) -> str:
    """A dead letter: a call that had but one attempt."""
    answer = server.request("POST", "/functions/default/panic", b'"no"', {"idempotency-key": uuid4().hex})
    assert answer.problem == "guest-trapped"
    return str(answer.json["invocation_id"])


def test_a_call_is_queued_and_its_id_printed(server: Served) -> None:
    """With a hint what to do with it; as JSON with where it is."""
    said = server("invoke", "echo", "-d", "hello", "--async")
    call = said.out.strip()
    assert f"guesthouse invocations show {call}" in said.err
    found = server("invoke", "echo", "-d", "hello", "--async", "--json").json
    assert found["location"] == f"/invocations/{found['id']}"
    assert server("invocations", "attach", call).body == b"hello"


def test_what_a_queued_call_is_given_reaches_the_server(server: Served) -> None:
    """Path, query, headers, delay and key."""
    options = ("-q", "x=1", "-H", "x-own:1", "--delay", "1d", "--key", "k")
    found = server.request("GET", f"/invocations/{queued(server, 'headers/a', *options)}/request").json
    assert (found["path"], found["query"], found["key"]) == ("a", [["x", "1"]], "k")
    assert ["x-own", "1"] in found["headers"]


def test_a_queued_call_that_ends_within_the_wait_prints_its_answer(server: Served) -> None:
    """Otherwise its id, as without."""
    assert server("invoke", "echo", "-d", "hello", "--async", "--wait", "30").body == b"hello"
    said = server("invoke", "echo", "--async", "--wait", "0", "--delay", "1h")
    assert "queued" in said.err


@pytest.mark.parametrize(
    "option", [["--callback", "https://example.org"], ["--delay", "1h"], ["--key", "k"], ["--wait", "1"]]
)
def test_what_only_a_queued_call_has_needs_async(option: list[str]) -> None:
    """A usage error."""
    said = guesthouse("invoke", "echo", *option)
    assert (said.status, "--async" in said.err) == (2, True)


def test_a_refusal_is_one_line(server: Served) -> None:
    """What the server says was wrong."""
    said = server("invoke", "echo", "--async", "--delay", "soon")
    assert (said.status, "Guesthouse-Delay has a number of seconds" in said.err) == (1, True)
    assert server("invocations", "show", "nothing").status == 1


def test_invocations_are_listed(server: Served) -> None:
    """As a table and as JSON, of one function, in one state."""
    call = queued(server, "echo", "--delay", "1h")
    table = server("invocations", "ls", "echo", "--state", "queued", "-n", "1").out
    assert call in table
    assert "default/echo" in table
    (found,) = server("invocations", "ls", "echo", "-n", "1", "--json").json
    assert found["id"] == call
    assert [each["name"] for each in server("invocations", "ls", "fetch", "--json").json] == []
    assert "no such invocations" in server("invocations", "ls", "nothing").err


def test_a_long_list_is_fetched_page_by_page(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many a server gives at once."""
    monkeypatch.setattr("guesthouse.cli.invocations.PAGE", 2)
    ids = [queued(server, "headers", "--delay", "1h") for _ in range(5)]
    found = server("invocations", "ls", "headers", "--state", "queued", "-n", "5", "--json").json
    assert [each["id"] for each in found] == ids[::-1]


def test_an_invocation_is_shown(server: Served) -> None:
    """What is known of it, and nothing that is not."""
    call = queued(server, "echo", "-d", "x")
    assert server("invocations", "attach", call).status == 0
    said = server("invocations", "show", call).out
    assert said.startswith(f"{call} succeeded\n  function   default/echo, version 1\n")
    assert "  status     200\n" in said
    assert "note" not in said
    assert server("invocations", "show", call, "--json").json["state"] == "succeeded"


def test_an_output_is_printed_as_it_is(server: Served) -> None:
    """Byte for byte; its head if asked; a failure with what it was."""
    call = queued(server, "echo", "-d", "bytes")
    assert server("invocations", "attach", call, "--timeout", "60").body == b"bytes"
    said: Said = server("invocations", "output", call, "-i")
    assert (said.body, f"x-invocation-id: {call}" in said.err) == (b"bytes", True)
    assert server("invocations", "output", call, "--json").json["body"] == "bytes"
    said = server("invocations", "output", dead(server))
    assert (said.status, said.out, "ended without an answer" in said.err) == (1, "", True)


def test_an_answer_that_is_no_success_is_printed_all_the_same(server: Served) -> None:
    """Its body as it is, and that it was none."""
    call = queued(server, "basket", "-d", '"show"')
    for command in ("attach", "output"):
        said = server("invocations", command, call)
        assert (said.status, said.out) == (1, "the function was not called with a key")
        assert "answered with status 400" in said.err


def test_an_invocation_that_runs_has_no_output_yet(server: Served, origin: Origin) -> None:
    """And attaching has an end."""
    call = hold(server, origin)
    assert "running" in server("invocations", "output", call).err
    said = server("invocations", "attach", call, "--timeout", "0")
    assert (said.status, f"guesthouse invocations show {call}" in said.err) == (1, True)
    assert server("invocations", "cancel", call).out == f"cancelled {call}\n"
    origin.release.set()
    origin.release.clear()


def test_several_are_cancelled_at_once(server: Served) -> None:
    """What has ended already is an error."""
    ids = [queued(server, "echo", "--delay", "1h") for _ in range(2)]
    assert server("invocations", "cancel", *ids, "--json").status == 0
    said = server("invocations", "cancel", ids[0])
    assert (said.status, "has ended" in said.err) == (1, True)


def test_a_dead_letter_is_redriven_and_dropped(server: Served) -> None:
    """It is listed as dead; what is none is an error."""
    call = dead(server)
    assert call in server("invocations", "ls", "--state", "dead").out
    assert server("invocations", "redrive", call).out == f"queued {call}\n"
    assert server("invocations", "attach", call).status == 1
    assert server("invocations", "drop", call).out == f"dropped {call}\n"
    assert server("invocations", "redrive", call).status == 1
    assert server("invocations", "show", call, "--json").json["state"] == "dead"


def test_a_dead_letter_is_read_and_looked_after_by_what_the_commands_say(server: Served) -> None:
    """From the queues to the list to the record; from there to the log line, the request, and both ways out."""
    call = dead(server)
    assert "guesthouse invocations ls --state dead" in server("queues").err
    (row,) = [line for line in server("invocations", "ls", "--state", "dead").out.splitlines() if call in line]
    assert row.rstrip().endswith("The function ended without an answer")
    assert f"guesthouse invocations show {call}" in server("invocations", "output", call).err
    shown = server("invocations", "show", call)
    assert re.search(r"started    \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", shown.out)
    hints = [hint.split()[1:] for hint in re.findall(r"`([^`]*)`", shown.err)]
    assert [" ".join(hint[:2]) for hint in hints] == [
        "logs panic",
        "invocations request",
        "invocations redrive",
        "invocations drop",
    ]
    assert "the guest gave up" in server(*hints[0]).out
    assert server(*hints[1]).body == b'"no"'
    assert server(*hints[2]).status == 0
    assert server("invocations", "attach", call).status == 1
    assert server(*hints[3]).status == 0


def test_a_log_is_named_with_its_namespace(server: Served) -> None:
    """Where that is not the one by itself."""
    assert server.deploy("elsewhere/panic").status == 204
    said = server("invoke", "panic", "--namespace", "elsewhere")
    (hint,) = re.findall(r"`guesthouse (logs panic --namespace elsewhere --invocation \w+)`", said.err)
    assert "the guest gave up" in server(*hint.split()).out


def test_the_request_of_a_call_is_printed_as_it_was(server: Served) -> None:
    """Byte for byte; its head if asked."""
    call = queued(server, "echo/a", "-q", "x=1", "-d", "caf\u00e9", "-H", "x-own:1", "--delay", "1h")
    said = server("invocations", "request", call, "-i")
    assert said.body == "caf\u00e9".encode()
    assert said.err.startswith("POST /a?x=1\n")
    assert "\nx-own: 1\n" in said.err
    assert server("invocations", "request", call, "--json").json["method"] == "POST"


def test_a_queued_call_says_when_it_is_due_and_what_can_be_done(server: Served) -> None:
    """In the list, and with its record; what is no dead letter is told what it is."""
    call = queued(server, "echo", "--delay", "1h")
    (row,) = [line for line in server("invocations", "ls", "echo").out.splitlines() if call in line]
    assert re.search(r"due \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", row)
    assert f"guesthouse invocations cancel {call}" in server("invocations", "show", call).err
    assert "is queued: only a dead letter" in server("invocations", "redrive", call).err
    assert f"`guesthouse invocations attach {call}` waits for it" in server("invocations", "output", call).err


def test_a_queued_call_is_a_post() -> None:
    """Another method is a usage error, before anything is sent."""
    said = guesthouse("invoke", "echo", "--async", "-X", "GET")
    assert (said.status, "a queued call is a POST" in said.err) == (2, True)


def test_an_id_is_never_folded(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """However narrow the terminal is: it is there to be copied."""
    monkeypatch.setattr("guesthouse.cli.output.PIPE_WIDTH", 80)
    call = queued(server, "echo", "--delay", "1h")
    assert call in server("invocations", "ls", "echo", "-n", "1").out


def test_queues_are_listed(tmp_path: Path) -> None:
    """While there is anything in them."""
    with served(tmp_path / "data") as server:
        assert "all queues are empty" in server("queues").err
        server.deploy("echo")
        queued(server, "echo", "--delay", "1h")
        assert "default/echo" in server("queues").out
        (queue,) = server("queues", "--json").json
        assert (queue["queued"], queue["running"]) == (1, 0)
