"""`guesthouse doctor`: what it finds on a machine, on one that lacks something, and what it says about it."""

from __future__ import annotations

import json
import resource
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme

from command_line import guesthouse
from gateway_server import serving
from guesthouse.cli import checkup, reachable
from guesthouse.cli.findings import Finding
from guesthouse.config_sources import load
from support import ROOT
from valkey_server import ValkeyServer

NOBODY = "http://127.0.0.1:9"
CHECKS = ["python", "headers", "compiler", "glue", "engine", "memory maps", "open files", "settings", "data", "disk"]
CHECKS += ["fsync", "port", "rust"]


def report(tmp_path: Path, *arguments: object, status: int = 0, **variables: str) -> dict[str, dict[str, Any]]:
    """The checks of a report by name."""
    said = guesthouse("doctor", "--json", "--data-dir", tmp_path / "data", *arguments, URL=NOBODY, **variables)
    assert said.status == status, said.err
    assert said.json["ok"] == (status == 0)
    return {check["name"]: check for check in said.json["checks"]}


# -- a whole report


def test_a_machine_that_runs_these_tests_lacks_nothing_that_is_required(tmp_path: Path) -> None:
    """Every check says something; each that is not ok says what to do."""
    checks = report(tmp_path)
    assert list(checks)[: len(CHECKS)] == CHECKS
    for check in checks.values():
        assert set(check) == {"name", "status", "text", "fix", "required"}
        assert check["text"]
        assert bool(check["fix"]) == (check["status"] != "ok")
    required = {name: check["status"] for name, check in checks.items() if check["required"]}
    assert set(required.values()) == {"ok"}
    assert not (tmp_path / "data").exists()


def test_a_report_is_for_people_too(tmp_path: Path) -> None:
    """A line for each check, what to do below it, and a last line on standard error; nothing coloured in a pipe."""
    said = guesthouse("doctor", "--data-dir", tmp_path, URL=NOBODY)
    lines = said.out.splitlines()
    assert said.status == 0
    assert lines[0].startswith("ok       python        3.")
    server = next(index for index, line in enumerate(lines) if line.startswith("warn     server        cannot reach"))
    assert lines[server + 1].split() == ["do:", "guesthouse", "serve,", "or", "set", "GUESTHOUSE_URL"]
    assert "\x1b" not in said.out
    assert said.err.startswith("a server runs here")


def test_what_is_required_and_missing_is_exit_status_1(tmp_path: Path) -> None:
    """Also for a program; without colours the words say it."""
    (tmp_path / "data").write_text("no folder")
    checks = report(tmp_path, status=1)
    assert (checks["data"]["status"], checks["data"]["required"]) == ("missing", True)
    said = guesthouse("doctor", "--data-dir", tmp_path / "data", URL=NOBODY)
    assert said.status == 1
    assert "missing  data " in said.out
    assert said.err.endswith("1 of these must be there before a server runs\n")


def test_quiet_says_only_what_is_not_well(tmp_path: Path) -> None:
    """No line that begins with ok."""
    said = guesthouse("doctor", "--quiet", "--data-dir", tmp_path, URL=NOBODY)
    assert "warn     server" in said.out
    assert "ok " not in said.out
    assert said.err == ""


def test_a_mistake_in_the_configuration_is_a_line_of_the_report(tmp_path: Path) -> None:
    """The rest is looked at all the same."""
    config = tmp_path / "guesthouse.toml"
    config.write_text("[listen]\nprot = 1\n")
    checks = report(tmp_path, "--config", config, status=1)
    assert "listen.prot: there is no such setting" in checks["settings"]["text"]
    assert checks["data"]["status"] == "ok"
    assert report(tmp_path, "--config", tmp_path / "none.toml", status=1)["settings"]["status"] == "missing"


