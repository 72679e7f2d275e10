"""The command line: what each command prints, where, and with which exit status."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import click
import pytest

from command_line import built, guesthouse, server
from guesthouse.cli import cli
from guesthouse.cli.output import duration
from support import ROOT

NOBODY = "http://127.0.0.1:9"
"""Nothing listens on the port of the discard service."""


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A server with functions, whose guests may reach all of this machine but the server itself."""
    folder = tmp_path_factory.mktemp("server")
    config = folder / "guesthouse.toml"
    config.write_text('[outbound]\nschemes = ["http"]\nallow_addresses = ["127.0.0.0/8"]\n')
    with server(folder / "data", "--config", config) as running:
        files = map(built, ("echo", "greet", "headers", "panic", "ticker", "proxy", "spawn-result", "start"))
        assert running("deploy", *files).status == 0
        yield running


def commands(group: click.Group = cli, path: tuple[str, ...] = ()):
    """Every command, and the words that lead to it."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


# -- help


def test_help_is_shown_without_importing_anything_heavy():
    """Help, completion and mistakes come at once: rich, pydantic, an HTTP client and the engine are imported when used."""
    code = "import sys, guesthouse.cli; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT / "host")}, capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {
        "rich",
        "httpx2",
        "pydantic",
        "asyncio",
        "uvloop",
        "starlette",
        "guesthouse.async_host",
        "guesthouse.host",
        "guesthouse._native.api",
    }
    assert not heavy & set(modules)


def test_every_command_is_listed_and_explains_itself():
    """`guesthouse --help` names all; each has help with an example where it takes arguments, and `--json`."""
    listed = guesthouse("--help").out
    for path, command in commands():
        said = guesthouse(*path, "--help")
        assert said.status == 0
        assert path[0] in listed
        assert "--json" in said.out
        if any(isinstance(parameter, click.Argument) for parameter in command.params):
            assert f"guesthouse {' '.join(path)} " in said.out.partition("Example")[2]


# -- a server's functions


def test_a_file_is_deployed_called_listed_and_removed(running):
    """The way of a function from a file to its end."""
    deployed = running("deploy", built("greet"), "--name", "hello", "--description", "says hello", "--json").json
    assert (deployed["name"], deployed["version"], deployed["kind"]) == ("hello", 1, "web")
    assert running("invoke", "hello", "-d", '{"name": "Ada"}').out == '{"message":"Hello, Ada!"}'
    row = next(line for line in running("ls").out.splitlines() if "default/hello" in line)
    assert "says hello" in row
    assert running("rm", "hello").out == "deleted default/hello\n"
    assert "default/hello" not in running("ls").out


def test_a_function_is_named_like_its_file(running, tmp_path):
    """hello_world.wasm is deployed as hello-world; a file name that gives no function name is a usage error."""
    file = tmp_path / "Hello_World.wasm"
    file.write_bytes(built("echo").read_bytes())
    assert running("deploy", file, "--json").json["name"] == "hello-world"
    odd = file.rename(tmp_path / "ö.wasm")
    said = running("deploy", odd)
    assert said.status == 2
    assert "--name" in said.err


def test_the_answer_goes_to_standard_output_byte_for_byte(running):
    """Standard input in, the same bytes out, whatever they are."""
    everything = bytes(range(256)) * 300
    said = running("invoke", "echo", "-d", "-", data=everything)
    assert (said.status, said.body, said.err) == (0, everything, "")


def test_a_body_can_come_from_a_file(running, tmp_path):
    """`-d @FILE`; a file that is not there is a usage error."""
    file = tmp_path / "body"
    file.write_bytes(b"from a file")
    assert running("invoke", "echo", "-d", f"@{file}").body == b"from a file"
    assert running("invoke", "echo", "-d", f"@{file}x").status == 2


def test_path_query_header_and_method_reach_the_function(running):
    """`NAME/PATH?QUERY`, `-q`, `-H` and `-X`; authorization is the function's own."""
    said = running(
        *("invoke", "headers/a%20b/c d?x=1#2", "-q", "y=a&b", "-X", "get"),
        *("-H", "X-One: 1", "-H", "Authorization: mine"),
    )
    request = json.loads(said.out)
    assert request["path"] == "a b/c d"
    assert request["query"] == {"x": "1#2", "y": "a&b"}
    assert request["method"] == "GET"
    assert request["headers"]["x-one"] == "1"
    assert request["headers"]["authorization"] == "(hidden)"


def test_an_answer_of_400_or_more_is_exit_status_1(running):
    """The guest's words go to standard output, ours to standard error."""
    said = running("invoke", "greet", "-d", "{")
    assert said.status == 1
    assert said.out.startswith("Failed to parse request body")
    assert said.err == "error: greet answered with status 400\n"


