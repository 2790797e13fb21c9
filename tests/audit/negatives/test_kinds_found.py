"""Each kind, on rows whose defects can be seen with the bare eye."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.audit.negatives import KINDS, Settings
from litotes.data.anchors import normalise

LONG = "a thin plate in a supersonic flow of air at a small angle of attack, heated from below"
FLAME = " by a flame of burning gas in a narrow tunnel"


def test_copies_of_the_query_and_of_positives_are_told_apart(jsonl, audited, places):
    rows = [
        {"query": "Why fly?", "pos": ["Because of lift."], "neg": [" why  FLY?", "because OF lift.", "drag"]},
        {"query": "why fly?", "pos": ["Wings."], "neg": ["Because of lift.", "wings.", "drag"]},
        {"query": LONG, "pos": [LONG + FLAME], "neg": [LONG + ".", "so " + LONG + FLAME, "drag"]},
    ]
    found = audited(jsonl(rows))
    assert places(found, "query") == {(0, "neg[0]")}
    assert places(found, "positive") == {(0, "neg[1]"), (1, "neg[1]")}
    assert places(found, "positive-elsewhere") == {(1, "neg[0]")}
    assert places(found, "near-query") == {(2, "neg[0]")} and places(found, "near-positive") == {(2, "neg[1]")}
    assert found.certain == 3 and found.negatives == 9 and found.hidden is None
    assert sum(found.found[name] for name in ("repeated", "everywhere", "short")) == 0


def test_a_positive_of_another_row_counts_near_too(jsonl, audited, places):
    rows = [
        {"query": "q", "pos": [LONG], "neg": ["x"]},
        {"query": "q", "pos": ["y"], "neg": [LONG + "s"]},
        {"query": "r", "pos": ["y"], "neg": [LONG + "s"]},
    ]
    assert places(audited(jsonl(rows)), "near-positive") == {(1, "neg[0]")}


@pytest.mark.parametrize("near, hit", [(0.99, False), (0.5, True)])
def test_the_line_of_nearness_moves(jsonl, audited, near, hit):
    found = audited(jsonl([{"query": "q", "pos": [LONG], "neg": [LONG + " and more"]}]), near=near)
    assert bool(found.found["near-positive"]) == hit


def test_a_negative_twice_in_a_row_is_found_once_and_makes_the_row_short(jsonl, audited, places):
    rows = [{"query": f"q{i}", "pos": ["p"], "neg": ["a", "b", "c"]} for i in range(3)]
    rows[1]["neg"] = ["a", " A", "b"]
    rows[2]["neg"] = ["a"]
    found = audited(jsonl(rows), everywhere=1.0)
    assert places(found, "repeated") == {(1, "neg[1]")}
    assert found.wanted == 3 and places(found, "short") == {(1, ""), (2, "")}
    assert places(audited(jsonl(rows), wanted=1), "short") == set()
    assert places(audited(jsonl(rows), wanted=4), "short") == {(0, ""), (1, ""), (2, "")}


def test_triplets_of_one_query_repeat_only_where_the_positive_is_the_same(jsonl, audited, places):
    rows = [("q", "p", "n"), ("q", "o", "n"), ("q", "p", "n"), ("q", "p", "m")]
    path = jsonl([dict(zip(("anchor", "positive", "negative"), row, strict=True)) for row in rows])
    found = audited(path)
    assert found.format == "triplets" and places(found, "repeated") == {(2, "negative")}
    assert found.facts["queries"] == 1 and found.found["short"] == 0


def test_one_text_that_serves_too_many_queries(jsonl, audited, places):
    rows = [{"query": f"q{i}", "pos": [f"p{i}"], "neg": [f"n{i}", f"m{i}"]} for i in range(100)]
    for i in range(0, 44, 2):
        rows[i]["neg"][i % 2] = "Everywhere" if i % 4 else "everywhere "
    assert places(audited(jsonl(rows)), "everywhere") == {(i, "neg[0]") for i in range(0, 44, 2)}
    assert not audited(jsonl(rows), everywhere=0.23).found["everywhere"]
    assert audited(jsonl(rows), everywhere=0.22).found["everywhere"] == 22


def test_a_small_pool_is_no_fault_and_neither_are_few_queries(jsonl, audited):
    rows = [{"query": f"q{i}", "pos": ["p"], "neg": [f"n{(i + j) % 8}" for j in range(4)]} for i in range(80)]
    assert not audited(jsonl(rows)).found["everywhere"]  # each text serves half of all queries
    rows = [{"query": f"q{i}", "pos": [f"p{i}"], "neg": ["n"]} for i in range(9)]
    assert not audited(jsonl(rows)).found["everywhere"]


def test_queries_and_answers_of_the_test_set(jsonl, audited, places, encoder):
    rows = [{"query": f"w{i} {LONG}", "pos": [f"w{i}"], "neg": [f"w{i + 20}"]} for i in range(6)]
    asked = [" W0 " + LONG, "w1 " + LONG + "s", "w59"]
    test = jsonl([{"query": q, "pos": ["w22", "w3"], "neg": []} for q in asked], "test.jsonl")
    without = audited(jsonl(rows), test=test)
    assert places(without, "test-query") == {(0, "")} and places(without, "test-text") == {(2, "neg[0]")}
    assert (without.leak.queries, without.leak.equal, without.leak.near) == (3, 1, 0) and not without.leak.nearly
    assert (without.leak.answers, without.leak.as_positives, without.leak.as_negatives) == (2, 1, 1)
    found = audited(jsonl(rows), test=test, encoder=encoder)
    assert (found.leak.equal, found.leak.near) == (1, 1) and found.leak.nearly
    assert {(0, ""), (1, "")} <= places(found, "test-query")  # the rows differ in one word, so others are near too


def circle(step):
    """Queries all around a circle of 240 words, their positives 10 words on, a negative `step` words on."""
    return [
        {"query": f"w{i}", "pos": [f"w{(i + 10) % 240}"], "neg": [f"w{(i + step) % 240}"]} for i in range(0, 240, 2)
    ]


def test_suspects_stand_above_the_line_and_as_high_as_a_typical_positive(jsonl, audited, places, encoder):
    rows = circle(40)
    rows[5]["neg"] = ["w11"]  # nearer than its positive
    rows[6]["pos"], rows[6]["neg"] = ["w132"], ["w42"]  # nearer than its positive, yet far from the query
    found = audited(jsonl(rows), encoder=encoder)
    assert places(found, "suspect") == {(5, "neg[0]")}
    assert places(audited(jsonl(rows), encoder=encoder, typical=0.0), "suspect") == {(5, "neg[0]"), (6, "neg[0]")}
    judge, vetter = found.judge
    assert vetter == "relative_margin(margin=0.05, reference=min)" and found.scores is not None
    assert found.hidden is not None and "standard deviations above 121 texts" in found.hidden.rests_on


def test_the_vetter_that_is_given_decides(jsonl, audited, encoder):
    from litotes.vetting.score_window import ScoreWindow

    every = audited(jsonl(circle(40)), encoder=encoder, vetter=ScoreWindow(high=-0.9), typical=0.0)
    assert every.found["suspect"] == every.negatives and every.judge[1].startswith("score_window(")


def test_filler_is_what_random_texts_reach_as_often(jsonl, audited, places, encoder):
    rows = circle(20)  # a sixth of the circle is nearer
    rows[3]["neg"] = ["w107"]  # nine in ten texts are nearer
    found = audited(jsonl(rows), encoder=encoder, alpha=0.3)
    assert places(found, "filler") == {(3, "neg[0]")} and found.filler.value == pytest.approx(2 / 120)
    assert sum(count for _, count in found.steps) == found.negatives
    assert audited(jsonl(rows), encoder=encoder, alpha=0.1).found["filler"] == 120
    few = audited(jsonl(rows[:10]), encoder=encoder)
    assert "filler" not in few.found and any("Too few texts" in note for note in few.notes)


class Reader:
    """A cross-encoder in two lines: texts with one first word belong together."""

    num_labels = 1

    def predict(self, pairs, show_progress_bar=False):
        return np.array([float(q.split()[0] == d.split()[0]) for q, d in pairs], np.float32)


def test_a_cross_encoder_judges_without_an_encoder(jsonl, audited, places):
    rows = [{"query": f"w{i} is", "pos": [f"w{i} yes"], "neg": [f"w{i + 1} no", f"w{i + 2} no"]} for i in range(40)]
    rows[7]["neg"][1] = "w7 too"
    found = audited(jsonl(rows), cross_encoder=Reader())
    assert found.judge == ("Reader", "absolute_margin(margin=0.0, reference=min)")
    assert places(found, "suspect") == set()  # no more than its positive: equality keeps
    from litotes.vetting.absolute_margin import AbsoluteMargin

    found = audited(jsonl(rows), cross_encoder=Reader(), vetter=AbsoluteMargin(margin=0.5))
    assert places(found, "suspect") == {(7, "neg[1]")} and "filler" not in found.found
    assert found.hidden is not None and found.hidden.low <= 1 / 80 <= found.hidden.high
    Reader.num_labels = 2
    try:
        with pytest.raises(ValueError, match="one output, got 2"):
            audited(jsonl(rows), cross_encoder=Reader())
    finally:
        Reader.num_labels = 1


words = st.sampled_from(["a", "A ", "b", "c", "d e", "D  E", "q", "Q"])
row = st.fixed_dictionaries(
    {
        "query": st.sampled_from(["q", "r"]),
        "pos": st.lists(words, min_size=1, max_size=2),
        "neg": st.lists(words, max_size=4),
    }
)


@given(st.lists(row, min_size=1, max_size=6))
def test_equal_texts_are_found_as_a_slow_reader_would(tmp_path_factory, rows):
    import json

    from litotes.audit.negatives import audit_negatives

    path = tmp_path_factory.mktemp("slow") / "set.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    found = audit_negatives(path, format="flagembedding", settings=Settings(near=1.0, wanted=2))
    expected = {name: set() for name in ("query", "positive", "positive-elsewhere", "repeated", "short")}
    for i, one in enumerate(rows):
        mine = {normalise(text) for text in one["pos"]}
        every = {
            normalise(t) for other in rows if normalise(other["query"]) == normalise(one["query"]) for t in other["pos"]
        }
        before = set()
        for j, text in enumerate(map(normalise, one["neg"])):
            place = (i, f"neg[{j}]")
            kind = "query" if text == normalise(one["query"]) else "positive" if text in mine else "positive-elsewhere"
            if kind != "positive-elsewhere" or text in every:
                expected[kind].add(place)
            if text in before:
                expected["repeated"].add(place)
            before.add(text)
        if len(before) < 2:
            expected["short"].add((i, ""))
    for name, places in expected.items():
        assert set(found.places[name].pairs()) == places, name


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"near": 0.0}, r"near must be in \(0, 1\], got 0.0"),
        ({"everywhere": 1.1}, r"everywhere must be in \(0, 1\], got 1.1"),
        ({"alpha": float("nan")}, r"alpha must be in \(0, 1\), got nan"),
        ({"typical": 1.0}, r"typical must be in \[0, 1\), got 1.0"),
        ({"wanted": 0}, "wanted must be >= 1 or None, got 0"),
        ({"leave": ("suspects",)}, "leave must be among query, .*got 'suspects'"),
        ({"seed": -1}, "seed must be >= 0, got -1"),
    ],
)
def test_a_setting_out_of_range_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        Settings(**wrong)


def test_every_kind_has_a_name_that_says_it():
    assert [kind.name for kind in KINDS.values()] == list(KINDS) and all(
        kind.meaning.endswith(".") for kind in KINDS.values()
    )
