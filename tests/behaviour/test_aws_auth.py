"""Who guests are at AWS: keys of their own, roles that the host assumes, and what they are told where neither works."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest

from aws_relay import Relay
from aws_server import KEYS, REGION, ROLE, WHO, WHO_ROLE, again, ask
from guesthouse import AsyncHost, AwsConfig
from guesthouse.errors import BadRequest
from guesthouse.net.aws import NEEDS_EXTRA, NO_OWN_CREDENTIALS
from support import guest, host_with

GUESTS = ("aws-s3-calls", "old-aws-s3-calls")
ORDERS = {
    "aws-ddb-calls": {"do": "get", "table": "t", "key": [["id", "s", "x"]]},
    "aws-lambda-calls": {"function": "f"},
    "aws-s3-1-0": {"do": "get", "bucket": "shelf", "key": "k"},
    "aws-s3-calls": {"do": "get", "bucket": "shelf", "key": "k"},
    "aws-secrets-calls": {"id": "x"},
    "old-aws-ddb-calls": {"do": "get", "table": "t", "key": [["id", "s", "x"]]},
    "old-aws-lambda-calls": {"function": "f"},
    "old-aws-s3-calls": {"do": "get", "bucket": "shelf", "key": "k"},
    "old-aws-secrets-calls": {"id": "x"},
}
GET = ORDERS["aws-s3-calls"]
DENIED = b"""<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>
<Message>not for you</Message></Error></ErrorResponse>"""


@pytest.fixture
def host(aws_host, aws_wire):
    """Guests of one form, and a server behind the wire that answers for itself."""
    aws_wire.clear()
    return aws_host


@pytest.fixture
def relay(aws_wire):
    """What arrives at the server, from now on."""
    aws_wire.clear()
    return aws_wire


@pytest.fixture(autouse=True)
def shelf(aws_server):
    """There is a bucket."""
    aws_server.do("s3", "create_bucket", Bucket="shelf")


def signed_by(request):
    """The access key id, the region and the service that a request was signed for."""
    key, _, region, service, _ = request.headers["authorization"].split("Credential=")[1].split(",")[0].split("/")
    return key, region, service


# -- keys


@pytest.mark.parametrize("name", GUESTS)
def test_a_guests_own_keys_sign_its_requests(host, relay, name):
    """For the region that it said, and nothing else is sent."""
    assert ask(host, name, **GET, who={**WHO, "region": "eu-central-1"})["body"] is None
    assert [signed_by(request) for request in relay.requests] == [(KEYS.access_key_id, "eu-central-1", "s3")]
    assert "x-amz-security-token" not in relay.requests[0].headers


# -- roles


@pytest.mark.parametrize("name", GUESTS)
def test_a_role_is_assumed_once_and_its_credentials_sign(host, relay, name):
    """The host's own keys assume it, in the guest's region; the role's sign the call, with their token."""
    who = {**WHO_ROLE, "region": f"eu-west-{1 + GUESTS.index(name)}", "role": f"{ROLE}-{id(host)}"}
    for _ in range(3):
        assert ask(host, name, **GET, who=who)["body"] is None
    assumed, *calls = relay.requests
    assert signed_by(assumed) == (KEYS.access_key_id, who["region"], "sts")
    assert len(calls) == 3
    for call in calls:
        key, _, service = signed_by(call)
        assert key.startswith("ASIA")
        assert service == "s3"
        assert call.headers["x-amz-security-token"]


@pytest.mark.parametrize("name", GUESTS)
def test_a_role_that_may_not_be_assumed_is_unauthorized(host, relay, name):
    """With AWS's words; the refusal is not kept."""
    role = f"{ROLE}-denied-{id(host)}-{name}"
    relay.answer = lambda request: (403, {"content-type": "text/xml"}, DENIED)
    assert ask(host, name, **GET, who={**WHO_ROLE, "role": role})["refused"] == "AccessDenied: not for you"
    relay.clear()
    assert ask(host, name, **GET, who={**WHO_ROLE, "role": role})["body"] is None


@pytest.mark.parametrize(
    "role", ["", "reader", "arn:aws:iam::1:role/x", "arn:aws:s3:::shelf", ROLE + "\n", ROLE + " x"]
)
def test_a_role_that_cannot_be_is_unauthorized(host, relay, role):
    """Nothing is sent."""
    for name in GUESTS:
        assert "not the ARN of a role" in ask(host, name, **GET, who={**WHO_ROLE, "role": role})["refused"]
    assert relay.requests == []


