"""Hand-made vectors: the known core layouts of published interfaces, and one for each rule that traps."""

from __future__ import annotations

import struct
import time
from typing import Any

import pytest

from guesthouse.engine.canonical import EMPTY_PLAN, Plan, ResourceTable, compile_function
from guesthouse.engine.layout import Layout
from guesthouse.engine.plan import ROOT_FLAT, ROOT_IN_MEMORY
from guesthouse.engine.types import (
    BorrowType,
    EnumType,
    FlagsType,
    FuncType,
    ListType,
    OptionType,
    OwnType,
    Primitive,
    ResourceType,
    ResultType,
    TupleType,
    Type,
    VariantType,
)
from guesthouse.engine.values import Err, Ok, Some
from guesthouse.errors import Trap
from unit import momento_types as momento
from unit.fake_guest import ROOMY, Context, FakeGuest
from unit.momento_types import BUFFER, BYTES, DATA, STRING, func

MiB = 1 << 20


def compiled(kind: FuncType) -> Any:
    return compile_function("test:vectors/it", "f", kind)


def lifting(kind: Type) -> Any:
    return compiled(func(result=kind)).lift_result


def memory(*pieces: tuple[int, bytes], size: int = 4096, budget: int = ROOMY) -> Context:
    """A guest's memory with these bytes at these addresses."""
    content = bytearray(size)
    for address, piece in pieces:
        content[address : address + len(piece)] = piece
    return Context(bytes(content), ResourceTable(16), budget)


def blocks(*rows: tuple[int, int, int, int, int]) -> bytes:
    return b"".join(struct.pack("<5I", *row) for row in rows)


def trap(reason: str = "canonical-abi", match: str | None = None) -> Any:
    return pytest.raises(Trap, match=match, check=lambda error: error.reason == reason)


