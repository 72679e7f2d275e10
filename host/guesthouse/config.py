"""`Config`: everything that a person can set about a host, from flags, `GUESTHOUSE_…` variables and `guesthouse.toml`.

Promises: a source never hides a mistake in another one, unknown names are refused, every error is one line that says
what is wrong where.  Only `serve` and the command line import this module; the library takes arguments.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from guesthouse.errors import BadRequest
from guesthouse.limits import LONGEST_MS, MAX_DISPOSABLE_SECONDS, CacheLimits, KiB, Limits, MiB

FILE = "guesthouse.toml"
PREFIX = "GUESTHOUSE_"
MOST_FILE_BYTES = 64 * KiB
CLIENT_VARIABLES = frozenset({"CONFIG", "TOKEN", "URL"})
"""Variables with our prefix that the command line reads for itself."""

PUBLIC_URL = re.compile(r"https?://(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?/?")

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Count = Annotated[int, Field(gt=0, le=1 << 40)]


class Section(BaseModel):
    """A group of settings; unknown names in it are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Listen(Section):
    """Where the gateway listens."""

    host: str = "127.0.0.1"
    """Without any token in the store, only addresses of this machine alone are accepted."""
    port: Port = 8080


class Http(Section):
    """Bounds of the gateway's connections and requests, before any function is chosen."""

    header_seconds: Seconds = 5.0
    """A request's line and headers have to be there by then: for slow clients on bad networks still plenty."""
    body_grace_seconds: Seconds = 5.0
    """How long a body may arrive more slowly than `body_bytes_per_second`."""
    body_bytes_per_second: Count = KiB
    """The slowest body, and the slowest reader of an answer, that is not taken for an attack."""
    write_stall_seconds: Seconds = 30.0
    """How long a client may read its answer more slowly than that."""
    keep_alive_seconds: Seconds = 15.0
    """How long a connection may be idle between two requests."""
    linger_seconds: Seconds = 2.0
    """How long a refused client may go on sending until the connection closes, so that it can read the refusal."""
    header_bytes: Count = 32 * KiB
    """Names and values of one request's headers: four times what common servers take."""
    header_count: Count = 100
    """Header fields of one request."""
    uri_bytes: Count = 8 * KiB
    """Path and query of one request."""
    query_parameters: Count = 1_000
    """Parameters in one query."""
    collect_bytes: Count = 256 * KiB
    """Bodies up to this size are received before the function starts; larger ones are streamed to it."""
    connections: Count = 10_000
    """Open connections; fewer where the process may not have so many files."""
    connections_per_address: Count = 100
    """Open connections from one address."""
    trusted_addresses: tuple[str, ...] = ("127.0.0.1", "::1")
    """Addresses that this does not count for: a reverse proxy's, this machine's own."""
    pipelined_requests: Count = 64
    """Requests that may wait on one connection while an earlier one is answered."""


class Tokens(Section):
    """Disposable tokens: those that guests make for their clients."""

    longest_seconds: Annotated[int, Field(ge=1, le=MAX_DISPOSABLE_SECONDS)] = MAX_DISPOSABLE_SECONDS
    """The longest life that one can be given."""


class Topics(Section):
    """Bounds of topics; the same words as `interfaces.topic.TopicLimits`."""

    message_bytes: Annotated[int, Field(ge=1, le=MiB)] = 4 * KiB
    """Largest message."""
    backlog: Annotated[int, Field(ge=1, le=1_000_000)] = 1_000
    """Messages that wait for one subscriber; what comes then is missed, and counted."""
    backlog_bytes: Count = 256 * KiB
    """Bytes of messages that wait for one subscriber."""
    subscriptions: Count = 1_000
    """Open subscriptions, each a connection that stays."""
    subscriptions_per_topic: Count = 500
    """Open subscriptions of one topic."""


