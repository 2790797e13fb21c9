"""litotes neighbours: graphs and near-duplicates of a collection, whole or stopped on the way."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from litotes.search.graph_file import neighbour_graph
from litotes.search.neighbours import neighbours


@pytest.fixture
def vectors(world, tmp_path):
    """Vectors of the 30 documents of the world: rows 3 and 7 are copies."""
    made = np.random.default_rng(0).standard_normal((30, 6)).astype(np.float32)
    made[7] = made[3]
    np.save(tmp_path / "v.npy", made)
    (tmp_path / "v.ids.txt").write_text("".join(f"d{i}\n" for i in range(30)))
    return made


@pytest.mark.parametrize("search", ["exact", "ivf"])
def test_a_graph_is_written_with_ids_ranks_and_scores(litotes, world, vectors, search):
    if search != "exact":
        pytest.importorskip("faiss")
    said = litotes(
        "neighbours", world, "--vectors", "v.npy", "--k", 4, "--search", search, "--out", "g.parquet", "--json"
    )
    table = pq.read_table("g.parquet")
    ids, scores = neighbours(vectors, k=4)
    assert table["document"].to_pylist() == [f"d{i}" for i in range(30) for _ in range(4)]
    assert table["neighbour"].to_pylist() == [f"d{j}" for j in ids.ravel()]
    assert table["rank"].to_pylist() == [0, 1, 2, 3] * 30 and table["score"].to_pylist() == scores.ravel().tolist()
    counts = said.json()
    assert counts["edges"] == 120 and counts["documents"] == 30 and counts["documents_without_a_neighbour"] == 0
    assert ("recall" in counts) == (search == "ivf")


def test_mutual_edges_and_near_duplicates(litotes, world, vectors):
    litotes("neighbours", world, "--vectors", "v.npy", "--k", 3, "--mutual", "--out", "g.parquet")
    table = pq.read_table("g.parquet")
    edges = set(zip(table["document"].to_pylist(), table["neighbour"].to_pylist(), strict=True))
    assert edges and edges == {(b, a) for a, b in edges}
    told = litotes("neighbours", world, "--vectors", "v.npy", "--duplicates-above", 1.0, "--out", "c.parquet").out
    rows = {row["document"]: row for row in pq.read_table("c.parquet").to_pylist()}
    assert rows["d7"] == {"document": "d7", "component": "d3", "size": 2} and rows["d3"]["component"] == "d3"
    assert sum(row["size"] == 1 for row in rows.values()) == 28 and "1  groups" in told


def test_a_model_encodes_queries(litotes, world, model):
    litotes("neighbours", world, "--of", "queries", "--model", model, "--k", 2, "--out", "q.parquet")
    assert pq.read_table("q.parquet")["query"].to_pylist() == [f"q{i}" for i in range(10) for _ in range(2)]


def test_a_stopped_join_goes_on_to_the_same_graph_and_another_is_refused(tmp_path, monkeypatch):
    import litotes.search.graph_file as module

    monkeypatch.setattr(module, "BLOCK", 50)
    vectors = np.random.default_rng(1).standard_normal((170, 5)).astype(np.float32)
    whole, _ = neighbour_graph(vectors, 3, tmp_path / "whole")
    searched, real = [], module.Space.top_k

    def stopped(self, rows, k, mask):
        if len(searched) == 2:
            raise KeyboardInterrupt
        searched.append(rows[0])
        return real(self, rows, k, mask)

    monkeypatch.setattr(module.Space, "top_k", stopped)
    with pytest.raises(KeyboardInterrupt):
        neighbour_graph(vectors, 3, tmp_path / "work")
    searched.clear()
    again, _ = neighbour_graph(vectors, 3, tmp_path / "work")
    assert searched == [100, 150]
    for name in ("offsets", "items", "scores"):
        assert getattr(again, name).tobytes() == getattr(whole, name).tobytes()
    for change in ({"k": 4}, {"vectors": vectors + 1}, {"similarity": "dot"}):
        given = {"vectors": vectors, "k": 3, "work": tmp_path / "work"} | change
        with pytest.raises(ValueError, match="holds another graph, unfinished"):
            neighbour_graph(**given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--of", "people"], "--of 'people' is not known"),
        (["--out", "g.csv"], "the ending must be .parquet"),
        (["--similarity", "dot"], "--similarity needs --vectors"),
        (["--duplicates-above", "0.9", "--k", "3"], "--k has no meaning with --duplicates-above"),
        (["--vectors", "v.npy", "--duplicates-above", "1.5"], "threshold must be in [-1, 1] for cosine, got 1.5"),
    ],
)
def test_what_has_no_meaning_is_refused(litotes, world, vectors, no_model, options, message):
    assert message in litotes("neighbours", world, "--out", "x.parquet", *options, code=2).err


def test_a_file_that_is_there_is_not_overwritten_unasked(litotes, world, vectors, tmp_path):
    (tmp_path / "g.parquet").write_text("mine")
    assert "exists" in litotes("neighbours", world, "--vectors", "v.npy", "--out", "g.parquet", code=2).err
    litotes("neighbours", world, "--vectors", "v.npy", "--out", "g.parquet", "--overwrite")
    assert len(pq.read_table("g.parquet")) == 30 * 10 and not (tmp_path / "g.parquet.neighbours").exists()
