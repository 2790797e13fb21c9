"""convert, detect and the policies of the writers."""

from __future__ import annotations

import json
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from litotes import evidence as ev
from litotes.data.collection import Collection, judgements_table
from litotes.data.formats import ASPECTS, FORMATS, Exchange, Format, convert, detect
from litotes.data.formats.choose import BLOCK, choose
from litotes.data.readers import read_beir, read_parquet
from litotes.data.writers import write_beir, write_hf, write_pairs, write_parquet
from litotes.errors import BadInput
from litotes.evidence import Evidence

SCORER = {"name": "m", "checksum": "c", "similarity": "cosine"}


def world():
    """q1 has two positives and three negatives, q2 one of each, q3 no negative."""
    queries = pa.table({"id": ["q1", "q2", "q3", "q4"], "text": ["who?", "why?", "how?", "where?"]})
    corpus = pa.table({"id": [f"d{i}" for i in range(7)], "text": [f"text {i}" for i in range(7)]})
    train = judgements_table(["q1", "q1", "q2", "q3"], ["d0", "d1", "d2", "d3"], [1, 2, 1, 1])
    return Collection("world", queries, corpus, {"train": train})


def mined():
    """Evidence over `world`: one doubted negative, one half believed."""
    rows = [
        ("q1", "d0", 1, 0.9), ("q1", "d1", 1, 0.8), ("q1", "d4", -1, 0.7), ("q1", "d5", -1, 0.6), ("q1", "d6", -1, 0.5),
        ("q2", "d2", 1, 0.9), ("q2", "d5", -1, 0.85), ("q2", "d6", -1, 0.1), ("q3", "d3", 1, 0.4),
    ]  # fmt: skip
    anchor, candidate, sign, score = (list(column) for column in zip(*rows, strict=True))
    table = ev.make(anchor, candidate, sign, score=score, source="bm25", scorer=SCORER)
    table = ev.doubt(table, pa.array([i == 6 for i in range(9)]), 0.0, "guide()")
    return ev.doubt(table, pa.array([i == 4 for i in range(9)]), 0.5, "margin()")


@pytest.fixture
def place(tmp_path):
    write_beir(world(), tmp_path / "beir")
    Evidence.of(tmp_path / "evidence.parquet", mined())
    return tmp_path


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_evidence_to_flagembedding_counts_all_that_is_lost(place):
    written = convert(
        place / "evidence.parquet",
        place / "out.jsonl",
        target_format="flagembedding",
        collection=place / "beir",
        negatives=2,
    )
    assert rows_of(place / "out.jsonl") == [
        {"query": "who?", "pos": ["text 0", "text 1"], "neg": ["text 4", "text 5"],
         "pos_scores": [0.9, 0.8], "neg_scores": [0.7, 0.6]},
        {"query": "why?", "pos": ["text 2"], "neg": ["text 6"], "pos_scores": [0.9], "neg_scores": [0.1]},
    ]  # fmt: skip
    assert written.rows == 2 and written.lost == {
        "doubted negatives (weight 0)": 1,
        "believed negatives beyond the 2 asked for": 1,
        "anchors with fewer than 1 believed negatives": 1,
        "pairs of anchors that were left out": 1,
        "pairs with sources": 6,
        "ids of queries": 2,
        "ids of documents": 6,
    }
    text = written.summary()
    assert "wrote 2 rows to" in text and "lost: 1 doubted negatives (weight 0)" in text


@pytest.mark.parametrize(
    "short, rows, repeated, lost",
    [("drop", 2, 0, 2), ("repeat", 3, 1, 1)],
)
def test_n_tuples_are_rectangular_whatever_happens_to_short_rows(place, short, rows, repeated, lost):
    source, target = place / "evidence.parquet", place / "out.parquet"
    written = convert(source, target, target_format="n-tuples", collection=world(), negatives=2, short=short)
    table = pq.read_table(target)
    assert table.column_names == ["anchor", "positive", "negative_1", "negative_2", "scores"] and len(table) == rows
    assert written.notes["rows that hold a negative more than once"] == repeated
    reason = f"anchors with fewer than {1 if short == 'repeat' else 2} believed negatives"
    assert written.lost[reason] == lost
    if short == "repeat":
        assert table.to_pylist()[2] == {"anchor": "why?", "positive": "text 2",
                                        "negative_1": "text 6", "negative_2": "text 6",
                                        "scores": pytest.approx([0.9, 0.1, 0.1])}  # fmt: skip
    with pytest.raises(ValueError, match=r"2 of 3 anchors have fewer than 2 believed negatives, the first is 'q2'"):
        convert(source, place / "x.parquet", target_format="n-tuples", collection=world(), negatives=2, short="refuse")
    assert not (place / "x.parquet").exists()
    with pytest.raises(ValueError, match="negatives must be >= 1, the same number in every row, got None"):
        convert(source, place / "x.parquet", target_format="n-tuples", collection=world())


