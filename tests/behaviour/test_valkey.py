"""Valkey for guests against a real server: every kind of reply, both generations, every form."""

from __future__ import annotations

import json

import pytest

from guesthouse import OutboundConfig, OutboundPolicy
from support import guest, host_with

FORMS = ("wasip2", "wasip1", "unknown-unknown")
LOOPBACK = OutboundConfig(OutboundPolicy.of(schemes=("http",), allow_addresses=("127.0.0.0/8",)))
NESTED = "return {1, {2, {ok='FINE'}, {err='ODD bad luck'}, {{3}, false}}, redis.status_reply('OK'), 'OK'}"


class Guests:
    """The two guests on one host, asked for replies as JSON."""

    def __init__(self, host, url):
        self.host = host
        self.url = url

    def new(self, *commands, cluster="main", **more):
        """What each command answered through the newer generation."""
        return self._ask("valkey-calls", {"cluster": cluster, "commands": commands, **more})

    def old(self, *commands, cluster="main", **more):
        """What each command answered through the older generation."""
        return self._ask("old-redis-calls", {"cluster": cluster, "commands": commands, **more})

    def pipe(self, *commands, **more):
        """What one pipe of all commands answered."""
        return self._ask("old-redis-calls", {"url": self.url, "commands": commands, **more})

    def _ask(self, name, order):
        outcome = self.host.invoke(name, json.dumps(order).encode())
        assert outcome.status == 200, outcome
        return json.loads(outcome.body)


@pytest.fixture(scope="module", params=FORMS)
def host(request, valkey_process):
    clusters = {"main": valkey_process.url, "second": f"{valkey_process.url}/2"}
    names = ("valkey-calls", "old-redis-calls", "valkey-leaderboard")
    with host_with(*names, form=request.param, outbound=LOOPBACK, valkey=clusters) as host:
        host.form = request.param
        yield host


@pytest.fixture
def guests(host, valkey_server):
    return Guests(host, valkey_server.url)


# -- kinds of replies


def test_every_kind_of_reply_has_a_case_of_its_own(guests):
    """A null is `nil`, an integer `int`, a bulk string `data`, `+OK` `ok` (or `okay`), other simple strings themselves."""
    commands = [["GET", "none"], ["SET", "k", "v"], ["GET", "k"], ["INCRBY", "n", "-7"], ["PING"]]
    replies = [None, "ok", {"data": "v"}, -7, {"simple-string": "PONG"}]
    old = [None, "okay", {"data": "v"}, -14, {"simple-string": "PONG"}]
    assert guests.new(*commands) == replies
    assert guests.old(*commands) == old
    assert guests.pipe(*commands) == [*old[:3], -21, old[4]]


def test_a_string_that_reads_ok_is_data_and_not_ok(guests):
    """Client libraries blur the two; guests that are told `ok` for a value would lose it."""
    commands = [["SET", "k", "OK"], ["GET", "k"], ["ECHO", "OK"]]
    assert guests.new(*commands) == ["ok", {"data": "OK"}, {"data": "OK"}]
    assert guests.old(*commands) == guests.pipe(*commands) == ["okay", {"data": "OK"}, {"data": "OK"}]


def test_arrays_are_streams_and_arrays_inside_them_as_well(guests):
    """Statuses, nulls and errors inside keep their kinds."""
    nested = [1, [2, {"simple-string": "FINE"}, {"simple-error": "ODD bad luck"}, [[3], None]], "ok", {"data": "OK"}]
    old = [*nested[:2], "okay", nested[3]]
    assert guests.new(["EVAL", NESTED, "0"]) == [nested]
    assert guests.old(["EVAL", NESTED, "0"]) == [old]
    assert guests.pipe(["EVAL", NESTED, "0"]) == [old]


