"""How `tools/demo.py` calls each example guest, and what the guest has to answer.

Promises: an entry for every example of guests/examples but the library `calculator`, and for guests of guests/tests that
make a story; each call is checked, and nothing but the server under demonstration and the upstream server is needed.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

KIBIBYTE = bytes(range(256)) * 4
PAGE = b"a page of the upstream server"
EVENTS = (b"id: 1\ndata: one\n\n", b"event: count\ndata: two\n\n")
"""What the upstream server sends, event by event, under /events."""
KEY = "page"
CUSTOMERS: tuple[dict[str, Any], ...] = ({"customer": "ada", "cents": 1200}, {"customer": "bob", "cents": 3400})
"""What the upstream server knows under /customers."""
RECEIPT = "number 1"
"""What it answers under /charge."""


class Wrong(Exception):
    """A guest answered something else than it should."""


@dataclass(frozen=True)
class Answer:
    """An HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Call:
    """One HTTP request, and whether an answer to it is the right one."""

    method: str
    path: str
    right: Callable[[Answer], bool]
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


Send = Callable[..., Answer]
"""Sends a request to the server: method, path, body, headers."""


@dataclass(frozen=True)
class Story:
    """How a guest is shown: `first` once, `then` many times."""

    first: Call
    then: Call | None = None
    """The same again, where it is not given."""
    note: str = ""
    spawns: str = ""
    """The spawn function that each call starts: all its runs have to end well."""
    topics: tuple[str, ...] = ()
    """Topics of which each message starts the guest."""
    arguments: tuple[str, ...] = ()
    """Of a command, its name first."""
    durable: bool = False
    """Whether it is deployed so."""
    after: Callable[[Send, str, Answer], str] | None = None
    """Looks, in a namespace, at what the last answer led to; raises `Wrong`, or says what there was to see."""


def ok(body: bytes) -> Callable[[Answer], bool]:
    """200 with exactly this body."""
    return lambda answer: (answer.status, answer.body) == (200, body)


def says(**expected: Any) -> Callable[[Answer], bool]:
    """200 with a JSON object that holds this."""
    return lambda a: a.status == 200 and all(a.json.get(name) == value for name, value in expected.items())


def done(answer: Answer) -> bool:
    """Success, with nothing to say."""
    return answer.status in (200, 204)


def post(path: str, body: bytes | dict[str, Any], right: Callable[[Answer], bool]) -> Call:
    """A POST of bytes or JSON."""
    return Call("POST", path, right, body if isinstance(body, bytes) else json.dumps(body).encode())


def look_into_log(name: str, text: str) -> Callable[[Send, str, Answer], str]:
    """Reads back what a function wrote."""

    def look(send: Send, namespace: str, last: Answer) -> str:
        lines = send("GET", f"/functions/manage/{namespace}/{name}/logs").body.splitlines()
        if not any(text in json.loads(line)["text"] for line in lines):
            raise Wrong(f"the log of {namespace}/{name} lacks {text!r}")
        return "what it wrote is in its log"

    return look


def look_at_tasks(name: str, task: str) -> Callable[[Send, str, Answer], str]:
    """Waits until a detached task has ended well, and none otherwise."""

    def look(send: Send, namespace: str, last: Answer) -> str:
        labels = rf'function="{namespace}/{name}",outcome="(\w+)",task="{task}"'
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            text = send("GET", "/metrics").body.decode()
            ends = set(re.findall(rf"^guesthouse_detached_tasks_total{{{labels}}} [1-9]", text, re.MULTILINE))
            if ends == {"ok"}:
                return "its detached tasks ended ok"
            if ends:
                break
            time.sleep(0.01)
        raise Wrong(f"the task {task} of {namespace}/{name} did not end well")

    return look