@pytest.mark.parametrize("name, path", [("flagembedding", "x.jsonl"), ("tevatron", "x.jsonl"), ("tevatron-ids", "x")])
def test_an_anchor_without_negatives_breaks_its_consumer_and_is_dropped_refused_or_kept(place, name, path):
    options = {"target_format": name, "collection": world()}
    dropped = convert(place / "evidence.parquet", place / f"1{path}", **options)
    assert dropped.rows == 2 and dropped.lost["anchors with fewer than 1 believed negatives"] == 1
    assert convert(place / "evidence.parquet", place / f"2{path}", short="keep", **options).rows == 3
    with pytest.raises(ValueError, match="1 of 3 anchors have fewer than 1 believed negatives, the first is 'q3'"):
        convert(place / "evidence.parquet", place / f"3{path}", short="refuse", **options)
    with pytest.raises(ValueError, match="short must be 'drop', 'refuse' or 'keep', got 'repeat'"):
        convert(place / "evidence.parquet", place / f"4{path}", short="repeat", **options)


def test_scores_are_all_or_none_unless_asked(place):
    half = mined().set_column(6, ev.SCHEMA.field("score"), pa.array([0.5] + [None] * 8, pa.float32()))
    chosen = choose(Exchange(world(), half), frozenset({"texts", "scores"}))
    assert not chosen.scored and chosen.lost["scores"] == 1
    with pytest.raises(ValueError, match="scores were asked for, and 7 of 8 rows have none"):
        choose(Exchange(world(), half), frozenset({"texts", "scores"}), scores=True)
    convert(place / "evidence.parquet", place / "a.jsonl", target_format="triplets", collection=world(), scores=False)
    assert set(rows_of(place / "a.jsonl")[0]) == {"anchor", "positive", "negative"}
    lost = convert(
        place / "evidence.parquet", place / "b.csv", target_format="labelled-pairs", collection=world(), scores=True
    ).lost
    assert (place / "b.csv").read_text().splitlines()[:2] == ['"text1","text2","score"', '"who?","text 0","0.9"']
    assert lost["labels (which candidates are positive)"] == 8 and "scores" not in lost


def test_a_positive_text_never_stands_among_the_negatives():
    corpus = pa.table({"id": ["a", "b", "c"], "text": ["same", "same", "other"]})
    exchange = Exchange(
        Collection("c", pa.table({"id": ["q"], "text": ["x"]}), corpus),
        ev.make(["q"] * 3, ["a", "b", "c"], [-1, 1, -1], source="s"),
    )
    group = next(choose(exchange, FORMATS["flagembedding"].holds).groups())
    assert [one.id for one in group.positives] == ["b"] and [one.id for one in group.negatives] == ["c"]
    with_ids = next(choose(exchange, FORMATS["tevatron"].holds).groups())
    assert [one.id for one in with_ids.negatives] == ["a", "c"]


def test_random_negatives_depend_on_the_seed_only(place):
    def take(seed, name):
        convert(
            place / "evidence.parquet",
            place / name,
            target_format="tevatron",
            collection=world(),
            negatives=1,
            how="random",
            seed=seed,
        )
        return rows_of(place / name)

    assert take(1, "a.jsonl") == take(1, "b.jsonl")
    drawn = {take(seed, f"{seed}.jsonl")[0]["negative_passages"][0]["docid"] for seed in range(2, 14)}
    assert len(drawn) > 1


