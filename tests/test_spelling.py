import contextlib
import keyword
import math
from dataclasses import dataclass, make_dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.spelling import Spelled, parse, part_name, snake_case, spell


@dataclass(frozen=True)
class TwoLines:
    first: Any
    second: Any = None

    def __str__(self) -> str:
        return spell(self)


class Several:
    def __init__(self, *parts, scale=1.0):
        self.parts, self.scale = parts, scale

    def __str__(self):
        return spell(self)


words = st.text(max_size=8) | st.sampled_from(
    [
        *keyword.kwlist,
        *keyword.softkwlist,
        "nan",
        "inf",
        "-inf",
        "1",
        "1e5",
        "it's",
        'say "no"',
        "a b",
        "gist()",
        "ä",
        "\\",
        "\n",
        "\x00",
    ]
)
numbers = (
    st.integers() | st.floats() | st.sampled_from([-0.0, math.inf, -math.inf, math.nan, 1e-300, 5e-324, 0.1 + 0.2])
)
values = st.recursive(
    st.none() | st.booleans() | numbers | words,
    lambda inner: st.lists(inner, max_size=3) | st.builds(TwoLines, inner, inner),
    max_leaves=8,
)


def as_read(value):
    """What a spelling of `value` must read as."""
    if isinstance(value, TwoLines):
        return Spelled("two_lines", {"first": as_read(value.first), "second": as_read(value.second)})
    return [as_read(item) for item in value] if isinstance(value, (list, tuple)) else value


def same(one, other):
    """Equal, type by type and bit by bit: 1 is not 1.0, 0.0 is not -0.0, and nan is nan."""
    if isinstance(one, Spelled) and isinstance(other, Spelled):
        return one.name == other.name and same(list(one.arguments.items()), list(other.arguments.items()))
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and repr(one) == repr(other)


@given(values, values)
def test_a_part_reads_back_from_its_spelling(first, second):
    part = TwoLines(first, second)
    assert same(parse(str(part)), as_read(part))
    assert parse(f" {part}\n").name == "two_lines"


@given(st.lists(values, max_size=3))
def test_parts_without_argument_names_come_first(parts):
    spelled = {"*": as_read(parts)} if parts else {}
    assert same(parse(str(Several(*parts))), Spelled("several", spelled | {"scale": 1.0}))


def test_the_spelling_is_the_one_people_write():
    assert str(TwoLines(0.05, "min")) == "two_lines(first=0.05, second=min)"
    assert str(TwoLines("two words", [1, None, True])) == "two_lines(first='two words', second=[1, None, True])"
    assert (
        str(TwoLines(TwoLines(-1e-9), "class"))
        == "two_lines(first=two_lines(first=-1e-09, second=None), second='class')"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(np.float64(0.5), "0.5"), (np.float32(0.1), repr(float(np.float32(0.1)))), (np.int32(3), "3"), ((1, 2), "[1, 2]")],
)
def test_numbers_of_numpy_are_numbers(value, text):
    assert str(TwoLines(value)) == f"two_lines(first={text}, second=None)"


class Loud:
    def __str__(self):
        return "<loud>"


@pytest.mark.parametrize(
    "value", [object(), {"a": 1}, {1}, b"x", 1j, np.zeros(2), Loud(), make_dataclass("Foo", ["x"])(1), int]
)
def test_what_cannot_be_read_back_is_not_spelled(value):
    with pytest.raises(TypeError, match="cannot spell .*arguments are numbers, texts, None, lists or parts"):
        spell(TwoLines(value))


def test_a_name_alone_is_a_part_without_arguments():
    assert parse("gist") == parse("gist()") == Spelled("gist", {})
    assert parse("sum([1, a(b=(2, 'x'))])") == Spelled("sum", {"*": [[1, Spelled("a", {"b": [2, "x"]})]]})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected name"),
        ("gist(", "cannot read the part 'gist\\('"),
        ("gist(margin=0.05", "cannot read the part"),
        ("1", "expected name"),
        ("'gist'", "expected name"),
        ("[gist]", "expected name"),
        ("gist(a=1)(b=2)", "cannot read"),
        ("os.system(a=1)", "cannot read 'os.system\\(a=1\\)'"),
        ("gist(a=b.c)", "cannot read 'b.c'"),
        ("gist(a=1+1)", "cannot read '1 \\+ 1'"),
        ("gist(a=-b)", "cannot read '-b'"),
        ("gist(a=-True)", "cannot read '-True'"),
        ("gist(a=-'x')", "cannot read"),
        ("gist(a=-[1])", "cannot read"),
        ("gist(a=b'x')", "cannot read"),
        ("gist(a={1: 2})", "cannot read"),
        ("gist(a=...)", "cannot read"),
        ("gist(a=1j)", "cannot read"),
        ("gist(**a)", "\\*\\* has no meaning"),
        ("gist(*a)", "cannot read"),
        ("gist(a=1, a=2)", "twice|repeated"),
        ("gist(a=lambda: 0)", "cannot read"),
        ("gist(a=[x for x in y])", "cannot read"),
        ("gist(); rm()", "cannot read"),
    ],
)
def test_what_is_no_spelling_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse(text)


@given(st.text(max_size=20))
def test_no_text_does_anything_but_read_or_raise_a_value_error(text):
    with contextlib.suppress(ValueError):
        assert isinstance(parse(text), Spelled)


def test_class_names_become_snake_case_and_a_class_may_say_its_own():
    names = {"RelativeMargin": "relative_margin", "InfoNCE": "info_nce", "MarginMSE": "margin_mse", "NegL2": "neg_l2"}
    assert {name: snake_case(name) for name in names} == names
    own = type("InfoNCE", (), {"name_in_recipes": "infonce"})
    assert part_name(own) == "infonce" and part_name(type("Weighted", (own,), {})) == "weighted"
