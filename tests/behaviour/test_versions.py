"""Versions: every deploy makes one, one of them runs; pinning, rolling back, and how many old ones stay."""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import subprocess
import sys

import pytest

from guesthouse import AsyncHost, Host
from guesthouse.errors import BadRequest, LinkError, NotFound
from guesthouse.registry.registry import Registry
from guesthouse.storage.database import Database
from probes import RUNNER, RUNNING, Gate, on_loop
from support import FORMS, ROOT, guest, wat

ANSWERS = """
(module (func (export "{runner}#run") (param i32) (result i32) (i32.const {number})))
"""


def answering(number: int) -> bytes:
    """A library that answers always the same number, and waits for nobody."""
    return wat(ANSWERS.format(runner=RUNNER, number=number))


def deploy(host: Host, count: int, form: str = "wasip2", first: int = 1) -> None:
    """Deploys versions that answer their number."""
    for number in range(first, first + count):
        host.deploy("environment", guest("environment", form), environment={"V": str(number)})


def answered(host: Host) -> int:
    """The number that the version which runs answers."""
    return int(json.loads(host.invoke("environment", path="V").body))


def numbers(host: Host) -> list[int]:
    return [version.version for version in host.versions("environment")]


@pytest.mark.parametrize("form", FORMS)
def test_the_next_call_is_answered_by_the_version_that_was_chosen(form):
    """Any of them, back and forth; each with the environment and the description that it was deployed with."""
    with Host() as host:
        deploy(host, 3, form)
        assert answered(host) == 3
        for number in (1, 3, 2, 1):
            state = host.pin("environment", number)
            assert (state.current.version, state.latest, state.pinned) == (number, 3, number)
            assert answered(host) == number
        assert host.unpin("environment").pinned is None
        assert answered(host) == 3
        assert host.state("environment").current is host.inner.deployment("environment")


@pytest.mark.parametrize("form", FORMS)
def test_a_deploy_to_a_pinned_function_changes_nothing_until_it_is_let_go(form):
    """It is a version like others, and the latest."""
    with Host() as host:
        deploy(host, 2, form)
        host.pin("environment", 1)
        deploy(host, 1, form, first=3)
        assert answered(host) == 1
        assert numbers(host) == [1, 2, 3]
        assert host.state("environment").latest == 3
        host.unpin("environment")
        assert answered(host) == 3


@pytest.mark.parametrize("form", FORMS)
def test_rolling_back_goes_one_version_back_each_time(form):
    """As far as there are any; forward again is letting go."""
    with Host() as host:
        deploy(host, 3, form)
        assert host.rollback("environment").pinned == 2
        assert host.rollback("environment").pinned == 1
        assert answered(host) == 1
        with pytest.raises(NotFound, match="no version before"):
            host.rollback("environment")
        host.unpin("environment")
        assert answered(host) == 3


def test_what_is_not_there_cannot_be_chosen():
    """Neither a version, nor a function; nothing changes."""
    with Host() as host:
        deploy(host, 2)
        for version in (0, -1, 3, 1 << 70):
            with pytest.raises(NotFound):
                host.pin("environment", version)
        for act in (host.unpin, host.rollback, host.versions, host.state):
            with pytest.raises(NotFound):
                act("nobody")
        with pytest.raises(NotFound):
            host.pin("nobody", 1)
        assert answered(host) == 2
        assert host.state("environment").pinned is None


def test_a_deleted_function_is_not_pinned_any_more():
    """A new one of its name goes on counting, and runs."""
    with Host() as host:
        deploy(host, 2)
        host.pin("environment", 1)
        assert host.delete("environment")
        deploy(host, 1, first=3)
        assert (answered(host), numbers(host)) == (3, [3])


def test_running_calls_end_on_their_version():
    """While the next ones are answered by another; a deleted version's too."""
    gate = Gate()
    with Host(interfaces=[gate]) as host:
        host.deploy("run", wat(RUNNING))
        host.deploy("run", answering(2))
        host.pin("run", 1)
        run = host.inner.call("run", "run", 77, interface=RUNNER)
        running = asyncio.run_coroutine_threadsafe(run, host._loop)
        on_loop(host, gate.arrivals())
        host.unpin("run")
        assert host.call("run", "run", 0, interface=RUNNER) == 2
        host.delete("run")
        on_loop(host, gate.open())
        assert running.result(20) == 77


def test_a_version_that_cannot_run_any_more_is_not_chosen(tmp_path):
    """Its host interface has gone: the error says so, and what runs goes on."""
    with Host(tmp_path, interfaces=[Gate()]) as host:
        host.deploy("run", wat(RUNNING))
        host.deploy("run", guest("echo"))
    with Host(tmp_path) as host:
        for act in (lambda: host.pin("run", 1), lambda: host.rollback("run")):
            with pytest.raises(LinkError, match="test:gate/gate"):
                act()
        assert host.invoke("run", b"x").body == b"x"
        assert host.state("run").pinned is None


@pytest.mark.parametrize("form", FORMS)
def test_a_pin_survives_its_host(tmp_path, form):
    """And the versions that were deployed since."""
    with Host(tmp_path) as host:
        deploy(host, 3, form)
        host.pin("environment", 2)
    with Host(tmp_path) as host:
        assert answered(host) == 2
        deploy(host, 1, form, first=4)
        assert answered(host) == 2
        host.unpin("environment")
        assert answered(host) == 4


