"""CoupledRanker: a ranker and a selection model that weigh each other's negatives while both are trained."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from litotes.assemble import assemble
from litotes.data.collection import Collection
from litotes.evidence import Evidence
from litotes.spelling import spell
from litotes.training.learner import Learner, frozen
from litotes.training.order import rows_of_step
from litotes.training.phases import Costs, Phase, Phases, Turn
from litotes.training.ranker.coupled import CoupledLoss, warn_of_twins
from litotes.training.run_folder import RunFolder, Trained
from litotes.vetting.cet import Cet

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

Scores = Callable[[np.ndarray, np.ndarray], Tensor]
Groups = tuple[np.ndarray, np.ndarray, Tensor]


class Couple:
    """One phase in which two scorers are updated at once, each with weights from the other as it was before the step.

    Args:
        loss: of both. batch_size: rows in a step.
        rows: how many training rows there are.
        groups: (rows [B], epochs [B]) -> what the scorers take for these rows [B], documents [B, 1 + M] (the positive
            first), belief [B, M] in the negatives, 0 = not there.
        relevance, selection: a learner, and its scores of such rows and documents [B, 1 + M], with a graph.
        seed: of the batches.
        chunk: rows that are scored at a time, None = the whole batch; their gradients add up to those of the batch.
    """

    def __init__(
        self,
        loss: CoupledLoss,
        batch_size: int,
        rows: int,
        groups: Callable[[np.ndarray, np.ndarray], Groups],
        relevance: tuple[Learner, Scores],
        selection: tuple[Learner, Scores],
        *,
        seed: int = 0,
        chunk: int | None = None,
    ):
        warn_of_twins(relevance[0].module, selection[0].module)
        self.loss, self.batch_size, self.rows, self.groups = loss, batch_size, rows, groups
        self.learners = {"relevance": relevance[0], "selection": selection[0]}
        self.scores = {"relevance": relevance[1], "selection": selection[1]}
        self.seed, self.chunk = seed, chunk

    def phases(self, steps: int) -> Phases:
        """The whole training."""
        return Phases(self.learners, [Phase("coupled", steps, ("relevance", "selection"), self.costs)], seed=self.seed)

    def costs(self, turn: Turn) -> Iterator[Costs]:
        """Both losses on the step's rows, in pieces; weights come from models in eval mode, over the batch."""
        rows, documents, belief = self.groups(*rows_of_step(turn.total, self.batch_size, self.rows, self.seed))
        size = self.chunk or len(rows)
        pieces = [slice(start, start + size) for start in range(0, len(rows), size)]
        emphasis = {}
        for name, other in (("relevance", "selection"), ("selection", "relevance")):
            with frozen(self.learners[other].module):
                # only the negatives: the positive has no weight
                seen = torch.cat([self.scores[other](rows[piece], documents[piece, 1:]) for piece in pieces])
            emphasis[name] = self.loss.emphasis(seen, belief.to(seen.device))
        counts = _terms(belief)
        for piece in pieces:
            share = float(counts[piece].sum() / counts.sum().clamp(min=1))
            costs = {}
            for name, scores in self.scores.items():
                made = scores(rows[piece], documents[piece])
                here = belief[piece].to(made.device)
                costs[name] = share * self.loss.cost(made[:, 0], made[:, 1:], emphasis[name][piece], here)
            yield costs


def _terms(belief: Tensor) -> Tensor:
    """How many terms of the mean each row brings: one with a list, and with single negatives one where there is one."""
    return (belief[:, 0] > 0).float() if belief.shape[1] == 1 else torch.ones(len(belief))


