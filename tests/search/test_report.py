"""What searches say of themselves adds up, over blocks and over shards."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.search.exact import top_k
from litotes.search.report import Reports, SearchReport
from litotes.search.sharded import ShardedSpace
from litotes.search.space import Space

NOISE = np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32)
counts = st.integers(0, 50)
reports = st.builds(
    lambda queries, share, finer, survivors, engine: SearchReport(
        queries, queries * share // 4, finer, sum(survivors) / max(queries, 1), max(survivors, default=0), *engine
    ),
    counts,
    st.integers(0, 4),
    counts,
    st.lists(counts, max_size=5),
    st.sampled_from([("compiled", "bfloat16"), ("torch", "float32"), ("definition", "float64")]),
)


@given(st.lists(reports, min_size=1, max_size=5))
def test_all_reports_as_one_count_what_each_counts(parts):
    whole = Reports()
    for part in parts:
        whole(part)
    made = whole.joined
    for name in ("queries", "at_once", "finer"):
        assert getattr(made, name) == sum(getattr(part, name) for part in parts)
    assert made.survivors_max == max(part.survivors_max for part in parts)
    survivors = sum(part.survivors_mean * part.queries for part in parts)
    assert made.survivors_mean * made.queries == pytest.approx(survivors)
    assert made.engine.split("+") == sorted({part.engine for part in parts})
    assert made.precision.split("+") == sorted({part.precision for part in parts})
    assert parts[0].joined(parts[-1]).joined(parts[0]).engine == parts[-1].joined(parts[0]).engine


def test_before_the_first_search_there_is_nothing_to_say():
    assert Reports().joined is None


def test_it_reads_as_one_line():
    line = str(SearchReport(3000, 2990, 4, 131.25, 402, "compiled", "bfloat16"))
    assert line == (
        "3,000 queries certified, 2,990 at once, 4 at finer precision; 131.2 survivors a query, at most 402; "
        "compiled, bfloat16"
    )


def test_a_space_passes_on_what_its_search_says_and_shards_say_it_one_by_one():
    rows, one, of_space, of_shards = np.arange(40), Reports(), Reports(), Reports()
    top_k(NOISE[:40], NOISE, 5, report=one)
    Space(NOISE[:40], NOISE).top_k(rows, 5, report=of_space)
    assert of_space.joined == one.joined
    shards, each = [NOISE[:100], NOISE[100:]], Reports()
    ShardedSpace(NOISE[:40], shards).top_k(rows, 5, report=of_shards)
    for shard in shards:
        top_k(NOISE[:40], shard, 5, report=each)
    assert of_shards.joined == each.joined and of_shards.joined.queries == 80
