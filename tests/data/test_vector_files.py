"""Vectors in Parquet and Lance, local and on any file system: what is written is what is read."""

import gc
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.data.collection import Collection
from litotes.data.readers import read_vectors
from litotes.data.vector_files import is_streamed, read_parts, spooled, write_vectors
from litotes.errors import BadInput

ENDINGS = [".parquet", ".lance"]


def collection_of(n):
    side = lambda letter, count: pa.table({"id": [f"{letter}{i}" for i in range(count)], "text": ["x"] * count})
    return Collection("c", side("q", 1), side("d", n))


def bits(rows, width, seed=0):
    """Vectors of arbitrary finite bits: negative zero, denormals and the largest numbers are among them."""
    made = np.random.default_rng(seed).integers(0, 2**32, (rows, width), np.uint32).view(np.float32)
    made = np.where(np.isfinite(made), made, np.float32(-0.0))
    made[0, 0], made[-1, -1] = np.float32(1e-45), np.finfo(np.float32).max
    return made


@pytest.mark.parametrize("place", ["local", "memory"])
@pytest.mark.parametrize("ending", ENDINGS)
@given(rows=st.integers(1, 40), width=st.integers(1, 5), group=st.integers(1, 50), seed=st.integers(0, 9))
def test_what_is_written_is_read_bit_for_bit_in_the_order_of_the_rows(
    tmp_path_factory, ending, place, rows, width, group, seed
):
    root = "memory://" if place == "memory" else f"{tmp_path_factory.mktemp('v')}/"
    path = f"{root}{uuid.uuid4().hex}/deep{ending}"
    truth, order = bits(rows, width, seed), np.random.default_rng(seed).permutation(rows)
    write_vectors(path, [f"d{i}" for i in order], truth[order], group=group)
    made = read_vectors(path, collection_of(rows), side="corpus")
    assert made.tobytes() == truth.tobytes() and made.dtype == np.float32 and not made.flags.writeable
    tables = [part.table for part in read_parts(path)]
    assert pa.concat_tables(tables)["id"].to_pylist() == [f"d{i}" for i in order]
    assert tables[0].schema.field("vector").type == pa.list_(pa.float32(), width)


def test_a_folder_of_parquet_is_read_in_the_order_of_names_and_faults_name_file_and_row(tmp_path):
    truth = bits(6, 3)
    for name, span in (("b.parquet", slice(4, 6)), ("a/1.parquet", slice(0, 3)), ("a/2.parquet", slice(3, 4))):
        write_vectors(tmp_path / name, [f"d{i}" for i in range(6)][span], truth[span])
    assert [Path(part.file).name for part in read_parts(tmp_path)] == ["1.parquet", "2.parquet", "b.parquet"]
    assert read_vectors(tmp_path, collection_of(6), side="corpus").tobytes() == truth.tobytes()
    with pytest.raises(BadInput, match=r"found no vector for 'd6' \(1 such\)"):
        read_vectors(tmp_path, collection_of(7), side="corpus")
    write_vectors(tmp_path / "c.parquet", ["d6", "d3"], bits(2, 3))
    with pytest.raises(BadInput, match=r"c.parquet:2: found id 'd3' a second time, first on line 1 of .*a/2.parquet"):
        read_vectors(tmp_path, collection_of(7), side="corpus")
    write_vectors(tmp_path / "c.parquet", ["d6"], bits(1, 2), overwrite=True)
    with pytest.raises(BadInput, match=r"c.parquet:1: field 'vector': found a vector of 2 numbers, expected 3"):
        read_vectors(tmp_path, collection_of(7), side="corpus")
    write_vectors(tmp_path / "c.parquet", ["d6"], np.float32([[0, np.nan, 0]]), overwrite=True)
    with pytest.raises(BadInput, match=r"c.parquet:1: found nan in the vector of 'd6'"):
        read_vectors(tmp_path, collection_of(7), side="corpus")


def test_lines_go_on_over_batches(tmp_path):
    rows = 20_000  # more than are read at once
    write_vectors(tmp_path / "v.parquet", [f"d{i}" for i in range(rows - 1)] + ["who"], np.ones((rows, 1), np.float32))
    with pytest.raises(BadInput, match=r"v.parquet:20000: found the unknown id 'who' \(1 such\)"):
        read_vectors(tmp_path / "v.parquet", collection_of(rows), side="corpus")


