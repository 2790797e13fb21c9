from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.data.anchors import Anchors
from litotes.data.collection import Collection, judgements_table
from litotes.errors import BadInput
from litotes.search.space import Space
from litotes.sources.draws import numbers
from litotes.sources.structured import drawing
from litotes.sources.structured.drawing import slots
from litotes.sources.structured.taxonomy import TaxonomyNegatives
from litotes.sources.structured.tree import Tree, parents_of

TOY = {"root": [], "a": ["root"], "b": ["root"], "a1": ["a"], "a2": ["a"], "a3": ["a"], "b1": ["b"]}
COMBINED = ("siblings", "levenshtein", "cosine")


def world(parents, texts, order=None, names=None):
    """`texts`: label -> ids of its texts. Rows stand in the order given."""
    labels = list(parents)
    ids = sorted({t for some in texts.values() for t in some})
    if order is not None:
        labels, ids = [labels[i % len(labels)] for i in order[0]], [ids[i] for i in order[1]]
    queries = pa.table(
        {
            "id": labels,
            "text": [(names or {}).get(name, name) for name in labels],
            "taxonomy": ["|".join(parents[name]) or None for name in labels],
        },
        schema=pa.schema([(c, pa.string()) for c in ("id", "text", "taxonomy")]),
    )
    judged = [(label, t) for label in labels for t in texts.get(label, [])]
    qrels = judgements_table([q for q, _ in judged], [t for _, t in judged], [1.0] * len(judged))
    return Collection("toy", queries, pa.table({"id": ids, "text": [f"text {i}" for i in ids]}), {"train": qrels})


def space_of(task, width=3):
    """A vector per label that depends on its id alone."""
    vectors = [np.random.default_rng(list(name.encode())).normal(size=width) for name in task.queries["id"].to_pylist()]
    return Space(np.array(vectors, np.float32), np.zeros((len(task.corpus), width), np.float32))


def drawn(part, task, space=None):
    """label -> list of (source, text), in the order of the draw; and what was found."""
    anchors = Anchors.of(task, "train")
    find = part.prepare(task, space)
    found = find(anchors)
    queries, corpus = task.queries["id"].to_pylist(), task.corpus["id"].to_pylist()
    out = {queries[q]: [] for q in anchors.query}
    for a, d, by in zip(found.anchor, found.document, found.finder, strict=True):
        out[queries[anchors.query[a]]].append((found.sources[by], corpus[d]))
    return out, found, find


def own_texts(labels, each=3):
    return {label: [f"{label}-{i}" for i in range(each)] for label in labels}


def tree_of(parents):
    names = list(parents)
    tree = Tree.of(names, parents.values())
    return lambda kind, label: {names[i] for i in getattr(tree, kind)(names.index(label))}


def test_siblings_of_the_toy_tree_and_the_fallback_with_its_reason():
    of = tree_of(TOY)
    assert of("siblings", "a1") == {"a2", "a3"} and of("siblings", "b1") == set() and of("siblings", "a") == {"b"}
    assert of("lineage", "a1") == {"a", "root"} and of("lineage", "a") == {"root", "a1", "a2", "a3"}
    rows, _, find = drawn(TaxonomyNegatives(hard_fraction=1.0, per_positive=1), world(TOY, own_texts(TOY)))
    assert {(source, text[:2]) for source, text in rows["a1"]} <= {("taxonomy:siblings", name) for name in ("a2", "a3")}
    assert {source for source, _ in rows["b1"]} == {"taxonomy:random: short of siblings"}
    assert find.notes == {"labels without siblings": 2, "draws replaced by random ones": 3}  # b1, root
    assert len(rows["root"]) == 0  # all others lie below it


def test_two_parents_give_siblings_of_both_and_lineage_never_appears():
    dag = {"top": [], "x": ["top"], "y": ["top"], "m": ["x", "y", "side"], "p": ["x"], "q": ["y"], "c": ["m", "x"]}
    of = tree_of(dag)
    assert of("siblings", "m") == {"p", "q", "c"} and of("lineage", "m") == {"top", "x", "y", "c"}
    part = TaxonomyNegatives(COMBINED, hard_fraction=0.5, per_positive=9, neighbours=9)
    task = world(dag, own_texts(dag, 2))
    rows, _, _ = drawn(part, task, space_of(task))
    for label in dag:
        assert {text.split("-")[0] for _, text in rows[label]} == set(dag) - {label} - of("lineage", label)
    task_rows, _, _ = drawn(TaxonomyNegatives(exclude_lineage=False, per_positive=99), task)
    assert {text.split("-")[0] for _, text in task_rows["m"]} == set(dag) - {"m"}


def test_a_label_above_itself_is_refused():
    with pytest.raises(BadInput, match="'a' above itself"):
        TaxonomyNegatives().prepare(world({"a": ["b"], "b": ["c"], "c": ["a"]}, own_texts("abc")))


