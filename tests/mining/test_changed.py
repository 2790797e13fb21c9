"""A changed input: the update of old evidence is, byte for byte, what mining the new state from scratch gives."""

import hashlib
import shutil
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.atomic import write_json
from litotes.data.collection import Collection, judgements_table
from litotes.evidence import Evidence, make, scorer_of
from litotes.mining import mine, vet
from litotes.search.sharded import ShardedSpace, cut
from litotes.search.space import Space
from litotes.sources.mined.dense import Mined
from litotes.sources.random import Random
from litotes.vetting.relative_margin import RelativeMargin
from litotes.vetting.same_text import SameText

words = st.sampled_from(["red", "green", "blue", "Red", "sea", "sky"])
vectors = st.tuples(*[st.sampled_from([-1.0, 0.0, 1.0])] * 3)  # few values: many ties
entries = st.tuples(words, vectors)


@dataclass(frozen=True)
class State:
    """A collection and its vectors: id -> (text, vector), in order, and (query, document) -> grade."""

    queries: dict
    documents: dict
    judged: dict

    def collection(self):
        tables = [
            pa.table({"id": list(side), "text": [text for text, _ in side.values()]})
            for side in (self.queries, self.documents)
        ]
        pairs = [(q, d, g) for (q, d), g in self.judged.items() if q in self.queries and d in self.documents]
        return Collection("drawn", *tables, {"train": judgements_table(*([p[i] for p in pairs] for i in range(3)))})

    def space(self, checksum, shards=None):
        queries, corpus = (
            np.array([v for _, v in side.values()], np.float32) for side in (self.queries, self.documents)
        )
        if shards is None:
            return Space(queries, corpus, "dot", "drawn", checksum)
        return ShardedSpace(queries, cut(corpus, shards), "dot", "drawn", checksum)

    def mine(self, out, sources, block=2, checksum="abc", shards=None):
        vetters = [RelativeMargin(0.1), SameText()]
        space = self.space(checksum, shards)
        return mine(self.collection(), space=space, sources=sources, vetters=vetters, out=out, block=block)


@st.composite
def states(draw):
    queries = {f"q{i}": draw(entries) for i in draw(st.permutations(range(draw(st.integers(1, 5)))))}
    documents = {f"d{i}": draw(entries) for i in draw(st.permutations(range(draw(st.integers(2, 8)))))}
    pairs = st.tuples(st.sampled_from(sorted(queries)), st.sampled_from(sorted(documents)))
    judged = draw(st.dictionaries(pairs, st.sampled_from([0.0, 1.0, -1.0]), min_size=1, max_size=8))
    return State(queries, documents, judged)


@st.composite
def edited(draw, state):
    """The state after a script of edits: rows added anywhere, changed, deleted and moved, judgements likewise."""
    queries, documents, judged = list(state.queries.items()), list(state.documents.items()), dict(state.judged)
    for number in range(draw(st.integers(1, 5))):
        what = draw(st.sampled_from(["add", "add", "append", "change", "delete", "move", "judge", "unjudge"]))
        side, letter = draw(st.sampled_from([(documents, "d"), (documents, "d"), (queries, "q")]))
        if what in ("add", "append"):
            place = len(side) if what == "append" else draw(st.integers(0, len(side)))
            side.insert(place, (f"{letter}-new{number}", draw(entries)))
        elif what == "judge":
            pair = draw(st.sampled_from(queries))[0], draw(st.sampled_from(documents))[0]
            judged[pair] = draw(st.sampled_from([0.0, 1.0]))
        elif what == "unjudge" and judged:
            judged.pop(draw(st.sampled_from(sorted(judged))))
        else:
            place = draw(st.integers(0, len(side) - 1))
            name, old = side.pop(place)
            if what == "change":
                side.insert(place, (name, draw(entries)))
            elif what == "move" or len(side) == 0:
                side.insert(draw(st.integers(0, len(side))), (name, old))
    return State(dict(queries), dict(documents), judged)


def files(folder):
    found = sorted(file for file in folder.rglob("*") if file.is_file() and file.name != "mining.json")
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in found}


