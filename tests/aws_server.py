"""moto's server as a process of its own on loopback, and what tests put there before a guest looks for it.

Promises: it dies with the test run; each test that asks for `aws_server` finds it empty.  Nothing here knows guests.
"""

from __future__ import annotations

import asyncio
import atexit
import http.client
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from aws_relay import Relay
from guesthouse import Host
from guesthouse.clock import SystemClock
from guesthouse.net.aws import AwsAnswer, AwsClients, AwsConfig, AwsRequest, Credentials
from support import FORMS, guest, host_with

PATIENCE = 60
KEYS = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
"""Keys of AWS's documentation: moto takes any."""
REGION = "us-east-1"
ROLE = "arn:aws:iam::123456789012:role/reader"
EVERY_FORM = (*FORMS, "unknown-unknown")
WHO = {"region": REGION, "keys": [KEYS.access_key_id, KEYS.secret_access_key]}
"""Who the test guests say they are."""
WHO_ROLE = {"region": REGION, "role": ROLE}


def example(host: Host, name: str, request: pytest.FixtureRequest, **environment: str) -> str:
    """Deploys one of the guests that the docs show, with the role that they look for in their environment."""
    form = request.node.callspec.params["aws_host"]
    host.deploy(name, guest(name, form), environment={"ROLE": ROLE, **environment})
    return name


def again(host: Host, name: str, **options: Any) -> Any:
    """Deploys a guest that is there once more, under the name `again`, with other grants or limits."""
    return host.deploy("again", host.inner.registry.wasm(host.inner.deployment(name).digest), **options)


def ask(host: Host, name: str, **order: Any) -> Any:
    """What a test guest answers to an order, which is from `WHO` unless it says otherwise."""
    outcome = host.invoke(name, json.dumps({"who": WHO, **order}).encode()).unwrap()
    assert outcome.status == 200, outcome.text
    return json.loads(outcome.body)


GUESTS = (
    "aws-ddb-calls",
    "aws-lambda-calls",
    "aws-s3-1-0",
    "aws-s3-calls",
    "aws-secrets-calls",
    "old-aws-all",
    "old-aws-ddb-calls",
    "old-aws-lambda-calls",
    "old-aws-s3-calls",
    "old-aws-secrets-calls",
)
IN_ONE_FORM = pytest.mark.parametrize("aws_host", ["wasip2"], indirect=True)
"""For tables of which each form would say the same: what they are about lies behind the canonical ABI."""
WITH_ENVIRONMENT = pytest.mark.parametrize("aws_host", FORMS, indirect=True)
"""The forms in which guests have an environment."""


class PushedClock(SystemClock):
    """The machine's clock, and as much on top as a test wants to have waited."""

    def __init__(self) -> None:
        self.pushed_ns = 0

    def monotonic_ns(self) -> int:
        return SystemClock.monotonic_ns() + self.pushed_ns

    def wait(self, seconds: float) -> None:
        """As if so much time had passed."""
        self.pushed_ns += int(seconds * 1_000_000_000)


class AwsServer:
    """A server process that stands in for all of AWS."""

    def __init__(self) -> None:
        for _ in range(3):  # somebody else may take the port meanwhile
            self.port = _free_port()
            if self._start():
                break
        else:
            raise AssertionError("moto's server does not start")
        atexit.register(self.close)
        self._runner = asyncio.Runner()
        self._clients = AwsClients(self.config)
        self.send("POST", "/moto-api/config", json.dumps({"lambda": {"use_docker": False}}))

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def config(self) -> AwsConfig:
        """What a host needs to know to take it for AWS; the host has credentials of its own."""
        return AwsConfig(KEYS, self.url)

    def reset(self) -> None:
        """Empties it."""
        assert self.send("POST", "/moto-api/reset")[0] == 200

    def send(self, method: str, path: str, body: str | bytes = b"", headers: Any = None) -> tuple[int, bytes]:
        """One HTTP request, and its answer's status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def do(self, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        """Calls an operation as anybody would, for setting up and looking at what came of a test."""

        async def work() -> AwsAnswer:
            answer = await self._clients.call(AwsRequest(service, operation, KEYS, REGION, parameters))
            if answer.body is not None:
                answer.fields["Body"] = b"".join([chunk async for chunk in answer.body])
                answer.body.close()
            return answer

        return self._runner.run(work()).fields

    def close(self) -> None:
        """Ends it; may be called twice."""
        atexit.unregister(self.close)
        self._runner.run(self._clients.close())
        self._runner.close()
        self._process.kill()
        self._process.wait()

    def _start(self) -> bool:
        dies_with_us = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        environment = {**os.environ, "AWS_EC2_METADATA_DISABLED": "true"}
        self._process = subprocess.Popen(
            [*dies_with_us, *command], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self._process.poll() is None:
            try:
                return self.send("GET", "/moto-api/")[0] == 200
            except OSError:
                time.sleep(0.02)
        self._process.kill()
        self._process.wait()
        return False


@pytest.fixture(scope="session")
def aws_process() -> Iterator[AwsServer]:
    """One server for the whole run."""
    if importlib.util.find_spec("moto") is None:
        pytest.skip("moto is not installed: pip install 'moto[server]'")
    server = AwsServer()
    yield server
    server.close()


@pytest.fixture
def aws_server(aws_process: AwsServer) -> AwsServer:
    """A server with nothing in it."""
    aws_process.reset()
    return aws_process


@pytest.fixture(scope="session")
def aws_wire(aws_process: AwsServer) -> Iterator[Relay]:
    """What `aws_host` takes for AWS: it notes what arrives, and answers itself what a test wants it to."""
    with Relay(aws_process.port) as relay:
        yield relay


@pytest.fixture(scope="session", params=EVERY_FORM)
def aws_host(request: pytest.FixtureRequest, aws_wire: Relay) -> Iterator[Host]:
    """A host with every test guest that uses AWS, in one form; what fails is not tried again."""
    config = AwsConfig(KEYS, aws_wire.url, attempts=1)
    with host_with(*GUESTS, form=request.param, aws=config, clock=PushedClock()) as host:
        yield host


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
