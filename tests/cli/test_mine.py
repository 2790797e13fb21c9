"""litotes mine, as a user calls it."""

from __future__ import annotations

import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from litotes.evidence import Evidence


def test_files_given_apart_and_a_folder_give_the_same_evidence(litotes, world, model):
    files = ("--corpus", world / "corpus.jsonl", "--queries", world / "queries.jsonl")
    litotes("mine", *files, "--qrels", world / "qrels/train.tsv", "--model", model, "--out", "evidence.parquet")
    litotes("mine", world, "--model", model, "--out", "folder")
    table = Evidence.open("evidence.parquet").read()
    assert table.equals(Evidence.open("folder").read())
    assert len(table) == 10 * 30  # depth 100 on 29 candidates: all of them, and the positive
    positives = table.filter(pa.compute.equal(table["sign"], 1))
    assert dict(zip(*(positives[name].to_pylist() for name in ("anchor", "candidate")), strict=True)) == {
        f"q{i}": f"d{i}" for i in range(10)
    }


def test_the_counts_are_those_of_the_evidence_and_json_is_all_that_stands_on_stdout(litotes, world, model):
    said = litotes("mine", world, "--model", model, "--depth", 100, "--out", "e", "--json").json()
    summary = Evidence.open("e").describe()
    assert (said["anchors"], said["rows"], said["positives"]) == (10, summary.rows, 10)
    assert said["believed_negatives"] == summary.believed and said["doubted_by"] == summary.parts
    assert said["anchors_that_got_less_from"] == {"dense": 10}  # deeper than the corpus: works, and is counted
    [(source, search)] = said["search"].items()
    assert source.startswith("dense(depth=100") and (search["queries"], search["precision"]) == (10, "float32")
    again = litotes("mine", world, "--model", model, "--out", "e", "--json").json()
    assert again["resumed"] == 10 and again["doubted_by"] == said["doubted_by"] and again["search"] == {}
    told = litotes("mine", world, "--model", model, "--out", "f").out
    assert re.search(r"\n  search dense +10 queries certified, 10 at once, 0 at finer precision; .* survivors", told)
    several = ("--source", "dense(depth=3)", "--source", "dense(depth=2, skip=3)")
    told = litotes("mine", world, "--model", model, *several, "--out", "g").out
    assert len(re.findall(r"\n  search dense\(depth=[23],.* 10 queries certified, 10 at once", told)) == 2


def test_counts_stand_aligned_before_their_names(litotes, world):
    said = litotes("mine", world, "--no-model", "--out", "e").out.splitlines()
    assert said[0] == "mined world, train"
    counts = [line for line in said if line.split()[0].isdigit()]
    assert len({len(line) - len(line.lstrip(" 0123456789,")) for line in counts}) == 1 and len(counts) >= 9
    assert any(line.endswith("doubted by relative_margin(margin=0.05, reference=min)") for line in counts)


def test_pairs_are_found_by_the_names_of_columns_or_by_the_names_given(litotes, tmp_path):
    rows = [f"{word} up?,go {word} {word}" for word in ("red", "green", "blue")]
    for header in ("question,answer", "frage,antwort"):
        (tmp_path / f"{header[:5]}.csv").write_text("\n".join([header, *rows]) + "\n")
    litotes("mine", "quest.csv", "--no-model", "--no-vet", "--source", "random(depth=5)", "--out", "a")
    named = ("--anchor-column", "frage", "--positive-column", "antwort")
    litotes("mine", "frage.csv", *named, "--no-model", "--no-vet", "--source", "random(depth=5)", "--out", "b")
    assert Evidence.open("a").read().equals(Evidence.open("b").read())
    assert Evidence.open("a").describe().negatives == 3 * 2  # three documents: the two others each, no failure
    refused = litotes("mine", "frage.csv", "--no-model", "--out", "c", code=2)
    assert "frage.csv" in refused.err and not (tmp_path / "c").exists()


def test_sources_and_vetters_may_be_several_and_no_vet_believes_all(litotes, world):
    sources = ("--source", "bm25(depth=4)", "--source", "random(depth=3)")
    vetters = ("--vetter", "same_text", "--vetter", "absolute_margin(margin=0.5)")
    said = litotes("mine", world, "--no-model", *sources, *vetters, "--out", "e", "--json").json()
    summary = Evidence.open("e").describe()
    assert set(summary.sources) == {"bm25", "random", "qrels"} and summary.sources["random"] == 30
    doubted = {name: count for name, count in said["doubted_by"].items() if count}
    assert len(said["doubted_by"]) == 2 and doubted == dict(summary.parts) and said["rows"] > 40
    litotes("mine", world, "--no-model", "--no-vet", "--out", "n")
    believed = Evidence.open("n").describe()
    assert believed.believed == believed.negatives > 0 and not believed.parts


