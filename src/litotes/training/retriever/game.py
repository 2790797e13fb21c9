"""Game: the rounds of a retriever and a ranker over groups of documents, whatever the two are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from litotes.batch import SignedBatch, from_groups
from litotes.data.collection import Collection
from litotes.evidence import Evidence
from litotes.objectives.contrastive.infonce import InfoNCE
from litotes.training.learner import Learner
from litotes.training.order import rows_of_step
from litotes.training.phases import Costs, Phase, Phases, Turn
from litotes.training.rows import TrainingRows

if TYPE_CHECKING:
    from litotes.training.retriever.ar2 import AdversarialRetriever

Scores = Callable[[np.ndarray, np.ndarray], Tensor]


@dataclass(frozen=True, eq=False)
class Pools:
    """What the retriever finds for each training row: `documents` int64 [R, P], best first, -1 padded; `belief`
    float32 [R, P] that each is a negative, 0 where padded."""

    documents: Tensor
    belief: Tensor

    def draw(self, rows: np.ndarray, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """For each row n different documents, drawn evenly among those believed at all: documents and belief [B, n].

        A row that has fewer gets -1 and belief 0 behind them.
        """
        at = torch.from_numpy(rows)
        documents, belief = self.documents[at], self.belief[at]
        luck = torch.rand(documents.shape, generator=generator, device=generator.device).to(documents.device)
        order = luck.masked_fill(belief == 0, 2.0).argsort(dim=1)[:, :n]
        documents, belief = documents.gather(1, order), belief.gather(1, order)
        short = n - documents.shape[1]
        documents = torch.nn.functional.pad(documents.masked_fill(belief == 0, -1), (0, short), value=-1)
        return documents, torch.nn.functional.pad(belief, (0, short))


def group_batch(scores: Tensor, belief: Tensor, ranker: Tensor | None = None) -> SignedBatch:
    """Groups of one positive (column 0) and its negatives as a batch: `scores`, `belief` [B, M].

    Belief 0 is no candidate: sign 0. `ranker`: the ranker's scores, which become `pairs["teacher"]`.
    """
    belief = belief.to(scores.device, torch.float32)
    batch = from_groups(scores, 0, belief > 0).replace(weight=belief)
    return batch if ranker is None else batch.replace(pairs={"teacher": ranker})


class Game:
    """The rounds of a retriever and a ranker over groups of documents, whatever the two are made of.

    A step sees `batch_size` training rows. The group of a row is its positive and group - 1 documents drawn from its
    pool, the best documents that the retriever finds. Ranker steps: cross-entropy of the positive among the ranker's
    scores. Retriever steps: `Ar2` on the retriever's scores, the ranker scoring in eval mode without gradient. Before
    each round the pools are searched anew.

    It is what `Phases` calls before a round and keeps the pools in its state.

    Args:
        settings: how it is played.
        rows: how many training rows there are.
        positives: (rows [B], epochs [B]) -> the document drawn for each [B], and the belief in it float32 [B].
        retriever, ranker: (rows [B], documents [B, M]) -> scores [B, M] with a graph.
        search: () -> pools of the retriever as it is now.
        seed: of batches and draws.
        chunk: rows that are scored at a time, None = the whole batch; their gradients add up to those of the batch.
    """

    def __init__(
        self,
        settings: AdversarialRetriever,
        rows: int,
        positives: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
        retriever: Scores,
        ranker: Scores,
        search: Callable[[], Pools],
        *,
        seed: int = 0,
        chunk: int | None = None,
    ):
        self.settings, self.rows, self.positives, self.search = settings, rows, positives, search
        self.retriever, self.ranker = retriever, ranker
        self.seed, self.chunk = seed, chunk
        self.pools: Pools | None = None
        self.lesson, self.taught = InfoNCE(1.0), settings.objective

    def phases(self, retriever: Learner, ranker: Learner) -> Phases:
        """The whole game: before each round a search, then the ranker's steps, then the retriever's."""
        s = self.settings
        plan = [
            Phase("ranker", s.ranker_steps, ("ranker",), self.ranker_costs),
            Phase("retriever", s.iteration_steps - s.ranker_steps, ("retriever",), self.retriever_costs),
        ]
        learners = {"retriever": retriever, "ranker": ranker}
        return Phases(learners, plan, rounds=s.iterations, refresh=self, seed=self.seed)

    def __call__(self, round: int) -> None:
        self.pools = self.search()

    def ranker_costs(self, turn: Turn) -> Iterator[Costs]:
        """Cross-entropy of the ranker on the step's groups."""
        for rows, documents, belief, share in self.groups(turn):
            batch = group_batch(self.ranker(rows, documents), belief)
            yield {"ranker": share * self.lesson(batch)}

    def retriever_costs(self, turn: Turn) -> Iterator[Costs]:
        """Ar2 of the retriever on the step's groups, as the ranker sees them at rest."""
        for rows, documents, belief, share in self.groups(turn):
            with torch.no_grad():
                ranker = self.ranker(rows, documents)
            batch = group_batch(self.retriever(rows, documents), belief, ranker)
            yield {"retriever": share * self.taught(batch)}

    def groups(self, turn: Turn) -> Iterator[tuple[np.ndarray, np.ndarray, Tensor, float]]:
        """Pieces of the step's batch: rows [b], documents [b, M], belief [b, M] and the share of the loss."""
        assert self.pools is not None
        rows, epoch = rows_of_step(turn.total, self.settings.batch_size, self.rows, self.seed)
        found, belief = self.pools.draw(rows, self.settings.group - 1, turn.generator)
        positive, believed = self.positives(rows, epoch)
        documents = np.concatenate([positive[:, None], found.numpy()], axis=1)
        documents = np.where(documents < 0, positive[:, None], documents)  # scored for nothing: its sign is 0
        belief = torch.cat([torch.from_numpy(believed)[:, None].float(), belief], dim=1)
        total = float(belief[:, 0].sum()) or 1.0
        for start in range(0, len(rows), self.chunk or len(rows)):
            piece = slice(start, start + (self.chunk or len(rows)))
            yield rows[piece], documents[piece], belief[piece], float(belief[piece, 0].sum()) / total

    def state_dict(self) -> dict[str, Tensor] | None:
        """The pools: they are those of an earlier retriever."""
        return None if self.pools is None else {"documents": self.pools.documents, "belief": self.pools.belief}

    def load_state_dict(self, state: dict[str, Tensor] | None) -> None:
        """Take pools up."""
        self.pools = None if state is None else Pools(state["documents"], state["belief"])


