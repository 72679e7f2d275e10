"""`guesthouse topic` and `deploy --topic`: topics from the command line, against a real server."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from command_line import built, guesthouse
from served import Served, served


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("data")) as server:
        yield server


def watch(server: Served, *arguments: str) -> subprocess.Popen[str]:
    """`guesthouse topic watch`, once it watches."""
    command = [sys.executable, "-m", "guesthouse", "topic", "watch", *arguments, "--url", server.url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert process.stderr.readline() == f"watching default/{arguments[0]}\n"
    return process


def test_the_command_line_publishes_and_watches(running: Served) -> None:
    """Text is printed without what a terminal would obey, bytes as Python writes them; JSON has both exactly."""
    with watch(running, "news", "-n", "3") as people, watch(running, "news", "-n", "3", "--json") as programs:
        said = running("topic", "publish", "news", "-d", "it\x1b[31m happened")
        assert (said.status, said.out) == (0, "published to default/news\n")
        assert running("topic", "publish", "news", "-d", "-", "--quiet", data=b"\xff").out == ""
        assert running("topic", "publish", "news", "-d", "text?", "--bytes", "--json").json["topic"] == "news"
        out, _ = people.communicate(timeout=30)
        assert out == "it\\x1b[31m happened\nb'\\xff'\nb'text?'\n"
        lines = [json.loads(line) for line in programs.communicate(timeout=30)[0].splitlines()]
    assert [{**line, "sequence": 0} for line in lines] == [
        {"sequence": 0, "text": "it\x1b[31m happened"},
        {"sequence": 0, "base64": "/w=="},
        {"sequence": 0, "base64": "dGV4dD8="},
    ]
    assert [line["sequence"] for line in lines] == sorted(line["sequence"] for line in lines)


def test_the_command_line_shows_messages_whole_whatever_they_hold(running: Served) -> None:
    """Only line feeds and carriage returns end a line of a stream: what Unicode calls a line break is text."""
    texts = [
        "a\u2028b\x85c\x0bd\x0ce\x1cf\x1dg\x1eh\u2029i",
        "",
        " lead",
        "x\n\nevent: stop\ndata: y",
        "\ufeffbom",
        "\0",
    ]
    with watch(running, "whole", "-n", str(len(texts)), "--json") as watcher:
        for text in texts:
            answer = running.request("POST", "/topics/default/whole", text.encode(), {"content-type": "text/plain"})
            assert answer.status == 204
        lines = watcher.communicate(timeout=30)[0].split("\n")[:-1]
    assert [json.loads(line)["text"] for line in lines] == texts


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["publish", "", "-d", "x"], "a topic's name has 1 to 1024 bytes"),
        (["watch", ""], "a topic's name has 1 to 1024 bytes"),
        (["publish", "news", "-d", "x", "--url", "http://["], "is not the URL of a server"),
        (["watch", "news", "--url", "http://127.0.0.1:x"], "is not the URL of a server"),
    ],
)
def test_what_cannot_be_named_is_said(running: Served, arguments: list[str], said: str) -> None:
    """In a line about the argument, before the server is asked."""
    result = running("topic", *arguments)
    assert (result.status, said in result.err, "Traceback" in result.err) == (2, True, False)


def test_ctrl_c_is_how_watching_ends(running: Served) -> None:
    """Nothing is wrong: no error, status 0."""
    with watch(running, "news") as watcher:
        watcher.send_signal(signal.SIGINT)
        assert watcher.communicate(timeout=30) == ("", "")
    assert watcher.returncode == 0


def test_a_stream_that_is_none_of_ours_is_one_line() -> None:
    """Whatever answers at the URL: ids that are no numbers, bytes that are no base64, lines without an end."""
    wrong = (
        b"event: text\nid: x\ndata: y\n\n",
        b"event: bytes\nid: 1\ndata: %\n\n",
        b"data: \xff\n\n",
        b"x" * (9 << 20),
    )
    for stream in wrong:
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def serve(stream: bytes = stream, listener: socket.socket = listener) -> None:
                peer, _ = listener.accept()
                with peer, suppress(ConnectionError):  # the command has seen enough
                    peer.recv(65_536)
                    peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + stream)

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            said = guesthouse("topic", "watch", "news", "--url", url)
            thread.join(30)
        assert (said.status, said.err.splitlines()[-1]) == (1, f"error: {url} sends what is no stream of a topic")


def test_the_command_line_deploys_functions_that_topics_start(running: Served) -> None:
    """`--topic` may be repeated; what cannot be is one line."""
    said = running("deploy", built("topic-trigger"), "--name", "started", "--topic", "orders", "--topic", "a/b")
    assert said.status == 0
    with watch(running, "heard", "-n", "1") as heard:
        assert running("topic", "publish", "a/b", "-d", "x").status == 0
        assert heard.communicate(timeout=30)[0] == "b'x'\n"
    running.counted("topic_triggers_total", 1, outcome="accepted")
    running.counted("spawns_total", 1, outcome="ok")
    refused = running("deploy", built("echo"), "--topic", "orders")
    assert (refused.status, "topics start spawn functions only" in refused.err) == (1, True)


def test_a_message_that_cannot_be_published_is_one_line(running: Served) -> None:
    """With what stands in the way."""
    said = running("topic", "publish", "news", "-d", "x" * 4097)
    assert (said.status, said.err) == (1, "error: a message has at most 4096 bytes\n")
