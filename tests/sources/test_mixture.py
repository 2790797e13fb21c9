from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.data.anchors import Anchors
from litotes.data.collection import Collection, judgements_table
from litotes.sources.found import Found
from litotes.sources.mined.dense import Mined
from litotes.sources.mixture import Mixture
from litotes.sources.random import Random


@dataclass(frozen=True)
class Says:
    """A source that ranks these documents for every anchor."""

    documents: tuple[int, ...]

    def prepare(self, collection, space):
        def find(anchors):
            rows = np.arange(len(anchors), dtype=np.int32).repeat(len(self.documents))
            items = np.tile(np.array(self.documents, np.int32), len(anchors))
            ranks = np.tile(np.arange(len(self.documents), dtype=np.int32), len(anchors))
            return Found(self.name, rows, items, ranks, ranks.astype(np.float32))

        return find


@dataclass(frozen=True)
class First(Says):
    name: ClassVar[str] = "first"


@dataclass(frozen=True)
class Second(Says):
    name: ClassVar[str] = "second"


texts = pa.table({"id": [f"d{i:02d}" for i in range(12)], "text": [f"text {i}" for i in range(12)]})
queries = pa.table({"id": ["p", "q"], "text": ["p", "q"]})
collection = Collection("c", queries, texts, {"train": judgements_table(["p", "q"], ["d11", "d11"], [1.0, 1.0])})
anchors = Anchors.of(collection, "train")


def slowly(first, second, quotas, depth):
    """The documented order, one document at a time: chosen documents, and who fell short of the quota."""
    chosen, short = [], set()
    for name, documents, quota in (("first", first, quotas[0]), ("second", second, quotas[1])):
        mine = [d for d in documents if d not in chosen][:quota]
        chosen += mine
        short |= {name} if len(mine) < quota else set()
    for documents in (first, second):
        chosen += [d for d in documents if d not in chosen][: depth - len(chosen)]
    return set(chosen), short | ({"mixture"} if len(chosen) < depth else set())


ranked = st.lists(st.integers(0, 10), unique=True, max_size=8).map(tuple)


@given(ranked, ranked, st.integers(1, 9), st.sampled_from([0.1, 0.25, 0.5, 0.9]))
def test_it_is_its_definition_and_all_finders_stay(first, second, depth, share):
    mixture = Mixture([First(first), Second(second)], [share, 1 - share], depth)
    assert sum(mixture.quotas) == depth and abs(mixture.quotas[0] - depth * share) <= 0.5
    found = mixture.prepare(collection, None)(anchors)
    chosen, short = slowly(first, second, mixture.quotas, depth)
    assert found.short == dict.fromkeys(short, 2)
    for anchor in range(2):
        here = found.anchor == anchor
        said = {(found.sources[by], int(d)) for by, d in zip(found.finder[here], found.document[here], strict=True)}
        whole = {("first", d) for d in first} | {("second", d) for d in second}
        assert said == {(name, d) for name, d in whole if d in chosen}


@pytest.mark.parametrize("depth, quotas", [(10, [5, 3, 2]), (3, [1, 1, 1]), (1, [1, 0, 0])])
def test_quotas_are_rounded_by_the_largest_rest(depth, quotas):
    assert Mixture([Mined(), First((1,)), Random()], [0.5, 0.3, 0.2], depth).quotas == quotas


@pytest.mark.parametrize(
    "parts, shares, depth, word",
    [
        ([Mined()], [1.0], 5, "parts"),
        ([Mined(), Mined(5)], [0.5, 0.5], 5, "parts"),
        ([Mined(), Random()], [0.5], 5, "shares"),
        ([Mined(), Random()], [1.5, -0.5], 5, "shares"),
        ([Mined(), Random()], [0.5, 0.4], 5, "shares"),
        ([Mined(), Random()], [float("nan"), 0.5], 5, "shares"),
        ([Mined(), Random()], [0.5, 0.5], 0, "depth"),
    ],
)
def test_bad_mixtures_are_refused(parts, shares, depth, word):
    with pytest.raises(ValueError, match=f"Mixture: {word} must"):
        Mixture(parts, shares, depth)


def test_findings_of_one_name_join_into_one_finder():
    two = Found.joined(
        [First((3, 4)).prepare(collection, None)(anchors), First((4, 5)).prepare(collection, None)(anchors)]
    )
    assert two.sources == ("first",) and two.document.tolist() == [3, 4, 3, 4, 5, 5]
    assert two.rank[two.document == 4].tolist() == [1, 1]


def test_columns_of_findings_must_fit():
    one = np.zeros(1, np.int32)
    with pytest.raises(ValueError, match="one length"):
        Found("x", one, one, one, np.zeros(2, np.float32))
    with pytest.raises(ValueError, match="by must say"):
        Found(("x", "y"), one, one, one, np.zeros(1, np.float32))
