"""Secrets Manager from guests of both generations, in every form, against moto's server."""

from __future__ import annotations

import pytest

from aws_server import KEYS, REGION, WHO_ROLE, WITH_ENVIRONMENT, again, ask, example

NEW, OLD = "aws-secrets-calls", "old-aws-secrets-calls"
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
def clock(host):
    """The host's clock."""
    return host.inner._clock


@pytest.fixture
def secret(aws_server, relay, clock):
    """A secret, and what making it answered; all that was kept of earlier ones is too old by now."""
    clock.wait(10_000_000)
    return aws_server.do("secretsmanager", "create_secret", Name="prod/key", SecretString="hé")


def asked(relay):
    """How many requests for a secret have arrived."""
    return sum("GetSecretValue" in request.headers.get("x-amz-target", "") for request in relay.requests)


# -- values


@pytest.mark.parametrize("name", BOTH)
def test_a_secret_comes_with_all_that_is_known_of_it(host, secret, aws_server, name):
    """By its name, and by its ARN."""
    created = aws_server.do("secretsmanager", "get_secret_value", SecretId="prod/key")["CreatedDate"]
    for known_as in ("prod/key", secret["ARN"]):
        assert ask(host, name, id=known_as) == {
            "arn": secret["ARN"],
            "created": int(created.timestamp()),
            "name": "prod/key",
            "secret": {"string": "hé"},
            "version": secret["VersionId"],
            "stages": ["AWSCURRENT"],
        }


@pytest.mark.parametrize("name", BOTH)
def test_a_secret_of_bytes_is_bytes(host, secret, aws_server, name):
    """Any bytes, whatever they would be as text."""
    aws_server.do("secretsmanager", "create_secret", Name="raw", SecretBinary=b"\x00\xff")
    assert ask(host, name, id="raw")["secret"] == {"bytes": [0, 255]}


@pytest.mark.parametrize("name", BOTH)
def test_a_version_can_be_asked_for(host, secret, aws_server, name):
    """By its id or its stage."""
    second = aws_server.do("secretsmanager", "put_secret_value", SecretId="prod/key", SecretString="new")
    assert ask(host, name, id="prod/key")["version"] == second["VersionId"]
    for which in ({"version": secret["VersionId"]}, {"stage": "AWSPREVIOUS"}):
        found = ask(host, name, id="prod/key", **which)
        assert (found["secret"], found["version"]) == ({"string": "hé"}, secret["VersionId"])


@pytest.mark.parametrize("name", BOTH)
def test_a_secret_that_is_not_there_has_a_case_of_its_own(host, secret, name):
    """Also a version that is not there."""
    assert ask(host, name, id="nothing") == {"error": ["not-found"]}
    assert ask(host, name, id="prod/key", stage="NEVER") == {"error": ["not-found"]}


@pytest.mark.parametrize("name", BOTH)
def test_a_name_that_cannot_be_is_malformed(host, secret, relay, name):
    """It is refused before anything is sent."""
    assert ask(host, name, id="")["error"][0] == "malformed"
    assert asked(relay) == 0


# -- staleness


@pytest.mark.parametrize("name", BOTH)
def test_without_staleness_the_service_is_asked_each_time(host, secret, relay, name):
    """And so the newest value is answered."""
    for _ in range(3):
        ask(host, name, id="prod/key", staleness=0)
    assert asked(relay) == 3


@pytest.mark.parametrize("name", BOTH)
def test_a_value_is_answered_again_while_it_is_young_enough(host, secret, aws_server, relay, clock, name):
    """By the staleness of each call: 60 seconds are fine for one of 50, and too old for one of 70."""
    assert ask(host, name, id="prod/key", staleness=60)["secret"] == {"string": "hé"}
    aws_server.do("secretsmanager", "put_secret_value", SecretId="prod/key", SecretString="new")
    clock.wait(50)
    assert ask(host, name, id="prod/key", staleness=60)["secret"] == {"string": "hé"}
    assert asked(relay) == 1
    clock.wait(20)
    assert ask(host, name, id="prod/key", staleness=2**63)["secret"] == {"string": "hé"}
    assert asked(relay) == 1
    assert ask(host, name, id="prod/key", staleness=60)["secret"] == {"string": "new"}
    assert asked(relay) == 2


