"""Durable functions as their callers see them: the guest `durable-probe` on a real server, told what to do by scripts.

A script is a list of operations (guests/tests/durable-probe/README.md); a call's answer is the list of what each came to.
Promises: every wait ends; what a test starts it sees end, or leaves suspended on purpose.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway_server import Answer
from harness import until
from keyed_server import KeyedServer
from queued import attached, enqueue, record
from served import Served, config, served
from support import guest

Script = Sequence[Any]
PROBE = "durable-probe"
SETTINGS = "[cache]\npersist = true\n"
AT_ONCE = {"grace_ms": 0}
"""A durable policy under which whoever waits is suspended at once."""
OK = {"ok": None}


class Probes:
    """A server on which the probe is deployed under some names, and who calls it."""

    def __init__(self, host: Served) -> None:
        self.host = host

    def deploy(self, name: str = "probe", guest: str = PROBE, **said: Any) -> int:
        """The probe under another name, or another guest, durable, with what a manifest can say; its version."""
        return deploy_durable(self.host, name, guest, **said)

    def start(self, script: Script, name: str = "probe", **headers: str) -> str:
        """Has a script begun; the id of its invocation."""
        named = {word.replace("_", "-"): value for word, value in headers.items()}
        return enqueue(self.host, name, json.dumps(script).encode(), named)

    def answer(self, call: str) -> Answer:
        """What a call answers, once it has ended."""
        return attached(self.host, call)

    def trace(self, call: str) -> list[Any]:
        """What the operations of a call came to, once it has succeeded."""
        answer = self.answer(call)
        assert answer.status == 200, (answer.body, self.record(call))
        found: list[Any] = answer.json
        return found

    def run(self, script: Script, name: str = "probe", **headers: str) -> list[Any]:
        """What the operations of a script came to."""
        return self.trace(self.start(script, name, **headers))

    def record(self, call: str) -> dict[str, Any]:
        """What is known of a call."""
        return record(self.host, call)

    def when(self, call: str, state: str) -> None:
        """Waits until a call is in a state."""
        until(lambda: self.record(call)["state"] == state, f"{call} is not {state}")

    def suspended(self, *calls: str) -> None:
        """Waits until calls are suspended."""
        for call in calls:
            self.when(call, "suspended")

    def resolve(self, id: str, value: Any = None) -> Answer:  # the word of the route
        """Completes an awakeable."""
        body = b"" if value is None else json.dumps(value).encode()
        return self.host.request(
            "POST", f"/restate/awakeables/{id}/resolve", body, {"content-type": "application/json"}
        )

    def reject(self, id: str, reason: str) -> Answer:
        """Completes an awakeable as failed."""
        return self.host.request(
            "POST", f"/restate/awakeables/{id}/reject", reason.encode(), {"content-type": "text/plain"}
        )

    def post(self, path: str) -> Answer:
        """A POST without a body."""
        return self.host.request("POST", path)


def deploy_durable(host: Served, name: str, guest_name: str = "", form: str = "wasip2", **said: Any) -> int:
    """Deploys a guest of another name or its own, durable; its version."""
    wasm = b64encode(guest(guest_name or name, form)).decode()
    document = {"inline_wasm": wasm, "durable": AT_ONCE, **said}
    headers = {"content-type": "application/json"}
    answer = host.request("PUT", f"/functions/manage/default/{name}", json.dumps(document).encode(), headers)
    assert answer.status == 204, answer.body
    return int(answer.headers["x-function-version"])


@contextmanager
def probes(folder: Path, *names: str, settings: str = SETTINGS) -> Iterator[Probes]:
    """A server on a data directory; the probe is deployed under `names`, which an earlier server may have done."""
    with served(folder / "data", "--config", config(folder, settings)) as host:
        found = Probes(host)
        for name in names:
            found.deploy(name)
        yield found


def tell(server: KeyedServer, name: str, text: str) -> dict[str, Any]:
    """The operation that tells a text to the outside: once, whatever happens."""
    return {"http": {"url": server.url(name), "verb": "POST", "body": text}}


def told(server: KeyedServer, name: str) -> str:
    """What was told to the outside under a name, as soon as it was."""
    until(lambda: any(asked.name == name for asked in list(server.asked)), f"nobody has told {name}")
    return next(asked.body.decode() for asked in server.asked if asked.name == name)


def call(function: str, payload: Script, **more: Any) -> dict[str, Any]:
    """The operation that calls a function."""
    return {"call": {"function": function, "payload": payload, **more}}


def send(function: str, payload: Script, **more: Any) -> dict[str, Any]:
    """The operation that calls a function for which nobody waits."""
    return {"send": {"function": function, "payload": payload, **more}}


def wait(of: int, timeout_ms: int | None = None) -> dict[str, Any]:
    """The operation that waits for a promise."""
    return {"wait": {"of": of, "timeout_ms": timeout_ms}}


def failed(what: Mapping[str, Any]) -> Mapping[str, Any]:
    """The failure that an operation came to."""
    found: Mapping[str, Any] = what["failed"]
    return found
