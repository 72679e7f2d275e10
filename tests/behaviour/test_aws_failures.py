"""What guests are told when AWS does not do what was asked: throttled, refused, slow, broken off.  In every form."""

from __future__ import annotations

import json
import threading

import pytest

from aws_server import IN_ONE_FORM, WHO, again, ask
from guesthouse.errors import DeadlineExceeded

S3 = ("aws-s3-calls", "aws-s3-1-0", "old-aws-s3-calls")
DYNAMO = ("aws-ddb-calls", "old-aws-ddb-calls")
SECRETS = ("aws-secrets-calls", "old-aws-secrets-calls")
GET = {"do": "get", "bucket": "shelf", "key": "k"}
PUT = {"do": "put", "bucket": "shelf", "key": "k", "body": "x"}
ITEM = {"do": "get", "table": "t", "key": [["id", "s", "x"]]}
PUT_ITEM = {"do": "put", "table": "t", "item": {"id": {"S": "x"}}}


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


def s3_error(status, code, message="because"):
    """An error as S3 words it."""
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
    return lambda request: (status, {"content-type": "application/xml"}, body)


def json_error(status, code, message="because"):
    """An error as the services with JSON word it."""
    body = json.dumps({"__type": f"com.amazonaws#{code}", "message": message}).encode()
    return lambda request: (status, {"content-type": "application/x-amz-json-1.0"}, body)


# -- S3


@pytest.mark.parametrize("name", S3)
@pytest.mark.parametrize("order", [GET, PUT], ids=["get", "put"])
def test_slow_down_is_throttled_where_the_interface_knows_it(host, relay, name, order):
    """In `momento:aws-s3@1.1.0`; elsewhere it is `other`, with the same words."""
    relay.answer = s3_error(503, "SlowDown", "Please reduce your request rate.")
    case = "throttled" if name == "aws-s3-calls" else "other"
    assert ask(host, name, **order)["error"] == [case, "SlowDown: Please reduce your request rate."]


@IN_ONE_FORM
@pytest.mark.parametrize("name", S3)
@pytest.mark.parametrize("order", [GET, PUT], ids=["get", "put"])
@pytest.mark.parametrize(
    ("status", "code", "case"),
    [
        (403, "AccessDenied", "unauthorized"),
        (403, "InvalidAccessKeyId", "unauthorized"),
        (400, "ExpiredToken", "unauthorized"),
        (400, "InvalidArgument", "malformed"),
        (400, "KeyTooLongError", "malformed"),
        (404, "NoSuchBucket", "other"),
        (500, "InternalError", "other"),
    ],
)
def test_every_error_of_s3_has_its_case(host, relay, name, order, status, code, case):
    """With the service's code and words."""
    relay.answer = s3_error(status, code)
    assert ask(host, name, **order)["error"] == [case, f"{code}: because"]


@pytest.mark.parametrize("name", S3)
def test_nobody_learns_what_should_have_been_signed(host, relay, name):
    """S3 quotes the canonical request; the guest is told what to look at."""
    relay.answer = s3_error(403, "SignatureDoesNotMatch", "AWS4-HMAC-SHA256 20261121T000000Z secrets")
    case, text = ask(host, name, **GET)["error"]
    assert case == "unauthorized"
    assert text.startswith("SignatureDoesNotMatch: the signature does not match")
    assert "AWS4" not in text


def test_a_large_body_that_breaks_off_says_so(host, relay):
    """After the bytes that came: reading fails, and does not end as if that had been all."""
    relay.answer = lambda request: (200, {"content-length": "1000000"}, b"x" * 400_000)
    for name in S3[:2]:
        found = ask(host, name, **{**GET, "do": "count"})
        assert found["size"] >= 256 * 1024
        assert found["end"] == "s3: the connection ended before the answer did"
    assert ask(host, S3[2], **GET)["error"] == ["other", "s3: the connection ended before the answer did"]


@pytest.mark.parametrize("name", S3)
def test_a_small_body_that_breaks_off_is_an_error_of_the_call(host, relay, name):
    """The guest never sees half of it."""
    relay.answer = lambda request: (200, {"content-length": "1000"}, b"x" * 10)
    assert ask(host, name, **GET)["error"] == ["other", "s3: the connection ended before the answer did"]


# -- DynamoDB and Secrets Manager


