"""Users' own host interfaces: a WIT text and a Python class; every type in both directions, and every way to get it wrong."""

from __future__ import annotations

import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from calculator import PAPER, RATES, HalfOfPaper, OtherRates, Paper, PlainPaper, Rates, Tape
from guesthouse import Err, Host, Interface, Invocation, Ok, Some, host_call
from guesthouse.errors import BadRequest, HostError, LinkError, Trap
from probes import redeploy
from support import FORMS, guest, wat


@pytest.fixture(scope="module", params=[*FORMS, "unknown-unknown"])
def calculator(request):
    rates, paper = Rates(), Paper()
    with Host(interfaces=[rates, paper]) as host:
        host.deploy("calculator", guest("calculator", request.param))

        def call(function, *args):
            return host.call("calculator", function, *args)

        call.rates, call.paper, call.host = rates, paper, host
        yield call


@pytest.mark.parametrize(
    ("function", "args", "result"),
    [
        ("convert", (2.5, "EUR"), Ok(5.0)),
        ("convert", (2.5, "XXX"), Err("there is no currency XXX")),
        ("evaluate", ([("number", 2.0), ("number", 3.0), ("operator", "add")],), Ok(5.0)),
        ("evaluate", ([("operator", "subtract")],), Err(("missing-operand", "subtract"))),
        ("evaluate", ([("number", 1.0), ("number", 0.0), ("operator", "divide")],), Err(("division-by-zero", None))),
        ("evaluate", ([("number", 1.0), ("number", 2.0)],), Err(("left-over", [1.0, 2.0]))),
        ("operator-of", ("−",), "subtract"),
        ("operator-of", ("?",), None),
        ("sign-of", ("divide",), "÷"),
        ("summarize", ([("a", 1.0), ("b", 3.0)],), (2, 4.0, ("b", 3.0))),
        ("summarize", ([],), (0, 0.0, None)),
        ("format", (1234567.891, frozenset()), "1234567.89"),
        ("format", (1234567.891, {"grouped", "signed", "rounded"}), "+1,234,568"),
    ],
)
def test_functions_take_and_give_natural_python_values(calculator, function, args, result):
    """Results are `Ok` and `Err`, variants pairs, enums strings, flags sets, records named tuples."""
    assert calculator(function, *args) == result


def test_a_record_has_its_fields_as_attributes(calculator):
    """Named as in WIT, in snake case."""
    summary = calculator("summarize", [("a", 1.0)])
    assert (summary.count, summary.total, summary.largest) == (1, 1.0, ("a", 1.0))


# -- resources


def test_a_lent_resource_is_used_and_stays_the_callers(calculator):
    """The guest prints on the very object; nobody closes it."""
    tape = Tape("mine")
    assert calculator("print-items", [("tea", 2.0), ("milk", 0.5)], tape) == 2.5
    assert (tape.lines, tape.closed) == (["mine", "tea 2.00", "milk 0.50"], 0)


def test_a_resource_that_the_guest_made_is_the_callers_afterwards(calculator):
    """It moves out of the guest with the result, open."""
    tape = calculator("print-receipt", [("tea", 2.0)], None)
    assert isinstance(tape, Tape)
    assert tape is calculator.paper.tapes[-1]
    assert (tape.lines, tape.closed) == (["receipt", "tea 2.00", "total 2.00"], 0)


def test_a_resource_that_is_given_away_is_closed_when_the_guest_drops_it(calculator):
    """Both halves are dropped by the guest, once each; the spliced tape comes out."""
    before = Tape("before")
    tape = calculator("print-receipt", [], before)
    assert tape.lines == ["before", "receipt", "total 0.00"]
    assert (before.closed, calculator.paper.tapes[-1].closed, tape.closed) == (1, 1, 0)