def vectors(world, side, seed, size):
    rng = np.random.default_rng(seed)
    ids = [json.loads(line)["_id"] for line in (world / f"{side}.jsonl").read_text().splitlines()]
    return ids, rng.normal(size=(size, 4)).astype(np.float32)


def test_vectors_that_are_there_already_are_taken_by_id_from_npy_and_parquet(litotes, world, tmp_path, no_model):
    (queries, q), (corpus, c) = vectors(world, "queries", 0, 10), vectors(world, "corpus", 1, 30)
    turned = np.argsort(np.random.default_rng(2).random(10))
    np.save("q.npy", q[turned])
    (tmp_path / "q.ids.txt").write_text("\n".join(queries[i] for i in turned) + "\n")
    np.save("c.npy", c)
    (tmp_path / "names.json").write_text(json.dumps(corpus))
    given = ("--query-vectors", "q.npy", "--corpus-vectors", "c.npy", "--corpus-ids", "names.json")
    litotes("mine", world, *given, "--similarity", "dot", "--out", "e.parquet")
    pq.write_table(pa.table({"id": corpus, "vector": list(c)}), "c.parquet")
    other = ("--query-vectors", "q.npy", "--corpus-vectors", "c.parquet", "--similarity", "dot")
    litotes("mine", world, *other, "--out", "f.parquet")
    table = Evidence.open("e.parquet").read()
    assert table.equals(Evidence.open("f.parquet").read())
    for row in table.to_pylist()[:40]:
        expected = q[queries.index(row["anchor"])] @ c[corpus.index(row["candidate"])]
        assert row["score"] == pytest.approx(expected, rel=1e-5, abs=1e-6)

    c[7, 2] = np.nan
    np.save("c.npy", c)
    refused = litotes("mine", world, *given, "--out", "g", code=2)
    assert "c.npy:8" in refused.err and "nan in the vector of 'd7'" in refused.err and not (tmp_path / "g").exists()


@pytest.mark.parametrize(
    ("name", "file", "columns"),
    [
        ("sentence-transformers", "e.jsonl", {"anchor", "positive", "negative"}),
        ("triplets", "e.jsonl", {"anchor", "positive", "negative"}),
        ("flagembedding", "e.jsonl", {"query", "pos", "neg"}),
        ("tevatron", "e.jsonl", {"query", "positive_passages", "negative_passages"}),
    ],
)
def test_a_training_format_is_written_at_once(litotes, world, tmp_path, name, file, columns):
    said = litotes("mine", world, "--no-model", "--no-vet", "--out", "e.parquet", "--to", name, "--n", 2, "--json")
    made = [json.loads(line) for line in (tmp_path / file).read_text().splitlines()]
    assert said.json()["training_file"] == file and said.json()["training_rows"] == len(made)
    assert columns <= set(made[0]) and len(made) == (20 if "negative" in columns else 10)


def test_every_format_that_can_be_written_can_be_asked_for(litotes, world):
    from litotes.data.formats import FORMATS

    for name, form in FORMATS.items():
        if form.writer is not None:
            said = litotes("mine", world, "--no-model", "--out", f"{name}/e", "--to", name, "--json").json()
            assert said["training_rows"] > 0, name


def test_other_miners_rules_write_evidence_and_their_own_rows(litotes, world, model, tmp_path):
    like = ("mine", world, "--model", model, "--like")
    said = litotes(*like, "sentence-transformers", "--n", 2, "--out", "st", "--json").json()
    rows = [json.loads(line) for line in (tmp_path / "st.jsonl").read_text().splitlines()]
    assert len(rows) == said["rows"] == 20 and set(rows[0]) == {"anchor", "positive", "negative"}
    layout = ("--layout", "n-tuple", "--to-out", "tuples.jsonl")
    litotes(*like, "sentence-transformers", "--n", 2, *layout, "--out", "nt")
    rows = [json.loads(line) for line in (tmp_path / "tuples.jsonl").read_text().splitlines()]
    assert len(rows) == 10 and {"negative_1", "negative_2"} <= set(rows[0])
    options = ("--like-option", "range_for_sampling=0-9", "--n", 3)
    litotes(*like, "flagembedding", *options, "--out", "flag.parquet")
    rows = [json.loads(line) for line in (tmp_path / "flag.jsonl").read_text().splitlines()]
    assert [len(row["neg"]) for row in rows] == [3] * 10
    litotes(*like, "nemo", "--n", 2, "--out", "nemo")
    made = json.loads((tmp_path / "nemo.json").read_text())
    assert len(made["data"]) == 10
    for name in ("st", "nt", "flag.parquet", "nemo"):
        assert Evidence.open(name).describe().anchors == 10
    refused = litotes(*like, "nemo", "--out", "nemo", "--to-out", "other.json", code=2)
    assert "nemo exists" in refused.err


