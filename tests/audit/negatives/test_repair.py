"""The repaired set: in the form of the old one, every change listed, and nothing else touched."""

from __future__ import annotations

import csv
import gzip
import json
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from litotes import evidence as ev
from litotes.data.collection import Collection, judgements_table
from litotes.data.formats import FORMATS, convert
from litotes.data.writers import write_beir, write_parquet
from litotes.errors import BadInput
from litotes.evidence import Evidence

# query, positive, negatives: the third negative of the second row is its positive; all else is clean
CLEAN = [
    ("w0", "w10", ["w40", "w42", "w44"]),
    ("w20", "w30", ["w60", "w62", "w64"]),
    ("w80", "w90", ["w120", "w122", "w124"]),
]
FLAWED = [CLEAN[0], ("w20", "w30", ["w60", "w62", "W30"]), CLEAN[2]]


def lines(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def flagembedding(folder, rows):
    return lines(folder / "f.jsonl", [{"query": q, "pos": [p], "neg": n, "prompt": "é"} for q, p, n in rows])


def flagembedding_folder(folder, rows):
    (folder / "many").mkdir()
    for i, row in enumerate(rows):
        flagembedding(folder, [row]).rename(folder / "many" / f"{i}.jsonl")
    return folder / "many"


def flagembedding_packed(folder, rows):
    path = folder / "f.jsonl.gz"
    path.write_bytes(gzip.compress(flagembedding(folder, rows).read_bytes()))
    return path


def tevatron(folder, rows):
    passage = lambda text: {"docid": f"d{text.lower()}{text[0]}", "title": "", "text": text}
    made = [
        {"query_id": q, "query": q, "positive_passages": [passage(p)], "negative_passages": list(map(passage, n))}
        for q, p, n in rows
    ]
    return lines(folder / "t.jsonl", made)


def tevatron_ids(folder, rows):
    place = folder / "ids"
    place.mkdir()
    texts = sorted({text for _, p, n in rows for text in (p, *n)} | {"w200"})
    lines(place / "corpus.jsonl", [{"docid": f"d{text}", "text": text} for text in texts])
    made = [
        {
            "query_id": q,
            "query_text": q,
            "positive_document_ids": [f"d{p}"],
            "negative_document_ids": [f"d{x}" for x in n],
        }
        for q, p, n in rows
    ]
    lines(place / "train.jsonl", made)
    return place


def nemo(folder, rows):
    corpus = folder / "n_corpus"
    corpus.mkdir()
    (corpus / "merlin_metadata.json").write_text('{"class": "TextQADataset", "corpus_id": "n"}')
    texts = sorted({text for _, p, n in rows for text in (p, *n)})
    pq.write_table(pa.table({"id": [f"d{text}" for text in texts], "text": texts}), corpus / "train.parquet")
    one = lambda text: {"id": f"d{text}", "score": -1}
    data = [
        {"question_id": q, "question": q, "corpus_id": "n", "pos_doc": [one(p)], "neg_doc": list(map(one, n))}
        for q, p, n in rows
    ]
    (folder / "n.json").write_text(json.dumps({"corpus": [{"path": "n_corpus"}], "data": data}))
    return folder / "n.json"


def triplets(folder, rows):
    made = [{"anchor": q, "positive": p, "negative": x} for q, p, n in rows for x in n]
    return lines(folder / "tri.jsonl", made)


def n_tuples(folder, rows):
    made = [{"anchor": q, "positive": p} | {f"negative_{i + 1}": x for i, x in enumerate(n)} for q, p, n in rows]
    pq.write_table(pa.Table.from_pylist(made), folder / "n.parquet")
    return folder / "n.parquet"


def n_tuples_tsv(folder, rows):
    table = ["anchor\tpositive\tnegative_1\tnegative_2\tnegative_3", *("\t".join([q, p, *n]) for q, p, n in rows)]
    (folder / "n.tsv").write_text("\n".join(table) + "\n")
    return folder / "n.tsv"


def labelled_pairs(folder, rows):
    with open(folder / "pairs.csv", "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["text1", "text2", "label"])
        out.writerows([q, text, int(text == p)] for q, p, n in rows for text in (p, *n))
    return folder / "pairs.csv"


def labelled_lists(folder, rows):
    import datasets

    made = [{"query": q, "docs": [p, *n], "labels": [1] + [0] * len(n)} for q, p, n in rows]
    datasets.Dataset.from_list(made).save_to_disk(folder / "lists")
    return folder / "lists"


MAKERS = [flagembedding, flagembedding_folder, flagembedding_packed, tevatron, tevatron_ids, nemo, triplets, n_tuples]
MAKERS += [n_tuples_tsv, labelled_pairs, labelled_lists]
each_form = pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)


def target_of(path, tmp_path):
    (tmp_path / "new").mkdir(exist_ok=True)
    return tmp_path / "new" / path.name


def content(path):
    """Every byte of a file or folder."""
    return (
        path.read_bytes()
        if path.is_file()
        else {one.relative_to(path): one.read_bytes() for one in sorted(path.rglob("*")) if one.is_file()}
    )


def pairs(path, form):
    """(query, text, sign) of a set, read by its own format."""
    exchange = FORMATS[form].reader(path)
    table = ev.with_texts(exchange.evidence, exchange.collection)
    columns = (table[name].to_pylist() for name in ("anchor_text", "candidate_text", "sign"))
    return Counter(zip(*columns, strict=True)), exchange


@each_form
def test_a_clean_set_stays_byte_for_byte(make, tmp_path, audited):
    path = make(tmp_path, CLEAN)
    found = audited(path, repaired=target_of(path, tmp_path))
    assert found.identical and content(found.repaired) == content(path) and not found.done
    assert found.changes.read_text() == "" and sum(found.found.values()) == 0


@each_form
@pytest.mark.parametrize("filled", [False, True])
def test_a_flawed_set_reads_back_without_its_flaw_and_the_list_tells_the_difference(
    make, filled, tmp_path, audited, encoder
):
    path = make(tmp_path, FLAWED)
    before = content(path)
    found = audited(path, repaired=target_of(path, tmp_path), encoder=encoder if filled else None, leave=("suspect",))
    assert not found.identical and content(path) == before
    form = found.format
    new, exchange = pairs(found.repaired, form)
    assert not any("read as positives" in note for note in exchange.notes) and ("w20", "W30", -1) not in new
    old, _ = pairs(path, form)
    changes = [json.loads(line) for line in found.changes.read_text().splitlines()]
    assert {change["why"] for change in changes} <= {"positive", "positive-elsewhere"} and len(changes) == 1
    (change,) = changes
    assert (change["query"], change["before"]) == ("w20", "W30")
    assert change["row"] >= 1 and change["where"].startswith(("1.jsonl", path.name, "train.jsonl"))
    expected = old - Counter({("w20", "W30", -1): 1})
    if change["change"] == "exchanged":
        assert filled
        expected[("w20", change["after"], -1)] += 1
    elif change["change"] == "row left out" and form == "n-tuples":
        expected = Counter({pair: n for pair, n in expected.items() if pair[0] != "w20"})
    assert new == expected
    assert sum(found.done.values()) == 1
    once = audited(found.repaired, repaired=target_of(path, found.repaired.parent), leave=("suspect",))
    assert once.identical  # repairing what is repaired changes nothing


def test_lines_that_are_not_changed_keep_their_bytes(tmp_path, audited):
    rows = [
        '{"query":"a" ,  "pos":["p"],"neg":["x","y"], "extra":[1.50]}',
        "",
        '{"pos":["p"],"query":"b","neg":["P","x"]}',
    ]
    path = tmp_path / "s.jsonl"
    path.write_text("\n".join(rows) + "\n")
    found = audited(path, repaired=tmp_path / "r.jsonl")
    new = found.repaired.read_text().splitlines()
    assert new[:2] == rows[:2] and json.loads(new[2]) == {"pos": ["p"], "query": "b", "neg": ["x"]}
    (change,) = map(json.loads, found.changes.read_text().splitlines())
    assert change == {
        "row": 2,
        "where": "s.jsonl:3",
        "query": "b",
        "change": "taken out",
        "why": "positive",
        "before": "P",
    }


def test_scores_run_beside_their_texts_and_scored_rows_are_not_filled(tmp_path, audited, encoder):
    row = {
        "query": "w20",
        "pos": ["w30"],
        "neg": ["w60", "W30", "w62"],
        "pos_scores": [0.9],
        "neg_scores": [0.1, 0.2, 0.3],
    }
    path = lines(tmp_path / "s.jsonl", [row, {"query": "w80", "pos": ["w90"], "neg": ["w120", "w122", "w124"]}])
    found = audited(path, repaired=tmp_path / "r.jsonl", encoder=encoder, leave=("suspect",))
    new = json.loads(found.repaired.read_text().splitlines()[0])
    assert new["neg"] == ["w60", "w62"] and new["neg_scores"] == [0.1, 0.3] and new["pos_scores"] == [0.9]


def test_a_row_that_loses_its_last_negative_is_left_out_where_trainers_need_one(tmp_path, audited):
    path = lines(
        tmp_path / "s.jsonl", [{"query": "a", "pos": ["p"], "neg": ["P"]}, {"query": "b", "pos": ["p"], "neg": ["x"]}]
    )
    found = audited(path, repaired=tmp_path / "r.jsonl")
    assert [json.loads(line)["query"] for line in found.repaired.read_text().splitlines()] == ["b"]
    assert found.done == {("positive", "rows left out"): 1}


def test_short_rows_are_filled_with_the_hardest_that_pass(tmp_path, audited, encoder):
    rows = [{"query": q, "pos": [p], "neg": n} for q, p, n in CLEAN]
    rows[1]["neg"] = ["w64"]
    path = lines(tmp_path / "s.jsonl", rows)
    found = audited(path, repaired=tmp_path / "r.jsonl", encoder=encoder, typical=0.0)
    new = json.loads(found.repaired.read_text().splitlines()[1])["neg"]
    # w20's positive stands at 10 words; nearer than some 18 words none may be; then come w40 and w42
    assert new[0] == "w64" and set(new[1:]) == {"w40", "w42"} and len(new) == 3
    assert found.done == {("short", "added"): 2}
    again = audited(path, repaired=tmp_path / "r2.jsonl", encoder=encoder, typical=0.0, leave=("short",))
    assert again.identical


def test_filler_is_exchanged_and_never_merely_dropped(tmp_path, audited, encoder):
    rows = [{"query": f"w{i}", "pos": [f"w{(i + 10) % 240}"], "neg": [f"w{(i + 20) % 240}"]} for i in range(0, 240, 2)]
    rows[3]["neg"] = ["w107"]
    path = lines(tmp_path / "s.jsonl", rows)
    found = audited(path, repaired=tmp_path / "r.jsonl", encoder=encoder, alpha=0.3)
    (change,) = map(json.loads, found.changes.read_text().splitlines())
    assert (change["change"], change["why"], change["before"]) == ("exchanged", "filler", "w107") and change[
        "seen"
    ] > 0.3
    assert abs(int(change["after"][1:]) - 6) in range(16, 30)  # harder, and under the line below its positive
    assert audited(found.repaired, encoder=encoder, alpha=0.3).found["filler"] == 0


def test_uses_of_a_text_beyond_the_line_are_exchanged_the_easiest_first(tmp_path, audited, encoder):
    rows = [{"query": f"w{i}", "pos": [f"w{(i + 10) % 240}"], "neg": [f"w{(i + 20) % 240}"]} for i in range(0, 240, 2)]
    for i in range(30):
        rows[i]["neg"] = ["w100"]
    path = lines(tmp_path / "s.jsonl", rows)
    settings = {"alpha": 0.9, "leave": ("suspect",), "everywhere": 0.1}
    found = audited(path, repaired=tmp_path / "r.jsonl", encoder=encoder, **settings)
    assert found.found["everywhere"] == 31  # one row had it before
    new = [json.loads(line)["neg"] for line in found.repaired.read_text().splitlines()]
    kept = [i for i, neg in enumerate(new) if neg == ["w100"]]
    assert len(kept) == 12 and found.done[("everywhere", "exchanged")] == 19
    assert kept == sorted([*range(19, 30), 40])  # those whose queries stand nearest to it


def test_rows_of_leaked_queries_go_and_bad_rows_are_listed(tmp_path, audited):
    path = lines(
        tmp_path / "s.jsonl", [{"query": "a", "pos": ["p"], "neg": ["x"]}, {"query": "b", "pos": ["p"], "neg": ["x"]}]
    )
    path.write_text(path.read_text() + '{"query": "c", "pos": "text"}\nnonsense\n')
    test = lines(tmp_path / "t.jsonl", [{"query": "B", "pos": ["z"], "neg": []}])
    with pytest.raises(BadInput, match=r"s\.jsonl:3: field 'pos'"):
        audited(path, repaired=tmp_path / "r.jsonl")
    assert not (tmp_path / "r.jsonl").exists() and not list(tmp_path.glob("*.changes.jsonl"))
    found = audited(path, test=test, repaired=tmp_path / "r.jsonl", skip_bad=True)
    assert found.repaired.read_text() == path.read_text().splitlines(True)[0]
    listed = [json.loads(line) for line in found.changes.read_text().splitlines()]
    assert [(one["row"], one["change"], one["why"]) for one in listed] == [
        (2, "row left out", "test-query"),
        (3, "row left out", "bad row"),
    ]
    assert (
        found.done == {("test-query", "rows left out"): 1, ("bad rows", "rows left out"): 2}
        and "2 bad rows" in found.bad
    )


@pytest.fixture
def collection(tmp_path):
    queries = pa.table({"id": ["q1", "q2"], "text": ["who?", "why?"]})
    corpus = pa.table({"id": ["a", "b", "c", "d"], "text": ["one", "ONE", "two", "three"]})
    qrels = {"train": judgements_table(["q1", "q1", "q1", "q2"], ["a", "b", "c", "d"], [1, 0, 0, 1])}
    return Collection("c", queries, corpus, qrels)


@pytest.mark.parametrize("write, name", [(write_beir, "beir"), (write_parquet, "parquet")])
def test_of_a_collection_only_copies_go_and_people_are_believed(write, name, tmp_path, audited, collection, places):
    write(collection, tmp_path / "in")
    found = audited(tmp_path / "in", repaired=tmp_path / "out", encoder=None)
    assert found.format == name and found.negatives == 2 and found.found["positive-elsewhere"] == 1
    from litotes.data.readers import read_collection

    kept = read_collection(tmp_path / "out").collection.qrels["train"]
    assert set(zip(kept["query"].to_pylist(), kept["document"].to_pylist(), strict=True)) == {
        ("q1", "a"),
        ("q1", "c"),
        ("q2", "d"),
    }


@pytest.mark.parametrize("name", ["e.parquet", "folder"])
def test_evidence_is_doubted_not_cut(name, tmp_path, audited, collection):
    table = ev.make(["q1"] * 3 + ["q2"], ["a", "b", "c", "d"], [1, -1, -1, 1], source="x")
    path = Evidence.of(tmp_path / name, table).path
    with pytest.raises(ValueError, match="holds ids only: give the collection"):
        audited(path)
    found = audited(path, collection=collection, repaired=tmp_path / f"new-{name}")
    new = Evidence.open(found.repaired).read()
    assert new["candidate"].to_pylist() == ev.order(table)["candidate"].to_pylist()
    doubted = [(row["candidate"], [d["part"] for d in row["doubts"]]) for row in new.to_pylist() if row["weight"] == 0]
    assert doubted == [("b", ["audit"])]
    again = audited(found.repaired, collection=collection, repaired=tmp_path / f"newer-{name}")
    assert again.identical and again.negatives == 1


def test_a_run_with_judgements_is_a_set_and_pairs_are_one_without_negatives(tmp_path, audited, collection):
    (tmp_path / "r.run").write_text("q1 Q0 c 1 2.0 t\nq1 Q0 b 2 1.0 t\nq2 Q0 c 1 1.0 t\n")
    found = audited(tmp_path / "r.run", collection=collection, repaired=tmp_path / "new.run")
    assert found.found["positive-elsewhere"] == 1 and "q1 Q0 b" not in found.repaired.read_text()
    convert_from = tmp_path / "p.csv"
    convert_from.write_text("anchor,positive\nwho?,one\n")
    bare = audited(convert_from)
    assert bare.negatives == 0 and "short" not in bare.found and any("no negatives" in note for note in bare.notes)
    assert convert(convert_from, tmp_path / "p.jsonl", target_format="pairs").rows == 1


@pytest.mark.parametrize(
    "target, error, message",
    [
        ("s.jsonl", ValueError, "needs another place"),
        ("r.csv", ValueError, r"must end in \.jsonl"),
        ("folder", ValueError, "is a file that ends in"),
        ("there.jsonl", FileExistsError, "exists; choose another place"),
    ],
)
def test_a_place_that_cannot_hold_the_form_is_refused_before_any_work(tmp_path, audited, target, error, message):
    path = flagembedding(tmp_path, CLEAN).rename(tmp_path / "s.jsonl")
    (tmp_path / "there.jsonl").write_text("mine")
    with pytest.raises(error, match=message):
        audited(path, repaired=tmp_path / target)
    assert (tmp_path / "there.jsonl").read_text() == "mine"


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("none.jsonl", None, "no such file or folder"),
        ("empty.jsonl", "", "a file without a row"),
        ("x.jsonl", '{"a": 1}\n', "the columns"),
        ("s.jsonl", '{"query": "q", "pos": ["p"], "neg": [""]}\n', r"s\.jsonl:1: field 'neg\[0\]': found empty text"),
        ("d.jsonl", '{"anchor": "q", "positive": "p", "negative": 3}\n', r"d\.jsonl:1: field 'negative'"),
    ],
)
def test_bad_input_says_where(tmp_path, audited, name, text, message):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(BadInput, match=message):
        audited(tmp_path / name)


def test_options_of_another_format_are_refused(tmp_path, audited):
    path = flagembedding(tmp_path, CLEAN)
    with pytest.raises(ValueError, match="threshold has no meaning for flagembedding"):
        audited(path, threshold=0.5)
    scored = tmp_path / "scored.jsonl"
    lines(scored, [{"text1": "q", "text2": t, "score": s} for t, s in (("p", 0.9), ("P", 0.1), ("x", 0.2))])
    assert audited(scored, threshold=0.5).found["positive-elsewhere"] == 1


def test_what_must_go_is_served_before_what_may_stay(tmp_path):
    import numpy as np

    from litotes.audit.negatives.repair import NAMES, plan
    from litotes.audit.negatives.source import read_source

    path = lines(tmp_path / "s.jsonl", [{"query": "q", "pos": ["p"], "neg": ["filler", "P", "x"]}])
    source = read_source(path, tmp_path / "work")
    reason = np.array([-1, NAMES.index("filler"), NAMES.index("positive"), -1], np.int8)
    made = plan(reason, {}, source, {0: [3]}, 3)
    assert (
        made.after.tolist() == [-1, -1, 3, -1]
        and made.reason[1] == -1
        and made.counts == {("positive", "exchanged"): 1}
    )