def test_the_secret_of_callbacks_is_looked_at(tmp_path: Path) -> None:
    """Not only when the server starts; and it is not shown."""
    config = tmp_path / "guesthouse.toml"
    config.write_text('[callbacks]\nsecret = "hunter2"\n')
    text = report(tmp_path, "--config", config, status=1)["settings"]["text"]
    assert "callbacks.secret" in text
    assert "whsec_" in text
    assert "hunter2" not in text


def test_the_images_of_the_configuration_are_looked_for(tmp_path: Path) -> None:
    """A file that is not there is found before somebody deploys it."""
    config = tmp_path / "guesthouse.toml"
    config.write_text(f'[images]\n"functions/alpine" = "{tmp_path / "none.wasm"}"\n')
    check = report(tmp_path, "--config", config)["images"]
    assert (check["status"], "functions/alpine" in check["text"]) == ("warn", True)
    (tmp_path / "none.wasm").touch()
    assert report(tmp_path, "--config", config)["images"]["status"] == "ok"
    config.write_text(f'[openfaas]\nimages_dir = "{tmp_path / "nowhere"}"\n')
    assert "nowhere" in report(tmp_path, "--config", config)["images"]["text"]


def test_a_configuration_is_read(tmp_path: Path) -> None:
    """Where the server would listen is where the port is tried."""
    config = tmp_path / "guesthouse.toml"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config.write_text(f"[listen]\nport = {port}\n")
        check = report(tmp_path, "--config", config)["port"]
    assert check["status"] == "warn"
    assert str(port) in check["text"]
    assert "--port" in check["fix"]


def test_a_report_imports_nothing_before_it_is_asked_for() -> None:
    """The command is part of a command line that answers at once."""
    code = "import sys, guesthouse.cli.doctor; print('guesthouse.cli.checkup' in sys.modules)"
    said = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT / "host")}, capture_output=True, text=True, check=True
    )
    assert said.stdout == "False\n"


# -- the server


def asked(url: str) -> list[tuple[str, str, str]]:
    return [(finding.name, finding.status, finding.text) for finding in reachable.server(url)]


def test_a_server_is_asked_and_its_token_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without tokens it wants none; with one it says whether ours is good."""
    monkeypatch.delenv("GUESTHOUSE_TOKEN", raising=False)
    with serving() as server:
        url = f"http://127.0.0.1:{server.port}"
        assert asked(url) == [
            ("server", "ok", f"{url} answers"),
            ("token", "ok", "the server wants no token"),
        ]
        server.tokens.add("good", "manage")
        server.on_loop(server.gateway._app.gate.refresh)
        assert asked(url)[1] == ("token", "warn", "the server wants a token")
        monkeypatch.setenv("GUESTHOUSE_TOKEN", "nonsense")
        assert asked(url)[1] == ("token", "warn", "the server does not take the token in GUESTHOUSE_TOKEN")
        assert "guesthouse token create" in list(reachable.server(url))[1].fix
        monkeypatch.setenv("GUESTHOUSE_TOKEN", "good")
        assert asked(url)[1] == ("token", "ok", "the server takes the token")


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", b"SSH-2.0-x\r\n", b""])
def test_what_is_no_guesthouse_is_told_from_one(answer: bytes) -> None:
    """Whatever it answers, or nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(4096)
                peer.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        (finding,) = reachable.server(f"http://127.0.0.1:{listener.getsockname()[1]}")
        thread.join(30)
    assert (finding.name, finding.status) == ("server", "warn")


def test_an_url_that_is_none_is_a_line_like_any_other() -> None:
    """A report comes to its end."""
    (finding,) = reachable.server("ftp://x")
    assert finding.status == "warn"


