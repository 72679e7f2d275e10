"""Guests that know nothing of durability, deployed durable and killed in the middle of their calls: each effect once.

They are those of the published interfaces: lists in the cache, HTTP, spawns.  The server process is killed with SIGKILL
again and again while they work, each time when some of their requests, chosen by chance, are not answered.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

from keyed_server import KeyedServer
from queued import attached, enqueue, record
from served import Served, config, served

KILLS = 5
SETTINGS = "[cache]\npersist = true\n[invocations]\nrecord = 'all'\n"
CALLS, REQUESTS, SPAWNS = 10, 4, 3
"""How many calls there are of each guest, requests of one to the server, and functions that one starts."""
GUESTS = ("http-calls", "cache-lists", "cache-recent", "spawn-calls", "fill")


def begin(host: Served, server: KeyedServer) -> dict[str, str]:
    """Deploys the guests and queues calls of them: what each is by its id."""
    for name in GUESTS:
        answer = host.deploy(name, query="?durable=true")
        assert answer.status == 204, answer.body
    calls = {}
    for number in range(CALLS):
        for what, body in bodies(server, number).items():
            calls[enqueue(host, what, json.dumps(body).encode())] = what
    return calls


def bodies(server: KeyedServer, number: int) -> dict[str, Any]:
    """What each guest is asked."""
    send = [{"verb": "POST", "url": server.url(f"request-{number}-{step}")} for step in range(REQUESTS)]
    spawn = [{"key": f"key-{number}-{at}", "url": server.url(f"page-{number}-{at}")} for at in range(SPAWNS)]
    return {
        "http-calls": [{"send": order} for order in send],
        "cache-lists": {"call": "list-push-back", "list": "pushed", "value": f"{number}", "ttl_ms": 3_600_000},
        "cache-recent": f"recent {number}",
        "spawn-calls": [{"name": "fill", "payload": json.dumps(order)} for order in spawn],
    }


def children(host: Served) -> Counter[str]:
    """Runs of the spawned function that are known, by the id of the call that started them."""
    answer = host.request("GET", "/invocations?function=default/fill&limit=1000")
    assert answer.status == 200, answer.body
    return Counter(found["parent"] for found in answer.json["invocations"])


def listed(host: Served, name: str) -> list[str]:
    """The elements of a list in the cache."""
    order = {"call": "list-fetch", "list": name}
    values: list[str] = attached(host, enqueue(host, "cache-lists", json.dumps(order).encode())).json["values"]
    return values


def test_each_effect_of_guests_that_were_never_made_for_it_happens_once(tmp_path: Path) -> None:
    """Pushes to lists, requests with their keys, runs that were started: all of them, and none twice."""
    seed = SystemRandom().randrange(1 << 32)
    random = Random(seed)
    path = config(tmp_path, SETTINGS)
    kills = sorted(random.sample(range(1, CALLS * REQUESTS), KILLS))
    with KeyedServer() as server:
        calls: dict[str, str] = {}
        for before, now in zip((0, *kills), kills, strict=False):
            server.stop_after(now - before, random)
            with served(tmp_path / "data", "--config", path) as host:
                calls = calls or begin(host, server)
                server.holds()
        server.stop_after(None)
        with served(tmp_path / "data", "--config", path) as host:
            for call in calls:
                assert attached(host, call).status == 200, f"seed {seed}: {record(host, call)}"
            found = [record(host, call) for call in calls]
            assert {(one["state"], one["mode"]) for one in found} == {("succeeded", "durable")}, f"seed {seed}"
            assert sorted(listed(host, "pushed"), key=int) == [str(number) for number in range(CALLS)], f"seed {seed}"
            recent = listed(host, "recent")
            assert sorted(recent) == sorted(f'"recent {number}"' for number in range(CALLS)), f"seed {seed}"
            spawners = {call for call, what in calls.items() if what == "spawn-calls"}
            assert children(host) == dict.fromkeys(spawners, SPAWNS), f"seed {seed}"
        requests = [f"request-{number}-{step}" for number in range(CALLS) for step in range(REQUESTS)]
        assert dict(server.done) == dict.fromkeys(requests, 1), f"seed {seed}"
        assert {len(server.keys[name]) for name in requests} == {1}, f"seed {seed}"
        assert len(server.asked) > len(requests), f"seed {seed}: nothing was cut off"
