"""Durable functions on the command line: deployed, looked at while they wait, and not deleted meanwhile."""

from __future__ import annotations

from pathlib import Path

from harness import until
from served import served
from support import guest


def test_from_deploy_to_the_end(tmp_path: Path) -> None:
    """`--durable`, a manifest with other terms, what is shown of both, and what `rm` says while somebody waits."""
    wasm = tmp_path / "approval.wasm"
    wasm.write_bytes(guest("approval"))
    with served(tmp_path / "data") as server:
        said = server("deploy", str(wasm), "--durable")
        assert (said.status, "(durable web, " in said.out) == (0, True), said
        assert "durable web" in server("ls").out
        shown = server("versions", "show", "approval").out
        assert "durable   yes" in shown
        manifest = tmp_path / "approval.toml"
        manifest.write_text("[durable]\ngrace_ms = 0\n")
        assert server("deploy", str(wasm), "--manifest", str(manifest)).status == 0
        assert "durable   grace_ms=0" in server("versions", "show", "approval").out
        body = '{"what": "a", "amount": 1}'
        call = server("invoke", "approval", "-d", body, "--async", "--quiet").out.strip()
        until(lambda: server.request("GET", f"/invocations/{call}").json["state"] == "suspended", "it does not wait")
        shown = server("invocations", "show", call).out
        assert "suspended" in shown
        assert "waits for  1 awakeable" in shown
        assert "sign_1" not in shown
        assert "entries" in shown
        assert call in server("invocations", "ls", "--state", "suspended").out
        assert "SUSPENDED" in server("queues").out
        said = server("rm", "approval")
        assert said.status != 0
        assert "1 invocation stands" in said.err
        assert server("invocations", "cancel", call).status == 0
        until(lambda: server.request("GET", f"/invocations/{call}").json["state"] != "suspended", "it still waits")
