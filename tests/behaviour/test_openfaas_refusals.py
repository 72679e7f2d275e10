"""OpenFaaS's interface against requests that should get nothing: passwords, other sites, names, images, documents."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from command_line import guesthouse
from gateway_server import Answer
from served import Served, served
from support import GUESTS

CONFIG = f"""
[openfaas]
images_dir = "{GUESTS}"
"""


@contextmanager
def closed(folder: Path, settings: str = CONFIG, **tokens: str) -> Iterator[tuple[Served, dict[str, str]]]:
    """A server that wants tokens, and these by their names: each has a scope, and perhaps functions behind a space."""
    (folder / "guesthouse.toml").write_text(settings)
    data, made = folder / "data", {}
    for name, rights in {"admin": "all", **tokens}.items():
        scope, _, functions = rights.partition(" ")
        arguments = ("--scope", scope, "--functions", functions or "*", "--data-dir", data, "--quiet")
        made[name] = guesthouse("token", "create", name, *arguments).out.strip()
    with served(data, "--config", folder / "guesthouse.toml") as server:
        yield server, made


def basic(password: str, user: str = "admin") -> dict[str, str]:
    """Basic authentication."""
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def deploy(server: Served, name: str, namespace: str = "default", **headers: str) -> Answer:
    """Deploys `cat` there."""
    document = {"service": name, "namespace": namespace, "image": "cat.wasip1"}
    return server.request("POST", "/system/functions", json.dumps(document).encode(), headers)


def test_the_password_is_a_token_and_the_user_is_nobody(tmp_path: Path) -> None:
    """Any user's name will do, any other password will not, and a token is good for what it is good for."""
    with closed(tmp_path, reader="read", shop="manage shop/*", invoker="invoke") as (server, tokens):
        assert server.request("GET", "/system/functions").status == 401
        for password in ("", "wrong", tokens["admin"] + "x", tokens["admin"][:-1]):
            assert server.request("GET", "/system/functions", headers=basic(password)).status == 401
        for user in ("admin", "", "somebody"):
            assert server.request("GET", "/system/functions", headers=basic(tokens["admin"], user)).status == 200
        assert deploy(server, "cat", **basic(tokens["reader"])).status == 403
        assert deploy(server, "cat", **basic(tokens["shop"])).status == 403
        assert deploy(server, "cat", "shop", **basic(tokens["shop"])).status == 202
        assert server.request("GET", "/system/secrets?namespace=shop", headers=basic(tokens["shop"])).status == 200
        assert server.request("GET", "/system/secrets", headers=basic(tokens["shop"])).status == 403
        names = {
            who: [
                f["name"] for f in server.request("GET", "/system/functions?namespace=shop", headers=basic(token)).json
            ]
            for who, token in tokens.items()
        }
        assert names == {"admin": ["cat"], "reader": ["cat"], "shop": [], "invoker": []}
        listed = server.request("GET", "/system/functions?namespace=shop", headers=basic(tokens["reader"])).json
        assert "envVars" not in listed[0]
        called = server.request("POST", "/function/cat.shop", b"x", basic(tokens["invoker"]))
        assert (called.status, called.body) == (200, b"x")


def test_a_token_for_some_functions_reaches_no_secret_of_others(tmp_path: Path) -> None:
    """It keeps what a function has; to give it more it would have to be for the whole namespace, in either interface."""
    with closed(tmp_path, some="manage shop/a*", all="manage shop/*") as (server, tokens):
        for name in ("mine", "theirs"):
            body = json.dumps({"name": name, "namespace": "shop", "value": name}).encode()
            assert server.request("POST", "/system/secrets", body, basic(tokens["some"])).status == 403
            assert server.request("POST", "/system/secrets", body, basic(tokens["all"])).status == 202

        def give(method: str, token: str, *secrets: str) -> int:
            document = {"service": "a1", "namespace": "shop", "image": "cat.wasip1", "secrets": secrets}
            return server.request(
                method, "/system/functions", json.dumps(document).encode(), basic(tokens[token])
            ).status

        def give_by_ours(token: str, *secrets: str) -> int:
            path = "/functions/manage/shop/a1?" + "&".join(f"secrets={name}" for name in secrets)
            headers = {"authorization": tokens[token], "content-type": "application/wasm"}
            return server.request("PUT", path, (GUESTS / "cat.wasip1.wasm").read_bytes(), headers).status

        assert (give("POST", "some", "mine"), give_by_ours("some", "mine")) == (403, 403)
        assert give("POST", "all", "mine") == 202
        assert (give("PUT", "some", "mine"), give_by_ours("some", "mine")) == (200, 204)
        assert (give("PUT", "some", "mine", "theirs"), give_by_ours("some", "theirs")) == (403, 403)
        assert (give("PUT", "some"), give("PUT", "some", "mine")) == (200, 403)


