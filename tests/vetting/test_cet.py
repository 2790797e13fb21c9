import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from litotes.evidence import check, doubt_entries, empty, undoubt
from litotes.vetting.cet import Cet, cet_weight

logits = st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=8).map(torch.tensor)


def weight(x, *arguments, **options):
    return cet_weight(torch.tensor([float(x)]), *arguments, **options).item()


def test_the_values_of_the_card():
    assert weight(0) == 2 and weight(-1e4) == 1
    assert weight(10) == pytest.approx(1 + math.e, abs=1e-6)
    assert weight(5, 2.0) == pytest.approx(1 + math.exp(2.5))
    assert cet_weight(torch.tensor([-3.0, 0.0, 70.0]), 1e30).tolist() == [2.0, 2.0, 2.0]


@given(logits, st.floats(0.5, 20))
def test_it_is_the_inverse_of_not_being_selected_rises_and_is_never_below_one(x, temperature):
    made = cet_weight(x.double(), temperature)
    torch.testing.assert_close(made, 1 / torch.sigmoid(-x.double() / temperature))  # 1 - sigmoid(x), not cancelled
    assert (made >= 1).all() and (made[x.argsort()].diff() >= 0).all()
    capped = cet_weight(x.double(), temperature, max_weight=3.0)
    torch.testing.assert_close(capped, made.clamp(max=3.0))
    even = cet_weight(x.double(), temperature, normalize="mean")
    torch.testing.assert_close(even, made / made.mean())


def test_it_is_detached_and_float32_at_least():
    x = torch.zeros(2, dtype=torch.bfloat16, requires_grad=True)
    assert not cet_weight(x).requires_grad and cet_weight(x).dtype == torch.float32
    assert cet_weight(x.double()).dtype == torch.float64 and cet_weight(torch.zeros(0), normalize="mean").shape == (0,)


def test_an_infinite_weight_is_capped_or_refused():
    assert weight(1e4, max_weight=100) == 100
    with pytest.raises(ValueError, match="cet_weight: a weight is not finite; give max_weight"):
        weight(1e4)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"debias_temperature": 0.0}, "debias_temperature must be > 0, got 0.0"),
        ({"debias_temperature": math.nan}, "debias_temperature must be > 0"),
        ({"max_weight": 0.5}, "max_weight must be >= 1 or None, got 0.5"),
        ({"max_weight": math.nan}, "max_weight"),
    ],
)
def test_gates_of_both(arguments, message):
    with pytest.raises(ValueError, match=f"cet_weight: {message}"):
        cet_weight(torch.zeros(1), **arguments)
    with pytest.raises(ValueError, match=f"Cet: {message}"):
        Cet("model", **arguments)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((" ",), "selection must be"),
        (("m", math.inf), "debias_temperature must be finite"),
        (("m", 1.0, None, math.nan), "top"),
    ],
)
def test_gates_of_the_vetter(arguments, message):
    with pytest.raises(ValueError, match=f"Cet: {message}"):
        Cet(*arguments)
    with pytest.raises(ValueError, match="normalize must be 'none' or 'mean'"):
        cet_weight(torch.zeros(1), normalize="sum")


def by_place(pairs):
    """A selection model: some logit for each pair of rows."""
    return (np.sin(pairs[:, 0] * 7.0 + pairs[:, 1]) * 20).astype(np.float32)


parts = st.builds(
    Cet,
    st.just("m"),
    st.sampled_from([1.0, 10.0]),
    st.sampled_from([None, 1.0, 5.0, 100.0]),
    st.sampled_from([None, 12.5]),
)


