"""The library for plain programs: `Host` from several threads, and from where it must not be called."""

from __future__ import annotations

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from guesthouse import Host, Interface, Invocation, host_call
from guesthouse.errors import Cancelled, HostError
from probes import GATE, PATIENCE, RUNNER, RUNNING, WIT, Gate, on_loop
from support import FORMS, guest, host_with, wat


def runs(host, number):
    """Calls the library that waits at the gate."""
    return host.call("runner", "run", number, interface=RUNNER)


@pytest.fixture
def hasty_threads():
    """Threads take turns as often as the interpreter can: what is not safe shows."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty_threads")
@pytest.mark.parametrize("form", FORMS)
def test_results_of_several_threads_are_not_mixed(form):
    """Calls that compute, that read streams, that wait and that fail, from eight threads: each gets its own answer."""

    def work(thread: int) -> int:
        for round_ in range(30):
            tag = f"{thread}-{round_}"
            assert host.invoke("echo", tag.encode()).text == tag
            assert host.invoke("greet", json.dumps({"name": tag}).encode()).text == f'{{"message":"Hello, {tag}!"}}'
            seen = json.loads(host.invoke("headers", path=tag).body)
            assert seen["path"] == tag
            ids.append(seen["environment"]["invocation"])
            if round_ % 5 == 0:
                assert host.invoke("clock", query=[("sleep_ms", "1")]).result == "ok"
                failed = host.invoke("panic", tag.encode())
                assert failed.result == "trapped"
                assert any(tag in record.text for record in failed.logs)
        return thread

    ids: list[str] = []
    with host_with("echo", "greet", "headers", "clock", "panic", form=form) as host:
        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(work, range(8))) == list(range(8))
        assert len(set(ids)) == 8 * 30
        counts = {name: host.inner.metrics.recorder(f"default/{name}", "web").outcomes for name in ("echo", "panic")}
        assert counts == {"echo": {"ok": 240}, "panic": {"trapped": 48}}
        assert host.inner.dispatcher.pool.in_use == 0


@pytest.mark.usefixtures("hasty_threads")
def test_every_call_of_every_thread_is_counted():
    """Counters take no lock and lose nothing all the same, and no two calls have one id."""

    def work(thread: int) -> list[str]:
        return [host.invoke("echo", b"x").invocation_id for _ in range(1500)]

    with host_with("echo") as host, ThreadPoolExecutor(8) as threads:
        ids = [id_ for ids in threads.map(work, range(8)) for id_ in ids]
        seen = host.inner.metrics.recorder("default/echo", "web")
        assert (seen.outcomes, sum(seen.durations), len(set(ids))) == ({"ok": 12_000}, 12_000, 12_000)


@pytest.mark.usefixtures("hasty_threads")
def test_a_deploy_in_the_midst_of_calls_gives_each_call_one_version():
    """Old answer or new answer, and no error."""
    with host_with("echo") as host, ThreadPoolExecutor(3) as threads:
        host.deploy("changing", guest("echo"))
        stop = threading.Event()

        def call() -> set[bytes]:
            seen = set()
            while not stop.is_set():
                seen.add(host.invoke("changing", b'{"name": "A"}').body)
            return seen

        calling = [threads.submit(call) for _ in range(3)]
        for _ in range(5):
            host.deploy("changing", guest("greet"))
            host.deploy("changing", guest("echo"))
        stop.set()
        seen = set.union(*[call.result() for call in calling])
        assert seen <= {b'{"name": "A"}', b'{"message":"Hello, A!"}'}
        assert len(host.inner.dispatcher._prepared) == 2


# -- the end


def test_closing_a_host_ends_the_calls_of_other_threads():
    """No thread is left waiting for a loop that has stopped."""
    gate = Gate()
    host = Host(interfaces=[gate])
    host.deploy("runner", wat(RUNNING))
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(runs, host, 1)
        on_loop(host, gate.arrivals())
        host.close(drain_seconds=0)
        assert isinstance(call.exception(timeout=PATIENCE), Cancelled)


def test_a_host_can_be_closed_twice_and_not_used_afterwards():
    """Every verb says what is wrong, at once."""
    host = Host()
    host.deploy("echo", guest("echo"))
    host.close()
    host.close()
    verbs = [
        lambda: host.invoke("echo", b""),
        lambda: host.call("echo", "x"),
        lambda: host.spawn("echo"),
        lambda: host.deploy("echo", guest("echo")),
        lambda: host.delete("echo"),
        lambda: host.inspect(guest("greet")),
    ]
    for verb in verbs:
        with pytest.raises(HostError, match="closed"):
            verb()


class Recursive(Interface):
    """A host function that calls the host which runs it."""

    name = "recursive"
    wit = WIT
    host: Host

    @host_call(GATE, "wait")
    async def wait(self, invocation: Invocation) -> None:
        self.host.invoke("echo", b"")


def test_a_host_function_cannot_call_the_synchronous_host_that_runs_it():
    """It would wait for itself: the error says what to do instead, and no instance is left behind."""
    recursive = Recursive()
    with Host(interfaces=[recursive]) as host:
        recursive.host = host
        host.deploy("runner", wat(RUNNING))
        host.deploy("echo", guest("echo"))
        with pytest.raises(HostError, match="use AsyncHost there"):
            runs(host, 1)
        assert host.inner.dispatcher.pool.in_use == 0
