"""Where results may go, and what is sent there: decided before anything is stored or sent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from guesthouse.cli.serve import callbacks_of
from guesthouse.config import Callbacks as Section
from guesthouse.config_sources import load
from guesthouse.dispatch.callbacks import MOST_HEADERS, Callbacks
from guesthouse.dispatch.deliveries import CallbackConfig
from guesthouse.errors import BadRequest
from guesthouse.net.client import OutboundClient, OutboundConfig
from guesthouse.net.policy import OutboundPolicy
from guesthouse.queue.call import Callback, Output, QueuedCall, Record
from guesthouse.registry.deployment import Deployment, Manifest
from guesthouse.registry.registry import Registry
from guesthouse.storage.database import Database
from guesthouse.telemetry import FunctionLogs, Metrics
from set_clock import SetClock
from unit.registries import WASM

OURS = "https://fn.example.org"
CALL = QueuedCall(
    id="i1",
    namespace="default",
    name="work",
    headers=[("accept", "*/*"), ("x-call-id", "order-7"), ("x-start-time", "1700000000000000001")],
    callback="https://receiver.example.com/done?x=1",
    call_id="order-7",
    queued_ms=1_800_000_000_000,
)
RECORD = Record(
    id="i1",
    namespace="default",
    name="work",
    mode="async",
    state="succeeded",
    attempts=1,
    result="ok",
    status=201,
    duration_ns=1_500_000,
    started_ms=1_800_000_000_001,
    ended_ms=1_800_000_000_002,
)
OUTPUT = Output(201, [("content-type", "text/plain"), ("X-Own", "1")], b"result")


class Place:
    """A registry with some functions, and the callbacks of a host that is reached at `OURS`."""

    def __init__(self) -> None:
        self.database = Database(None)
        self.registry = Registry(self.database)
        self.metrics, self.logs, self.clock = Metrics(), FunctionLogs(), SetClock()
        policy = OutboundPolicy.of(schemes=("https",))
        ids = (f"new-{number}" for number in range(1_000))
        self.callbacks = Callbacks(
            self.registry,
            OutboundClient(OutboundConfig(policy)),
            self.metrics,
            self.logs,
            lambda: next(ids),
            self.clock,
        )
        self.callbacks.reached_at([OURS, "http://127.0.0.1:8080/"])
        self.work = self.deploy("work")

    def deploy(self, name: str, namespace: str = "default", kind: str = "web", **manifest: Any) -> Deployment:
        """A function."""
        return asyncio.run(self.registry.deploy(namespace, name, WASM, kind=kind, manifest=Manifest(**manifest)))

    def chained(self, url: str, output: Output | None = OUTPUT, **changes: Any) -> QueuedCall | None:
        """The call that the result of `work` becomes."""
        made = self.callbacks.callback_of(replace(CALL, callback=url, **changes), RECORD, output)
        assert not isinstance(made, Callback)
        return made

    def sent(self, record: Record = RECORD, output: Output | None = OUTPUT, **changes: Any) -> dict[str, str]:
        """The headers of a callback that leaves the host."""
        made = self.callbacks.callback_of(replace(CALL, **changes), record, output)
        assert isinstance(made, Callback)
        return {name.lower(): value for name, value in made.headers}

    def said(self) -> list[str]:
        """The log of `work`."""
        return [entry.record.text for entry in self.logs.tail("default/work", 10)]


@pytest.fixture
def place() -> Iterator[Place]:
    made = Place()
    yield made
    made.database.close()


@pytest.mark.parametrize(
    "url", ["https://receiver.example.com/", "https://receiver.example.com:8443/a%20b?c=d#e", "https://93.184.216.34/"]
)
def test_a_url_that_the_function_may_ask_is_accepted(place: Place, url: str) -> None:
    """In its canonical form, without a fragment."""
    assert place.callbacks.check_callback(place.work, url) == url.partition("#")[0]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "receiver",
        "/function/work",
        "ftp://receiver.example.com/",
        "http://receiver.example.com/",
        "https:///x",
        "https://user@receiver.example.com/",
        "https://127.0.0.1/",
        "https://localhost/",
        "https://10.0.0.1/",
    ],
)
def test_a_url_that_it_may_not_ask_is_refused(place: Place, url: str) -> None:
    """Malformed, of another scheme, or to what lies inside."""
    with pytest.raises(BadRequest):
        place.callbacks.check_callback(place.work, url)


def test_grants_narrow_where_results_go(place: Place) -> None:
    """With the words of the http interface, and its methods: a callback is a POST."""
    granted = place.deploy("granted", grants=frozenset({"http:https://receiver.example.com"}))
    nothing = place.deploy("nothing", grants=frozenset({"cache"}))
    reader = place.deploy("reader", grants=frozenset({"http:GET receiver.example.com"}))
    place.callbacks.check_callback(granted, "https://receiver.example.com/x")
    for deployment, url in (
        (granted, "https://other.example.com/"),
        (nothing, "https://receiver.example.com/"),
        (reader, "https://receiver.example.com/"),
    ):
        with pytest.raises(BadRequest, match="not granted: POST https://"):
            place.callbacks.check_callback(deployment, url)


@pytest.mark.parametrize(
    "path",
    [
        "/function/work",
        "/function/work.default/a/b?c=d",
        "/async-function/work",
        "/functions/default/work/rest",
        "/function/far.away",
        "/functions/away/far",
    ],
)
def test_one_of_our_functions_needs_no_grant(place: Place, path: str) -> None:
    """Nothing leaves the host: in every form of the path, under every of its URLs."""
    place.deploy("far", "away")
    caged = place.deploy("caged", grants=frozenset())
    for host in (OURS, "HTTPS://FN.example.org:443", "http://127.0.0.1:8080"):
        place.callbacks.check_callback(caged, host + path)


@pytest.mark.parametrize(
    "path",
    f"""/ /function/ /function/none /function/work.none /functions/manage/default/work /metrics /function/types
    /function/../work /function/%77ork //function/work /functions/work /topics/a/b /function/work/%ff
    /function/work?{"&".join("a" * 1001)} /function/work?token=gh_{"A" * 48} /function/work?a=b&token=ghd_A.B""".split(),
)
def test_our_own_address_is_never_asked_for_anything_but_functions(place: Place, path: str) -> None:
    """What is none, what cannot be called with bytes, every other route, and nothing that shows a token to a function."""
    place.deploy("types", kind="library")
    with pytest.raises(BadRequest):
        place.callbacks.check_callback(place.work, OURS + path)


def test_a_token_that_may_not_call_a_function_cannot_have_it_called_back(place: Place) -> None:
    """It does not even learn whether there is one."""
    place.deploy("far", "away")

    def allows(namespace: str, name: str) -> bool:
        return namespace == "default"

    place.callbacks.check_callback(place.work, f"{OURS}/function/work", allows)
    for name in ("far", "none"):
        with pytest.raises(BadRequest, match="does not allow"):
            place.callbacks.check_callback(place.work, f"{OURS}/function/{name}.away", allows)


@pytest.mark.parametrize("host", ["https://receiver.example.com", OURS + "/function/work"])
def test_a_url_that_grows_too_long_when_it_is_encoded_is_refused_at_once(place: Place, host: str) -> None:
    """It would be refused when the call ends, which would never end then."""
    with pytest.raises(BadRequest, match="longer"):
        place.callbacks.check_callback(place.work, f"{host}/{'|' * 4_000}")
    url = place.callbacks.check_callback(place.work, f"{host}/{'|' * 2_700}")
    assert place.callbacks.check_callback(place.work, url) == url


def test_a_url_that_cannot_be_read_any_more_keeps_no_call_from_ending(place: Place) -> None:
    """Stored by another version: the log says so, and that is all."""
    for url in ("", "https://receiver.example.com/" + "x" * 9_000, "https://user@receiver.example.com/"):
        assert place.callbacks.callback_of(replace(CALL, callback=url), RECORD, OUTPUT) is None
        assert "not passed on" in place.said()[-1]


def test_a_call_without_a_callback_has_none(place: Place) -> None:
    """Its result is kept, and that is all."""
    assert place.callbacks.callback_of(replace(CALL, callback=None), RECORD, OUTPUT) is None


def test_a_result_is_sent_with_the_functions_headers_and_ours(place: Place) -> None:
    """Those that OpenFaaS has, by the same names."""
    made = place.callbacks.callback_of(CALL, RECORD, OUTPUT)
    assert isinstance(made, Callback)
    assert (made.id, made.namespace, made.name, made.url) == ("i1", "default", "work", CALL.callback)
    assert made.destination == "https://receiver.example.com"
    assert list(made.headers) == [
        ("content-type", "text/plain"),
        ("X-Own", "1"),
        ("User-Agent", "guesthouse/0"),
        ("X-Function-Name", "work"),
        ("X-Function-Status", "201"),
        ("X-Duration-Seconds", "0.001500"),
        ("X-Call-Id", "order-7"),
        ("X-Start-Time", "1700000000000000001"),
        ("Webhook-Id", "i1-1800000000002"),
    ]


def test_what_the_caller_left_open_is_the_hosts(place: Place) -> None:
    """The invocation's own id, and the time at which it was accepted."""
    headers = place.sent(call_id="", headers=[("x-start-time", "soon")])
    assert headers["x-call-id"] == "i1"
    assert headers["x-start-time"] == "1800000000000000000"


