"""What a format holds comes back; what it does not hold is counted, by definition one row at a time."""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from litotes import evidence as ev
from litotes.data.collection import Collection
from litotes.data.formats import FORMATS, Exchange, detect
from litotes.data.formats.gather import text_id

SCORER = {"name": "m", "checksum": "c", "similarity": "dot"}
ODD = [
    'a,"b"',
    "two\nlines",
    "tab\there",
    "[1, 2]",
    "é \u2028 ß",
    "carriage\rreturn",
    "it's",
    "plain",
    "{}",
    "x" * 70,
    "0",
]
words = st.sampled_from(ODD) | st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=6)
text = words.filter(lambda t: t.strip() == t and " " not in t)
score = st.floats(-8, 8, width=32).map(lambda x: x + 0.0)


@st.composite
def exchanges(draw, scored=("all", "some", "none")):
    """A small collection with odd texts, duplicates among its documents, and evidence of all kinds."""
    queries = draw(st.lists(text, min_size=1, max_size=4, unique=True))
    bodies = draw(st.lists(text, min_size=1, max_size=6))
    corpus = {"id": [f"d{i}" for i in range(len(bodies))], "text": bodies}
    if draw(st.booleans()):
        corpus["title"] = draw(st.lists(st.just("") | text, min_size=len(bodies), max_size=len(bodies)))
    if draw(st.booleans()):
        corpus["id"] = [text_id("d", f"{i}") for i in range(len(bodies))]
    collection = Collection(
        "world", pa.table({"id": [f"q{i}" for i in range(len(queries))], "text": queries}), pa.table(corpus)
    )
    which, rows = draw(st.sampled_from(scored)), []
    for query in range(len(queries)):
        for document in draw(st.lists(st.integers(0, len(bodies) - 1), unique=True)):
            sign = draw(st.sampled_from([1, 1, -1, -1, -1, 0]))
            has = which == "all" or (which == "some" and draw(st.booleans()))
            graded = draw(st.sampled_from([None, None, None, 0.0 if sign < 0 else 1.0 * sign, 2.0 * max(sign, 0)]))
            rows.append(
                (
                    f"q{query}",
                    corpus["id"][document],
                    sign,
                    draw(score) if has else None,
                    graded,
                    draw(st.sampled_from([0, 0.5, 1, 1, 1])),
                )
            )
    columns = list(zip(*rows, strict=True)) if rows else [[], [], [], [], [], []]
    anchor, candidate, sign, scores, grade, belief = (list(column) for column in columns)
    floats = [pa.array(values, pa.float32()) for values in (scores, grade)]
    table = ev.make(
        pa.array(anchor, pa.string()), pa.array(candidate, pa.string()), pa.array(sign, pa.int8()),
        score=floats[0], grade=floats[1], source="bm25", scorer=SCORER if which != "none" else None,
    )  # fmt: skip
    low = pa.array([b < 1 for b in belief], pa.bool_())
    return Exchange(
        collection, ev.doubt(table, low, pa.array(belief, pa.float32()), "guide", judged=True) if rows else table
    )


def believed(exchange, by_text):
    """anchor -> [(candidate, sign, score, row)], one row at a time; with `by_text`, a text once per anchor."""
    texts = dict(zip(exchange.collection.corpus["id"].to_pylist(), exchange.collection.document_texts(), strict=True))
    kept, lost = defaultdict(list), Counter()
    for row in ev.order(exchange.evidence).to_pylist():
        if row["sign"] == 0:
            lost["pairs of sign 0 (nothing is known of them)"] += 1
        elif row["weight"] == 0:
            lost[f"doubted {'positives' if row['sign'] > 0 else 'negatives'} (weight 0)"] += 1
        elif by_text and texts[row["candidate"]] in [texts[other["candidate"]] for other in kept[row["anchor"]]]:
            lost["candidates with the text of another candidate of their anchor"] += 1
        else:
            kept[row["anchor"]].append(row)
    return {anchor: rows for anchor, rows in kept.items() if rows}, lost


def with_least(kept, lost, positives, negatives, n=None, reason=None):
    """Drop the anchors that have too few; cut the negatives to n."""
    out = {}
    for anchor, rows in kept.items():
        up = [row for row in rows if row["sign"] > 0]
        down = [row for row in rows if row["sign"] < 0]
        cut = down if n is None else down[:n]
        lost[f"believed negatives beyond the {n} asked for"] += len(down) - len(cut)
        if len(up) < positives:
            lost["anchors without a believed positive"] += 1
            lost["pairs of anchors that were left out"] += len(up) + len(cut)
        elif len(cut) < negatives:
            lost[f"anchors with fewer than {negatives} believed negatives"] += 1
            lost["pairs of anchors that were left out"] += len(up) + len(cut)
        else:
            out[anchor] = up + cut
    return out


def aspects(rows, lost, format_name, scored):
    """What every written row says and the target cannot hold."""
    holds = FORMATS[format_name].holds
    if "grades" not in holds:
        lost["grades"] += sum(row["grade"] is not None for row in rows)
    lost["weights between 0 and 1"] += sum(row["weight"] < 1 for row in rows)
    lost["pairs with reasons for doubt"] += sum(bool(row["doubts"]) for row in rows)
    lost["pairs with sources"] += len(rows)
    if not scored:
        lost["scores"] += sum(row["score"] is not None for row in rows)