def test_nobody_deploys_by_its_digest_what_he_may_not_see(tmp_path: Path) -> None:
    """A digest is no password."""
    with closed(tmp_path, shop="manage shop/*", till="manage till/*") as (server, tokens):
        assert deploy(server, "cat", "shop", **basic(tokens["shop"])).status == 202
        digest = server.request("GET", "/functions/manage/shop/cat", headers=basic(tokens["admin"])).json["digest"]
        for namespace, status in (("shop", 202), ("till", 400)):
            document = {"service": "copy", "namespace": namespace, "image": digest}
            body = json.dumps(document).encode()
            assert server.request("POST", "/system/functions", body, basic(tokens[namespace])).status == status


def test_a_page_of_another_site_cannot_use_a_password_that_the_browser_keeps(tmp_path: Path) -> None:
    """Whether it says so by its Origin, or the browser by Sec-Fetch-Site; a bearer token nobody sends by itself."""
    with closed(tmp_path) as (server, tokens):
        address = "{}:{}".format(*server.address)
        for path in ("/system/functions", "/functions/manage"):
            for foreign in (
                {"origin": "https://evil.example"},
                {"origin": "null"},
                {"sec-fetch-site": "cross-site"},
                {"sec-fetch-site": "same-site"},
            ):
                assert server.request("GET", path, headers={**basic(tokens["admin"]), **foreign}).status == 403
                bearer = {"authorization": f"Bearer {tokens['admin']}", **foreign}
                assert server.request("GET", path, headers=bearer).status == 200
            for own in ({"origin": f"http://{address}"}, {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}):
                assert server.request("GET", path, headers={**basic(tokens["admin"]), **own}).status == 200


def test_functions_are_open_to_the_public_only_where_the_configuration_says_so(tmp_path: Path) -> None:
    """Only in OpenFaaS's form; what a caller shows is the function's, unless it is a token of ours."""
    settings = CONFIG.replace("[openfaas]", "[openfaas]\npublic_functions = true")
    with closed(tmp_path, settings, shop="invoke shop/*") as (server, tokens):
        admin = {"authorization": tokens["admin"]}
        document = json.dumps({"service": "env", "image": "env.wasip1"}).encode()
        assert server.request("POST", "/system/functions", document, admin).status == 202
        for shown in ({}, {"authorization": "Bearer"}, {"authorization": "Bearer somebody-else's"}, basic("their own")):
            answer = server.request("POST", "/function/env", headers=shown)
            assert answer.status == 200
            if shown:
                assert f"Http_Authorization={shown['authorization']}" in answer.body.decode()
            assert server.request("POST", "/functions/default/env", headers=shown).status == 401
            assert server.request("GET", "/system/functions", headers=shown).status == 401
        assert server.request("POST", "/async-function/env").status == 202
        back = {"x-callback-url": "http://{}:{}/function/env".format(*server.address)}
        assert server.request("POST", "/async-function/env", headers=back).status == 202
        foreign = {"origin": "https://a-page-of.example"}
        assert server.request("POST", "/function/env", headers={**basic("their own"), **foreign}).status == 200
        assert server.request("POST", "/function/env", headers={**basic(tokens["admin"]), **foreign}).status == 403
        revoked = {"authorization": "gh_" + "A" * 48}
        assert server.request("POST", "/function/env", headers=revoked).status == 401
        assert server.request("POST", "/function/env", headers={"authorization": tokens["shop"]}).status == 403
        mine = server.request("POST", "/function/env", headers=admin)
        assert (mine.status, tokens["admin"] in mine.body.decode()) == (200, False)