def test_a_resource_in_the_hands_of_a_guest_that_traps_is_closed(calculator):
    """What it owned is closed with it; what it was lent is not."""
    lent, given = Tape("lent"), Tape("given")
    redeploy(calculator.host, "calculator", "short", host_calls=2)
    for function, tape, closed in (("print-items", lent, 0), ("print-receipt", given, 1)):
        with pytest.raises(Trap, match="more than 2 host calls"):
            calculator.host.call("short", function, [("a", 1.0)] * 3, tape)
        assert tape.closed == closed


def test_a_resource_whose_close_fails_is_its_authors_mistake(calculator):
    """Dropped by the guest it traps that guest, with the name of the drop; left behind by one it harms nobody."""

    class Jammed(Tape):
        def close(self) -> None:
            super().close()
            raise OSError("paper jam")

    dropped, left = Jammed("dropped"), Jammed("left")
    with pytest.raises(HostError, match=r"'\[resource-drop\]tape' raised OSError"):
        calculator("print-receipt", [], dropped)
    redeploy(calculator.host, "calculator", "short", host_calls=2)
    with pytest.raises(Trap, match="more than 2 host calls"):
        calculator.host.call("short", "print-receipt", [("a", 1.0)] * 3, left)
    assert (dropped.closed, left.closed) == (1, 1)
    assert calculator.host.inner.dispatcher.pool.in_use == 0


# -- every type there is

number = some.floats(allow_nan=False)
text = some.text(max_size=20)
operator = some.sampled_from(["add", "subtract", "multiply", "divide"])
word = some.tuples(some.just("number"), number) | some.tuples(some.just("operator"), operator)
u32 = some.integers(0, 2**32 - 1)
summary = some.tuples(u32, number, some.none() | some.tuples(text, number))


def unsigned(bits):
    return some.integers(0, 2**bits - 1)


def signed(bits):
    return some.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


specimen = some.tuples(
    some.booleans(),
    some.tuples(*map(unsigned, (8, 16, 32, 64))),
    some.tuples(*map(signed, (8, 16, 32, 64))),
    some.tuples(some.floats(width=32, allow_nan=False), number),
    some.characters(exclude_categories=["Cs"]),
    text,
    some.binary(max_size=100),
    operator,
    word,
    some.frozensets(some.sampled_from(["grouped", "signed", "rounded"])),
    some.none() | some.just(Some(None)) | u32.map(Some),
    some.lists(some.tuples(text, summary), max_size=5).map(Ok) | text.map(Err),
    some.sampled_from([Ok(), Err()]),
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(value=specimen)
def test_every_type_survives_the_way_in_and_out(calculator, value):
    """One record with a value of each type, through the guest's memory and back."""
    assert calculator("mirror", value) == value


# -- mistakes


@pytest.mark.parametrize(
    ("function", "args", "kind", "message"),
    [
        ("convert", ("1", "EUR"), TypeError, "convert: amount: expected f64, got str '1'"),
        ("convert", (1.0,), TypeError, "convert: takes 2 values, got 1"),
        ("operator-of", ("ab",), ValueError, "operator-of: sign: expected char"),
        ("operator-of", ("\ud800",), ValueError, "operator-of: sign: expected char"),
        ("sign-of", ("modulo",), ValueError, "sign-of: operator: expected one of add, subtract"),
        ("evaluate", ([("number", 1.0), ("letter", "x")],), ValueError, r"evaluate: words\[1\]: expected a case of"),
        ("evaluate", ([("number", "x")],), TypeError, r"evaluate: words\[0\].number: expected f64"),
        ("format", (1.0, {"bold"}), ValueError, "format: style: expected a set of grouped, signed, rounded"),
        ("summarize", ([("a",)],), TypeError, r"summarize: items\[0\]: expected tuple"),
        ("print-items", ([], "paper"), TypeError, "print-items: tape: expected a Tape, got str 'paper'"),
        ("print-items", ([], None), TypeError, "print-items: tape: expected a Tape, got NoneType None"),
        ("print-receipt", ([], 5), TypeError, "print-receipt: before: expected a Tape, got int 5"),
        ("nothing", (), BadRequest, "exports no 'nothing'; it exports: convert, evaluate"),
    ],
)
def test_a_wrong_argument_is_refused_before_the_guest_begins(calculator, function, args, kind, message):
    """The error names the function, where in the argument, and what was expected."""
    with pytest.raises(kind, match=message):
        calculator(function, *args)
    assert calculator.host.inner.dispatcher.pool.in_use == 0


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (1.0, f"{RATES}#rate: result: expected result<f64, rate-error>"),
        (Ok("x"), f"{RATES}#rate: result.ok: expected f64, got str 'x'"),
        (Err(("open", None)), f"{RATES}#rate: result.err: expected a case of unknown-currency, closed, got str 'open'"),
        (RuntimeError("no network"), f"the host function {RATES} 'rate' raised RuntimeError"),
    ],
)
def test_a_wrong_answer_of_a_host_function_traps_this_one_guest(calculator, answer, message):
    """The error names function and path; the next call is fine again."""
    calculator.rates.answer = answer
    with pytest.raises(HostError) as caught:
        calculator("convert", 1.0, "EUR")
    calculator.rates.answer = None
    assert message in str(caught.value)
    assert "no network" not in str(caught.value)
    assert isinstance(caught.value.__cause__, RuntimeError | TypeError | ValueError)
    assert calculator("convert", 1.0, "EUR") == Ok(2.0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("interfaces", "names"),
    [
        ([], ["example:calculator/", "an interface that this host does not offer"]),
        ([Rates(), HalfOfPaper()], ["[static]tape.splice", PAPER, "[method]tape.print"]),
        ([OtherRates(), PlainPaper()], [RATES, "'rate'", "result<u64, rate-error>", "result<f64, rate-error>"]),
    ],
    ids=["no interface", "no function", "another shape"],
)
def test_a_guest_that_does_not_fit_is_refused_at_deploy(form, interfaces, names):
    """The error names the interface and the function; where the types differ, both signatures."""
    with Host(interfaces=interfaces) as host:
        with pytest.raises(LinkError) as caught:
            host.deploy("calculator", guest("calculator", form))
        assert all(name in str(caught.value) for name in names), str(caught.value)
        assert host.inspect(guest("calculator", form)).problem == str(caught.value)