def test_a_streamed_answer_is_passed_on(running):
    """Server-sent events come out as they are."""
    assert running("invoke", "ticker", "-q", "events=2").out == "data: tick\n\n" * 2


def test_invoke_with_json_gives_the_outcome(running):
    """Status, headers, body (base64 where it is not UTF-8), and the server's problem where there is one."""
    good = running("invoke", "echo", "-d", "hi", "--json").json
    assert (good["status"], good["body"], good["error"]) == (200, "hi", None)
    assert ["content-length", "2"] in good["headers"]
    assert running("invoke", "echo", "-d", "-", "--json", data=b"\xff").json["body_base64"] == "/w=="
    trapped = running("invoke", "panic", "-d", "boo", "--json")
    assert trapped.status == 1
    assert trapped.json["error"]["type"] == "urn:guesthouse:problem:guest-trapped"
    assert trapped.json["invocation_id"]


def test_a_trap_names_the_command_that_shows_why_and_that_shows_it(running):
    """The client is told nothing of a guest's words; the log has them."""
    said = running("invoke", "panic", "-d", "it is over")
    assert said.status == 1
    (hint,) = re.findall(r"`guesthouse (logs panic --invocation \w+)` shows it", said.err)
    assert "it is over" not in said.err
    assert "it is over" in running(*hint.split()).out
    lines = running("logs", "panic", "-n", "3", "--json").out.splitlines()
    assert [set(json.loads(line)) for line in lines] == [{"time", "level", "source", "text", "invocation_id"}] * 3


def test_a_function_that_is_not_there_is_one_line_and_exit_status_1(running):
    """For every command that takes a name; with `--json` the line is JSON."""
    for command in ("invoke", "logs", "rm"):
        said = running(command, "nobody")
        assert (said.status, said.out, said.err) == (1, "", "error: there is no such function\n")
    error = json.loads(running("rm", "nobody", "--json").err)["error"]
    assert error["type"] == "urn:guesthouse:problem:not-found"


def test_a_module_that_cannot_run_is_refused_with_file_and_reason(running):
    """Deploy says which interface is missing; the files before it stay deployed."""
    said = running("deploy", built("echo"), built("calculator"))
    assert said.status == 1
    assert "deployed default/echo" in said.out
    assert str(built("calculator")) in said.err
    assert "example:calculator/paper@1.0.0" in said.err


def test_limits_and_grants_are_those_of_the_deployment(running):
    """A limit that does not exist is a usage error before anything is sent; a missing grant is the server's refusal."""
    assert running("deploy", built("echo"), "--limit", "speed=1").status == 2
    assert running("deploy", built("echo"), "--limit", "fuel=much").status == 2
    said = running("deploy", built("proxy"), "--grant", "cache")
    assert said.status == 1
    assert "not granted: http" in said.err
    assert (
        running("deploy", built("echo"), "--name", "tight", "--limit", "request_bytes=4", "--env", "A=b=c").status == 0
    )
    assert running("invoke", "tight", "-d", "12345").status == 1
    function = next(found for found in running("ls", "--json").json if found["name"] == "tight")
    assert function["limits"] == {"request_bytes": 4}
    assert function["environment"] == {"A": "b=c"}


@pytest.mark.parametrize(
    ("nanoseconds", "text"), [(31_000, "0.031 ms"), (999e6, "999 ms"), (2.56e9, "2.56 s"), (30e9, "30.00 s")]
)
def test_a_time_is_written_for_people(nanoseconds, text):
    """Without powers of ten."""
    assert duration(nanoseconds) == text


def test_nothing_that_is_no_terminal_gets_colours(running):
    """Pipes and files get plain text."""
    for arguments in (("ls",), ("invoke", "nobody"), ("logs", "panic"), ("inspect", built("calculator"))):
        said = running(*arguments)
        assert "\x1b" not in said.out + said.err


def test_quiet_leaves_only_results_and_errors(running):
    """`--quiet` silences the talk and what a command did, never an error."""
    said = running("deploy", built("echo"), "--quiet")
    assert (said.status, said.out, said.err) == (0, "", "")
    assert running("rm", "nobody", "--quiet").err != ""


def test_a_server_that_is_not_there_is_said_in_one_line(running):
    """Every command that needs one asks whether `guesthouse serve` runs."""
    for arguments in (("ls",), ("deploy", built("echo")), ("invoke", "x"), ("logs", "x"), ("rm", "x")):
        said = guesthouse(*arguments, URL=NOBODY)
        assert said.status == 1
        assert "is `guesthouse serve` running there?" in said.err
        assert said.err.count("\n") == 1
    assert guesthouse("ls", URL="localhost").status == 2


