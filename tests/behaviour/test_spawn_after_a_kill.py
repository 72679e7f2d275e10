"""Spawns that a killed process left behind: counted as lost by the next one, and never run again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from guesthouse import Host
from probes import SPAWNED, Gate, on_loop, settled, spawn_counts
from support import FORMS, ROOT, wat

SPAWNS_AND_WAITS = """
import sys
from guesthouse import Host
from probes import SPAWNED, Gate, on_loop, settled
from support import guest, wat
gate = Gate()
host = Host(sys.argv[1], interfaces=[gate])
host.deploy("start", guest("start", sys.argv[2]))
host.deploy("spawned", wat(SPAWNED))
host.invoke("start", b"quick", path="spawned")
assert settled(host) == {"ok": 1}
host.inner.database.write_sync(lambda connection: None)
for _ in range(2):
    assert host.invoke("start", b"wait", path="spawned").status == 202
on_loop(host, gate.arrivals(2))
print("waiting", flush=True)
sys.stdin.read()
"""


def killed_while_two_spawns_wait(directory: Path, form: str) -> None:
    """Runs a host of its own on `directory` and kills it, with two spawned runs in flight."""
    command = [sys.executable, "-c", SPAWNS_AND_WAITS, str(directory), form]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'host'}:{ROOT / 'tests'}"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, text=True, **pipes) as child:
        assert child.stdout.readline() == "waiting\n"
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL


@pytest.mark.parametrize("form", FORMS)
def test_a_run_cut_off_by_a_kill_is_counted_as_lost_and_not_run_again(tmp_path, form):
    """One row for each spawn in flight: the next process finds two, the one after it none; what had ended is not there."""
    killed_while_two_spawns_wait(tmp_path, form)
    gate = Gate()
    with Host(tmp_path, interfaces=[gate]) as host:
        assert host.inner.dispatcher.spawner.in_flight == 0
        assert spawn_counts(host.inner) == {"lost": 2}
        assert host.invoke("start", b"again", path="spawned").status == 202
        assert settled(host) == {"lost": 2, "ok": 1}
        assert gate.said == [b"again"]
    with Host(tmp_path, interfaces=[Gate()]) as host:
        assert spawn_counts(host.inner) == {}


def test_a_run_that_a_closing_host_gives_up_is_cancelled_and_not_lost(tmp_path):
    """An orderly end knows what it ends: the next process finds nothing."""
    gate = Gate()
    with Host(tmp_path, interfaces=[gate]) as host:
        host.deploy("spawned", wat(SPAWNED))
        host.spawn("spawned", b"wait")
        on_loop(host, gate.arrivals())
        on_loop(host, host.inner.close(drain_seconds=0))
        assert spawn_counts(host.inner) == {"cancelled": 1}
        assert gate.cancelled == 1
    with Host(tmp_path, interfaces=[Gate()]) as host:
        assert spawn_counts(host.inner) == {}
