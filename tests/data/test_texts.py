"""A column of strings reads as the list it stands for."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.data.texts import Texts


@given(st.lists(st.lists(st.text(max_size=3), max_size=5), max_size=4), st.integers(-12, 12), st.integers(-12, 12))
def test_it_is_its_list(chunks, low, high):
    texts, listed = Texts(pa.chunked_array(chunks, pa.string())), [text for chunk in chunks for text in chunk]
    assert list(texts) == listed and len(texts) == len(listed)
    assert [texts[i] for i in range(-len(listed), len(listed))] == listed + listed
    assert texts[low:high] == listed[low:high] and list(reversed(texts)) == listed[::-1]
    for outside in (len(listed), -len(listed) - 1):
        with pytest.raises(IndexError):
            texts[outside]
