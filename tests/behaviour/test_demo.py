"""`make demo`: it shows every example, and it does not say that all is well when it is not."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys

from support import ROOT, manifest

DEMO = ROOT / "tools" / "demo.py"
STORIES = ROOT / "tools" / "demo_stories.py"
NEWER = ("token-vendor", "sse-proxy", "publisher", "topic-trigger")
"""Tokens that are used, events that are passed on, and messages that start a function."""
DURABLE = ("approval", "basket", "charge", "find-customers", "reminder")
"""What waits for people, for time and for other functions."""
LATER = ("detached", "dice", "proxy", "toolbox")
"""With `greet`, all that is shown of calls that nobody waits for."""


def demo(*names: str) -> subprocess.CompletedProcess[str]:
    """Runs the demo for some guests, with few calls of each."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "host"), "DEMO_CALLS": "3", "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, str(DEMO), *names], env=environment, capture_output=True, text=True, timeout=120
    )


def test_every_example_has_a_story():
    """A guest in examples/ that the demo does not know would be shown as failed; so would one that is not built."""
    stories = set(runpy.run_path(str(STORIES))["stories"]("http://127.0.0.1:1"))
    examples = {folder.name for folder in (ROOT / "guests" / "examples").iterdir()}
    tests = {folder.name for folder in (ROOT / "guests" / "tests").iterdir()}
    assert examples == {"calculator", *stories} - tests
    assert stories <= {name for name, _ in manifest()}


def test_guests_are_deployed_called_and_counted():
    """Each in both forms, and one in the third; and what goes on while nobody waits, a line each."""
    said = demo(
        "greet", "read-through", "fill", "start", "spawn-unit", "ticker", "calculator", *NEWER, *DURABLE, *LATER
    )
    assert said.returncode == 0, said.stdout + said.stderr
    assert said.stdout.endswith("demo: 41 of 41 guests answered, 7 of 7 abilities shown\n")
    assert said.stdout.count("✓") == 48


def test_a_guest_that_fails_is_shown_and_makes_the_demo_fail():
    """Without `start` nobody starts a spawn function."""
    said = demo("spawn-unit", "greet")
    assert said.returncode == 1
    assert said.stdout.count("✗ spawn-unit") == 2
    assert said.stdout.endswith("demo: 3 of 5 guests answered, 3 of 3 abilities shown\n")
