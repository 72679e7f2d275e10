"""The file that carries an invocation: what is written is read back, and whatever else is in a file is refused."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.dispatch.exports import Export, InvalidExport, read_export, write_export
from guesthouse.limits import Limits
from guesthouse.queue.call import QueuedCall, Record
from guesthouse.registry.deployment import Deployment, Manifest
from guesthouse.registry.policy import DurablePolicy, Schedule

WASM = b"\0asm\1\0\0\0" + bytes(range(256))
MANIFEST = Manifest(
    "charges",
    {"COLOUR": "blue"},
    Limits(deadline_ms=7),
    frozenset({"cache", "http:GET https://example.org"}),
    frozenset({"news"}),
    schedules=(Schedule("* * * * *"),),
    labels={"team": "ops"},
    arguments=("cat", "-n"),
    secrets=frozenset({"key"}),
    durable=DurablePolicy(grace_ms=5, ambiguous={"example.org": "ask"}),
)
EXPORT = Export(
    record=Record(
        id="a1",
        namespace="default",
        name="charge",
        mode="durable",
        state="dead",
        version=3,
        result="trapped",
        host_calls={"cache": 2},
    ),
    deployment=Deployment(
        "default", "charge", 3, hashlib.sha256(WASM).hexdigest(), "web", len(WASM), 5, MANIFEST, frozenset({"cache"})
    ),
    request=QueuedCall(
        id="a1",
        namespace="default",
        name="charge",
        path="a/b",
        query=[("q", "1")],
        headers=[("x-own", "yes")],
        body=b"\xff\0body",
        queued_ms=17,
        durable=True,
        key="k",
    ),
    segments=(b"first", b"", b"third" * 100),
    kind="durable",
    wasm=WASM,
)


def changed(change: Callable[[dict[str, Any]], object], export: Export = EXPORT) -> bytes:
    """The file of an export, whose `invocation.json` was changed."""
    source = zipfile.ZipFile(io.BytesIO(write_export(export)))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for member in source.infolist():
            data = source.read(member)
            if member.filename == "invocation.json":
                about = json.loads(data)
                change(about)
                data = json.dumps(about).encode()
            archive.writestr(member.filename, data)
    return file.getvalue()


def archive(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """An archive of these members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as written:
        for name, data in members.items():
            written.writestr(name, data)
    return file.getvalue()


def members() -> dict[str, bytes]:
    """Those of a good file."""
    with zipfile.ZipFile(io.BytesIO(write_export(EXPORT))) as source:
        return {name: source.read(name) for name in source.namelist()}


def test_what_is_written_is_read_back() -> None:
    """Every field, every byte."""
    found = read_export(write_export(EXPORT))
    assert (found.deployment, found.segments, found.wasm) == (EXPORT.deployment, EXPORT.segments, WASM)
    assert (found.record, found.request) == (EXPORT.record, EXPORT.request)


def test_equal_exports_are_equal_files() -> None:
    """Nothing of the time or the place of their making is in them."""
    assert write_export(EXPORT) == write_export(read_export(write_export(EXPORT)))


def test_the_module_may_be_left_out() -> None:
    """Whoever has another one to run needs no second."""
    assert read_export(write_export(replace(EXPORT, wasm=None))).wasm is None


def test_what_a_later_version_adds_is_skipped() -> None:
    """As long as the format is the same."""

    def add(about: dict[str, Any]) -> None:
        about["weather"] = about["request"]["mood"] = "fine"

    assert read_export(changed(add)).record == EXPORT.record


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda about: about.update(format=2), "format 2"),
        (lambda about: about.update(kind="other"), "kind"),
        (lambda about: about["function"].update(digest="00" * 32), "digest"),
        (lambda about: about["manifest"].update(environment={"A": 1}), "environment"),
        (lambda about: about["manifest"].update(limits={"deadline_ms": -1}), "deadline_ms"),
        (lambda about: about["manifest"].update(secrets=["../../etc/passwd"]), "secret"),
        (lambda about: about["manifest"].update(durable={"grace_ms": "x"}), "durable"),
        (lambda about: about["request"].update(headers=[["one"]]), "headers"),
        (lambda about: about.pop("record"), "record"),
        (lambda about: about["record"].update(state="resting"), "state"),
    ],
)
def test_what_a_file_says_of_itself_is_checked(change: Callable[[dict[str, Any]], object], word: str) -> None:
    """Types, words and the digest; the refusal names the place."""
    with pytest.raises(InvalidExport, match=word):
        read_export(changed(change))


def test_a_bomb_is_not_unpacked() -> None:
    """What claims to be long, and what is longer than it claims."""
    for name, size in (("invocation.json", 5 << 20), ("request", 65 << 20)):
        with pytest.raises(InvalidExport, match="over"):
            read_export(archive({**members(), name: bytes(size)}, zipfile.ZIP_DEFLATED))
    data = bytearray(archive({**members(), "request": bytes(1 << 20)}, zipfile.ZIP_DEFLATED))
    for signature, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        place = data.index(b"request", data.index(signature)) if signature == b"PK\x03\x04" else data.rindex(b"request")
        start = data.rindex(signature, 0, place)
        data[start + at : start + at + 4] = (10).to_bytes(4, "little")
    with pytest.raises(InvalidExport):
        read_export(bytes(data))


def test_a_journal_is_never_compressed_as_a_whole() -> None:
    """Its length is bounded by that of the file."""
    with pytest.raises(InvalidExport, match="compressed"):
        read_export(archive(members(), zipfile.ZIP_DEFLATED))


@pytest.mark.parametrize("name", ["../../outside", "/etc/passwd", "extra"])
def test_other_members_are_refused(name: str) -> None:
    """Nothing is ever unpacked to a disk, but a file is what it is."""
    without = {key: data for key, data in members().items() if key != "guest.wasm"}
    with pytest.raises(InvalidExport, match="members"):
        read_export(archive({**without, name: b""}))
    with pytest.raises(InvalidExport, match="members"):
        read_export(archive({**members(), name: b""}))


def test_a_huge_directory_is_not_read() -> None:
    """An archive of very many members is refused by its last bytes."""
    with pytest.raises(InvalidExport, match="members"):
        read_export(archive({**members(), **{f"m{number}": b"" for number in range(1_000)}}))


def test_missing_members_are_refused() -> None:
    """All but the module have to be there."""
    for name in ("invocation.json", "request", "journal"):
        with pytest.raises(InvalidExport, match="members"):
            read_export(archive({key: data for key, data in members().items() if key != name}))


@pytest.mark.parametrize("journal", [b"\1", b"\5\0\0\0four", b"\xff\xff\xff\xff"])
def test_a_journal_that_is_cut_off_is_refused(journal: bytes) -> None:
    """No segment is believed to be longer than what is there."""
    with pytest.raises(InvalidExport, match="cut off"):
        read_export(archive({**members(), "journal": journal}))


@given(st.integers(0, 4_000), st.integers(1, 255))
def test_a_changed_byte_is_found_or_harmless(place: int, change: int) -> None:
    """Nothing but a refusal, or the same invocation with other words."""
    data = bytearray(write_export(EXPORT))
    data[place % len(data)] ^= change
    try:
        found = read_export(bytes(data))
    except InvalidExport:
        return
    assert found.segments == EXPORT.segments


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes) -> None:
    """With the one error."""
    for bytes_ in (data, write_export(EXPORT)[: len(data)], data + write_export(EXPORT)[-22:]):
        with pytest.raises(InvalidExport):
            read_export(bytes_)
