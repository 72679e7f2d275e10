"""Versions over HTTP and on the command line, against a real server, which is killed."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from command_line import Server, built, guesthouse, server
from served import Served, served

PATH = "/functions/manage/default/environment"


def deploy(server: Served, *numbers: int) -> None:
    """Versions that answer their number."""
    for number in numbers:
        assert server.deploy("environment", query=f"?environment=V={number}").status == 204


def choose(server: Served, version: int | str) -> int:
    """The version that runs from now on."""
    answer = server.request("PUT", f"{PATH}/current", json.dumps({"version": version}).encode())
    assert answer.status == 200, answer.body
    assert answer.json["version"] == int(answer.headers["x-function-version"])
    return int(answer.json["version"])


def answered(server: Served) -> int:
    """The number that the version which runs answers."""
    return int(json.loads(server.call("environment/V").body))


def test_versions_are_listed_shown_and_chosen_over_http(tmp_path: Path) -> None:
    """Each as it was deployed; the next call has the one that was chosen."""
    with served(tmp_path / "data") as running:
        deploy(running, 1, 2)
        grants = "?environment=V=3&description=the%20third&grants="
        assert running.deploy("environment", query=grants).status == 204
        versions = running.request("GET", f"{PATH}/versions").json["versions"]
        assert [(version["version"], version["environment"]["V"]) for version in versions] == [
            (1, "1"),
            (2, "2"),
            (3, "3"),
        ]
        assert [version["grants"] for version in versions] == [None, None, []]
        assert running.request("GET", f"{PATH}/versions/3").json == versions[2]
        assert versions[2]["description"] == "the third"
        for version, expected in ((1, 1), ("latest", 3), ("previous", 2), ("previous", 1)):
            assert choose(running, version) == expected
            assert answered(running) == expected
        refused = running.request("PUT", f"{PATH}/current", b'{"version": "previous"}')
        assert (refused.status, refused.problem) == (404, "not-found")
        deploy(running, 4)
        assert answered(running) == 1
        shown = running.request("GET", PATH).json
        assert (shown["version"], shown["latest"], shown["pinned"]) == (1, 4, 1)


def test_a_choice_that_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    """Killed while choices go on: the last one that was answered is in force, or the one after it."""
    data = tmp_path / "data"
    with served(data) as running:
        deploy(running, 1, 2, 3)
    for count in (1, 9):
        acknowledged: list[int] = []
        enough = threading.Event()

        def chooses(
            running: Served,
            acknowledged: list[int] = acknowledged,
            enough: threading.Event = enough,
            count: int = count,
        ) -> None:
            try:
                while True:
                    acknowledged.append(choose(running, 1 + len(acknowledged) % 3))
                    if len(acknowledged) >= count:
                        enough.set()
            except OSError:
                return  # it was killed

        with served(data) as running:
            thread = threading.Thread(target=chooses, args=(running,))
            thread.start()
            assert enough.wait(30)
            running.process.send_signal(signal.SIGKILL)
            thread.join(30)
        with served(data) as running:
            found = running.request("GET", PATH).json["pinned"]
            assert found in (acknowledged[-1], 1 + len(acknowledged) % 3)
            assert answered(running) == found


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "guesthouse.toml").write_text("keep_versions = 3\n")
    with server(folder / "data", "--config", folder / "guesthouse.toml") as running:
        yield running


def test_the_command_line_lists_shows_pins_and_rolls_back(running: Server) -> None:
    """One line for each thing that was done, and the same as JSON."""
    file = built("environment")
    for number in (1, 2, 3):
        assert running("deploy", file, "--env", f"V={number}", "--description", f"number {number}").status == 0
    listed = running("versions", "ls", "environment").out
    assert [line.split()[:2] for line in listed.splitlines()[1:]] == [["1", "web"], ["2", "web"], ["3", "current"]]
    assert "number 2" in listed
    assert running("versions", "pin", "environment", "1").out == "default/environment is pinned to version 1\n"
    assert running("invoke", "environment/V").out == '"1"'
    assert "pinned" in running("versions", "ls", "environment").out.splitlines()[1]
    said = running("versions", "unpin", "environment")
    assert said.out == "default/environment follows its latest version, 3\n"
    assert running("rollback", "environment", "--json").json["pinned"] == 2
    shown = running("versions", "show", "environment").out
    for text in ("version   2", "latest    3", "pinned    2", 'V="2"', "number 2", "grants    all"):
        assert text in shown
    assert running("versions", "show", "environment", "1", "--json").json["description"] == "number 1"
    assert [v["current"] for v in running("versions", "ls", "environment", "--json").json] == [False, True, False]


def test_deploying_to_a_pinned_function_says_who_answers(running: Server) -> None:
    """Or somebody would look for their change in vain."""
    for _ in range(2):
        assert running("deploy", built("echo"), "--name", "held").status == 0
    running("versions", "pin", "held", "1")
    assert "1 (pinned)" in next(line for line in running("ls").out.splitlines() if "default/held" in line)
    said = running("deploy", built("echo"), "--name", "held")
    assert said.out == "deployed default/held version 3; calls go on to version 1, to which it is pinned\n"


def test_as_many_versions_stay_as_the_configuration_says(running: Server) -> None:
    """`keep_versions`; what has gone is not there any more."""
    for _ in range(6):
        assert running("deploy", built("echo"), "--name", "often").status == 0
    assert [version["version"] for version in running("versions", "ls", "often", "--json").json] == [4, 5, 6]
    said = running("versions", "pin", "often", "1")
    assert (said.status, said.err.count("\n")) == (1, 1)


def test_what_is_not_there_is_one_line_and_exit_status_1(running: Server) -> None:
    """For every command that takes a name; a number that cannot be is a usage error."""
    for arguments in (
        ("versions", "ls", "nobody"),
        ("versions", "show", "nobody"),
        ("versions", "pin", "nobody", 1),
        ("versions", "unpin", "nobody"),
        ("rollback", "nobody"),
    ):
        said = running(*arguments)
        assert (said.status, said.out, said.err.count("\n")) == (1, "", 1)
    assert running("versions", "pin", "nobody", "0").status == 2
    assert running("versions", "pin", "nobody", "latest").status == 2


def test_a_token_that_may_only_read_cannot_choose(tmp_path: Path) -> None:
    """Managing is a scope of its own; listing is reading."""
    data = tmp_path / "data"
    with served(data) as running:
        deploy(running, 1, 2)
    tokens = {
        scope: guesthouse("token", "create", scope, "--scope", scope, "--data-dir", data).out.strip()
        for scope in ("read", "manage", "invoke")
    }
    with served(data) as running:
        for scope, listing, choosing in (("read", 200, 403), ("manage", 403, 200), ("invoke", 403, 403)):
            shown = {"authorization": tokens[scope]}
            assert running.request("GET", f"{PATH}/versions", None, shown).status == listing
            assert running.request("GET", f"{PATH}/versions/1", None, shown).status == listing
            body = b'{"version": 1}'
            assert running.request("PUT", f"{PATH}/current", body, shown).status == choosing
        assert running.request("PUT", f"{PATH}/current", b'{"version": 1}').status == 401
