"""A part written piece by piece is the part written at once, and absent until it is closed."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from litotes.evidence import Evidence, make, order, scorer_of
from litotes.evidence.part_writer import ROW_GROUP, PartWriter

ROWS = 2 * ROW_GROUP + 1000
TABLE = order(
    make(
        [f"a{i // 100:05d}" for i in range(ROWS)],
        [f"c{i * 7919 % ROWS}" for i in range(ROWS)],
        -1,
        score=[float(-(i % 100)) for i in range(ROWS)],
        source="test",
        scorer={"name": "mini", "checksum": "ab", "similarity": "dot"},
    )
)


def written(path, cuts):
    writer = PartWriter(path, scorer_of(TABLE), {})
    for low, high in zip([0, *cuts], [*cuts, ROWS], strict=True):
        writer.add(TABLE.slice(low, high - low))
    assert not path.exists()
    writer.close()
    assert (writer.rows, writer.first, writer.last) == (ROWS, "a00000", TABLE["anchor"][-1].as_py())
    return path.read_bytes()


def test_bytes_do_not_depend_on_the_pieces_and_rows_come_back(tmp_path):
    cuts = [[], [1], [ROW_GROUP], [100, 100, 65_000, 131_072, 131_073], list(range(997, ROWS, 9973))]
    assert len({written(tmp_path / f"{i}.parquet", cut) for i, cut in enumerate(cuts)}) == 1
    file = pq.ParquetFile(tmp_path / "0.parquet")
    assert [file.metadata.row_group(i).num_rows for i in range(3)] == [ROW_GROUP, ROW_GROUP, 1000]
    assert file.read().equals(TABLE)


def test_growing_is_extending_and_an_error_leaves_nothing(tmp_path):
    one, other = (Evidence.create(tmp_path / name, scorer=scorer_of(TABLE)) for name in ("one", "other"))
    one.extend(TABLE)
    with other.growing() as grow:
        for low in range(0, ROWS, 30_000):
            grow(TABLE.slice(low, 30_000) if low else pa.concat_tables([TABLE.slice(0, 30_000)]))
    assert one.parts == other.parts and one.read().equals(TABLE)
    third = Evidence.create(tmp_path / "third", scorer=scorer_of(TABLE))
    with pytest.raises(KeyboardInterrupt), third.growing() as grow:
        grow(TABLE.slice(0, 70_000))
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match="the rows begin with"), third.growing() as grow:
        grow(TABLE.slice(70_000))
        grow(TABLE.slice(0, 100))
    assert [file.name for file in (tmp_path / "third").iterdir()] == ["manifest.json"]
    with third.growing():
        pass
    assert third.parts == []