def said(exchange, rows, scored):
    """(query text, document text, sign, score) of every row."""
    queries = dict(zip(exchange.collection.queries["id"].to_pylist(), exchange.collection.query_texts(), strict=True))
    texts = dict(zip(exchange.collection.corpus["id"].to_pylist(), exchange.collection.document_texts(), strict=True))
    return {(queries[r["anchor"]], texts[r["candidate"]], r["sign"], r["score"] if scored else None) for r in rows}


def fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


TEXT_FORMATS = [
    ("triplets", ".jsonl", 1, 1, {}),
    ("triplets", ".csv", 1, 1, {"negatives": 2}),
    ("n-tuples", ".parquet", 1, 2, {"negatives": 2}),
    ("n-tuples", ".csv", 1, 1, {"negatives": 1}),
    ("labelled-pairs", ".csv", 0, 0, {}),
    ("labelled-lists", ".csv", 0, 0, {}),
    ("labelled-lists", ".parquet", 0, 0, {"negatives": 2}),
    ("flagembedding", ".jsonl", 1, 1, {"negatives": 3}),
]  # fmt: skip


@pytest.mark.parametrize("name, ending, positives, negatives, options", TEXT_FORMATS)
@given(exchange=exchanges())
def test_a_format_of_texts_gives_back_what_it_holds_and_counts_the_rest(
    tmp_path, name, ending, positives, negatives, options, exchange
):
    path = fresh(tmp_path / "x") / f"made{ending}"
    written = FORMATS[name].writer(exchange, path, **options)
    kept, lost = believed(exchange, by_text=True)
    groups = with_least(kept, lost, positives, negatives, options.get("negatives"))
    rows = [row for group in groups.values() for row in group]
    scored = (
        name not in ("labelled-pairs", "labelled-lists") and bool(rows) and all(r["score"] is not None for r in rows)
    )
    aspects(rows, lost, name, scored)
    for reason, count in (+lost).items():
        assert written.lost[reason] == count, reason
    own = {"ids of queries", "ids of documents", "titles that became the head of the text", "queries that no row names",
           "documents that no row names", "grades that read back as unjudged labels"}  # fmt: skip
    assert set(written.lost) - own == set(+lost)
    if not rows:
        return
    read = FORMATS[name].reader(path)
    assert said(read, read.evidence.to_pylist(), scored) == said(exchange, rows, scored)
    assert len(read.evidence) == len(rows) and not read.bad.total and not read.notes
    assert bool(ev.scorer_of(read.evidence)) == scored
    assert detect(path) == name


@given(exchange=exchanges())
def test_ids_and_texts_that_no_row_names_are_counted(tmp_path, exchange):
    written = FORMATS["labelled-pairs"].writer(exchange, fresh(tmp_path / "x") / "made.jsonl")
    rows = [row for group in believed(exchange, by_text=True)[0].values() for row in group]
    queries, documents = {row["anchor"] for row in rows}, {row["candidate"] for row in rows}
    corpus = exchange.collection.corpus.to_pylist()
    texts = dict(zip([row["id"] for row in corpus], exchange.collection.document_texts(), strict=True))
    assert written.lost["ids of queries"] == len(queries)
    assert written.lost["ids of documents"] == sum(one != text_id("d", texts[one]) for one in documents)
    assert written.lost["queries that no row names"] == len(exchange.collection.queries) - len(queries)
    assert written.lost["documents that no row names"] == len(corpus) - len(documents)
    titled = sum(bool(row.get("title")) for row in corpus if row["id"] in documents)
    assert written.lost["titles that became the head of the text"] == titled


@pytest.mark.parametrize("name", ["tevatron", "tevatron-ids", "nemo"])
@given(exchange=exchanges())
def test_a_format_with_ids_gives_back_ids_texts_and_what_else_it_holds(tmp_path, name, exchange):
    path = fresh(tmp_path / "x") / {"tevatron": "made.jsonl", "tevatron-ids": "made", "nemo": "made.json"}[name]
    assume(name != "nemo" or not (exchange.evidence["score"].to_numpy() == -1).any())
    written = FORMATS[name].writer(exchange, path)
    kept, lost = believed(exchange, by_text=False)
    groups = with_least(kept, lost, 1, 0 if name == "nemo" else 1)
    rows = [row for group in groups.values() for row in group]
    aspects(rows, lost, name, scored=name == "nemo")
    own = {"titles that became the head of the text", "queries that no row names", "documents that no row names"}
    assert {reason: n for reason, n in written.lost.items() if reason not in own} == dict(+lost)
    if not rows:
        return
    assert detect(path) == name
    read = FORMATS[name].reader(path)
    pick = lambda r: (r["anchor"], r["candidate"], r["sign"], r["score"] if name == "nemo" else None)
    assert sorted(map(str, map(pick, read.evidence.to_pylist()))) == sorted(map(str, map(pick, rows)))
    documents = dict(
        zip(exchange.collection.corpus["id"].to_pylist(), exchange.collection.document_texts(), strict=True)
    )
    back = dict(zip(read.collection.corpus["id"].to_pylist(), read.collection.document_texts(), strict=True))
    if name == "tevatron":
        documents = {identity: documents[identity] for identity in {row["candidate"] for row in rows}}
    assert back == documents


