"""`load`: the settings from flags, `GUESTHOUSE_…` variables and `guesthouse.toml`.

Promises: a source never hides a mistake in another one, unknown names are refused, every error is one line that says
what is wrong where.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from guesthouse.config import FILE, PREFIX, Config
from guesthouse.errors import BadRequest
from guesthouse.limits import KiB

MOST_FILE_BYTES = 64 * KiB
CLIENT_VARIABLES = frozenset({"CONFIG", "TOKEN", "URL"})
"""Variables with our prefix that the command line reads for itself."""


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
    return type("Config", (Config,), {"file": file, "__module__": Config.__module__})


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