WRONG = {
    "a part": (["--vetter", "relativ_margin"], "did you mean relative_margin"),
    "a source": (["--source", "dens(depth=3)"], "did you mean dense"),
    "an argument": (["--source", "dense(deph=3)"], "dense has no argument 'deph'; did you mean depth"),
    "a value": (["--vetter", "relative_margin(margin=5)"], "RelativeMargin: margin must be in [0, 1], got 5"),
    "a word for a number": (["--vetter", "absolute_margin(margin=much)"], "absolute_margin(margin='much') cannot"),
    "another stage": (["--vetter", "dense"], "dense is a source at disk scale, expected a vetter at disk scale"),
    "another scale": (["--vetter", "gist"], "gist is a vetter at tensor scale"),
    "no spelling": (["--source", "dense(depth="], "cannot read the part"),
    "a format": (["--to", "flagembeding"], "did you mean flagembedding"),
    "an alias": (["--to", "sentence-transformer"], "did you mean sentence-transformers"),
    "an ending": (["--to", "nemo", "--to-out", "x.csv"], "the ending of nemo is .json"),
    "a miner": (["--like", "sentence-transformer"], "did you mean sentence-transformers"),
    "its option": (["--like", "nemo", "--like-option", "margin=1"], "nemo has no option 'margin'; it has"),
    "its value": (["--like", "nemo", "--like-option", "hard_negatives_to_mine=few"], "--like-option"),
    "no value": (["--like", "nemo", "--like-option", "margin"], "expected name=value"),
    "a precision": (["--dtype", "float23"], "did you mean float32"),
    "an option": (["--vettr", "same_text"], "--vetter"),
    "a number": (["--depth", "0"], "--depth"),
    "one of two": (["--query-vectors", "q.npy"], "--query-vectors and --corpus-vectors go together"),
    "ids alone": (["--query-ids", "q.txt"], "--query-ids needs --query-vectors"),
    "a prompt without a model": (["--no-model", "--query-prompt", "query: "], "--query-prompt has no meaning"),
    "two wishes": (["--no-vet", "--vetter", "same_text"], "--vetter has no meaning with --no-vet"),
    "a depth beside a source": (["--source", "bm25", "--depth", "5"], "--depth is for the default source"),
    "a vetter beside like": (["--like", "nemo", "--vetter", "same_text"], "--vetter has no meaning with --like"),
    "bm25 like": (["--like", "nemo", "--no-model"], "none of these miners works with BM25"),
    "a place for nothing": (["--to-out", "x.jsonl"], "--to-out needs --to or --like"),
    "the data's own folder": (["--out", "world"], "a folder with other things in it"),
    "a file of the data": (["--out", "world/corpus.jsonl"], "a name that ends in .parquet"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_on_the_line_is_told_before_a_model_is_loaded_or_a_file_written(
    litotes, world, tmp_path, no_model, wrong
):
    arguments, message = WRONG[wrong]
    before = sorted(tmp_path.rglob("*"))
    out = () if "--out" in arguments else ("--out", "e")
    refused = litotes("mine", world, *arguments, *out, code=2)
    assert message in " ".join(refused.err.replace("│", " ").split()) and not refused.out
    assert sorted(tmp_path.rglob("*")) == before


def test_evidence_of_something_else_is_not_gone_on_with(litotes, world, tmp_path):
    litotes("mine", world, "--no-model", "--out", "e", "--to", "triplets")
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    refused = litotes("mine", world, "--no-model", "--no-vet", "--out", "e", code=2)
    assert "e holds evidence of another recipe" in refused.err and "choose another place" in refused.err
    refused = litotes("mine", world, "--no-model", "--out", "e", "--to", "triplets", code=2)
    assert "e.jsonl exists; choose another --to-out, or say --overwrite" in refused.err
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before
    litotes("mine", world, "--no-model", "--out", "e", "--to", "triplets", "--n", 1, "--overwrite")
    assert len((tmp_path / "e.jsonl").read_text().splitlines()) == 10


def test_a_hub_without_a_network_is_one_clear_line(litotes, tmp_path):
    refused = litotes("mine", "hf://nobody/nothing:small", "--no-model", "--out", "e", code=2)
    assert "'nobody/nothing'" in refused.err and "is there a network?" in refused.err
    assert len(refused.err.splitlines()) == 1 and not (tmp_path / "e").exists()
    refused = litotes("mine", "wordnet:300", "--model", "nobody/nothing", "--out", "e", code=2)
    assert "cannot load the model 'nobody/nothing': give a local folder" in refused.err
    assert len(refused.err.splitlines()) == 1
