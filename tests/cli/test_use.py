"""litotes train, eval, report, run, convert, list, show and claims, as a user calls them."""

from __future__ import annotations

import json

import pytest

from litotes import catalog
from litotes.evidence import Evidence

RECIPE = """
name = "tiny"
[collection]
source = "wordnet"
documents = 300
train_anchors = 20
test_queries = 20
[encoder]
model = '{model}'
[train]
batch_size = 10
[evaluate]
measures = ["nDCG@10"]
[[arms]]
name = "zero-shot"
title = "zero-shot"
train = false
[[arms]]
name = "mined"
title = "mined"
"""


@pytest.fixture
def mined(litotes, world):
    litotes("mine", world, "--no-model", "--no-vet", "--out", "e")
    return "e"


def test_training_makes_a_model_that_evaluation_reads(litotes, world, mined, model, tmp_path):
    steps = ("--max-steps", 2, "--batch-size", 5, "--n", 1)
    said = litotes("train", mined, world, "--model", model, *steps, "--out", "model", "--json").json()
    assert said["model"] == "model" and said["steps"] == 2 and said["anchors"] == 10
    assert (tmp_path / "model/modules.json").exists()
    changed = litotes("train", mined, world, "--model", model, *steps, "--seed", 1, "--out", "model", code=2)
    assert "model" in changed.err

    import ir_measures

    ranked = ("--run", "run.trec", "--measure", "nDCG@10", "--measure", "MRR@10")
    said = litotes("eval", world, "--model", "model", "--baseline", model, *ranked, "--json").json()
    assert said["queries"] == 10 and set(said["measures"]) == {"nDCG@10", "MRR@10"}
    for figure in said["measures"].values():
        low, high = figure["interval"]
        assert low <= figure["value"] <= high and 0 <= figure["change"]["p"] <= 1
    lines = (world / "qrels/test.tsv").read_text().splitlines()[1:]
    judged = [ir_measures.Qrel(query, document, int(g)) for query, document, g in (line.split("\t") for line in lines)]
    ours = ir_measures.calc_aggregate(
        [ir_measures.nDCG @ 10, ir_measures.RR @ 10], judged, ir_measures.read_trec_run("run.trec")
    )
    assert ours[ir_measures.nDCG @ 10] == pytest.approx(said["measures"]["nDCG@10"]["value"])
    assert ours[ir_measures.RR @ 10] == pytest.approx(said["measures"]["MRR@10"]["value"])

    table = litotes("eval", world, "--model", "model", "--baseline", model).out
    assert "model against" in table and "10 queries" in table
    figures = [line for line in table.splitlines() if line.startswith(("nDCG", "MRR", "Recall", "MAP", "measure"))]
    assert len(figures) == 5 and max(map(len, figures)) <= 80 and len({line.index("  ") > 0 for line in figures}) == 1


def test_what_cannot_be_trained_or_evaluated_is_told_before_a_model_is_loaded(litotes, world, mined, no_model):
    for arguments, message in (
        (("train", mined, world, "--objective", "infonc"), "did you mean infonce"),
        (("train", mined, world, "--objective", "infonce(temperature=0)"), "temperature"),
        (("train", mined, world, "--pick", "best"), "--pick 'best'"),
        (("train", mined), "no collection"),
        (("eval", world, "--measure", "nDGC@10"), "'nDGC@10' is no measure"),
        (("eval", world, "--measure", "nDCG@20", "--depth", 10), "nDCG@20 looks at 20 documents"),
        (("eval", world, "--split", "dev"), "no split 'dev'; it has ['test', 'train']"),
    ):
        assert message in litotes(*arguments, code=2).err
    for side in ("corpus.jsonl", "qrels/test.tsv"):
        file = world / side
        file.write_text(file.read_text().replace('"d3"', '"d 3"').replace("\td3\t", "\td 3\t"))
    (world / "qrels/train.tsv").unlink()
    assert "an id without white space" in litotes("eval", world, "--run", "r.trec", code=2).err


def test_conversion_says_what_is_lost_and_knows_its_formats(litotes, world, mined, tmp_path):
    said = litotes("convert", mined, "t.jsonl", "--to", "sentence-transformers", "--collection", world, "--n", 2)
    assert said.out.startswith("wrote 20 rows to t.jsonl") and "lost: " in said.out
    files = ("--corpus", world / "corpus.jsonl", "--queries", world / "queries.jsonl")
    again = litotes("convert", mined, "u.jsonl", "--to", "triplets", *files, "--n", 2, "--json").json()
    assert again["rows"] == 20 and again["files"] == ["u.jsonl"] and again["lost"]
    assert (tmp_path / "t.jsonl").read_bytes() == (tmp_path / "u.jsonl").read_bytes()
    litotes("convert", "t.jsonl", "back.parquet", "--from", "sentence-transformers", "--to", "evidence")
    assert Evidence.open("back.parquet").describe().negatives == 20
    litotes("convert", mined, "r.run", "--n", 3)
    assert len((tmp_path / "r.run").read_text().splitlines()) == 40
    listed = litotes("convert", "--formats", "--json").json()
    shown = litotes("convert", "--formats").out
    assert {"triplets", "flagembedding", "evidence"} <= {row["name"] for row in listed}
    assert all(row["name"] in shown for row in listed) and "--to sentence-transformers means --to triplets" in shown


