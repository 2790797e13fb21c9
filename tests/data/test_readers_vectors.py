import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.data.collection import Collection
from litotes.data.readers import read_vector_pair, read_vectors
from litotes.errors import BadInput


def collection_of(n, m=2):
    side = lambda letter, count: pa.table({"id": [f"{letter}{i}" for i in range(count)], "text": ["x"] * count})
    return Collection("c", side("q", m), side("d", n))


def npy(folder, matrix, ids, ending=".ids.txt"):
    np.save(folder / "v.npy", matrix)
    content = json.dumps(ids) if ending.endswith("json") else "".join(f"{name}\n" for name in ids)
    (folder / f"v{ending}").write_text(content)
    return folder / "v.npy"


@given(data=st.data(), n=st.integers(1, 6), kind=st.sampled_from([np.float16, np.float32, np.float64]))
def test_every_form_is_put_in_the_order_of_the_rows(tmp_path_factory, data, n, kind):
    folder = tmp_path_factory.mktemp("vectors")
    truth = np.random.default_rng(n).standard_normal((n, 3)).astype(kind)
    order = data.draw(st.permutations(range(n)))
    ids, shuffled = [f"d{i}" for i in order], truth[list(order)]
    ending = data.draw(st.sampled_from([".ids.txt", ".ids.json", ".txt", ".json"]))
    made = read_vectors(npy(folder, shuffled, ids, ending), collection_of(n), side="corpus")
    assert made.dtype == np.float32 and (made == truth.astype(np.float32)).all()
    for width in (-1, 3):
        column = pa.array(list(shuffled), pa.list_(pa.from_numpy_dtype(kind), width))
        pq.write_table(pa.table({"id": ids, "embedding": column}), folder / "v.parquet")
        assert (read_vectors(folder / "v.parquet", collection_of(n), side="corpus") == made).all()


def test_float32_in_order_is_the_file_itself(tmp_path):
    path = npy(tmp_path, np.eye(4, dtype=np.float32), [f"d{i}" for i in range(4)])
    made = read_vectors(path, collection_of(4), side="corpus")
    assert isinstance(made, np.memmap) and not made.flags.writeable


@pytest.mark.parametrize(
    "matrix, ids, message",
    [
        (np.zeros(3, np.float32), ["d0"], r"v.npy: found the shape \[3\], expected \[N, D\], D >= 1"),
        (np.zeros((2, 0), np.float32), ["d0", "d1"], r"found the shape \[2, 0\]"),
        (np.zeros((2, 3), np.int64), ["d0", "d1"], "found numbers of type int64"),
        (np.zeros((3, 2), np.float32), ["d0", "d1"], "found 3 vectors, expected 2, the number of ids in"),
        (np.array([[0, 1], [np.nan, 1]]), ["d0", "d1"], r"v.npy:2: found nan in the vector of 'd1'"),
        (
            np.array([[0, 1e39], [0, 1]]),
            ["d1", "d0"],
            r"v.npy:1: found inf in the vector of 'd1', expected finite float32",
        ),
        (
            np.zeros((2, 2)),
            ["d0", "d7"],
            r"v.ids.txt:2: found the unknown id 'd7' \(1 such\), expected an id of the corpus",
        ),
        (np.zeros((2, 2)), ["d0", "d0"], r"v.ids.txt:2: found id 'd0' a second time, first on line 1"),
        (np.zeros((1, 2)), ["d1"], r"found no vector for 'd0' \(1 such\), expected one for each id of the corpus"),
    ],
)
def test_what_is_wrong_is_named_with_its_row(tmp_path, matrix, ids, message):
    with pytest.raises(BadInput, match=message):
        read_vectors(npy(tmp_path, matrix, ids), collection_of(2), side="corpus")


@pytest.mark.parametrize(
    "columns, message",
    [
        ({"id": ["d0", "d1"], "vector": [[1.0], [1.0, 2.0]]}, r":2: field 'vector': found a vector of 2 numbers"),
        ({"id": ["d0", "d1"], "vector": [[1.0], None]}, r":2: field 'vector': found null"),
        ({"id": ["d0", "d1"], "vector": [[1.0], [None]]}, r":2: found nan in the vector of 'd1'"),
        ({"id": ["d0", None], "vector": [[1.0], [2.0]]}, r":2: field 'id': found null, expected an id"),
        ({"id": ["d0", "d1"], "vector": [1.0, 2.0]}, "found the type double, expected a list of floats"),
        ({"id": ["d0", "d1"], "other": [[1.0], [1.0]]}, "expected a column 'vector' or 'embedding'"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_parquet_is_named_with_its_row(tmp_path, columns, message):
    pq.write_table(pa.table(columns), tmp_path / "v.parquet")
    with pytest.raises(BadInput, match=message):
        read_vectors(tmp_path / "v.parquet", collection_of(2), side="corpus")


def test_both_sides_must_have_one_dimension_and_ids_are_never_guessed(tmp_path):
    (tmp_path / "q").mkdir()
    queries = npy(tmp_path / "q", np.ones((2, 3)), ["q0", "q1"])
    for width, fits in ((3, True), (4, False)):
        corpus = npy(tmp_path, np.ones((2, width)), ["d1", "d0"])
        if fits:
            assert read_vector_pair(collection_of(2), queries, corpus).corpus.shape == (2, 3)
        else:
            with pytest.raises(BadInput, match="found vectors of dimension 4, expected 3, as in"):
                read_vector_pair(collection_of(2), queries, corpus)
    np.save(tmp_path / "alone.npy", np.ones((2, 3)))
    with pytest.raises(BadInput, match="found no file of ids, expected alone.ids.txt"):
        read_vectors(tmp_path / "alone.npy", collection_of(2), side="corpus")
    made = read_vectors(tmp_path / "alone.npy", collection_of(2), side="corpus", ids=tmp_path / "v.ids.txt")
    assert made.shape == (2, 3)
    for path, message in ((tmp_path / "no.npy", "no such file"), (tmp_path / "v.ids.txt", "found the ending '.txt'")):
        with pytest.raises(BadInput, match=message):
            read_vectors(path, collection_of(2), side="corpus", ids=tmp_path / "v.ids.txt")
    np.save(tmp_path / "pickled.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(BadInput, match="found a broken file"):
        read_vectors(tmp_path / "pickled.npy", collection_of(2), side="corpus")
    with pytest.raises(ValueError, match="side must be 'queries' or 'corpus', got 'both'"):
        read_vectors(queries, collection_of(2), side="both")
