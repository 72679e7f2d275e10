"""What guests may say to AWS that nobody should believe: names that leave their path, headers in headers, deep nesting."""

from __future__ import annotations

import pytest

from aws_server import IN_ONE_FORM, REGION, WHO, WHO_ROLE, ask

DYNAMO = ("aws-ddb-calls", "old-aws-ddb-calls")
GET = {"do": "get", "bucket": "shelf", "key": "k"}


pytestmark = IN_ONE_FORM


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
def bucket(aws_server):
    """A bucket with nothing in it."""
    aws_server.do("s3", "create_bucket", Bucket="shelf")
    return "shelf"


@pytest.fixture
def table(aws_server):
    """A table with nothing in it."""
    aws_server.do(
        "dynamodb",
        "create_table",
        TableName="things",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    return "things"


@pytest.mark.parametrize(
    "metadata",
    [
        [["a b", "x"]],
        [["", "x"]],
        [["a", "x\r\nx-injected: y"]],
        [["a\r\nx-injected", "y"]],
        [["a", "é"]],
        [["a", "\x00"]],
        [[str(n), ""] for n in range(65)],
    ],
)
def test_metadata_that_cannot_be_headers_is_malformed(host, bucket, aws_server, metadata):
    """Nothing is sent."""
    case, _ = ask(host, "aws-s3-calls", do="put", bucket=bucket, key="k", metadata=metadata)["error"]
    assert case == "malformed"
    assert aws_server.do("s3", "list_objects_v2", Bucket=bucket)["KeyCount"] == 0


@pytest.mark.parametrize(
    ("bucket_name", "key"),
    [
        ("", "k"),
        ("a b", "k"),
        ("../x", "k"),
        ("a\r\nb", "k"),
        ("shelf\n", "k"),
        ("..", "k"),
        ("arn:a b", "k"),
        ("shelf", ""),
        ("shelf", "é" * 513),
    ],
)
@pytest.mark.parametrize("do", ["get", "put"])
def test_names_that_cannot_be_are_malformed(host, bucket, bucket_name, key, do):
    """They are refused before anything is sent."""
    case, _ = ask(host, "aws-s3-calls", do=do, bucket=bucket_name, key=key)["error"]
    assert case == "malformed"


@pytest.mark.parametrize("key", ["..", "a/../b", "./a", "a//b", "/a", "?x=y", "#f", "a%2fb", "a b", "é", "a\\b"])
def test_a_key_is_taken_as_it_is(host, bucket, aws_server, key):
    """Nobody on the way reads it as a path, a query or an escape."""
    ask(host, "aws-s3-calls", do="put", bucket=bucket, key="decoy", body="decoy")
    ask(host, "aws-s3-calls", do="put", bucket=bucket, key=key, body="this")
    keys = [found["Key"] for found in aws_server.do("s3", "list_objects_v2", Bucket=bucket)["Contents"]]
    assert sorted(keys) == sorted(["decoy", key])
    assert ask(host, "aws-s3-calls", do="get", bucket=bucket, key=key)["body"] == "this"


@pytest.mark.parametrize("name", DYNAMO)
@pytest.mark.parametrize("text", ["", "{", "[]", "null", "1", '"x"', '{"a":1}x', '{"a":"\\ud800"}', "{" * 100_000])
def test_what_is_no_json_object_is_malformed(host, table, name, text):
    """The text says so; nothing is sent."""
    case, _ = ask(host, name, do="put", table=table, text=text)["error"]
    assert case == "malformed"


@pytest.mark.parametrize("name", DYNAMO)
def test_deep_nesting_harms_nobody(host, table, name):
    """Neither in an item nor in what a condition compares with."""
    deep = '{"L":[' * 200 + '{"S":"x"}' + "]}" * 200
    for levels, text in (
        (200, f'{{"id":{{"S":"x"}},"deep":{deep}}}'),
        (5_000, '{"a":' * 5_000 + "1" + "}" * 5_000),
    ):
        found = ask(host, name, do="put", table=table, text=text)
        assert "error" not in found or found["error"][0] in ("malformed", "other"), levels


@pytest.mark.parametrize(
    "keys", [["", "x"], ["x", ""], ["a b", "x"], ["a\r\nx: y", "x"], ["é", "x"], ["x", "y" * 1025]]
)
def test_keys_that_cannot_be_are_unauthorized(host, relay, keys):
    """The provider is refused, and nothing is sent."""
    found = ask(host, "aws-s3-calls", **GET, who={"region": REGION, "keys": keys})
    assert "access key" in found["refused"]
    assert relay.requests == []


@pytest.mark.parametrize(
    "region", ["", "us east", "x.example.com", "a@b", "a/b", "-a", "a" * 33, "US-EAST-1", "é", "a\r\n"]
)
def test_a_region_that_cannot_be_is_unauthorized(host, relay, region):
    """It would become part of a host name; nothing is sent."""
    for who in (WHO, WHO_ROLE):
        assert "not a region" in ask(host, "aws-s3-calls", **GET, who={**who, "region": region})["refused"]
    assert relay.requests == []


@pytest.mark.parametrize("wanted", ["", "..", "a/b", "a b", "a\r\nb", "é", "a" * 257])
def test_a_name_that_cannot_be_is_malformed(host, relay, wanted):
    """It is refused before anything is sent."""
    assert ask(host, "aws-lambda-calls", function=wanted)["error"][0] == "malformed"
    assert relay.requests == []


@pytest.mark.parametrize("context", ["a\r\nx: y", "é", "x" * 4097])
def test_a_context_that_cannot_be_a_header_is_malformed(host, relay, context):
    """It is refused before anything is sent."""
    assert ask(host, "aws-lambda-calls", function="add", context=context)["error"][0] == "malformed"
    assert relay.requests == []