def test_other_peoples_columns_are_read(tmp_path):
    table = pa.table({"note": ["x", "y"], "_id": [1, 0], "embedding": pa.array([[1.0, 2.0], [3.0, 4.0]])})
    pq.write_table(table, tmp_path / "v.parquet")
    texts = pa.table({"id": ["0", "1"], "text": ["x", "x"]})
    made = read_vectors(tmp_path / "v.parquet", Collection("c", texts, texts), side="corpus")
    assert made.tolist() == [[3.0, 4.0], [1.0, 2.0]]


@pytest.mark.parametrize("ending", ENDINGS)
def test_nothing_is_overwritten_unasked_and_a_failed_write_leaves_what_was_there(tmp_path, ending):
    path = tmp_path / f"v{ending}"
    write_vectors(path, ["d0", "d1"], bits(2, 2))
    with pytest.raises(FileExistsError, match="exists"):
        write_vectors(path, ["d0"], bits(1, 2))

    class Torn(list):
        def __getitem__(self, place):
            if isinstance(place, slice) and place.start:
                raise OSError("no space left")
            return super().__getitem__(place)

    for target in (path, tmp_path / f"new{ending}", f"memory://{uuid.uuid4().hex}{ending}"):
        with pytest.raises(Exception, match="no space left"):
            write_vectors(target, Torn(["d0", "d1"]), bits(2, 2), group=1, overwrite=True)
    assert read_vectors(path, collection_of(2), side="corpus").tobytes() == bits(2, 2).tobytes()
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert not list(Path(tmp_path).glob("new*"))
    with pytest.raises(BadInput, match="no such|no Lance dataset"):
        list(read_parts(tmp_path / f"new{ending}"))
    write_vectors(path, ["d0"], bits(1, 2), overwrite=True)
    assert read_vectors(path, collection_of(1), side="corpus").tobytes() == bits(1, 2).tobytes()


def test_the_spooled_matrix_goes_with_its_file(tmp_path):
    write_vectors(tmp_path / "v.parquet", ["d0", "d1"], bits(2, 3))
    made = read_vectors(tmp_path / "v.parquet", collection_of(2), side="corpus", spool=tmp_path / "spool")
    files = list((tmp_path / "spool").iterdir())
    assert len(files) == 1 and isinstance(made, np.memmap) and Path(made.filename) == files[0]
    assert np.load(files[0]).tobytes() == made.tobytes()
    del made
    gc.collect()
    assert not list((tmp_path / "spool").iterdir())
    with pytest.raises(OSError):
        spooled((1 << 50, 1), tmp_path / "spool")
    assert not list((tmp_path / "spool").iterdir())


@pytest.mark.parametrize(
    "path, ids, vectors, options, message",
    [
        ("v.csv", ["a"], np.ones((1, 1), np.float32), {}, "found the ending '.csv', expected .parquet or .lance"),
        ("v.parquet", ["a"], np.ones((1, 1)), {}, "vectors must be float32"),
        ("v.parquet", ["a"], np.ones((1, 0), np.float32), {}, "vectors must be float32"),
        ("v.parquet", ["a", "a"], np.ones((2, 1), np.float32), {}, "2 different ids, got 2, 1 of them different"),
        ("v.parquet", ["a"], np.ones((2, 1), np.float32), {}, "expected 2 different ids, got 1"),
        ("v.parquet", ["a"], np.ones((1, 1), np.float32), {"group": 0}, "group must be >= 1, got 0"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, path, ids, vectors, options, message):
    with pytest.raises(ValueError, match=message):
        write_vectors(tmp_path / path, ids, vectors, **options)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_read_is_named(tmp_path):
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(BadInput, match="found a broken file"):
        list(read_parts(tmp_path / "broken.parquet"))
    with pytest.raises(BadInput, match="no such file"):
        list(read_parts(f"memory://{uuid.uuid4().hex}.parquet"))
    with pytest.raises(BadInput, match="no such dataset|no Lance dataset"):
        list(read_parts(f"memory://{uuid.uuid4().hex}.lance"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="a folder without Parquet files"):
        list(read_parts(tmp_path / "empty"))
    with pytest.raises(BadInput, match="found the ending '.txt'"):
        list(read_parts("memory://v.txt"))
    assert [is_streamed(name) for name in ("a.parquet", "a.lance/", "s3://b/c.npy", tmp_path, "a.npy")] == [
        True
    ] * 4 + [False]
    pq.write_table(
        pa.table({"id": pa.array([], pa.string()), "vector": pa.array([], pa.list_(pa.float32()))}),
        tmp_path / "no.parquet",
    )
    with pytest.raises(BadInput, match="found no vector for 'd0'"):
        read_vectors(tmp_path / "no.parquet", collection_of(1), side="corpus")