@given(
    st.data(),
    st.sampled_from([[Mined(3)], [Mined(5), Random(2)], [Mined(1)], [Mined(2, skip=1)], [Mined(20)]]),
    st.sampled_from(["abc", ""]),
    st.none() | st.integers(1, 3),
)
def test_an_update_is_mining_from_scratch(tmp_path_factory, data, sources, checksum, shards):
    folder = tmp_path_factory.mktemp("update")
    before = data.draw(states())
    after = data.draw(edited(before))
    before.mine(folder / "out", sources, checksum=checksum)
    same_texts = before.collection().fingerprint() == after.collection().fingerprint()
    if not checksum and same_texts and before != after:  # other vectors of the same texts are another model's
        with pytest.raises(ValueError, match="holds evidence of another model"):
            after.mine(folder / "out", sources, checksum=checksum, shards=shards)
        return
    updated = after.mine(folder / "out", sources, checksum=checksum, shards=shards)
    scratch = after.mine(folder / "scratch", sources, checksum=checksum)
    assert files(folder / "out") == files(folder / "scratch")
    assert (updated.rows, updated.short, updated.doubted) == (scratch.rows, scratch.short, scratch.doubted)
    assert not (folder / "out.mining").exists() and scratch.changed == {}
    if same_texts:
        assert updated.changed == {} and updated.resumed == updated.anchors
    if not updated.changed:
        assert updated.resumed == updated.anchors  # nothing has changed, or nobody is asked about any more
        return
    seen = updated.changed
    assert seen["documents added"] == len(after.documents.keys() - before.documents.keys())
    assert seen["documents deleted"] == len(before.documents.keys() - after.documents.keys())
    both = after.documents.keys() & before.documents.keys()
    assert seen["documents changed"] == sum(after.documents[d][1] != before.documents[d][1] for d in both)
    again = [source for source in map(str, sources) if "skip=1" in source or "random" in source]
    assert set(again) <= set(seen["sources run again in full"])
    if "anchors extended" in seen:
        assert seen["anchors extended"] + seen["anchors searched anew"] == updated.anchors


def many(anchors=12, documents=30):
    draw = np.random.default_rng(0)
    sides = [
        {f"{letter}{i:02d}": (f"text {letter} {i}", tuple(draw.normal(size=4))) for i in range(count)}
        for letter, count in (("q", anchors), ("d", documents))
    ]
    judged = {(f"q{i:02d}", f"d{i:02d}"): 1.0 for i in range(anchors)}
    return State(*sides, judged)


def grown(state, more=3):
    draw = np.random.default_rng(1)
    added = {f"new{i}": (f"new text {i}", tuple(draw.normal(size=4))) for i in range(more)}
    return State(state.queries, state.documents | added, state.judged)


def test_an_update_says_how_both_of_its_searches_were_proved(tmp_path):
    state = many()
    assert [report.queries for report in state.mine(tmp_path / "out", [Mined(5)]).searches.values()] == [12]
    made = grown(state).mine(tmp_path / "out", [Mined(5)])
    assert {name: report.queries for name, report in made.searches.items()} == {str(Mined(5)): 12}
    more = {**state.queries, "q03": ("other", (1.0, 0.0, 0.0, 0.0))}
    made = State(more, grown(state, 5).documents, state.judged).mine(tmp_path / "out", [Mined(5)], shards=2)
    assert made.changed["anchors extended"] == 11 and made.changed["anchors searched anew"] == 1
    assert made.searches[str(Mined(5))].queries == 11 + 2  # two shards of all documents, one of the new ones


def test_only_what_must_be_is_searched_anew(tmp_path):
    state = many()
    first = state.mine(tmp_path / "out", [Mined(5)])
    rows = first.evidence.read().to_pylist()
    listed = {r["anchor"] for r in rows if r["candidate"] == "d29" and r["sign"] < 0}
    gone = State(state.queries, {k: v for k, v in state.documents.items() if k != "d29"}, state.judged)
    assert 0 < len(listed) < 12
    made = gone.mine(tmp_path / "out", [Mined(5)])
    assert made.changed["anchors searched anew"] == len(listed) and made.changed["documents deleted"] == 1
    made = grown(gone).mine(tmp_path / "out", [Mined(5)])
    assert made.changed["anchors searched anew"] == 0 and made.changed["anchors extended"] == 12
    more = grown(gone)
    asked = State({**more.queries, "q03": ("other", (1.0, 0.0, 0.0, 0.0))}, more.documents, more.judged)
    made = asked.mine(tmp_path / "out", [Mined(5)])
    assert made.changed["anchors searched anew"] == made.changed["anchors changed"] == 1
    judged = State(asked.queries, asked.documents, asked.judged | {("q05", "d07"): 1.0, ("q06", "d08"): 0.0})
    made = judged.mine(tmp_path / "out", [Mined(5)])
    assert made.changed["anchors searched anew"] == 1  # a certain negative forbids nothing, a positive does
    judged.mine(tmp_path / "scratch", [Mined(5)])
    assert files(tmp_path / "out") == files(tmp_path / "scratch")


