"""`Client`: the command line's way to a running server; every way to fail is one line that says what to do.

The token to show comes from GUESTHOUSE_TOKEN.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import click

import guesthouse
from guesthouse.cli.output import Failure

if TYPE_CHECKING:
    from httpx2 import Response

CONNECT_SECONDS = 5.0
PROBLEM = "urn:guesthouse:problem:"
TOKEN_HEADER = "x-momento-authorization"
"""Carries our token, so that `authorization` stays free for the function."""
LOG = "`guesthouse logs {function} --invocation {invocation}` shows it"
HINTS = {
    "unauthorized": "set GUESTHOUSE_TOKEN to a token made by `guesthouse token create`",
    "not-granted": "`guesthouse inspect FILE` prints the grants that it needs",
    "guest-trapped": LOG,
    "bad-answer": LOG,
    "command-failed": LOG,
}


class Client:
    """Talks to the server at `url`; use it as a context manager."""

    def __init__(self, url: str) -> None:
        import httpx2

        self.url = url.rstrip("/")
        host = _host_of(self.url)
        if host is None:
            raise click.UsageError(f"{url!r} is not the URL of a server: it looks like http://127.0.0.1:8080")
        headers = {"user-agent": f"guesthouse/{guesthouse.__version__}", "accept-encoding": "identity"}
        token = os.environ.get("GUESTHOUSE_TOKEN")
        if token:
            headers[TOKEN_HEADER] = token
        self._client = httpx2.Client(
            headers=headers,
            timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS),
            trust_env=not _is_local(host),  # a proxy from the environment does not know this machine
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def ask(self, method: str, path: str, **options: Any) -> Response:
        """The whole answer; raises `Failure` for one that is not 2xx."""
        with self.stream(method, path, **options) as response:
            response.read()
            if not response.is_success:
                raise failure_of(response)
            return response

    @contextmanager
    def stream(self, method: str, path: str, **options: Any) -> Iterator[Response]:
        """The answer while it arrives, whatever its status; raises `Failure` where there is none."""
        import httpx2

        try:
            with self._client.stream(method, self.url + path, **options) as response:
                yield response
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise Failure(f"cannot reach {self.url}: is `guesthouse serve` running there? ({_reason(error)})") from None
        except (httpx2.InvalidURL, httpx2.LocalProtocolError, UnicodeEncodeError) as error:
            raise click.UsageError(f"this cannot be sent: {error}") from None
        except httpx2.RemoteProtocolError as error:
            raise Failure(f"{self.url} broke the answer off: {_reason(error)}") from None
        except httpx2.TransportError as error:
            raise Failure(f"the connection to {self.url} broke: {_reason(error)}") from None


def management_path(namespace: str, name: str = "", more: str = "") -> str:
    """The path of a management route."""
    return "/".join(["/functions/manage", *(quote(part, safe="") for part in (namespace, name, more) if part)])


def that_it_may_read() -> str:
    """For a list that is empty: a token is shown only what it has the scope `read` for."""
    return " that the token may read" if os.environ.get("GUESTHOUSE_TOKEN") else ""


def problem_of(response: Response) -> dict[str, Any] | None:
    """The problem that the server (not a function) answered, if it did."""
    if not response.headers.get("content-type", "").startswith("application/problem+json"):
        return None
    try:
        document = response.json()
    except ValueError:
        return None
    known = isinstance(document, dict) and str(document.get("type", "")).startswith(PROBLEM)
    return document if known else None


def failure_of(response: Response, function: str = "NAME", hint: str | None = None) -> Failure:
    """Why the server did not do it, in one line; `function` is whose log a hint may name, `hint` stands in for ours."""
    document = problem_of(response)
    if document is None:
        where = f"{response.url.scheme}://{response.url.netloc.decode('ascii', 'replace')}"
        return Failure(f"{where} answered {response.status_code} without saying why: is that a guesthouse?")
    detail = str(document.get("detail") or document.get("title") or f"status {response.status_code}")
    known = HINTS.get(document["type"].removeprefix(PROBLEM), "")
    hint = hint or known.format(function=function, invocation=document.get("invocation_id", "ID"))
    if "retry-after" in response.headers:
        hint = f"try again in {response.headers['retry-after']} s"
    return Failure(f"{detail.rstrip('.')}: {hint}" if hint else detail, document)


def _host_of(url: str) -> str | None:
    """The host in the URL of a server; `None` where it is none."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts.hostname if parts.scheme in ("http", "https") else None


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
