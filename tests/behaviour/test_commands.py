"""Commands: programs of WASI that are called over HTTP, as core modules and as components."""

from __future__ import annotations

import hashlib
import json
import re
import time

import pytest

from guesthouse import Host
from guesthouse.errors import (
    BadAnswer,
    BadRequest,
    BodyTooLarge,
    CommandFailed,
    DeadlineExceeded,
    FuelExhausted,
    InvalidModule,
    NotFound,
    Trap,
)
from support import FORMS, guest, wat

SECRETS = "/var/openfaas/secrets"


@pytest.fixture(scope="module", params=FORMS)
def form(request):
    return request.param


@pytest.fixture(scope="module")
def host(form):
    with Host(slots=64) as host:
        for name in ("cat", "env", "sha512sum", "command-calls"):
            host.deploy(name, guest(name, form))
        yield host


@pytest.fixture
def call(host, form):
    """Runs `command-calls` with arguments, in a deployment of its own."""

    def run(*arguments, body=b"", headers=(), **options):
        host.deploy("called", guest("command-calls", form), arguments=["called", *arguments], **options)
        return host.invoke("called", body, headers=headers)

    return run


# --- input and output


@pytest.mark.parametrize("body", [b"", b"\0", b"hello\n", bytes(range(256)) * 3, b"\n" * 1000, b"\xff" * 100_000])
def test_the_body_is_standard_input_and_standard_output_the_answer(host, body):
    """Byte for byte, whatever it holds."""
    outcome = host.invoke("cat", body)
    assert (outcome.result, outcome.status, outcome.body) == ("ok", 200, body)
    assert not outcome.logs


def test_a_large_body_goes_in_and_out(host):
    """Eight mebibytes without a line end, and as many lines."""
    for body in (bytes(range(11, 256)) * (1 << 15), b"a line of text\n" * (1 << 13)):
        assert host.invoke("cat", body).body == body
    assert host.invoke("sha512sum", b"x" * (8 << 20)).text == f"{hashlib.sha512(b'x' * (8 << 20)).hexdigest()}  -\n"


def test_a_command_need_not_read_what_it_is_given(call):
    """All of it, a part, or nothing."""
    assert call("head", "5", body=b"0123456789").body == b"01234"
    assert call("arguments", body=b"x" * 100_000).status == 200


def test_a_body_over_the_bound_is_refused(host, form):
    """Before the command begins."""
    host.deploy("small", guest("cat", form), limits={"request_bytes": 10})
    assert host.invoke("small", b"0123456789").body == b"0123456789"
    with pytest.raises(BodyTooLarge):
        host.invoke("small", b"0123456789x")


def test_output_over_the_bound_ends_the_command(call):
    """The byte over it; what was written before is no answer."""
    assert len(call("write", "100000", limits={"response_bytes": 100_000}).body) == 100_000
    outcome = call("write", "100001", limits={"response_bytes": 100_000})
    assert (outcome.result, outcome.status, outcome.body) == ("failed", 0, b"")
    assert isinstance(outcome.error, BadAnswer)
    assert "the standard output is over 100000 bytes" in str(outcome.error)


def test_standard_error_is_the_log(call):
    """Line by line, as errors, with the last one that has no end."""
    outcome = call("stderr", body=b"one\ntwo \xff\nthree")
    assert (outcome.status, outcome.body) == (200, b"")
    expected = [("error", "stderr", text) for text in ("one", "two \ufffd", "three")]
    assert [(record.level, record.source, record.text) for record in outcome.logs] == expected


# --- what it is told


def variables(host, **request):
    return dict(line.split("=", 1) for line in host.invoke("env", **request).text.splitlines())


def test_the_request_is_in_the_environment(host):
    """Beside the variables of the host, under the names of OpenFaaS's classic watchdog."""
    outcome = host.invoke(
        "env", b"12345", method="PUT", path="a/b c", query=[("testing", "1"), ("q", "ü")],
        headers=[("x-call-id", "abc"), ("content-type", "text/x"), ("host", "here"), ("x-call-id", "later")],
    )  # fmt: skip
    assert dict(line.split("=", 1) for line in outcome.text.splitlines()) == {
        "__CACHE_NAME": "default",
        "__FUNCTION_NAME": "env",
        "__INVOCATION_ID": outcome.invocation_id,
        "Http_Method": "PUT",
        "Http_Path": "/a/b c",
        "Http_Query": "testing=1&q=%C3%BC",
        "Http_ContentLength": "5",
        "Http_Content_Length": "5",
        "Http_X_Call_Id": "abc",
        "Http_Content_Type": "text/x",
        "Http_Host": "here",
    }


