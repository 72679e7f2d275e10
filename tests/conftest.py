"""What holds for every test run: in CI a test that was skipped has failed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

import pytest

from aws_server import aws_host, aws_process, aws_server, aws_wire  # noqa: F401  # fixtures for every test
from matrix import pytest_addoption, pytest_configure  # noqa: F401  # hooks for every run
from valkey_server import own_valkey_server, valkey_process, valkey_server  # noqa: F401  # fixtures for every test


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config) -> None:
    """Says loudly what was not tested and why."""
    for report in terminalreporter.stats.get("skipped", []):
        terminalreporter.write_line(f"NOT TESTED: {report.nodeid}: {report.longrepr[2]}", red=True)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """In CI everything that a test may need is installed, so a skip is a failure."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("TEST_CI") and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session", autouse=True)
def _compiled_once() -> Iterator[None]:
    """Compiles a module once for the whole run: hosts in memory, of which each test makes some, keep nothing of their own."""
    from guesthouse.engine.engine import Engine

    really, kept = Engine.compile, dict[tuple[bytes, bytes], bytes]()

    def once(engine: Engine, wasm: bytes) -> bytes:
        key = (engine.fingerprint, hashlib.sha256(wasm).digest())
        if key not in kept:
            kept[key] = really(engine, wasm)
        return kept[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "compile", once)
        yield
