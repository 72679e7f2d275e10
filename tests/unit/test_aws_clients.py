"""`AwsClients` against servers that misbehave: what is sent, when it ends, and what is said of it."""

from __future__ import annotations

import asyncio
import threading

import pytest

from aws_relay import Relay
from aws_server import KEYS, REGION, ROLE
from guesthouse.net.aws import AwsClients, AwsConfig, AwsFailure, AwsRequest, Credentials
from guesthouse.net.aws_session import MOST_CLIENTS
from upstream import Steps, Upstream, response

TOKEN = Credentials("ASIATOKEN", "a-secret-key", "a-session-token")
GET = AwsRequest("s3", "get_object", KEYS, REGION, {"Bucket": "shelf", "Key": "k"})
ITEM = AwsRequest(
    "dynamodb", "get_item", KEYS, REGION, {"TableName": "t", "Key": {}}, b'{"TableName":"t","Key":{"id":{"S":"x"}}}'
)
SECRET = AwsRequest("secretsmanager", "get_secret_value", KEYS, REGION, {"SecretId": "x"})
LINGER = 0.3


@pytest.fixture(scope="module")
def open_relay():
    with Relay() as relay:
        yield relay


@pytest.fixture(scope="module")
def bench():
    """Clients on one loop, each configuration's made once: botocore takes its time to begin."""
    made = {}
    with asyncio.Runner() as runner:
        yield runner, made
        for clients in made.values():
            runner.run(clients.close())
            runner.run(clients.close())  # may be called twice


@pytest.fixture
def relay(open_relay, bench):
    """What arrives, from now on; it is answered with nothing."""
    open_relay.clear()
    open_relay.answer = lambda request: (200, {}, b"{}")
    open_relay.bench = bench
    return open_relay


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    """Retries follow at once."""
    from aiobotocore.endpoint import AioEndpoint

    async def at_once(self, seconds):
        assert 0 <= seconds <= 20

    monkeypatch.setattr(AioEndpoint, "_sleep", at_once)


def with_clients(relay, work, **config):
    """Runs `work` with clients of a relay."""
    runner, made = relay.bench
    config = {"endpoint_url": relay.url, **config}
    clients = made.get(str(config)) or made.setdefault(str(config), AwsClients(AwsConfig(KEYS, **config)))
    return runner.run(work(clients))


def calls(relay, *requests, **config):
    """What became of each request: its answer or its failure."""

    async def work(clients):
        found = []
        for request in requests:
            try:
                answer = await clients.call(request)
                if answer.body is not None:
                    try:
                        answer.fields["read"] = b"".join([chunk async for chunk in answer.body])
                    finally:
                        answer.body.close()
                        answer.body.close()  # may be called twice
                found.append(answer)
            except AwsFailure as failure:
                found.append(failure)
        assert clients.slots._shares == {}
        return found

    return with_clients(relay, work, **config)


def failure(relay, request=GET, **config):
    """How a request fails."""
    (found,) = calls(relay, request, **config)
    assert isinstance(found, AwsFailure), found
    return found


def xml(code, message="because"):
    """An error of S3."""
    return f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()


# -- what is sent


def test_each_call_is_signed_with_its_own_credentials(relay):
    """Though all share one client, and run at the same time."""

    async def work(clients):
        others = [Credentials(f"KEY{n}", f"secret{n}", f"token{n}") for n in range(20)]
        requests = [
            AwsRequest("s3", "get_object", one, REGION, {"Bucket": "b", "Key": one.access_key_id}) for one in others
        ]
        answers = await asyncio.gather(*map(clients.call, requests))
        for answer in answers:
            answer.body.close()

    with_clients(relay, work)
    assert len(relay.requests) == 20
    for request in relay.requests:
        key = request.path.rpartition("/")[2]
        assert f"Credential={key}/" in request.headers["authorization"]
        assert request.headers["x-amz-security-token"] == key.replace("KEY", "token")


def test_a_body_of_the_callers_own_is_sent_as_it_is_and_answered_as_it_came(relay):
    """botocore reads neither."""
    relay.answer = lambda request: (200, {}, b'{"Item": {"n": {"N": "1.50"}}}')
    (answer,) = calls(relay, ITEM)
    assert relay.requests[0].body == ITEM.body
    assert relay.requests[0].headers["x-amz-target"] == "DynamoDB_20120810.GetItem"
    assert answer.raw == b'{"Item": {"n": {"N": "1.50"}}}'


def test_there_is_no_session_of_buckets_that_another_one_could_use(relay):
    """botocore would keep the sessions of express buckets by the bucket alone."""
    request = AwsRequest("s3", "get_object", KEYS, REGION, {"Bucket": "mine--use1-az4--x-s3", "Key": "k"})
    calls(relay, request, request)
    assert [one.path for one in relay.requests] == ["/mine--use1-az4--x-s3/k"] * 2


