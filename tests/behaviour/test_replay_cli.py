"""`guesthouse replay`, `check`, `invocations journal`, `export` and `redrive` against a real server, and with files alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from command_line import built, guesthouse
from guesthouse import AsyncHost
from guesthouse.dispatch.exports import read_export
from queued import attached, enqueue, record
from recordings import recorded
from scripted import Script
from served import Served, served
from support import guest


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("server")
    path = folder / "guesthouse.toml"
    path.write_text('[invocations]\nflight = "failed"\n')
    with served(folder / "data", "--config", path) as server:
        assert server.deploy("panic").status == 204
        assert server.deploy("greet", query="?durable=true").status == 204
        assert server.deploy("team/greet", query="?durable=true").status == 204
        yield server


@pytest.fixture(scope="module")
def failed(server: Served) -> str:
    """A call that has trapped, and was recorded: its id."""
    call = str(server.call("panic", b'"no"').headers["x-invocation-id"])
    server.counted("flight_total", 1, result="stored")
    return call


def greeted(server: Served, name: str = "default/greet") -> str:
    """A durable call that has ended; its id."""
    answer = server.request("POST", f"/functions/{name}", b'{"name": "Ada"}')
    assert answer.status == 200
    return str(answer.headers["x-invocation-id"])


def test_a_failed_call_is_exported_and_replayed_without_the_server(server: Served, failed: str, tmp_path: Path) -> None:
    """From one file, that only its owner can read."""
    file = tmp_path / "failed.guesthouse"
    said = server("invocations", "export", failed, "-o", file)
    assert (said.status, said.out.strip()) == (0, str(file))
    assert "everything that the function was given" in said.err
    assert file.stat().st_mode & 0o777 == 0o600
    said = guesthouse("replay", file, URL="http://127.0.0.1:9")
    assert said.status == 0
    assert said.out.startswith(f"{failed}  default/panic, version 1")
    assert "✓ the same end as recorded: trapped (unreachable)" in said.out
    assert "wasm function" in said.out
    assert "panicked at" in said.out


def test_a_replay_by_id_asks_the_server_for_the_file(server: Served, failed: str) -> None:
    """The same as with the file; as JSON with all there is."""
    found = server("replay", failed, "--json").json
    assert (found["id"], found["verdict"], found["recorded"]["trap"]) == (failed, "identical", "unreachable")
    assert found["steps"][0]["interface"].startswith("momento:bytes/")
    assert server("replay", "nothing").status == 1
    assert server("replay", "nothing.guesthouse").status == 2


def test_an_export_can_go_to_standard_output(server: Served, failed: str) -> None:
    """For what reads pipes."""
    assert read_export(server("invocations", "export", failed, "-o", "-").body).record.id == failed


def test_calls_that_are_not_recorded_are_shown_one_by_one_if_asked(server: Served, failed: str) -> None:
    """Otherwise those that follow each other are one line."""
    short, long = (server("replay", failed, *more).out for more in ((), ("--all",)))
    assert "×" in short
    assert "×" not in long
    assert len(long.splitlines()) > len(short.splitlines())


def test_until_and_set_are_of_calls_with_numbers(server: Served, failed: str) -> None:
    """What is no number, or no JSON, is a usage error; what does not fit is one line."""
    said = server("replay", failed, "--until", "0")
    assert (said.status, "■ stopped before call 0" in said.out) == (0, True)
    assert "get-environment" in said.out
    found = server("replay", failed, "--set", '0=[["A", "b"]]', "--json").json
    (changed,) = [step for step in found["steps"] if step["answered"] == "changed"]
    assert changed["result"] == [["A", "b"]]
    for wrong in ("x=1", "0", "0=text", "-1=1"):
        assert server("replay", failed, "--set", wrong).status == 2
    said = server("replay", failed, "--set", "0=1")
    assert (said.status, "call 0 has to be" in said.err) == (1, True)


def test_a_journal_is_listed(server: Served) -> None:
    """As a table and as JSON, with sizes and without contents."""
    call = greeted(server)
    said = server("invocations", "journal", call)
    assert said.status == 0
    assert said.out.splitlines()[0].split() == ["CALL", "WHAT", "FUNCTION", "SIZE"]
    found = server("invocations", "journal", call, "--json").json
    assert (found["kind"], found["ended"], found["count"]) == ("durable", True, len(found["entries"]))
    assert "Ada" not in said.out + json.dumps(found)
    assert server("invocations", "journal", "nothing").status == 1


def test_what_was_not_recorded_is_said_so(server: Served) -> None:
    """With a problem of its own, for scripts."""
    assert server.deploy("echo").status == 204
    call = enqueue(server, "echo", b"x")
    attached(server, call)
    for what in ("journal", "export"):
        answer = server.request("GET", f"/invocations/{call}/{what}")
        assert (answer.status, answer.problem) == (404, "no-journal")
    said = server("invocations", "export", call)
    assert (said.status, "nothing was recorded" in said.err) == (1, True)
    said = server("check", built("echo"), "--against", "echo")
    assert (said.status, "there is no journal of echo" in said.err) == (1, True)


def test_the_same_module_passes_the_check(server: Served) -> None:
    """Every journal of the function; those of its namesake elsewhere are not among them."""
    ids = {greeted(server), greeted(server)}
    greeted(server, "team/greet")
    said = server("check", built("greet"), "--against", "greet", "--json")
    assert said.status == 0
    assert ids <= {found["id"] for found in said.json}
    assert {found["verdict"] for found in said.json} == {"identical"}
    said = server("check", built("greet"), "--against", "team/greet", "--limit", "1")
    assert (said.status, "identical" in said.out, "does all that was recorded" in said.err) == (0, True, True)
    assert server("check", built("greet"), "--against", "greet", "--state", "dead").status == 1


def test_another_module_fails_the_check(server: Served) -> None:
    """With status 1, and with what is different."""
    greeted(server)
    said = server("check", built("echo"), "--against", "greet", "--limit", "1")
    assert said.status == 1
    assert "greet" not in said.err or "does not do what was recorded" in said.err
    (found,) = server("check", built("echo"), "--against", "greet", "--limit", "1", "--json").json
    assert found["verdict"] in ("diverged", "otherwise")
    assert found["detail"]


def test_flight_recordings_are_checked_too(server: Served, failed: str) -> None:
    """And files, without a server."""
    (found,) = server("check", built("panic"), "--against", "panic", "--state", "failed", "--json").json
    assert (found["id"], found["verdict"]) == (failed, "identical")
    said = guesthouse("check", built("panic"))
    assert (said.status, "--against" in said.err) == (2, True)


def test_files_are_checked_without_a_server(tmp_path: Path) -> None:
    """A folder of recorded calls is a test suite."""
    files = []

    async def record() -> None:
        async with AsyncHost() as host:
            for number in range(2):
                data = await recorded(host, guest("greet"), b'{"name": "Ada"}', name=f"greet-{number}", durable=True)
                files.append(tmp_path / f"{number}.guesthouse")
                files[-1].write_bytes(data)

    asyncio.run(record())
    assert guesthouse("check", built("greet"), *files).status == 0
    assert guesthouse("check", built("greet", "wasip1"), *files).status in (0, 1)
    files[0].write_bytes(b"nonsense")
    said = guesthouse("check", built("greet"), *files)
    assert (said.status, "this is no export" in said.err.lower() or "too short" in said.err) == (1, True)


def test_a_dead_letter_goes_on_on_a_fixed_version(server: Served, tmp_path: Path) -> None:
    """Where that does again what was done; refused with both calls where it does not."""
    done = Script((("random",), ("clock",)))
    versions = {"traps": done.ending(traps=True), "differs": Script((("clock",),)), "mended": done}
    manifest = tmp_path / "mends.toml"
    manifest.write_text("durable = true\n[retry]\nattempts = 1\n")
    call = ""
    for name, script in versions.items():
        file = tmp_path / f"{name}.wasm"
        file.write_bytes(script.wasm)
        assert server("deploy", file, "--name", "mends", "--manifest", manifest).status == 0
        if not call:
            call = enqueue(server, "mends")
            attached(server, call)
    assert record(server, call)["state"] == "dead"
    said = server("invocations", "redrive", call, "--version", "2", "--from", "1")
    assert (said.status, "differs at call 0" in said.err, "get-random-u64" in said.err) == (1, True, True)
    assert server("invocations", "redrive", call, "--version", "9").status == 1
    assert server("invocations", "redrive", call, "--from", "99").status == 1
    assert record(server, call)["state"] == "dead"
    assert server("invocations", "redrive", call, "--version", "3", "--from", "1").status == 0
    assert attached(server, call).status == 200
    assert record(server, call)["version"] == 3


def test_options_of_redrive_are_checked(server: Served, failed: str) -> None:
    """Only dead letters of durable functions go on in the middle."""
    for query, status in (("from=x", 400), ("fail=maybe", 400), ("weather=fine", 400), ("from=1", 409)):
        answer = server.request("POST", f"/invocations/{failed}/redrive?{query}")
        assert answer.status == status, answer.body
    assert server("invocations", "redrive", failed, "--from", "-1").status == 2
