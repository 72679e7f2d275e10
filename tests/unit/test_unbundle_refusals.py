"""What unbundling refuses: every way to wire a component that is not proved to be harmless, with the reason."""

from __future__ import annotations

import time

import pytest
from wasmtime import wat2wasm

from guesthouse.engine.unbundle import unbundle
from guesthouse.errors import InvalidModule
from unit.component_text import ADAPTED, BYTES, EXPORTS, INSTANCES, PROGRAM, SHIM, STARTER, component

LOWER = '(canon lower (func $bytes "[method]buffer.read") (memory $memory) (realloc $realloc))'
LIFT = "string-encoding=utf8 (memory $memory) (realloc $realloc)"
POST = '(post-return (core func $main "cabi_post_demo:app/run@1.0.0#run"))'
MEMORY = '(memory (export "memory") 2 9)'
GLOBAL = '(import "env" "g" (global i32))'
OTHER_MEMORY = """
  (core module $Other (memory (export "memory") 1) (func (export "f") (param i32 i32)))
  (core instance $other (instantiate $Other))"""

REFUSED = {
    "redirected function": ([('$bytes "[method]buffer.read"', '$bytes "other"')], "stands for .* 'other'"),
    "renamed function": (
        [
            ('"[method]buffer.read" (func $read', '"[method]buffer.peek" (func $read'),
            ('"[method]buffer.read" (func $shim', '"[method]buffer.peek" (func $shim'),
        ],
        "buffer.peek' stands for .*buffer.read'",
    ),
    "drop of another resource": (
        [("[resource-drop]buffer", "[resource-drop]puffer")],
        "stands for resource.drop of buffer",
    ),
    "import left open": ([('(export "[resource-drop]buffer" (func $drop))', "")], "is not satisfied"),
    "import from nowhere": ([('with "demo:bytes/bytes@1.0.0"', 'with "demo"')], "is not satisfied"),
    "strings in UTF-16": ([(LIFT, LIFT.replace("utf8", "utf16"))], "strings in utf16"),
    "strings in latin1": ([(LIFT, LIFT.replace("utf8", "latin1+utf16"))], r"strings in latin1\+utf16"),
    "lowered in UTF-16": ([(LOWER, LOWER[:-1] + " string-encoding=utf16)")], "import .* has strings in utf16"),
    "option twice": ([(LIFT, LIFT + " string-encoding=utf8")], "option utf8 is repeated"),
    "async lift": ([(LIFT, LIFT + " async")], "canonical option 0x6"),
    "another realloc": (
        [('alias core export $main "cabi_realloc"', 'alias core export $main "wrong_realloc"')],
        "allocates with something other",
    ),
    "another post-return": (
        [('(post-return (core func $main "cabi_post', '(post-return (core func $main "other')],
        "function 'cabi_post_demo",
    ),
    "post-return left out": ([(POST, "")], "leaves out its post-return function"),
    "post-return of a lowering": (
        [(LOWER, LOWER[:-1] + ' (post-return (core func $main "other")))')],
        "has a post-return function",
    ),
    "lifted from another export": (
        [('(core func $main "demo:app/run@1.0.0#run")', '(core func $main "other")')],
        "is not the main module's function 'demo:app/run@1.0.0#run'",
    ),
    "exported under another name": ([('(export "run" (func $run))', '(export "walk" (func $run))')], "#walk'"),
    "import exported again": (
        [('(instance $app (export "run" (func $run)))', '(instance $app (export "run" (func $bytes "other")))')],
        "is one of its imports",
    ),
    "table not filled": ([("(elem (i32.const 0) func 0)", "")], "is not filled"),
    "table filled elsewhere": ([("(elem (i32.const 0) func 0)", "(elem (i32.const 1) func 0)")], "something strange"),
    "table filled twice": (
        [("(elem (i32.const 0) func 0)", "(elem (i32.const 0) func 0) (elem (i32.const 0) func 0)")],
        "something strange",
    ),
    "table filled with expressions": (
        [("(elem (i32.const 0) func 0)", "(elem (i32.const 0) funcref (ref.null func))")],
        "does not just fill a table",
    ),
    "shim in a circle": ([('(export "0" (func $read))', '(export "0" (func $shim "0"))')], "leads nowhere"),
    "shim that swaps": ([("local.get 0 local.get 1 i32", "local.get 1 local.get 0 i32")], "links several core modules"),
    "shim that does more": ([("i32.const 0 call_indirect", "nop i32.const 0 call_indirect")], "links several"),
    "fix-up that does more": (
        [("(elem (i32.const 0) func 0))", "(elem (i32.const 0) func 0) (func nop))")],
        "links several core modules",
    ),
    "start of something else": ([('(func $main "_initialize")', '(func $main "other")')], "other than .* _initialize"),
    "never initialised": ([(STARTER, "")], "_initialize exactly once"),
    "initialised twice": (
        [(STARTER, STARTER + STARTER.replace("$Starter", "$Again").replace("$begin", "$again"))],
        "_initialize exactly once",
    ),
    "memory of another module": (
        [(INSTANCES, INSTANCES + OTHER_MEMORY), (LIFT, LIFT.replace("$memory", '(core memory $other "memory")'))],
        "links several core modules",
    ),
    "answered by another module": (
        [
            ("(core instance $given", OTHER_MEMORY + "(core instance $given"),
            ('(func $shim "0")', '(func $other "f")'),
        ],
        "links several core modules",
    ),
    "main twice": (
        [(EXPORTS, EXPORTS + '(core instance (instantiate $Main (with "demo:bytes/bytes@1.0.0" (instance $given))))')],
        "instantiated several times",
    ),
    "a module that nothing instantiates": ([(SHIM, SHIM + "(core module)")], "not at all"),
    "imported memory": ([(MEMORY, '(import "env" "memory" (memory 2 9))')], "memory"),
    "two memories": ([(MEMORY, MEMORY + "(memory 1)")], "2 memories"),
    "imported global": (
        [('(import "demo:bytes/bytes@1.0.0" "[resource-drop]buffer" (func (param i32)))', GLOBAL)],
        "the global 'env' 'g' is imported",
    ),
}


