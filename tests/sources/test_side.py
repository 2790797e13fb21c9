"""One side of a pair stays, the other is drawn, and never a known positive."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.evidence import make
from litotes.sources.structured.side import SideNegatives


def positives(count, per=1):
    return make(
        [f"i{i}" for i in range(count) for _ in range(per)],
        [f"s{i}-{j}" for i in range(count) for j in range(per)],
        1,
        source="given",
    )


def negatives(table):
    return [row for row in table.to_pylist() if row["sign"] < 0]


@given(st.integers(2, 8), st.integers(1, 3), st.sampled_from(["candidate", "anchor"]), st.integers(0, 5))
def test_what_stays_stays_and_known_positives_are_not_drawn(count, per, side, seed):
    evidence = positives(count, per)
    known = set(zip(evidence["anchor"].to_pylist(), evidence["candidate"].to_pylist(), strict=True))
    made = negatives(SideNegatives(side, k=2, seed=seed)(evidence))
    assert made and all(row["found"][0]["source"] == f"side:{side}" for row in made)
    assert all((row["anchor"], row["candidate"]) not in known for row in made)
    # every positive pair has a row of the side that stays
    kept = {row["anchor" if side == "candidate" else "candidate"] for row in made}
    assert kept == {pair[0 if side == "candidate" else 1] for pair in known}


def test_the_mix_is_the_share_of_candidate_sides():
    made = negatives(SideNegatives("both", mix=0.3)(positives(4000)))
    share = sum(row["found"][0]["source"] == "side:candidate" for row in made) / len(made)
    assert share == pytest.approx(0.3, abs=0.02)


def test_draws_depend_on_seed_and_pair_alone():
    evidence = positives(50)
    one = SideNegatives(seed=1)(evidence)
    again = SideNegatives(seed=1)(evidence.take(list(reversed(range(50)))))
    key = lambda table: sorted((r["anchor"], r["candidate"], r["found"][0]["source"]) for r in negatives(table))
    assert key(one) == key(again) != key(SideNegatives(seed=2)(evidence))


def test_draws_are_even():
    made = negatives(SideNegatives("candidate", k=40)(positives(12)))
    pairs = {(row["anchor"], row["candidate"]) for row in made}
    assert len(pairs) > 0.95 * 12 * 11  # 40 draws of 11: nearly all are seen


def test_a_pair_without_another_partner_gets_none():
    assert negatives(SideNegatives()(positives(1))) == []


@pytest.mark.parametrize("bad", [{"side": "left"}, {"mix": 1.5}, {"k": 0}])
def test_arguments_are_checked(bad):
    with pytest.raises(ValueError, match=f"SideNegatives: {next(iter(bad))} must be"):
        SideNegatives(**bad)
