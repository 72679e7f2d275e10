"""Pure parts of the AWS interfaces: error codes, grants, DynamoDB's base64, what is kept of secrets."""

from __future__ import annotations

import base64

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.errors import BadRequest
from guesthouse.interfaces.aws.base import error
from guesthouse.interfaces.aws.dynamodb_json import change_binaries, padded, parse, unpadded
from guesthouse.interfaces.aws.secrets import MOST_KEPT, MOST_KEPT_BYTES, MOST_KEPT_OF_ONE, Kept, Secret
from guesthouse.interfaces.patterns import check_pattern, covers
from guesthouse.net.aws_failures import AwsFailure, clean, of_service

SECRET = Secret("arn", 0, "name", ("secret-string", "x"), "1", [])


# -- error codes


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("AccessDenied", 403, "unauthorized"),
        ("AccessDeniedException", 400, "unauthorized"),
        ("ExpiredToken", 400, "unauthorized"),
        ("ExpiredTokenException", 403, "unauthorized"),
        ("InvalidAccessKeyId", 403, "unauthorized"),
        ("InvalidClientTokenId", 403, "unauthorized"),
        ("InvalidSignatureException", 400, "unauthorized"),
        ("MissingAuthenticationToken", 403, "unauthorized"),
        ("SignatureDoesNotMatch", 403, "unauthorized"),
        ("UnrecognizedClientException", 400, "unauthorized"),
        ("SomethingNew", 403, "unauthorized"),
        ("SomethingNew", 401, "unauthorized"),
        ("InvalidObjectState", 403, "other"),
        ("ValidationException", 400, "malformed"),
        ("ValidationError", 400, "malformed"),
        ("SerializationException", 400, "malformed"),
        ("InvalidParameterException", 400, "malformed"),
        ("InvalidBucketName", 400, "malformed"),
        ("MalformedPolicyDocument", 400, "malformed"),
        ("KeyTooLongError", 400, "malformed"),
        ("EntityTooLarge", 400, "malformed"),
        ("SlowDown", 503, "throttled"),
        ("ThrottlingException", 400, "throttled"),
        ("ProvisionedThroughputExceededException", 400, "throttled"),
        ("TooManyRequestsException", 429, "throttled"),
        ("SomethingNew", 429, "throttled"),
        ("NoSuchKey", 404, "not-found"),
        ("404", 404, "not-found"),
        ("ResourceNotFoundException", 400, "not-found"),
        ("NoSuchBucket", 404, "other"),
        ("ConditionalCheckFailedException", 400, "other"),
        ("ServiceUnavailable", 503, "other"),
        ("InternalError", 500, "other"),
        ("Unknown", 0, "other"),
    ],
)
def test_every_code_has_its_kind(code, status, kind):
    """By its name, and by the status where the name is new."""
    assert of_service(code, "because", status).kind == kind


@pytest.mark.parametrize(
    ("kind", "cases", "case"),
    [
        ("unauthorized", (), "unauthorized"),
        ("malformed", (), "malformed"),
        ("throttled", (), "other"),
        ("throttled", ("throttled",), "throttled"),
        ("not-found", (), "other"),
        ("timeout", ("throttled",), "other"),
        ("other", (), "other"),
    ],
)
def test_a_kind_is_a_case_where_the_variant_has_it(kind, cases, case):
    """Else it is `other`."""
    assert error(AwsFailure(kind, "text"), *cases).error == (case, "text")


@given(st.text(), st.text(min_size=1))
def test_a_clean_text_holds_no_secret_and_no_control_character(text, secret):
    """Whatever the service said."""
    found = clean(text + secret, [secret, ""])
    assert found.isprintable()
    assert secret not in found or secret in "***…" or secret.isspace() or not secret.strip()


# -- grants


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("a", "a", True),
        ("a", "ab", False),
        ("a*", "a", True),
        ("a*", "ab", True),
        ("a*", "b", False),
        ("*", "", True),
        ("a?", "ab", False),
        ("[a]", "a", False),
        ("a", "A", False),
    ],
)
def test_a_pattern_is_a_name_or_the_beginning_of_one(pattern, text, fits):
    """Nothing but a star at the end has a meaning of its own."""
    assert covers([pattern], text) is fits


