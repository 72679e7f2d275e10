"""The matrix of docs/matrix.md: which test proves which function of which Momento interface in which form of guest.

A pytest plugin, which imports what it watches only when it is asked to.  It watches the host calls that guests of the
workspace make, and the exports of theirs that are called, and counts them for the tests that pass.  Of several tests a
cell names the most telling one: of a file that is about the interface, and which touches the fewest functions.

    pytest --matrix docs/matrix.md tests/behaviour     writes the page
    pytest --matrix-check tests/behaviour              fails where a cell is empty
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

FORMS = ("wasip2", "wasip1", "unknown-unknown")
VAGUE = frozenset({"function", "guest", "support"})
"""Words of interfaces' names that say nothing about what they are."""
OLDER = ("momento:functions/", "momento:host/")
Cell = tuple[str, str, str]
"""Interface, function, form."""


@cache
def forms_by_digest() -> dict[str, str]:
    """In which form each built guest is."""
    from support import manifest

    small = "wasip2-small-stack"
    return {entry["sha256"]: entry["form"] for entry in manifest().values() if entry["form"] != small}


def rows() -> Iterator[tuple[str, str]]:
    """Every function of every Momento interface, as (interface, function)."""
    from guesthouse.engine.wit import Abi

    abi = Abi.load()
    for name in sorted(abi.interfaces(), key=lambda name: (name.startswith(OLDER), name)):
        interface = abi.find(name)
        assert interface is not None
        if name.startswith("momento:"):
            yield from ((name, function) for function in interface.functions)


class Matrix:
    """What the tests of one run have proved."""

    def __init__(self) -> None:
        self._seen: set[Cell] = set()
        self._proofs: dict[Cell, list[tuple[int, str]]] = {}

    def watch(self) -> None:
        """Notes from now on what guests call and what is called of them."""
        from guesthouse.dispatch.running import Running
        from guesthouse.engine.instance import Instance

        lower, finish = Instance._lower, Running._finish

        def noting_lower(instance: Instance, slot: Any, value: Any) -> None:
            lower(instance, slot, value)
            self._note(instance.context, slot)

        def noting_finish(running: Running) -> Any:
            outcome = finish(running)
            if outcome.error is None:
                self._note(running, running._entry.callee.export)
            return outcome

        Instance._lower, Running._finish = noting_lower, noting_finish  # type: ignore[method-assign]

    def _note(self, invocation: Any, function: Any) -> None:
        deployment = getattr(invocation, "deployment", None)
        form = forms_by_digest().get(getattr(deployment, "digest", ""))
        if form is not None and function.interface.startswith("momento:"):
            self._seen.add((function.interface, function.function, form))

    def take(self) -> list[Cell]:
        """What was seen since the last time."""
        seen, self._seen = self._seen, set()
        return sorted(seen)

    def count(self, test: str, seen: list[Cell]) -> None:
        """Counts what was seen for a test that passed."""
        for cell in seen:
            self._proofs.setdefault(cell, []).append((len(seen), test))

    def empty(self) -> list[Cell]:
        """The cells that no test has proved."""
        cells = [(interface, function, form) for interface, function in rows() for form in FORMS]
        return [cell for cell in cells if cell not in self._proofs]

    def page(self) -> str:
        """The matrix in Markdown."""
        counts = Counter(interface for interface, _ in rows())
        lines = [
            "# What is proved by which test",
            "",
            "Every function of every Momento interface, called by a guest in every form, and the test that asserts what it",
            "answers. `make matrix` runs the tests and writes this page; CI fails where a cell is empty.",
            "",
            "WASI, which guests reach through Rust's standard library and which differs by form, has its tests in",
            "[test_wasi.py](../tests/unit/test_wasi.py) and [test_wasi_preview1.py](../tests/unit/test_wasi_preview1.py).",
        ]
        last = ""
        for interface, function in rows():
            if interface != last:
                generation = "older" if interface.startswith(OLDER) else "newer"
                lines += ["", f"## `{interface}`", "", f"{generation} generation, {counts[interface]} functions", ""]
                lines += ["| function | " + " | ".join(FORMS) + " |", "|---" * (len(FORMS) + 1) + "|"]
                last = interface
            cells = " | ".join(self._proof((interface, function, form)) for form in FORMS)
            lines.append(f"| `{function}` | {cells} |")
        return "\n".join(lines) + "\n"

    def _proof(self, cell: Cell) -> str:
        if cell not in self._proofs:
            return "**none**"
        words = [word for word in cell[0].partition("/")[2].partition("@")[0].split("-") if word not in VAGUE]
        about = [(not any(word in test for word in words), count, test) for count, test in self._proofs[cell]]
        test = min(about)[2].partition("[")[0]
        file, _, name = test.partition("::")
        return f"[{name.replace('::', ' ')}](../{file})"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--matrix", metavar="FILE", help="write which test proves which function")
    parser.addoption("--matrix-check", action="store_true", help="fail where no test proves a function")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--matrix") or config.getoption("--matrix-check"):
        plugin = Plugin(config)
        config.pluginmanager.register(plugin, "matrix")


class Plugin:
    """The hooks, only where one of the options is given.  What a worker process has seen travels with its reports."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._matrix = Matrix()
        self._matrix.watch()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Iterator[None]:
        outcome: Any = yield
        report = outcome.get_result()
        if report.when == "call":
            report.user_properties.append(("matrix", [list(cell) for cell in self._matrix.take()]))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, seen in report.user_properties:
            if name == "matrix" and report.when == "call" and report.passed:
                self._matrix.count(report.nodeid, [(cell[0], cell[1], cell[2]) for cell in seen])

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(self._config, "workerinput"):
            return  # a worker process: the one that gets its reports decides
        if self._config.getoption("--matrix-check") and self._matrix.empty() and not session.exitstatus:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        file = self._config.getoption("--matrix")
        if file:
            Path(file).write_text(self._matrix.page())
        empty = self._matrix.empty()
        for interface, function, form in empty:
            terminalreporter.write_line(f"NOT PROVED: {interface} {function} in {form}", red=True)
        cells = len(list(rows())) * len(FORMS)
        terminalreporter.write_line(f"matrix: {cells - len(empty)} of {cells} cells are proved")