def test_a_wrong_conversion_is_told_in_words_of_the_command_line(litotes, world, mined, tmp_path):
    texts = ("--collection", world)
    for arguments, message in (
        ((mined, "x.jsonl", *texts), "--to: 'x.jsonl' may be pairs, triplets"),
        ((mined, "x.jsonl", "--to", "tripelts", *texts), "did you mean triplets"),
        ((mined, "x.jsonl", "--to", "triplets"), "give the collection"),
        ((world, "x", "--to", "parquet", "--n", 2), "--n 2 has no meaning from beir to parquet"),
        ((mined, "x.jsonl", "--to", "triplets", *texts, "--option", "shrt=drop"), "did you mean short"),
        ((mined, "x.jsonl", "--to", "triplets", *texts, "--option", "negatives=3"), "--option 'negatives'"),
        ((mined, "x.jsonl", "--to", "triplets", *texts, "--option", "short=maybe"), "short must be"),
        ((mined, "x.jsonl", "--to", "triplets", *texts, "--pick", "best"), "--pick 'best'"),
        (("--to", "triplets"), "litotes convert SOURCE TARGET"),
    ):
        refused = litotes("convert", *arguments, code=2)
        assert message in refused.err and not (tmp_path / "x.jsonl").exists() and not (tmp_path / "x").exists()


def test_the_catalogue_is_listed_whole_and_by_stage(litotes):
    names = [entry.name for entry in catalog.ENTRIES]
    shown = litotes("list").out
    assert all(f"\n{name} " in shown for name in names) and max(map(len, shown.splitlines())) <= 80
    assert [one["name"] for one in litotes("list", "--json").json()] == names
    disk = litotes("list", "--stage", "vetter", "--scale", "disk", "--json").json()
    assert [one["name"] for one in disk] == [one.name for one in catalog.entries("vetter", "disk")]
    assert "did you mean vetter" in litotes("list", "--stage", "vettr", code=2).err


@pytest.mark.parametrize("entry", catalog.ENTRIES, ids=lambda entry: entry.name)
def test_every_part_is_shown_with_its_arguments_defaults_and_papers(litotes, entry):
    said = litotes("show", entry.name)
    head = said.out.splitlines()[0]
    assert head.startswith(f"{entry.name}(") and "<" not in head and ": " not in head and "'" not in head
    assert entry.target in said.out and all(paper in said.out for paper in entry.papers)
    assert litotes("show", entry.name, "--json").json()["call"] == head
    if not entry.example:
        assert str(catalog.parse(head)) == str(catalog.parse(entry.spelling))


def test_a_part_reads_as_one_would_write_it(litotes):
    assert litotes("show", "gist").out.startswith("gist(margin=0.0, strategy=absolute, reference=min)\n")
    assert "did you mean gist" in litotes("show", "gits", code=2).err


def test_a_recipe_runs_and_its_report_can_be_drawn_again(litotes, model, tmp_path):
    (tmp_path / "tiny.toml").write_text(RECIPE.format(model=model))
    results = litotes("run", "tiny.toml", "--json").json()
    assert results["name"] == "tiny" and (tmp_path / "runs/tiny/report.html").exists()
    said = litotes("report", "runs/tiny", "--out", "again.html")
    assert "zero-shot" in said.out and "mined" in said.out and "again.html" in said.out
    assert (tmp_path / "again.html").read_text() == (tmp_path / "runs/tiny/report.html").read_text()
    wrong = litotes("run", "tiny.toml", "--set", "train.lrr=1", code=2)
    assert "train.lrr: unknown key; allowed here:" in wrong.err


def test_the_board_is_printed_as_it_stands(litotes, tmp_path):
    contrast = {"plain": {"effect": 0.0125, "interval": [-0.001, 0.02]}}
    line = {"name": "gist", "claim": "A guide [helps].", "metric": "nDCG@10", "contrasts": contrast, "seeds": [0, 1]}
    (tmp_path / "claims").mkdir()
    (tmp_path / "claims/board.json").write_text(json.dumps([line | {"verdict": "not shown", "seconds": 61.2}]))
    shown = litotes("claims", "board").out
    for part in ("gist (nDCG@10, 2 seeds, 61 s)", "A guide [helps].", "+0.0125 [-0.0010, +0.0200]", "not shown"):
        assert part in shown
    assert litotes("claims", "board", "--json").json()[0]["contrasts"] == contrast
    assert "there are none" in litotes("claims", "run", "gist", code=2).err
