"""OpenFaaS's tools against a real server: every exchange that the documentation has, and what its certifier wants."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from command_line import guesthouse
from gateway_server import Answer
from harness import until
from openfaas_client import exchanges, send
from served import Served, served
from support import GUESTS

CONFIG = f"""
[openfaas]
images_dir = "{GUESTS}"
[images]
"functions/alpine" = "{GUESTS / "toolbox.wasip1.wasm"}"
"tagged:1" = "{GUESTS / "cat.wasip1.wasm"}"
"broken" = "{GUESTS / "manifest.json"}"
"""


class Faas(Served):
    """The provider interface, as its tools use it."""

    def ask(self, method: str, path: str, document: Any = None) -> Answer:
        """A request of the provider interface."""
        body = None if document is None else json.dumps(document).encode()
        return self.request(method, f"/system/{path}", body)

    def install(self, service: str, image: str, **more: Any) -> None:
        """Deploys a function that is not there yet."""
        answer = self.ask("POST", "functions", {"service": service, "image": image, **more})
        assert answer.status == 202, answer.body

    def function(self, name: str, body: bytes = b"", method: str = "POST", **headers: str) -> Answer:
        """Calls a function."""
        return self.request(method, f"/function/{name}", body, {k.replace("_", "-"): v for k, v in headers.items()})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faas]:
    folder = tmp_path_factory.mktemp("openfaas")
    (folder / "guesthouse.toml").write_text(CONFIG)
    with served(folder / "data", "--config", folder / "guesthouse.toml") as running:
        yield Faas(running.process, {"url": running.url, "data_dir": running.data_dir})


def test_every_exchange_of_the_documentation_is_as_it_says(tmp_path: Path) -> None:
    """A whole session of the command line, sent byte by byte to a server that wants its token, is answered as told."""
    open_to_all = CONFIG.replace("[openfaas]\n", "[openfaas]\npublic_functions = true\n")
    (tmp_path / "guesthouse.toml").write_text(open_to_all)
    data = tmp_path / "data"
    made = guesthouse("token", "create", "faas-cli", "--scope", "all", "--data-dir", data, "--quiet")
    token = made.out.strip()
    with served(data, "--config", tmp_path / "guesthouse.toml") as server:
        address = "{}:{}".format(*server.address)
        seen = 0
        for exchange in exchanges():
            answer = send(server, exchange.bytes(address, token))
            exchange.check(answer)
            seen += 1
            if "--async" in exchange.title:
                path = f"/invocations/{answer.headers['x-call-id']}/attach?timeout=30"
                assert server.request("GET", path, headers={"authorization": token}).status == 200
    assert seen == 22


def test_the_certifiers_pipeline(server: Faas) -> None:
    """Deploy, list, call, describe, remove: what every provider has to do."""
    server.install("pipeline", "functions/alpine:latest", envProcess="sha512sum", network="func_functions")
    assert "pipeline" in [found["name"] for found in server.ask("GET", "functions").json]
    digest = hashlib.sha512(b"test").hexdigest()
    assert server.function("pipeline", b"test").body.decode().split()[0] == digest
    described = server.ask("GET", "function/pipeline?usage=1").json
    assert (described["envProcess"], described["availableReplicas"]) == ("sha512sum", 1)
    assert server.ask("DELETE", "functions", {"functionName": "pipeline"}).status == 202
    assert server.ask("GET", "function/pipeline").status == 404
    assert server.ask("DELETE", "functions", {"functionName": "pipeline"}).status == 404


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_a_function_is_told_of_its_request(server: Faas, method: str) -> None:
    """Method, query, path and headers are in the environment of a command, with the variables of its deployment."""
    name = f"env-{method.lower()}"
    server.install(name, "env.wasip1", envVars={"custom_env": "custom value"})
    answer = server.function(f"{name}/a/b?q=1&r=2", method=method, X_Custom="here")
    found = dict(line.split("=", 1) for line in answer.body.decode().splitlines())
    assert (found["Http_Method"], found["Http_Query"], found["Http_X_Custom"]) == (method, "q=1&r=2", "here")
    assert found["Http_Path"] == "/a/b"
    assert found["custom_env"] == "custom value"
    assert found["Http_X_Call_Id"] == answer.headers["x-call-id"]
    assert found["Http_X_Start_Time"] == answer.headers["x-start-time"]


def test_head_is_answered_without_a_body(server: Faas) -> None:
    """As a GET, but for the body."""
    server.install("head", "functions/alpine", envProcess="env")
    answer = server.function("head", method="HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["content-length"]) > 0


def test_a_call_has_an_id_and_times(server: Faas) -> None:
    """A caller's own id stays; otherwise each call has another one; times are UTC, and seconds."""
    server.install("stamped", "functions/alpine", envProcess="cat")
    before = time.time_ns()
    answers = [server.function("stamped", b"x") for _ in range(2)]
    assert answers[0].headers["x-call-id"] != answers[1].headers["x-call-id"]
    assert answers[0].headers["x-call-id"] == answers[0].headers["x-invocation-id"]
    assert before <= int(answers[0].headers["x-start-time"]) <= time.time_ns()
    assert 0 < float(answers[0].headers["x-duration-seconds"]) < 30
    assert len(answers[0].headers["x-duration-seconds"].partition(".")[2]) == 6
    own = server.function("stamped", b"x", X_Call_Id="order-7", X_Start_Time="1", X_Duration_Seconds="9")
    assert own.headers["x-call-id"] == "order-7"
    assert int(own.headers["x-start-time"]) > before
    missing = server.function("nowhere", b"x", X_Call_Id="order-8")
    assert (missing.status, missing.headers["x-call-id"]) == (404, "order-8")


