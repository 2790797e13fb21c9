"""Compiled loops: what NumPy would give, bit for bit, with or without a place to keep them."""

import math

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import types

from litotes.compiled import compiled

numbers = st.floats(-1e6, 1e6) | st.sampled_from([0.0, -0.0, 2.0**24, -(2.0**24), 1.0, 1e-300, math.inf])


TOTAL = """
def total(values, scale):
    made = 0.0
    for i in range(len(values)):
        made += values[i] * scale
    return made
"""


def fresh(source, *signatures, **options):
    """The function in this source compiled now: Numba finds no file of it, and so no cache from before."""
    place = {}
    exec(source, place)
    return compiled(*signatures, **options)(place.popitem()[1])


total, ratio = fresh(TOTAL), fresh("def ratio(a, b): return a / b")


@given(st.lists(numbers, max_size=40), numbers)
def test_sums_stay_in_order_and_products_are_rounded_before_they_are_added(values, scale):
    made = 0.0
    for value in values:
        made += value * scale
    found = total(np.array(values, np.float64), scale)
    assert np.float64(found).tobytes() == np.float64(made).tobytes() or (math.isnan(found) and math.isnan(made))


def test_a_product_is_not_fused_with_a_sum():
    a = 1 + 2.0**-30  # a * a - round(a * a) is 2^-60, which a fused sum would see
    assert total(np.array([-(a * a), a]), 1.0) == -(a * a) + a
    assert total(np.array([a]), a) + -(a * a) == 0.0


@pytest.mark.parametrize(("a", "b", "wanted"), [(1.0, 0.0, math.inf), (-1.0, 0.0, -math.inf), (0.0, 0.0, math.nan)])
def test_division_by_zero_is_no_error(a, b, wanted):
    assert repr(ratio(a, b)) == repr(wanted)


def test_fast_math_is_only_where_it_is_said():
    many = np.float64([2.0**60, 1.0, -(2.0**60), 1.0] * 64)
    assert total(many, 1.0) == 1.0 != fresh(TOTAL, fastmath={"reassoc", "nsz"})(many, 1.0)  # lanes sum up apart


def test_signatures_are_compiled_at_once_and_others_refused():
    @compiled(types.float64(types.float64))
    def twice(value):
        return value + value

    assert len(twice.nopython_signatures) == 1 and twice(2.0) == 4.0
    with pytest.raises(TypeError, match="No matching definition"):
        twice("ab")


def kept_beside_its_file(value):
    return value + 1


def test_what_has_no_file_to_keep_it_beside_is_compiled_all_the_same():
    assert not total.stats.cache_path and fresh("def plus(a, b): return a + b")(2, 3) == 5
    assert compiled()(kept_beside_its_file).stats.cache_path


def test_other_refusals_of_the_compiler_are_not_swallowed(monkeypatch):
    calls = []

    def refuses(signatures, **options):
        calls.append(options)
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(numba, "njit", refuses)
    with pytest.raises(RuntimeError, match="no compiler here"):
        compiled()(math.sqrt)
    assert len(calls) == 1