@pytest.mark.parametrize("name", GUESTS)
def test_a_grant_may_name_roles(host, relay, name):
    """Others are never assumed, also where somebody else's call has just assumed them; own keys need no more than it."""
    assert "refused" not in ask(host, name, **GET, who=WHO_ROLE)
    again(host, name, grants=["aws-auth:arn:aws:iam::123456789012:role/write*", "aws-s3"])
    writer = {**WHO_ROLE, "role": ROLE.replace("reader", "writer")}
    assert "refused" not in ask(host, "again", **GET, who=writer)
    assert "refused" not in ask(host, "again", **GET, who=WHO)
    relay.clear()
    found = ask(host, "again", **GET, who=WHO_ROLE)
    assert found == {"refused": f"this function was not granted aws-auth:{ROLE}"}
    assert relay.requests == []


@pytest.mark.parametrize("grant", ["aws-auth:", "aws-auth:reader", "aws-auth:*", "aws-auth:arn:*:x"])
def test_a_grant_of_roles_that_says_nothing_clear_is_refused_at_deploy(host, grant):
    """It would be believed to restrict something."""
    with pytest.raises(BadRequest, match="aws-auth"):
        host.deploy("granted", guest(GUESTS[0]), grants=[grant, "aws-s3"])


def test_many_guests_at_once_assume_a_role_once(relay):
    """They all wait for the one answer."""

    async def calls() -> list[object]:
        async with AsyncHost(aws=AwsConfig(KEYS, relay.url)) as host:
            await host.deploy("reader", guest(GUESTS[0]))
            body = json.dumps({**GET, "who": WHO_ROLE}).encode()
            outcomes = await asyncio.gather(*(host.invoke("reader", body) for _ in range(20)))
            return [json.loads(outcome.unwrap().body)["body"] for outcome in outcomes]

    assert asyncio.run(calls()) == [None] * 20
    assert [signed_by(request)[2] for request in relay.requests] == ["sts", *["s3"] * 20]


# -- nothing to be anybody with


def test_a_host_without_credentials_says_so(relay):
    """To whoever names a role; own keys work as ever.  Nothing is looked for anywhere else."""
    with host_with(*GUESTS, aws=AwsConfig(None, relay.url)) as host:
        for name in GUESTS:
            assert ask(host, name, **GET, who=WHO_ROLE) == {"refused": NO_OWN_CREDENTIALS}
            assert relay.requests == []
            assert ask(host, name, **GET)["body"] is None
            relay.clear()


def test_credentials_of_the_machine_are_never_used(relay, monkeypatch, tmp_path):
    """Neither variables nor files nor a metadata service: the environment is full of them, and nobody asks."""
    own = tmp_path / "config"
    own.write_text(f"[default]\naws_access_key_id = FILE\naws_secret_access_key = x\nendpoint_url = {relay.url}/file\n")
    with Relay() as metadata:
        metadata.answer = lambda request: (200, {}, b"{}")
        for name, value in {
            "AWS_ACCESS_KEY_ID": "VARIABLE",
            "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_CONFIG_FILE": str(own),
            "AWS_SHARED_CREDENTIALS_FILE": str(own),
            "AWS_PROFILE": "nobody",
            "AWS_ENDPOINT_URL": f"{relay.url}/variable",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.url,
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": metadata.url,
            "AWS_DEFAULT_REGION": "eu-south-2",
            "HTTP_PROXY": metadata.url,
            "http_proxy": metadata.url,
            "AWS_CA_BUNDLE": "/nowhere",
        }.items():
            monkeypatch.setenv(name, value)
        with host_with(GUESTS[0], aws=AwsConfig(None, relay.url)) as host:
            assert ask(host, GUESTS[0], **GET, who=WHO_ROLE) == {"refused": NO_OWN_CREDENTIALS}
            assert ask(host, GUESTS[0], **GET)["body"] is None
        assert metadata.requests == []
    assert [signed_by(request) for request in relay.requests] == [(KEYS.access_key_id, REGION, "s3")]
    assert relay.requests[0].path == "/shelf/k"


def test_a_host_without_the_extra_runs_every_guest_that_imports_aws(monkeypatch):
    """Each deploys, each is told what to install, and none of them traps."""
    for module in list(sys.modules):
        if module.startswith(("aiobotocore", "guesthouse.net.aws_session", "guesthouse.net.aws_http")):
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "aiobotocore", None)
    with host_with(*ORDERS) as host:
        for name, order in ORDERS.items():
            for who in (WHO, WHO_ROLE):
                assert ask(host, name, **order, who=who) == {"refused": NEEDS_EXTRA}