def test_parents_may_be_lists():
    listed = pa.chunked_array([pa.array([["x", "y"], None, []])])
    assert parents_of(listed) == [["x", "y"], [], []]
    assert parents_of(pa.chunked_array([pa.array(["x | y", None, ""])])) == [["x", "y"], [], []]


@st.composite
def drawn_worlds(draw):
    n = draw(st.integers(2, 6))
    parents = {
        f"l{i}": [f"l{j}" for j in draw(st.sets(st.integers(0, i - 1), max_size=2))] if i else [] for i in range(n)
    }
    some = st.lists(st.sampled_from([f"t{i}" for i in range(8)]), max_size=6, unique=True)
    texts = {label: draw(some) for label in parents}
    texts["l0"] = texts["l0"] or ["t0"]
    return parents, texts


@given(drawn_worlds(), st.data())
def test_no_negative_is_a_positive_or_comes_twice_or_from_a_label_that_may_not_give_it(pair, data):
    parents, texts = pair
    task = world(parents, texts)
    chosen = data.draw(st.lists(st.sampled_from([*COMBINED, "random"]), min_size=1, max_size=4, unique=True))
    part = TaxonomyNegatives(
        chosen,
        hard_fraction=data.draw(st.sampled_from([0.0, 0.3, 1.0])),
        per_positive=data.draw(st.integers(1, 5)),
        neighbours=data.draw(st.integers(1, 3)),
        exclude_lineage=data.draw(st.booleans()),
        seed=data.draw(st.integers(0, 5)),
    )
    rows, found, find = drawn(part, task, space_of(task))
    of = tree_of(parents)
    short = 0
    for label, got in rows.items():
        barred = {label} | (of("lineage", label) if part.exclude_lineage else set())
        allowed = {other: set(texts[other]) - set(texts[label]) for other in parents if other not in barred}
        siblings = set().union(*(allowed.get(s, set()) for s in of("siblings", label)), set())
        reach = set().union(*allowed.values(), set())
        assert len({text for _, text in got}) == len(got)
        assert {text for _, text in got} <= reach
        assert {text for source, text in got if source == "taxonomy:siblings"} <= siblings
        wanted = part.per_positive * len(texts[label])
        assert len(got) == min(wanted, len(reach))
        short += len(got) < wanted
    assert found.short.get("taxonomy", 0) == short

    order = data.draw(st.permutations(range(len(parents)))), data.draw(st.permutations(range(len(task.corpus))))
    turned = world(parents, texts, order)
    assert drawn(part, turned, space_of(turned))[0] == rows
    anchors = Anchors.of(task, "train")
    apart = [find(anchors[:1]), find(anchors[1:])]
    assert np.concatenate([some.document for some in apart]).tolist() == found.document.tolist()


def test_names_near_in_spelling_and_in_meaning_are_found():
    names = {"l0": "Python", "l1": "pyton ", "l2": "java", "l3": "cooking"}
    parents = {name: [] for name in names}
    task = world(parents, own_texts(names, 5), names=names)
    near = TaxonomyNegatives(["levenshtein"], hard_fraction=1.0, per_positive=1, neighbours=1)
    rows, _, _ = drawn(near, task)
    assert {(source, text[:2]) for source, text in rows["l0"]} == {("taxonomy:levenshtein", "l1")}
    vectors = np.array([[1, 0], [0, 1], [1, 0.1], [0.1, 1]], np.float32)
    space = Space(vectors, np.zeros((20, 2), np.float32))
    rows, _, _ = drawn(TaxonomyNegatives(["cosine"], hard_fraction=1.0, per_positive=1, neighbours=1), task, space)
    assert {text[:2] for _, text in rows["l0"]} == {"l2"} and {text[:2] for _, text in rows["l1"]} == {"l3"}


def test_labels_are_drawn_evenly_whatever_the_number_of_their_texts():
    asking = [f"own{i}" for i in range(1000)]
    parents = {name: [f"p-{name}"] for name in asking}
    both = [parents[name][0] for name in asking]
    texts = own_texts(asking, 1) | own_texts(["many"], 1000) | own_texts(["few"], 10)
    rows, _, _ = drawn(
        TaxonomyNegatives(hard_fraction=1.0, per_positive=1), world(parents | {"many": both, "few": both}, texts)
    )
    counts = Counter(rows[name][0][1].split("-")[0] for name in asking)
    assert sum((counts[name] - 500) ** 2 / 500 for name in ("many", "few")) < 10.8  # chi-square, 1 df: p = 0.001