def test_a_function_cannot_speak_for_the_host(place: Place) -> None:
    """Its own status, call id, signature, agent, framing or host are left out."""
    forged = [
        "X-Function-Status",
        "x-call-id",
        "Webhook-Signature",
        "webhook-id",
        "User-Agent",
        "Host",
        "Content-Length",
    ]
    forged += ["Transfer-Encoding", "Connection", "Proxy-Authorization", "X-Callback-Url", "X-Retry"]
    made = place.callbacks.callback_of(CALL, RECORD, Output(200, [(name, "forged") for name in forged], b""))
    assert isinstance(made, Callback)
    assert "forged" not in dict(made.headers).values()


def test_what_cannot_be_a_header_is_left_out_and_many_are_cut(place: Place) -> None:
    """No header adds a line, and a receiver is not flooded."""
    bad = [("a\r\nb", "1"), ("ok", "1\r\nset-cookie: x"), ("", "x"), ("nul", "\0")]
    headers = place.sent(output=Output(200, [*bad, *((f"x-{number}", "1") for number in range(1_000))], b""))
    assert sum(name.startswith("x-") and value == "1" for name, value in headers.items()) == MOST_HEADERS
    assert not {"ok", "nul", ""} & set(headers)
    assert "x-1" in place.sent(output=Output(200, [("x-1", "a"), ("x-2", "a" * 40_000), ("x-3", "a")], b""))
    assert "x-3" not in place.sent(output=Output(200, [("x-1", "a"), ("x-2", "a" * 40_000), ("x-3", "a")], b""))


