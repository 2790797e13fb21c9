"""Norms are those of the definition, whoever forms them."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from litotes.search import definition, kernels  # noqa: F401  (loaded: from here on the compiled loops are taken)
from litotes.search import norms as module
from litotes.search.norms import norms

shapes = st.tuples(st.integers(0, 40), st.integers(1, 9))


@given(arrays(np.float32, shapes, elements=st.floats(width=32, allow_nan=False)), st.none() | st.integers(1, 3))
def test_they_are_the_definition(vectors, threads):
    assert norms(vectors, threads).tobytes() == definition.norms(vectors).tobytes()


def test_blocks_threads_and_layouts_do_not_show(tmp_path):
    vectors = np.random.default_rng(0).standard_normal((9001, 24)).astype(np.float32)
    wanted = definition.norms(vectors)
    np.save(tmp_path / "v.npy", vectors)
    mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
    for made in (norms(vectors, 1), norms(vectors, 3), norms(mapped), norms(np.asfortranarray(vectors))):
        assert made.tobytes() == wanted.tobytes()
    assert norms(vectors[::2]).tobytes() == wanted[::2].tobytes()


@pytest.mark.parametrize("size", [0, 1e9])
def test_loops_are_loaded_for_what_is_large_and_used_once_they_are_there(size, monkeypatch):
    from litotes.search import compiled

    asked = []
    monkeypatch.setattr(compiled, "norms", lambda vectors, threads: asked.append(threads))
    monkeypatch.setattr(module, "_WORTH_LOADING", size)
    monkeypatch.delitem(sys.modules, "litotes.search.kernels")
    norms(np.ones((2, 2), np.float32), 5)
    assert asked == ([5] if size == 0 else [])