def test_a_collection_to_every_format_and_its_other_splits_counted(tmp_path):
    train = judgements_table(["q1", "q1", "q1", "q2"], ["d0", "d1", "d4", "d2"], [1, 2, 0, -1])
    write_parquet(world().with_qrels({"train": train, "test": judgements_table(["q2"], ["d2"], [1])}), tmp_path / "c")
    written = convert(tmp_path / "c", tmp_path / "out.jsonl", target_format="flagembedding")
    assert rows_of(tmp_path / "out.jsonl") == [{"query": "who?", "pos": ["text 0", "text 1"], "neg": ["text 4"]}]
    assert written.lost["judgements of other splits"] == 1 and written.lost["grades"] == 3
    assert written.lost["pairs of sign 0 (nothing is known of them)"] == 1
    convert(tmp_path / "c", tmp_path / "train.qrels")
    assert (tmp_path / "train.qrels").read_text() == "q1 0 d1 2\nq1 0 d0 1\nq1 0 d4 0\nq2 0 d2 -1\n" or sorted(
        (tmp_path / "train.qrels").read_text().splitlines()
    ) == ["q1 0 d0 1", "q1 0 d1 2", "q1 0 d4 0", "q2 0 d2 -1"]
    convert(tmp_path / "c", tmp_path / "beir", target_format="beir")
    assert read_beir(tmp_path / "beir").collection.splits == ["test", "train"]
    with pytest.raises(ValueError, match=r"the source has no split 'dev'; it has \['test', 'train'\]"):
        convert(tmp_path / "c", tmp_path / "dev.qrels", split="dev")


def test_short_rows_go_round_their_negatives(place):
    source, target = place / "evidence.parquet", place / "out.jsonl"
    convert(source, target, target_format="n-tuples", collection=world(), negatives=5, short="repeat", scores=False)
    assert list(rows_of(target)[0].values()) == ["who?", "text 0", "text 4", "text 5", "text 6", "text 4", "text 5"]


def test_a_collection_goes_round_through_the_other_forms(place):
    convert(place / "beir", place / "hf", target_format="hf")
    convert(place / "hf", place / "parquet", target_format="parquet")
    convert(place / "parquet", place / "pairs.jsonl", target_format="pairs", ids=True)
    written = convert(place / "pairs.jsonl", place / "back", target_format="beir")
    whole, back = (read_beir(place / name).collection for name in ("beir", "back"))
    assert read_parquet(place / "parquet").collection.fingerprint() == whole.fingerprint()
    assert not written.lost
    known = {(r["query"], r["document"]) for r in whole.qrels["train"].to_pylist()}
    assert {(r["query"], r["document"]) for r in back.qrels["train"].to_pylist()} == known
    lost = convert(place / "evidence.parquet", place / "pairs", target_format="pairs", collection=place / "beir").lost
    assert lost["negatives that nobody judged"] == 5 and lost["grades other than 1"] == 1
    assert detect(place / "pairs") == "pairs"
    convert(place / "pairs", place / "pairs.csv", target_format="pairs")
    assert len((place / "pairs.csv").read_text().splitlines()) == 5


def test_texts_of_the_source_are_written_beside_evidence_or_counted(place):
    convert(
        place / "evidence.parquet", place / "x.jsonl", target_format="flagembedding", collection=world(), short="keep"
    )
    lost = convert(place / "x.jsonl", place / "1.parquet", target_format="evidence").lost
    assert lost == {
        "texts of queries (write the collection too)": 3,
        "texts of documents (write the collection too)": 7,
    }
    written = convert(place / "x.jsonl", place / "2.parquet", target_format="evidence", collection_out=place / "texts")
    assert not written.lost and len(read_parquet(place / "texts").collection.corpus) == 7
    back = convert(place / "x.jsonl", place / "3", target_format="evidence", collection=place / "beir")
    assert not back.lost  # every text is one of the collection, so ids are enough
    made = Evidence.open(place / "3", fingerprints={"collection": read_beir(place / "beir").collection.fingerprint()})
    believed = mined().filter(pa.array([i != 6 for i in range(9)]))
    assert (
        made.read()
        .select(["anchor", "candidate", "sign"])
        .equals(ev.order(believed).select(["anchor", "candidate", "sign"]))
    )
    assert made.scorer["name"] == "flagembedding:scores"


def test_evidence_keeps_where_it_came_from(place):
    Evidence.of(place / "made", mined(), fingerprints={"model": "abc"})
    convert(place / "made", place / "copy.parquet", target_format="evidence")
    copy = Evidence.open(place / "copy.parquet")
    assert copy.fingerprints == {"model": "abc"} and copy.read().equals(Evidence.open(place / "made").read())
    Evidence.of(place / "other", mined(), fingerprints={"collection": "0" * 64})
    written = convert(place / "other", place / "x.jsonl", target_format="triplets", collection=world())
    assert written.notes["collection that is not the one the evidence was made from (fingerprints differ)"] == 1