@given(part=parts)
def test_belief_is_the_weight_divided_by_the_largest(part, collection, evidence):
    made = part.applied(evidence, collection, by_place)
    check(made)
    rows = evidence.to_pylist()
    query, document = (collection.query_rows(evidence["anchor"]), collection.document_rows(evidence["candidate"]))
    asked = [i for i, row in enumerate(rows) if row["sign"] == -1 and row["grade"] is None]
    logit = torch.from_numpy(by_place(np.stack([query, document], axis=1))).double()
    cap = torch.inf if part.max_weight is None else part.max_weight
    w = (1 + (logit / part.debias_temperature).exp()).clamp(max=cap)
    top = w[asked].max() if part.top is None else min(1 + math.exp(part.top / part.debias_temperature), cap)
    expected = np.array([row["weight"] for row in rows])
    for i in asked:
        expected[i] = min(rows[i]["weight"], (w[i] / top).item(), 1.0)
    np.testing.assert_allclose(made["weight"].to_numpy(), expected, rtol=1e-5)
    ours = [e for e in doubt_entries(made).to_pylist() if e["part"] == str(part)]
    assert [e["row"] for e in ours] == [i for i in asked if np.float32(min(w[i] / top, 1.0)) < 1]
    for entry in ours:
        assert entry["seen"] == logit[entry["row"]].item()
        assert entry["line"] == pytest.approx(logit[asked].max().item() if part.top is None else part.top)


@given(part=parts, random=st.randoms(use_true_random=False), cut=st.integers(0, 118))
def test_it_is_a_vetter_like_others(part, random, cut, collection, evidence):
    made = part.applied(evidence, collection, by_place)
    held = [name for name in evidence.column_names if name not in ("weight", "doubts")]
    assert made.select(held).equals(evidence.select(held))
    assert part.applied(made, collection, by_place).equals(made) and undoubt(made, str(part)).equals(evidence)
    order = pa.array(random.sample(range(len(evidence)), len(evidence)))
    chunked = pa.concat_tables([evidence.take(order).slice(0, cut), evidence.take(order).slice(cut)])
    assert part.applied(chunked, collection, by_place).equals(made.take(order))
    assert part.applied(empty(), collection, by_place).equals(empty())


def test_with_top_tables_may_come_one_by_one(collection, evidence):
    part = Cet("m", top=20.0)
    whole = part.applied(evidence, collection, by_place)
    pieces = [part.applied(evidence.slice(start, 40), collection, by_place) for start in range(0, len(evidence), 40)]
    assert pa.concat_tables(pieces).equals(whole)


def test_the_model_gives_raw_logits_and_each_pair_is_asked_once(cross_encoder, collection, evidence):
    from sentence_transformers import CrossEncoder as Model

    part = Cet(cross_encoder, 1.0)
    made = part(evidence, collection)
    ours = [e for e in doubt_entries(made).to_pylist() if e["part"] == str(part)]
    model, texts, asked = Model(cross_encoder), collection.document_texts(), collection.query_texts()
    query, document = (collection.query_rows(evidence["anchor"]), collection.document_rows(evidence["candidate"]))
    with torch.no_grad():
        features = model.preprocess([(asked[query[e["row"]]], texts[document[e["row"]]]) for e in ours])
        raw = model(features)["scores"][:, 0]
    np.testing.assert_allclose([e["seen"] for e in ours], raw.numpy(), atol=1e-5)
    assert (raw < 0).any() and len(ours) > 50


def test_what_cannot_be_asked_is_refused(two_headed, collection, evidence):
    with pytest.raises(ValueError, match="Cet: selection must have one output, got 2"):
        Cet(two_headed)(evidence, collection)
    with pytest.raises(ValueError, match="Cet: .*needs the collection"):
        Cet("m")(evidence)
    with pytest.raises(ValueError, match="Cet: the selection model gave a logit that is not finite"):
        Cet("m").applied(evidence, collection, lambda pairs: np.full(len(pairs), np.nan))


def test_it_reads_back_from_its_spelling():
    from litotes.spelling import parse

    part = Cet("a b", 2.0, None, 1.5)
    assert Cet(**parse(str(part)).arguments) == part == replace(part)
