"""Crash sweep: every example of a durable function, crashed before and after each of its commits, ends as if nothing had been."""

from __future__ import annotations

from typing import Any

import pytest

from guesthouse.testing import Request, SimulatedHost, answer
from sweeping import swept

MONTH_S = 30 * 86_400
SEND = "https://push.example.com/send"
HOOK = "https://chat.example.com/hooks/1"
API = "https://pay.example.com/charges"
CUSTOMERS = "https://crm.example.com/customers"


def test_a_reminder_is_sent_once_each_month() -> None:
    """Timers and named steps: nothing is sent twice but with its key."""

    def scenario(host: SimulatedHost) -> Any:
        host.http.on("POST", SEND).answer(503).answer(202)
        start = host.now
        result = host.run("reminder", {"text": "water the plants", "to": SEND, "every_s": MONTH_S, "times": 2})
        assert (host.now - start).days == 60
        return result.json()

    sweep = swept(scenario, reminder={})
    assert any("journals" in point.tables for point in sweep.points)


@pytest.mark.parametrize("how", ["resolve", "reject", "never"])
def test_an_approval_comes_to_the_same(how: str) -> None:
    """Awakeables: who is asked is asked once, and the answer counts once, whenever the host dies."""

    def scenario(host: SimulatedHost) -> Any:
        host.http.on("POST", HOOK).answer(204)
        call = host.enqueue("approval", {"what": "an engine", "tell": HOOK})
        host.advance(days=2)
        (pending,) = host.awakeables()
        if how == "resolve":
            host.resolve(pending.id, {"by": "Ada"})
        elif how == "reject":
            host.reject(pending.id, "too dear")
        return host.run_to_end(call).json()

    swept(scenario, approval={})


def test_customers_are_charged_once_each() -> None:
    """Called functions: those that fail for now are tried again, those that fail for good are not, nobody is charged twice."""

    def scenario(host: SimulatedHost) -> Any:
        host.http.on("GET", CUSTOMERS).answer(200, [{"customer": name, "cents": 100} for name in ("ada", "bob", "eve")])
        refused: set[str] = set()

        def charge(request: Request) -> Any:
            customer = request.json()["customer"]
            if customer == "eve":
                return answer(402, "no money")
            if customer == "bob" and not refused:
                refused.add(customer)
                return answer(503)
            return {"receipt": f"for {customer}"}

        host.http.on("POST", API).idempotent().call(charge)
        report = host.run("find-customers", {"month": "2030-01"}).json()
        charged = [request.json()["customer"] for request in host.http.effects]
        assert sorted(charged)[:1] == ["ada"]
        return report

    swept(
        scenario,
        find_customers={"environment": {"CUSTOMERS_API": CUSTOMERS}},
        charge={"environment": {"CHARGE_API": API}},
    )


def test_the_first_answer_of_several_is_the_first() -> None:
    """The one that wins is the same one.  How the others end depends on how far they had come when they were cancelled."""

    def scenario(host: SimulatedHost) -> Any:
        question = {"name": "Ada", "what": "her name"}
        return host.run("first-answer", {"ask": ["approval", "greet"], "question": question, "within_ms": 5_000}).json()

    swept(scenario, "invocations", first_answer={}, approval={}, greet={"durable": None})


def test_a_basket_holds_what_was_put_into_it() -> None:
    """State of a key changes in one transaction with the journal: each call counts once, in order."""

    def scenario(host: SimulatedHost) -> Any:
        key = [("guesthouse-key", "ada")]
        orders = [{"add": "tea", "count": 2}, {"add": "tea", "count": 3}, {"remove": "nothing"}, "show"]
        ids = [host.enqueue("basket", order, key="ada", headers=key) for order in orders]
        return [host.run_to_end(call).text for call in ids]

    sweep = swept(scenario, basket={"retry": {"attempts": 3, "min_wait_ms": 1_000}})
    assert any("keyed_state" in point.tables for point in sweep.points)


def test_a_function_that_is_not_durable_is_found_out() -> None:
    """A sweep is worth something only where it fails: here an effect is repeated without any key."""

    def scenario(host: SimulatedHost) -> Any:
        host.http.on("POST", SEND).answer(202)
        return host.run("fetch", {"verb": "POST", "url": SEND}).text

    with pytest.raises(AssertionError, match=r"crashed before commit \d.*\n +request 'POST', .*: 2 times, not 1"):
        swept(scenario, fetch={"durable": None})