def test_the_deployments_variables_are_there_too(host, form):
    """The request's stand above them; nothing of the host's own environment is seen."""
    host.deploy("env", guest("env", form), environment={"custom_env": "custom value", "Http_Method": "mine"})
    found = variables(host, method="GET")
    assert (found["custom_env"], found["Http_Method"]) == ("custom value", "GET")
    assert not {"PATH", "HOME"} & set(found)


def test_headers_that_are_no_ascii_arrive_as_text(host):
    """What HTTP lets pass as a value is no reason to fail."""
    assert variables(host, headers=[("x-name", "Zoë"), ("x-empty", "")])["Http_X_Name"] == "Zoë"
    hostile = [("x\n", "1"), ("x=y", "2"), ("x-nul", "a\0b"), ("x-lone", "\udc80")]
    found = variables(host, headers=hostile)
    assert (found["Http_X_Nul"], found["Http_X_Lone"]) == ("ab", "?")


@pytest.mark.parametrize("words", [[], ["tool"], ["tool", "--flag", "", "two words", "ä"]])
def test_arguments_are_the_deployments(host, form, words):
    """The first is the name by which the command is called: without any, the function's."""
    host.deploy("named", guest("command-calls", form), arguments=["named", "arguments"])
    assert json.loads(host.invoke("named").body) == ["named", "arguments"]
    host.deploy("toolbox", guest("toolbox", form), arguments=words)
    outcome = host.invoke("toolbox")
    assert f"there is no {json.dumps(words[0] if words else 'toolbox')}" in outcome.logs[0].text


def test_one_module_serves_several_functions(host, form):
    """By the name that each is deployed with."""
    for name, word in (("box-cat", "cat"), ("box-hash", "/usr/bin/sha512sum"), ("box-env", "env")):
        host.deploy(name, guest("toolbox", form), arguments=[word])
    assert host.invoke("box-cat", b"abc").body == b"abc"
    assert host.invoke("box-hash", b"abc").text == f"{hashlib.sha512(b'abc').hexdigest()}  -\n"
    assert "__FUNCTION_NAME=box-env\n" in host.invoke("box-env").text
    versions = [host.inner.deployment(name) for name in ("box-cat", "box-hash", "box-env")]
    assert len({version.digest for version in versions}) == 1


def test_clock_sleep_and_randomness_work(call):
    """A sleep suspends the command and nobody else."""
    assert abs(int(call("clock").text) - time.time()) < 60
    outcome = call("sleep", "20")
    assert outcome.status == 200
    assert outcome.duration_ns >= 20_000_000


# --- the answer's type


@pytest.mark.parametrize(
    ("body", "type_"),
    [
        (b"text", "text/plain; charset=utf-8"),
        (b"", "text/plain; charset=utf-8"),
        (b"\xff", "application/octet-stream"),
        (b"\xc3", "application/octet-stream"),
        (b"x" * 65_535 + b"\xc3\xa4", "text/plain; charset=utf-8"),
        (b"x" * 65_536 + b"\xff", "text/plain; charset=utf-8"),
    ],
    ids=["text", "nothing", "no text", "cut off", "cut in two by what is looked at", "text at first"],
)
def test_the_type_of_an_answer_is_told_from_its_bytes(host, body, type_):
    """From the first 64 KiB, where neither the deployment nor the request names one."""
    assert host.invoke("cat", body).headers == [("content-type", type_)]


def test_the_type_of_the_request_is_that_of_the_answer(host):
    """As the classic watchdog has it; unless no header could carry it."""
    for told, expected in (
        ("application/json", "application/json"),
        ("text/ä", "text/plain; charset=utf-8"),
        ("x" * 300, "text/plain; charset=utf-8"),
        ("", "text/plain; charset=utf-8"),
    ):
        assert host.invoke("cat", b"{}", headers=[("content-type", told)]).headers == [("content-type", expected)]