@pytest.mark.parametrize("more", [3, 5, 8])
def test_new_documents_may_fill_a_list(tmp_path, more):
    state = many()
    nearest = tuple(100 * number for number in state.queries["q00"][1])
    added = {f"new{i}": (f"new text {i}", nearest) for i in range(more)}
    after = State(state.queries, state.documents | added, state.judged)
    state.mine(tmp_path / "out", [Mined(5)])
    made = after.mine(tmp_path / "out", [Mined(5)])
    after.mine(tmp_path / "scratch", [Mined(5)])
    assert made.changed["anchors extended"] == 12 and files(tmp_path / "out") == files(tmp_path / "scratch")
    rows = [row for row in made.evidence.read().to_pylist() if row["anchor"] == "q00" and row["sign"] < 0]
    assert sum(row["candidate"].startswith("new") for row in rows) == min(more, 5)


@dataclass(frozen=True)
class Fails:
    """A source, spelled like the one it holds, that fails at its nth block."""

    name: ClassVar[str] = "fails"
    of: Random
    blocks: int

    def prepare(self, collection, space):
        find, left = self.of.prepare(collection), [self.blocks]

        def until(anchors):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return find(anchors)

        return until

    def __str__(self):
        return str(self.of)


SOURCES = [Mined(5), Random(2)]


@pytest.mark.parametrize("blocks", [0, 2, 5])
def test_an_unfinished_run_is_updated_and_an_unfinished_update_gone_on_with(tmp_path, blocks):
    state, after, later = many(), grown(many()), grown(many(), 5)
    with pytest.raises(KeyboardInterrupt):
        state.mine(tmp_path / "out", [Mined(5), Fails(Random(2), 4)])
    before = files(tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        after.mine(tmp_path / "out", [Mined(5), Fails(Random(2), blocks)])
    assert files(tmp_path / "out") == before  # till the update is whole, the old evidence stands
    for wanted, resumed in ((after, 2 * blocks), (later, 0)):
        if wanted is later:  # and the input changes once more
            with pytest.raises(KeyboardInterrupt):
                grown(many(), 4).mine(tmp_path / "out", [Mined(5), Fails(Random(2), 3)])
        made = wanted.mine(tmp_path / "out", SOURCES)
        scratch = tmp_path / f"scratch{resumed}-{wanted is later}"
        wanted.mine(scratch, SOURCES)
        assert made.resumed == resumed and files(tmp_path / "out") == files(scratch)


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_kill_between_old_and_new_leaves_one_of_them(tmp_path, renames):
    state, after = many(), grown(many())
    state.mine(tmp_path / "out", SOURCES)
    after.mine(tmp_path / "whole", SOURCES)
    work = tmp_path / "out.mining"  # as `Place` leaves it when it is killed behind so many renames
    shutil.copytree(tmp_path / "whole", work / "evidence")
    write_json(work / "ready.json", {})
    if renames >= 1:
        (tmp_path / "out").rename(work / "old")
    if renames == 2:
        (work / "evidence").rename(tmp_path / "out")
    made = after.mine(tmp_path / "out", [Mined(5), Fails(Random(2), 0)])
    assert made.resumed == 12 and files(tmp_path / "out") == files(tmp_path / "whole") and not work.exists()


def test_evidence_that_was_changed_after_mining_is_not_replaced(tmp_path):
    state = many()
    for name in ("vetted", "compacted", "added"):
        first = state.mine(tmp_path / name, [Mined(5)])
    vet(tmp_path / "vetted", [RelativeMargin(0.9)])
    vet(tmp_path / "compacted", [RelativeMargin(0.9)])
    Evidence.open(tmp_path / "compacted").compact()
    more = make(["zz"], ["d00"], 1, score=0.5, source="test", scorer=scorer_of(first.evidence.read()))
    Evidence.open(tmp_path / "added").append(more)
    for name in ("vetted", "compacted", "added"):
        with pytest.raises(ValueError, match="changed since .vetted, or added to., which an update would lose"):
            grown(state).mine(tmp_path / name, [Mined(5)])


def test_evidence_without_a_record_and_moved_documents_are_mined_again_in_full(tmp_path):
    state, after = many(), grown(many())
    state.mine(tmp_path / "out", [Mined(5)])
    shutil.rmtree(tmp_path / "out" / "_input")
    made = after.mine(tmp_path / "out", [Mined(5)])
    assert made.changed == {"sources run again in full": [str(Mined(5))]}
    moved = State(after.queries, dict(reversed(after.documents.items())), after.judged)
    made = moved.mine(tmp_path / "out", [Mined(5)])
    assert made.changed["sources run again in full"] == [str(Mined(5))] and made.changed["documents changed"] == 0
    moved.mine(tmp_path / "scratch", [Mined(5)])
    assert files(tmp_path / "out") == files(tmp_path / "scratch")
