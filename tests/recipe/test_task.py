import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.data.collection import RELATED, Collection, judgements_table
from litotes.recipe import make_recipe
from litotes.recipe.task import load_task, restrict

Q, D = [f"q{i:02}" for i in range(30)], [f"d{i:02}" for i in range(12)]


def whole():
    """30 queries: 0-19 train, 20-27 test, 28 in both, 29 in neither; two documents each; related for all."""
    texts = lambda ids: pa.table({"id": ids, "text": [f"text {name}" for name in ids]})
    judged = lambda rows: judgements_table(
        [Q[i] for i in rows for _ in range(2)],
        [D[(i + k) % 12] for i in rows for k in range(2)],
        [1.0, 0.0] * len(rows),
    )
    related = pa.table(
        {"query": Q, "document": [D[(i + 5) % 12] for i in range(30)], "relation": ["near"] * 30}, schema=RELATED
    )
    splits = {"train": judged([*range(20), 28]), "test": judged([*range(20, 28), 28]), "dev": judged([29])}
    return Collection("whole", texts(Q), texts(D), splits, related)


WHOLE = whole()
limit = st.none() | st.integers(1, 25)


def ids(task, split):
    return set(task.qrels[split]["query"].to_pylist())


@given(limit, limit, st.integers(0, 5))
def test_what_is_left_is_consistent(train, test, seed):
    task = restrict(WHOLE, {"train": train, "test": test}, seed)
    assert task.splits == ["train", "test"] and task.corpus.equals(WHOLE.corpus)
    for split, wanted, there in (("train", train, 21), ("test", test, 9)):
        kept = ids(task, split)
        assert len(kept) == min(wanted or there, there)
        full = WHOLE.qrels[split].to_pylist()
        assert task.qrels[split].to_pylist() == [row for row in full if row["query"] in kept]  # all their judgements
    used = ids(task, "train") | ids(task, "test")
    assert task.queries["id"].to_pylist() == [name for name in Q if name in used]
    assert task.related["query"].to_pylist() == [name for name in Q if name in used]


@given(st.integers(1, 25), st.integers(1, 25), st.integers(0, 5))
def test_subsets_are_nested_and_do_not_depend_on_what_was_cut_before(one, other, seed):
    low, high = sorted([one, other])
    small, large = (restrict(WHOLE, {"train": n}, seed) for n in (low, high))
    assert ids(small, "train") <= ids(large, "train")
    again = restrict(large, {"train": low}, seed)
    assert again.fingerprint() == small.fingerprint()


def test_another_seed_draws_other_queries_evenly():
    drawn = [frozenset(ids(restrict(WHOLE, {"train": 5}, seed), "train")) for seed in range(200)]
    assert len(set(drawn)) > 150 and drawn[3] == frozenset(ids(restrict(WHOLE, {"train": 5}, 3), "train"))
    counts = np.array([sum(name in each for each in drawn) for name in sorted(ids(WHOLE, "train"))])
    assert abs(counts - 200 * 5 / 21).max() < 4 * np.sqrt(200 * 5 / 21 * 16 / 21)  # binomial, four deviations


def test_a_split_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"'whole' has no split 'eval'; it has \['train', 'test', 'dev'\]"):
        restrict(WHOLE, {"train": 3, "eval": None})


def beir(folder, test=6):
    """A folder in BEIR form: 10 documents, 4 training queries, `test` test queries."""
    (folder / "qrels").mkdir(parents=True)
    lines = lambda rows: "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "corpus.jsonl").write_text(lines({"_id": f"d{i}", "title": "", "text": f"word {i}"} for i in range(10)))
    (folder / "queries.jsonl").write_text(lines({"_id": f"q{i}", "text": f"ask {i}"} for i in range(4 + test)))
    for split, rows in (("train", range(4)), ("test", range(4, 4 + test))):
        judged = "".join(f"q{i}\td{i % 10}\t1\n" for i in rows)
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    return folder


def test_a_folder_in_beir_form_is_a_task(tmp_path):
    source = str(beir(tmp_path / "set"))
    section = {"source": source, "test_queries": 3}
    task = load_task(make_recipe({"name": "x", "collection": section}), 0)
    assert (len(ids(task, "train")), len(ids(task, "test")), len(task.corpus)) == (4, 3, 10)
    with pytest.raises(ValueError, match=r"has no split 'dev'; it has \['test', 'train'\]|\['train', 'test'\]"):
        load_task(make_recipe({"name": "x", "collection": {"source": source, "test_split": "dev"}}), 0)


def test_a_test_split_too_small_for_an_interval_is_refused_before_anything_is_computed(tmp_path):
    source = str(beir(tmp_path / "set", test=1))
    with pytest.raises(ValueError, match="'test' of 'set' must have at least 2 queries with a positive.*got 1"):
        load_task(make_recipe({"name": "x", "collection": {"source": source}}), 0)


def test_wordnet_is_drawn_anew_by_seed():
    recipe = make_recipe({"name": "x", "collection": {"documents": 200, "train_anchors": 20, "test_queries": 5}})
    one, same, other = load_task(recipe, 1), load_task(recipe, 1), load_task(recipe, 2)
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()
    assert (len(ids(one, "train")), len(ids(one, "test"))) == (20, 5)
