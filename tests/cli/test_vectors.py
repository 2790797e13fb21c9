"""litotes vectors: what it writes is what mining reads, and mining by it finds what mining by the model finds."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from litotes.evidence import Evidence


@pytest.mark.parametrize("ending", ["parquet", "lance"])
def test_mining_by_written_vectors_finds_what_the_model_finds(litotes, world, model, ending):
    for side in ("corpus", "queries"):
        made = litotes("vectors", world, "--side", side, "--model", model, "--to", f"{side}.{ending}", "--json").json()
        assert made["rows"] == (30 if side == "corpus" else 10) and made["dimensions"] == 32
    litotes("mine", world, "--split", "train", "--model", model, "--depth", 5, "--out", "by-model")
    given = ("--query-vectors", f"queries.{ending}", "--corpus-vectors", f"corpus.{ending}")
    litotes("mine", world, "--split", "train", *given, "--depth", 5, "--out", "by-vectors")
    by_model, by_vectors = (Evidence.open(name).read() for name in ("by-model", "by-vectors"))
    for column in ("anchor", "candidate", "sign", "score", "weight"):
        assert by_model[column].to_pylist() == by_vectors[column].to_pylist()


def test_nothing_is_overwritten_or_left_behind(litotes, world, model, tmp_path):
    call = ("vectors", world, "--model", model, "--to", "out/v.parquet", "--cache", "kept")
    assert "30  rows" in litotes(*call).out
    before = (tmp_path / "out" / "v.parquet").read_bytes()
    assert "exists" in litotes(*call, code=2).err
    litotes(*call, "--overwrite")
    assert (tmp_path / "out" / "v.parquet").read_bytes() == before
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["v.parquet"]
    assert not [entry for entry in (tmp_path / "kept").iterdir() if entry.name.startswith("litotes-")]
    table = pq.read_table(tmp_path / "out" / "v.parquet")
    norms = np.linalg.norm(np.stack(table["vector"].to_numpy()), axis=1)
    assert table["id"].to_pylist() == [f"d{i}" for i in range(30)] and norms == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    "options, message",
    [
        (["--to", "v.csv"], "--to 'v.csv': the ending must be .parquet or .lance"),
        (["--side", "both"], "--side 'both' is not known"),
        (["--workers", "2"], "--workers needs --ray"),
        (["--dtype", "int3"], "--dtype 'int3' is not known"),
    ],
)
def test_what_cannot_be_done_is_refused_before_a_model_is_loaded(litotes, world, no_model, options, message):
    assert message in litotes("vectors", world, *options, code=2).err