# -- how many stay


def files(folder) -> int:
    return sum(1 for path in folder.iterdir() if not path.name.startswith("."))


def test_old_versions_go_with_their_bytes_and_their_compiled_code(tmp_path):
    """Those that are pinned or run stay, and go once they do neither."""
    gate = Gate()
    with Host(tmp_path, interfaces=[gate], keep_versions=2) as host:
        host.deploy("run", wat(RUNNING))
        run = host.inner.call("run", "run", 77, interface=RUNNER)
        running = asyncio.run_coroutine_threadsafe(run, host._loop)
        on_loop(host, gate.arrivals())
        for number in range(2, 6):
            host.deploy("run", answering(number))
        assert [version.version for version in host.versions("run")] == [1, 4, 5]
        assert (files(tmp_path / "blobs"), files(tmp_path / "artefacts")) == (3, 3)
        host.pin("run", 4)
        on_loop(host, gate.open())
        assert running.result(20) == 77
        del run, running
        gc.collect()
        for number in range(6, 9):
            host.deploy("run", answering(number))
        assert [version.version for version in host.versions("run")] == [4, 7, 8]
        assert (files(tmp_path / "blobs"), files(tmp_path / "artefacts")) == (3, 3)
        assert host.call("run", "run", 0, interface=RUNNER) == 4
        with pytest.raises(NotFound):
            host.pin("run", 1)


def test_a_host_has_to_keep_a_version_to_go_back_to(tmp_path):
    """One alone is refused, and the directory is free again."""
    with pytest.raises(BadRequest, match="at least 2"):
        Host(tmp_path, keep_versions=1)
    Host(tmp_path).close()


PRUNES_AND_DIES = """
import os, signal, sys
from pathlib import Path
from guesthouse.registry.registry import Registry
from guesthouse.storage.database import Database
directory, victim = Path(sys.argv[1]), sys.argv[2]
def steps(step):
    if step == victim and number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
registry = Registry(Database(directory / "guesthouse.db"), directory, keep=2, steps=steps)
for number in range(5):
    registry.deploy_sync("default", "echo", b"\\0asm\\1\\0\\0\\0" + bytes([number]), kind="web")
"""


@pytest.mark.parametrize(
    ("step", "left"), [("version inserted", [1, 2]), ("current flipped", [1, 2]), ("committed", [2, 3])]
)
def test_a_process_killed_while_a_version_goes_leaves_all_of_it_or_nothing(tmp_path, step, left):
    """Kill -9 before the commit or after it; what is left on disk are the bytes of the versions that are left."""
    command = [sys.executable, "-c", PRUNES_AND_DIES, str(tmp_path), step]
    child = subprocess.run(command, env={"PYTHONPATH": str(ROOT / "host")}, timeout=60, check=False)
    assert child.returncode == -signal.SIGKILL
    database = Database(tmp_path / "guesthouse.db")
    registry = Registry(database, tmp_path, keep=2)
    assert [version.version for version in registry.versions("default", "echo")] == left
    assert {path.name for path in (tmp_path / "blobs").iterdir()} == registry.digests()
    assert len(registry.digests()) == 2
    database.close()


# -- at the same time


def test_pins_deploys_and_calls_at_once_agree_in_the_end():
    """Every call is answered by some version, and the last choice is the one that is kept ready."""

    async def calls(host: AsyncHost, over: asyncio.Event) -> set[int]:
        seen = set()
        while not over.is_set():
            seen.add(int(json.loads((await host.invoke("environment", path="V")).body)))
            await asyncio.sleep(0)
        return seen

    async def run() -> None:
        async with AsyncHost() as host:
            wasm = guest("environment")
            for number in range(1, 4):
                await host.deploy("environment", wasm, environment={"V": str(number)})
            over = asyncio.Event()
            callers = [asyncio.ensure_future(calls(host, over)) for _ in range(3)]
            await asyncio.gather(
                *(host.pin("environment", 1 + number % 3) for number in range(9)),
                *(host.unpin("environment") for _ in range(3)),
                *(host.deploy("environment", wasm, environment={"V": "4"}) for _ in range(4)),
                *(host.rollback("environment") for _ in range(2)),
                return_exceptions=True,
            )
            state = await host.pin("environment", 2)
            over.set()
            assert set().union(*await asyncio.gather(*callers)) <= {1, 2, 3, 4}
            assert (state.latest, state.pinned) == (7, 2)
            assert host.deployment("environment") is state.current
            assert json.loads((await host.invoke("environment", path="V")).body) == "2"
            assert [kept.deployment.version for kept in host.dispatcher._prepared.values()] == [2]

    asyncio.run(run())


def test_a_function_that_is_deleted_while_it_is_pinned_is_gone():
    """Or the other way round: never something between."""

    async def run() -> None:
        async with AsyncHost() as host:
            for _ in range(8):
                await host.deploy("echo", guest("echo"))
                first = host.deployment("echo").version
                pinned, deleted = await asyncio.gather(
                    host.pin("echo", first), host.delete("echo"), return_exceptions=True
                )
                assert deleted is True
                assert isinstance(pinned, NotFound) or pinned.pinned == first
                assert host.registry.get("default", "echo") is None
            assert host.dispatcher._prepared == {}

    asyncio.run(run())