def test_lists_hashes_and_empty_arrays_come_element_by_element(guests):
    """Also a null in the place of an array."""
    setting = [["RPUSH", "l", "a", "b", "c"], ["HSET", "h", "x", "1", "y", "2"]]
    asking = [["LRANGE", "l", "0", "-1"], ["HGETALL", "h"], ["LRANGE", "none", "0", "-1"], ["BLPOP", "none", "0.01"]]
    replies = [[{"data": "a"}, {"data": "b"}, {"data": "c"}]]
    replies += [[{"data": "x"}, {"data": "1"}, {"data": "y"}, {"data": "2"}], [], None]
    assert guests.new(*setting, *asking)[2:] == replies
    assert guests.old(*asking) == guests.pipe(*asking) == replies


def test_integers_of_64_bits_arrive_whole(guests):
    """Both ends of the range."""
    least, most = -(2**63), 2**63 - 1
    assert guests.new(["INCRBY", "least", str(least)], ["INCRBY", "most", str(most)]) == [least, most]
    assert guests.pipe(["INCRBY", "most", "0"], ["INCRBY", "least", "0"]) == [most, least]


def test_bytes_that_are_no_text_survive(guests):
    """In arguments and in replies: line ends, NUL and 0xff."""
    binary = [0, 13, 10, 255, 36, 42]
    assert guests.new(["SET", "k", binary], ["GET", "k"], ["STRLEN", "k"]) == ["ok", {"bytes": binary}, 6]
    assert guests.old(["GET", "k"]) == [{"bytes": binary}]
    assert guests.pipe(["SET", binary, "v"], ["GET", binary]) == ["okay", {"data": "v"}]


def test_bodies_are_stored_and_answered_without_the_guest_reading_them(guests, host):
    """An argument and a reply can be buffers; 300,000 bytes are one."""
    for body in (b"", b"short\r\n", bytes(range(256)) * 1200):
        assert host.invoke("valkey-calls", body, path="body").text == '"ok"'
        assert host.invoke("valkey-calls", method="GET", path="body").body == body


@pytest.mark.parametrize("name", ["get", "GET", "gEt"])
def test_command_names_may_be_written_in_any_case(guests, name):
    """As the server has it."""
    assert guests.new(["set", "k", "v"], [name, "k"]) == ["ok", {"data": "v"}]
    assert guests.pipe([name, "k"]) == [{"data": "v"}]


def test_the_typed_functions_of_the_older_crate_work(guests):
    """Set needs `okay`, get `data` or `nil`, delete `int`: anything else is an error for them."""
    commands = [["set", "k", "v"], ["get", "k"], ["delete", "k"], ["get", "k"]]
    expected = ["set", "v", "deleted", None]
    assert guests.old(*commands, simple=True) == guests.pipe(*commands, simple=True) == expected
    guests.pipe(["LPUSH", "l", "1"])
    failed = guests.pipe(["get", "l"], simple=True)
    assert "WRONGTYPE" in str(failed)


def test_the_example_of_the_documentation_works(guests, host):
    """The leaderboard."""
    answers = [
        host.invoke("valkey-leaderboard", json.dumps({"player": player, "points": points}).encode())
        for player, points in (("Ada", 3), ("Grace", 5), ("Alan", 1), ("Edsger", 2), ("Ada", 4))
    ]
    assert json.loads(answers[-1].body) == ["Ada", "Grace", "Edsger"]


# -- errors


def test_the_error_reply_of_one_command_is_the_error_of_the_call(guests):
    """And never a `simple-error`, which older guests take for a failure of the host."""
    guests.new(["LPUSH", "l", "1"])
    wrong = {"other": "WRONGTYPE Operation against a key holding the wrong kind of value"}
    assert guests.new(["GET", "l"]) == guests.old(["GET", "l"]) == [wrong]
    assert guests.pipe(["GET", "l"]) == wrong


def test_asking_for_an_index_on_a_server_without_any_is_an_error_of_the_call(guests):
    """Older guests probe with FT.INFO and take only this for "no such index"."""
    for answer in (
        guests.new(["FT.INFO", "idx"])[0],
        guests.old(["FT.INFO", "idx"])[0],
        guests.pipe(["FT.INFO", "idx"]),
    ):
        assert answer["other"].startswith("ERR unknown command")