class TestMomentoLayouts:
    @pytest.mark.parametrize("name", momento.CORE_SIGNATURES)
    def test_core_signatures_are_those_that_guests_import_and_export(self, name: str) -> None:
        """Flattening, joining, spilled parameters and return pointers as published guests have them."""
        kind, imported, exported = momento.CORE_SIGNATURES[name]
        signature = compiled(kind)
        assert (signature.core_params, signature.core_results) == imported
        assert (signature.export_params, signature.export_results) == exported

    @pytest.mark.parametrize(
        ("kind", "size"),
        [
            (momento.response(DATA), 24), (momento.response(BYTES), 20), (momento.HEADER, 16),
            (momento.GET.result, 20), (momento.GET_V1.result, 16), (momento.SPAWN_RESULT, 16),
            (momento.HTTP_REQUEST, 72), (momento.HTTP_RESULT, 28),
        ],
    )  # fmt: skip
    def test_sizes_are_those_of_published_guests(self, kind: Type, size: int) -> None:
        """All of them are aligned to four bytes."""
        assert Layout().size_align(kind) == (size, 4)

    def test_a_web_response_is_lifted(self) -> None:
        """0 status, 4 and 8 headers, 12 case of the body, 16 and 20 its bytes."""
        cx = memory(
            (64, struct.pack("<H2xIIB3xII", 404, 128, 1, 1, 300, 5)),
            (128, struct.pack("<IIII", 200, 3, 210, 4)),
            (200, b"abc"), (210, b"wxyz"), (300, b"hello"),
        )  # fmt: skip
        value = compiled(momento.INVOKE).lift_result(cx, [64])
        assert value == (404, [("abc", "wxyz")], ("value", b"hello"))
        assert value.status == 404
        assert value.headers[0].name == "abc"
        assert type(value.body[1]) is bytes

    def test_a_buffer_that_comes_back_is_taken_out_of_the_table(self) -> None:
        """The own handle in a response moves to the host."""
        cx, obj = memory((64, struct.pack("<H2xIIB3xII", 200, 4, 0, 0, 1, 99))), object()
        assert cx.resources.insert(BUFFER, obj) == 1
        assert compiled(momento.INVOKE).lift_result(cx, [64]) == (200, [], ("buffer", obj))
        assert len(cx.resources) == 0

    def test_data_goes_in_flat(self) -> None:
        """A buffer is one handle and no block; bytes are one block whose address goes into the second cell."""
        cx, signature = memory(), compiled(momento.INVOKE)
        plan = signature.lower_params(cx, [("buffer", object())])
        assert plan == Plan(b"", struct.pack("<QQQ", 0, 1, 0))
        assert plan.flat == (0, 1, 0)
        plan = signature.lower_params(cx, [("value", b"hello")])
        assert plan.blocks == blocks((8, 24, 0, ROOT_FLAT, 0), (1, 5, 24, 0, 8))
        assert plan.blob == struct.pack("<QQQ", 1, 0, 5) + b"hello"

    @pytest.mark.parametrize(
        ("value", "root", "block"),
        [
            (Ok(("value", b"hi")), "00000000 01000000 01000000 00000000 02000000", (1, 2, 20, 0, 12)),
            (Ok(("value", b"")), "00000000 01000000 01000000 00000000 00000000", (1, 0, 20, 0, 12)),
            (Ok(None), "00000000 00000000 00000000 00000000 00000000", None),
            (Err(("timeout", None)), "01000000 03000000 00000000 00000000 00000000", None),
            (Err(("not-found", "no")), "01000000 07000000 00000000 02000000 00000000", (1, 2, 20, 0, 8)),
        ],
    )
    def test_the_answer_of_cache_get_is_planned(self, value: Any, root: str, block: Any) -> None:
        """At the return pointer lie the case, the inner case, the case of data, and an address that C fills in."""
        plan = compiled(momento.GET).lower_result(memory(), value, [1, 2, 3, 640])
        rows = [(4, 20, 0, ROOT_IN_MEMORY, 640)] + ([block] if block else [])
        assert plan.blocks == blocks(*rows)
        assert plan.blob[:20] == bytes.fromhex(root)

    def test_headers_are_planned_in_the_order_of_allocation(self) -> None:
        """The list first, then each string of each element; parents before children."""
        plan = compiled(func(result=ListType(momento.HEADER))).lower_result(memory(), [("a", "bc"), ("d", "")], [96])
        rows = [(4, 8, 0, ROOT_IN_MEMORY, 96), (4, 32, 8, 0, 0)]
        rows += [(1, 1, 40, 1, 0), (1, 2, 41, 1, 8), (1, 1, 43, 1, 16), (1, 0, 44, 1, 24)]
        assert plan.blocks == blocks(*rows)
        assert plan.blob == struct.pack("<II8I", 0, 2, 0, 1, 0, 2, 0, 1, 0, 0) + b"abcd"

    def test_an_http_request_is_lifted_from_spilled_parameters(self) -> None:
        """Its 17 flat values are too many: one pointer to 72 bytes, then the return pointer."""
        words = [500, 1, 501, 3, 0, 0, 1, 504, 2, 2]
        cx = memory(
            (64, struct.pack("<6I B3xII B3x", *words) + struct.pack("<II II", 506, 3, 509, 1)), (500, b"uGETbbarns")
        )
        (request,) = compiled(func(momento.HTTP_REQUEST, result=momento.HTTP_RESULT)).lift_params(cx, [64, 1000])
        assert request == ("u", "GET", [], ("value", b"bb"), ("federated", ("arn", "s")))

    def test_many_parameters_are_lowered_as_one_block(self) -> None:
        """Seventeen of them: the root is one pointer, block 1 the tuple."""
        plan = compiled(func(*[Primitive("u16")] * 16, STRING)).lower_params(memory(), [*range(16), "x"])
        assert plan.blocks == blocks((8, 8, 0, ROOT_FLAT, 0), (4, 40, 8, 0, 0), (1, 1, 48, 1, 32))
        assert plan.blob == bytes(8) + struct.pack("<16HII", *range(16), 0, 1) + b"x"

    def test_a_function_without_result_has_the_empty_plan(self) -> None:
        """It allocates nothing, and gives back what was lent."""
        cx, signature = memory(), compiled(func(BorrowType(BUFFER), Primitive("u32")))
        handle = cx.resources.insert(BUFFER, "it")
        assert signature.lift_params(cx, [handle, 7]) == ("it", 7)
        with trap("resource"):
            cx.resources.drop(BUFFER, handle)
        assert signature.lower_result(cx, None, [handle, 7]) is EMPTY_PLAN
        cx.resources.drop(BUFFER, handle)
        assert signature.lift_result(cx, []) is None

    def test_answering_a_method_gives_back_its_self(self) -> None:
        """What a call was lent is the guest's again once its answer is lowered."""
        cx, signature = memory(), compiled(momento.READ)
        handle = cx.resources.insert(BUFFER, "it")
        assert signature.lift_params(cx, [handle, 7, 64]) == ("it", 7)
        signature.lower_result(cx, b"abc", [handle, 7, 64])
        cx.resources.drop(BUFFER, handle)