def test_strangers_do_not_attach_to_each_others_calls(tmp_path: Path) -> None:
    """A public function tells its callers apart by what they show it, and so does an Idempotency-Key."""
    settings = CONFIG.replace("[openfaas]", "[openfaas]\npublic_functions = true")
    with closed(tmp_path, settings) as (server, tokens):
        document = json.dumps({"service": "env", "image": "env.wasip1"}).encode()
        assert server.request("POST", "/system/functions", document, basic(tokens["admin"])).status == 202
        callers = ({}, {"authorization": "Bearer ada"}, {"authorization": "Bearer bob"}, {"cookie": "session=1"})
        for replayed in ([], ["true"]):
            for shown in callers:
                answer = server.request("POST", "/function/env", headers={"idempotency-key": "1", **shown})
                assert (answer.status, answer.headers.all("idempotency-replayed")) == (200, replayed)
                for value in shown.values():
                    assert value in answer.body.decode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("refusals")
    (folder / "guesthouse.toml").write_text(CONFIG)
    with served(folder / "data", "--config", folder / "guesthouse.toml") as running:
        yield running


DEPLOYMENT = {"service": "f", "image": "cat.wasip1"}


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"service": "../f"}, 404),
        ({"service": "F"}, 404),
        ({"service": ""}, 404),
        ({"service": "f" * 64}, 404),
        ({"service": 7}, 400),
        ({"service": None}, 400),
        ({"namespace": "../x"}, 404),
        ({"namespace": "manage"}, 404),
        ({"image": "../../etc/passwd"}, 400),
        ({"image": "/etc/passwd"}, 400),
        ({"image": "manifest.json"}, 400),
        ({"image": ""}, 400),
        ({"image": ["cat"]}, 400),
        ({"envProcess": "cat 'x"}, 400),
        ({"envProcess": "x " * 300}, 400),
        ({"envProcess": "x\0"}, 400),
        ({"envVars": {"exec_timeout": "soon"}}, 400),
        ({"envVars": {"exec_timeout": "10000000h"}}, 400),
        ({"envVars": {"max_inflight": "-1"}}, 400),
        ({"envVars": {"A=B": "x"}}, 400),
        ({"envVars": {"A": 1}}, 400),
        ({"envVars": {"A": "x" * 70_000}}, 400),
        ({"labels": {"a": None}}, 400),
        ({"labels": {str(i): "x" for i in range(300)}}, 400),
        ({"annotations": {"com.openfaas.retry.attempts": "0"}}, 400),
        ({"annotations": {"com.openfaas.retry.codes": "99"}}, 400),
        ({"annotations": {"topic": "cron-function", "schedule": "at noon"}}, 400),
        ({"annotations": {"guesthouse.grants": "no-such-interface"}}, 400),
        ({"secrets": ["../../etc/passwd"]}, 400),
        ({"secrets": ["not-there"]}, 400),
        ({"limits": {"memory": "lots"}}, 400),
        ({"limits": {"memory": "1"}}, 400),
        ({"limits": "none"}, 400),
    ],
)
def test_a_deployment_that_cannot_be_is_refused_and_leaves_nothing(
    server: Served, change: dict[str, object], status: int
) -> None:
    """With a problem that says what is wrong."""
    body = json.dumps({**DEPLOYMENT, **change}).encode()
    for method in ("POST", "PUT"):
        answer = server.request(method, "/system/functions", body)
        assert answer.status in (status, 404 if method == "PUT" else status), answer.body
        assert answer.json["detail"]
    assert server.request("GET", "/system/functions").json == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "functions"),
        ("PUT", "functions"),
        ("DELETE", "functions"),
        ("POST", "secrets"),
        ("PUT", "secrets"),
        ("DELETE", "secrets"),
        ("POST", "namespace/"),
        ("PUT", "namespace/default"),
        ("POST", "scale-function/f"),
    ],
)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"x"',
        b"\xff\xfe",
        b'{"service":' * 1_000,
        b"[" * 100_000,
        b'{"name": 1, "service": 1}',
    ],
    ids=["empty", "cut", "null", "list", "text", "bytes", "nested", "deep", "typed"],
)
def test_a_document_that_is_none_is_400(server: Served, method: str, path: str, body: bytes) -> None:
    """Whatever is sent instead of it."""
    answer = server.request(method, f"/system/{path}", body)
    if path.startswith("scale") and body == b'{"name": 1, "service": 1}':
        assert answer.status == 404  # nothing of it matters there
    else:
        assert (answer.status, answer.problem) == (400, "bad-request")