def test_evidence_becomes_judgements_beside_those_there_are(place):
    written = convert(place / "evidence.parquet", place / "out", target_format="parquet", collection=place / "beir")
    made = {
        (r["query"], r["document"]): r["grade"]
        for r in read_parquet(place / "out").collection.qrels["train"].to_pylist()
    }
    assert made == {("q1", "d0"): 1, ("q1", "d1"): 2, ("q2", "d2"): 1, ("q3", "d3"): 1}
    assert written.lost["negatives that nobody judged"] == 5
    assert written.lost["judgements that the collection has otherwise"] == 1  # d1 is graded 2 there


def test_what_a_run_cannot_hold_is_refused(place):
    table = ev.make(["q 1"], ["d"], [1], source="s", score=[1.0], scorer=SCORER)
    for ending in ("run", "qrels"):
        for one in (table, table.set_column(0, ev.SCHEMA.field("anchor"), pa.array(["q\u00a01"]))):
            with pytest.raises(BadInput, match=r"field 'anchor': found 'q.*1', expected an id without white space"):
                FORMATS[f"trec-{ending}"].writer(Exchange(None, one), place / f"x.{ending}")
    half = ev.make(["q"], ["d"], [1], grade=0.5, source="s")
    with pytest.raises(BadInput, match="field 'grade': found 0.5, expected a whole number"):
        FORMATS["trec-qrels"].writer(Exchange(None, half), place / "x.qrels")
    with pytest.raises(ValueError, match="tag must be a word without white space, got 'a b'"):
        FORMATS["trec-run"].writer(Exchange(None, half), place / "x.run", tag="a b")


def test_a_run_goes_by_score_and_without_scores_by_the_table(place):
    table = ev.make(["q"] * 3, ["p", "a", "b"], [1, -1, -1], score=[0.1, 0.3, 0.3], source="s", scorer=SCORER)
    written = FORMATS["trec-run"].writer(Exchange(None, table), place / "a.run")
    assert (place / "a.run").read_text() == "q Q0 a 1 0.3 litotes\nq Q0 b 2 0.3 litotes\nq Q0 p 3 0.1 litotes\n"
    assert written.notes == {"pairs with the score of the pair before them (tools order ties in their own ways)": 1}
    bare = ev.make(["q"] * 3, ["p", "a", "b"], [1, -1, -1], source="s")
    notes = FORMATS["trec-run"].writer(Exchange(None, bare), place / "b.run").notes
    assert (place / "b.run").read_text() == "q Q0 p 1 3 litotes\nq Q0 a 2 2 litotes\nq Q0 b 3 1 litotes\n"
    assert notes == {"pairs whose score only counts down (not all pairs have scores)": 3}


def test_groups_are_the_same_whatever_the_block(monkeypatch):
    chosen = choose(Exchange(world(), mined()), FORMATS["tevatron"].holds, positives=0)
    whole = list(chosen.groups())
    monkeypatch.setattr("litotes.data.formats.choose.BLOCK", 1)
    assert list(chosen.groups()) == whole and len(whole) == 3 and BLOCK > 1
    with pytest.raises(BadInput, match="the unknown id 'nobody'"):
        list(
            choose(Exchange(world(), ev.make(["nobody"], ["d1"], [1], source="s")), FORMATS["tevatron"].holds).groups()
        )


def test_options_without_meaning_are_refused(place):
    source = place / "evidence.parquet"
    for options, message in [
        ({"threshold": 0.5}, "threshold=0.5 has no meaning from evidence to triplets"),
        ({"shape": "trec"}, "shape='trec' has no meaning from evidence to triplets"),
        ({"threshold": "high"}, "threshold must be a number, got 'high'"),
        ({"threshold": float("nan")}, "threshold must be finite, got nan"),
        ({"short": "keep"}, "triplets: short must be 'drop' or 'refuse', got 'keep'"),
        ({"source_format": "excel"}, "there is no format 'excel'; there are beir, parquet"),
        ({"collection": None}, "the target holds texts and the evidence has ids only"),
        ({"collection_out": place / "c", "collection": None, "target_format": "trec-run"}, "the source has no texts"),
    ]:
        with pytest.raises(ValueError, match=message):
            convert(source, place / "x.jsonl", **{"target_format": "triplets", "collection": world(), **options})
        (place / "x.jsonl").unlink(missing_ok=True)
    with pytest.raises(
        ValueError, match=r"'x.jsonl' may be pairs, triplets, n-tuples, .*flagembedding, tevatron.*: give target_format"
    ):
        convert(source, place / "x.jsonl")
    with pytest.raises(ValueError, match="source and target are both"):
        convert(source, source, target_format="evidence")
    with pytest.raises(ValueError, match="a second one has no meaning"):
        convert(place / "beir", place / "x.jsonl", target_format="triplets", collection=world())


