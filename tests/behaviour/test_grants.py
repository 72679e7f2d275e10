"""Grants: what a deploy allows its guest to use, what it refuses, and how `inspect` says what is needed."""

from __future__ import annotations

import json
import shlex
import tomllib

import pytest

from command_line import built, guesthouse, server
from guesthouse import Host, Interface, Invocation, host_call
from guesthouse.errors import BadRequest, Forbidden, LinkError, NotGranted
from support import FORMS, guest, wat

NEEDS = {
    "echo": [],
    "environment": [],
    "clock": [],
    "read-through": ["cache", "spawn"],
    "fill": ["cache", "http"],
    "proxy": ["http"],
    "publisher": ["topic"],
    "logger": ["log"],
    "start": ["spawn"],
    "old-start": ["spawn"],
}
"""Guests of both generations, and the words for what they use."""


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NEEDS)
def test_inspect_says_what_has_to_be_granted_and_that_is_enough(name, form):
    """The very words; one less is refused with that one named, and with what the guest uses of it."""
    with Host(slots=4) as host:
        found = host.inspect(guest(name, form))
        assert (found.problem, list(found.grants)) == (None, NEEDS[name])
        assert list(found.needs) == NEEDS[name]
        host.deploy("good", guest(name, form), grants=found.grants)
        for missing in NEEDS[name]:
            with pytest.raises(NotGranted, match=f"not granted: {missing} \\(") as caught:
                host.deploy("bad", guest(name, form), grants=set(NEEDS[name]) - {missing})
            for interface, function in found.needs[missing]:
                assert interface in str(caught.value)
                assert function in str(caught.value)
        assert host.inner.registry.get("default", "bad") is None


def test_everything_that_is_missing_is_said_at_once():
    """With each interface and all functions of it, so that one more try is enough; nothing was compiled for it."""
    with Host(slots=4) as host:
        with pytest.raises(NotGranted) as caught:
            host.deploy("fill", guest("fill"), grants=())
        assert str(caught.value) == (
            "the guest uses what it was not granted: "
            "cache (momento:cache-scalar/cache-scalar@1.0.0 set), http (momento:http/http@1.1.0 invoke)"
        )
        assert isinstance(caught.value, LinkError)
        assert (caught.value.status, caught.value.problem_type) == (422, "not-granted")
        assert sum(host.inner.metrics._compiles.counts) == 0


@pytest.mark.parametrize(
    ("grant", "message"),
    [
        ("cahce", "there is no interface 'cahce'; there are: .*cache, .*http"),
        ("", "there is no interface ''"),
        (":x", "there is no interface ''"),
        ("CACHE", "no interface 'CACHE'"),
        ("momento:cache-scalar", "no interface 'momento'"),
        ("wasi", "every function may use wasi"),
        ("bytes:x", "every function may use bytes"),
        ("log\n", "printable"),
        ("http:" + "a" * 1024, "over 1024 bytes"),
    ],
)
def test_a_grant_that_says_nothing_is_refused(grant, message):
    """It would be believed to allow or to restrict something."""
    with Host(slots=4) as host:
        with pytest.raises(BadRequest, match=message):
            host.deploy("echo", guest("echo"), grants=[grant])
        assert host.inner.registry.get("default", "echo") is None


def test_more_grants_than_anybody_needs_are_refused():
    """Their number is bounded before anything looks at them."""
    with Host(slots=4) as host, pytest.raises(BadRequest, match="over 256 grants"):
        host.deploy("echo", guest("echo"), grants=[f"http:h{number}.example" for number in range(257)])


# -- the host's default


def test_without_grants_everything_is_granted():
    """What the host offers; the deployment says so."""
    with Host(slots=4) as host:
        assert host.deploy("fill", guest("fill")).manifest.grants is None


def test_a_host_can_ask_for_grants():
    """Then a deploy without any gets none, one with them gets those, and what needs none needs none."""
    with Host(slots=4, grants=()) as host:
        with pytest.raises(NotGranted, match="not granted: cache "):
            host.deploy("fill", guest("fill"))
        assert host.deploy("fill", guest("fill"), grants=["cache", "http"]).manifest.grants == {"cache", "http"}
        assert host.deploy("echo", guest("echo")).manifest.grants == frozenset()
    with Host(slots=4, grants=["http"]) as host:
        assert host.deploy("proxy", guest("proxy")).manifest.grants == {"http"}


