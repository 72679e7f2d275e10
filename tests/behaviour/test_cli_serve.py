"""The command line around a server: serving, its configuration, its tokens."""

from __future__ import annotations

from http.client import HTTPConnection

import pytest

from command_line import built, guesthouse, serve, server


def test_a_token_closes_a_running_server_to_everybody_without_one(tmp_path):
    """It is made beside the server, shown once, listed without its secret, and good for what its scope says."""
    with server(tmp_path / "data") as running:
        assert running("deploy", built("echo")).status == 0
        where = ("--data-dir", running.data_dir)
        made = guesthouse("token", "create", "reader", "--scope", "read", "--expires", "1h", "--json", *where).json
        listed = guesthouse("token", "ls", *where).out
        assert made["id"] in listed
        assert made["token"] not in listed
        while running("ls").status == 0:  # the server looks for a first token now and then
            pass
        assert running("ls", TOKEN=made["token"]).status == 0
        refused = running("rm", "echo", TOKEN=made["token"])
        assert (refused.status, "scope" in refused.err) == (1, True)
        wrong = running("ls", TOKEN="gh_wrong")
        assert (wrong.status, "GUESTHOUSE_TOKEN" in wrong.err) == (1, True)
        assert guesthouse("token", "revoke", made["id"], *where).out == f"revoked {made['id']}\n"
        assert guesthouse("token", "revoke", made["id"], *where).status == 1


def test_what_is_wrong_with_a_token_is_a_usage_error(tmp_path):
    """A scope is needed, and a time is a number with a unit."""
    where = ("--data-dir", tmp_path)
    assert guesthouse("token", "create", "x", *where).status == 2
    assert guesthouse("token", "create", "x", "--scope", "all", "--expires", "soon", *where).status == 2
    assert guesthouse("token", "create", "x", "--scope", "all", "--functions", "a/b/c", *where).status == 1


def test_a_plain_token_is_all_that_create_prints(tmp_path):
    """So that a shell can put it into a variable."""
    said = guesthouse("token", "create", "me", "--scope", "all", "--data-dir", tmp_path)
    assert said.out.startswith("gh_")
    assert len(said.out.split()) == 1
    assert "token revoke" in said.err


def test_sigterm_ends_the_server_with_status_0_and_its_functions_stay(tmp_path):
    """The next server on the same directory has them."""
    with server(tmp_path / "data") as running:
        assert running("deploy", built("echo")).status == 0
        assert running.stop() == 0
    with server(tmp_path / "data") as running:
        assert running("invoke", "echo", "-d", "still here").out == "still here"


def test_two_servers_cannot_share_a_data_directory_or_a_port(tmp_path):
    """The second one says who has it, and fails."""
    with server(tmp_path / "data") as running:
        with serve("--data-dir", tmp_path / "data") as second:
            _, err = second.communicate(timeout=30)
        assert second.returncode == 1
        assert f"in use by process {running.process.pid}" in err
        port = running.url.rpartition(":")[2]
        with serve("--data-dir", tmp_path / "other", "--port", port) as third:
            _, err = third.communicate(timeout=30)
        assert third.returncode == 1
        assert "--port" in err


def test_a_server_without_tokens_listens_on_this_machine_only(tmp_path):
    """Any other address is refused, with the way out."""
    with serve("--data-dir", tmp_path / "data", "--host", "0.0.0.0") as process:
        _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "guesthouse token create" in err


@pytest.mark.parametrize(
    ("text", "found"), [("speed = 1", "speed: there is no such setting"), ("[listen\n", "guesthouse.toml")]
)
def test_a_mistake_in_the_configuration_is_one_line_and_exit_status_2(tmp_path, text, found):
    """It names the place."""
    config = tmp_path / "guesthouse.toml"
    config.write_text(text)
    said = guesthouse("serve", "--config", config)
    assert said.status == 2
    assert found in said.err
    assert said.err.count("\n") == 1


def test_the_servers_metrics_and_health_are_there(tmp_path):
    """What composition has to wire up: logs, metrics and readiness of the host that answers."""
    with server(tmp_path / "data") as running:
        running("deploy", built("echo"))
        running("invoke", "echo")
        connection = HTTPConnection(running.url.removeprefix("http://"))
        answers = {}
        for path in ("/readyz", "/metrics"):
            connection.request("GET", path)
            answers[path] = connection.getresponse().read().decode()
        connection.close()
    assert answers["/readyz"] == "ready\n"
    assert 'guesthouse_invocations_total{function="default/echo",mode="web",outcome="ok"} 1.0' in answers["/metrics"]
