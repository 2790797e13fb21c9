"""Remine: evidence anew, from what a run started with and from what the model in training finds now."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from litotes.data.collection import Collection, judgements_table
from litotes.data.encoder import Encoder
from litotes.evidence import Evidence, add, doubt_entries, order, rescore, undoubt
from litotes.mining import mine
from litotes.search.space import Space
from litotes.sources.found import Source

SPLIT = "training"
Vetter = Callable[..., pa.Table]


class Remine:
    """Mines for the anchors of a run with any encoder, and joins what is found to the evidence the run started with.

    In what comes out

    - every pair of the first evidence is there again, with its sign, grade and finders;
    - every score, of positives too, is that of the encoder;
    - doubts of the given vetters are taken back and the vetters asked anew, all other doubts stay;
    - what the sources find is there as a negative, unless the first evidence calls the pair positive or silent (such
      pairs, and exact copies of the documents in them, are not found).

    So a pair that one refresh found is gone from the next if it is not found again, and a refresh depends on the first
    evidence and the encoder alone.

    Args:
        evidence: what the run started with. Anchors outside `anchors` are left out.
        collection: where texts and columns come from; its judgements are not read.
        anchors: int32, rows of the queries that are trained on.
        sources, vetters: who proposes and who doubts. A vetter that can be prepared for a collection is, once.
    """

    def __init__(
        self,
        evidence: pa.Table | Evidence,
        collection: Collection,
        anchors: np.ndarray,
        sources: Sequence[Source],
        vetters: Sequence[Vetter],
    ):
        self.evidence, self.sources, self.vetters = evidence, tuple(sources), tuple(vetters)
        asked = collection.queries.take(pa.array(np.unique(anchors)))
        bare = Collection(collection.name, asked, collection.corpus)
        self.known = asked["id"].combine_chunks()
        pairs = []
        for table in self._tables():
            spoken_for = pc.greater_equal(table["sign"], 0)
            pairs.append(table.filter(spoken_for).select(["anchor", "candidate"]))
        both = pa.concat_tables(pairs)
        judged = judgements_table(both["anchor"].to_pylist(), both["candidate"].to_pylist(), [1.0] * len(both))
        self.collection = bare.with_qrels({SPLIT: judged})
        self._change: Callable[[pa.Table], pa.Table] | None = None

    def __call__(self, encoder: Encoder, out: Path) -> dict[str, Any]:
        """Write the new evidence to the folder `out`; what is there is replaced.

        Out:  counts: rows, found (pairs that the sources proposed), fresh (those of them that the first evidence does
              not have), doubted (spelling -> rows), scores (mean of positives and of believed negatives), seconds
              (encode, search, join -> time).
        """
        seconds, clock = {}, time.perf_counter()
        shutil.rmtree(out, ignore_errors=True)
        work = out.with_name(f"{out.name}.vectors")
        work.mkdir(parents=True, exist_ok=True)
        queries = encoder.encode(self.collection.query_texts(), "query")
        corpus = encoder.encode(self.collection.document_texts(), "document", work / "corpus.npy")
        space = Space(queries, corpus, encoder.similarity, encoder.name, encoder.checksum)
        seconds["encode"], clock = time.perf_counter() - clock, time.perf_counter()
        mined = mine(self.collection, SPLIT, space=space, sources=self.sources, vetters=()).evidence
        assert isinstance(mined, pa.Table)
        found = mined.filter(pc.less(mined["sign"], 0))
        seconds["search"], clock = time.perf_counter() - clock, time.perf_counter()
        counts = self._join(found, space, out)
        seconds["join"] = time.perf_counter() - clock
        del space, corpus
        shutil.rmtree(work)
        return {**counts, "seconds": seconds}

    def _join(self, found: pa.Table, space: Space, out: Path) -> dict[str, Any]:
        """The first evidence, scored anew, with what was found, vetted: streamed to `out`."""
        about = {"name": space.name, "checksum": space.checksum, "similarity": space.similarity}
        change = self._prepared()
        made = Evidence.create(out, scorer=about)
        doubted: Counter[str] = Counter()
        rows = first = 0
        totals = {"positives": (0.0, 0), "negatives": (0.0, 0)}
        rest = found
        with made.growing() as grow:
            for table in self._tables():
                upto = int(pc.sum(pc.less_equal(rest["anchor"], table["anchor"][-1])).as_py() or 0)
                piece, rest = rest.slice(0, upto), rest.slice(upto)
                for vetter in self.vetters:
                    table = undoubt(table, str(vetter))
                pairs = self.collection.query_rows(table["anchor"]), self.collection.document_rows(table["candidate"])
                joined = change(add(rescore(table, space.pairs(*pairs), about), piece))
                grow(order(joined))
                rows, first = rows + len(joined), first + len(table)
                for name, (total, count) in totals.items():
                    some = _scores_of(joined, name)
                    totals[name] = total + float(some.sum(dtype=np.float64)), count + len(some)
                entries = pc.value_counts(doubt_entries(joined)["part"].combine_chunks()).to_pylist()
                doubted.update({entry["values"]: entry["counts"] for entry in entries})
        scores = {name: total / count if count else None for name, (total, count) in totals.items()}
        counts = {"rows": rows, "found": len(found), "fresh": rows - first}
        return {**counts, "doubted": dict(sorted(doubted.items())), "scores": scores}

    def _prepared(self) -> Callable[[pa.Table], pa.Table]:
        if self._change is None:
            changes: list[Callable[[pa.Table], pa.Table]] = [
                vetter.prepare(self.collection, None)
                if hasattr(vetter, "prepare")
                else partial(vetter, collection=self.collection)
                for vetter in self.vetters
            ]

            def change(table: pa.Table) -> pa.Table:
                for each in changes:
                    table = each(table)
                return table

            self._change = change
        return self._change

    def _tables(self) -> Iterator[pa.Table]:
        """The first evidence about our anchors, in tables of whole anchors that ascend."""
        tables: Iterable[pa.Table]
        tables = [order(self.evidence)] if isinstance(self.evidence, pa.Table) else self.evidence.tables()
        for table in tables:
            ours = table.filter(pc.is_in(table["anchor"], value_set=self.known))
            if len(ours):
                yield ours


def _scores_of(table: pa.Table, what: str) -> np.ndarray:
    """Scores of the positives, or of the negatives that are believed."""
    sign, weight = table["sign"].to_numpy(), table["weight"].to_numpy()
    return table["score"].to_numpy()[sign > 0 if what == "positives" else (sign < 0) & (weight > 0)]
