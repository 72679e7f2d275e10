"""What spawned runs do not share with who started them, and the record that each of them leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guesthouse import Host
from guesthouse.errors import NotFound
from probes import ALLOCATOR, SPAWNED, SPAWNS_AND_TRAPS, Gate, on_loop, settled
from served import PATIENCE, Origin, config, served
from support import wat

SPAWNS_AND_SPINS = SPAWNS_AND_TRAPS.replace("(unreachable)", "(loop $again (br $again)) (unreachable)")
"""A web function that starts the spawn function `spawned` with its body as the payload, and never ends."""
BOTH = f"""
(module
  {ALLOCATOR}
  (func (export "momento:functions/guest-function-spawn@1.0.0#spawned") (param i32 i32))
  (func (export "momento:functions/guest-function-web@1.0.0#post") (param i32 i32) (result i32) (i32.const 0)))
"""


def test_a_spawned_run_outlives_the_deadline_of_its_caller():
    """The caller computes until it is ended; what it had started goes on as if nothing had been."""
    gate = Gate()
    with Host(interfaces=[gate]) as host:
        host.deploy("spawned", wat(SPAWNED))
        host.deploy("spinning", wat(SPAWNS_AND_SPINS), limits={"deadline_ms": 100})
        assert host.invoke("spinning", b"wait").result == "deadline"
        on_loop(host, gate.arrivals())
        on_loop(host, gate.open())
        assert settled(host) == {"ok": 1}
        assert gate.said == [b"wait"]


def test_what_exports_both_is_a_web_function():
    """The macros of the crates make one or the other; of a module that has both only the answer counts."""
    with Host() as host:
        assert host.deploy("both", wat(BOTH)).kind == "web"
        with pytest.raises(NotFound, match="not a spawn function"):
            host.spawn("both")


def test_a_run_cut_off_by_a_kill_has_a_record_that_says_lost(tmp_path: Path):
    """Written when the next process finds it; what had ended before the kill has the record of its end."""
    with Origin() as origin, served(tmp_path / "data", "--config", config(tmp_path)) as server:
        for name in ("start", "fill"):
            assert server.deploy(name).status == 204
        for path in ("/page", "/held"):
            order = json.dumps({"key": path, "url": origin.url(path)}).encode()
            assert server.call("start/fill", order).status == 202
        origin.holds()
        server.counted("spawns_total", 1, outcome="ok")
        server.process.kill()
        server.process.wait(PATIENCE)
    with served(tmp_path / "data") as server:
        found = server.request("GET", "/invocations?function=default/fill").json["invocations"]
        assert [(record["mode"], record["state"]) for record in found] == [("spawn", "lost"), ("spawn", "succeeded")]
        assert found[0]["ended_at"] is not None
        assert server.request("GET", f"/invocations/{found[0]['id']}").json == found[0]