def test_an_error_amid_a_pipe_is_a_value_at_its_place(guests):
    """The commands after it have run."""
    replies = guests.pipe(["SET", "k", "v"], ["LPUSH", "k", "1"], ["GET", "k"])
    assert replies[0] == "okay"
    assert replies[1]["simple-error"].startswith("WRONGTYPE")
    assert replies[2] == {"data": "v"}


def test_a_pipe_in_which_every_command_failed_is_an_error_of_the_call(guests):
    """With the first of the errors."""
    answer = guests.pipe(["NOSUCH"], ["GET"], ["LPUSH", "k"])
    assert answer["other"].startswith("ERR unknown command")


def test_a_pipe_without_commands_answers_nothing(guests):
    """An empty stream."""
    assert guests.pipe() == []


def test_a_guest_may_drop_replies_that_it_has_not_read(guests, valkey_server):
    """Commands have run all the same; elements, whole arrays and whole pipes may be dropped."""
    pushed = [["RPUSH", "l", "a", "b"], ["LRANGE", "l", "0", "-1"], ["EVAL", NESTED, "0"]]
    assert guests.new(*pushed, take=1) == [2, [{"data": "a"}], [1]]
    assert guests.old(*pushed, take=0) == [4, [], []]
    assert guests.pipe(*pushed, take=0) == []
    assert valkey_server.ask("LLEN", "l") == b":6\r\n"


def test_a_cluster_that_is_not_configured_is_an_error_at_the_first_command(guests):
    """It names those that are."""
    expected = [{"other": "there is no cluster 'nowhere'; the configured ones are: main, second"}]
    assert guests.new(["PING"], cluster="nowhere") == guests.old(["PING"], cluster="nowhere") == expected


def test_clusters_are_told_apart_by_name(guests):
    """Here by the number of the database in their URLs."""
    guests.new(["SET", "k", "v"])
    assert guests.new(["GET", "k"], cluster="second") == [None]
    assert guests.old(["SET", "k", "w"], cluster="second") == ["okay"]
    assert guests.new(["GET", "k"]) == [{"data": "v"}]


# -- shared connections


@pytest.mark.parametrize(
    "command",
    [["SUBSCRIBE", "c"], ["MONITOR"], ["hello", "3"], ["AUTH", "x"], ["CLIENT", "REPLY", "OFF"], ["QUIT"], ["RESET"]],
)
def test_commands_that_would_change_a_shared_connection_are_refused(guests, command):
    """In a pipe as well, in which nothing has run then."""
    answer = guests.new(command, ["PING"])
    assert answer[0]["other"].startswith(f"{command[0].upper()} is not available")
    assert answer[1] == {"simple-string": "PONG"}
    assert guests.pipe(["SET", "k", "v"], command) == answer[0]
    assert guests.pipe(["GET", "k"]) == [None]


@pytest.mark.parametrize("command", [["MULTI"], ["WATCH", "k"], ["SELECT", "1"], ["EXEC"]])
def test_commands_that_change_the_connection_for_the_next_are_refused_alone(guests, command):
    """Nobody could say which command would be the next."""
    assert "send it in one pipe" in guests.new(command)[0]["other"]
    assert "send it in one pipe" in guests.pipe(command)["other"]


def test_a_transaction_in_one_pipe_works_and_leaves_nothing_behind(guests):
    """It has a connection of its own."""
    replies = guests.pipe(["MULTI"], ["SET", "k", "v"], ["LPUSH", "k", "1"], ["EXEC"])
    queued = {"simple-string": "QUEUED"}
    assert replies[:3] == ["okay", queued, queued]
    assert replies[3][0] == "okay"
    assert replies[3][1]["simple-error"].startswith("WRONGTYPE")
    assert guests.pipe(["SELECT", "3"], ["MULTI"], ["SET", "k", "other"]) == ["okay", "okay", queued]
    assert guests.pipe(["GET", "k"]) == [{"data": "v"}]


# -- servers that come and go


