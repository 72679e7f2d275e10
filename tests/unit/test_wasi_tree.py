"""The read-only files of a deployment: whatever a path holds, it leads below where it begins, or to an error."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from guesthouse.interfaces.wasi.tree import Descriptor, File, Folder, Refused, find_node, open_node, tree_of
from guesthouse.registry.deployment import Manifest
from unit.interface_fakes import deployment

CODES = {"no-entry", "not-directory", "not-permitted", "name-too-long", "invalid"}
NAMES = st.sampled_from(["var", "openfaas", "secrets", "key", "cert.pem", "etc", "..", ".", "", "k\0", "ä", "x" * 256])
PATHS = st.lists(NAMES, max_size=9).map("/".join) | st.text(max_size=40)


def tree(values: dict[str, bytes] | None = None, namespace: str = "shop") -> Folder:
    """The files of a deployment that names `key` and `cert.pem`."""
    found = {"key": b"secret", "cert.pem": b"---"} if values is None else values
    of = deployment(namespace=namespace, manifest=Manifest(secrets=frozenset({"key", "cert.pem"})))
    root = tree_of(of, lambda space, name: found.get(name) if space == "shop" else None)
    assert root is not None
    return root


def refused(work: Any) -> str:
    with pytest.raises(Refused) as caught:
        work()
    return caught.value.code


def test_a_deployment_without_secrets_has_no_files() -> None:
    """Not even a root: there is nothing to begin from."""
    assert tree_of(deployment(), lambda namespace, name: b"") is None


def test_the_secrets_lie_where_openfaas_has_them() -> None:
    """And nothing lies beside them; each file and folder has a number of its own."""
    root = tree()
    folders = [root, *(find_node(root, path) for path in ("var", "var/openfaas", "var/openfaas/secrets"))]
    assert [list(folder.entries) for folder in folders if isinstance(folder, Folder)] == [
        ["var"],
        ["openfaas"],
        ["secrets"],
        ["cert.pem", "key"],
    ]
    files = [find_node(root, f"var/openfaas/secrets/{name}") for name in ("key", "cert.pem")]
    assert all(isinstance(file, File) for file in files)
    assert len({node.number for node in (*folders, *files)}) == 6


@given(PATHS)
@example("var/../..")
@example("var/openfaas/secrets/key/..")
@example("../" * 2000)
@example("/etc/passwd")
@example("\0")
def test_no_path_leads_out_of_the_folder_that_it_begins_at(path: str) -> None:
    """What is found is what the path names when it is followed name by name; all else is one of the errors."""
    root = tree()
    begin = find_node(root, "var/openfaas")
    assert isinstance(begin, Folder)
    below = {"", "secrets", "secrets/key", "secrets/cert.pem"}
    try:
        node = find_node(begin, path)
    except Refused as error:
        assert error.code in CODES
        return
    way: list[str] = []
    for name in PurePosixPath(path).parts:
        way = way[:-1] if name == ".." else [*way, name]
    assert "/".join(way) in below
    assert node is (find_node(begin, "/".join(way)) if way else begin)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("", "no-entry"),
        ("etc/passwd", "no-entry"),
        ("/var", "not-permitted"),
        ("..", "not-permitted"),
        ("var/../../var", "not-permitted"),
        ("var/openfaas/secrets/key/", "not-directory"),
        ("var/openfaas/secrets/key/.", "not-directory"),
        ("var/openfaas/secrets/key/../key", "not-directory"),
        ("var\0", "invalid"),
        ("ä" * 128, "name-too-long"),
        ("a/" * 2049, "name-too-long"),
    ],
)
def test_a_path_that_leads_nowhere_has_the_error_of_posix(path: str, code: str) -> None:
    """Programs tell them apart."""
    assert refused(lambda: find_node(tree(), path)) == code


def test_a_path_may_go_up_within_what_it_begins_at() -> None:
    """Empty and single-dot names count for nothing."""
    root = tree()
    assert find_node(root, "var/.././var//openfaas/") is find_node(root, "var/openfaas")
    assert find_node(root, "var/..") is root


@pytest.mark.parametrize(
    ("path", "how", "code"),
    [
        ("key", {"write": True}, "read-only"),
        ("key", {"truncate": True}, "read-only"),
        ("key", {"create": True, "exclusive": True}, "exist"),
        ("key", {"directory": True}, "not-directory"),
        ("new", {"create": True}, "read-only"),
        ("new", {"create": True, "exclusive": True}, "read-only"),
        ("new", {"write": True}, "no-entry"),
        (".", {"write": True}, "is-directory"),
        ("..", {"create": True}, "not-permitted"),
    ],
)
def test_nothing_can_be_opened_for_writing(path: str, how: dict[str, bool], code: str) -> None:
    """Nor made, emptied or replaced."""
    folder = find_node(tree(), "var/openfaas/secrets")
    assert isinstance(folder, Folder)
    assert refused(lambda: open_node(folder, path, **how)) == code


def test_an_open_file_stays_as_it_was_and_the_next_one_is_new() -> None:
    """A secret may be changed, or go, while it is read."""
    values = {"key": b"old"}
    root = tree(values)
    path = "var/openfaas/secrets/key"
    first = open_node(root, path)
    values["key"] = b"new"
    assert (first.data, open_node(root, path).data) == (b"old", b"new")
    del values["key"]
    assert first.data == b"old"
    assert refused(lambda: open_node(root, path)) == "no-entry"


def test_secrets_are_those_of_the_functions_own_namespace() -> None:
    """Another namespace's of the same name is not seen."""
    root = tree(namespace="other")
    assert refused(lambda: open_node(root, "var/openfaas/secrets/key")) == "no-entry"


def test_a_file_is_no_folder_and_a_folder_no_file() -> None:
    """Reading one as the other is an error of its own."""
    root = tree()
    assert refused(lambda: Descriptor(root).data) == "is-directory"
    assert refused(lambda: open_node(root, "var/openfaas/secrets/key").folder) == "not-directory"
