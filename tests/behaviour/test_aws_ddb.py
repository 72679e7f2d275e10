"""DynamoDB from guests of both generations, in every form, against moto's server."""

from __future__ import annotations

import base64
import json

import pytest

from aws_server import KEYS, REGION, WHO_ROLE, WITH_ENVIRONMENT, again, ask, example
from guesthouse.errors import BadRequest
from support import guest

NEW, OLD = "aws-ddb-calls", "old-aws-ddb-calls"
BOTH = (NEW, OLD)
EVERYTHING = {
    "id": {"S": "one"},
    "text": {"S": 'hé\n"llo"'},
    "number": {"N": "123456789012345678901234567890.12345678"},
    "binary": {"B": "AQ"},
    "true": {"BOOL": True},
    "null": {"NULL": True},
    "texts": {"SS": ["a", "b"]},
    "numbers": {"NS": ["1", "2.5"]},
    "binaries": {"BS": ["AQ", "AgM"]},
    "list": {"L": [{"B": "BA"}, {"S": "x"}, {"L": []}]},
    "map": {"M": {"B": {"B": "BQ"}, "inner": {"M": {"BS": {"BS": ["Bg"]}}}}},
}
"""Every type, with base64 without padding, and attributes that are called like types."""


@pytest.fixture
def host(aws_host, aws_wire):
    """Guests of one form, and a server behind the wire that answers for itself."""
    aws_wire.clear()
    return aws_host


def made(server, name="things", *, key=("id", "S"), range_key=None, **more):
    """A table."""
    keys = [key] if range_key is None else [key, range_key]
    server.do(
        "dynamodb",
        "create_table",
        TableName=name,
        KeySchema=[{"AttributeName": n, "KeyType": t} for (n, _), t in zip(keys, ("HASH", "RANGE"), strict=False)],
        AttributeDefinitions=[{"AttributeName": n, "AttributeType": t} for n, t in keys] + more.pop("attributes", []),
        BillingMode="PAY_PER_REQUEST",
        **more,
    )
    return name


@pytest.fixture
def table(aws_server):
    """A table with nothing in it, whose items are known by the text `id`."""
    return made(aws_server)


def by_id(value):
    return [["id", "s", value]]


# -- items


@pytest.mark.parametrize("name", BOTH)
def test_an_item_comes_back_as_it_was_put(host, table, aws_server, name):
    """Every type; numbers stay the texts they are, binaries lose their padding and nothing else."""
    assert ask(host, name, do="put", table=table, item=EVERYTHING) == {"item": None, "capacity": None}
    found = ask(host, name, do="get", table=table, key=by_id("one"))
    assert found["item"].pop("texts")["SS"]
    assert found["item"] == {key: value for key, value in EVERYTHING.items() if key != "texts"}
    stored = aws_server.do("dynamodb", "get_item", TableName=table, Key={"id": {"S": "one"}})["Item"]
    assert stored["binary"] == {"B": b"\x01"}
    assert stored["binaries"] == {"BS": [b"\x01", b"\x02\x03"]}
    assert stored["map"]["M"]["inner"]["M"]["BS"] == {"BS": [b"\x06"]}


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("text", ["AQ", "AQ==", "AQID", "AQIDBA"])
def test_base64_is_taken_with_and_without_padding(host, table, aws_server, name, text):
    """The service wants padding, the guests' crates refuse it."""
    ask(host, name, do="put", table=table, item={"id": {"S": "x"}, "b": {"B": text}, "s": {"BS": [text]}})
    stored = aws_server.do("dynamodb", "get_item", TableName=table, Key={"id": {"S": "x"}})["Item"]
    assert stored["b"]["B"] == base64.b64decode(text.rstrip("=") + "==")
    assert ask(host, name, do="get", table=table, key=by_id("x"))["item"]["b"] == {"B": text.rstrip("=")}


@pytest.mark.parametrize("name", BOTH)
def test_an_item_that_is_not_there_is_no_error(host, table, name):
    """It is none."""
    assert ask(host, name, do="get", table=table, key=by_id("nobody")) == {"item": None, "capacity": None}


@pytest.mark.parametrize("name", BOTH)
def test_keys_are_texts_numbers_and_bytes(host, aws_server, name):
    """Hash key, then range key; numbers as decimal text, bytes as base64 without padding."""
    table = made(aws_server, key=("n", "N"), range_key=("b", "B"))
    ask(host, name, do="put", table=table, item={"n": {"N": "-1.5"}, "b": {"B": "AQ"}, "x": {"S": "found"}})
    for text in ("AQ", "AQ=="):
        found = ask(host, name, do="get", table=table, key=[["n", "n", "-1.5"], ["b", "b", text]])
        assert found["item"] == {"n": {"N": "-1.5"}, "b": {"B": "AQ"}, "x": {"S": "found"}}


@pytest.mark.parametrize("name", BOTH)
def test_a_projection_says_what_comes_back(host, table, name):
    """With names for attributes that are words of the service."""
    ask(host, name, do="put", table=table, item={"id": {"S": "x"}, "a": {"S": "1"}, "name": {"S": "2"}})
    asked = {"projection": "#n", "names": [["#n", "name"]], "consistent": True}
    assert ask(host, name, do="get", table=table, key=by_id("x"), **asked)["item"] == {"name": {"S": "2"}}


