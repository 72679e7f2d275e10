"""What `tools/demo.py` shows of calls that nobody waits for, one sentence each.

Promises: each ability is shown on the server under demonstration, by functions in a namespace of its own, and raises
`Wrong` where anything is not as it should be.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from demo_stories import Answer, Send, Wrong

NAMESPACE = "later"
IMAGE = "functions/alpine"
"""The OpenFaaS image that the server under demonstration knows: the guest `toolbox`."""
PATIENCE_S = 20.0
ADA, HELLO = b'{"name": "Ada"}', b'{"message":"Hello, Ada!"}'


@dataclass(frozen=True)
class Stage:
    """What an ability is shown on."""

    send: Send
    built: Callable[[str], bytes]
    """The module of a guest."""
    upstream: str
    """URL of another server: it mirrors what is posted to it; under /flaky it fails each first time."""
    delivered: SimpleQueue[tuple[dict[str, str], bytes]]
    """What was posted to /callback there: headers, body."""

    def deploy(self, name: str, guest: str, **manifest: Any) -> None:
        """Deploys a guest under a name of its own."""
        wasm = base64.b64encode(self.built(guest)).decode()
        self.ask("PUT", f"/functions/manage/{NAMESPACE}/{name}", 204, json.dumps({"inline_wasm": wasm, **manifest}))

    def ask(self, method: str, path: str, status: int, body: str | bytes = b"", **headers: str) -> Answer:
        """An answer, if it has this status; underscores in the names of headers are hyphens."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self.send(method, path, body.encode() if isinstance(body, str) else body, sent)
        if answer.status != status:
            raise Wrong(f"{method} {path} was answered {answer.status} {answer.body[:200]!r}")
        return answer

    def queue(self, path: str, body: bytes, **headers: str) -> str:
        """Queues a call; the path of its record."""
        return self.ask("POST", f"/async-function/{path}", 202, body, **headers).headers["location"]

    def ended(self, place: str, state: str) -> Any:
        """The record of a call once it has ended, if it did so in this state."""
        self.send("GET", f"{place}/attach?timeout={PATIENCE_S:.0f}")
        record = self.ask("GET", place, 200).json
        if record["state"] != state:
            raise Wrong(f"{place} is {record['state']} and not {state}: {record['reason']}")
        return record


def callback(stage: Stage) -> str:
    """A call that is answered before it runs, and whose result is sent elsewhere."""
    stage.deploy("greet", "greet")
    began = time.perf_counter()
    place = stage.queue(f"greet.{NAMESPACE}", ADA, x_callback_url=f"{stage.upstream}/callback")
    took = (time.perf_counter() - began) * 1000
    try:
        headers, body = stage.delivered.get(timeout=PATIENCE_S)
    except Empty:
        raise Wrong("no callback came") from None
    got = (headers["x-call-id"], headers["x-function-status"], body)
    if got != (place.rpartition("/")[2], "200", HELLO):
        raise Wrong(f"the callback was {got}")
    return f"202 and on disk after {took:.1f} ms; the result was posted to a callback"


def idempotency(stage: Stage) -> str:
    """A request that is sent twice and runs once."""
    stage.deploy("dice", "dice")
    path = f"/functions/{NAMESPACE}/dice/20"
    first, again = (stage.ask("POST", path, 200, idempotency_key="throw-1") for _ in range(2))
    if first.body != again.body or again.headers.get("idempotency-replayed") != "true":
        raise Wrong(f"the dice fell {first.body!r} and then {again.body!r}")
    return "20 dice were thrown once, and the same POST sent again got the same 20"


def retried(stage: Stage) -> str:
    """A call that fails, and then does not."""
    stage.deploy("proxy", "proxy", retry={"min_wait_ms": 20})
    record = stage.ended(stage.queue(f"proxy.{NAMESPACE}?url={stage.upstream}/flaky", ADA), "succeeded")
    if (record["attempts"], record["status"]) != (2, 200):
        raise Wrong(f"it was {record}")
    return "the first attempt was answered 503, the second one 200"


