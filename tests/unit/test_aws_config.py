"""The section `[aws]` of the configuration, and what a host makes of it."""

from __future__ import annotations

import os

import pytest

from guesthouse.cli.serve import aws_of
from guesthouse.config import Aws
from guesthouse.config_sources import load
from guesthouse.errors import BadRequest
from guesthouse.net.aws import AwsConfig, Credentials


@pytest.fixture(autouse=True)
def _clean(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith(("GUESTHOUSE_", "AWS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_without_a_section_there_is_aws_and_nobody_to_be_there():
    """Guests with keys of their own need no more."""
    assert aws_of(load().aws) == AwsConfig()


def test_everything_can_be_set(tmp_path):
    """In the file."""
    path = tmp_path / "my.toml"
    path.write_text(
        """
        [aws]
        access_key_id = "AKIA"
        secret_access_key = "hush"
        session_token = "token"
        endpoint_url = "http://localhost:4566"
        connect_timeout_seconds = 1.5
        attempts = 2
        log_region = "eu-west-1"
        [aws.endpoints]
        s3 = "https://minio.example.com:9000"
        """
    )
    config = aws_of(load(path=path).aws)
    assert config == AwsConfig(
        Credentials("AKIA", "hush", "token"),
        "http://localhost:4566",
        {"s3": "https://minio.example.com:9000"},
        "eu-west-1",
        1_500,
        2,
    )
    assert config.endpoint("s3") == "https://minio.example.com:9000"
    assert config.endpoint("sts") == "http://localhost:4566"


def test_secrets_can_be_variables_of_ours(monkeypatch):
    """So that they need not be in a file."""
    monkeypatch.setenv("GUESTHOUSE_AWS__ACCESS_KEY_ID", "AKIA")
    monkeypatch.setenv("GUESTHOUSE_AWS__SECRET_ACCESS_KEY", "hush")
    assert aws_of(load().aws).credentials == Credentials("AKIA", "hush")


def test_variables_of_awss_own_tools_are_read_only_when_they_are_asked_for(monkeypatch):
    """Whoever has them in the shell for something else does not hand them to guests by accident."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    assert aws_of(load().aws).credentials is None
    assert aws_of(Aws(credentials_from_environment=True)).credentials == Credentials("AKIA", "hush", "token")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"access_key_id": "AKIA"}, "both"),
        ({"secret_access_key": "hush"}, "both"),
        ({"credentials_from_environment": True}, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        ({"endpoint_url": "localhost:4566"}, "is not an endpoint"),
        ({"endpoints": {"ddb": "http://localhost"}}, "there is no service 'ddb'"),
    ],
)
def test_what_cannot_be_is_refused_at_start(settings, message):
    """In one line, without the secret."""
    with pytest.raises(BadRequest, match=message) as refused:
        aws_of(Aws(**settings))
    assert "hush" not in str(refused.value)


def test_secrets_are_not_shown():
    """By nobody who prints a configuration."""
    settings = Aws(access_key_id="AKIA", secret_access_key="hush", session_token="token")
    for shown in (repr(settings), repr(aws_of(settings))):
        assert "hush" not in shown
        assert "token=" not in shown
        assert "'token'" not in shown


# -- configuration


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        "ftp://x",
        "http://",
        "http://a:b@c",
        "http://x/?y",
        "http://x/#y",
        "http://x:99999",
        "http://[x",
    ],
)
def test_an_endpoint_that_is_none_is_refused(url):
    """With what it should look like."""
    for config in ({"endpoint_url": url}, {"endpoints": {"s3": url}}):
        with pytest.raises(BadRequest, match="is not an endpoint"):
            AwsConfig.of(**config)


def test_a_service_that_is_not_called_is_refused():
    """Somebody misspelt it."""
    with pytest.raises(BadRequest, match="there is no service 'ddb'; the services are: dynamodb, "):
        AwsConfig.of(endpoints={"ddb": "http://localhost"})


def test_credentials_are_given_or_named_to_be_in_the_environment():
    """Both halves, and from one place."""
    assert AwsConfig.of().credentials is None
    assert AwsConfig.of(access_key_id="a", secret_access_key="b").credentials == Credentials("a", "b")
    found = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_SESSION_TOKEN": "c"}
    assert AwsConfig.of(environment=found).credentials == Credentials("a", "b", "c")
    for half in ({"access_key_id": "a"}, {"secret_access_key": "b"}):
        with pytest.raises(BadRequest, match="both"):
            AwsConfig.of(**half)
    with pytest.raises(BadRequest, match="not both"):
        AwsConfig.of(access_key_id="a", secret_access_key="b", environment=found)
    with pytest.raises(BadRequest, match="set AWS_ACCESS_KEY_ID"):
        AwsConfig.of(environment={"AWS_ACCESS_KEY_ID": "a"})
