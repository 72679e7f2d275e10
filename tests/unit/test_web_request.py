"""What a web guest learns of its request: everything, decoded, and what is taken is taken once."""

from guesthouse.interfaces.invocation import WebRequest
from guesthouse.interfaces.web import WebInterface
from unit.interface_fakes import calls, invocation

WEB = WebInterface()


def test_request_metadata_is_taken_once() -> None:
    """The second call answers the empty form of headers, query, token and path; method and id stay."""
    run = invocation(
        request=WebRequest("PUT", "foo/bar", [("a", "1"), ("a", "2")], [("x", "1"), ("x", "2")], token_id="me")
    )
    first = [
        WEB.headers(run),
        WEB.query_parameters(run),
        WEB.token_metadata(run),
        WEB.invocation_path(run),
        WEB.http_method(run),
        WEB.invocation_id(run),
    ]
    assert first == [[("x", "1"), ("x", "2")], [("a", "1"), ("a", "2")], "me", "foo/bar", "PUT", "inv-1"]
    second = [
        WEB.headers(run),
        WEB.query_parameters(run),
        WEB.token_metadata(run),
        WEB.invocation_path(run),
        WEB.http_method(run),
        WEB.invocation_id(run),
    ]
    assert second == [[], [], None, None, "PUT", "inv-1"]


def test_a_spawned_run_has_empty_metadata() -> None:
    """Without a request everything is answered empty and nothing traps."""
    run = invocation()
    assert [WEB.headers(run), WEB.query_parameters(run), WEB.token_metadata(run)] == [[], [], None]
    assert [WEB.invocation_path(run), WEB.http_method(run), WEB.invocation_id(run)] == [None, "", "inv-1"]


def test_an_empty_rest_of_the_path_counts_as_none() -> None:
    """`/functions/ns/name/?q` has no path."""
    assert WEB.invocation_path(invocation(request=WebRequest(path=""))) is None


def test_both_generations_answer_every_metadata_function() -> None:
    """Six functions each, and three of streaming."""
    found = calls(WEB)
    for package in ("web-function", "functions"):
        interface = f"momento:{package}/web-function-support@1.0.0"
        assert len([name for owner, name in found if owner == interface]) == 6
    assert len(found) == 15
