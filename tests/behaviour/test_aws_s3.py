"""S3 from guests of both generations, in every form, against moto's server."""

from __future__ import annotations

import hashlib
import json

import pytest

from aws_server import WHO, WHO_ROLE, WITH_ENVIRONMENT, again, ask, example
from guesthouse.errors import BadRequest, LinkError
from support import guest

NEW = ("aws-s3-calls", "aws-s3-1-0")
OLD = "old-aws-s3-calls"
LARGE = bytes(range(256)) * 8_192
"""2 MiB: more than is read at once."""


@pytest.fixture
def host(aws_host, aws_wire):
    """Guests of one form, and a server behind the wire that answers for itself."""
    aws_wire.clear()
    return aws_host


@pytest.fixture
def bucket(aws_server):
    """A bucket with nothing in it."""
    aws_server.do("s3", "create_bucket", Bucket="shelf")
    return "shelf"


def etag(body):
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


# -- the newer generation, both versions


@pytest.mark.parametrize("name", NEW)
def test_an_object_comes_back_as_it_was_put(host, bucket, aws_server, name):
    """Bytes, metadata and entity tag; what is stored is what was sent."""
    put = ask(host, name, do="put", bucket=bucket, key="a/b c+é", body="hé\x00llo", metadata=[["Colour", "blue"]])
    assert put == {"etag": etag(b"h\xe9\x00llo"), "version_id": None, "expiration": None}
    stored = aws_server.do("s3", "get_object", Bucket=bucket, Key="a/b c+é")
    assert (stored["Body"], stored["Metadata"]) == (b"h\xe9\x00llo", {"colour": "blue"})
    assert ask(host, name, do="get", bucket=bucket, key="a/b c+é") == {
        "body": "hé\x00llo",
        "etag": etag(b"h\xe9\x00llo"),
        "version_id": None,
        "expiration": None,
        "metadata": [["colour", "blue"]],
    }


@pytest.mark.parametrize("name", NEW)
def test_an_object_that_is_not_there_is_no_error(host, bucket, name):
    """It is ok without a body; a bucket that is not there is an error."""
    found = ask(host, name, do="get", bucket=bucket, key="nothing")
    assert found == {"body": None, "etag": None, "version_id": None, "expiration": None, "metadata": []}
    case, text = ask(host, name, do="get", bucket="no-such-bucket", key="nothing")["error"]
    assert case == "other"
    assert "NoSuchBucket" in text


@pytest.mark.parametrize("name", NEW)
def test_an_empty_object_has_a_body_without_bytes(host, bucket, name):
    """It is there, so it is not none."""
    ask(host, name, do="put", bucket=bucket, key="empty")
    assert ask(host, name, do="get", bucket=bucket, key="empty")["body"] == ""


