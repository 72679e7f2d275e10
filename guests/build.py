#!/usr/bin/env python3
"""Builds every guest in every form and writes the files and their manifest to prebuilt/.

    guests/build.py                    build with the cargo and rustc on PATH into guests/prebuilt
    guests/build.py --out DIR          the same into another folder; guests/prebuilt stays as it is
    guests/build.py --only NAME...     build just these, and take new dependencies into Cargo.lock: while you write one
                                       (cargo unites the features of what it builds together, so commit a whole build)
    guests/build.py --check            name the guests whose sources changed since prebuilt was built

A guest is a crate in examples/, tests/ or hostile/. What cargo does not know about it stands in its Cargo.toml:

    [package.metadata.guest]
    kind = "spawn"                     web (the default), spawn or library, each with crate-type = ["cdylib"],
    kind = "command"                   or a program with a main function, in the two forms that have WASI
    shares = ["cat"]                   guests whose sources it uses too
    small-stack = true                 also build the form wasip2-small-stack
    unknown-unknown = "never sleeps"   how the form for wasm32-unknown-unknown differs from the others,
    unknown-unknown = false            or that there is no such form
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORKSPACE = Path(__file__).resolve().parent
PREBUILT = WORKSPACE / "prebuilt"
FOLDERS = ("examples", "tests", "hostile")
KINDS = ("web", "spawn", "library", "command")


class Failure(Exception):
    """Something the user has to mend; shown as one line."""


@dataclass(frozen=True)
class Form:
    name: str
    target: str
    flags: tuple[str, ...] = ()


UNKNOWN = Form("unknown-unknown", "wasm32-unknown-unknown")
SMALL_STACK = Form("wasip2-small-stack", "wasm32-wasip2", ("-Clink-arg=-zstack-size=65536",))
FORMS = (Form("wasip2", "wasm32-wasip2"), SMALL_STACK, Form("wasip1", "wasm32-wasip1"), UNKNOWN)
TARGETS = sorted({form.target for form in FORMS})


@dataclass(frozen=True)
class Guest:
    name: str
    folder: Path
    kind: str
    small_stack: bool
    unknown: str | bool
    shares: tuple[str, ...] = ()

    @property
    def hostile(self) -> bool:
        return self.folder.parent.name == "hostile"

    def has(self, form: Form) -> bool:
        if form is SMALL_STACK:
            return self.small_stack
        return form is not UNKNOWN or self.unknown is not False

    def file(self, form: Form) -> str:
        return f"{self.name}.{form.name}.wasm"

    def artifact(self) -> str:
        return (self.name if self.kind == "command" else self.name.replace("-", "_")) + ".wasm"


def guests() -> list[Guest]:
    manifests = (path for folder in FOLDERS for path in (WORKSPACE / folder).glob("*/Cargo.toml"))
    return sorted(map(read_guest, manifests), key=lambda guest: guest.name)


def read_guest(manifest: Path) -> Guest:
    crate: dict[str, Any] = tomllib.loads(manifest.read_text("utf-8"))
    package = crate["package"]
    about: dict[str, Any] = package.get("metadata", {}).get("guest", {})
    guest = Guest(
        name=package["name"],
        folder=manifest.parent,
        kind=about.get("kind", "web"),
        small_stack=about.get("small-stack", False),
        unknown=about.get("unknown-unknown", about.get("kind") != "command"),
        shares=(*about.get("shares", ()), *(["../sdk"] if "guesthouse-guest" in crate.get("dependencies", {}) else [])),
    )
    if guest.kind not in KINDS:
        raise Failure(f"{guest.name}: kind {guest.kind!r} is none of {', '.join(KINDS)}")
    return guest


def source_digest(guest: Guest) -> str:
    """SHA-256 over path and content of each of the crate's files, the lock file and the workspace manifest."""
    folders = [guest.folder, *(guest.folder.parent / name for name in guest.shares)]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file() and path.name[0] != "."]
    files += [WORKSPACE / "Cargo.lock", WORKSPACE / "Cargo.toml"]
    digest = hashlib.sha256()
    for name, path in sorted((path.relative_to(WORKSPACE).as_posix(), path) for path in files):
        content = path.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def output(*command: str) -> str:
    try:
        run = subprocess.run(command, cwd=WORKSPACE, check=True, capture_output=True, text=True)
    except OSError:
        raise Failure(f"{command[0]} is not on PATH: install Rust from https://rustup.rs") from None
    except subprocess.CalledProcessError as error:
        raise Failure(f"{' '.join(command)}: {error.stderr.strip()}") from None
    return run.stdout.strip()


def require_toolchain() -> str:
    """The version of rustc; fails where cargo, rustc or the standard library of a target is missing."""
    output("cargo", "--version")
    rustc = os.environ.get("RUSTC") or "rustc"
    version = output(rustc, "--version")
    known = output(rustc, "--print", "target-list").split()
    for target in TARGETS:
        library = Path(output(rustc, "--print", "target-libdir", "--target", target)) if target in known else None
        if library is None or not any(library.glob("libstd-*.rlib")):
            raise Failure(f"{rustc} lacks {target}: rustup target add {' '.join(reversed(TARGETS))}")
    return version


def private_paths(target_dir: Path) -> dict[Path, str]:
    """The folders of this machine which the compiler meets, each with the name it puts into the guests instead."""
    cargo_home = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo")).resolve()
    registries = dict.fromkeys(sorted((cargo_home / "registry" / "src").glob("*")), "crates")
    paths = {Path.home(): "home", cargo_home: "cargo", **registries, WORKSPACE: "guests", target_dir: "target"}
    return {path: name for path, name in paths.items() if path != Path(path.anchor)}


