"""What every vetter at disk scale promises, asked of all of them."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.evidence import check, doubt_entries, empty, undoubt
from litotes.spelling import parse
from litotes.vetting.absolute_margin import AbsoluteMargin
from litotes.vetting.cross_encoder import CrossEncoder
from litotes.vetting.guide import Guide
from litotes.vetting.near_duplicate import NearDuplicate
from litotes.vetting.peer_line import PeerLine
from litotes.vetting.relative_margin import RelativeMargin
from litotes.vetting.same_group import SameGroup
from litotes.vetting.same_text import SameText
from litotes.vetting.score_window import ScoreWindow

NAMES = ["relative", "absolute", "window", "guide", "cross", "near", "text", "group", "peer sum", "peer factor"]


@pytest.fixture(scope="session")
def vetters(bi_encoder, cross_encoder, collection):
    """Name -> a vetter; the two with models are prepared once, which every table of the same collection may share."""
    parts = [
        RelativeMargin(0.1),
        AbsoluteMargin(0.1, "mean"),
        ScoreWindow(-0.5, 0.5),
        Guide(bi_encoder),
        CrossEncoder(cross_encoder, 0.01),
        NearDuplicate(0.5, shingle=3),
        SameText(),
        SameGroup(),
        PeerLine("sum", 0.1),
        PeerLine("factor", 0.9),
    ]
    ready = [p.prepare(collection) if hasattr(p, "prepare") else (lambda t, p=p: p(t, collection)) for p in parts]
    return {name: (part, vet) for name, part, vet in zip(NAMES, parts, ready, strict=True)}


@pytest.fixture(scope="session")
def vet(vetters):
    """Name, table -> vetted table."""
    return lambda name, table: vetters[name][1](table)


@pytest.mark.parametrize("name", NAMES)
def test_it_doubts_something_and_changes_nothing_but_belief(name, vet, evidence):
    made = vet(name, evidence)
    check(made)
    held = [column for column in evidence.column_names if column not in ("weight", "doubts")]
    assert made.select(held).equals(evidence.select(held)) and made.schema.metadata == evidence.schema.metadata
    before, after = evidence["weight"].to_numpy(), made["weight"].to_numpy()
    assert (after <= before).all() and (after < before).any()
    touched = np.flatnonzero(after < before)
    assert (evidence["sign"].to_numpy()[touched] == -1).all()
    assert evidence["grade"].take(pa.array(touched)).null_count == len(touched)


@pytest.mark.parametrize("name", NAMES)
def test_asking_twice_changes_nothing_and_a_doubt_can_be_taken_back(name, vet, vetters, evidence):
    made = vet(name, evidence)
    assert vet(name, made).equals(made)
    assert undoubt(made, str(vetters[name][0])).equals(evidence)


@pytest.mark.parametrize("name", NAMES)
def test_the_spelling_names_every_argument(name, vetters, vet, evidence):
    part = vetters[name][0]
    spelled = parse(str(part))
    assert type(part)(**spelled.arguments) == part
    assert set(doubt_entries(vet(name, evidence))["part"].to_pylist()) == {"zeal", str(part)}


@pytest.mark.parametrize("name", [name for name in NAMES if name != "cross"])
@given(random=st.randoms(use_true_random=False), cut=st.integers(0, 118))
def test_the_order_and_the_chunks_of_rows_do_not_matter(name, random, cut, vet, evidence):
    order = pa.array(random.sample(range(len(evidence)), len(evidence)))
    chunked = pa.concat_tables([evidence.take(order).slice(0, cut), evidence.take(order).slice(cut)])
    assert vet(name, chunked).equals(vet(name, evidence).take(order))


def test_the_order_of_rows_does_not_matter_to_a_cross_encoder(vet, evidence):
    order = pa.array(np.random.default_rng(2).permutation(len(evidence)))
    assert vet("cross", evidence.take(order)).equals(vet("cross", evidence).take(order))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "cross"])
def test_whole_anchors_may_come_in_any_tables(name, vet, evidence):
    anchor = np.array(evidence["anchor"].to_pylist())
    masks = [pa.array(np.isin(anchor, some)) for some in (["q0", "q3"], ["q1", "q2", "q4", "q5"])]
    for mask in masks:
        assert vet(name, evidence.filter(mask)).equals(vet(name, evidence).filter(mask))


def test_the_order_of_vetters_does_not_matter(vet, evidence):
    one = other = evidence
    for name in NAMES:
        one = vet(name, one)
    for name in np.random.default_rng(3).permutation(NAMES):
        other = vet(name, other)
    assert one.equals(other)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_comes_of_nothing(name, vet):
    assert vet(name, empty()).equals(empty())


@pytest.mark.parametrize("name", ["guide", "cross", "near", "text", "group"])
def test_texts_and_columns_need_a_collection(name, vetters, evidence):
    part = vetters[name][0]
    with pytest.raises(ValueError, match=rf"{type(part).__name__}: .*needs the collection"):
        part(evidence)


@pytest.mark.parametrize("name", ["relative", "absolute", "peer sum"])
def test_a_positive_without_a_score_is_refused(name, vet, evidence):
    bare = evidence.set_column(6, "score", pa.nulls(len(evidence), pa.float32()))
    with pytest.raises(ValueError, match="score"):
        vet(name, bare.cast(evidence.schema))
