"""What does not compile, what cannot be lowered, and names that guests choose."""

from __future__ import annotations

import time
from typing import Any

import pytest

from guesthouse.engine.canonical import compile_function, record_class
from guesthouse.engine.types import (
    BorrowType,
    EnumType,
    FlagsType,
    FuncType,
    ListType,
    OptionType,
    Primitive,
    RecordType,
    TupleType,
    Type,
    VariantType,
)
from guesthouse.engine.values import Err, Ok
from guesthouse.errors import LinkError
from unit import momento_types as momento
from unit.fake_guest import FakeGuest
from unit.momento_types import BUFFER, BYTES, STRING, func


def compiled(kind: FuncType) -> Any:
    return compile_function("test:vectors/it", "f", kind)


class TestRefusedTypes:
    @pytest.mark.parametrize(
        "kind",
        [
            TupleType(()),
            RecordType(()),
            VariantType(()),
            EnumType(()),
            FlagsType(()),
            FlagsType(tuple(map(str, range(33)))),
        ],
        ids=str,
    )
    def test_empty_types_and_too_many_flags_do_not_link(self, kind: Type) -> None:
        """The component model has none either, so no value takes no room."""
        with pytest.raises(LinkError, match="test:vectors/it#f"):
            compiled(func(ListType(kind)))

    def test_a_borrow_in_a_result_does_not_link(self) -> None:
        """A function cannot give away what it was lent."""
        with pytest.raises(LinkError, match="borrow"):
            compiled(func(result=OptionType(BorrowType(BUFFER))))

    def test_types_that_are_too_deep_or_explode_do_not_link(self) -> None:
        """Sharing makes a tree of 2^63 leaves out of 63 types; it is refused without being walked."""
        deep: Type = STRING
        for _ in range(64):
            deep = ListType(deep)
        shared: Type = STRING
        for _ in range(60):
            shared = TupleType((shared, shared))
        for kind in (deep, shared):
            with pytest.raises(LinkError, match="too many"):
                compiled(func(kind))

    def test_the_largest_types_still_compile_in_time(self) -> None:
        """A guest's types must not stop the host for long."""
        wide = TupleType((ListType(STRING),) * 500)
        before = time.process_time()
        signature = compiled(func(result=wide))
        assert signature.lift_result
        assert signature.lower_result
        assert time.process_time() - before < 5


class TestNames:
    HOSTILE = (
        "__import__('os')",
        "a\nb",
        "x); raise SystemExit",
        "'",
        '"',
        "\\",
        "class",
        "ok",
        "ok-ok",
        "",
        "Ünïcode",
    )

    def test_hostile_names_never_reach_generated_source(self) -> None:
        """Names come from guests: they are only ever looked up in tables."""
        kind = TupleType(
            (
                RecordType(tuple((name, Primitive("u8")) for name in self.HOSTILE), "evil\nname"),
                VariantType(tuple((name, Primitive("u8")) for name in self.HOSTILE), "x"),
                EnumType(self.HOSTILE),
                FlagsType(self.HOSTILE),
            )
        )
        guest, signature = FakeGuest(), compiled(func(result=kind))
        value = (tuple(range(11)), (self.HOSTILE[2], 1), self.HOSTILE[0], frozenset(self.HOSTILE[:5]))
        guest.apply(signature.lower_result(guest.context, value, [64]))
        assert signature.lift_result(guest.context, [64]) == value
        generated = signature.lower_result.__doc__
        assert not any(name in generated for name in ("import", "SystemExit", "class", "code", "ok-"))

    def test_fields_are_snake_case_and_keyword_safe(self) -> None:
        """What cannot be a field gets a number."""
        names = ("content-type", "class", "X-ML", "count", "bad name", "a")
        made = record_class(RecordType(tuple((name, STRING) for name in names), "http-header"))
        assert made.__name__ == "HttpHeader"
        assert made._fields == ("content_type", "class_", "x_ml", "count", "_4", "a")  # type: ignore[attr-defined]


class TestRefusedValues:
    @pytest.mark.parametrize(
        ("kind", "value", "error", "words"),
        [
            (momento.GET.result, Ok(("value", "text")), TypeError, "result.ok.some.value: expected list<u8>"),
            (momento.GET.result, Err(("nope", None)), ValueError, "result.err: expected a case of internal-error"),
            (momento.GET.result, None, TypeError, r"expected result<option<data>, error> \(Ok"),
            (
                ListType(momento.HEADER),
                [("a", "b"), ("c", 5)],
                TypeError,
                r"result\[1\].value: expected string, got int 5",
            ),
            (ListType(momento.HEADER), [("a",)], TypeError, r"result\[0\]: expected header \(a tuple of 2\)"),
            (STRING, "\ud800", ValueError, "expected string without lone surrogates"),
            (Primitive("u8"), 256, ValueError, "result: expected u8, got int 256"),
            (Primitive("s8"), -129, ValueError, "result: expected s8, got int -129"),
            (Primitive("s16"), 1 << 15, ValueError, "expected s16"),
            (ListType(Primitive("s8")), [128], ValueError, r"result\[0\]: expected s8, got int 128"),
            (ListType(Primitive("f32")), [1e300], ValueError, r"result\[0\]: expected f32"),
            (Primitive("u32"), 1.5, TypeError, "expected u32, got float"),
            (Primitive("f64"), "1", TypeError, "expected f64, got str '1'"),
            (Primitive("bool"), 1, TypeError, "expected bool"),
            (Primitive("char"), "ab", ValueError, "expected char"),
            (ListType(Primitive("char")), ["a", "\ud800"], ValueError, r"result\[1\]: expected char"),
            (BYTES, 5, TypeError, "expected list<u8>"),
            (ListType(Primitive("u32")), b"abcd", TypeError, "expected list<u32>"),
            (EnumType(("a", "b")), "c", ValueError, "expected one of a, b, got str 'c'"),
            (FlagsType(("a",)), {"b"}, ValueError, "expected a set of a"),
            (FlagsType(("a",)), ["a"], TypeError, "expected a set of a"),
            (OptionType(OptionType(STRING)), "x", TypeError, r"None or Some"),
            (VariantType((("a", None),)), ("a", 1), TypeError, "result.a: expected None"),
        ],
    )
    def test_a_value_that_does_not_fit_is_refused_with_its_path(
        self, kind: Type, value: Any, error: type[Exception], words: str
    ) -> None:
        """The words name the function, where in the value, the WIT type and what was found."""
        with pytest.raises(error, match=f"^test:vectors/it#f: .*{words}"):
            compiled(func(result=kind)).lower_result(FakeGuest().context, value, [64])

    def test_a_wrong_number_of_arguments_is_refused(self) -> None:
        """Before anything else."""
        with pytest.raises(TypeError, match="takes 2 values, got 1"):
            compiled(func(STRING, STRING)).lower_params(FakeGuest().context, ["x"])

    def test_a_value_where_there_is_no_result_is_refused(self) -> None:
        """A host function that answers what nobody asked for is a bug."""
        with pytest.raises(TypeError, match="has no result"):
            compiled(func(STRING)).lower_result(FakeGuest().context, 5, [0, 0])

    @pytest.mark.parametrize("data", [bytearray(b"ab"), memoryview(b"ab"), memoryview(b"xaxbx")[1::2]])
    def test_any_bytes_like_object_is_a_list_of_u8(self, data: Any) -> None:
        """Also one that is not contiguous."""
        assert compiled(func(result=BYTES)).lower_result(FakeGuest().context, data, [64]).blob[8:] == b"ab"