def redriven(stage: Stage) -> str:
    """A call that is given up, and succeeds when the function was mended."""
    stage.deploy("mended", "panic", retry={"attempts": 2, "min_wait_ms": 20})
    place = stage.queue(f"mended.{NAMESPACE}", ADA)
    if (record := stage.ended(place, "dead"))["result"] != "trapped":
        raise Wrong(f"it was {record}")
    stage.deploy("mended", "greet")
    stage.ask("POST", f"{place}/redrive", 202)
    if (record := stage.ended(place, "succeeded"))["version"] != 2:
        raise Wrong(f"it was {record}")
    return "trapped twice, was redriven after the deploy of version 2, and succeeded"


def scheduled(stage: Stage) -> str:
    """A function that is called by the clock."""
    stage.deploy("tick", "greet", schedule=[{"cron": "* * * * * *", "body": ADA.decode()}])
    deadline = time.monotonic() + PATIENCE_S
    while not (found := stage.ask("GET", f"/invocations?function={NAMESPACE}/tick", 200).json["invocations"]):
        if time.monotonic() > deadline:
            raise Wrong(f"no tick came within {PATIENCE_S:.0f} s")
        time.sleep(0.05)
    place = f"/invocations/{found[-1]['id']}"
    stage.ended(place, "succeeded")
    if (answer := stage.ask("GET", f"{place}/output", 200).body) != HELLO:
        raise Wrong(f"it answered {answer!r}")
    stage.ask("DELETE", f"/functions/manage/{NAMESPACE}/tick", 204)
    return "each second; the first call came by itself, and ended well"


def approved(stage: Stage) -> str:
    """A function that waits for a person, and is no more than a row in a file meanwhile."""
    stage.deploy("approval", "approval", durable={"grace_ms": 0})
    place = stage.queue(f"approval.{NAMESPACE}", b'{"what": "tea"}')
    deadline = time.monotonic() + PATIENCE_S
    while stage.ask("GET", place, 200).json["state"] != "suspended":
        if time.monotonic() > deadline:
            raise Wrong(f"{place} was not suspended within {PATIENCE_S:.0f} s")
        time.sleep(0.01)
    lines = stage.ask("GET", f"/functions/manage/{NAMESPACE}/approval/logs", 200).body.splitlines()
    path = next(text for line in lines if "/restate/" in (text := json.loads(line)["text"])).split()[-1]
    stage.ask("POST", f"{path}/resolve", 202, b'{"by": "Ada"}')
    stage.ended(place, "succeeded")
    if (answer := stage.ask("GET", f"{place}/output", 200).json) != {"approved": {"by": "Ada"}}:
        raise Wrong(f"it answered {answer}")
    return "was suspended, until a POST to the awakeable that it had named in its log"


def openfaas(stage: Stage) -> str:
    """What faas-cli sends: it deploys an image, lists it, calls it, removes it."""
    function = {"service": "stronghash", "image": IMAGE, "envProcess": "sha512sum"}
    stage.ask("POST", "/system/functions", 202, json.dumps(function), content_type="application/json")
    if [each["image"] for each in stage.ask("GET", "/system/functions", 200).json] != [IMAGE]:
        raise Wrong("it is not listed")
    answer = stage.ask("POST", "/function/stronghash.openfaas-fn", 200, b"abc")
    if not (answer.body.startswith(b"ddaf35a193617aba") and "x-duration-seconds" in answer.headers):
        raise Wrong(f"it answered {answer}")
    stage.ask("DELETE", "/system/functions", 202, '{"functionName": "stronghash"}', content_type="application/json")
    return "deployed from an image, listed, called and removed as faas-cli does"


ABILITIES: dict[str, tuple[Callable[[Stage], str], tuple[str, ...]]] = {
    "a queued call": (callback, ("greet",)),
    "an idempotency key": (idempotency, ("dice",)),
    "a retry": (retried, ("proxy",)),
    "a dead letter": (redriven, ("greet", "panic")),
    "a schedule": (scheduled, ("greet",)),
    "an approval": (approved, ("approval",)),
    "OpenFaaS's interface": (openfaas, ("toolbox",)),
}
"""How each is shown, and by which guests."""
