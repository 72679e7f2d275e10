"""G25: a guest reaches what it was granted; what it asks for beyond that is refused when it is deployed, by name."""

from __future__ import annotations

import json

import pytest

from guesthouse import Host
from guesthouse.errors import LinkError
from support import FORMS, guest, wat

UNKNOWN = {
    "sockets": ("wasi:sockets/tcp@0.2.0", "[method]tcp-socket.start-connect", "(param i32 i32 i32) (result i32)"),
    "name lookup": ("wasi:sockets/ip-name-lookup@0.2.0", "resolve-addresses", "(param i32 i32 i32 i32)"),
    "outgoing HTTP of WASI": ("wasi:http/outgoing-handler@0.2.0", "handle", "(param i32 i32 i32 i32)"),
    "AWS": ("momento:aws-secrets/aws-secrets@1.0.0", "get", "(param i32 i32 i32)"),
    "a user's own": ("acme:secrets/vault@1.0.0", "open", "(result i32)"),
    "a later generation": ("momento:cache-scalar/cache-scalar@2.0.0", "get", "(param i32 i32 i32)"),
    "no version": ("momento:cache-scalar/cache-scalar", "get", "(param i32 i32 i32)"),
    "the root": ("$root", "anything", ""),
    "env": ("env", "system", "(param i32) (result i32)"),
    "emscripten": ("env", "emscripten_run_script", "(param i32)"),
    "sockets of preview 1": ("wasi_snapshot_preview1", "sock_open", "(param i32 i32 i32) (result i32)"),
    "preview 0": ("wasi_unstable", "fd_write", "(param i32 i32 i32 i32) (result i32)"),
    "no name": ("", "", ""),
    "the host's own gate": ("", "gate", ""),
}
WRONG_TYPE = {
    "fewer": ("wasi_snapshot_preview1", "fd_write", "(param i32 i32 i32) (result i32)"),
    "wider": ("wasi_snapshot_preview1", "fd_write", "(param i64 i32 i32 i32) (result i32)"),
    "no result": ("wasi_snapshot_preview1", "proc_exit", "(param i32) (result i32)"),
    "a typed one": ("wasi:random/random@0.2.0", "get-random-u64", "(result i32)"),
}
NOT_FUNCTIONS = {
    "memory": '(import "env" "memory" (memory 1))',
    "table": '(import "env" "__indirect_function_table" (table 1 funcref))',
    "global": '(import "env" "__stack_pointer" (global (mut i32)))',
}


def importing(interface: str, function: str, signature: str) -> bytes:
    """A web function that imports something."""
    return wat(f"""(module (import "{interface}" "{function}" (func {signature})) (memory (export "memory") 1)
      (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
      (func (export "momento:functions/guest-function-web@1.0.0#post") (param i32 i32) (result i32) (i32.const 0)))""")


@pytest.mark.parametrize(("interface", "function", "signature"), UNKNOWN.values(), ids=UNKNOWN)
def test_an_unknown_import_is_refused_by_its_name(host: Host, interface: str, function: str, signature: str) -> None:
    """At deploy, never as a trap at the first call; nothing is stored."""
    with pytest.raises(LinkError) as caught:
        host.deploy("asks", importing(interface, function, signature))
    assert interface in str(caught.value)
    assert function in str(caught.value)
    assert caught.value.status == 422
    assert host.inner.registry.get("default", "asks") is None


@pytest.mark.parametrize(("interface", "function", "signature"), WRONG_TYPE.values(), ids=WRONG_TYPE)
def test_a_known_import_with_another_type_is_refused(host: Host, interface: str, function: str, signature: str) -> None:
    """With both signatures in the error."""
    with pytest.raises(LinkError, match="does not fit"):
        host.deploy("asks", importing(interface, function, signature))


@pytest.mark.parametrize("text", NOT_FUNCTIONS.values(), ids=NOT_FUNCTIONS)
def test_what_is_no_function_cannot_be_imported(host: Host, text: str) -> None:
    """No memory, table or global is shared with anybody."""
    with pytest.raises(ValueError, match="only functions can be"):
        host.deploy("asks", wat(f'(module {text} (func (export "run")))'))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("name", "needs"),
    [("fetch", "http"), ("read-through", "cache"), ("publisher", "topic"), ("logger", "log"), ("start", "spawn")],
)
def test_what_was_not_granted_is_refused(host: Host, name: str, needs: str, form: str) -> None:
    """A list of grants is complete: what it leaves out the guest may not import; with it the guest is deployed."""
    with pytest.raises(LinkError, match=needs):
        host.deploy("asks", guest(name, form), grants=[])
    everything = {"http", "cache", "topic", "log", "spawn"}
    with pytest.raises(LinkError, match=needs):
        host.deploy("asks", guest(name, form), grants=everything - {needs})
    host.deploy("asks", guest(name, form), grants=everything)
    host.delete("asks")


@pytest.mark.parametrize("form", FORMS)
def test_the_world_of_a_guest_is_empty(host: Host, form: str) -> None:
    """No variable of the host's environment: only what says who it is, and what its deployment gives it."""
    host.deploy("environment", guest("environment", form), environment={"COLOR": "green"})
    said = json.loads(host.invoke("environment").body)
    variables = said.get("environment", said)
    names = {name for name in json.dumps(variables).split('"') if name.isupper() or name.startswith("__")}
    assert names <= {"COLOR", "__CACHE_NAME", "__FUNCTION_NAME", "__INVOCATION_ID"}
    assert "COLOR" in names


FILES = {
    "path_open": "(i32.const 3) (i32.const 0) (i32.const 16) (i32.const 1) (i32.const 0) (i64.const -1) (i64.const -1) "
    "(i32.const 0) (i32.const 32)",
    "fd_prestat_get": "(i32.const 3) (i32.const 32)",
    "fd_readdir": "(i32.const 3) (i32.const 64) (i32.const 64) (i64.const 0) (i32.const 32)",
    "path_filestat_get": "(i32.const 3) (i32.const 0) (i32.const 16) (i32.const 1) (i32.const 32)",
    "fd_read": "(i32.const 3) (i32.const 16) (i32.const 1) (i32.const 32)",
}


@pytest.mark.parametrize("function", FILES)
def test_there_is_no_file_to_open(function: str) -> None:
    """Every descriptor but the standard streams answers an error number."""
    from guesthouse import Interface

    class Runner(Interface):
        """Names the export."""

        name = "runner"
        wit = "package test:g25@1.0.0; interface runner { run: func() -> u32; }"

    values = FILES[function]
    params = " ".join("i64" if "i64" in value else "i32" for value in values.split(") "))
    with Host(slots=16, interfaces=[Runner()]) as own:
        for descriptor in (3, 4, 1000, -1):
            own.deploy(
                "files",
                wat(f"""(module (import "wasi_snapshot_preview1" "{function}" (func $call (param {params}) (result i32)))
                  (memory (export "memory") 1) (data (i32.const 16) "/")
                  (func (export "test:g25/runner@1.0.0#run") (result i32)
                    (call $call {values.replace("(i32.const 3)", f"(i32.const {descriptor})", 1)})))"""),
            )
            assert own.call("files", "run", interface="test:g25/runner@1.0.0") != 0