@dataclass(frozen=True)
class CoupledRanker:
    """Train a ranker on hard negatives that may be false ones, weighed by a model of who was shown to the annotators.

    Labels come from pooling: people judged what some search selected. A strong retriever's unlabelled documents are
    rich in answers that nobody saw, and a ranker learns to push them down. Beside the ranker a second model of the same
    form learns, from the same pairs, whether a document would have been selected; each weighs the other's negatives
    (`CoupledLoss`). Only the ranker is deployed; the selection model says of what is highly ranked and unlabelled
    whether anybody saw it.

    Two models with the same inputs and loss differ by their start alone, so start them apart, or better, give the
    selection model other knowledge (another pre-trained model). `Couple` takes any two scorers, as one over the
    retriever's score and rank, which separates them best.

    In:   `train(model, evidence, collection, out=...)`: model, a sentence-transformers CrossEncoder with one output, or
          its folder or name; evidence with positives and mined negatives: a row is a positive and `negatives` of its
          query's believed negatives. Rows without one are left out and counted as `bare`.
    Out:  `Trained`; the ranker lies in `out`, the selection model in `out/selection`, and in `out/evidence` the
          evidence with the doubts of `Cet`, weight w / max w, which the next training can read.
    Cost: a step scores batch_size * (1 + negatives) pairs by both models, and the negatives once more in eval mode;
          at the end the selection model scores every ungraded negative of the evidence.

    AdamW, linear warm-up and decay, gradients of each model clipped at norm `clip`. What a step sees depends on seed
    and step only. The run lies in `<out>.partial` until it is done; called again with the same arguments it goes on
    from its last checkpoint to the same weights. One process, one device.

    Args:
        selection: folder or name of a CrossEncoder with one output; None = a copy of the ranker whose last linear layer
            is drawn anew.
        debias_temperature, max_weight, normalize: as in `CoupledLoss`.
        negatives: for each positive, >= 1. how: which, "top" or "random", of `TrainingRows`.
        batch_size: rows in a step, >= 1. chunk: rows that are scored at a time, >= 1; None = all.
        epochs: > 0; max_steps, if given, counts instead, >= 1.
        learning_rate: > 0. warmup: share of the steps, in [0, 1). weight_decay: >= 0. clip: > 0.
        dropout: in [0, 1), for all dropout layers of both; None = as the models say.
        precision: "bf16" (autocast), "fp32", or "auto": bf16 where the hardware multiplies it.
        log_every, checkpoints: steps between entries of the curve, and between checkpoints, >= 1.
    Raises:
        ValueError: an argument is out of range, no row has a negative, or `<out>.partial` belongs to a run with other
            arguments.
        FileExistsError: there is something else at `out`.
        FloatingPointError: a loss became infinite or no number.
        KeyboardInterrupt: the run was interrupted; it can be resumed.
    Source: Hard Negatives or False Negatives: Correcting Pooling Bias in Training Neural Ranking Models
        (arXiv:2209.05072). Learning rate, temperature and one negative as in its released script; warm-up there is
        10,000 steps.

    Example:
        >>> str(CoupledRanker(negatives=4)).startswith("coupled_ranker(selection=None, debias_temperature=10.0")
        True
    """

    selection: str | None = None
    debias_temperature: float = 10.0
    max_weight: float | None = 100.0
    normalize: Literal["none", "mean"] = "none"
    negatives: int = 1
    how: Literal["top", "random"] = "top"
    batch_size: int = 32
    chunk: int | None = None
    epochs: float = 1.0
    max_steps: int | None = None
    learning_rate: float = 3e-6
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip: float = 1.0
    dropout: float | None = None
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    log_every: int = 10
    checkpoints: int = 500

    makes: ClassVar[str] = "ranker"

    def __post_init__(self) -> None:
        from litotes.training.running import check_settings

        def refuse(name: str, expected: str) -> None:
            raise ValueError(f"CoupledRanker: {name} must be {expected}, got {getattr(self, name)!r}")

        if not (self.selection is None or (isinstance(self.selection, str) and self.selection.strip())):
            refuse("selection", "the folder or name of a model, or None")
        _ = self.loss  # its own arguments
        for name in ("negatives", "chunk"):
            value = getattr(self, name)
            if not (isinstance(value, int) and value >= 1) and not (name == "chunk" and value is None):
                refuse(name, "a whole number >= 1")
        if self.how not in ("top", "random"):
            refuse("how", "'top' or 'random'")
        if not (self.clip > 0 and math.isfinite(self.clip)):
            refuse("clip", "> 0 and finite")
        shared = ("epochs", "max_steps", "batch_size", "learning_rate", "warmup", "weight_decay", "dropout")
        named = {name: getattr(self, name) for name in (*shared, "precision", "log_every", "checkpoints")}
        check_settings("CoupledRanker", **named)

    @property
    def loss(self) -> CoupledLoss:
        """What both models minimise."""
        return CoupledLoss(self.debias_temperature, self.max_weight, self.normalize)

    def __str__(self) -> str:
        return spell(self)

    def train(
        self,
        model: CrossEncoder | str | Path,
        evidence: pa.Table | Evidence | str | Path,
        collection: Collection,
        *,
        out: str | Path,
        split: str = "train",
        seed: int = 0,
        resume: bool = True,
        selection: CrossEncoder | None = None,
    ) -> Trained:
        """Train with real models. `split` is not read: the queries are the anchors of the evidence.

        Args:
            model: the ranker, trained in place if it is an object. selection: an object instead of the setting.
            evidence: a table, Evidence, or its path. collection: where the texts are.
            out: folder for models and evidence. seed: of all draws. resume: False throws an unfinished run away.
        """
        from litotes.data.fingerprint import model_checksum
        from litotes.data.inference import best_device, best_dtype
        from litotes.training.phase_run import run_kept
        from litotes.training.rows import TrainingRows
        from litotes.training.running import set_dropout
        from litotes.training.text_scores import PairScores, load_cross_encoder

        device = best_device()
        ranker = load_cross_encoder(model, device) if isinstance(model, (str, Path)) else model
        if selection is not None:
            other = selection
        else:
            other = _apart(ranker, seed) if self.selection is None else load_cross_encoder(self.selection, device)
        evidence = Evidence.open(evidence) if isinstance(evidence, (str, Path)) else evidence
        rows = TrainingRows.of(evidence, collection, n=self.negatives, how=self.how, per="pair", seed=seed)
        bf16 = self.precision == "bf16" or (self.precision == "auto" and best_dtype(ranker, device) == "bfloat16")
        settings = {
            "part": str(self), "model": model_checksum(ranker), "selection": model_checksum(other),
            "rows": rows.checksum(), "bf16": bf16, "seed": seed,
        }  # fmt: skip
        folder = RunFolder(Path(out), settings)
        finished = folder.finished()
        if finished is not None:
            return finished
        folder.open(resume)

        able = np.flatnonzero(np.diff(rows.negatives.offsets) > 0)
        if not len(able):
            raise ValueError(f"CoupledRanker: none of the {len(rows)} rows has a believed negative")
        steps = self.max_steps or math.ceil(self.epochs * len(able) / self.batch_size)
        learners = []
        for one in (ranker, other):
            set_dropout(one, self.dropout)
            asked = [p for p in one.parameters() if p.requires_grad]
            optimiser = torch.optim.AdamW(asked, lr=self.learning_rate, weight_decay=self.weight_decay)
            learners.append(Learner(one, optimiser, steps=steps, warmup=self.warmup, clip=self.clip))

        def groups(chosen: np.ndarray, epoch: np.ndarray) -> Groups:
            return _groups(rows, able[chosen], epoch, self.negatives)

        texts = rows.query_texts, rows.document_texts
        couple = Couple(
            self.loss,
            self.batch_size,
            len(able),
            groups,
            (learners[0], PairScores(ranker, *texts, bf16)),
            (learners[1], PairScores(other, *texts, bf16)),
            seed=seed,
            chunk=self.chunk,
        )
        curve, seconds = run_kept(couple.phases(steps), folder, log_every=self.log_every, checkpoints=self.checkpoints)
        ranker.eval()
        other.eval()
        per_step = self.batch_size * (1.0 + self.negatives)
        trained = Trained(Path(out), seconds, steps, per_step, curve, rows.counts)
        folder.finish(_Made(self, ranker, other, evidence, collection, Path(out)), trained)
        return trained

    def vetter(self, selection: str | Path, top: float | None = None) -> Cet:
        """The disk vetter that a trained selection model makes."""
        return Cet(str(selection), self.debias_temperature, self.max_weight, top)