def test_functions_of_other_namespaces_are_named_with_theirs(place: Place) -> None:
    """As OpenFaaS writes them."""
    assert place.sent(namespace="shop")["x-function-name"] == "work.shop"
    place.callbacks.namespace = "shop"
    assert place.sent(namespace="shop")["x-function-name"] == "work"
    assert place.sent()["x-function-name"] == "work.default"


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"result": "trapped"}, "502"),
        ({"result": "failed"}, "502"),
        ({"result": "deadline"}, "504"),
        ({"result": "fuel"}, "504"),
        ({"result": "lost"}, "503"),
        ({"result": "failed", "started_ms": None}, "503"),
        ({"result": "failed", "status": 200}, "502"),
    ],
)
def test_failures_are_sent_too(place: Place, changes: dict[str, Any], status: str) -> None:
    """With the status that the gateway would have answered; 503 where the function did not even begin."""
    record = replace(RECORD, state="dead", **{"status": 0, **changes})
    assert place.sent(record, None)["x-function-status"] == status


def test_a_spawn_functions_own_word_is_a_status(place: Place) -> None:
    """It has none of HTTP's."""
    place.deploy("work", kind="spawn")
    assert place.sent(replace(RECORD, status=0), None)["x-function-status"] == "200"
    assert place.sent(replace(RECORD, status=0, result="failed"), None)["x-function-status"] == "500"


def test_repeated_runs_are_told(place: Place) -> None:
    """How often it was tried again, and how often it would have been."""
    headers = place.sent(replace(RECORD, attempts=3))
    assert (headers["x-retry"], headers["x-retry-max"]) == ("2", "4")
    headers = place.sent(replace(RECORD, attempts=3), attempts=3)
    assert (headers["x-retry"], headers["x-retry-max"]) == ("2", "2")
    assert "x-retry" not in place.sent()