def compile_form(form: Form, chosen: list[Guest], target_dir: Path, jobs: int | None, locked: bool) -> Path:
    """Builds the guests in one form; answers the folder they are in, until the next form is built."""
    remap = [f"--remap-path-prefix={path}={name}" for path, name in private_paths(target_dir).items()]
    environment = os.environ | {"CARGO_ENCODED_RUSTFLAGS": "\x1f".join((*remap, *form.flags))}
    packages = [word for guest in chosen for word in ("-p", guest.name)]
    command = ["cargo", "build", "--release", "--target", form.target, "--target-dir", str(target_dir)]
    command += ["--locked"] if locked else []
    command += ["--jobs", str(jobs)] if jobs else []
    if subprocess.run([*command, *packages], cwd=WORKSPACE, env=environment, check=False).returncode:
        raise Failure(f"the build of {form.name} failed")
    return target_dir / form.target / "release"


def require_no_private_path(file: Path, target_dir: Path) -> None:
    content = file.read_bytes()
    for path in private_paths(target_dir):
        if f"{path}/".encode() in content:
            raise Failure(f"{file.name} holds the path {path} of this machine")


def build_form(
    form: Form, out: Path, target_dir: Path, jobs: int | None, only: set[str] | None
) -> Iterator[dict[str, Any]]:
    """Builds one form and copies it to `out`; yields an entry of the manifest for each guest."""
    chosen = [guest for guest in guests() if guest.has(form) and (only is None or guest.name in only)]
    if not chosen:
        return
    folder = compile_form(form, chosen, target_dir, jobs, locked=only is None)
    for guest in chosen:
        file = out / guest.file(form)
        shutil.copyfile(folder / guest.artifact(), file)
        require_no_private_path(file, target_dir)
        entry: dict[str, Any] = {
            "name": guest.name,
            "form": form.name,
            "file": file.name,
            "kind": guest.kind,
            "hostile": guest.hostile,
            "source_digest": source_digest(guest),
            "sha256": sha256(file),
        }
        if form is UNKNOWN and isinstance(guest.unknown, str):
            entry["differs"] = guest.unknown
        yield entry


def read_manifest(folder: Path) -> list[dict[str, Any]]:
    try:
        entries: list[dict[str, Any]] = json.loads((folder / "manifest.json").read_text("utf-8"))["guests"]
    except FileNotFoundError:
        return []
    return entries


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Lets one build at a time write to `folder`, whose manifest it reads first."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build(out: Path, target_dir: Path, jobs: int | None, only: set[str] | None = None) -> None:
    toolchain = require_toolchain()
    unknown = (only or set()) - {guest.name for guest in guests()}
    if unknown:
        raise Failure(f"there is no guest {', '.join(sorted(unknown))}")
    output("cargo", "fetch", *([] if only else ["--locked"]))
    with alone(out):
        before = read_manifest(out)
        entries = [entry for form in FORMS for entry in build_form(form, out, target_dir, jobs, only)]
        built = {entry["file"] for entry in entries}
        replaced = {entry["file"] for entry in before if only is None or entry["name"] in only}
        entries += [entry for entry in before if entry["file"] not in replaced]
        entries.sort(key=lambda entry: (entry["name"], entry["form"]))
        for file in replaced - built:
            (out / file).unlink(missing_ok=True)
        text = json.dumps({"toolchain": toolchain, "guests": entries}, indent=2)
        (out / "manifest.json").write_text(text + "\n", "utf-8")
    size = sum((out / entry["file"]).stat().st_size for entry in entries)
    print(f"{len(entries)} files, {size / 1e6:.1f} MB, in {out}")


def outdated(folder: Path) -> Iterator[str]:
    """Names what in `folder` does not stem from the sources as they are now."""
    entries = {entry["file"]: entry for entry in read_manifest(folder)}
    for guest in guests():
        digest = source_digest(guest)
        for file in (guest.file(form) for form in FORMS if guest.has(form)):
            entry = entries.pop(file, None)
            if entry is None:
                yield f"{file}: was never built"
            elif entry["source_digest"] != digest:
                yield f"{file}: its sources changed"
            elif not (folder / file).is_file() or sha256(folder / file) != entry["sha256"]:
                yield f"{file}: is not the file that was built"
    yield from (f"{file}: has no sources" for file in entries)


def main() -> int:
    parser = argparse.ArgumentParser(description="Builds the guests.")
    parser.add_argument("--check", action="store_true", help="build nothing; exit 1 if prebuilt guests are outdated")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these guests; the others stay as they are")
    parser.add_argument("--out", type=Path, default=PREBUILT, metavar="DIR", help="instead of guests/prebuilt")
    parser.add_argument("--target-dir", type=Path, default=WORKSPACE / "target", metavar="DIR", help="cargo's files")
    parser.add_argument("--jobs", "-j", type=int, metavar="N", help="as cargo's")
    options = parser.parse_args()
    try:
        if options.check:
            problems = list(outdated(options.out))
            print("\n".join(problems) or "up to date")
            return bool(problems)
        only = set(options.only) if options.only else None
        build(options.out.resolve(), options.target_dir.resolve(), options.jobs, only)
    except Failure as failure:
        print(f"build.py: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