@pytest.mark.parametrize(("changes", "reason"), REFUSED.values(), ids=REFUSED)
def test_any_other_wiring_is_refused_with_the_reason(changes: list[tuple[str, str]], reason: str) -> None:
    """One change to a good component, one refusal."""
    with pytest.raises(InvalidModule, match=reason):
        unbundle(component(*changes))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"env" "memory" (memory 0))', '"env" "memory" (memory 0)) (data (i32.const 0) "x")'),
        ("wasi:cli/environment@0.2.12", "demo:cli/environment@0.2.12"),
        ("wasi_snapshot_preview1", "demo"),
        ('(core instance $preview (export "fd_write"', '(core instance $preview (export "fd_read"'),
    ],
    ids=["writes data", "reaches beyond WASI", "under another name", "another function"],
)
def test_a_module_that_only_looks_like_the_adapter_is_refused(old: str, new: str) -> None:
    """An adapter sees the main module's memory and WASI, and answers preview 1: nothing else."""
    with pytest.raises(InvalidModule, match=r"links several core modules|answered by another|is not satisfied"):
        unbundle(wat2wasm(ADAPTED.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("wasi:cli/run@0.2.12", "demo:cli/run@0.2.12", "is not the main module's function"),
        ("wasi:cli/run@0.2.12", "wasi:cli/run@0.3.0", "is not the main module's function"),
        ('#run") (result i32)', '#other") (result i32)', "is not the main module's function"),
        ('"__main_module__" "_start" (func)', '"__main_module__" "other" (func)', "is not satisfied"),
        (
            '(export "_start" (func $main "_start"))',
            '(export "_start" (func $shim "1"))',
            "is not the main module's function",
        ),
        ('(func (export "_start")))', '(func (export "other")))', "links several core modules"),
    ],
    ids=["another package", "another version", "another function", "not given", "given another", "no start"],
)
def test_an_adapters_export_is_a_command_only_where_it_runs_the_main_module(old: str, new: str, reason: str) -> None:
    """By its name, and by what it was given to run."""
    assert old in PROGRAM
    with pytest.raises(InvalidModule, match=reason):
        unbundle(wat2wasm(PROGRAM.replace(old, new)))


def test_a_nested_component_that_does_something_is_refused() -> None:
    """Only the nested components that pass on types and functions are understood."""
    with pytest.raises(InvalidModule, match="a nested component does more than pass on types and functions"):
        unbundle(component(more="(component $C (core module)) (instance (instantiate $C))"))


def test_one_core_name_for_two_interfaces_is_refused() -> None:
    """The linker asks for an interface by its core name, so the name must mean one."""
    second = """
      (import "demo:other/other@1.0.0" (instance $second (export "buffer" (type (sub resource)))))
      (alias export $second "buffer" (type $stranger))"""
    with pytest.raises(InvalidModule, match="functions of both"):
        unbundle(component((BYTES, BYTES + second), ("resource.drop $buffer", "resource.drop $stranger")))


def test_g6_a_component_with_a_thousand_core_instances_is_refused_at_once() -> None:
    """Instances of modules and bundles alike: less than a second."""
    for instance in ("(core instance (instantiate $m))", "(core instance)"):
        wasm = wat2wasm(f"(component (core module $m) {instance * 1000})")
        begin = time.process_time()
        with pytest.raises(InvalidModule, match="more than 256 core instances"):
            unbundle(wasm)
        assert time.process_time() - begin < 3


def test_many_core_modules_are_refused_before_they_are_read() -> None:
    """Nine is one more than any tool makes."""
    modules = "".join(f"(core module $m{n}) (core instance (instantiate $m{n}))" for n in range(9))
    wasm = wat2wasm(f"(component {modules})")
    with pytest.raises(InvalidModule, match="9 instances of core modules"):
        unbundle(wasm)


@pytest.mark.parametrize(
    ("wasm", "reason"),
    [
        (b"", "not WebAssembly"),
        (b"#!/bin/sh", "not WebAssembly"),
        (b"\x7fELF", "not WebAssembly"),
        (b"\0asm\x0c\0\x01\0", "neither a core module of version 1 nor a component of version 13"),
        (b"\0asm\x0d\0\x01\0", "no core module that does anything"),
        (wat2wasm('(module (import "a" "m" (memory 1)))'), "the memory 'a' 'm' is imported"),
        (wat2wasm('(module (import "a" "v" (func (param v128))))'), "has vectors or references"),
    ],
)
def test_what_is_no_guest_is_refused_with_the_reason(wasm: bytes, reason: str) -> None:
    """The text says what the file is not, or what it lacks."""
    with pytest.raises(InvalidModule, match=reason):
        unbundle(wasm)