@given(exchange=exchanges())
def test_tevatron_keeps_title_and_text_apart(tmp_path, exchange):
    path = fresh(tmp_path / "x") / "made.jsonl"
    FORMATS["tevatron"].writer(exchange, path, short="keep")
    if not path.read_text():
        return
    read = FORMATS["tevatron"].reader(path)
    given = {row["id"]: (row.get("title") or "", row["text"]) for row in exchange.collection.corpus.to_pylist()}
    for row in read.collection.corpus.to_pylist():
        assert (row.get("title") or "", row["text"]) == given[row["id"]]


@pytest.mark.parametrize("ending", [".parquet", ""])
@given(exchange=exchanges())
def test_evidence_holds_everything_but_texts(tmp_path, ending, exchange):
    path = fresh(tmp_path / "x") / f"made{ending}"
    written = FORMATS["evidence"].writer(exchange, path)
    read = FORMATS["evidence"].reader(path)
    assert read.evidence.equals(ev.order(exchange.evidence)) and ev.scorer_of(read.evidence) == ev.scorer_of(
        exchange.evidence
    )
    assert written.rows == len(exchange.evidence)
    assert dict(written.lost) == {
        "texts of queries (write the collection too)": len(exchange.collection.queries),
        "texts of documents (write the collection too)": len(exchange.collection.corpus),
    }


@given(exchange=exchanges(scored=("all",)))
def test_a_run_gives_back_ranks_and_scores(tmp_path, exchange):
    path = fresh(tmp_path / "x") / "made.run"
    written = FORMATS["trec-run"].writer(exchange, path, tag="mine")
    rows = exchange.evidence.to_pylist()
    assert written.rows == len(rows)
    assert written.lost["signs (which candidates are positive)"] == sum(row["sign"] != 0 for row in rows)
    assert written.lost["grades"] == sum(row["grade"] is not None for row in rows)
    assert written.lost["weights below 1"] == sum(row["weight"] < 1 for row in rows)
    if not rows:
        return
    read = FORMATS["trec-run"].reader(path).evidence.to_pylist()
    pairs = lambda rows: {(row["anchor"], row["candidate"], row["score"]) for row in rows}
    assert pairs(read) == pairs(rows)
    for row in read:
        better = [other for other in read if other["anchor"] == row["anchor"] and other["score"] > row["score"]]
        same = [other for other in read if other["anchor"] == row["anchor"] and other["score"] == row["score"]]
        assert row["found"][0]["source"] == "mined:mine" and row["found"][0]["score"] == row["score"]
        assert len(better) <= row["found"][0]["rank"] < len(better) + len(same)


@given(exchange=exchanges())
def test_judgements_come_back_and_mined_negatives_are_no_judgements(tmp_path, exchange):
    path = fresh(tmp_path / "x") / "made.qrels"
    written = FORMATS["trec-qrels"].writer(exchange, path)
    grades, mined = {}, 0
    for row in exchange.evidence.to_pylist():
        if row["grade"] is not None:
            grades[row["anchor"], row["candidate"]] = row["grade"]
        elif row["sign"] > 0 and row["weight"] > 0:
            grades[row["anchor"], row["candidate"]] = 1.0
        mined += row["sign"] < 0 and row["grade"] is None
    assert written.lost["negatives that nobody judged"] == mined and written.rows == len(grades)
    read = FORMATS["trec-qrels"].reader(path).evidence.to_pylist()
    assert {(row["anchor"], row["candidate"]): row["grade"] for row in read} == grades
    assert all(row["sign"] == np.sign(row["grade"]) or (row["grade"] == 0 and row["sign"] == -1) for row in read)


@pytest.mark.parametrize("name", ["beir", "parquet"])
@given(exchange=exchanges(scored=("none",)))
def test_evidence_becomes_the_judgements_of_a_collection(tmp_path, name, exchange):
    path = fresh(tmp_path / "x") / "made"
    written = FORMATS[name].writer(exchange, path, split="dev")
    read = FORMATS[name].reader(path)
    assert detect(path) == name
    rows = exchange.evidence.to_pylist()
    kept = [row for row in rows if row["grade"] is not None or (row["sign"] > 0 and row["weight"] > 0)]
    expected = {(row["anchor"], row["candidate"]): 1.0 if row["grade"] is None else row["grade"] for row in kept}
    found = read.collection.qrels["dev"].to_pylist()
    assert {(row["query"], row["document"]): row["grade"] for row in found} == expected
    assert read.collection.document_texts() == exchange.collection.document_texts()
    mined = sum(row["sign"] < 0 and row["grade"] is None for row in rows)
    assert written.lost["negatives that nobody judged"] == mined
    assert written.lost["pairs with sources"] == len(kept)
