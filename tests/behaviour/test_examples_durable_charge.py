"""Find customers and charge each: nobody twice, whatever the charge API does and whenever the host is killed."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import until
from keyed_server import Asked, KeyedServer
from probing import Probes, probes
from queued import enqueue

RETRY = {"attempts": 100, "min_wait_ms": 5, "max_wait_ms": 50}


class ChargeApi(KeyedServer):
    """Takes money once for each key; some customers have none, and for some it is down for a while."""

    def __init__(self, *customers: str) -> None:
        super().__init__()
        self.customers = customers
        self.poor: set[str] = set()
        self.per_window = 0
        """Charges in each 50 ms; 0: any number."""
        self.throttled = 0
        self._windows: Counter[int] = Counter()

    def page(self, path: str) -> bytes:
        """Who has to pay."""
        return json.dumps([{"customer": name, "cents": 100 + at} for at, name in enumerate(self.customers)]).encode()

    def answer(self, asked: Asked) -> tuple[int, bytes] | None:
        """Charges the customer of the body."""
        window = int(time.monotonic() * 20)
        self._windows[window] += 1
        if self.per_window and self._windows[window] > self.per_window:
            self.throttled += 1
            return 429, b"slower"
        customer = json.loads(asked.body)["customer"]
        if customer in self.poor:
            self.asked.append(Asked(customer, asked.key, asked.body))
            return 402, f"{customer} has no money".encode()
        found = super().answer(Asked(customer, asked.key, asked.body))
        if found is None or found[0] != 200:
            return found
        return 200, json.dumps({"receipt": found[1].decode()}).encode()

    def times(self, customer: str) -> int:
        """How often a charge of a customer was asked for."""
        return sum(asked.name == customer for asked in self.asked)


@pytest.fixture
def api() -> Iterator[ChargeApi]:
    with ChargeApi(*(f"customer-{number}" for number in range(12))) as api:
        yield api


def deploy(at: Probes, api: ChargeApi, form: str = "wasip2") -> None:
    """Deploys both functions."""
    environment = {"CUSTOMERS_API": api.url("customers"), "CHARGE_API": api.url("charge")}
    for name in ("find-customers", "charge"):
        at.deploy(name, name, form=form, environment=environment, retry=RETRY)


def begin(at: Probes) -> str:
    """Has the customers of a month charged."""
    return enqueue(at.host, "find-customers", b'{"month": "2026-05"}')


def charges(at: Probes) -> list[dict[str, Any]]:
    """What is known of the calls of `charge`."""
    found: list[dict[str, Any]] = at.host.request("GET", "/invocations?function=default/charge").json["invocations"]
    return found


def report(at: Probes, call: str) -> tuple[list[str], dict[str, str]]:
    """Who was charged, in the order of the answer; and who was not, and why."""
    answer = at.answer(call)
    assert answer.status == 200, (answer.body, at.record(call))
    found = answer.json
    return [customer for customer, _ in found["charged"]], dict(found["failed"])


def charged_once(api: ChargeApi) -> None:
    """Nobody was charged twice, and each charge had one key, however often it was asked for."""
    assert set(api.done.values()) == {1}
    assert {len(keys) for keys in api.keys.values()} == {1}
    assert "" not in set.union(*api.keys.values())


@pytest.mark.parametrize("form", ["wasip2", "wasip1"])
def test_temporary_failures_are_tried_again_and_others_are_not(tmp_path: Path, api: ChargeApi, form: str) -> None:
    """In the order of the customers, each with what became of the charge; a second try has the key of the first."""
    api.poor = {"customer-3", "customer-7"}
    for name in ("customer-1", "customer-3", "customer-8"):
        api.refuse(name, 2)
    with probes(tmp_path) as at:
        deploy(at, api, form)
        charged, failed = report(at, begin(at))
    assert charged == [name for name in api.customers if name not in api.poor]
    assert failed == {name: f"{name} has no money" for name in sorted(api.poor)}
    charged_once(api)
    assert (api.times("customer-1"), api.times("customer-8")) == (3, 3)
    assert (api.times("customer-3"), api.times("customer-7")) == (1, 1)


def test_nobody_is_charged_twice_where_the_host_is_killed_between_charge_and_answer(
    tmp_path: Path, api: ChargeApi
) -> None:
    """Twice: one charge was made and its answer never came, one was never made."""
    api.refuse("customer-2", 1)
    for name, when in (("customer-5", "after"), ("customer-9", "before")):
        api.hold(name, when)
    with probes(tmp_path) as at:
        deploy(at, api)
        call = begin(at)
        api.holds()
        api.holds()
    with probes(tmp_path) as at:
        assert report(at, call) == (list(api.customers), {})
    charged_once(api)
    assert (api.times("customer-5"), api.times("customer-9")) == (2, 2)


def test_a_rate_limit_slows_charges_down_and_fails_none(tmp_path: Path, api: ChargeApi) -> None:
    """The API refuses with 429 what is too much; the function says so, and its calls come slower."""
    api.per_window = 3
    with probes(tmp_path) as at:
        deploy(at, api)
        assert report(at, begin(at)) == (list(api.customers), {})
        assert at.host.metric("invocations_total", function="default/charge", outcome="ok") >= len(api.customers)
    charged_once(api)
    assert api.throttled > 0


def test_a_charge_that_failed_for_good_is_not_made_again_when_its_caller_is(tmp_path: Path, api: ChargeApi) -> None:
    """The caller was killed after it had learned of it; what it learned is in its journal."""
    api.poor = {"customer-0"}
    api.hold("customer-11", "before")
    with probes(tmp_path) as at:
        deploy(at, api)
        call = begin(at)
        api.holds()
        until(lambda: any(run["state"] == "failed" for run in charges(at)), "no charge has failed for good")
    with probes(tmp_path) as at:
        _, failed = report(at, call)
    assert failed == {"customer-0": "customer-0 has no money"}
    assert api.times("customer-0") == 1


def test_without_an_api_the_charge_fails_for_good(tmp_path: Path) -> None:
    """A function that cannot work says so, and is not tried again."""
    with probes(tmp_path) as at:
        at.deploy("charge", "charge")
        call = enqueue(at.host, "charge", b'{"customer": "ada", "cents": 1}')
        answer = at.answer(call)
        assert (answer.status, answer.body) == (422, b"CHARGE_API is not set")
        assert "guesthouse-error" not in answer.headers
        assert at.record(call)["attempts"] == 1
