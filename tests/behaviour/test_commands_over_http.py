"""Commands as HTTP clients and the command line see them: what arrives, what leaves, deployed and called as any function."""

from __future__ import annotations

import base64
import json
from urllib.parse import urlencode

import pytest

from command_line import built, guesthouse
from gateway_server import read_all, send
from hosted import PATIENCE, Hosted
from support import FORMS, guest

WASM = {"content-type": "application/wasm"}


@pytest.fixture(scope="module", params=FORMS)
def form(request):
    return request.param


@pytest.fixture(scope="module")
def server(form):
    with Hosted() as server:
        for name in ("cat", "env", "command-calls"):
            assert deploy(server, name, name, form).status == 204
        yield server


def deploy(server, name, of, form, *query):
    return server.request("PUT", f"/functions/manage/default/{name}?{urlencode(query)}", guest(of, form), WASM)


def invoke(server, path, body=b"", method="POST", **headers):
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.request(method, f"/functions/default/{path}", body, names)


def variables(answer):
    assert answer.status == 200
    return dict(line.split("=", 1) for line in answer.body.decode().splitlines())


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_every_method_reaches_a_command(server, method):
    """Its name is a variable; what was asked for, too."""
    found = variables(invoke(server, "env/a%20b/c?testing=1&x=%26", method=method, x_call_id="7"))
    expected = {"Http_Method": method, "Http_Path": "/a b/c", "Http_Query": "testing=1&x=%26", "Http_X_Call_Id": "7"}
    assert {name: found[name] for name in expected} == expected