def test_an_answer_of_any_status_is_passed_on(server: Faas) -> None:
    """A redirect is the caller's to follow."""
    server.install("redirect", "redirect.wasip1", envVars={"destination": "http://example.com/"})
    answer = server.function("redirect")
    assert (answer.status, answer.headers["location"]) == (302, "http://example.com/")
    counted = {("redirect.default", "302"): 1.0}
    assert figures(server, "gateway_function_invocation_total", "function_name", "code").items() >= counted.items()


def test_a_namespace_follows_the_name(server: Faas) -> None:
    """Its own one is also called `openfaas-fn`, and may be left out."""
    server.install("where", "functions/alpine", envProcess="cat", namespace="openfaas-fn")
    server.install("where", "functions/alpine", envProcess="env", namespace="dev")
    for name in ("where", "where.default", "where.openfaas-fn"):
        assert server.function(name, b"mine").body == b"mine"
    assert b"Http_Method=POST" in server.function("where.dev", b"mine").body
    assert server.function("where.nowhere").status == 404
    assert [found["name"] for found in server.ask("GET", "functions?namespace=dev").json] == ["where"]
    assert server.ask("GET", "function/where?namespace=dev").json["envProcess"] == "env"
    assert server.ask("GET", "function/where.dev").json["envProcess"] == "env"
    assert "dev" in server.ask("GET", "namespaces").json
    removed = server.ask("DELETE", "functions", {"functionName": "where", "namespace": "dev"})
    assert (removed.status, server.function("where.dev").status) == (202, 404)
    assert server.function("where", b"mine").body == b"mine"


def test_secrets_are_files_of_functions_that_ask_for_them(server: Faas) -> None:
    """Text and bytes; a new value holds from the next call on; another function does not see it."""
    for document, value in (
        ({"name": "secret-string", "value": "the-value"}, b"the-value"),
        ({"name": "secret-bytes", "value": "not this", "rawValue": "AAH/"}, b"\0\1\xff"),
    ):
        name = str(document["name"])
        assert server.ask("POST", "secrets", document).status == 202
        process = f"cat /var/openfaas/secrets/{name}"
        server.install(name, "functions/alpine", envProcess=process, secrets=[name])
        assert server.function(name).body == value
        server.install(f"no-{name}", "functions/alpine", envProcess=process)
        assert server.function(f"no-{name}").status != 200
        assert server.ask("PUT", "secrets", {"name": name, "value": "new"}).status == 202
        assert server.function(name).body == b"new"
        assert {"name": name, "namespace": "default"} in server.ask("GET", "secrets").json
        assert server.ask("DELETE", "secrets", {"name": name}).status == 202
        assert server.ask("DELETE", "secrets", {"name": name}).status == 404
        assert server.ask("PUT", "secrets", {"name": name, "value": "new"}).status == 404


def test_a_secret_is_made_once_and_belongs_to_its_namespace(server: Faas) -> None:
    """409 is how the client knows that it has to update."""
    for namespace in ("dev", "openfaas-fn"):
        assert server.ask("POST", "secrets", {"name": "twice", "value": "a", "namespace": namespace}).status == 202
        assert server.ask("POST", "secrets", {"name": "twice", "value": "a", "namespace": namespace}).status == 409
    assert server.ask("GET", "secrets?namespace=dev").json == [{"name": "twice", "namespace": "dev"}]


def test_a_deploy_and_an_update_are_two_things(server: Faas) -> None:
    """Update wants the function to be there, deploy wants it not to be."""
    document = {"service": "twice", "image": "functions/alpine", "envProcess": "cat"}
    assert server.ask("PUT", "functions", document).status == 404
    assert server.ask("POST", "functions", document).status == 202
    refused = server.ask("POST", "functions", document)
    assert (refused.status, refused.problem) == (409, "exists")
    assert server.ask("PUT", "functions", {**document, "envProcess": "env"}).status == 200
    assert b"Http_Method" in server.function("twice").body


