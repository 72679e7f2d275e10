"""Errors as problems: the same shape for all of them."""

from __future__ import annotations

import json

import pytest

from guesthouse import errors
from guesthouse.errors import AdmissionFull, Draining, GuesthouseError, Trap, Unauthorized
from guesthouse.gateway import problems
from guesthouse.gateway.problems import phrase, problem


def all_kinds(root: type[GuesthouseError] = GuesthouseError) -> list[type[GuesthouseError]]:
    return [root, *(kind for child in root.__subclasses__() for kind in all_kinds(child))]


OURS = [kind for kind in all_kinds() if kind.__module__ in (errors.__name__, problems.__name__)]


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.__name__)
def test_every_error_has_a_problem(kind: type[GuesthouseError]) -> None:
    """Type, title, status, detail and an id; the status on the wire is the one inside."""
    status, headers, body = problem(kind("what happened"))
    document = json.loads(body)
    assert document["status"] == status == kind.status
    assert 400 <= status <= 599
    assert document["type"] == f"urn:guesthouse:problem:{kind.problem_type}"
    assert document["title"] == kind.title
    assert len(document["request_id"]) == 16
    assert dict(headers)["content-type"] == "application/problem+json"
    assert dict(headers)["x-content-type-options"] == "nosniff"


def test_types_with_different_statuses_have_different_names() -> None:
    """A type stands for one thing."""
    statuses: dict[str, set[int]] = {}
    for kind in OURS:
        statuses.setdefault(kind.problem_type, set()).add(kind.status)
    assert all(len(found) == 1 for found in statuses.values())


def test_an_invocations_problem_has_its_id() -> None:
    """And no other one."""
    document = json.loads(problem(Trap("x"), "id-1").body)
    assert document["invocation_id"] == "id-1"
    assert "request_id" not in document


def test_passing_states_say_when_to_come_back() -> None:
    """In seconds."""
    assert dict(problem(AdmissionFull(retry_after=3)).headers)["retry-after"] == "3"
    assert "retry-after" in dict(problem(Draining()).headers)
    assert "www-authenticate" in dict(problem(Unauthorized("x")).headers)


def test_what_a_guest_said_is_not_in_its_problem() -> None:
    """C10."""
    assert b"secret" not in problem(Trap("secret")).body


def test_every_status_has_a_phrase_or_none() -> None:
    """Unknown ones are valid too."""
    assert (phrase(404), phrase(499), phrase(599)) == ("Not Found", "Client Closed Request", "")
