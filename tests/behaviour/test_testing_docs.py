"""docs/testing.md: its examples are one file of tests, and they pass; what it names is there."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

from command_line import built
from guesthouse.testing import AsyncSimulatedHost, FakeHttp, Route, SimulatedHost
from support import ROOT

TEXT = (ROOT / "docs" / "testing.md").read_text()
GUESTS = ("approval", "charge", "greet")


def test_the_examples_of_the_page_pass(tmp_path: Path) -> None:
    """All blocks, in their order, are one module for pytest, beside the guests that it names."""
    code = "\n\n".join(re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
    assert code.count("\ndef test_") >= 6
    (tmp_path / "test_page.py").write_text(code)
    for name in GUESTS:
        (tmp_path / f"{name}.wasm").write_bytes(built(name).read_bytes())
    said = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_page.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT / "host"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert said.returncode == 0, said.stdout + said.stderr


def test_both_forms_have_the_same_verbs() -> None:
    """Whatever can be awaited can be called, too."""

    def verbs(form: type) -> set[str]:
        return {name for name, _ in inspect.getmembers(form) if not name.startswith("_")}

    assert verbs(AsyncSimulatedHost) - {"check"} == verbs(SimulatedHost) - {"simulation"}


def test_what_the_tables_name_is_there() -> None:
    """Verbs of hosts and routes, in the tables and in the text."""
    named = set(re.findall(r"`host\.(\w+)", TEXT)) - {"http"}
    assert named <= set(dir(SimulatedHost)), named - set(dir(SimulatedHost))
    steps = set(re.findall(r"`\.(\w+)\(", TEXT))
    assert steps
    assert steps <= set(dir(Route))
    assert set(re.findall(r"host\.http\.(\w+)", TEXT)) <= {*dir(FakeHttp), "requests"}
