"""`Deployment`: one immutable version of one function, and `Manifest`: what a person says about it at deploy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from guesthouse.errors import BadRequest, NotFound
from guesthouse.limits import Limits
from guesthouse.registry.policy import MOST_SCHEDULES, DurablePolicy, FlowPolicy, RetryPolicy, Schedule
from guesthouse.registry.topics import check_topics

NAME = re.compile(r"[a-z0-9](?:-?[a-z0-9]){0,62}\Z")
MAX_NAME = 63
"""Characters of a name: the pattern alone would let hyphens through on top of them."""
MAX_GRANTS = 256
"""Grants of one deployment: each is compared with what the guest asks for."""
MAX_GRANT_BYTES = 1024
"""Bytes of one grant: a pattern with a URL in it."""
MOST_LABELS = 256
"""Labels and annotations of one deployment, together."""
MAX_LABEL_BYTES = 64 * 1024
"""Of all labels, annotations and arguments together."""
MOST_ARGUMENTS = 256
MOST_SECRETS = 256
"""Secrets of one deployment: its files are laid out for each invocation that looks for them."""
SECRET = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?\Z")
"""What can name a secret: a file name without a way out of its folder."""
ANSWERING = frozenset({"web", "command"})
"""Kinds of functions that answer requests."""
CALLABLE = ANSWERING | {"spawn"}
"""Kinds of functions that can be queued: the exports of a library have types of their own."""
RESERVED_NAMESPACES = frozenset({"manage"})
"""Words that the URLs of the management routes need for themselves."""


def check_name(kind: str, name: str) -> str:
    """`name` if it can name a function or namespace, else `NotFound`: a name that cannot exist does not exist (C5)."""
    if len(name) > MAX_NAME or not NAME.match(name) or (kind == "namespace" and name in RESERVED_NAMESPACES):
        raise NotFound(f"no {kind} can have this name: 1 to 63 of a-z, 0-9 and single hyphens between them")
    return name


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a person says about a function when deploying it."""

    description: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    grants: frozenset[str] | None = None
    """What it may use: `INTERFACE`, or `INTERFACE:PATTERN` for a part of it; `None` allows all that the host offers."""
    topics: frozenset[str] = frozenset()
    """Topics of its namespace whose messages start it, where it is a spawn function."""
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    """When a queued call is tried again."""
    flow: FlowPolicy = field(default_factory=FlowPolicy)
    """How much of it runs at once."""
    schedules: tuple[Schedule, ...] = ()
    """When it is called by itself, through the queue."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Words about it that clients show and select by; they change nothing."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    """As labels, for longer texts."""
    arguments: tuple[str, ...] = ()
    """A command's own name, as a program finds it, and its arguments; none: only the function's name."""
    secrets: frozenset[str] = frozenset()
    """Secrets of its namespace that it finds as files."""
    image: str = ""
    """What a client called the module when it deployed it by a name."""
    durable: DurablePolicy | None = None
    """Its calls are journaled, survive crashes and may be suspended, on these terms; `None`: they are not."""

    def granted(self, interface: str) -> tuple[str, ...] | None:
        """The patterns that the use of `interface` is restricted to: `None` for no restriction, `()` for no use at all."""
        if self.grants is None or interface in self.grants:
            return None
        return tuple(sorted(grant.partition(":")[2] for grant in self.grants if grant.startswith(f"{interface}:")))

    def __post_init__(self) -> None:
        if len(self.description.encode()) > 4096:
            raise BadRequest("the description is over 4096 bytes")
        total = 0
        for name, value in self.environment.items():
            if not name or "=" in name or "\0" in name or "\0" in value or name.startswith("__"):
                raise BadRequest(
                    f"environment variable {name!r}: a name is not empty, has no '=' or NUL, does not begin with '__'"
                )
            total += len(name.encode()) + len(value.encode())
        if len(self.environment) > 256 or total > 64 * 1024:
            raise BadRequest("the environment is over 256 variables or 64 KiB")
        self._check_grants()
        check_topics(self.topics)
        self._check_words()
        if len(self.schedules) > MOST_SCHEDULES:
            raise BadRequest(f"there are over {MOST_SCHEDULES} schedules")
        if len(self.secrets) > MOST_SECRETS:
            raise BadRequest(f"there are over {MOST_SECRETS} secrets")
        for name in self.secrets:
            if not SECRET.match(name):
                raise BadRequest(f"the secret {name[:64]!r}: a name has letters, digits, '.', '_' and '-'")

    def _check_words(self) -> None:
        pairs = (*self.labels.items(), *self.annotations.items())
        texts = [*(text for pair in pairs for text in pair), *self.arguments, self.image]
        if len(pairs) > MOST_LABELS or len(self.arguments) > MOST_ARGUMENTS:
            raise BadRequest(f"there are over {MOST_LABELS} labels and annotations, or {MOST_ARGUMENTS} arguments")
        if any("\0" in text for text in texts) or sum(len(text.encode()) for text in texts) > MAX_LABEL_BYTES:
            raise BadRequest(f"labels, annotations and arguments have no NUL, and {MAX_LABEL_BYTES} bytes at most")

    def _check_grants(self) -> None:
        """What can be said of grants without knowing the interfaces."""
        grants = self.grants or frozenset()
        if len(grants) > MAX_GRANTS:
            raise BadRequest(f"there are over {MAX_GRANTS} grants")
        for grant in grants:
            if not grant.isprintable() or len(grant.encode()) > MAX_GRANT_BYTES:
                raise BadRequest(f"the grant {grant[:64]!r}: it is over {MAX_GRANT_BYTES} bytes or not printable text")


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Deployment:
    """One immutable version of one function: a name, the digest of what runs, and the rules it runs under."""

    namespace: str
    name: str
    version: int
    digest: str
    """SHA-256 of the deployed bytes, in hexadecimal."""
    kind: str
    """web, spawn, command (a WASI program), or library (exports that are only called from Python)."""
    size: int
    """Length of the deployed bytes."""
    created_ms: int
    """Milliseconds since 1970-01-01 UTC."""
    manifest: Manifest = field(default_factory=Manifest)
    imports: frozenset[str] = frozenset()
    """Names of the host's interfaces that it uses."""

    @property
    def path(self) -> str:
        """`namespace/name`, the way people and metrics write it."""
        return f"{self.namespace}/{self.name}"