# -- one class is all

GREETING_GUEST = """
(module
  (import "my:hello/greeting@0.3.0" "length" (func $length (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 8) "hello")
  (func (export "my:hello/runner@0.3.0#run") (result i32) (call $length (i32.const 8) (i32.const 5))))
"""


class Greeting(Interface):
    """All that a new capability takes."""

    name = "greeting"
    wit = """
    package my:hello@0.3.0;
    interface greeting { length: func(text: string) -> u32; }
    interface runner { run: func() -> u32; }
    """
    threads: set[int] = set()  # noqa: RUF012

    @host_call("my:hello/greeting@0.3.0", "length", blocking=True)
    def length(self, invocation: Invocation, text: str) -> int:
        self.threads.add(threading.get_ident())
        return len(text)


def test_a_new_interface_is_one_class_and_nothing_else():
    """No other file knows of it; grants, inspection and metrics have its name; a blocking method gets a thread."""
    with Host(interfaces=[Greeting()]) as host:
        assert host.inspect(wat(GREETING_GUEST)).grants == ["greeting"]
        with pytest.raises(LinkError, match="not granted: greeting"):
            host.deploy("guest", wat(GREETING_GUEST), grants=["cache"])
        host.deploy("guest", wat(GREETING_GUEST), grants=["greeting"])
        assert host.call("guest", "run", interface="my:hello/runner@0.3.0") == 5
        assert host.inner.metrics._host_calls == {("my:hello/greeting@0.3.0", "length", "ok"): 1}
        assert Greeting.threads.isdisjoint({threading.get_ident(), host._thread.ident})


def test_two_classes_cannot_answer_the_same_function():
    """Which of them is meant would be a guess."""
    with pytest.raises(ValueError, match=r"two host interfaces answer my:hello/greeting@0\.3\.0 length"):
        Host(interfaces=[Greeting(), Greeting()])
