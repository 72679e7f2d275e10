"""`Config`: everything that a person can set about a host, from flags, `GUESTHOUSE_…` variables and `guesthouse.toml`.

Each setting stands here once, with its default and its reason; unknown names are refused.  `config_sources` reads them.  Only
`serve` and the command line import this module; the library takes arguments.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from guesthouse.limits import LONGEST_MS, MAX_DISPOSABLE_SECONDS, CacheLimits, KiB, Limits, MiB

FILE = "guesthouse.toml"
PREFIX = "GUESTHOUSE_"

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
    connections_per_server: Annotated[int, Field(ge=1, le=1 << 16)] = 128
    """Requests of one function to one server at once; as many more may wait for their turn, any others fail."""


class Callbacks(Section):
    """How results of queued calls are delivered; the same words as `dispatch.deliveries.CallbackConfig`."""

    secret: str | None = Field(default=None, repr=False)
    """Signs them, as Standard Webhooks has it: `whsec_` and 24 to 64 bytes in base64; by default they are not signed."""
    attempts: Annotated[int, Field(ge=1, le=1_000)] = 8
    """Tries of one callback in all."""
    at_once: Annotated[int, Field(ge=1, le=10_000)] = 64
    """Callbacks that are under way at the same time."""
    at_once_per_destination: Annotated[int, Field(ge=1, le=10_000)] = 8
    """Of them to one server."""
    timeout_seconds: Annotated[float, Field(ge=0.1, le=3_600)] = 10.0
    """How long a receiver may take to answer."""
    min_wait_seconds: Annotated[float, Field(ge=0.001, le=86_400)] = 10.0
    """The first wait is a random time up to this, each further one up to twice as much."""
    max_wait_seconds: Annotated[float, Field(ge=0.001, le=86_400)] = 3_600.0
    """The longest wait."""

    @model_validator(mode="after")
    def _waits_in_order(self) -> Callbacks:
        if self.min_wait_seconds > self.max_wait_seconds:
            raise ValueError("min_wait_seconds is longer than max_wait_seconds")
        return self


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


class Queue(Section):
    """Bounds of queued calls; the same words as `queue.config.QueueConfig`."""

    inflight: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Queued calls that run at once; by default half of the guests that can be alive, 256 at most."""
    body_bytes: Annotated[int, Field(ge=1, le=64 * MiB)] = MiB
    """Largest body of a queued call: it is written to disk before it is acknowledged."""
    output_bytes: Annotated[int, Field(ge=1, le=64 * MiB)] = 4 * MiB
    """Largest answer of a queued call: it is kept, and while it is written all other writes wait."""
    max_calls: Count = 1_000_000
    """Calls that wait or run, half of them of one function and three quarters of one namespace; more are refused with 429."""
    max_bytes: Count = 4096 * MiB
    """Of their requests, in the same shares."""
    max_dead_days: Annotated[int, Field(ge=1, le=3_660)] = 30
    """How long a dead letter keeps its request."""
    max_dead_bytes: Count = 256 * MiB
    """Of all dead letters; the oldest lose their requests first."""
    state_bytes: Count = 1024 * MiB
    """Of the state of all keys of durable functions, half of them of one function and three quarters of one namespace."""
    state_key_bytes: Annotated[int, Field(ge=1_024, le=1024 * MiB)] = 16 * MiB
    """Of the state of one key: it is on disk for as long as nobody clears it."""
    idempotency_hours: Annotated[int, Field(ge=1, le=8_784)] = 24
    """How long an Idempotency-Key stands for its call."""
    lease_seconds: Annotated[int, Field(ge=3, le=3_600)] = 30
    """A call that runs is its process's alone for so long, and that says three times as often that it still lives."""


class Invocations(Section):
    """What is written down of invocations; the same words as `queue.config.InvocationsConfig`."""

    record: Literal["off", "failed", "all"] = "failed"
    """Which synchronous invocations: none, those that failed (no answer, or a status from 500 on), or all of them."""
    keep_days: Annotated[int, Field(ge=1, le=3_660)] = 7
    """How long records, answers and journals are kept."""
    keep_bytes: Count = 1024 * MiB
    """Of all of them; the oldest go first."""
    flight: Literal["off", "failed", "sampled", "all"] = "off"
    """Whose calls are recorded so that they can be replayed, of functions that are not durable: nobody's, those that failed, a
    random share of all, or all.  It costs each host call some microseconds."""
    flight_sample: Annotated[float, Field(gt=0, le=1)] = 0.01
    """That share."""
    flight_bytes: Annotated[int, Field(ge=KiB, le=64 * MiB)] = MiB
    """Request and journal of one of them, in memory as long as it runs; what is longer is not recorded."""


class OpenFaas(Section):
    """What tools of OpenFaaS find here."""

    images_dir: Path | None = None
    """A folder whose modules can be deployed by name: the image `tools/cat:latest` is the file `tools/cat.wasm` in it."""
    public_functions: bool = False
    """Whether `/function/` and `/async-function/` ask nobody for a token, as OpenFaaS does: its own client shows none."""


class Config(BaseSettings):
    """The settings of `guesthouse serve`; made by `config_sources.load`."""

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
    public_urls: tuple[str, ...] = ()
    """Where clients reach this server, like `https://fn.example.org`; tokens name the first.  By default where it listens."""
    http: Http = Field(default_factory=Http)
    tokens: Tokens = Field(default_factory=Tokens)
    topics: Topics = Field(default_factory=Topics)
    cache: Cache = Field(default_factory=Cache)
    outbound: Outbound = Field(default_factory=Outbound)
    valkey: Valkey = Field(default_factory=Valkey)
    callbacks: Callbacks = Field(default_factory=Callbacks)
    grants: Grants = Field(default_factory=Grants)
    queue: Queue = Field(default_factory=Queue)
    invocations: Invocations = Field(default_factory=Invocations)
    openfaas: OpenFaas = Field(default_factory=OpenFaas)
    images: dict[str, Path] = Field(default_factory=dict)
    """Modules that can be deployed by name through OpenFaaS's interface: files by their images, with or without a tag."""
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
    switch_interval_seconds: Annotated[float, Field(gt=0, le=1)] = 0.0001
    """How long one Python thread may keep the others waiting: the thread that writes waits so long at each statement."""

    @field_validator("limits")
    @classmethod
    def _known_limits(cls, limits: dict[str, int]) -> dict[str, int]:
        Limits().with_changes(limits)
        return limits

    @field_validator("public_urls")
    @classmethod
    def _urls_of_hosts(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            if not PUBLIC_URL.fullmatch(url):
                raise ValueError("each has to be http:// or https://, a host, and a port if need be")
        return urls

    @property
    def public_endpoint(self) -> str | None:
        """Host and port of the first of `public_urls`."""
        return self.public_urls[0].partition("://")[2].rstrip("/") if self.public_urls else None

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
