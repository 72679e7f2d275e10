"""F17: a host that dies between an effect and its record repeats the request with the same key, and nothing is done twice.

A guest that knows nothing of keys or crashes sends three requests; its server is killed at each of their edges.
"""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from keyed_server import KeyedServer
from probing import deploy_durable
from queued import attached, enqueue, record
from served import Served, config, served

NAMES = ("first", "second", "third")


def orders(server: KeyedServer, *names: str, **headers: str) -> bytes:
    """What the guest `http-calls` is asked: a POST for each name, whose answer it reads."""
    send = [{"verb": "POST", "url": server.url(name), "headers": list(headers.items()), "body": name} for name in names]
    steps = [step for number, order in enumerate(send) for step in ({"send": order}, {"all": number})]
    return json.dumps(steps).encode()


def deploy(host: Served, policy: str = "") -> None:
    """The guest, durable; `policy` is what becomes of ambiguous requests to this machine."""
    durable = {"ambiguous": {"127.0.0.1": policy}} if policy else True
    deploy_durable(host, "http-calls", durable=durable)


def killed(folder: Path, server: KeyedServer, call: str | None, name: str, when: str, body: bytes) -> str:
    """A host that is killed while the server holds the request for `name`; the id of the call."""
    server.hold(name, when)
    with served(folder / "data", "--config", config(folder)) as host:
        if call is None:
            deploy(host)
            call = enqueue(host, "http-calls", body)
        server.holds()
    return call


def test_an_effect_is_done_once_whichever_of_its_edges_the_host_dies_at(tmp_path: Path) -> None:
    """Before each request is done, and after it before its answer: six kills, one key for each request."""
    with KeyedServer() as server:
        body, call = orders(server, *NAMES), None
        for name in NAMES:
            for when in ("before", "after"):
                call = killed(tmp_path, server, call, name, when, body)
        assert call is not None
        with served(tmp_path / "data", "--config", config(tmp_path)) as host:
            answer = attached(host, call)
            assert answer.status == 200, answer.body
            found = record(host, call)
            assert (found["state"], found["attempts"]) == ("succeeded", 1)
            assert host.metric("durable_ambiguous_total") >= 1
        assert dict(server.done) == dict.fromkeys(NAMES, 1)
        assert [len(server.keys[name]) for name in NAMES] == [1, 1, 1]
        assert len(set.union(*server.keys.values())) == len(NAMES)
        assert [text for text in answer.json if isinstance(text, str)] == [
            "first, number 1",
            "second, number 2",
            "third, number 3",
        ]
        assert len(server.asked) == len(NAMES) * 3


def test_a_guests_own_key_wins(tmp_path: Path) -> None:
    """It is sent as it is, before the crash and after."""
    with KeyedServer() as server:
        body = orders(server, "first", **{"Idempotency-Key": "chosen by the guest"})
        call = killed(tmp_path, server, None, "first", "after", body)
        with served(tmp_path / "data", "--config", config(tmp_path)) as host:
            assert attached(host, call).status == 200
        assert server.keys["first"] == {"chosen by the guest"}
        assert server.done["first"] == 1


def cut_off(folder: Path, server: KeyedServer, policy: str) -> str:
    """A call whose host died after its request was done, deployed with that policy for ambiguous ones."""
    server.hold("first", "after")
    with served(folder / "data", "--config", config(folder)) as host:
        deploy(host, policy)
        call = enqueue(host, "http-calls", orders(server, "first", "second"))
        server.holds()
    return call


def test_a_server_that_knows_no_keys_is_not_asked_twice_where_the_policy_says_fail(tmp_path: Path) -> None:
    """The guest is told of an error, and goes on."""
    with KeyedServer(honours=False) as server:
        call = cut_off(tmp_path, server, "fail")
        with served(tmp_path / "data", "--config", config(tmp_path)) as host:
            first, _, second, _ = attached(host, call).json
            assert "error" in first
            assert second["status"] == 200
            assert host.metric("durable_ambiguous_total", decision="fail") == 1
        assert dict(server.done) == {"first": 1, "second": 1}


@pytest.mark.parametrize("decided", ["repeat", "fail"])
def test_it_is_put_away_until_somebody_decides_where_the_policy_says_ask(tmp_path: Path, decided: str) -> None:
    """A dead letter named ambiguous; `redrive` repeats the request, `redrive` with `fail` tells the guest."""
    with KeyedServer(honours=False) as server:
        call = cut_off(tmp_path, server, "ask")
        with served(tmp_path / "data", "--config", config(tmp_path)) as host:
            attached(host, call)
            found = record(host, call)
            assert (found["state"], found["result"]) == ("dead", "ambiguous")
            assert urlsplit(server.url("first")).hostname in found["reason"]
            assert server.done["first"] == 1
            query = "?fail=true" if decided == "fail" else ""
            assert host.request("POST", f"/invocations/{call}/redrive{query}").status < 300
            first = attached(host, call).json[0]
            assert ("error" in first) == (decided == "fail")
        assert dict(server.done) == {"first": 2 if decided == "repeat" else 1, "second": 1}
        assert len(server.keys["first"]) == 1