@pytest.mark.parametrize("form", FORMS)
def test_grants_are_kept_with_their_version(tmp_path, form):
    """Also over a restart, whatever the default is then."""
    with Host(tmp_path, slots=4) as host:
        host.deploy("fill", guest("fill", form))
        host.deploy("fill", guest("fill", form), grants=["http", "cache"])
    with Host(tmp_path, slots=4, grants=()) as host:
        assert [version.manifest.grants for version in host.versions("fill")] == [None, {"cache", "http"}]
        assert host.pin("fill", 1).current.manifest.grants is None


# -- host interfaces of users

DOORS = """
package test:doors@1.0.0;
interface doors { open: func(number: u32) -> bool; }
interface runner { run: func(number: u32) -> bool; }
"""
WALKER = """
(module
  (import "test:doors/doors@1.0.0" "open" (func $open (param i32) (result i32)))
  (func (export "test:doors/runner@1.0.0#run") (param i32) (result i32) (call $open (local.get 0))))
"""


class Doors(Interface):
    """Opens doors; a grant may name one of them, and the last one is never granted."""

    name = "doors"
    wit = DOORS

    def __init__(self) -> None:
        self.configured: list[int] = []

    def check_grant(self, pattern: str) -> None:
        if not pattern.isdigit():
            raise BadRequest(f"the grant doors:{pattern}: a door is a number")

    def configure(self, deployment) -> None:
        self.configured.append(deployment.version)
        if deployment.manifest.granted(self.name) == ("99",):
            raise Forbidden("nobody gets behind door 99")

    @host_call("test:doors/doors@1.0.0", "open")
    def open_door(self, invocation: Invocation, number: int) -> bool:
        granted = invocation.deployment.manifest.granted(self.name)
        return granted is None or str(number) in granted


def walk(host: Host, number: int) -> bool:
    return host.call("walker", "run", number, interface="test:doors/runner@1.0.0")


def test_a_users_interface_takes_part_with_patterns_of_its_own():
    """It is a word in grants, checks its patterns at deploy, and holds guests to them at each call."""
    with Host(slots=4, interfaces=[Doors()]) as host:
        assert host.inspect(wat(WALKER)).grants == ["doors"]
        host.deploy("walker", wat(WALKER))
        assert walk(host, 7)
        host.deploy("walker", wat(WALKER), grants=["doors:1", "doors:2"])
        assert [walk(host, number) for number in (1, 2, 3)] == [True, True, False]
        host.deploy("walker", wat(WALKER), grants=["doors:1", "doors"])
        assert walk(host, 3)
        with pytest.raises(BadRequest, match="a door is a number"):
            host.deploy("walker", wat(WALKER), grants=["doors:front"])
        with pytest.raises(NotGranted, match=r"doors \(test:doors/doors@1.0.0 open\)"):
            host.deploy("walker", wat(WALKER), grants=["cache"])
        assert host.inner.deployment("walker").version == 3


def test_an_interface_without_patterns_can_only_be_granted_as_a_whole():
    """It could not hold anybody to a part of it."""

    class Plain(Doors):
        check_grant = Interface.check_grant

    with Host(slots=4, interfaces=[Plain()]) as host, pytest.raises(BadRequest, match="only be granted as a whole"):
        host.deploy("walker", wat(WALKER), grants=["doors:1"])


def test_an_interface_that_refuses_a_deployment_does_so_before_it_is_stored():
    """What ran before goes on, and there is no version too many."""
    doors = Doors()
    with Host(slots=4, interfaces=[doors]) as host:
        host.deploy("walker", wat(WALKER), grants=["doors:1"])
        with pytest.raises(Forbidden, match="door 99"):
            host.deploy("walker", wat(WALKER), grants=["doors:99"])
        assert walk(host, 1)
        assert len(host.versions("walker")) == 1
        assert doors.configured == [0, 1, 0]