def test_the_words_of_a_deployment_are_understood(server: Faas) -> None:
    """Timeouts, retries, inflight, memory: shown by our own interface in our own words."""
    server.install(
        "words",
        "functions/alpine",
        envProcess="cat 'a b' c",
        envVars={"exec_timeout": "1m30s", "write_timeout": "5", "max_inflight": "3"},
        labels=None,
        annotations={
            "com.openfaas.retry.attempts": "7",
            "com.openfaas.retry.codes": "429, 503",
            "com.openfaas.retry.min_wait": "500ms",
            "com.openfaas.retry.max_wait": "2m",
        },
        limits={"memory": "32Mi", "cpu": "100m"},
        requests={"memory": "16Mi"},
        constraints=["node.role == worker"],
        readOnlyRootFilesystem=True,
        somethingElse=1,
    )
    shown = server.request("GET", "/functions/manage/default/words").json
    assert shown["limits"] == {"deadline_ms": 90_000, "memory_bytes": 32 << 20}
    assert shown["arguments"] == ["cat", "a b", "c"]
    assert shown["flow"]["max_inflight"] == 3
    wanted = {"attempts": 7, "statuses": [429, 503], "min_wait_ms": 500, "max_wait_ms": 120_000}
    assert wanted.items() <= shown["retry"].items()
    described = server.ask("GET", "function/words").json
    assert described["limits"] == {"memory": "32Mi"}
    assert (described["labels"], described["image"]) == ({}, "functions/alpine")
    assert described["envProcess"] == "cat 'a b' c"


def test_an_image_is_an_alias_a_file_or_a_digest(server: Faas) -> None:
    """With a tag or without, and by the digest of what was deployed before."""
    for index, image in enumerate(("functions/alpine:3", "cat.wasip1:latest", "cat.wasip1.wasm", "tagged:1")):
        server.install(f"image-{index}", image, envProcess="cat")
        assert server.function(f"image-{index}", b"x").body == b"x"
    digest = server.request("GET", "/functions/manage/default/image-0").json["digest"]
    for index, image in enumerate((digest, f"registry.example:5000/a/b@{digest}")):
        server.install(f"by-digest-{index}", image, envProcess="cat")
        assert server.function(f"by-digest-{index}", b"x").body == b"x"
    for image in ("tagged", "tagged:2", "sha256:" + 64 * "0"):
        assert server.ask("POST", "functions", {"service": "none", "image": image}).status == 400


def test_logs_are_lines_of_json(server: Faas) -> None:
    """The newest lines, with names, instance and time; from a time on, and of one instance."""
    server.deploy("logger")
    first = server.request("POST", "/function/logger", b"one").headers["x-invocation-id"]
    middle = datetime.now(UTC)
    server.request("POST", "/function/logger", b"two")
    everything = [
        json.loads(line) for line in server.ask("GET", "logs?name=logger&follow=false&tail=-1").body.splitlines()
    ]
    assert {found["name"] for found in everything} == {"logger"}
    assert {found["namespace"] for found in everything} == {"default"}
    assert len({found["instance"] for found in everything}) == 2
    assert set(everything[0]) == {"name", "namespace", "instance", "timestamp", "text"}
    assert datetime.fromisoformat(everything[0]["timestamp"]) <= middle
    last = server.ask("GET", "logs?name=logger&tail=1").body.splitlines()
    assert [json.loads(line) for line in last] == everything[-1:]
    since = middle.isoformat().replace("+00:00", "Z")
    later = server.ask("GET", f"logs?name=logger&since={since}&namespace=openfaas-fn").body.splitlines()
    assert {json.loads(line)["instance"] for line in later} == {found["instance"] for found in everything} - {first}
    one = server.ask("GET", f"logs?name=logger&instance={first}").body.splitlines()
    assert {json.loads(line)["instance"] for line in one} == {first}


def test_logs_are_followed(server: Faas) -> None:
    """As `faas-cli logs` does unless told otherwise."""
    server.deploy("followed", (GUESTS / "logger.wasip1.wasm").read_bytes())
    with closing(server.connection()) as connection:
        connection.request("GET", "/system/logs?follow=true&name=followed&tail=-1")
        response = connection.getresponse()
        assert response.getheader("content-type") == "application/x-ndjson"
        server.counted("log_followers", 1)
        server.request("POST", "/function/followed", b"x")
        line = response.readline().strip() or response.readline()
        assert json.loads(line)["name"] == "followed"