@pytest.mark.parametrize("name", BOTH)
def test_what_was_there_before_comes_back_where_it_is_asked_for(host, table, name):
    """`all-old`, with binaries as guests read them; none where there was nothing."""
    first = {"id": {"S": "x"}, "b": {"B": "AQ"}}
    assert ask(host, name, do="put", table=table, item=first, old=True)["item"] is None
    assert ask(host, name, do="put", table=table, item={"id": {"S": "x"}}, old=True)["item"] == first


@pytest.mark.parametrize("name", BOTH)
def test_a_condition_that_does_not_hold_stops_a_put(host, table, name):
    """Names and values are passed on, values as typed JSON with base64 of either kind."""
    ask(host, name, do="put", table=table, item={"id": {"S": "x"}, "size": {"N": "5"}, "b": {"B": "AQ"}})
    condition = {"expression": "#s < :most AND b = :b", "names": [["#s", "size"]]}
    for most, holds in (("5", False), ("6", True)):
        values = {":most": {"N": most}, ":b": {"B": "AQ"}}
        put = ask(host, name, do="put", table=table, item={"id": {"S": "x"}}, condition={**condition, "values": values})
        assert ("error" in put) is not holds, put
        if not holds:
            case, text = put["error"]
            assert case == "other"
            assert text.startswith("ConditionalCheckFailedException")


@pytest.mark.parametrize("name", BOTH)
def test_what_a_call_cost_comes_back_where_it_is_asked_for(host, table, name):
    """In total, and for each index; not at all by default."""
    put = ask(host, name, do="put", table=table, item={"id": {"S": "x"}}, capacity="total")["capacity"]
    assert put["table_name"] == table
    assert put["units"][0] == 1.0
    get = ask(host, name, do="get", table=table, key=by_id("x"), capacity="indexes")["capacity"]
    assert get["table_name"] == table
    assert get["units"][0] > 0
    assert get["table"][0] > 0
    assert (get["local"], get["global"]) == (None, None)


def test_a_body_that_a_guest_does_not_read_can_be_an_item(host, table, aws_server):
    """`data` is a buffer there."""
    keys = [("id", KEYS.access_key_id), ("secret", KEYS.secret_access_key)]
    item = {"id": {"S": "x"}, "text": {"S": "y" * 200_000}}
    query = [("table", table), ("region", REGION), *keys]
    outcome = host.invoke(NEW, json.dumps(item).encode(), path="body", query=query).unwrap()
    assert json.loads(outcome.body) == {"item": None, "capacity": None}
    stored = aws_server.do("dynamodb", "get_item", TableName=table, Key={"id": {"S": "x"}})["Item"]
    assert stored == item


# -- failures


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("item", [{"id": {"N": "1"}}, {}, {"other": {"S": "1"}}])
def test_what_the_service_does_not_take_is_malformed(host, table, name, item):
    """A key of another type, or none."""
    case, text = ask(host, name, do="put", table=table, item=item)["error"]
    assert case == "malformed"
    assert "ValidationException" in text


@pytest.mark.parametrize("name", BOTH)
def test_an_item_is_bounded(host, table, name):
    """Two mebibytes of JSON, where the service takes 400 KiB of item."""
    case, text = ask(host, name, do="put", table=table, text='{"id":{"S":"' + "x" * (2 << 20) + '"}}')["error"]
    assert (case, text) == ("malformed", "the item is over 2097152 bytes")


@pytest.mark.parametrize("name", BOTH)
def test_a_table_that_is_not_there_is_an_error(host, aws_server, name):
    """It is not the same as an item that is not there."""
    for order in ({"do": "get", "key": by_id("x")}, {"do": "put", "item": {"id": {"S": "x"}}}):
        case, text = ask(host, name, table="nowhere", **order)["error"]
        assert case == "other"
        assert text.startswith("ResourceNotFoundException")


@pytest.mark.parametrize("name", BOTH)
def test_a_grant_names_tables(host, table, aws_server, name):
    """Anything else is unauthorized, and never asked for; keys of a role will do."""
    made(aws_server, "thousands")
    again(host, name, grants=["aws-auth", "aws-ddb:thing*"])
    assert ask(host, "again", do="get", table=table, key=by_id("x"), who=WHO_ROLE)["item"] is None
    for order in ({"do": "get", "key": by_id("x")}, {"do": "put", "item": {"id": {"S": "x"}}}):
        case, text = ask(host, "again", table="thousands", **order)["error"]
        assert (case, text) == ("unauthorized", "this function was not granted aws-ddb:thousands")


def test_a_grant_with_a_star_in_the_middle_is_refused_at_deploy(host):
    """It would be believed to mean something."""
    with pytest.raises(BadRequest, match="aws-ddb:a\\*b"):
        host.deploy("granted", guest(NEW), grants=["aws-auth", "aws-ddb:a*b"])


# -- the crate's own client, as people use it


@WITH_ENVIRONMENT
def test_the_example_keeps_a_guest_book(host, aws_server, request):
    """Texts, numbers and binaries go both ways through the crate's own types."""
    made(aws_server, "visits", key=("who", "S"))
    name = example(host, "aws-item", request)
    left = ""
    for count in (1, 2, 3):
        outcome = host.invoke(name, f"x{left}".encode(), path="ada").unwrap()
        assert json.loads(outcome.body) == {"visits": count, "last": left}, outcome.text
        left = f"x{left}"