def pools_of(evidence: Evidence, collection: Collection, rows: TrainingRows, size: int) -> Pools:
    """The pools of training rows (one per anchor): the `size` best scored negatives that mined evidence holds.

    Left out is what the rows' own evidence calls positive or silent, exact copies of such documents included; its
    doubts count beside those of the mined evidence.
    """
    place = np.full(len(collection.queries), -1, np.int64)
    place[rows.anchor] = np.arange(len(rows))
    documents = np.full((len(rows), size), -1, np.int64)
    belief = np.zeros((len(rows), size), np.float32)
    for table in evidence.tables():  # whole anchors, the best score first
        row, document = place[collection.query_rows(table["anchor"])], collection.document_rows(table["candidate"])
        sign, weight = known_of(rows, rows.anchor[row], document)
        kept = np.flatnonzero((table["sign"].to_numpy() < 0) & (row >= 0) & (sign < 0))
        row, document, weight = row[kept], document[kept], np.minimum(weight, table["weight"].to_numpy())[kept]
        rank = _ranks(row)
        best = rank < size
        documents[row[best], rank[best]] = document[best]
        belief[row[best], rank[best]] = weight[best]
    return Pools(torch.from_numpy(documents), torch.from_numpy(belief))


def known_of(rows: TrainingRows, query: np.ndarray, document: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the rows' evidence says of pairs [P], or of pairs of equal texts: sign and weight; nothing is -1 with 1."""
    lookup = rows.lookup
    width = int(max(lookup.candidate.max(initial=-1), rows.candidate_code.max(initial=-1))) + 1
    anchor = np.repeat(np.arange(len(lookup.offsets) - 1), np.diff(lookup.offsets))
    pairs = anchor * width + lookup.candidate  # ascending, as the lookup is
    asked = rows.anchor_code[query] * width + rows.candidate_code[document]
    place = np.minimum(np.searchsorted(pairs, asked), max(len(pairs) - 1, 0))
    known = (pairs[place] == asked) & (rows.candidate_code[document] >= 0) & (rows.anchor_code[query] >= 0)
    return np.where(known, lookup.sign[place], -1), np.where(known, lookup.weight[place], 1).astype(np.float32)


def _ranks(row: np.ndarray) -> np.ndarray:
    """Place of each entry among those of its row, in their order."""
    order = np.argsort(row, kind="stable")
    ranks = np.empty(len(row), np.int64)
    ranks[order] = np.arange(len(row)) - np.searchsorted(row[order], row[order])
    return ranks
