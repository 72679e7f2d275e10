"""The configuration: four sources in order, and every mistake in one line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from guesthouse.config import Config
from guesthouse.config_sources import load
from guesthouse.errors import BadRequest
from guesthouse.queue.config import InvocationsConfig, QueueConfig


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("GUESTHOUSE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "my.toml"
    path.write_text(text)
    return path


def test_the_defaults_are_safe() -> None:
    """Loopback, and a directory of one's own."""
    config = load()
    assert (config.listen.host, config.listen.port, config.namespace) == ("127.0.0.1", 8080, "default")
    assert config.data_dir.name == "guesthouse"
    assert config.outbound.schemes == ("https",)


def test_flags_come_before_variables_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Setting by setting, also inside of one section."""
    path = written(tmp_path, '[listen]\nhost = "::1"\nport = 1\n[http]\nconnections = 7\nheader_count = 8\n')
    monkeypatch.setenv("GUESTHOUSE_LISTEN__PORT", "2")
    monkeypatch.setenv("GUESTHOUSE_HTTP__CONNECTIONS", "9")
    config = load({"listen": {"port": 3, "host": None}, "workers": None}, path)
    assert (config.listen.host, config.listen.port) == ("::1", 3)
    assert (config.http.connections, config.http.header_count, config.http.header_bytes) == (9, 8, 32_768)
    assert isinstance(config, Config)


def test_the_file_in_the_working_directory_is_found(tmp_path: Path) -> None:
    """Where none is named."""
    (tmp_path / "guesthouse.toml").write_text('namespace = "mine"')
    assert load().namespace == "mine"


def test_lists_and_tables_can_be_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """As JSON."""
    monkeypatch.setenv("GUESTHOUSE_OUTBOUND__HOSTS", '["api.example.com"]')
    monkeypatch.setenv("GUESTHOUSE_LIMITS__FUEL", "5")
    config = load()
    assert config.outbound.hosts == ("api.example.com",)
    assert config.default_limits.fuel == 5


def test_variables_of_the_command_line_are_not_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients read them for themselves."""
    monkeypatch.setenv("GUESTHOUSE_TOKEN", "secret")
    load()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lisen = 1", ("my.toml", "lisen", "no such setting")),
        ("[listen]\nprot = 1", ("my.toml", "listen.prot", "no such setting")),
        ('[listen]\nport = "x"', ("my.toml", "listen.port")),
        ("[listen]\nport = 70000", ("listen.port", "65535")),
        ("[limits]\nful = 1", ("limits", "ful")),
        ("[limits]\nmemory_bytes = 1", ("memory_bytes",)),
        ("[http]\nheader_seconds = 0", ("http.header_seconds",)),
        ("x =", ("my.toml",)),
        ("a = " + "[" * 5000, ("my.toml",)),
        ("# " + "x" * 70_000, ("my.toml", "65536 bytes")),
    ],
)
def test_a_mistake_in_the_file_is_one_line(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    """That says where and what."""
    with pytest.raises(BadRequest) as raised:
        load(None, written(tmp_path, text))
    assert all(word in str(raised.value) for word in words)
    assert "\n" not in str(raised.value)


def test_a_flag_does_not_hide_a_mistake_in_the_file(tmp_path: Path) -> None:
    """It would come back when the flag is left out."""
    with pytest.raises(BadRequest, match=r"listen\.port"):
        load({"listen": {"port": 1}}, written(tmp_path, '[listen]\nport = "x"'))


@pytest.mark.parametrize("name", ["GUESTHOUSE_LISEN", "GUESTHOUSE_LISTEN__PROT", "GUESTHOUSE_LISTEN__PORT__X"])
def test_an_unknown_variable_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A typing error does not go unnoticed."""
    monkeypatch.setenv(name, "1")
    with pytest.raises(BadRequest):
        load()


@pytest.mark.parametrize("flags", [{"lisen": 1}, {"listen": {"prot": 1}}, {"limits": {"ful": 1}}])
def test_an_unknown_flag_is_refused(flags: dict[str, Any]) -> None:
    """Also where a program gives it."""
    with pytest.raises(BadRequest):
        load(flags)


def test_a_file_that_is_named_has_to_be_there(tmp_path: Path) -> None:
    """Only the one in the working directory may be missing."""
    with pytest.raises(BadRequest, match="No such file"):
        load(None, tmp_path / "nowhere.toml")


def test_an_error_does_not_repeat_the_value(tmp_path: Path) -> None:
    """It may be a secret in the wrong place."""
    with pytest.raises(BadRequest) as raised:
        load(None, written(tmp_path, '[listen]\nport = "hunter2"'))
    assert "hunter2" not in str(raised.value)


def test_a_flag_does_not_hide_a_mistake_in_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would come out on the day when the flag goes."""
    monkeypatch.setenv("GUESTHOUSE_LISTEN__PORT", "none")
    with pytest.raises(BadRequest, match=r"listen\.port"):
        load({"listen": {"port": 1}})


def test_the_sections_of_queue_and_invocations_say_what_the_library_says() -> None:
    """The same words with the same defaults."""
    config = Config()
    assert QueueConfig(**config.queue.model_dump()) == QueueConfig()
    assert InvocationsConfig(**config.invocations.model_dump()) == InvocationsConfig()