class Cache(Section):
    """Where the cache is kept, and its bounds; the same words as `limits.CacheLimits`."""

    url: str | None = Field(default=None, repr=False)
    """Of a Valkey or Redis server to keep it on: `redis://[user:password@]host[:port][/database]`."""
    persist: bool = False
    """Keeps it in the data directory, so that it survives the process; otherwise in memory."""
    max_bytes: Count = 256 * MiB
    """Of all items together, in memory or in the data directory; what is used least is forgotten then."""
    key_bytes: Annotated[int, Field(ge=1, le=MiB)] = CacheLimits.key_bytes
    item_bytes: Annotated[int, Field(ge=1, le=64 * MiB)] = CacheLimits.item_bytes
    ttl_ms: Annotated[int, Field(ge=1, le=LONGEST_MS)] = CacheLimits.ttl_ms
    element_bytes: Annotated[int, Field(ge=1, le=16 * MiB)] = CacheLimits.element_bytes
    list_elements: Annotated[int, Field(ge=1, le=1_000_000)] = CacheLimits.list_elements
    list_bytes: Annotated[int, Field(ge=1, le=128 * MiB)] = CacheLimits.list_bytes

    @model_validator(mode="after")
    def _in_one_place(self) -> Cache:
        if self.url is not None and self.persist:
            raise ValueError("give url or persist, not both")
        return self


class Outbound(Section):
    """Where guests may send HTTP requests to; the same words as `net.OutboundPolicy.of`."""

    schemes: tuple[str, ...] = ("https",)
    hosts: tuple[str, ...] | None = None
    """`[METHODS ][https://]host[:port]` for each allowed host; none given: any public one."""
    allow_addresses: tuple[str, ...] = ()
    """Networks that may be reached although they are not public."""
    overrides: dict[str, str] = Field(default_factory=dict)
    """Addresses of hosts, instead of those that DNS has."""
    extra_ca: Path | None = None
    """A PEM file of certificate authorities to trust beside the system's."""
    connections: Annotated[int, Field(ge=4, le=1 << 16)] | None = None
    """Requests at once, a quarter of them for one function; by default as many as the process may have files for."""


class Grants(Section):
    """What functions may use that are deployed without any grants."""

    default: Literal["all", "none"] = "all"
    """all: whatever the host offers, and public addresses.  none: a deploy has to name what its guest uses."""


class Valkey(Section):
    """Valkey and Redis servers for guests."""

    clusters: dict[str, str] = Field(default_factory=dict, repr=False)
    """URLs by the names that guests know them by: `redis://[user:password@]host[:port][/database]`, `rediss://`, `unix:`."""


class Aws(Section):
    """Where AWS is, and who the host is there; the same words as `net.AwsConfig.of`."""

    access_key_id: str | None = None
    """The host's own credentials: they assume the roles that guests name, and do nothing else."""
    secret_access_key: str | None = Field(default=None, repr=False)
    session_token: str | None = Field(default=None, repr=False)
    credentials_from_environment: bool = False
    """Takes them from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN instead."""
    endpoint_url: str | None = None
    """Where all services are, instead of at AWS: another implementation, or a server for tests."""
    endpoints: dict[str, str] = Field(default_factory=dict)
    """The same for single services: dynamodb, lambda, logs, s3, secretsmanager, sts."""
    log_region: str = "us-east-1"
    """Where log groups of CloudWatch are that guests name without a region."""
    connect_timeout_seconds: Seconds = 5.0
    attempts: Annotated[int, Field(ge=1, le=10)] = 3
    """How often a call is tried in all where the service says that it may be."""


