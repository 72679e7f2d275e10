"""Detached tasks as the host keeps them: one text of their interface, bounded counts."""

from __future__ import annotations

import re

from guesthouse.interfaces.detached import Tasks
from guesthouse.telemetry import Metrics
from guesthouse.telemetry.metrics import MOST_TASKS, OTHER
from support import ROOT


def counts(metrics: Metrics) -> dict[tuple[str, str, str], float]:
    """What a scrape finds, by function, task and outcome."""
    (family,) = [family for family in metrics.collect() if family.name == "guesthouse_detached_tasks"]
    return {(s.labels["function"], s.labels["task"], s.labels["outcome"]): s.value for s in family.samples}


def test_a_task_is_counted_under_its_function_its_name_and_its_end() -> None:
    """Of a function that the metrics know; of others under `other`, as everywhere."""
    metrics = Metrics()
    metrics.recorder("default/orders", "web")
    for outcome in ("ok", "ok", "failed"):
        metrics.detached_task("default/orders", "send-push", outcome)
    metrics.detached_task("default/gone", "send-push", "lost")
    assert counts(metrics) == {
        ("default/orders", "send-push", "ok"): 2,
        ("default/orders", "send-push", "failed"): 1,
        (OTHER, "send-push", "lost"): 1,
    }


def test_names_are_bounded_for_each_function_and_in_all() -> None:
    """What is over that is counted under `other`; a deleted function makes room."""
    metrics = Metrics(most=MOST_TASKS + 10)
    for function in ("default/a", "default/b"):
        metrics.recorder(function, "web")
        for number in range(2 * MOST_TASKS):
            metrics.detached_task(function, f"t{number}", "ok")
    found = counts(metrics)
    assert sum(found.values()) == 4 * MOST_TASKS
    assert len([key for key in found if key[0] == "default/a"]) == MOST_TASKS + 1
    assert len([key for key in found if key[0] == "default/b"]) == 10 + 1
    metrics.forget("default/a")
    for number in range(MOST_TASKS):
        metrics.detached_task("default/b", f"u{number}", "ok")
    assert len([key for key in counts(metrics) if key[0] == "default/b"]) == MOST_TASKS + 1


def test_a_note_names_those_that_ended_badly_and_is_short() -> None:
    """It goes into the record of the invocation."""
    tasks = Tasks()
    tasks.ended("a", "ok")
    assert (tasks.summary, tasks.note) == ("1 ok", "")
    for number in range(100):
        tasks.ended(f"t{number}", "lost")
    assert tasks.note == "detached tasks 100 lost, 1 ok: t0, t1, t2, t3, t4, t5, t6, t7"


def test_the_page_shows_what_is_compiled() -> None:
    """Its Rust is that of the example, and its WIT that of the interface, without the comments."""
    page = (ROOT / "docs" / "detached.md").read_text()
    example = (ROOT / "guests" / "examples" / "detached" / "src" / "lib.rs").read_text()
    wit = (ROOT / "abi" / "guesthouse" / "detached.wit").read_text().splitlines()
    (rust,) = re.findall(r"```rust\n(.*?)```", page, re.S)
    assert rust in example
    (shown,) = re.findall(r"```wit\n(.*?)```", page, re.S)
    assert [line for line in shown.splitlines() if line] == [
        line for line in wit[2:-5] if line and not line.lstrip().startswith("///")
    ]