class TestTraps:
    @pytest.mark.parametrize("code", [0xD800, 0xDFFF, 0x110000, 0xFFFFFFFF])
    @pytest.mark.parametrize("kind", [Primitive("char"), ListType(Primitive("char"))])
    def test_a_char_that_is_no_scalar_value_traps(self, kind: Type, code: int) -> None:
        """Alone (flat) and in a list."""
        with trap(match="char .* is not a Unicode scalar value"):
            lifting(kind)(memory((64, struct.pack("<III", 72, 1, code))), [code if kind == Primitive("char") else 64])

    @pytest.mark.parametrize(
        "kind",
        [
            OptionType(STRING), ResultType(STRING, None), EnumType(("a", "b")), VariantType((("a", None), ("b", STRING))),
            VariantType((("a", BYTES), ("b", STRING))),
        ],
        ids=str,
    )  # fmt: skip
    def test_a_discriminant_without_a_case_traps(self, kind: Type) -> None:
        """The first number that has no case is refused."""
        with trap(match="discriminant 2 is out of range: there are 2 cases"):
            lifting(kind)(memory((64, b"\x02")), [2 if isinstance(kind, EnumType) else 64])

    def test_any_bool_but_zero_is_true(self) -> None:
        """As the rules have it; nothing traps."""
        assert lifting(TupleType((Primitive("bool"),) * 3))(memory((64, b"\x00\x01\x02")), [64]) == (False, True, True)

    def test_flags_without_a_name_are_ignored(self) -> None:
        """As the rules have it; nothing traps."""
        assert lifting(FlagsType(("a", "b")))(memory(), [0xFFFFFFFE]) == frozenset({"b"})
        assert lifting(FlagsType(tuple("abcdefgh")))(memory(), [0xFFFFFF81]) == frozenset({"a", "h"})

    @pytest.mark.parametrize(("pointer", "match"), [(65, "not aligned to 4"), (4093, "not aligned"), (4096, "outside")])
    def test_a_result_pointer_must_be_aligned_and_inside(self, pointer: int, match: str) -> None:
        """The whole result must lie in memory."""
        with trap(match=match):
            compiled(momento.INVOKE).lift_result(memory(), [pointer])

    @pytest.mark.parametrize("kind", [STRING, BYTES, ListType(momento.HEADER), ListType(Primitive("u64"))], ids=str)
    @pytest.mark.parametrize("length", [0xFFFFFFFF, 0x10000000, 4096])
    def test_a_giant_length_traps(self, kind: Type, length: int) -> None:
        """Pointer 8, length up to 2^32-1: nothing wraps around."""
        with trap(match="outside the memory of 4096 bytes"):
            lifting(kind)(memory((64, struct.pack("<II", 8, length))), [64])

    @pytest.mark.parametrize(
        ("kind", "pointer"), [(ListType(momento.HEADER), 6), (ListType(Primitive("u16")), 3)], ids=str
    )
    def test_a_list_must_be_aligned_even_if_it_is_empty(self, kind: Type, pointer: int) -> None:
        """The alignment is that of the element."""
        with trap(match="not aligned"):
            lifting(kind)(memory((64, struct.pack("<II", pointer, 0))), [64])

    def test_an_empty_list_beyond_memory_traps(self) -> None:
        """Its pointer may be the end of memory, not more."""
        lift = lifting(BYTES)
        assert lift(memory((64, struct.pack("<II", 4096, 0))), [64]) == b""
        with trap(match="outside"):
            lift(memory((64, struct.pack("<II", 4097, 0))), [64])

    @pytest.mark.parametrize("data", ["c328", "eda080", "c080", "f09f98", "ff", "f4908080", "e08080"])
    def test_a_string_that_is_not_utf8_traps_and_is_not_quoted(self, data: str) -> None:
        """Broken, surrogate, overlong, truncated; in a list, too."""
        text = bytes.fromhex(data)
        cx = memory((64, struct.pack("<II", 72, 1)), (72, struct.pack("<II", 100, len(text))), (100, text))
        with trap(match="^string is not valid UTF-8 at its byte 0$"):
            lifting(ListType(STRING))(cx, [64])

    @pytest.mark.parametrize("handle", [0, 2, 0xFFFFFFFF])
    def test_a_forged_handle_in_a_response_traps(self, handle: int) -> None:
        """With a reason of its own."""
        cx = memory((64, struct.pack("<H2xIIB3xII", 200, 4, 0, 0, handle, 0)))
        cx.resources.insert(BUFFER, object())
        with trap("resource"):
            compiled(momento.INVOKE).lift_result(cx, [64])

    def test_the_same_own_handle_twice_traps(self) -> None:
        """And one that is lent in the same call cannot be moved by it."""
        cx = memory()
        handle = cx.resources.insert(BUFFER, object())
        with trap("resource", "no such handle"):
            compiled(func(OwnType(BUFFER), OwnType(BUFFER))).lift_params(cx, [handle, handle])
        handle = cx.resources.insert(BUFFER, object())
        with trap("resource", "lent"):
            compiled(func(BorrowType(BUFFER), OwnType(BUFFER))).lift_params(cx, [handle, handle])

    def test_what_a_failed_lift_took_is_closed_with_the_table(self) -> None:
        """Objects are not lost between the table and the host function."""
        closed: list[str] = []

        class Thing:
            def close(self) -> None:
                closed.append("closed")

        cx = memory()
        handle = cx.resources.insert(BUFFER, Thing())
        with trap():
            compiled(func(OwnType(BUFFER), STRING)).lift_params(cx, [handle, 5000, 1])
        cx.resources.close_all()
        assert closed == ["closed"]

    def test_a_handle_over_the_limit_traps(self) -> None:
        """Lowering is where the guest gets too many."""
        signature = compiled(func(result=ListType(OwnType(BUFFER))))
        with trap("resource-limit"):
            signature.lower_result(memory(), [object()] * 17, [64])


