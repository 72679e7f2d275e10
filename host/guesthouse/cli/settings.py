"""The host's configuration, for the commands that need it: a mistake in it is a usage error of one line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guesthouse.cli.output import Failure
from guesthouse.errors import BadRequest

if TYPE_CHECKING:
    from guesthouse.config import Config


def settings(flags: Mapping[str, Any], path: Path | None) -> Config:
    """Flags over environment over file; raises `Failure` with exit status 2."""
    from guesthouse.config_sources import load

    try:
        return load(flags, path)
    except BadRequest as error:
        raise Failure(str(error), {"type": error.problem_type, "detail": str(error)}, exit_code=2) from None