def test_a_deployment_may_say_the_type_of_all_its_answers(host, form):
    """`content_type` in its environment, which the classic watchdog knows too."""
    host.deploy("typed", guest("cat", form), environment={"content_type": "image/png"})
    assert host.invoke("typed", headers=[("content-type", "text/css")]).headers == [("content-type", "image/png")]


# --- how it ends


def test_a_command_that_exits_with_zero_has_answered(call):
    """With what was written until then."""
    outcome = call("exit", "0")
    assert (outcome.result, outcome.status, outcome.body, outcome.error) == ("ok", 200, b"written before", None)
    assert outcome.fuel_used > 0


@pytest.mark.parametrize("code", [1, 3, 101, 127, 255, 256, 2**31 - 1])
def test_any_other_exit_status_is_a_failure(call, form, code):
    """It is named; components can only tell 1.  What was written is in the log, not in an answer."""
    outcome = call("exit", str(code))
    told = code if form == "wasip1" else 1
    assert (outcome.result, outcome.status, outcome.body) == ("failed", 0, b"")
    assert isinstance(outcome.error, CommandFailed)
    assert (outcome.error.code, outcome.error.reason, outcome.error.status) == (told, "exit", 500)
    assert [(record.source, record.text) for record in outcome.logs] == [
        ("stdout", "written before"),
        ("system", f"the command ended with exit status {told}"),
    ]


def test_an_error_of_main_is_a_failure(call):
    """Its text is on standard error."""
    outcome = call("error")
    assert (outcome.result, outcome.error.code) == ("failed", 1)
    assert outcome.logs[0].text == 'Error: "an error of main"'


def test_a_panic_is_a_trap(call):
    """Not an exit status: the command did not come to its end."""
    outcome = call("panic")
    assert outcome.result == "trapped"
    assert type(outcome.error) is Trap
    assert outcome.error.status == 502
    assert any("nothing goes on" in record.text for record in outcome.logs)


def test_a_command_that_takes_too_long_is_ended(call):
    """It computes, it sleeps, it has no fuel."""
    for arguments in (("spin",), ("sleep", "60000")):
        assert isinstance(call(*arguments, limits={"deadline_ms": 100}).error, DeadlineExceeded)
    assert isinstance(call("spin", limits={"fuel": 1_000_000}).error, FuelExhausted)


def test_each_run_is_a_new_instance(host):
    """Static data, arguments and streams begin anew."""
    assert [host.invoke("cat", body).body for body in (b"1", b"", b"2")] == [b"1", b"", b"2"]


# --- secrets


def put(host, name, value, namespace="default"):
    host._run(host.inner.secrets.put(namespace, name, value))


def files(call, *lines, **options):
    return call("files", body="\n".join(lines).encode(), **options).text.splitlines()


def test_secrets_are_read_only_files(host, call):
    """In an otherwise empty file system."""
    put(host, "key", b"secret!")
    put(host, "other", b"not for this one")
    key = f"{SECRETS}/key"
    told = {
        f"read {key}": "secret!",
        f"seek {key}": "et! se 2",
        f"stat {key}": "true false 7",
        f"stat {SECRETS}": "false true 0",
        "list /": '["var"]',
        f"list {SECRETS}": '["key"]',
        f"read {SECRETS}/other": "NotFound",
        f"read {SECRETS}": "IsADirectory",
        f"read {key}/": "NotADirectory",
        f"read {SECRETS}/../secrets/key": "secret!",
        "read var/openfaas/secrets/key": "secret!",
        "read ../../etc/passwd": "PermissionDenied",
        "read /../etc/passwd": "PermissionDenied",
        "read /etc/passwd": "NotFound",
        "read /proc/self/environ": "NotFound",
        f"read /{'a' * 300}": "InvalidFilename",
    }
    assert dict(zip(told, files(call, *told, secrets=["key"]), strict=True)) == told


@pytest.mark.parametrize("verb", ["write", "append", "remove", "rename", "make"])
def test_nothing_can_be_written(host, call, verb):
    """Neither the secrets nor beside them."""
    put(host, "key", b"secret!")
    answers = files(call, f"{verb} {SECRETS}/key", f"read {SECRETS}/key", f"{verb} {SECRETS}/x/", secrets=["key"])
    assert answers[:2] == ["ReadOnlyFilesystem", "secret!"]
    assert answers[2] in {"ReadOnlyFilesystem", "NotFound", "IsADirectory", "InvalidInput"}


