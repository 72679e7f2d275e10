"""`Export`: one invocation with all that is needed to run it once more somewhere else, and the file that carries it.

The file is a zip archive of `invocation.json` (what is known of the call, its function, and what it was asked), `request`
(the body), `journal` (segments, each with its length in front), and `guest.wasm`.

Promises: a file from anywhere is read within bounds of time and memory, or refused with `InvalidExport`; what was read is
consistent, and nothing in it was believed but what it says about itself.  Knows nothing of stores and engines.
"""

from __future__ import annotations

import hashlib
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any, Final, Literal

import msgspec

from guesthouse.errors import InputError
from guesthouse.limits import MiB
from guesthouse.queue.call import QueuedCall, Record
from guesthouse.registry.deployment import Deployment
from guesthouse.registry.records import read_manifest, write_manifest

FORMAT: Final = 1
"""Rises when a reader of an older one would misunderstand a newer one; what is merely added, older readers skip."""
SUFFIX: Final = ".guesthouse"
MEDIA_TYPE: Final = "application/vnd.guesthouse.invocation"
MOST_FILE: Final = 1280 * MiB
"""Bytes of a file: the longest journal that a policy allows, and the largest module and body."""
MOST_ABOUT: Final = 4 * MiB
"""Bytes of `invocation.json`: headers, environment and labels have bounds far below."""
MOST_REQUEST: Final = 64 * MiB
MOST_WASM: Final = 256 * MiB
MOST_SEGMENTS: Final = 1_000_000

_ABOUT, _REQUEST, _JOURNAL, _WASM = "invocation.json", "request", "journal", "guest.wasm"
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The time of all members: equal exports are equal files."""
_LENGTH: Final = struct.Struct("<I")
_END: Final = struct.Struct("<4s4H2LH")
"""The last record of an archive: signature, four counts, size and place of the directory, length of a comment."""
_DIRECTORY: Final = 4_096
"""Most bytes of a directory of four members."""
DAMAGED: Final = (
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
    EOFError,
    KeyError,
    OSError,
    RuntimeError,
    ValueError,
)
"""What `zipfile` raises for bytes that are no archive of its kind."""
_METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})

Kind = Literal["durable", "flight"]


class InvalidExport(InputError):
    """Bytes that are no export of an invocation, or one that this version cannot read; the text says why."""

    status = 422
    problem_type = "invalid-export"
    title = "This is no export of an invocation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """One invocation, on its own."""

    record: Record
    deployment: Deployment
    """The version that it ran on."""
    request: QueuedCall
    segments: Sequence[bytes]
    """Its journal."""
    stream: int = 0
    """Number of the journal's stream in which the body has arrived, as far as it was read; 0: the request has it."""
    kind: Kind
    """Whose journal it is: a durable function's, or the flight recorder's."""
    wasm: bytes | None
    """What ran; `None` where it was left out, because the reader has another module to run."""


class _Function(msgspec.Struct):
    namespace: str
    name: str
    version: int
    digest: str
    kind: str
    size: int
    created_ms: int
    imports: list[str]


class _Request(msgspec.Struct):
    method: str
    path: str | None
    query: list[tuple[str, str]]
    headers: list[tuple[str, str]]
    token_id: str | None
    call_id: str
    key: str | None
    exclusive: bool
    attempts: int | None
    queued_ms: int
    parent: str | None
    root: str
    depth: int


class _Manifest(msgspec.Struct):
    """The types of what `write_manifest` gives; `read_manifest` knows the rest."""

    description: str
    environment: dict[str, str]
    limits: dict[str, int]
    grants: list[str] | None
    topics: list[str]
    retry: dict[str, Any]
    flow: dict[str, Any]
    schedules: list[dict[str, Any]]
    labels: dict[str, str]
    annotations: dict[str, str]
    arguments: list[str]
    secrets: list[str]
    image: str
    durable: dict[str, Any] | None = None


class _About(msgspec.Struct, kw_only=True):
    format: int
    kind: Kind
    stream: int = 0
    record: Record
    function: _Function
    manifest: _Manifest
    request: _Request


class _Format(msgspec.Struct):
    format: int


def write_export(export: Export) -> bytes:
    """The file; takes some milliseconds for each MiB of the module."""
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        _write(archive, _ABOUT, msgspec.json.encode(_about(export)))
        _write(archive, _REQUEST, export.request.body)
        journal = b"".join(part for segment in export.segments for part in (_LENGTH.pack(len(segment)), segment))
        _write(archive, _JOURNAL, journal, zipfile.ZIP_STORED)  # where it pays it is compressed already
        if export.wasm is not None:
            _write(archive, _WASM, export.wasm)
    return file.getvalue()