def test_texts_of_a_label_are_drawn_evenly_and_a_used_up_label_gives_way():
    offsets, items = np.array([0, 4, 6]), np.arange(6)
    firsts, lasts = Counter(), Counter()
    for stream in numbers(np.uint64(7), np.arange(4000)):
        taken, out = np.zeros(6, bool), np.empty(6, np.int64)
        taken[0] = True
        assert drawing.draw_texts(stream, np.array([0, 1]), offsets, items, taken, out) == 5
        assert sorted(out[:5]) == [1, 2, 3, 4, 5] and taken.all()
        firsts[out[0]] += 1
        lasts[out[4]] += 1
    expected = {1: 4000 / 6, 2: 4000 / 6, 3: 4000 / 6, 4: 1000, 5: 1000}
    assert sum((firsts[i] - n) ** 2 / n for i, n in expected.items()) < 18.5  # 4 df: p = 0.001
    by_hand = {4: 5 / 32, 5: 5 / 32}  # label 1 has the last text if 3 or 4 of the first 4 draws take label 0: 5 / 16
    assert all(abs(lasts[i] / 4000 - p) < 0.03 for i, p in by_hand.items())
    assert drawing._number(np.uint64(5), np.uint64(3)) == numbers(np.uint64(5), np.array([2]))[0]


@given(st.integers(0, 40), st.floats(0, 1, exclude_max=True))
def test_a_combined_of_three_is_five_random_and_two_two_one_in_turn(positives, phase):
    made = slots(positives, 10, [1 / 6, 1 / 6, 1 / 6, 0.5], phase)
    assert made.shape == (positives, 4) and (made[:, 3] == 5).all()
    assert (np.sort(made[:, :3], axis=1) == [1, 2, 2]).all()
    totals = made[:, :3].sum(axis=0)
    assert np.ptp(totals) <= max(positives, 0) and np.ptp(totals) <= 3  # the turns even out


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=4), st.integers(1, 12), st.floats(0, 1, exclude_max=True))
def test_slots_add_up_and_follow_the_shares(weights, per_positive, phase):
    shares = [w / sum(weights) for w in weights]
    made = slots(50, per_positive, shares, phase)
    exact = np.array(shares) * per_positive
    assert (made.sum(axis=1) == per_positive).all()
    assert (made >= np.floor(exact - 1e-8)).all() and (made <= np.ceil(exact + 1e-8)).all()
    assert (abs(made.mean(axis=0) - exact) < 0.1).all()


def test_the_counts_of_a_combined_draw_are_those_of_its_slots():
    parents = {f"l{i:02d}": ["p"] for i in range(20)}
    task = world(parents, own_texts(parents, 7))
    rows, found, _ = drawn(TaxonomyNegatives(COMBINED, neighbours=20), task, space_of(task))
    assert not found.short
    for got in rows.values():
        counts = Counter(source for source, _ in got)
        hard = [counts[f"taxonomy:{name}"] for name in COMBINED]
        assert counts["taxonomy:random"] == 35 and sum(hard) == 35 and max(hard) - min(hard) <= 3


@pytest.mark.parametrize("other", [TaxonomyNegatives(["random"]), TaxonomyNegatives(["random"], hard_fraction=1.0)])
def test_without_a_hard_fraction_it_is_the_random_baseline_draw_for_draw(other):
    task = world(TOY, own_texts(TOY, 5))
    one, found, _ = drawn(TaxonomyNegatives(COMBINED, hard_fraction=0.0), task)
    assert one == drawn(other, task)[0] and {source for rows in one.values() for source, _ in rows} == {
        "taxonomy:random"
    }
    seeded = drawn(TaxonomyNegatives(["random"], per_positive=1, seed=1), task)[0]
    assert seeded != drawn(TaxonomyNegatives(["random"], per_positive=1), task)[0]


@pytest.mark.parametrize(
    "bad",
    [
        {"strategies": []},
        {"strategies": ["siblings", "siblings"]},
        {"strategies": ["cousins"]},
        {"shares": [0.5, 0.5]},
        {"shares": [0.0]},
        {"shares": [float("nan")]},
        {"hard_fraction": 1.5},
        {"hard_fraction": float("nan")},
        {"per_positive": 0},
        {"neighbours": 0},
        {"column": ""},
    ],
)
def test_a_bad_setting_is_named(bad):
    with pytest.raises(ValueError, match=f"TaxonomyNegatives: {next(iter(bad))} must be"):
        TaxonomyNegatives(**bad)


def test_what_it_needs_is_named():
    task = world(TOY, own_texts(TOY))
    with pytest.raises(ValueError, match="cosine needs vectors of the names"):
        TaxonomyNegatives(["cosine"]).prepare(task)
    with pytest.raises(ValueError, match="column names 'broader'; the columns of toy/queries are id, text, taxonomy"):
        TaxonomyNegatives(column="broader").prepare(task)
    TaxonomyNegatives(["levenshtein"], column="broader", exclude_lineage=False).prepare(task)