def test_without_secrets_there_is_no_file_at_all(call):
    """Not even a folder to look into."""
    lines = ("read /etc/passwd", "list /", f"write {SECRETS}/x", "make /tmp/x")
    assert files(call, *lines) == ["NotFound"] * len(lines)


def test_each_open_reads_the_current_value(host, call):
    """Without another deploy; a secret that was deleted is no longer found."""
    put(host, "key", b"first")
    assert files(call, f"read {SECRETS}/key", secrets=["key"]) == ["first"]
    put(host, "key", b"second, and longer")
    assert host.invoke("called", f"read {SECRETS}/key".encode()).text == "second, and longer\n"
    host._run(host.inner.secrets.delete("default", "key"))
    assert host.invoke("called", f"read {SECRETS}/key".encode()).text == "NotFound\n"


def test_a_secret_may_be_empty_large_and_binary(host, form):
    """Up to a mebibyte of any bytes."""
    for value in (b"", bytes(range(256)) * 4096):
        put(host, "blob", value)
        host.deploy("show", guest("cat", form), arguments=["cat", f"{SECRETS}/blob"], secrets=["blob"])
        assert host.invoke("show").body == value


def test_a_deploy_that_names_a_missing_secret_is_refused(host, form):
    """All that are missing are named, and nothing is stored."""
    put(host, "there", b"")
    put(host, "elsewhere", b"", "shop")
    with pytest.raises(BadRequest, match=r"there is no secret 'elsewhere', 'gone' in default"):
        host.deploy("refused", guest("cat", form), secrets=["there", "gone", "elsewhere"])
    with pytest.raises(NotFound):
        host.invoke("refused")


def test_a_web_function_reads_its_secrets_as_files_too(host, form):
    """There is one file system for all guests."""
    put(host, "key", b"secret!")
    host.deploy("read-file", guest("read-file", form), secrets=["key"])
    assert host.invoke("read-file", f"{SECRETS}/key".encode()).body == b"secret!"
    assert host.invoke("read-file", b"/etc/passwd").status == 500


# --- what is a command

RUN = '(module (memory (export "memory") 1) (func (export "_start") {body}))'


def test_a_core_module_with_a_start_function_is_a_command():
    """The smallest: it answers nothing, with success."""
    with Host(slots=4) as host:
        assert host.deploy("smallest", wat(RUN.format(body=""))).kind == "command"
        outcome = host.invoke("smallest")
        assert (outcome.status, outcome.body) == (200, b"")
        host.deploy("trap", wat(RUN.format(body="unreachable")))
        assert host.invoke("trap").result == "trapped"
        assert host.inspect(wat(RUN.format(body=""))).kind == "command"


@pytest.mark.parametrize("signature", ["(param i32)", "(result i32) i32.const 0"])
def test_a_start_function_of_another_type_is_none(signature):
    """It would have to be called with something, or answer something."""
    with Host(slots=4) as host, pytest.raises(InvalidModule, match="exports no function that can be called"):
        host.deploy("odd", wat(RUN.format(body=signature)))


def test_commands_are_not_called_by_name_of_an_export_only(host):
    """`Host.spawn` is for spawn functions; over HTTP and from the library a command is invoked."""
    with pytest.raises(NotFound, match="is a command function"):
        host.spawn("cat", b"")


def test_a_redirect_is_a_web_function(form):
    """For it chooses status and headers; the destination is a variable of the deployment."""
    with Host(slots=4) as host:
        host.deploy("away", guest("redirect", form), environment={"destination": "http://example.com"})
        outcome = host.invoke("away")
        assert (outcome.status, outcome.headers) == (302, [("location", "http://example.com")])
        host.deploy("away", guest("redirect", form))
        assert host.invoke("away").status == 500


def test_commands_are_known_by_their_kind_and_grants(host):
    """They need no grant."""
    assert {host.inner.deployment(name).kind for name in ("cat", "env", "sha512sum")} == {"command"}
    found = host.inspect(guest("cat", "wasip2"))
    assert (found.kind, found.grants, found.problem) == ("command", [], None)
    assert any(re.fullmatch(r"wasi:cli/run@0\.2\.\d+#run", name) for name in found.exports)
