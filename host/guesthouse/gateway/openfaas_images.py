"""`Images`: the module that an image's name stands for.

Promises: a client reaches no file but those that the configuration names, and those inside the folder that it names,
whatever it calls an image, and no version of a function that it may not see.  A name stands for, in this order: an alias
of `[images]`, with the tag and without; a file of the folder, without the tag; the bytes of a version that is stored here,
by their digest.  A name with a digest stands for no other bytes.  Blocks while it reads.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, Protocol, TypeAlias

from guesthouse.errors import BadRequest, BodyTooLarge, NotFound

MOST_NAME: Final = 512
NAME: Final = re.compile(
    r"(?P<path>[\w.-]+(?::[0-9]{1,5}(?=/))?(?:/[\w.-]+)*)(?P<tag>:[\w.-]+)?(?:@sha256:[0-9a-f]{64})?", re.ASCII
)
"""A registry with its port, folders, a name, a tag, a digest: only the name has to be there."""
DIGEST: Final = re.compile(r"(?:.*@)?sha256:([0-9a-f]{64})\Z")
PART: Final = re.compile(r"[A-Za-z0-9_][\w.-]*\Z", re.ASCII)
"""A part of a path below the folder: none that begins with a dot, and so neither `.` nor `..`."""
SUFFIX: Final = ".wasm"


class Modules(Protocol):
    """Knows the bytes of what was deployed."""

    def users(self, digest: str) -> Iterable[tuple[str, str]]:
        """The functions, by namespace and name, of which a version has this digest."""

    def wasm(self, digest: str) -> bytes:
        """The bytes of a digest."""


Sees: TypeAlias = "Callable[[str, str], bool]"
"""Whether a client may see the function of this namespace and name."""


class Images:
    """Finds modules; `most` is the largest that can be deployed, in bytes."""

    def __init__(self, aliases: Mapping[str, Path], folder: Path | None, modules: Modules, most: int) -> None:
        self._aliases = aliases
        self._folder = folder
        self._modules = modules
        self._most = most

    def read(self, image: str, sees: Sees) -> bytes:
        """The module that `image` names; raises `BadRequest` where there is none, or `BodyTooLarge`."""
        match = NAME.fullmatch(image) if len(image) <= MOST_NAME else None
        if match is None:
            raise BadRequest(f"image: {image[:64]!r} is not the name of an image")
        if image in self._aliases:
            return self._bytes(self._aliases[image], image)
        digest = DIGEST.match(image)
        found = self._named(match["path"], match["tag"] or "", image)
        if found is not None and (digest is None or hashlib.sha256(found).hexdigest() == digest[1]):
            return found
        if digest is not None and any(sees(*function) for function in self._modules.users(digest[1])):
            try:
                return self._modules.wasm(digest[1])
            except NotFound:
                pass  # it was deleted meanwhile
        raise BadRequest(
            f"image: there is no {image!r} here: not in [images], not in openfaas.images_dir, not by digest"
        )

    def _named(self, path: str, tag: str, image: str) -> bytes | None:
        """The file that a name without a digest stands for."""
        alias = self._aliases.get(path + tag) or self._aliases.get(path) or self._in_folder(path)
        return None if alias is None else self._bytes(alias, image)

    def _in_folder(self, path: str) -> Path | None:
        parts = path.split("/")
        if self._folder is None or not all(PART.match(part) for part in parts):
            return None
        folder = self._folder.expanduser().resolve()
        name = parts[-1] if parts[-1].endswith(SUFFIX) else parts[-1] + SUFFIX
        found = folder.joinpath(*parts[:-1], name).resolve()  # a link that leads out of the folder names nothing
        return found if found.is_relative_to(folder) and found.is_file() else None

    def _bytes(self, path: Path, image: str) -> bytes:
        try:
            with path.expanduser().open("rb") as file:
                wasm = file.read(self._most + 1)
        except OSError as error:
            raise BadRequest(f"image: {image!r} cannot be read: {error.strerror}") from None
        if len(wasm) > self._most:
            raise BodyTooLarge(f"the module is over {self._most} bytes")
        return wasm