def test_a_guest_cannot_reach_the_server_that_it_runs_in(running):
    """Not even where its network is allowed: it could deploy and delete."""
    said = running("invoke", "proxy", "-X", "GET", "-q", f"url={running.url}/functions/manage")
    assert said.status == 1
    assert "destination prohibited" in said.out


def test_completion_is_clicks():
    """The shell asks the program itself."""
    completed = subprocess.run(
        [sys.executable, "-m", "guesthouse"],
        env={"PYTHONPATH": str(ROOT / "host"), "_GUESTHOUSE_COMPLETE": "bash_source"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "_guesthouse_completion" in completed


# -- without a server


def test_run_calls_a_web_function_in_this_process():
    """The body on standard output; what it used, and nothing else, on standard error."""
    said = guesthouse("run", built("greet"), "-d", '{"name": "Ada"}')
    assert (said.status, said.out) == (0, '{"message":"Hello, Ada!"}')
    assert said.err.startswith("-- status 200, ")
    assert guesthouse("run", built("greet"), "-d", "{").status == 1


def test_run_passes_a_stream_on():
    """Server-sent events, as text and as JSON."""
    assert guesthouse("run", built("ticker"), "-q", "events=2").out == "data: tick\n\n" * 2
    outcome = guesthouse("run", built("ticker"), "-q", "events=1", "--json").json
    assert (outcome["status"], outcome["body"]) == (200, "data: tick\n\n")
    assert ["content-type", "text/event-stream"] in outcome["headers"]


def test_run_tells_how_a_spawn_function_ended():
    """Its result is the output, its note is in the log, and a failure is exit status 1."""
    good, bad = '{"ok-note": "12 rows"}', '{"failed-note": "disk full"}'
    said = guesthouse("run", built("spawn-outcome"), "-d", good)
    assert (said.status, said.out) == (0, "ok\n")
    assert "12 rows" in said.err
    outcome = guesthouse("run", built("spawn-outcome"), "-d", bad, "--json")
    assert (outcome.status, outcome.json["result"]) == (1, "failed")
    assert "disk full" in [line["text"] for line in outcome.json["logs"]]
    assert guesthouse("run", built("spawn-outcome"), "-d", "{", "--json").json["result"] == "dropped"


def test_run_repeats_and_tells_the_percentiles():
    """One body, the times of all calls."""
    said = guesthouse("run", built("echo"), "-d", "x", "--repeat", 20)
    assert said.out == "x"
    assert "20 calls: p50 " in said.err
    outcome = guesthouse("run", built("echo"), "--repeat", 20, "--json").json
    assert outcome["calls"] == 20
    assert 0 < outcome["p50_ms"] <= outcome["p99_ms"]


def test_run_shows_why_a_guest_ended():
    """Its log on standard error; with `--quiet` one line; the deadline is a limit like others."""
    said = guesthouse("run", built("panic"), "-d", "it is over")
    assert (said.status, said.out) == (1, "")
    assert "it is over" in said.err
    quiet = guesthouse("run", built("panic"), "-d", "it is over", "--quiet").err
    assert quiet.startswith("error: ")
    assert quiet.count("\n") == 1
    spun = guesthouse("run", built("spin"), "--limit", "deadline_ms=50", "--json").json
    assert (spun["result"], spun["fuel_used"]) == ("deadline", None)


def test_run_says_what_to_do_with_a_library():
    """A library has no single function to run, and one with imports of its own needs its host."""
    said = guesthouse("run", built("calculator"))
    assert said.status == 1
    assert "example:calculator/paper@1.0.0" in said.err


def test_inspect_tells_what_a_file_needs():
    """Form, kind, imports, grants and memory, for people and as JSON."""
    said = guesthouse("inspect", built("fill", "wasip1"))
    assert said.status == 0
    for text in ("a core module", "a spawn function", "momento:http/http@1.1.0", "cache, http", "1.1 MiB"):
        assert text in said.out
    document = guesthouse("inspect", built("fill"), "--json").json
    assert (document["form"], document["kind"], document["grants"]) == ("component", "spawn", ["cache", "http"])
    assert all(found["known"] for found in document["imports"])
    assert document["default_limits"]["deadline_ms"] == 30_000


def test_inspect_of_a_file_that_cannot_run_is_exit_status_1(tmp_path):
    """What is missing is named; what is no module is one line."""
    said = guesthouse("inspect", built("calculator"))
    assert said.status == 1
    assert "not known here: rate" in said.out
    text = tmp_path / "text.wasm"
    text.write_text("not wasm")
    said = guesthouse("inspect", text)
    assert (said.status, said.out) == (1, "")
    assert said.err.startswith(f"error: {text}: ")