def test_no_cookie_is_kept(relay):
    """What one function's call was given does not go out with another one's."""
    relay.answer = lambda request: (200, {"set-cookie": "a=b; Path=/"}, b"{}")
    calls(relay, ITEM, ITEM)
    assert all("cookie" not in request.headers for request in relay.requests)


def test_single_services_can_be_elsewhere(relay):
    """An endpoint of its own goes before that of all."""
    with Relay() as other:
        other.answer = lambda request: (200, {}, b"{}")
        calls(relay, GET, ITEM, endpoints={"dynamodb": other.url})
        assert len(other.requests) == 1
    assert [request.path for request in relay.requests] == ["/shelf/k"]


def test_clients_are_bounded(relay):
    """Guests may name any region."""

    async def work(clients):
        for number in range(MOST_CLIENTS + 5):
            await clients.call(AwsRequest("dynamodb", "get_item", KEYS, f"r-{number}", ITEM.parameters, ITEM.body))
        return len(clients._session._clients)

    assert with_clients(relay, work) == MOST_CLIENTS


def test_clients_are_made_beside_the_loop(relay, monkeypatch):
    """Each reads descriptions of services for up to a tenth of a second, and guests may name any region; once for all."""
    from botocore.loaders import Loader

    threads, load = [], Loader.load_service_model

    def loading(self, *args, **options):
        threads.append(threading.current_thread())
        return load(self, *args, **options)

    monkeypatch.setattr(Loader, "load_service_model", loading)

    async def work(clients):
        request = AwsRequest("dynamodb", "get_item", KEYS, "new-region", ITEM.parameters, ITEM.body)
        await asyncio.gather(*[clients.call(request) for _ in range(5)])
        return sum(region == "new-region" for _, region in clients._session._clients)

    assert with_clients(relay, work) == 1
    assert threads
    assert threading.current_thread() not in threads
    assert len(set(threads)) == 1


# -- answers that are none


@pytest.mark.parametrize("request_", [GET, ITEM, SECRET], ids=["s3", "dynamodb", "secretsmanager"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(relay, request_, status):
    """Wherever it leads, with or without the headers by which S3 names another region."""
    with Relay() as elsewhere:
        elsewhere.answer = lambda request: (200, {}, b'{"SecretString": "stolen"}')
        fields = {"location": f"{elsewhere.url}/x", "x-amz-bucket-region": "eu-west-1"}
        relay.answer = lambda request: (status, fields, xml("PermanentRedirect"))
        assert failure(relay, request_).kind == "other"
        assert elsewhere.requests == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b"<", b'"x"', b"1", b'{"SecretString": 5}'])
def test_nonsense_harms_nobody(relay, body):
    """It is a failure, or an answer without what was expected of it."""
    relay.answer = lambda request: (200, {"content-type": "application/x-amz-json-1.1"}, body)
    for found in calls(
        relay, SECRET, AwsRequest("sts", "assume_role", KEYS, REGION, {"RoleArn": ROLE, "RoleSessionName": "x" * 3})
    ):
        assert not isinstance(found, AwsFailure) or found.kind == "other", found


@pytest.mark.parametrize("status", [200, 400, 500])
def test_an_answer_that_is_too_large_is_a_failure(relay, status):
    """Also one that is an error: it is read at once and would all be kept."""
    relay.answer = lambda request: (status, {}, b"x" * 5_000)
    request = AwsRequest("secretsmanager", "get_secret_value", KEYS, REGION, {"SecretId": "x"}, response_bytes=4_999)
    found = failure(relay, request, attempts=1)
    assert (found.kind, str(found)) == ("other", "secretsmanager: the connection ended before the answer did")


def test_a_body_that_breaks_off_is_a_failure(relay):
    """It is no regular end: the bytes before it come first."""
    relay.answer = lambda request: (200, {"content-length": "1000"}, b"x" * 10)
    found = failure(relay)
    assert (found.kind, str(found)) == ("other", "s3: the connection ended before the answer did")


def test_nobody_there_is_a_failure(relay):
    """Without the address, which guests need not know."""
    found = failure(relay, endpoint_url="http://127.0.0.1:9", attempts=1)
    assert (found.kind, str(found)) == ("other", "s3: no connection to its endpoint")


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "[fd00:ec2::254]", "[::ffff:169.254.169.254]"])
def test_a_metadata_service_is_no_endpoint(relay, host):
    """No socket is ever made for its address, in any form."""
    found = failure(relay, endpoint_url=f"http://{host}:9", attempts=1)
    assert (found.kind, str(found)) == ("other", "s3: no connection to its endpoint")


# -- time