def test_a_result_for_one_of_our_functions_is_a_queued_call(place: Place) -> None:
    """With its path, its query, the result as its body, and the headers of a callback in lower case."""
    place.deploy("report", "away")
    call = place.chained(f"{OURS}/async-function/report.away/a%20b?c=d&c=&e=%C3%BC")
    assert call is not None
    assert (call.namespace, call.name, call.method, call.path) == ("away", "report", "POST", "a b")
    assert list(call.query) == [("c", "d"), ("c", ""), ("e", "ü")]
    assert (call.body, call.callback, call.token_id) == (b"result", None, None)
    assert (call.id, call.parent, call.root, call.depth, call.call_id) == ("new-0", "i1", "i1", 1, "order-7")
    assert dict(call.headers)["x-function-status"] == "201"
    assert [name for name, _ in call.headers[-2:]] == ["x-call-id", "x-start-time"]
    assert all(name == name.lower() for name, _ in call.headers)


def test_a_chain_keeps_its_root_and_ends(place: Place) -> None:
    """At the depth of functions that start functions, with a line in the log of the last one."""
    place.deploy("work", limits=place.work.manifest.limits.with_changes({"spawn_depth": 2}))
    call = place.chained(f"{OURS}/function/work", depth=1, root="first")
    assert call is not None
    assert (call.root, call.depth) == ("first", 2)
    assert place.chained(f"{OURS}/function/work", depth=2) is None
    assert "depth" in place.said()[-1]
    assert b'guesthouse_callbacks_total{outcome="refused"} 1.0' in place.metrics.expose()


def test_what_cannot_be_passed_on_is_told_in_the_log(place: Place) -> None:
    """A function that is gone, and a result that is too large for it."""
    assert place.chained(f"{OURS}/function/gone") is None
    assert "there is no function 'gone'" in place.said()[-1]
    place.callbacks.most_body_bytes = 5
    assert place.chained(f"{OURS}/function/work") is None
    assert "over 5 bytes" in place.said()[-1]


def test_an_answer_says_where_the_next_one_goes(place: Place) -> None:
    """So that three functions can be chained: within the namespace, and within what both may reach."""
    place.deploy("second")
    place.deploy("third")
    place.deploy("far", "away")

    def following(url: str) -> str | None:
        output = Output(200, [("X-Callback-Url", url)], b"")
        call = place.chained(f"{OURS}/function/second", output)
        assert call is not None
        assert "x-callback-url" not in dict(call.headers)
        return call.callback

    assert following(f"{OURS}/function/third") == f"{OURS}/function/third"
    assert following("https://receiver.example.com/") == "https://receiver.example.com/"
    for url in (f"{OURS}/function/far.away", "https://127.0.0.1/", "nonsense", f"{OURS}/metrics"):
        assert following(url) is None
        assert "was left out" in place.said()[-1]
    place.deploy("second", grants=frozenset())
    assert following("https://receiver.example.com/") is None
    place.deploy("second")
    place.deploy("work", grants=frozenset())
    assert following("https://receiver.example.com/") is None


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_AAAA", "whsec_!" * 8, "AAAA" * 8, "whsec_" + "A" * 88])
def test_a_secret_that_is_none_is_refused(secret: str) -> None:
    """As the Standard Webhooks have them: the prefix, and 24 to 64 bytes."""
    with pytest.raises(BadRequest):
        CallbackConfig(secret).key()
    assert CallbackConfig("whsec_" + "QUJD" * 8).key() == b"ABC" * 8


def test_the_configuration_has_the_same_words() -> None:
    """And the same defaults."""
    assert callbacks_of(Section()) == CallbackConfig()
    changed = callbacks_of(Section(attempts=3, timeout_seconds=0.5, min_wait_seconds=1, max_wait_seconds=2))
    assert changed == CallbackConfig(attempts=3, timeout_ms=500, min_wait_ms=1_000, max_wait_ms=2_000)
    for wrong in ({"attempts": 0}, {"min_wait_seconds": 20, "max_wait_seconds": 10}, {"retries": 3}):
        with pytest.raises(BadRequest):
            load({"callbacks": wrong})


def test_public_urls_are_hosts() -> None:
    """Several, of which tokens name the first; none with a path, and no other scheme."""
    assert load({"public_urls": [f"{OURS}/", "http://[::1]:8080"]}).public_endpoint == "fn.example.org"
    assert load({}).public_endpoint is None
    for wrong in ("fn.example.org", "ftp://fn.example.org", f"{OURS}/path", "https://user@fn.example.org"):
        with pytest.raises(BadRequest, match="public_urls"):
            load({"public_urls": [OURS, wrong]})