@pytest.mark.parametrize("pattern", ["", "**", "a*b", "*a"])
def test_a_pattern_that_says_nothing_clear_is_refused(pattern):
    """The text says how to write one."""
    with pytest.raises(BadRequest, match="write aws-ddb:TABLE"):
        check_pattern("aws-ddb", pattern, "TABLE")


# -- DynamoDB's base64


@given(st.binary(max_size=64))
def test_base64_goes_both_ways_with_and_without_padding(data):
    """AWS gets padding, guests get none."""
    text = base64.b64encode(data).decode()
    assert padded(text) == padded(text.rstrip("=")) == text
    assert unpadded(text) == text.rstrip("=")


VALUES = st.recursive(
    st.one_of(
        st.fixed_dictionaries({"S": st.text()}),
        st.fixed_dictionaries({"N": st.integers().map(str)}),
        st.fixed_dictionaries({"BOOL": st.booleans()}),
        st.fixed_dictionaries({"B": st.binary().map(lambda data: base64.b64encode(data).decode())}),
        st.fixed_dictionaries({"BS": st.lists(st.binary().map(lambda data: base64.b64encode(data).decode()))}),
    ),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"L": st.lists(inner)}),
        st.fixed_dictionaries({"M": st.dictionaries(st.sampled_from(["B", "BS", "L", "M", "x"]), inner)}),
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["B", "BS", "M", "id"]), VALUES))
def test_an_item_that_loses_its_padding_and_gets_it_back_is_the_same(item):
    """Nothing but binaries is ever changed, also where attributes are called like types."""
    text = orjson.dumps(item)
    for_guests = orjson.loads(text)
    change_binaries(for_guests, unpadded)
    assert parse(orjson.dumps(for_guests), "the item") == item
    assert parse(text, "the item") == item


@given(
    st.recursive(
        st.none() | st.booleans() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_an_item_of_any_shape_harms_nobody(value):
    """The service will say what it thinks of it."""
    if isinstance(value, dict):
        assert parse(orjson.dumps(value), "the item") is not None
    else:
        with pytest.raises(AwsFailure, match="not a JSON object"):
            parse(orjson.dumps(value), "the item")


# -- what is kept of secrets


def test_what_is_kept_is_bounded_for_each_function_and_for_all():
    """A function that asks for many drives out its own; the oldest go first."""
    kept = Kept()
    for number in range(MOST_KEPT_OF_ONE + 10):
        kept.put(("ns", "greedy"), (str(number),), number, SECRET)
    assert len(kept) == MOST_KEPT_OF_ONE
    assert kept.get(("ns", "greedy"), ("9",)) is None
    assert kept.get(("ns", "greedy"), ("10",)) == (10, SECRET)
    for number in range(MOST_KEPT + 10):
        kept.put(("ns", str(number)), ("x",), number, SECRET)
    assert len(kept) == MOST_KEPT
    assert kept.get(("ns", "greedy"), ("20",)) is None
    assert kept.get(("ns", str(MOST_KEPT + 9)), ("x",)) is not None
    assert sum(kept._counts.values()) == MOST_KEPT


@pytest.mark.parametrize(("name", "value"), [("x", "v" * MOST_KEPT_BYTES), ("x" * MOST_KEPT_BYTES, b"v")])
def test_what_is_too_large_is_not_kept(name, value):
    """Nor is what was there before: it would be answered instead of the newer one."""
    kept = Kept()
    kept.put(("ns", "f"), ("region", name, None), 0, SECRET)
    kept.put(("ns", "f"), ("region", name, None), 1, SECRET._replace(secret=("secret-string", value)))
    assert kept.get(("ns", "f"), ("region", name, None)) is None
    assert not kept._counts


def test_a_value_that_is_kept_again_is_kept_once():
    """With its new time."""
    kept = Kept()
    for time in range(3):
        kept.put(("ns", "f"), ("x",), time, SECRET)
    assert len(kept) == 1
    assert kept.get(("ns", "f"), ("x",)) == (2, SECRET)
