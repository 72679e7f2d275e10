"""What the macros `invoke!` and `post!` make of every kind of value, as the host sees it, in every form."""

from __future__ import annotations

import json

import pytest

from support import FORMS, host_with

TEXT = [("content-type", "text/plain; charset=utf-8")]
BYTES = [("content-type", "application/octet-stream")]
JSON = [("content-type", "application/json; charset=utf-8")]
BUILT = [("X-One", "1"), ("x-one", "2"), ("x-two", "3")]
UNSPEAKABLE = b"Failed to encode response: key must be a string"
FAILED = "An error occurred during function invocation: "

BOTH = {
    "unit": (204, [], b""),
    "str": (200, TEXT, "text é".encode()),
    "string": (200, TEXT, b"text"),
    "some-string": (200, TEXT, b"text"),
    "no-string": (200, TEXT, b""),
    "vec": (200, BYTES, b"\0\xff"),
    "slice": (200, BYTES, b"\1\2"),
    "some-vec": (200, BYTES, b"\0\xff"),
    "no-vec": (200, BYTES, b""),
    "json": (200, JSON, '{"name":"é"}'.encode()),
    "value": (200, JSON, b'{"a":[1,null]}'),
    "default": (200, [], b""),
    "built": (418, BUILT, b'{"a":1}'),
    "built-json": (200, [], b"[1]"),
    "ok": (200, TEXT, b"7"),
    "message": (500, [], b"in my own words"),
}
"""Status, headers and body for what both generations do alike."""
NEWER = {
    "unspeakable": (500, TEXT, UNSPEAKABLE),
    "question-mark": (500, [], f"{FAILED}ParseIntError {{ kind: InvalidDigit }}".encode()),
    "data": (200, BYTES, b"the body \xff"),
}
OLDER = {
    "unspeakable": (500, [], UNSPEAKABLE),
    "question-mark": (500, [], f"{FAILED}invalid digit found in string".encode()),
    "missing-field": (500, [], f"{FAILED}missing field `name` at line 2 column 1".encode()),
    "upstream": (203, [("X-Up", "1")], b"\0\xff"),
}
PARSE = "Failed to parse request body: "
WRONG_JSON = {
    b"": "EOF while parsing a value at line 1 column 0",
    b'{"a": 1}': "missing field `name` at line 1 column 8",
    b"{": "EOF while parsing an object at line 1 column 1",
    b'{"name": "\xff"}': "invalid unicode code point at line 1 column 11",
}


@pytest.fixture(scope="module", params=(*FORMS, "unknown-unknown"))
def host(request):
    with host_with("returns", "old-returns", form=request.param) as host:
        yield host


@pytest.mark.parametrize(
    ("name", "kind", "answer"),
    [
        *(("returns", kind, answer) for kind, answer in {**BOTH, **NEWER}.items()),
        *(("old-returns", kind, answer) for kind, answer in {**BOTH, **OLDER}.items()),
    ],
)
def test_every_kind_of_value_is_the_answer_that_its_macro_makes_of_it(host, name, kind, answer):
    """No header is added: where the guest sets no content type, there is none."""
    outcome = host.invoke(name, b"the body \xff", path=kind)
    assert (outcome.status, list(outcome.headers), outcome.body) == answer
    assert outcome.result == "ok"


@pytest.mark.parametrize("name", ["returns", "old-returns"])
def test_a_panic_is_no_answer(host, name):
    """The outcome is a trap, with nothing of the guest's words in what a client may read."""
    outcome = host.invoke(name, path="panic")
    assert (outcome.result, outcome.status, outcome.body) == ("trapped", 0, b"")
    assert "asked to" not in outcome.error.public


@pytest.mark.parametrize(
    ("name", "kind", "body", "text"),
    [
        ("returns", "take-data", b"\xff\0", "2 bytes"),
        ("returns", "take-vec", b"\xff\0", "2 bytes"),
        ("returns", "take-string", "é".encode(), "é"),
        ("returns", "take-json", b'{"name": "Ada"}', "Ada"),
        ("old-returns", "take-vec", b"\xff\0", "2 bytes"),
        ("old-returns", "take-json", b'{"name": "Ada"}', "Ada"),
    ],
)
def test_every_kind_of_input_is_taken(host, name, kind, body, text):
    """What the handler gets is what was sent."""
    outcome = host.invoke(name, body, path=kind)
    assert (outcome.status, outcome.text) == (200, text)


@pytest.mark.parametrize("name", ["returns", "old-returns"])
@pytest.mark.parametrize(("body", "reason"), WRONG_JSON.items())
def test_json_that_does_not_fit_is_a_400_without_headers(host, name, body, reason):
    """The handler is not run; the text says where the mistake is."""
    outcome = host.invoke(name, body, path="take-json")
    assert (outcome.status, list(outcome.headers), outcome.text) == (400, [], PARSE + reason)


def test_text_that_is_no_utf_8_is_a_400_without_headers(host):
    """As for JSON."""
    outcome = host.invoke("returns", b"a\xff", path="take-string")
    assert (outcome.status, list(outcome.headers)) == (400, [])
    assert outcome.text == f"{PARSE}invalid utf-8 sequence of 1 bytes from index 1"


def test_a_body_of_megabytes_is_parsed(host):
    """The guest's memory grows for it."""
    body = json.dumps({"name": "n" * (2 << 20)}).encode()
    for name in ("returns", "old-returns"):
        assert len(host.invoke(name, body, path="take-json").body) == 2 << 20