def test_after_a_server_was_killed_and_started_again_calls_work_again(host, own_valkey_server):
    """Meanwhile each is an error."""
    guests = Guests(host, own_valkey_server.url)
    assert guests.pipe(["SET", "k", "v"]) == ["okay"]
    own_valkey_server.kill()
    gone = guests.pipe(["GET", "k"])
    assert gone["other"] in (
        "the connection ended before the answer was complete",
        "the connection could not be made",
    )
    assert guests.pipe(["GET", "k"]) == {"other": "the connection could not be made"}
    assert own_valkey_server.start()
    assert guests.pipe(["GET", "k"]) == [None]


# -- bounds and grants


def deployed(host, name, **options):
    host.deploy(name, guest(name, host.form), namespace="bound", **options)

    def ask(order):
        return json.loads(host.invoke(name, json.dumps(order).encode(), namespace="bound").body)

    return ask


def test_replies_of_an_invocation_have_a_bound(guests, host):
    """`valkey_reply_bytes`; smaller replies still come through."""
    ask = deployed(host, "valkey-calls", limits={"valkey_reply_bytes": 10_000})
    guests.new(["SETRANGE", "big", "9999", "x"], ["SET", "small", "x"])
    order = {"cluster": "main", "commands": [["GET", "big"], ["GET", "small"]]}
    assert ask(order) == [{"other": "limit exceeded: the server's reply is too large"}, {"data": "x"}]


def test_an_invocation_needs_one_connection_for_many_commands(guests, host):
    """So it may be bound to one by `valkey_connections`."""
    ask = deployed(host, "old-redis-calls", limits={"valkey_connections": 1})
    order = {"url": guests.url, "commands": [["set", "a", "b"], ["get", "a"]], "simple": True}
    assert ask(order) == ["set", "b"]


def test_a_command_that_blocks_ends_with_its_time(guests, host):
    """`valkey_timeout_ms`; nothing of it is left for the next command."""
    patient = deployed(host, "valkey-calls")
    assert patient({"cluster": "main", "commands": [["PING"]]}) == [{"simple-string": "PONG"}]  # it is connected now
    ask = deployed(host, "valkey-calls", limits={"valkey_timeout_ms": 200})
    assert ask({"cluster": "main", "commands": [["BLPOP", "none", "0"]]}) == [{"other": "the answer took too long"}]
    assert guests.new(["PING"]) == [{"simple-string": "PONG"}]


def test_a_cluster_that_was_not_granted_is_an_error_of_the_call(guests, host):
    """The error names it; a pattern may end in a star."""
    ask = deployed(host, "valkey-calls", grants=["valkey:sec*"])
    order = {"commands": [["PING"]]}
    assert ask({"cluster": "second", **order}) == [{"simple-string": "PONG"}]
    assert ask({"cluster": "main", **order}) == [{"other": "not granted: valkey main"}]
    assert ask({"cluster": "sec", **order})[0]["other"].endswith("the configured ones are: second")


def test_a_server_that_was_not_granted_is_an_error_of_the_call(guests, host):
    """A grant of a URL covers all its users and databases, and nothing else."""
    ask = deployed(host, "old-redis-calls", grants=[f"valkey:{guests.url}"])
    order = {"commands": [["PING"]]}
    assert ask({"url": f"{guests.url}/1", **order}) == [{"simple-string": "PONG"}]
    assert ask({"url": "redis://10.0.0.1:6379", **order}) == {"other": "not granted: valkey redis://10.0.0.1:6379"}
    assert ask({"cluster": "main", **order}) == [{"other": "not granted: valkey main"}]


def test_servers_that_the_outbound_policy_denies_are_not_reached(valkey_server):
    """By default: everything inside."""
    with host_with("old-redis-calls") as host:
        guests = Guests(host, valkey_server.url)
        assert guests.pipe(["PING"]) == {"other": "destination prohibited"}
        guests.url = valkey_server.url.replace("127.0.0.1", "localhost")
        assert guests.pipe(["PING"]) == {"other": "destination prohibited"}


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:1", "unix:///tmp/socket", "redis://", "redis://a b"])
def test_urls_that_are_none_are_errors_of_the_call(guests, url):
    """Those of files too."""
    guests.url = url
    assert set(guests.pipe(["PING"])) == {"other"}