def test_a_head_request_has_the_head_of_the_answer(server):
    """The command runs as for any other method."""
    answer = invoke(server, "env", method="HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["content-length"]) > 100


def test_headers_arrive_as_bytes_that_need_not_be_utf_8(server):
    """What is neither is read as Latin-1; the environment itself is always UTF-8."""
    with server.connect() as sock:
        head = b"GET /functions/default/env HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
        send(sock, head + b"x-utf: \xc3\xa4\r\nx-latin: \xe4\r\nx_under: 1\r\npath: /forged\r\n\r\n")
        said = read_all(sock).decode()
    assert "Http_X_Utf=ä\n" in said
    assert "Http_X_Latin=ä\n" in said
    assert "forged" not in said
    assert "under" not in said


def test_the_token_is_not_in_the_environment(tmp_path, form):
    """A command may print its environment."""
    with Hosted(data_dir=tmp_path) as other:
        deploy(other, "env", "env", form)
    made = guesthouse("token", "create", "test", "--scope", "invoke", "--json", "--data-dir", tmp_path)
    token = made.json["token"]
    with Hosted(data_dir=tmp_path) as other:
        assert invoke(other, "env").status == 401
        for shown in ({"authorization": f"Bearer {token}"}, {"authorization": token}):
            found = invoke(other, "env", **shown)
            assert "Http_Authorization" not in variables(found)
            assert token not in found.body.decode()
        found = invoke(other, f"env?a=1&token={token}")
        assert variables(found)["Http_Query"] == "a=1"


def test_a_large_upload_is_there_before_the_command_begins(server):
    """Its length is known, though nobody announced it; it holds no instance while it arrives."""
    pieces = [bytes([number % 256]) * 65_536 for number in range(64)]
    with server.connect() as sock:
        sock.settimeout(PATIENCE)
        head = b"POST /functions/default/cat HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
        send(sock, head + b"transfer-encoding: chunked\r\n\r\n")
        for piece in pieces:
            send(sock, b"%x\r\n%b\r\n" % (len(piece), piece))
        assert server.host.dispatcher.pool.in_use == 0
        send(sock, b"0\r\n\r\n")
        answer = read_all(sock)
    assert answer.endswith(b"".join(pieces))
    assert invoke(server, "cat", b"".join(pieces)).body == b"".join(pieces)


def test_a_body_over_the_bound_is_refused(server, form):
    """Announced or not."""
    deploy(server, "small", "cat", form, ("limits", "request_bytes=10"))
    assert invoke(server, "small", b"x" * 11).status == 413
    assert invoke(server, "small", iter([b"x" * 6] * 2)).status == 413
    assert invoke(server, "small", b"x" * 10).status == 200


def test_a_failure_is_a_problem_that_names_the_exit_status(server, form):
    """Nothing that the command has written is in it; all of it is in the log."""
    words = [("arguments", word) for word in ("c", "exit", "3")]
    assert deploy(server, "failing", "command-calls", form, *words).status == 204
    answer = invoke(server, "failing")
    problem = json.loads(answer.body)
    code = 3 if form == "wasip1" else 1
    assert (answer.status, answer.headers["content-type"]) == (500, "application/problem+json")
    assert problem["type"] == "urn:guesthouse:problem:command-failed"
    assert problem["detail"] == f"The command ended with exit status {code}; its log says why."
    assert b"written before" not in answer.body
    lines = server.request("GET", "/functions/manage/default/failing/logs").body.splitlines()
    assert [json.loads(line)["text"] for line in lines] == [
        "written before",
        f"the command ended with exit status {code}",
    ]


def test_json_and_query_deploy_arguments_and_secrets(server, form):
    """The one in order, the other if they exist; both are told of the function."""
    server.run(lambda host: host.secrets.put("default", "key", b"secret!"))
    path = "/var/openfaas/secrets/key"
    manifest = {"arguments": ["cat", path, "-"], "secrets": ["key"]}
    wasm = base64.b64encode(guest("cat", form)).decode()
    document = json.dumps({"inline_wasm": wasm, **manifest}).encode()
    put = "/functions/manage/default/show"
    assert server.request("PUT", put, document, {"content-type": "application/json"}).status == 204
    assert invoke(server, "show", b" and a body").body == b"secret! and a body"
    query = [("arguments", "cat"), ("arguments", path), ("arguments", "-"), ("secrets", "key")]
    assert deploy(server, "show", "cat", form, *query).status == 204
    assert invoke(server, "show").body == b"secret!"
    told = json.loads(server.request("GET", put).body)
    assert {name: told[name] for name in (*manifest, "kind")} == {**manifest, "kind": "command"}
    refused = deploy(server, "show", "cat", form, ("secrets", "nobody"))
    assert refused.status == 400
    assert "there is no secret 'nobody' in default" in json.loads(refused.body)["detail"]


def test_a_queued_call_of_a_command_is_tried_again_when_it_fails(server, form):
    """Its exit status is the reason; one that succeeds keeps its answer."""
    words = ["c", "exit", "3"]

    async def queue(host):
        wasm = guest("command-calls", form)
        await host.deploy("poison", wasm, arguments=words, retry={"attempts": 2, "min_wait_ms": 1})
        failed = await host.attach(await host.enqueue("poison", b""), PATIENCE)
        done = await host.enqueue("cat", b"queued")
        await host.attach(done, PATIENCE)
        return failed, await host.output(done)

    failed, output = server.run(queue)
    assert (failed.state, failed.result, failed.attempts) == ("dead", "failed", 2)
    assert f"exit status {3 if form == 'wasip1' else 1}" in failed.reason
    assert (output.status, output.body) == (200, b"queued")


def test_the_command_line_knows_commands(tmp_path, form):
    """`inspect` says what it is; `run` gives it arguments, standard input and secrets."""
    assert "a command" in guesthouse("inspect", built("cat", form)).out
    assert guesthouse("inspect", built("cat", form), "--json").json["kind"] == "command"
    secret = tmp_path / "key.txt"
    secret.write_bytes(b"\0secret")
    path = "/var/openfaas/secrets/key"
    arguments = ("--arg", "cat", "--arg", path, "--arg", "-", "--secret", f"key=@{secret}", "-d", "body")
    said = guesthouse("run", built("cat", form), *arguments)
    assert (said.status, said.body) == (0, b"\0secretbody")
    failed = guesthouse("run", built("toolbox", form), "--json")
    assert (failed.status, failed.json["error"]["type"]) == (1, "command-failed")


def test_a_command_is_deployed_and_invoked_from_the_command_line(server, form, tmp_path):
    """With arguments and secrets, as options or in a manifest."""
    server.run(lambda host: host.secrets.put("default", "key", b"secret!"))
    url = {"URL": f"http://127.0.0.1:{server.port}"}
    path = "/var/openfaas/secrets/key"
    options = ("--arg", "cat", "--arg", path, "--secret", "key")
    said = guesthouse("deploy", built("toolbox", form), "--name", "shown", *options, **url)
    assert said.status == 0, said.err
    assert "(command, " in said.out
    assert "/functions/default/shown" in said.out
    assert guesthouse("invoke", "shown", **url).body == b"secret!"
    manifest = tmp_path / "shown.toml"
    manifest.write_text(f'arguments = ["cat", "{path}", "-"]\nsecrets = ["key"]\n')
    said = guesthouse("deploy", built("toolbox", form), "--name", "shown", "--manifest", manifest, **url)
    assert said.status == 0, said.err
    assert guesthouse("invoke", "shown", "-d", "!", **url).body == b"secret!!"


def test_a_command_is_one_after_a_restart_too(tmp_path, form):
    """Its kind, arguments and secrets are stored."""
    with Hosted(data_dir=tmp_path) as first:
        first.run(lambda host: host.secrets.put("default", "key", b"kept"))
        words = [("arguments", "cat"), ("arguments", "/var/openfaas/secrets/key"), ("secrets", "key")]
        assert deploy(first, "show", "cat", form, *words).status == 204
    with Hosted(data_dir=tmp_path) as second:
        assert invoke(second, "show").body == b"kept"