def test_a_call_ends_with_its_timeout(relay):
    """Whatever the server does, and however often it may be tried."""
    answering = threading.Event()
    relay.answer = lambda request: (answering.wait(30), (200, {}, b""))[1]
    request = AwsRequest("s3", "get_object", KEYS, REGION, GET.parameters, timeout_ms=200)
    try:
        found = failure(relay, request)
    finally:
        answering.set()
    assert (found.kind, str(found)) == ("timeout", "no answer from s3 within 200 ms")


def test_a_body_ends_with_the_timeout_of_its_call(bench):
    """However much of it has come by then: a server could send it by the byte, and keep the slot."""

    async def work():
        answers = iter([response(b""), Steps(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nx")()])
        async with Upstream(lambda _: next(answers)) as upstream:
            clients = AwsClients(AwsConfig(KEYS, upstream.url()))
            (await clients.call(GET)).body.close()  # making the client takes its time
            answer = await clients.call(AwsRequest("s3", "get_object", KEYS, REGION, GET.parameters, timeout_ms=1_500))
            async with asyncio.timeout(30):
                assert await anext(answer.body) == b"x"
                with pytest.raises(TimeoutError):
                    await anext(answer.body)
            answer.body.close()
            assert clients.slots._shares == {}
            await clients.close()

    runner, _ = bench
    runner.run(work())


def test_a_function_that_waits_leaves_room_for_the_others(relay):
    """A quarter of the slots is a function's, half of them a namespace's."""
    answering = threading.Event()

    def slow(request):
        if "slow" in request.path:
            answering.wait(30)
        return 200, {}, b""

    relay.answer = slow

    def request(key, owner):
        return AwsRequest("s3", "get_object", KEYS, REGION, {"Bucket": "b", "Key": key}, owner=owner, timeout_ms=20_000)

    async def work(clients):
        hanging = [asyncio.create_task(clients.call(request("slow", ("a", "greedy")))) for _ in range(50)]
        while len(relay.requests) < 2:
            await asyncio.sleep(0.005)
        (await clients.call(request("quick", ("a", "other")))).body.close()
        (await clients.call(request("quick", ("b", "other")))).body.close()
        assert sum("slow" in one.path for one in relay.requests) == 2
        answering.set()
        for task in hanging:
            (await task).body.close()
        assert clients.slots._shares == {}

    with_clients(relay, work, connections=8)


def test_a_call_that_is_cancelled_gives_its_slot_back(relay):
    """Wherever it was."""
    arrived, answering = threading.Event(), threading.Event()
    relay.answer = lambda request: (arrived.set(), answering.wait(30), (200, {}, b""))[2]

    async def work(clients):
        task = asyncio.create_task(clients.call(GET))
        await asyncio.to_thread(arrived.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        answering.set()
        assert clients.slots._shares == {}

    with_clients(relay, work)


# -- trying again


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (500, "InternalError"), (503, "ServiceUnavailable")])
def test_a_busy_service_is_asked_again_a_few_times(relay, status, code):
    """Three times in all, unless the configuration says otherwise."""
    relay.answer = lambda request: (status, {}, xml(code))
    assert failure(relay).kind == ("throttled" if code == "SlowDown" else "other")
    assert len(relay.requests) == 3
    relay.requests.clear()
    failure(relay, attempts=1)
    assert len(relay.requests) == 1


def test_a_service_that_comes_to_itself_is_no_failure(relay):
    """The guest does not notice."""
    relay.answer = lambda request: (503, {}, xml("SlowDown")) if len(relay.requests) < 3 else (200, {}, b"fine")
    (answer,) = calls(relay, GET)
    assert answer.fields["read"] == b"fine"


@pytest.mark.parametrize("status", [400, 403, 404])
def test_what_would_fail_again_is_not_tried_again(relay, status):
    """Nor is a Lambda call ever, see `test_aws_lambda`."""
    relay.answer = lambda request: (status, {}, xml("Whatever"))
    failure(relay)
    assert len(relay.requests) == 1


# -- texts


@pytest.mark.parametrize("code", ["SignatureDoesNotMatch", "InvalidSignatureException", "AccessDenied", "Whatever"])
def test_no_text_holds_a_secret(relay, code):
    """Some of AWS's own quote the request as it should have been signed, token and all."""
    words = " ".join((TOKEN.secret_access_key, TOKEN.session_token, "x-amz-security-token:a-session-token", "\r\n\x07"))
    relay.answer = lambda request: (403, {}, xml(code, words))
    found = failure(relay, AwsRequest("s3", "get_object", TOKEN, REGION, GET.parameters))
    assert found.kind == "unauthorized"
    for secret in ("a-secret-key", "a-session-token"):
        assert secret not in str(found)
        assert secret not in repr(TOKEN)
    assert str(found).isprintable()


def test_a_text_is_bounded(relay):
    """However much the service has to say."""
    relay.answer = lambda request: (400, {}, xml("InvalidRequest", "x" * 50_000))
    found = failure(relay)
    assert found.kind == "malformed"
    assert len(str(found)) < 1_100