def test_nothing_is_overwritten_by_accident_nor_left_half_written(place):
    (place / "x.jsonl").write_text("mine")
    options = {"target_format": "flagembedding", "collection": world()}
    with pytest.raises(FileExistsError, match="overwrite it on purpose"):
        convert(place / "evidence.parquet", place / "x.jsonl", **options)
    with pytest.raises(ValueError):
        convert(place / "evidence.parquet", place / "x.jsonl", short="refuse", overwrite=True, **options)
    assert (place / "x.jsonl").read_text() == "mine"
    convert(place / "evidence.parquet", place / "x.jsonl", overwrite=True, **options)
    assert len(rows_of(place / "x.jsonl")) == 2
    convert(place / "x.jsonl", place / "evidence.parquet", target_format="evidence", overwrite=True)
    assert len(Evidence.open(place / "evidence.parquet")) == 7
    with pytest.raises(FileExistsError, match="not an empty folder"):
        convert(place / "x.jsonl", place / "beir", target_format="beir")
    assert not [path for path in place.rglob("*") if "partial" in path.name]


def test_bad_rows_of_the_source_are_counted_to_the_end(place):
    (place / "x.jsonl").write_text(
        '{"query": "a", "pos": ["p"], "neg": ["n"]}\n{"query": "b", "pos": "p", "neg": []}\n'
    )
    with pytest.raises(BadInput, match=r"x.jsonl:2: field 'pos'"):
        convert(place / "x.jsonl", place / "y.jsonl", target_format="triplets")
    written = convert(place / "x.jsonl", place / "y.jsonl", target_format="triplets", skip_bad=True)
    assert written.bad.total == 1 and "skipped 1 bad rows" in written.summary() and rows_of(place / "y.jsonl") == [
        {"anchor": "a", "positive": "p", "negative": "n"}
    ]  # fmt: skip


def test_detection_by_content(place):
    write_parquet(world(), place / "parquet")
    write_hf(world(), place / "hf")
    write_pairs(world(), place / "pairs.csv", "train")
    write_pairs(world(), place / "pairs.jsonl", "train", ids=True)
    Evidence.of(place / "folder", mined())
    names = {"beir": "beir", "parquet": "parquet", "hf": "hf", "pairs.csv": "pairs", "pairs.jsonl": "pairs",
             "folder": "evidence", "evidence.parquet": "evidence"}  # fmt: skip
    assert {name: detect(place / name) for name in names} == names
    convert(place / "evidence.parquet", place / "saved", target_format="n-tuples", collection=world(), negatives=1)
    assert detect(place / "saved") == "n-tuples"
    (place / "odd.jsonl").write_text('{"one": "a", "two": "b", "three": "c"}\n')
    with pytest.raises(ValueError, match="may be pairs or triplets; say which"):
        detect(place / "odd.jsonl")
    (place / "one.jsonl").write_text('{"one": "a"}\n')
    with pytest.raises(BadInput, match=r"found the columns \['one'\]"):
        detect(place / "one.jsonl")
    (place / "notes.txt").write_text("dear diary\n")
    with pytest.raises(BadInput, match="found the ending '.txt' and no run or judgements"):
        detect(place / "notes.txt")
    (place / "bare").mkdir()
    with pytest.raises(
        BadInput, match="expected evidence, a collection, a saved dataset or files of FlagEmbedding rows"
    ):
        detect(place / "bare")
    with pytest.raises(BadInput, match="no such file or folder"):
        detect(place / "nothing")


def test_every_format_says_what_it_holds():
    for name, one in FORMATS.items():
        assert one.name == name and one.reader and one.writer and one.summary and one.holds < set(ASPECTS)
    with pytest.raises(ValueError, match=r"Format 'x': holds must be among .* got \['colours'\]"):
        Format("x", "", frozenset({"colours"}), ())
    assert Counter(type(one) for one in FORMATS.values()) == {Format: 15}
