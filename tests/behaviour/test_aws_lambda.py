"""Lambda calls from guests of both generations, in every form: what is sent, and what comes of each answer.

moto runs no functions without Docker; it answers what it is told to.  What goes out is read off the wire.
"""

from __future__ import annotations

import base64
import io
import json
import zipfile

import pytest

from aws_server import IN_ONE_FORM, KEYS, WHO, WHO_ROLE, again, ask
from guesthouse.errors import BadRequest
from support import guest

NEW, OLD = "aws-lambda-calls", "old-aws-lambda-calls"
BOTH = (NEW, OLD)


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


@pytest.fixture
def function(aws_server, relay):
    """A Lambda function."""
    made(aws_server, "greet")
    relay.clear()
    return "greet"


def made(server, name):
    """A Lambda function that is never run."""
    server.do("iam", "create_role", RoleName="runner", AssumeRolePolicyDocument="{}")
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("main.py", "def handler(event, context): return event")
    server.do(
        "lambda",
        "create_function",
        FunctionName=name,
        Runtime="python3.13",
        Role="arn:aws:iam::123456789012:role/runner",
        Handler="main.handler",
        Code={"ZipFile": code.getvalue()},
    )


def answered(status=200, body=b"", **headers):
    """What a relay answers in the service's place."""
    return lambda request: (status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


@pytest.mark.parametrize("name", BOTH)
def test_a_function_is_called_and_answers(host, function, name):
    """Through moto, whose functions answer what they are given."""
    found = ask(host, name, function=function, payload='{"a": 1}')
    assert (found["status"], found["payload"]) == (200, '{"a": 1}')


@pytest.mark.parametrize("name", BOTH)
def test_what_is_sent_is_what_the_guest_said(host, relay, name):
    """Name, qualifier, payload, context and whether the log is wanted; and everything of the answer comes back."""
    relay.answer = answered(
        body=b'{"sum": 3}', x_amz_log_result="bG9n", x_amz_executed_version="7", content_type="application/json"
    )
    context = base64.b64encode(b'{"custom": {}}').decode()
    found = ask(host, name, function="add", qualifier="live", payload="[1, 2]", tail=True, context=context)
    assert found == {"status": 200, "payload": '{"sum": 3}', "log": "bG9n", "version": "7"}
    (request,) = relay.requests
    assert (request.method, request.path) == ("POST", "/2015-03-31/functions/add/invocations?Qualifier=live")
    assert request.body == b"[1, 2]"
    assert request.headers["x-amz-invocation-type"] == "RequestResponse"
    assert request.headers["x-amz-log-type"] == "Tail"
    assert request.headers["x-amz-client-context"] == context
    assert request.headers["authorization"].startswith(f"AWS4-HMAC-SHA256 Credential={KEYS.access_key_id}/")


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(("how", "word", "status"), [("event", "Event", 202), ("dry-run", "DryRun", 204)])
def test_a_function_can_be_asked_for_without_waiting(host, relay, name, how, word, status):
    """There is a status, and no payload."""
    relay.answer = answered(status)
    assert ask(host, name, function="add", how=how) == {
        "status": status,
        "payload": None,
        "log": None,
        "version": None,
    }
    assert relay.requests[0].headers["x-amz-invocation-type"] == word
    assert relay.requests[0].body == b""


@pytest.mark.parametrize("name", BOTH)
def test_a_function_that_failed_has_answered(host, relay, name):
    """The service's word for it is in a header that the interface has no place for; the payload says what happened."""
    relay.answer = answered(body=b'{"errorMessage": "no"}', x_amz_function_error="Unhandled")
    found = ask(host, name, function="add")
    assert (found["status"], found["payload"]) == (200, '{"errorMessage": "no"}')


@IN_ONE_FORM
@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(
    ("status", "code", "case"),
    [
        (403, "AccessDeniedException", "unauthorized"),
        (403, "UnrecognizedClientException", "unauthorized"),
        (400, "InvalidParameterValueException", "malformed"),
        (400, "InvalidRequestContentException", "malformed"),
        (413, "RequestTooLargeException", "malformed"),
        (404, "ResourceNotFoundException", "other"),
        (429, "TooManyRequestsException", "other"),
        (500, "ServiceException", "other"),
    ],
)
def test_every_error_has_its_case(host, relay, name, status, code, case):
    """And is not tried again: nobody could tell whether the function ran."""
    relay.answer = answered(status, b'{"Message": "because"}', x_amzn_errortype=code)
    assert ask(host, name, function="add")["error"] == [case, f"{code}: because"]
    assert len(relay.requests) == 1


@pytest.mark.parametrize("name", BOTH)
def test_an_answer_over_the_limit_is_an_error(host, relay, name):
    """The bound is that of responses of outgoing requests."""
    again(host, name, limits={"http_response_bytes": 1_000})
    relay.answer = answered(body=b"x" * 1_001)
    assert ask(host, "again", function="add")["error"] == ["other", "the function's answer is over 1000 bytes"]


@pytest.mark.parametrize("name", BOTH)
def test_a_grant_names_functions(host, relay, name):
    """Anything else is unauthorized and never asked for; an ARN is compared as it is written."""
    arn = "arn:aws:lambda:us-east-1:123456789012:function:sub"
    again(host, name, grants=["aws-auth", "aws-lambda:add", f"aws-lambda:{arn}"])
    relay.answer = answered()
    for wanted in ("add", arn):
        assert ask(host, "again", function=wanted, qualifier="1")["status"] == 200
    for wanted in ("addition", "sub", "add:live", arn + "x"):
        case, text = ask(host, "again", function=wanted)["error"]
        assert (case, text) == ("unauthorized", f"this function was not granted aws-lambda:{wanted}")
    assert len(relay.requests) == 2


def test_a_grant_that_ends_in_nothing_is_refused_at_deploy(host):
    """It would be believed to restrict something."""
    with pytest.raises(BadRequest, match="aws-lambda:"):
        host.deploy("granted", guest(NEW), grants=["aws-auth", "aws-lambda:"])


@pytest.mark.parametrize("name", BOTH)
def test_a_role_is_enough(host, function, name):
    """Credentials of an assumed role sign as well as keys."""
    assert ask(host, name, function=function, who=WHO_ROLE)["status"] == 200


def test_a_guest_of_the_older_crates_uses_all_of_aws(host, function, aws_server):
    """S3, DynamoDB, Secrets Manager and Lambda in one guest, as people wrote it."""
    aws_server.do("s3", "create_bucket", Bucket="shelf")
    aws_server.do("secretsmanager", "create_secret", Name="key", SecretString="hush")
    aws_server.do(
        "dynamodb",
        "create_table",
        TableName="things",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    order = {"bucket": "shelf", "table": "things", "secret": "key", "function": function}
    for keys in (WHO["keys"], None):  # none: those that the guest was built with, which are UNSET
        body = json.dumps({**order, "keys": keys}).encode()
        assert json.loads(host.invoke("old-aws-all", body).unwrap().body) == {
            "object": list(b"hello"),
            "missing": None,
            "picture": [1],
            "secret": "hush",
            "lambda": 200,
        }