@dataclass(frozen=True, eq=False)
class _Made:
    """What a run leaves: two models and the evidence as the selection model sees it."""

    part: CoupledRanker
    ranker: Any
    selection: Any
    evidence: pa.Table | Evidence
    collection: Collection
    out: Path

    def save_pretrained(self, path: str) -> None:
        self.ranker.save_pretrained(path)
        place = Path(path) / "selection"
        self.selection.save_pretrained(str(place))
        tables = [self.evidence] if isinstance(self.evidence, pa.Table) else list(self.evidence.tables())
        whole = pa.concat_tables(tables)
        spelled = self.part.vetter(self.out / "selection")  # where it will lie
        vetted = spelled.applied(whole, self.collection, spelled.logits(self.collection, place))
        prints = None if isinstance(self.evidence, pa.Table) else self.evidence.fingerprints
        Evidence.of(Path(path) / "evidence", vetted, fingerprints=prints)


def _apart(ranker: CrossEncoder, seed: int) -> CrossEncoder:
    """A copy whose last linear layer is drawn anew, with the spread of the weights that were there."""
    other = copy.deepcopy(ranker)
    linear = [module for module in other.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ValueError("CoupledRanker: the model has no linear layer to draw anew; give a selection model")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        last = linear[-1].weight
        spread = float(last.std()) if last.numel() > 1 else 0.02
        last.copy_(torch.randn(last.shape, generator=generator) * (spread or 0.02))
    return other


def _groups(rows: Any, chosen: np.ndarray, epoch: np.ndarray, n: int) -> Groups:
    """Query rows [B], documents [B, 1 + n] and belief [B, n] of training rows that have a negative.

    A row with fewer than n shows its first one again, with belief 0.
    """
    positives = np.array([rows.draw(row, time) for row, time in zip(chosen.tolist(), epoch.tolist(), strict=True)])
    negatives = np.empty((len(chosen), n), np.int64)
    there = np.zeros((len(chosen), n), bool)
    for place, row in enumerate(chosen.tolist()):
        own = rows.negatives.row(row)
        negatives[place] = own[0]
        negatives[place, : len(own)] = own
        there[place, : len(own)] = True
    query = rows.anchor[chosen]
    each = np.arange(len(chosen))
    of = np.concatenate([each, np.repeat(each, n)])
    codes = rows.candidate_code[np.concatenate([positives, negatives.ravel()])]
    known = assemble(rows.anchor_code[query], codes, rows.lookup, drawn=each, of=of, in_batch=False)
    at = len(each) + each[:, None] * n + np.arange(n)[None, :]
    believed = np.where(there & (known.sign[each[:, None], at] < 0), known.weight[each[:, None], at], 0)
    return query, np.concatenate([positives[:, None], negatives], axis=1), torch.from_numpy(believed.astype(np.float32))