# -- on the command line


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A server that asks for grants."""
    folder = tmp_path_factory.mktemp("server")
    config = folder / "guesthouse.toml"
    config.write_text('[grants]\ndefault = "none"\n')
    with server(folder / "data", "--config", config) as running:
        yield running


def test_what_inspect_prints_can_be_pasted(running, tmp_path):
    """As options, as TOML and as JSON: each deploys what was refused before."""
    file = built("fill")
    refused = running("deploy", file)
    assert refused.status == 1
    assert "not granted: cache (momento:cache-scalar/cache-scalar@1.0.0 set), http (" in refused.err
    assert "guesthouse inspect FILE" in refused.err
    assert json.loads(running("deploy", file, "--json").err)["error"]["type"].endswith(":not-granted")

    lines = [line.strip() for line in guesthouse("inspect", file).out.splitlines()]
    options = next(line for line in lines if line.startswith("--grant"))
    assert options == guesthouse("inspect", file, "--json").json["grant_options"]
    assert running("deploy", file, *shlex.split(options)).status == 0
    toml = next(line for line in lines if line.startswith("grants ="))
    assert tomllib.loads(toml) == {"grants": ["cache", "http"]}
    (tmp_path / "fill.toml").write_text(toml)
    assert running("deploy", file, "--manifest", tmp_path / "fill.toml").status == 0
    (tmp_path / "fill.json").write_text("{" + next(line for line in lines if line.startswith('"grants"')) + "}")
    assert running("deploy", file, "--manifest", tmp_path / "fill.json").status == 0
    assert [version["grants"] for version in running("versions", "ls", "fill", "--json").json] == [
        ["cache", "http"]
    ] * 3
    assert "cache, http" in running("versions", "ls", "fill").out


def test_inspect_says_what_each_grant_is_for():
    """Interfaces and functions, as JSON; a guest that needs nothing needs no option."""
    document = guesthouse("inspect", built("proxy"), "--json").json
    functions = ("invoke", "invoke-with-timeout")
    needs = [{"interface": "momento:http/http@1.1.0", "function": function} for function in functions]
    assert document["needs"] == {"http": needs}
    assert guesthouse("inspect", built("echo"), "--json").json["grant_options"] == ""
    assert "none needed" in guesthouse("inspect", built("echo")).out


def test_a_manifest_file_has_everything_that_a_deploy_says(running, tmp_path):
    """And options come on top of it: variables and limits by their names, grants together."""
    file = tmp_path / "about.toml"
    file.write_text(
        'description = "from the file"\ngrants = ["cache"]\n'
        '[environment]\nA = "1"\nB = "1"\n[limits]\ndeadline_ms = 500\nfuel = 1000000\n'
    )
    arguments = ("deploy", built("fill"), "--name", "about", "--manifest", file)
    more = ("--env", "B=2", "--limit", "fuel=2000000", "--grant", "http")
    assert running(*arguments, *more).status == 0
    shown = running("versions", "show", "about", "--json").json
    assert shown["description"] == "from the file"
    assert shown["environment"] == {"A": "1", "B": "2"}
    assert shown["limits"] == {"deadline_ms": 500, "fuel": 2_000_000}
    assert shown["grants"] == ["cache", "http"]
    assert running(*arguments, *more, "--description", "mine", "--json").json["version"] == 2
    assert running("versions", "show", "about", "--json").json["description"] == "mine"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.toml", 'colour = "blue"', "colour: Extra inputs"),
        ("m.toml", "grants = 1", "grants: "),
        ("m.toml", "[limits]\nfuel = true", "limits.fuel: "),
        ("m.toml", "grants = [", "m.toml: "),
        ("m.json", "{", "this is not JSON"),
        ("m.json", "[" * 100, "nested deeper"),
        ("m.toml", "a = " + "[" * 5000, "m.toml: "),
        ("m.toml", "#" * (1 << 20) + "\n", "over 1048576 bytes"),
    ],
)
def test_a_mistake_in_a_manifest_is_a_usage_error_that_names_the_place(tmp_path, name, text, message):
    """Before anything is sent; nobody has to run a server for it."""
    file = tmp_path / name
    file.write_text(text)
    for command in ("deploy", "run"):
        said = guesthouse(command, built("echo"), "--manifest", file)
        assert (said.status, said.err.count("\n")) == (2, 1)
        assert str(file) in said.err
        assert message in said.err


def test_run_takes_grants_as_deploy_does():
    """So that they can be tried without a server."""
    said = guesthouse("run", built("proxy"), "--grant", "cache")
    assert (said.status, "not granted: http" in said.err) == (1, True)
