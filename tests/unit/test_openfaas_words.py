"""What OpenFaaS's tools write as text, and which file an image is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.errors import BadRequest, BodyTooLarge, NotFound
from guesthouse.gateway import openfaas_words as words
from guesthouse.gateway.documents import parse
from guesthouse.gateway.openfaas_documents import DeploymentDocument
from guesthouse.gateway.openfaas_images import Images
from guesthouse.gateway.stamp import Stamp
from guesthouse.limits import LONGEST_MS, MAX_MEMORY
from guesthouse.registry.policy import RetryPolicy, read_policy
from set_clock import SetClock

DIGEST = "ab" * 32


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("10s", 10_000),
        ("1m30s", 90_000),
        ("1h", 3_600_000),
        ("1.5s", 1_500),
        (".5s", 500),
        ("250ms", 250),
        ("1500us", 2),
        ("1500µs", 2),
        ("999999999ns", 1_000),
        ("30", 30_000),
        ("0", 0),
        ("0s", 0),
    ],
)
def test_a_duration_is_what_go_reads(text: str, milliseconds: int) -> None:
    """Units, several of them, fractions, and plain seconds."""
    assert words.milliseconds("exec_timeout", text) == milliseconds


@pytest.mark.parametrize("text", ["s", "-1s", "10 s", "10x", "1s1", "١٠s", "1e3s", "9" * 19, "9" * 18 + "h", "", "."])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """With the place where it stands."""
    with pytest.raises(BadRequest, match="write_timeout"):
        words.milliseconds("write_timeout", text)


@given(st.text(max_size=30))
def test_no_text_breaks_the_reading_of_durations_and_amounts(text: str) -> None:
    """A number within the bounds, or `BadRequest`."""
    for read, most in (
        (lambda: words.milliseconds("x", text), LONGEST_MS),
        (lambda: words.memory_bytes(text), MAX_MEMORY),
    ):
        with suppress(BadRequest):
            assert 0 <= read() <= most


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64Mi", 64 << 20),
        ("64M", 64_000_000),
        ("65536", 65_536),
        ("512Ki", 512 << 10),
        ("0.5Mi", 512 << 10),
        ("1Gi", MAX_MEMORY),
        ("100MB", 100_000_000),
    ],
)
def test_an_amount_of_memory_is_at_most_what_there_is(text: str, size: int) -> None:
    """As Kubernetes and Docker write it."""
    assert words.memory_bytes(text) == size


@pytest.mark.parametrize("text", ["", "Mi", "-1Mi", "1Xi", "1 Mi", "1e3", "1Mi\n"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    """Silently no limit would be worse."""
    with pytest.raises(BadRequest):
        words.memory_bytes(text)


def test_the_hard_timeout_goes_before_the_others() -> None:
    """0 stands for none."""
    everything = {"exec_timeout": "3s", "write_timeout": "2s", "read_timeout": "1s"}
    assert words.deadline(everything) == {"deadline_ms": 3_000}
    assert words.deadline({**everything, "exec_timeout": "0s"}) == {"deadline_ms": 2_000}
    assert words.deadline({"read_timeout": "1s"}) == {"deadline_ms": 1_000}
    assert words.deadline({}) == {}


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ({}, {}),
        ({"attempts": "3"}, {"attempts": 3}),
        ({"codes": "429,500, 503,"}, {"statuses": [429, 500, 503]}),
        ({"min_wait": "0s"}, {"min_wait_ms": 1}),
        ({"min_wait": "1h"}, {"min_wait_ms": 3_600_000, "max_wait_ms": 3_600_000}),
        ({"max_wait": "500ms"}, {"min_wait_ms": 500, "max_wait_ms": 500}),
        ({"min_wait": "1s", "max_wait": "2s"}, {"min_wait_ms": 1_000, "max_wait_ms": 2_000}),
    ],
)
def test_annotations_are_a_retry_policy(annotations: dict[str, str], expected: dict[str, Any]) -> None:
    """One that can be, also where only one of two waits is given."""
    found = words.retry({words.RETRY + name: value for name, value in annotations.items()})
    assert found == expected
    read_policy(RetryPolicy, found, "retry")


@pytest.mark.parametrize(
    "annotations", [{"attempts": "many"}, {"codes": "4xx"}, {"min_wait": "soon"}, {"min_wait": "2s", "max_wait": "1s"}]
)
def test_annotations_that_make_no_policy_are_refused(annotations: dict[str, str]) -> None:
    """A retry that was meant and does not happen would be worse."""
    with pytest.raises(BadRequest):
        words.retry({words.RETRY + name: value for name, value in annotations.items()})


def test_a_policy_names_no_more_statuses_than_there_are() -> None:
    """Each end of a call looks at all of them."""
    read_policy(RetryPolicy, {"statuses": list(range(200, 600))}, "retry")
    with pytest.raises(BadRequest, match="over 400"):
        read_policy(RetryPolicy, {"statuses": [500] * 401}, "retry")


def test_a_command_is_taken_apart_as_by_a_shell() -> None:
    """Without running one, and without expanding anything."""
    assert words.arguments("cat '/a b' $HOME *") == ["cat", "/a b", "$HOME", "*"]
    assert words.arguments("") == []
    with pytest.raises(BadRequest):
        words.arguments("cat 'x")


@pytest.mark.parametrize(
    "document",
    [
        {"envProcess": "a" * 900_000},
        {"envProcess": "a " * 450_000},
        {"envVars": {"fprocess": "'" * 900_000}},
        {"envVars": {"exec_timeout": "1" * 900_000}},
        {"envVars": {"read_timeout": "1ns" * 300_000}},
        {"annotations": {"com.openfaas.retry.codes": "500," * 220_000}},
        {"annotations": {"com.openfaas.retry.max_wait": "1h" * 400_000}},
        {"annotations": {"guesthouse.grants": "http " * 180_000}},
    ],
)
def test_what_is_too_long_is_refused_before_it_is_looked_at(document: dict[str, Any]) -> None:
    """To take some of these apart would hold up the loop for seconds, or minutes."""
    parsed = parse(json.dumps({"service": "x", "image": "x", **document}).encode(), DeploymentDocument)
    with pytest.raises(BadRequest, match=r"over [0-9]+ characters"):
        parsed.options()


def test_a_schedule_is_the_cron_connectors() -> None:
    """Only with its topic."""
    assert words.schedules({"topic": "cron-function", "schedule": "*/5 * * * *"}) == [{"cron": "*/5 * * * *"}]
    assert words.schedules({"topic": "news", "schedule": "*/5 * * * *"}) == []


def everything(namespace: str, name: str) -> bool:
    """Sees all functions."""
    return True


class Modules:
    """One module of a function of `shop`, and one that is gone."""

    def users(self, digest: str) -> Iterable[tuple[str, str]]:
        return [("shop", "till")] if digest in (DIGEST, "cd" * 32) else []

    def wasm(self, digest: str) -> bytes:
        if digest != DIGEST:
            raise NotFound("gone")
        return b"stored"


@pytest.fixture
def images(tmp_path: Path) -> Images:
    folder = tmp_path / "images"
    (folder / "tools").mkdir(parents=True)
    (folder / "cat.wasm").write_bytes(b"cat")
    (folder / "tools" / "env.wasm").write_bytes(b"env")
    (folder / "large.wasm").write_bytes(bytes(101))
    (folder / ".hidden.wasm").write_bytes(b"hidden")
    (folder / "folder.wasm").mkdir()
    (tmp_path / "secret.wasm").write_bytes(b"secret")
    (folder / "link.wasm").symlink_to(tmp_path / "secret.wasm")
    (folder / "out").symlink_to(tmp_path)
    cat = folder / "cat.wasm"
    aliases = {"alias": cat, "reg.io:5000/a/b:1": cat, f"pinned@sha256:{'1' * 64}": cat, "missing": tmp_path / "none"}
    return Images(aliases, folder, Modules(), 100)


@pytest.mark.parametrize(
    ("image", "content"),
    [
        ("alias", b"cat"),
        ("alias:latest", b"cat"),
        (f"alias:1@sha256:{hashlib.sha256(b'cat').hexdigest()}", b"cat"),
        (f"cat@sha256:{hashlib.sha256(b'cat').hexdigest()}", b"cat"),
        (f"alias@sha256:{DIGEST}", b"stored"),
        (f"pinned@sha256:{'1' * 64}", b"cat"),
        ("reg.io:5000/a/b:1", b"cat"),
        ("cat", b"cat"),
        ("cat:1.2", b"cat"),
        ("cat.wasm", b"cat"),
        ("tools/env:latest", b"env"),
        (f"sha256:{DIGEST}", b"stored"),
        (f"anything/at/all@sha256:{DIGEST}", b"stored"),
    ],
)
def test_an_image_is_a_module(images: Images, image: str, content: bytes) -> None:
    """An alias, a file of the folder, or the digest of what is stored."""
    assert images.read(image, everything) == content


@pytest.mark.parametrize(
    "image",
    [
        "",
        "nothing",
        "reg.io:5000/a/b:2",
        "missing",
        ".hidden",
        "folder",
        "link",
        "out/secret",
        "../secret",
        "tools/../../secret",
        "/etc/passwd",
        "tools//env",
        "./cat",
        "cat\0",
        "cat\n",
        "cat/",
        "Ä",
        "a" * 600,
        f"sha256:{'0' * 64}",
        f"alias:1@sha256:{'0' * 64}",
        f"tools/env@sha256:{'0' * 64}",
        f"pinned@sha256:{'2' * 64}",
        f"sha256:{'cd' * 32}",
        "sha256:../secret",
        "file:///etc/passwd",
        "http://example.com/a.wasm",
    ],
)
def test_an_image_reaches_no_other_file(images: Images, image: str) -> None:
    """Whatever it is called: no way up, no link out, no hidden file, no URL."""
    with pytest.raises(BadRequest, match="image"):
        images.read(image, everything)


def test_a_digest_names_nothing_that_its_client_may_not_see(images: Images) -> None:
    """Not even whether there is such a thing: it is refused in the same words as one that nobody has."""
    assert images.read(f"sha256:{DIGEST}", lambda *function: function == ("shop", "till")) == b"stored"
    refused = []
    for digest in (DIGEST, "0" * 64):
        with pytest.raises(BadRequest) as error:
            images.read(f"sha256:{digest}", lambda *function: function == ("shop", "another"))
        refused.append(str(error.value).replace(digest, "…"))
    assert refused[0] == refused[1]


def test_a_module_that_is_too_large_is_not_read(images: Images) -> None:
    """As for any deploy."""
    with pytest.raises(BodyTooLarge):
        images.read("large", everything)


def test_without_a_folder_there_are_aliases_and_digests(tmp_path: Path) -> None:
    """No configuration, no file."""
    with pytest.raises(BadRequest):
        Images({}, None, Modules(), 100).read("cat", everything)


def test_a_stamp_is_the_hosts_word() -> None:
    """Whatever the function says of the same; a caller's own id is told, and otherwise the invocation's."""
    clock = SetClock()
    stamp = Stamp("invocation-1", "", clock)
    clock.monotonic += 1_500_000_000
    marked = stamp.mark([("X-Call-Id", "forged"), ("X-DURATION-SECONDS", "0"), ("x-other", "kept")])
    assert dict(marked) == {
        "x-call-id": "invocation-1",
        "x-start-time": str(stamp.start_ns),
        "x-duration-seconds": "1.500000",
        "x-other": "kept",
    }
    assert Stamp("invocation-1", "mine", clock).call_id == "mine"
