"""F16: what a function may do is judged when it does it, and never when it is replayed."""

from __future__ import annotations

import json
from pathlib import Path

from keyed_server import KeyedServer
from probing import deploy_durable
from queued import attached, enqueue, record
from served import Served, config, served


def orders(server: KeyedServer, *names: str, answer: int | None = None) -> bytes:
    """What the guest `http-calls` is asked: a POST for each name, and whose answer is its own."""
    steps: list[object] = [{"send": {"verb": "POST", "url": server.url(name)}} for name in names]
    return json.dumps([*steps, *([] if answer is None else [{"answer": answer}])]).encode()


def deploy(host: Served, **said: object) -> int:
    """The guest, durable, with one attempt; its version."""
    return deploy_durable(host, "http-calls", retry={"attempts": 1}, **said)


def test_what_was_answered_before_the_host_forbade_it_is_told_again_and_nothing_new_is(tmp_path: Path) -> None:
    """The next host lets no guest reach this machine: the answer of the first request is replayed, the second is denied."""
    with KeyedServer() as server:
        server.hold("second", "before")
        with served(tmp_path / "data", "--config", config(tmp_path)) as host:
            deploy(host)
            call = enqueue(host, "http-calls", orders(server, "first", "second"))
            server.holds()
        with served(tmp_path / "data") as host:
            first, second = attached(host, call).json
            assert first["status"] == 200
            assert "error" in second
            assert record(host, call)["state"] == "succeeded"
        assert dict(server.done) == {"first": 1}
        assert [asked.name for asked in server.asked] == ["first", "second"]


def test_a_version_with_fewer_grants_is_told_what_was_and_denied_what_is_new(tmp_path: Path) -> None:
    """A dead letter goes on with the same module under a grant that covers neither request."""
    with KeyedServer() as server, served(tmp_path / "data", "--config", config(tmp_path)) as host:
        deploy(host)
        server.refuse("second")
        call = enqueue(host, "http-calls", orders(server, "first", "second", answer=1))
        assert attached(host, call).status == 503
        narrow = deploy(host, grants=["http:elsewhere.example"])
        answer = host.request("POST", f"/invocations/{call}/redrive?version={narrow}")
        assert answer.status < 300, answer.body
        attached(host, call)
        found = record(host, call)
        assert (found["state"], found["version"]) == ("dead", narrow)
        assert found["result"] != "diverged"
        assert dict(server.done) == {"first": 1}
        assert [asked.name for asked in server.asked] == ["first", "second"]