def test_the_valkey_servers_of_the_configuration_are_asked(tmp_path: Path) -> None:
    """Each must answer; no text has a password in it."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    config = tmp_path / "guesthouse.toml"
    config.write_text(f'[valkey.clusters]\nmain = "redis://:hunter2@127.0.0.1:{port}"\n')
    said = guesthouse("doctor", "--json", "--data-dir", tmp_path, "--config", config, URL=NOBODY)
    (check,) = [check for check in said.json["checks"] if check["name"] == "valkey"]
    assert (said.status, check["status"], check["required"]) == (1, "missing", True)
    assert check["text"].startswith("the server of valkey.clusters.main does not answer: ")
    assert "hunter2" not in said.out


def test_a_valkey_server_that_answers_is_fine(tmp_path: Path, valkey_process: ValkeyServer) -> None:
    """Said with its address."""
    config = tmp_path / "guesthouse.toml"
    config.write_text(f'[valkey.clusters]\nmain = "{valkey_process.url}"\n[cache]\nurl = "{valkey_process.url}"\n')
    said = guesthouse("doctor", "--json", "--data-dir", tmp_path, "--config", config, URL=NOBODY)
    checks = [check for check in said.json["checks"] if check["name"] == "valkey"]
    assert [check["text"].partition(": ")[0] for check in checks] == ["cache.url", "valkey.clusters.main"]
    assert {check["status"] for check in checks} == {"ok"}


def test_a_valkey_server_may_have_a_certificate_of_the_configurations_own_authority(tmp_path: Path) -> None:
    """As for the server that the configuration is for: `outbound.extra_ca` is trusted."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    config = tmp_path / "guesthouse.toml"
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            peer, _ = listener.accept()
            with suppress(OSError), tls.wrap_socket(peer, server_side=True) as peer:
                while peer.recv(4096):
                    peer.sendall(b"+PONG\r\n")

        threading.Thread(target=serve, daemon=True).start()
        url = f"rediss://127.0.0.1:{listener.getsockname()[1]}"
        config.write_text(f'[outbound]\nextra_ca = "{tmp_path}/ca.pem"\n[valkey.clusters]\nmain = "{url}"\n')
        (finding,) = reachable.valkeys(load({}, config, {}))
    assert (finding.status, finding.text) == ("ok", f"valkey.clusters.main: {url.partition('//')[2]} answers")


@pytest.mark.parametrize("host", ["a" * 64, "..", "no-such-host.invalid", "203.0.113.1", "\0"])
def test_a_host_that_cannot_be_listened_on_is_a_line_like_any_other(host: str) -> None:
    """Also what cannot even be a name."""
    finding = reachable.port(host, 8080)
    assert (finding.status, "cannot be listened on" in finding.text) == ("warn", True)


# -- a machine that lacks something


def absent(*missing: str) -> Callable[[str], str | None]:
    return lambda name: None if name in missing else f"/usr/bin/{name}"


def test_a_compiler_is_needed_only_where_the_glue_is_not_built() -> None:
    """A wheel brings it built."""
    nothing = absent("cc", "gcc", "clang")
    assert checkup._compiler(True, nothing)[1] == "warn"
    missing = checkup._compiler(False, nothing)
    assert missing.fatal
    assert missing.fix == "sudo apt install gcc"
    assert checkup._compiler(False, absent("cc")).text == "/usr/bin/gcc"