class TestBudget:
    def test_a_million_aliases_of_one_large_buffer_trap_at_once(self) -> None:
        """Each alias is charged, so the first few end it."""
        count, length = 1_000_000, 8 * MiB
        content = bytearray(64 * MiB)
        content[64:72] = struct.pack("<II", 128, count)
        content[128 : 128 + 8 * count] = struct.pack("<II", 16 * MiB, length) * count
        cx, lift = Context(bytes(content), ResourceTable(1), 32 * MiB), lifting(ListType(BYTES))
        before = time.process_time()
        with trap("lift-budget"):
            lift(cx, [64])
        assert time.process_time() - before < 1

    @pytest.mark.parametrize("kind", [STRING, BYTES, ListType(Primitive("u32")), ListType(momento.HEADER)], ids=str)
    def test_the_budget_is_charged_before_anything_is_allocated(self, kind: Type) -> None:
        """A length over the budget traps although it lies inside memory."""
        with trap("lift-budget"):
            lifting(kind)(memory((64, struct.pack("<II", 128, 200)), budget=199), [64])

    def test_bytes_and_ascii_cost_their_length_and_other_text_twice_that(self) -> None:
        """Text outside ASCII can take four bytes a character in Python."""
        cases: list[tuple[Type, bytes, int]] = [(BYTES, b"abcd", 4), (STRING, b"abcd", 4), (STRING, "éü".encode(), 8)]
        for kind, content, cost in cases:
            cx = memory((64, struct.pack("<II", 128, 4)), (128, content), budget=100)
            lifting(kind)(cx, [64])
            assert cx.lift_budget == 100 - cost

    def test_exactly_the_budget_is_enough(self) -> None:
        """One byte less is not."""
        cx = memory((64, struct.pack("<II", 128, 50)), budget=50)
        assert lifting(BYTES)(cx, [64]) == bytes(50)
        assert cx.lift_budget == 0
        with trap("lift-budget"):
            lifting(BYTES)(memory((64, struct.pack("<II", 128, 51)), budget=50), [64])


def test_an_outer_option_is_marked_only_where_none_would_be_ambiguous() -> None:
    """option<option<u8>> has three values."""
    signature = compiled(func(result=OptionType(OptionType(Primitive("u8")))))
    for value in (None, Some(None), Some(3)):
        guest = FakeGuest()
        guest.apply(signature.lower_result(guest.context, value, [64]))
        assert signature.lift_result(guest.context, [64]) == value


def test_nan_and_infinity_pass() -> None:
    """Which NaN it is does not matter."""
    lift = lifting(TupleType((Primitive("f32"), Primitive("f64"))))
    first, second = lift(memory((64, struct.pack("<IIQ", 0x7FA00001, 0, 0xFFF0000000000000))), [64])
    assert first != first
    assert second == float("-inf")


def test_a_resource_lent_to_an_export_must_be_dropped_by_it() -> None:
    """Borrow parameters of exports are handles that end with the call."""
    cx, signature = memory(), compiled(func(BorrowType(BUFFER)))
    (handle,) = signature.lower_params(cx, ["it"]).flat
    with trap("resource", "kept 1 borrowed"):
        cx.resources.end_call()
    cx.resources.drop(BUFFER, handle)
    cx.resources.end_call()


def test_the_same_function_is_compiled_once() -> None:
    """Equal types are one signature, whoever describes them."""
    again = FuncType(tuple(momento.GET.params), momento.GET.result)
    assert compile_function("x", "get", momento.GET) is compile_function("x", "get", again)
    other = ResourceType("other", "buffer")
    assert compile_function("x", "get", func(OwnType(other))) is not compile_function("x", "get", func(OwnType(BUFFER)))
