"""What OpenFaaS's tools write as text: durations, amounts of memory, commands, words about retries, and what they mean here.

A word that cannot be read raises `BadRequest`: a limit that was meant and does not hold would be worse.  What is too long
is refused before it is looked at: all of this runs on the host's loop.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any, Final

from guesthouse.errors import BadRequest
from guesthouse.limits import LONGEST_MS, MAX_MEMORY, KiB
from guesthouse.registry.policy import RetryPolicy

DURATION: Final = re.compile(r"(?:[0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})(?:ns|us|µs|μs|ms|s|m|h)")
UNITS_MS: Final = {"ns": 1e-6, "us": 1e-3, "µs": 1e-3, "μs": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4, "h": 36e5}
MEMORY: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)(Ki|Mi|Gi|Ti|k|K|M|G|T|)(?:[bB])?\Z")
BYTES: Final = {
    "": 1,
    "k": 10**3,
    "K": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 1 << 10,
    "Mi": 1 << 20,
    "Gi": 1 << 30,
    "Ti": 1 << 40,
}
MOST_DURATION: Final = 64
"""Characters of a duration: Go's own writing of one has half as many."""
MOST_TEXT: Final = 16 * KiB
"""Characters of a command, or of a list of words: taking apart a longer one would hold up the loop for milliseconds."""
TIMEOUTS: Final = ("exec_timeout", "write_timeout", "read_timeout")
"""Variables that bound a call: the hard one first."""
MAX_INFLIGHT: Final = "max_inflight"
RETRY: Final = "com.openfaas.retry."
GRANTS: Final = "guesthouse.grants"
"""An annotation of ours: what the function may use, with spaces between, as in a manifest."""


def milliseconds(place: str, text: str) -> int:
    """A duration as Go writes it (`10s`, `1m30s`), or plain seconds."""
    _short(place, text, MOST_DURATION)
    if text.isascii() and text.isdigit() and len(text) <= 18:
        found = int(text) * 1_000
    else:
        parts = DURATION.findall(text)
        if not parts or "".join(parts) != text:
            raise BadRequest(f"{place}: {text[:40]!r} is not a duration like 10s or 1m30s")
        found = round(sum(_part(part) for part in parts))
    if found > LONGEST_MS:
        raise BadRequest(f"{place}: {text[:40]!r} is longer than a year")
    return found


def _part(part: str) -> float:
    number = part.rstrip("nuµμmsh")
    return float(number) * UNITS_MS[part[len(number) :]]


def memory_bytes(text: str) -> int:
    """An amount of memory (`128Mi`), at most what a guest can have here."""
    match = MEMORY.match(text)
    if match is None:
        raise BadRequest(f"limits.memory: {text[:40]!r} is not an amount like 128Mi")
    return min(int(float(match[1]) * BYTES[match[2]]), MAX_MEMORY)


def arguments(process: str) -> list[str]:
    """A command as a shell would take it apart, without running one."""
    _short("envProcess", process, MOST_TEXT)
    try:
        return shlex.split(process)
    except ValueError as error:
        raise BadRequest(f"envProcess: {error}") from None


def deadline(environment: Mapping[str, str]) -> dict[str, int]:
    """The limit on a call's time that the environment asks for; 0 stands for none."""
    for name in TIMEOUTS:
        found = milliseconds(name, environment[name]) if environment.get(name) else 0
        if found:
            return {"deadline_ms": found}
    return {}


def flow(environment: Mapping[str, str], labels: Mapping[str, str]) -> dict[str, int]:
    """The bound on calls at once that the environment, or a label, asks for."""
    text = environment.get(MAX_INFLIGHT) or labels.get(MAX_INFLIGHT)
    return {MAX_INFLIGHT: _whole(MAX_INFLIGHT, text)} if text else {}


def retry(annotations: Mapping[str, str]) -> dict[str, Any]:
    """The words of `RetryPolicy` that the annotations ask for."""
    found: dict[str, Any] = {}
    if text := annotations.get(f"{RETRY}attempts"):
        found["attempts"] = _whole(f"{RETRY}attempts", text)
    if text := annotations.get(f"{RETRY}codes"):
        _short(f"{RETRY}codes", text, MOST_TEXT)
        found["statuses"] = [_whole(f"{RETRY}codes", code.strip()) for code in text.split(",") if code.strip()]
    for name in ("min_wait", "max_wait"):
        if text := annotations.get(RETRY + name):
            found[f"{name}_ms"] = max(1, milliseconds(RETRY + name, text))
    usual = RetryPolicy()
    least, most = found.get("min_wait_ms", usual.min_wait_ms), found.get("max_wait_ms", usual.max_wait_ms)
    if least > most:  # only one of them was given, or they are swapped
        if "min_wait_ms" in found and "max_wait_ms" in found:
            raise BadRequest(f"{RETRY}min_wait is longer than {RETRY}max_wait")
        found |= {"max_wait_ms": least} if "min_wait_ms" in found else {"min_wait_ms": most}
    return found


def schedules(annotations: Mapping[str, str]) -> list[dict[str, str]]:
    """The schedule that OpenFaaS's cron connector would follow."""
    topic, cron = annotations.get("topic"), annotations.get("schedule")
    return [{"cron": cron}] if topic == "cron-function" and cron else []


def grants(annotations: Mapping[str, str]) -> list[str] | None:
    """What the function may use; `None` where nothing is said."""
    text = annotations.get(GRANTS)
    return None if text is None else _short(GRANTS, text, MOST_TEXT).split()


def _short(place: str, text: str, most: int) -> str:
    if len(text) > most:
        raise BadRequest(f"{place}: it is over {most} characters")
    return text


def _whole(place: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise BadRequest(f"{place}: {text[:40]!r} is not a whole number")
    return int(text)