def use_token(send: Send, namespace: str, last: Answer) -> str:
    """Does with a disposable token what it allows, and what it does not."""
    headers = {"authorization": last.json["token"]}
    own = f"/cache/{namespace}?key=ada/color"
    send("PUT", f"{own}&ttl_seconds=60", b"blue")
    asked = {
        "read its own key": (send("GET", own, b"", headers).status, 200),
        "read another one's": (send("GET", f"/cache/{namespace}?key=bob/color", b"", headers).status, 403),
        "write": (send("PUT", f"{own}&ttl_seconds=60", b"red", headers).status, 403),
        "publish to its room": (send("POST", f"/topics/{namespace}/lobby", b"hi", headers).status, 204),
        "publish elsewhere": (send("POST", f"/topics/{namespace}/attic", b"hi", headers).status, 403),
    }
    if wrong := {what: status for what, (status, right) in asked.items() if status != right}:
        raise Wrong(f"with the token of {namespace}/token-vendor these were answered so: {wrong}")
    return "its token reads one key and writes to one topic, no more"


def stories(upstream_url: str) -> dict[str, Story]:
    """How each example is called, and what it has to answer."""
    return {
        **plain_stories(),
        **command_stories(),
        **outgoing_stories(upstream_url),
        **spawn_stories(upstream_url),
        **durable_stories(upstream_url),
    }


def plain_stories() -> dict[str, Story]:
    """Functions that need nobody else."""
    ada, color = {"name": "Ada"}, {"key": "color", "value": "blue", "ttl_ms": 60_000}
    ticks = b"".join(b"id: %d\ndata: tick\n\n" % number for number in (1, 2, 3))
    lines = b"one\ntwo\n"
    return {
        "echo": Story(post("echo", KIBIBYTE, ok(KIBIBYTE))),
        "greet": Story(post("greet", ada, says(message="Hello, Ada!"))),
        "old-post": Story(post("old-post", ada, says(message="Hello, Ada!"))),
        "checksum": Story(post("checksum", KIBIBYTE, ok(hashlib.sha256(KIBIBYTE).hexdigest().encode()))),
        "headers": Story(Call("GET", "headers/a/path?page=2", says(method="GET", path="a/path", query={"page": "2"}))),
        "environment": Story(Call("GET", "environment/GREETING", ok(b'"hello"'))),
        "cache-conditions": Story(
            post("cache-conditions", {"operation": "set", **color}, says(stored=True)),
            post("cache-conditions", {"operation": {"set-if": {"equal": "blue"}}, **color}, says(stored=True)),
        ),
        "cache-recent": Story(
            post("cache-recent", b"tea", lambda a: a.json["recent"][0] == "tea"), note="the last ten"
        ),
        "token-vendor": Story(
            post("token-vendor", {"player": "ada", "room": "lobby"}, lambda a: a.json["valid_until"] > time.time()),
            after=use_token,
        ),
        "ticker": Story(Call("GET", "ticker?events=3&ids", ok(ticks)), note="3 events each"),
        "chunks": Story(post("chunks", lines, lambda a: (a.status, a.body) == (201, lines)), note="2 chunks each"),
        "publisher": Story(post("publisher/news", b"it rains", done)),
        "logger": Story(post("logger", b"a line", done), after=look_into_log("logger", "a line")),
        "clock": Story(Call("GET", "clock", lambda a: abs(a.json["unix_ms"] - time.time() * 1000) < 60_000)),
        "dice": Story(Call("GET", "dice/6", lambda a: len(a.json) == 6 and set(a.json) <= set(range(1, 7)))),
    }


def command_stories() -> dict[str, Story]:
    """Programs, and what a program cannot do."""
    hashed = ok(f"{hashlib.sha512(KIBIBYTE).hexdigest()}  -\n".encode())
    return {
        "cat": Story(post("cat", KIBIBYTE, ok(KIBIBYTE))),
        "env": Story(Call("GET", "env/a/path?page=2", lambda a: b"\nHttp_Query=page=2\n" in a.body)),
        "sha512sum": Story(post("sha512sum", KIBIBYTE, hashed)),
        "toolbox": Story(post("toolbox", KIBIBYTE, hashed), arguments=("sha512sum",), note="deployed as sha512sum"),
        "redirect": Story(
            Call("GET", "redirect", lambda a: (a.status, a.headers.get("location")) == (302, "http://example.com/"))
        ),
    }


