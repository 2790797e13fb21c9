"""Do the estimates cover what they estimate?"""

import numpy as np
import pytest

from litotes.audit.negatives.share import LEAST_QUERIES, grouped_ratio, hidden_share


def world(share, queries, seed, hard=0.0, each=5):
    """Positives N(4, 1); negatives of which `share` are positives too, the others N(hard, 1). Queries shift none."""
    random = np.random.default_rng(seed)
    group = np.repeat(np.arange(queries), each)
    false = random.random(len(group)) < share
    scores = np.where(false, random.normal(4, 1, len(group)), random.normal(hard, 1, len(group)))
    return np.arange(queries), random.normal(4, 1, queries), group, scores


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.05, 0.2])
def test_the_interval_covers_the_share_where_true_negatives_stay_below(share):
    covered = 0
    for seed in range(200):
        made = hidden_share(*world(share, 300, seed), seed=seed)
        covered += made.low <= share <= made.high
    assert covered >= 180


@pytest.mark.parametrize("hard", [1.0, 2.5])
def test_it_is_an_upper_estimate_where_true_negatives_are_hard(hard):
    for seed in range(5):
        made = hidden_share(*world(0.1, 2000, seed, hard=hard))
        assert made.high >= 0.1 and made.low <= made.value <= made.high <= 1
    easy = hidden_share(*world(0.1, 2000, 0))
    assert hidden_share(*world(0.1, 2000, 0, hard=3.0)).value > easy.value == pytest.approx(0.1, abs=0.02)


def test_negatives_that_score_like_positives_may_all_be_false_and_no_one_is_nobody():
    assert hidden_share(*world(1.0, 500, 0)).high > 0.95
    none = hidden_share(*world(0.0, 500, 0))
    assert none.value < 0.005 and 0.0 < none.high < 0.02  # seeing none is not knowing that there is none


def test_few_queries_give_no_estimate_and_the_seed_fixes_it():
    positives, scores, group, negatives = world(0.1, LEAST_QUERIES - 1, 0)
    assert hidden_share(positives, scores, group, negatives) is None
    given = world(0.1, LEAST_QUERIES, 0)
    assert hidden_share(*given) == hidden_share(*given)


def test_the_names_of_queries_and_their_order_do_not_move_the_value():
    positives, scores, group, negatives = world(0.2, 5000, 1)
    turn = np.random.default_rng(0).permutation(len(group))
    one = hidden_share(positives, scores, group, negatives)
    other = hidden_share(positives, scores, group[turn], negatives[turn])
    assert one == other


def test_a_ratio_counts_groups_not_items():
    group = np.repeat(np.arange(50), 20)
    over = np.repeat(np.arange(50) % 2, 20).astype(float)  # all or nothing in a group
    wide = grouped_ratio(group, over, np.ones(1000))
    narrow = grouped_ratio(np.arange(1000), over, np.ones(1000))
    assert wide.value == narrow.value == 0.5
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)
    nothing = grouped_ratio(group, np.zeros(1000), np.ones(1000))
    assert nothing.value == nothing.low == 0 and nothing.high == pytest.approx(3.689 / 1000, rel=1e-3)
    assert grouped_ratio(group, np.ones(1000), np.full(1000, 0.5)).value == 1.0