def test_namespaces_are_made_described_and_deleted(server: Faas) -> None:
    """One with something in it stays, and so does the host's own."""
    made = {"name": "staging", "labels": {"openfaas": "1"}, "annotations": {"openfaas": "1"}}
    assert server.ask("POST", "namespace/", made).status == 201
    assert server.ask("POST", "namespace/", made).status == 409
    assert server.ask("GET", "namespace/staging").json == made
    assert server.ask("PUT", "namespace/staging", {"name": "staging", "labels": {"team": "a"}}).status == 202
    assert server.ask("GET", "namespace/staging").json["labels"] == {"team": "a"}
    assert server.ask("PUT", "namespace/staging", {"name": "other"}).status == 400
    assert "staging" in server.ask("GET", "namespaces").json
    server.install("inside", "functions/alpine", namespace="staging", envProcess="cat")
    assert server.ask("DELETE", "namespace/staging").status == 409
    assert server.ask("DELETE", "functions", {"functionName": "inside", "namespace": "staging"}).status == 202
    assert server.ask("DELETE", "namespace/staging").status == 202
    for method in ("GET", "DELETE"):
        assert server.ask(method, "namespace/staging").status == 404
    assert server.ask("DELETE", "namespace/default").status == 409


def figures(server: Served, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """The samples of a metric by the values of their labels."""
    return {
        tuple(sample.labels[label] for label in labels): sample.value
        for family in server.families().values()
        for sample in family.samples
        if sample.name == name
    }


def test_metrics_have_openfaas_names(server: Faas) -> None:
    """Counts, durations and replicas of functions, and the requests of the provider interface."""
    server.install("counted", "functions/alpine", envProcess="sha512sum")
    for _ in range(3):
        assert server.function("counted", b"x").status == 200
    server.install("failing", "functions/alpine", envProcess="no-such-command")
    assert server.function("failing").status == 500
    ended = figures(server, "gateway_function_invocation_total", "function_name", "code")
    assert ended["counted.default", "200"] == 3
    assert ended["failing.default", "500"] == 1
    assert figures(server, "gateway_functions_seconds_count", "function_name")["counted.default",] == 3
    assert figures(server, "gateway_function_invocation_started", "function_name")["counted.default",] == 3
    assert figures(server, "gateway_service_count", "function_name")["counted.default",] == 1
    requests = figures(server, "http_requests_total", "method", "path", "status")
    assert requests["POST", "/system/functions", "202"] >= 2
    seconds = figures(server, "http_request_duration_seconds_count", "method", "path", "status")
    assert seconds == requests
    assert server.ask("GET", "function/counted").json["invocationCount"] == 3


def test_calls_at_once_are_bounded_by_the_environment(server: Faas) -> None:
    """More than `max_inflight` are refused with 429, as they are by OpenFaaS's watchdog; one that streams is one of them."""
    server.install("narrow", "ticker.wasip1", envVars={"max_inflight": "1"})
    with closing(server.connection()) as first:
        first.request("POST", "/function/narrow?events=100000&every_ms=100", headers={"x-call-id": "ticks"})
        response = first.getresponse()
        assert (response.getheader("x-call-id"), response.readline()) == ("ticks", b"data: tick\n")
        assert server.function("narrow").status == 429
        assert figures(server, "gateway_function_invocation_started", "function_name")["narrow.default",] >= 1
    until(lambda: server.function("narrow").status == 200, "the first call did not end with its client")


def test_scaling_is_noted_and_changes_nothing(server: Faas) -> None:
    """A function has one replica, whatever is wished for."""
    server.install("scaled", "functions/alpine", envProcess="cat")
    for document in ({"serviceName": "scaled", "replicas": 0}, {"service": "scaled", "replicas": 5}):
        assert server.ask("POST", "scale-function/scaled", document).status == 202
        assert server.ask("GET", "function/scaled").json["replicas"] == 1
    assert server.function("scaled", b"x").body == b"x"
    assert server.ask("POST", "scale-function/nowhere", {"replicas": 1}).status == 404


def test_secrets_by_our_own_command(server: Faas, tmp_path: Path) -> None:
    """Set from standard input or a file, listed by name, deleted; never shown."""
    assert server("secret", "set", "by-us", data=b"bytes\0\xff").out.strip() == "made default/by-us"
    server.install("by-us", "functions/alpine", envProcess="cat /var/openfaas/secrets/by-us", secrets=["by-us"])
    assert server.function("by-us").body == b"bytes\0\xff"
    (tmp_path / "value").write_bytes(b"from a file")
    assert server("secret", "set", "by-us", "--file", tmp_path / "value").out.strip() == "changed default/by-us"
    assert server.function("by-us").body == b"from a file"
    assert "by-us" in server("secret", "ls", "--json").json
    assert server("secret", "ls", "--namespace", "empty").out == ""
    assert server("secret", "rm", "by-us").out.strip() == "deleted default/by-us"
    assert server("secret", "rm", "by-us").status == 1
    assert server("secret", "set", "by-us", data=b"").status == 1