@pytest.mark.parametrize("name", NEW)
def test_a_version_is_named(host, bucket, aws_server, name):
    """Where the bucket keeps versions, put and get say which one it was."""
    aws_server.do("s3", "put_bucket_versioning", Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    put = ask(host, name, do="put", bucket=bucket, key="k", body="1")
    assert put["version_id"]
    assert ask(host, name, do="get", bucket=bucket, key="k")["version_id"] == put["version_id"]


@pytest.mark.parametrize("name", NEW)
def test_metadata_of_one_name_is_put_together(host, bucket, name):
    """As S3 does with headers that repeat; names come back in lower case."""
    ask(host, name, do="put", bucket=bucket, key="k", metadata=[["Tag", "a"], ["other", "x"], ["tag", "b"]])
    found = ask(host, name, do="get", bucket=bucket, key="k")["metadata"]
    assert sorted(found) == [["other", "x"], ["tag", "a,b"]]


# -- large objects


@pytest.mark.parametrize("name", NEW)
def test_a_large_object_streams_through_a_guest_that_does_not_read_it(host, bucket, aws_server, name):
    """The guest passes its buffer on."""
    aws_server.do("s3", "put_object", Bucket=bucket, Key="large", Body=LARGE)
    order = {"who": WHO, "do": "pass", "bucket": bucket, "key": "large"}
    assert host.invoke(name, json.dumps(order).encode()).unwrap().body == LARGE


@pytest.mark.parametrize("name", NEW)
def test_a_large_object_is_read_piece_by_piece(host, bucket, aws_server, name):
    """Its end is a regular one."""
    aws_server.do("s3", "put_object", Bucket=bucket, Key="large", Body=LARGE)
    assert ask(host, name, do="count", bucket=bucket, key="large") == {"size": len(LARGE), "end": "regular"}


@pytest.mark.parametrize("name", [*NEW, OLD])
def test_an_object_over_the_limit_is_an_error(host, bucket, aws_server, name):
    """The bound is that of responses of outgoing requests."""
    again(host, name, limits={"http_response_bytes": 1_000_000})
    aws_server.do("s3", "put_object", Bucket=bucket, Key="large", Body=LARGE)
    case, text = ask(host, "again", do="get", bucket=bucket, key="large")["error"]
    assert (case, text) == ("other", "the object is over 1000000 bytes")


def test_slots_are_given_back_whatever_a_guest_does_with_a_body(host, bucket, aws_server):
    """Also by one that leaves its body unread: nothing is left in use."""
    aws_server.do("s3", "put_object", Bucket=bucket, Key="large", Body=LARGE)
    for do in ("get", "pass", "count"):
        host.invoke("aws-s3-calls", json.dumps({"who": WHO, "do": do, "bucket": bucket, "key": "large"}).encode())
    ask(host, "aws-s3-calls", do="get", bucket="no-such-bucket", key="k")
    assert host.inner.aws.slots._shares == {}


# -- the crate's own client, as people use it


@WITH_ENVIRONMENT
def test_the_example_stores_and_answers_objects(host, bucket, request):
    """Bodies never enter its memory; metadata comes back; an object that is not there is a 404 of its own."""
    name = example(host, "aws-object", request, BUCKET=bucket)
    put = host.invoke(name, LARGE, method="PUT", path="pictures/cat").unwrap()
    assert put.status == 204, put.text
    got = host.invoke(name, method="GET", path="pictures/cat").unwrap()
    assert (got.status, got.body) == (200, LARGE)
    assert ("stored-by", "aws-object") in got.headers
    assert host.invoke(name, method="GET", path="pictures/dog").unwrap().status == 404


# -- the older generation


@pytest.mark.parametrize(("put", "get"), [("put", "get"), ("put-extended", "get-extended"), ("put", "get-extended")])
def test_an_older_guest_puts_and_gets(host, bucket, put, get):
    """The two deprecated functions as well."""
    assert ask(host, OLD, do=put, bucket=bucket, key="k", body="hé\x00llo") == {
        "etag": etag(b"h\xe9\x00llo"),
        "version_id": None,
        "expiration": None,
    }
    found = ask(host, OLD, do=get, bucket=bucket, key="k")
    assert found.pop("type", "") in ("", "binary/octet-stream", "application/octet-stream")
    assert found == {"body": "hé\x00llo", "etag": etag(b"h\xe9\x00llo"), "version_id": None, "expiration": None}


@pytest.mark.parametrize("get", ["get", "get-extended"])
def test_an_older_guest_finds_nothing_without_an_error(host, bucket, get):
    """It is ok without a body."""
    found = ask(host, OLD, do=get, bucket=bucket, key="nothing")
    assert set(found.values()) == {None}


def test_an_older_guest_says_of_which_type_an_object_is(host, bucket, aws_server):
    """Content type and encoding are stored; the type comes back."""
    ask(host, OLD, do="put-extended", bucket=bucket, key="k", body="{}", type="application/json", encoding="identity")
    assert ask(host, OLD, do="get-extended", bucket=bucket, key="k")["type"] == "application/json"
    stored = aws_server.do("s3", "get_object", Bucket=bucket, Key="k")
    assert (stored["ContentType"], stored["ContentEncoding"]) == ("application/json", "identity")


@pytest.mark.parametrize("options", [{"type": "a\r\nx: y"}, {"encoding": "é"}])
def test_an_older_guests_options_that_cannot_be_headers_are_malformed(host, bucket, options):
    """Nothing is sent."""
    assert ask(host, OLD, do="put-extended", bucket=bucket, key="k", **options)["error"][0] == "malformed"


def test_a_large_object_reaches_an_older_guest_whole(host, bucket, aws_server):
    """It has no buffers, so it gets all the bytes."""
    aws_server.do("s3", "put_object", Bucket=bucket, Key="large", Body=LARGE)
    found = ask(host, OLD, do="get-extended", bucket=bucket, key="large")
    assert found["body"].encode("latin-1") == LARGE


# -- roles and grants


@pytest.mark.parametrize("name", [*NEW, OLD])
def test_a_role_is_enough(host, bucket, name):
    """Credentials of an assumed role sign as well as keys."""
    ask(host, name, do="put", bucket=bucket, key="k", body="x", who=WHO_ROLE)
    assert ask(host, name, do="get", bucket=bucket, key="k", who=WHO_ROLE)["body"] == "x"


@pytest.mark.parametrize("name", [*NEW, OLD])
def test_a_grant_names_a_bucket_and_how_keys_begin(host, bucket, name):
    """Anything else is unauthorized, and never asked for; also a key that leaves the prefix in the eyes of a path."""
    ask(host, name, do="put", bucket=bucket, key="public/a", body="x")
    again(host, name, grants=["aws-auth", f"aws-s3:{bucket}/public/*", f"aws-s3:{bucket}/one"])
    assert ask(host, "again", do="get", bucket=bucket, key="public/a")["body"] == "x"
    assert ask(host, "again", do="get", bucket=bucket, key="one")["body"] is None
    for other, key in [(bucket, "private/a"), (bucket, "one/more"), ("elsewhere", "public/a"), (bucket, "public")]:
        for do in ("get", "put"):
            case, text = ask(host, "again", do=do, bucket=other, key=key)["error"]
            assert (case, text) == ("unauthorized", f"this function was not granted aws-s3:{other}/{key}")
    case, _ = ask(host, "again", do="get", bucket=bucket, key="public/../private/a")["error"]
    assert case == "unauthorized"


@pytest.mark.parametrize("grant", ["aws-s3:", "aws-s3:shelf", "aws-s3:*", "aws-s3:shelf/*x", "aws-s3:a\nb/*"])
def test_a_grant_that_says_nothing_clear_is_refused_at_deploy(host, grant):
    """It would be believed to restrict something."""
    with pytest.raises(BadRequest, match="aws-s3"):
        host.deploy("granted", guest("aws-s3-calls"), grants=["aws-auth", "bytes", grant])


def test_an_older_guest_needs_no_grant_for_a_service_it_does_not_use(host):
    """Its crates make a DynamoDB client of every provider; that alone needs aws-auth, and nothing more."""
    with pytest.raises(LinkError, match="aws-s3"):
        host.deploy("granted", guest("old-aws-all"), grants=["aws-auth", "aws-ddb", "aws-secrets", "aws-lambda"])
    host.deploy("granted", guest(OLD), grants=["aws-auth", "aws-s3"])