def read_export(data: bytes) -> Export:
    """What a file holds.  Raises `InvalidExport`."""
    _check_end(data)
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            members = _members(archive)
            about = _read_about(_read(archive, members[_ABOUT], MOST_ABOUT))
            body = _read(archive, members[_REQUEST], MOST_REQUEST)
            segments = tuple(_segments(_read(archive, members[_JOURNAL], MOST_FILE)))
            wasm = _read(archive, members[_WASM], MOST_WASM) if _WASM in members else None
    except InvalidExport:
        raise
    except DAMAGED as error:
        raise InvalidExport(f"it is damaged: {error}") from None
    return _export(about, body, segments, wasm)


# -- writing


def _write(archive: zipfile.ZipFile, name: str, data: bytes, method: int = zipfile.ZIP_DEFLATED) -> None:
    member = zipfile.ZipInfo(name, _EPOCH)
    member.compress_type = method
    member.external_attr = 0o600 << 16
    archive.writestr(member, data)


def _about(export: Export) -> dict[str, Any]:
    deployment, request = export.deployment, export.request
    return {
        "format": FORMAT,
        "kind": export.kind,
        "stream": export.stream,
        "record": {**asdict(export.record), "host_calls": dict(export.record.host_calls)},
        "function": {
            **{name: getattr(deployment, name) for name in _Function.__struct_fields__},
            "imports": sorted(deployment.imports),
        },
        "manifest": write_manifest(deployment.manifest),
        "request": {name: getattr(request, name) for name in _Request.__struct_fields__},
    }


# -- reading


def _check_end(data: bytes) -> None:
    """Refuses what is no archive of a few members, before a directory of any size is read."""
    if len(data) > MOST_FILE:
        raise InvalidExport(f"it is over {MOST_FILE} bytes")
    if len(data) < _END.size:
        raise InvalidExport("it is too short")
    signature, disk, start, here, count, size, _, comment = _END.unpack_from(data, len(data) - _END.size)
    zip64 = data[-_END.size - 20 : -_END.size][:4] == b"PK\x06\x07"
    if signature != b"PK\x05\x06" or comment or zip64 or disk or start or here != count:
        raise InvalidExport("it is no archive that guesthouse wrote")
    if count > 4 or size > _DIRECTORY:
        raise InvalidExport("it has other members than an export has")


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    found = {member.filename: member for member in archive.infolist()}
    names = {_ABOUT, _REQUEST, _JOURNAL}
    if len(found) != len(archive.infolist()) or not names <= found.keys() <= names | {_WASM}:
        raise InvalidExport(f"it has other members than {_ABOUT}, {_REQUEST}, {_JOURNAL} and {_WASM}")
    return found


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, most: int) -> bytes:
    """The bytes of a member, never more than `most`, whatever it says about itself."""
    if member.compress_type not in _METHODS or member.flag_bits & 1:
        raise InvalidExport(f"{member.filename} is packed in a way that guesthouse does not use")
    if member.file_size > most:
        raise InvalidExport(f"{member.filename} is over {most} bytes")
    if member.filename == _JOURNAL and member.compress_type != zipfile.ZIP_STORED:
        raise InvalidExport("its journal is compressed as a whole")
    with archive.open(member) as stream:
        data = stream.read(most + 1)
    if len(data) > most or len(data) != member.file_size:
        raise InvalidExport(f"{member.filename} is not as long as it says")
    return data


def _segments(data: bytes) -> Iterator[bytes]:
    at = count = 0
    while at < len(data):
        count += 1
        if count > MOST_SEGMENTS or at + _LENGTH.size > len(data):
            raise InvalidExport("its journal is cut off")
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size + length
        if at > len(data):
            raise InvalidExport("its journal is cut off")
        yield data[at - length : at]


def _read_about(data: bytes) -> _About:
    try:
        version = msgspec.json.decode(data, type=_Format).format
        if version != FORMAT:
            raise InvalidExport(f"it has format {version}; this version of guesthouse reads format {FORMAT}")
        return msgspec.json.decode(data, type=_About)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidExport(f"{_ABOUT}: {error}") from None


def _export(about: _About, body: bytes, segments: tuple[bytes, ...], wasm: bytes | None) -> Export:
    function, request, record = about.function, about.request, about.record
    if wasm is not None and hashlib.sha256(wasm).hexdigest() != function.digest:
        raise InvalidExport("its module is not the one that ran: the digests differ")
    try:
        manifest = read_manifest(msgspec.to_builtins(about.manifest))
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidExport(f"the manifest in {_ABOUT}: {error}") from None
    values = {name: getattr(function, name) for name in function.__struct_fields__ if name != "imports"}
    deployment = Deployment(**values, manifest=manifest, imports=frozenset(function.imports))
    call = QueuedCall(
        id=record.id,
        namespace=function.namespace,
        name=function.name,
        body=body,
        durable=about.kind == "durable",
        **{name: getattr(request, name) for name in request.__struct_fields__},
    )
    return Export(
        record=record,
        deployment=deployment,
        request=call,
        segments=segments,
        stream=about.stream,
        kind=about.kind,
        wasm=wasm,
    )