@pytest.mark.parametrize("name", BOTH)
def test_a_value_that_was_asked_for_anew_is_kept_for_the_others(host, secret, aws_server, relay, name):
    """A call without staleness refreshes what the next one with staleness gets."""
    ask(host, name, id="prod/key", staleness=60)
    aws_server.do("secretsmanager", "put_secret_value", SecretId="prod/key", SecretString="new")
    ask(host, name, id="prod/key", staleness=0)
    assert ask(host, name, id="prod/key", staleness=60)["secret"] == {"string": "new"}
    assert asked(relay) == 2


@pytest.mark.parametrize("name", BOTH)
def test_what_is_kept_is_private_to_the_function_and_its_credentials(host, secret, relay, name):
    """Another function, other keys, a role, another region, another version: each asks for itself."""
    again(host, name)
    other_keys = {"region": REGION, "keys": [KEYS.access_key_id, "another secret"]}
    ask(host, name, id="prod/key", staleness=60)
    for order in (
        {"who": other_keys},
        {"who": WHO_ROLE},
        {"stage": "AWSCURRENT"},
        {"version": secret["VersionId"]},
        {"id": secret["ARN"]},
    ):
        before = asked(relay)
        assert "secret" in ask(host, name, **{"id": "prod/key", "staleness": 60, **order})
        assert asked(relay) == before + 1, order
    before = asked(relay)
    ask(host, "again", id="prod/key", staleness=60)
    assert asked(relay) == before + 1
    ask(host, name, id="prod/key", staleness=60)
    assert asked(relay) == before + 1


@pytest.mark.parametrize("name", BOTH)
def test_a_failure_is_not_kept(host, secret, aws_server, relay, name):
    """A secret that is made later is found at once."""
    assert ask(host, name, id="later", staleness=60) == {"error": ["not-found"]}
    aws_server.do("secretsmanager", "create_secret", Name="later", SecretString="now")
    assert ask(host, name, id="later", staleness=60)["secret"] == {"string": "now"}


# -- grants, roles, and the crate's own client


@pytest.mark.parametrize("name", BOTH)
def test_a_grant_names_secrets(host, secret, aws_server, relay, name):
    """Anything else is unauthorized and never asked for, also what was kept under another grant."""
    aws_server.do("secretsmanager", "create_secret", Name="dev/key", SecretString="dev")
    again(host, name)
    assert "secret" in ask(host, "again", id="prod/key", staleness=60)
    again(host, name, grants=["aws-auth", "aws-secrets:dev/*"])
    assert ask(host, "again", id="dev/key")["secret"] == {"string": "dev"}
    before = asked(relay)
    for known_as in ("prod/key", secret["ARN"]):
        case, text = ask(host, "again", id=known_as, staleness=60)["error"]
        assert (case, text) == ("unauthorized", f"this function was not granted aws-secrets:{known_as}")
    assert asked(relay) == before


@WITH_ENVIRONMENT
def test_the_example_asks_once_in_ten_minutes(host, secret, relay, clock, request):
    """Its role is assumed once as well."""
    name = example(host, "aws-secret", request)
    for _ in range(3):
        assert host.invoke(name, path="prod/key").unwrap().text == "3 bytes"
    assert asked(relay) == 1
    clock.wait(601)
    host.invoke(name, path="prod/key").unwrap()
    assert asked(relay) == 2


@pytest.mark.parametrize("name", BOTH)
def test_nothing_is_kept_where_no_staleness_was_ever_allowed(host, aws_server, name):
    """What nobody may be answered again is not left in memory."""
    interface = next(one for one in host.inner.interfaces if one.name == "aws-secrets")
    aws_server.do("secretsmanager", "create_secret", Name="unkept", SecretString="x")
    before = len(interface._kept)
    ask(host, name, id="unkept", staleness=0)
    assert len(interface._kept) == before
    ask(host, name, id="unkept", staleness=1)
    assert len(interface._kept) == before + 1