def test_a_document_that_is_too_large_is_413(server: Served) -> None:
    """Before it is received."""
    for method, path, size in (
        ("POST", "functions", 1 << 20),
        ("POST", "secrets", 8 << 20),
        ("DELETE", "functions", 1 << 20),
    ):
        with server.connect() as sock:
            head = f"{method} /system/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size + 1}\r\n\r\n"
            sock.sendall(head.encode())
            assert sock.recv(4096).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "a/b", "-a", "a-", "a\n", "ä", "a" * 254])
def test_a_secret_that_could_leave_its_folder_is_refused(server: Served, name: str) -> None:
    """Secrets become files of that name."""
    body = json.dumps({"name": name, "value": "v"}).encode()
    assert server.request("POST", "/system/secrets", body).status == 400
    assert server.request("GET", "/system/secrets").json == []


def test_a_secret_needs_a_value_that_can_be_one(server: Served) -> None:
    """Not an empty one, no broken base64, and not more than a megabyte."""
    for document, status in (
        ({"name": "a"}, 400),
        ({"name": "a", "value": ""}, 400),
        ({"name": "a", "rawValue": "###"}, 400),
        ({"name": "a", "rawValue": base64.b64encode(bytes((1 << 20) + 1)).decode()}, 413),
        ({"name": "a", "rawValue": "A" * (4 << 20)}, 413),
    ):
        assert server.request("POST", "/system/secrets", json.dumps(document).encode()).status == status
    assert server.request("GET", "/system/secrets").json == []


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 404),
        ("?name=../x", 404),
        ("?name=nobody", 404),
        ("?name=nobody&tail=x", 404),
        ("?name=nobody&namespace=../x", 404),
    ],
)
def test_logs_of_what_is_not_there_are_404(server: Served, query: str, status: int) -> None:
    """As for functions."""
    assert server.request("GET", f"/system/logs{query}").status == status


@pytest.mark.parametrize("query", ["tail=x", "tail=1.5", "since=yesterday", "since=2026", f"tail={'9' * 30}"])
def test_words_about_logs_that_cannot_be_are_400(server: Served, query: str) -> None:
    """Silently all of them would be worse."""
    server.deploy("logger")
    assert server.request("GET", f"/system/logs?name=logger&{query}").status == 400
    assert server.request("DELETE", "/functions/manage/default/logger").status == 204


@pytest.mark.parametrize("call_id", ["x" * 129, "ä", "", "a\tb"])
def test_a_call_id_that_cannot_be_passed_on_is_400(server: Served, call_id: str) -> None:
    """It goes into headers and logs."""
    answer = server.request("POST", "/function/nobody", headers={"x-call-id": call_id.encode().decode("latin-1")})
    assert (answer.status, answer.problem) == (400, "bad-request")


@pytest.mark.parametrize("path", ["/ui/", "/ui", "/system/alert", "/system", "/system/functions/", "/system/secret"])
def test_what_is_not_offered_is_404(server: Served, path: str) -> None:
    """As any other path."""
    assert server.request("GET", path).status == 404


def test_methods_that_are_not_offered_are_405(server: Served) -> None:
    """With those that are."""
    answer = server.request("PATCH", "/system/functions")
    assert (answer.status, set(answer.headers["allow"].split(", "))) == (405, {"DELETE", "GET", "HEAD", "POST", "PUT"})