def outgoing_stories(upstream_url: str) -> dict[str, Story]:
    """Functions that fetch, or send another one to fetch."""
    page, mirror, waits = f"{upstream_url}/page", f"{upstream_url}/mirror", "each waits for another server"

    def cached(hit: bool) -> Call:
        want = (200, "hit", PAGE) if hit else (404, "miss", b"")
        path = f"read-through/{KEY}" + ("" if hit else f"?url={page}")
        return Call("GET", path, lambda a: (a.status, a.headers["x-cache"], a.body) == want)

    order = {"verb": "GET", "url": page}
    push = {"customer": "Ada", "item": "engine", "push": f"{upstream_url}/push"}
    return {
        "detached": Story(
            post("detached", push, lambda a: (a.status, a.json) == (202, {"accepted": "engine"})),
            note="answers, and then asks another server",
            after=look_at_tasks("detached", "send-push"),
        ),
        "fetch": Story(post("fetch", order, says(status=200, body=PAGE.decode())), note=waits),
        "proxy": Story(post(f"proxy?url={mirror}", KIBIBYTE, ok(KIBIBYTE)), note=waits),
        "sse-proxy": Story(
            Call("GET", f"sse-proxy?url={upstream_url}/events", ok(b"".join(EVENTS))), note="2 events each, passed on"
        ),
        "read-through": Story(cached(False), cached(True), note="first a miss that starts fill, then hits"),
    }


def spawn_stories(upstream_url: str) -> dict[str, Story]:
    """Functions that start others, and those that are started."""

    def spawn(name: str, body: bytes | dict[str, Any], *, by: str = "start") -> Story:
        return Story(post(f"{by}/{name}", body, lambda answer: answer.status == 202), spawns=name)

    return {
        "fill": spawn("fill", {"key": "filled", "url": f"{upstream_url}/page"}),
        "start": spawn("spawn-unit", b"started"),
        "old-start": spawn("old-spawn", {"key": "old", "value": "start"}, by="old-start"),
        "spawn-unit": spawn("spawn-unit", b"payload"),
        "spawn-result": spawn("spawn-result", {}),
        "spawn-outcome": spawn("spawn-outcome", {"ok-note": "12 rows"}),
        "old-spawn": spawn("old-spawn", {"key": "old", "value": "spawn"}),
        "topic-trigger": Story(post("publisher/orders", b"2 tea", done), spawns="topic-trigger", topics=("orders",)),
    }


def durable_stories(upstream_url: str) -> dict[str, Story]:
    """Durable functions: they wait for people, for time and for one another."""
    tell, month = {"what": "tea", "tell": f"{upstream_url}/approve"}, {"month": "2026-05"}
    reminder = {"text": "water the plants", "to": f"{upstream_url}/push", "every_s": 0, "times": 1}
    ask = {"ask": ["greet", "old-post"], "question": {"name": "Ada"}, "within_ms": 20_000}
    add = post("basket", {"add": "tea", "count": 1}, lambda a: a.status == 200 and a.json["tea"] > 0)
    report = says(charged=[["ada", RECEIPT], ["bob", RECEIPT]], failed=[])
    return {
        "approval": Story(
            post("approval", tell, says(approved={"by": "Ada"})), note="waits for a person, who agrees", durable=True
        ),
        "charge": Story(post("charge", CUSTOMERS[0], says(receipt=RECEIPT)), durable=True),
        "find-customers": Story(post("find-customers", month, report), note="2 calls of charge each", durable=True),
        "first-answer": Story(
            post("first-answer", ask, lambda a: a.json["answer"] == {"message": "Hello, Ada!"}),
            note="asks greet and old-post",
            durable=True,
        ),
        "reminder": Story(post("reminder", reminder, says(sent=1)), note="in no time, not in a month", durable=True),
        "basket": Story(replace(add, headers={"guesthouse-key": "ada"}), note="one after the other", durable=True),
    }