@IN_ONE_FORM
@pytest.mark.parametrize("name", DYNAMO)
@pytest.mark.parametrize("order", [ITEM, PUT_ITEM], ids=["get", "put"])
@pytest.mark.parametrize(
    ("status", "code", "case"),
    [
        (400, "AccessDeniedException", "unauthorized"),
        (400, "UnrecognizedClientException", "unauthorized"),
        (400, "ValidationException", "malformed"),
        (400, "SerializationException", "malformed"),
        (400, "ResourceNotFoundException", "other"),
        (400, "ConditionalCheckFailedException", "other"),
        (400, "ProvisionedThroughputExceededException", "other"),
        (500, "InternalServerError", "other"),
    ],
)
def test_every_error_of_dynamodb_has_its_case(host, relay, name, order, status, code, case):
    """With the service's code and words."""
    relay.answer = json_error(status, code)
    assert ask(host, name, **order)["error"] == [case, f"{code}: because"]


@IN_ONE_FORM
@pytest.mark.parametrize("name", DYNAMO)
@pytest.mark.parametrize("body", [b"{", b"[]", b"null", b'{"Item": 5}', b'{"Item": [1]}', b"\xff"])
def test_nonsense_instead_of_an_item_is_an_error(host, relay, name, body):
    """Never an item, and never a trap."""
    relay.answer = lambda request: (200, {}, body)
    case, text = ask(host, name, **ITEM)["error"]
    assert (case, text) == ("other", "dynamodb: the answer is not what the service would say")


@pytest.mark.parametrize("name", DYNAMO)
def test_a_cost_that_makes_no_sense_is_left_out(host, relay, name):
    """What is no number is none; what is no record is nothing."""
    capacity = {
        "TableName": "t",
        "CapacityUnits": "x",
        "Table": 5,
        "LocalSecondaryIndexes": {"i": {"CapacityUnits": 2}, "j": 1},
    }
    relay.answer = lambda request: (200, {}, json.dumps({"Item": {}, "ConsumedCapacity": capacity}).encode())
    assert ask(host, name, **ITEM) == {
        "item": {},
        "capacity": {
            "table_name": "t",
            "units": [None, None, None],
            "table": None,
            "local": [["i", [2.0, None, None]]],
            "global": None,
        },
    }


@IN_ONE_FORM
@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize(
    ("status", "code", "case"),
    [
        (400, "AccessDeniedException", "unauthorized"),
        (400, "InvalidParameterException", "malformed"),
        (400, "InvalidRequestException", "malformed"),
        (400, "DecryptionFailure", "other"),
        (400, "ThrottlingException", "other"),
        (500, "InternalServiceError", "other"),
    ],
)
def test_every_error_of_secrets_has_its_case(host, relay, name, status, code, case):
    """With the service's code and words."""
    relay.answer = json_error(status, code)
    assert ask(host, name, id="x")["error"] == [case, f"{code}: because"]


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_that_is_not_there_has_a_case_of_its_own(host, relay, name):
    """Without any words."""
    relay.answer = json_error(400, "ResourceNotFoundException")
    assert ask(host, name, id="x") == {"error": ["not-found"]}


@IN_ONE_FORM
@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("answer", [{}, {"Name": "x"}, {"SecretString": None}])
def test_a_secret_without_a_value_is_an_error(host, relay, name, answer):
    """It is never an empty one."""
    relay.answer = lambda request: (200, {}, json.dumps(answer).encode())
    assert ask(host, name, id="x")["error"] == ["other", "secretsmanager: the secret has no value"]


# -- time


@pytest.mark.parametrize("name", [*S3, *DYNAMO, *SECRETS])
def test_a_service_that_is_too_slow_is_an_error(host, relay, name):
    """Within the limit of the deployment for outgoing requests; the guest goes on."""
    answering = threading.Event()
    relay.answer = lambda request: (answering.wait(30), (200, {}, b""))[1]
    again(host, name, limits={"http_timeout_ms": 150})
    order = GET if name in S3 else ITEM if name in DYNAMO else {"id": "x"}
    try:
        case, text = ask(host, "again", **order)["error"]
    finally:
        answering.set()
    assert case == "other"
    assert text.endswith("within 150 ms")


def test_a_deadline_ends_a_guest_that_waits_for_aws(host, relay):
    """Its slot is free again at once."""
    answering = threading.Event()
    relay.answer = lambda request: (answering.wait(30), (200, {}, b""))[1]
    again(host, S3[0], limits={"deadline_ms": 300})
    outcome = host.invoke("again", json.dumps({**GET, "who": WHO}).encode())
    answering.set()
    assert isinstance(outcome.error, DeadlineExceeded) or b"no answer from s3" in outcome.body
    assert host.inner.aws.slots._shares == {}