class Config(BaseSettings):
    """The settings of `guesthouse serve`; make one with `load`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, validate_default=True
    )
    file: ClassVar[Mapping[str, Any] | None] = {}
    """What `load` read from the file, in the class that it derives; `None`: no source but the arguments."""

    data_dir: Path = Field(default_factory=lambda: platformdirs.user_data_path("guesthouse", appauthor=False))
    """Functions, tokens and compiled modules live here; made where it is missing, readable by its owner only."""
    namespace: str = "default"
    """Where functions go that are deployed without a namespace."""
    listen: Listen = Field(default_factory=Listen)
    public_url: str | None = None
    """Under which clients reach this server, like `https://fn.example.org`; by default where it listens."""
    http: Http = Field(default_factory=Http)
    tokens: Tokens = Field(default_factory=Tokens)
    topics: Topics = Field(default_factory=Topics)
    cache: Cache = Field(default_factory=Cache)
    outbound: Outbound = Field(default_factory=Outbound)
    valkey: Valkey = Field(default_factory=Valkey)
    grants: Grants = Field(default_factory=Grants)
    keep_versions: Annotated[int, Field(ge=2, le=10_000)] = 20
    """Versions of each function that stay to go back to; a pinned one and those that run stay besides."""
    aws: Aws = Field(default_factory=Aws)
    limits: dict[str, int] = Field(default_factory=dict)
    """Changes to the defaults of `guesthouse.limits.Limits`."""
    module_bytes: Count = 64 * MiB
    """Largest module that can be deployed."""
    log_format: Literal["text", "json"] = "text"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    drain_seconds: Seconds = 30.0
    """How long running invocations may take to end after SIGTERM."""
    workers: Annotated[int, Field(ge=1, le=256)] | None = None
    """Threads for guests that use up their first slice; by default as many as there are processors."""
    switch_interval_seconds: Annotated[float, Field(gt=0, le=1)] = 0.0005
    """How long one Python thread may keep the others waiting: the default of 5 ms would be added to every request."""

    @field_validator("limits")
    @classmethod
    def _known_limits(cls, limits: dict[str, int]) -> dict[str, int]:
        Limits().with_changes(limits)
        return limits

    @field_validator("public_url")
    @classmethod
    def _url_of_a_host(cls, url: str | None) -> str | None:
        if url is not None and not PUBLIC_URL.fullmatch(url):
            raise ValueError("it has to be http:// or https://, a host, and a port if need be")
        return url

    @property
    def public_endpoint(self) -> str | None:
        """Host and port of `public_url`."""
        return None if self.public_url is None else self.public_url.partition("://")[2].rstrip("/")

    @property
    def default_grants(self) -> tuple[str, ...] | None:
        """The grants of a function that is deployed without any: `None` for everything."""
        return None if self.grants.default == "all" else ()

    @property
    def default_limits(self) -> Limits:
        """The limits of a function that is deployed without any."""
        return Limits().with_changes(dict(self.limits))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, then variables, then the file."""
        file = cls.file
        return (init_settings,) if file is None else (init_settings, env_settings, InitSettingsSource(cls, dict(file)))


def load(
    flags: Mapping[str, Any] | None = None,
    path: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Config:
    """The settings from `flags` (nested like the file; `None` values count as not given), the environment and the file.

    `path` has to exist if it is given; otherwise `guesthouse.toml` in the working directory is read where there is one.
    Raises `BadRequest` with one line that says what is wrong where.
    """
    _check_variables(os.environ if environment is None else environment)
    source = path or Path(FILE)
    read = _read(source) if path is not None or source.is_file() else {}
    _check(read, str(source))
    try:
        sources = _derive(read)
        sources()  # a flag does not hide what is wrong with a variable
        return sources(**dict(_without_none(flags or {})))
    except ValidationError as error:
        raise BadRequest(f"configuration: {_first(error)}") from None
    except ValueError as error:  # JSON in a variable that does not parse
        raise BadRequest(f"configuration: {error}") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(MOST_FILE_BYTES + 1)
    except OSError as error:
        raise BadRequest(f"{path}: {error.strerror}") from None
    if len(text) > MOST_FILE_BYTES:
        raise BadRequest(f"{path}: over {MOST_FILE_BYTES} bytes")
    try:
        return tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"{path}: {str(error) or 'nested too deeply'}") from None


def _check(read: Mapping[str, Any], source: str) -> None:
    """Finds the file's own mistakes, also those that another source would hide."""
    try:
        _derive(None)(**read)
    except ValidationError as error:
        raise BadRequest(f"{source}: {_first(error)}") from None


def _derive(file: Mapping[str, Any] | None) -> type[Config]:
    """`Config` with `file` as its lowest source: pydantic-settings asks the class for its sources, not the object."""
    return type("Config", (Config,), {"file": file, "__module__": __name__})


def _check_variables(environment: Mapping[str, str]) -> None:
    known = {name.upper() for name in Config.model_fields} | CLIENT_VARIABLES
    for variable in sorted(environment):
        if variable.startswith(PREFIX) and variable.removeprefix(PREFIX).partition("__")[0].upper() not in known:
            raise BadRequest(f"environment variable {variable}: there is no such setting")


def _without_none(flags: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in flags.items():
        if isinstance(value, Mapping):
            yield name, dict(_without_none(value))
        elif value is not None:
            yield name, value


def _first(error: ValidationError) -> str:
    """The first of the mistakes, on one line, without its value (which may be a secret)."""
    found = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(part) for part in found["loc"])
    unknown = found["type"] == "extra_forbidden"
    message = "there is no such setting" if unknown else found["msg"].removeprefix("Value error, ")
    return " ".join(f"{place}: {message}".split())