def test_missing_headers_are_named_with_their_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on a machine with Python alone."""
    monkeypatch.setattr(checkup.sysconfig, "get_path", lambda name: str(tmp_path))
    assert checkup._headers(True)[1] == "warn"
    assert (checkup._headers(False).fatal, checkup._headers(False).fix) == (True, "sudo apt install python3-dev")


def test_glue_that_does_not_load_is_told_with_how_to_build_it() -> None:
    """In a process of its own, where the library cannot be found; the report still comes to its end."""
    code = (
        "import sys; sys.modules['guesthouse._native._glue'] = None\n"
        "from guesthouse.cli import cli; cli(['doctor', '--json', '--url', 'http://127.0.0.1:9'])"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT / "host"), "HOME": "/nowhere"}, capture_output=True
    )
    checks = {check["name"]: check for check in json.loads(said.stdout)["checks"]}
    assert said.returncode == 1
    assert (checks["glue"]["status"], checks["glue"]["required"]) == ("missing", True)
    assert "pip install --force-reinstall" in checks["glue"]["fix"]
    assert "engine" not in checks
    assert "server" in checks


@pytest.mark.parametrize(("text", "status"), [("65530", "ok"), ("10000", "warn"), ("nonsense", "warn")])
def test_few_memory_maps_are_few_guests(tmp_path: Path, text: str, status: str) -> None:
    """With the setting that raises them."""
    path = tmp_path / "max_map_count"
    path.write_text(text)
    finding = checkup._maps(path)
    assert finding.status == status
    assert ("sysctl -w vm.max_map_count=" in finding.fix) == (text == "10000")
    assert checkup._maps(tmp_path / "none").status == "warn"


def test_few_files_are_few_connections() -> None:
    """The hard limit counts: a server raises its soft one."""
    assert checkup._files((16, resource.RLIM_INFINITY)).status == "ok"
    assert checkup._files((16, 100_000)).status == "ok"
    few = checkup._files((16, 256))
    assert few.status == "warn"
    assert "LimitNOFILE" in few.fix


def statuses(path: Path) -> dict[str, str]:
    return {finding.name: finding.status for finding in checkup._data_directory(path)}


def test_a_data_directory_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be missing; it may not be a file, open to all, or on a disk that is full or does not write."""
    assert statuses(tmp_path / "a" / "b") == {"data": "ok", "disk": "ok", "fsync": "ok"}
    assert not (tmp_path / "a").exists()
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    (finding,) = checkup._data_directory(open_to_all)
    assert (finding.fatal, finding.fix) == (True, f"chmod 700 {open_to_all}")
    monkeypatch.setattr(checkup.shutil, "disk_usage", lambda path: SimpleNamespace(free=1 << 20))
    assert statuses(tmp_path)["disk"] == "missing"
    monkeypatch.setattr(checkup.shutil, "disk_usage", lambda path: SimpleNamespace(free=500 << 20))
    assert statuses(tmp_path)["disk"] == "warn"

    def refuse(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(checkup.os, "fsync", refuse)
    assert statuses(tmp_path)["fsync"] == "missing"
    monkeypatch.setattr(checkup.os, "access", lambda path, mode: False)
    assert statuses(tmp_path) == {"data": "missing"}


def rust(monkeypatch: pytest.MonkeyPatch, find: Callable[[str], str | None], *targets: str) -> list[Finding]:
    monkeypatch.setattr(checkup, "_said", lambda *command: "rustc 1.90.0")
    monkeypatch.setattr(checkup, "_has_target", lambda target: target in targets)
    return list(checkup._rust(find))


def test_rust_is_for_those_who_write_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it is required; what is missing is named with the command of rustup that adds it."""
    (absent_rust,) = rust(monkeypatch, absent("rustc", "cargo"))
    assert (absent_rust.status, absent_rust.fatal) == ("missing", False)
    assert "sh.rustup.rs" in absent_rust.fix
    found, targets = rust(monkeypatch, absent(), "wasm32-wasip2")
    assert found.text == "rustc 1.90.0"
    assert targets.status == "warn"
    assert targets.fix == "rustup target add wasm32-wasip1 wasm32-unknown-unknown"
    assert rust(monkeypatch, absent())[1].status == "missing"
    assert rust(monkeypatch, absent("rustup"))[1].fix.startswith("curl ")
    assert rust(monkeypatch, absent(), *checkup.TARGETS)[1].status == "ok"
    monkeypatch.setattr(checkup, "_said", lambda *command: None)
    assert next(iter(checkup._rust(absent()))).status == "missing"


def test_an_extra_that_is_not_installed_is_named() -> None:
    """With what does not work without it."""
    finding = checkup._extra("aws", "no_such_module", "this does not work")
    assert (finding.status, finding.required) == ("warn", False)
    assert "this does not work" in finding.text
    assert finding.fix.endswith("pip install 'guesthouse[aws]'")
