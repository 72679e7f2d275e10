"""G25: the files of a function are its secrets; no path, descriptor or preview of WASI leads to anything else."""

from __future__ import annotations

import itertools
import random

import pytest

from guesthouse import Host
from support import FORMS, guest, wat

KEY = "/var/openfaas/secrets/key"
PARTS = [
    "..",
    ".",
    "",
    "var",
    "openfaas",
    "secrets",
    "key",
    "etc",
    "passwd",
    "proc",
    "self",
    "environ",
    "~",
    "key\0",
    "é",
]
ERRORS = {
    "NotFound",
    "PermissionDenied",
    "NotADirectory",
    "IsADirectory",
    "InvalidInput",
    "InvalidFilename",
    "Uncategorized",
}


def put(host: Host, name: str, value: bytes, namespace: str = "default") -> None:
    host._run(host.inner.secrets.put(namespace, name, value))


@pytest.mark.parametrize("form", FORMS)
def test_no_path_leads_to_anything_but_the_secrets(host: Host, form: str) -> None:
    """Two thousand of them, up and down, absolute and relative: what is read is the secret or an error."""
    put(host, "key", b"the secret")
    put(host, "key", b"another namespace's", "other")
    chosen = random.Random(25)
    paths = ["/" * chosen.randint(0, 2) + "/".join(chosen.choices(PARTS, k=chosen.randint(1, 8))) for _ in range(2_000)]
    paths += [KEY, f"//{KEY}", "/var/./openfaas//secrets/key", "/etc/../var/openfaas/secrets/key", "\\etc\\passwd"]
    host.deploy("files", guest("command-calls", form), arguments=["files", "files"], secrets=["key"])
    body = "\n".join(f"read {path}" for path in paths).encode()
    answers = host.invoke("files", body).text.splitlines()
    assert len(answers) == len(paths)
    assert set(answers) <= ERRORS | {"the secret"}
    assert answers[paths.index(KEY)] == "the secret"
    for path, answer in zip(paths, answers, strict=True):
        if answer == "the secret":
            assert path.endswith("key"), path


IMPORTS = {
    "path_open": "(param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)",
    "fd_read": "(param i32 i32 i32 i32) (result i32)",
    "fd_close": "(param i32) (result i32)",
    "fd_prestat_get": "(param i32 i32) (result i32)",
}
OPEN = """(call $path_open (i32.const {fd}) (i32.const 1) (i32.const 16) (i32.const 24) (i32.const 0)
  (i64.const -1) (i64.const -1) (i32.const 0) (i32.const 8))"""


def module(body: str) -> bytes:
    """A command that has the path of the secret at 16, to the end of `/var/openfaas/secrets/key`."""
    imports = "".join(f'(import "wasi_snapshot_preview1" "{n}" (func ${n} {t}))' for n, t in IMPORTS.items())
    data = f'(data (i32.const 16) "{KEY[1:]}")'
    return wat(f'(module {imports} (memory (export "memory") 1) {data} (func (export "_start") {body}))')


def expect(call: str, *codes: int) -> str:
    """Traps unless `call` answers one of the error numbers."""
    checks = "".join(f"(i32.eq (local.get $code) (i32.const {code}))" for code in codes)
    joined = checks + "(i32.or)" * (len(codes) - 1)
    return f"(local.set $code {call}) (if (i32.eqz {joined}) (then unreachable))"


@pytest.mark.parametrize("fd", [0, 1, 2, 3, 4, 5, 100, -1, 2**31 - 1])
def test_without_secrets_no_number_is_a_descriptor_of_files(host: Host, fd: int) -> None:
    """Neither the standard streams nor any other is a folder."""
    body = "(local $code i32)" + expect(OPEN.format(fd=fd), 8)
    body += expect(f"(call $fd_prestat_get (i32.const {fd}) (i32.const 0))", 8)
    host.deploy("guessing", module(body))
    outcome = host.invoke("guessing")
    assert outcome.result == "ok", outcome.error


def test_every_right_at_once_is_refused(host: Host) -> None:
    """All bits of the rights of an open: there is one that would write."""
    put(host, "key", b"x")
    host.deploy("greedy", module("(local $code i32)" + expect(OPEN.format(fd=3), 69)), secrets=["key"])
    assert host.invoke("greedy").result == "ok"


def test_descriptors_that_are_left_open_are_bounded(host: Host) -> None:
    """As many as handles; the next is refused, and none outlives the call."""
    put(host, "key", bytes(1 << 20))
    opening = OPEN.format(fd=3).replace("(i64.const -1) (i64.const -1)", "(i64.const 2) (i64.const 0)")
    body = f"""(local $left i32)
      (loop $again
        (local.set $left (i32.add (local.get $left) (i32.const 1)))
        (br_if $again (i32.eqz {opening})))
      (if (i32.ne (local.get $left) (i32.const 1024)) (then unreachable))"""
    host.deploy("leaking", module(body), secrets=["key"])
    for _ in range(20):
        outcome = host.invoke("leaking")
        assert outcome.result == "ok", outcome.error


def test_a_folder_that_was_closed_opens_nothing_and_its_number_is_not_had_again(host: Host) -> None:
    """A guest cannot put something else in its place."""
    put(host, "key", b"x")
    close = "(call $fd_close (i32.const {}))"
    steps = [(close.format(3), 0), (close.format(3), 8), (OPEN.format(fd=3), 8), (OPEN.format(fd=4), 8)]
    steps += [(close.format(fd), 0) for fd in (0, 1, 2)]
    body = "(local $code i32)" + "".join(itertools.starmap(expect, steps))
    host.deploy("closing", module(body), secrets=["key"])
    assert host.invoke("closing").result == "ok"
