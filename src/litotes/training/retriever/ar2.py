"""AdversarialRetriever: a retriever and a ranker train each other, in turns, on what the retriever finds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import torch

from litotes.assemble import assemble
from litotes.data.collection import Collection
from litotes.evidence import Evidence
from litotes.objectives.listwise.ar2 import Ar2
from litotes.spelling import spell
from litotes.training.learner import Learner
from litotes.training.retriever.game import Game, Pools, pools_of
from litotes.training.run_folder import RunFolder, Trained

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder, SentenceTransformer


@dataclass(frozen=True)
class AdversarialRetriever:
    """Train a retriever and a ranker against each other: the one finds what fools the other, and is distilled from it.

    Every iteration: encode the corpus with the retriever as it is, search each training query's `pool` best documents
    (known positives and their copies are not found), let `vetters` doubt them; then `ranker_steps` steps of the ranker
    (cross-entropy of the positive among `group` documents), then the rest of `iteration_steps` for the retriever
    (`Ar2`: an adversarial and a distillation term). Negatives become harder as the retriever improves, and its teacher
    better. Start from a retriever and a ranker that are trained already (`train_retriever`, `train_ranker`).

    Unlabelled positives fool the ranker most. That raises them in the retriever, which does no harm, but the ranker is
    taught to push them down: give a vetter where there are many.

    In:   `train(model, evidence, collection, out=...)`: model, a SentenceTransformer or its folder or name; evidence,
          whose believed positives are trained on and whose doubts and silent pairs count in the pools.
    Out:  `Trained`; the retriever lies in `out`, the ranker in `out/ranker`.
    Cost: a step scores batch_size * group pairs with the ranker, in retriever steps also by the retriever; a refresh
          encodes all documents and searches once.

    AdamW; each model's learning rate warms up and decays linearly over its own steps; gradients are clipped at norm
    `clip`. What a step sees depends on seed and step only. The run lies in `<out>.partial` until it is done; called
    again with the same arguments it goes on from its last checkpoint, in the middle of a phase if need be, to the same
    weights. One process, one device.

    Args:
        ranker: folder or name of a CrossEncoder with one output.
        pool: documents that are found for each query, >= 1. group: documents in a group, the positive counted, >= 2.
        iterations, iteration_steps, ranker_steps: >= 1; ranker_steps < iteration_steps.
        batch_size: queries in a step, >= 1. chunk: queries that are scored at a time, >= 1; None = all.
        lr_retriever, lr_ranker: > 0. warmup: share of each model's steps, in [0, 1). weight_decay: >= 0. clip: > 0.
        adv_weight, temperature, teacher_temperature, include_positive, eps: as in `Ar2`. A retriever that compares by
            cosine needs a temperature of 0.01 to 0.1.
        vetters: parts that vet each refreshed pool.
        precision: "bf16" (autocast), "fp32", or "auto": bf16 where the hardware multiplies it.
        log_every, checkpoints: steps between entries of the curve, and between checkpoints, >= 1.
    Raises:
        ValueError: an argument is out of range, no training query has a pool, or `<out>.partial` belongs to a run with
            other arguments.
        FileExistsError: there is something else at `out`.
        FloatingPointError: a loss became infinite or no number.
        KeyboardInterrupt: the run was interrupted; it can be resumed.
    Source: Adversarial Retriever-Ranker for dense text retrieval (arXiv:2110.03611), algorithm 1 and released training
        code. Phases are half-open ranges of steps here; there the step at the border keeps the earlier phase.

    Example:
        >>> str(AdversarialRetriever("ranker", iterations=2).objective).startswith("ar2(adv_weight=0.5")
        True
    """

    ranker: str
    pool: int = 100
    group: int = 16
    iterations: int = 16
    iteration_steps: int = 2000
    ranker_steps: int = 500
    batch_size: int = 64
    chunk: int | None = None
    lr_retriever: float = 1e-5
    lr_ranker: float = 1e-6
    warmup: float = 0.1
    weight_decay: float = 0.0
    clip: float = 2.0
    adv_weight: float = 0.5
    temperature: float = 1.0
    teacher_temperature: float = 1.0
    include_positive: bool = True
    eps: float = 1e-7
    vetters: Sequence[Any] = ()
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    log_every: int = 10
    checkpoints: int = 500

    def __post_init__(self) -> None:
        object.__setattr__(self, "vetters", tuple(self.vetters))

        def refuse(name: str, expected: str) -> None:
            raise ValueError(f"AdversarialRetriever: {name} must be {expected}, got {getattr(self, name)!r}")

        if not (isinstance(self.ranker, str) and self.ranker.strip()):
            refuse("ranker", "the folder or name of a model")
        whole = {"pool": 1, "group": 2, "iterations": 1, "iteration_steps": 2, "ranker_steps": 1, "batch_size": 1}
        for name, least in (whole | {"log_every": 1, "checkpoints": 1, "chunk": 1}).items():
            value = getattr(self, name)
            if not (isinstance(value, int) and value >= least) and not (name == "chunk" and value is None):
                refuse(name, f"a whole number >= {least}")
        if not self.ranker_steps < self.iteration_steps:
            refuse("ranker_steps", f"below iteration_steps ({self.iteration_steps})")
        for name in ("lr_retriever", "lr_ranker", "clip"):
            if not (getattr(self, name) > 0 and math.isfinite(getattr(self, name))):
                refuse(name, "> 0 and finite")
        if not 0 <= self.warmup < 1:
            refuse("warmup", "in [0, 1)")
        if not (self.weight_decay >= 0 and math.isfinite(self.weight_decay)):
            refuse("weight_decay", ">= 0 and finite")
        if self.precision not in ("auto", "fp32", "bf16"):
            refuse("precision", "'auto', 'fp32' or 'bf16'")
        if not all(callable(vetter) for vetter in self.vetters):
            refuse("vetters", "parts that vet evidence")
        _ = self.objective  # its own arguments

    @property
    def objective(self) -> Ar2:
        """What the retriever minimises."""
        return Ar2(
            self.adv_weight,
            self.temperature,
            self.teacher_temperature,
            include_positive=self.include_positive,
            eps=self.eps,
        )

    def __str__(self) -> str:
        return spell(self)

    def learners(self, retriever: torch.nn.Module, ranker: torch.nn.Module) -> tuple[Learner, Learner]:
        """The two, with AdamW and schedules over their own steps."""
        of_ranker = self.iterations * self.ranker_steps
        steps = {"retriever": self.iterations * self.iteration_steps - of_ranker, "ranker": of_ranker}
        made = []
        for module, name, rate in ((retriever, "retriever", self.lr_retriever), (ranker, "ranker", self.lr_ranker)):
            asked = [p for p in module.parameters() if p.requires_grad]
            optimiser = torch.optim.AdamW(asked, lr=rate, weight_decay=self.weight_decay)
            made.append(Learner(module, optimiser, steps=steps[name], warmup=self.warmup, clip=self.clip))
        return made[0], made[1]

    def train(
        self,
        model: SentenceTransformer | str | Path,
        evidence: pa.Table | Evidence | str | Path,
        collection: Collection,
        *,
        out: str | Path,
        split: str = "train",
        seed: int = 0,
        resume: bool = True,
        ranker: CrossEncoder | None = None,
    ) -> Trained:
        """Play the game with real models. `split` is not read: the queries are the anchors of the evidence.

        Args:
            model: the retriever, trained in place if it is an object. ranker: an object instead of the setting's name.
            evidence: a table, Evidence, or its path. collection: where the texts are.
            out: folder for the models. seed: of all draws. resume: False throws an unfinished run away.
        """
        from litotes.data.encoder import Encoder
        from litotes.data.fingerprint import model_checksum
        from litotes.data.inference import best_device, best_dtype
        from litotes.data.models import load_model
        from litotes.scoring import Cosine, Dot
        from litotes.sources.mined.dense import Mined
        from litotes.training.collator import prompts_of
        from litotes.training.phase_run import run_kept
        from litotes.training.remine import Remine
        from litotes.training.rows import TrainingRows
        from litotes.training.text_scores import PairScores, VectorScores, load_cross_encoder

        device = best_device()
        student = load_model(model, device) if isinstance(model, (str, Path)) else model
        teacher = load_cross_encoder(self.ranker, device) if ranker is None else ranker
        evidence = Evidence.open(evidence) if isinstance(evidence, (str, Path)) else evidence
        rows = TrainingRows.of(evidence, collection, n=0, seed=seed)
        bf16 = self.precision == "bf16" or (self.precision == "auto" and best_dtype(student, device) == "bfloat16")
        settings = {
            "part": str(self), "model": model_checksum(student), "ranker": model_checksum(teacher),
            "rows": rows.checksum(), "bf16": bf16, "seed": seed,
        }  # fmt: skip
        folder = RunFolder(Path(out), settings)
        finished = folder.finished()
        if finished is not None:
            return finished
        folder.open(resume)

        facts = Encoder(student)
        queries, documents, prompts = rows.query_texts, rows.document_texts, prompts_of(student)
        remine = Remine(evidence, collection, rows.anchor, (Mined(depth=self.pool),), self.vetters)
        place = folder.partial / "pools"

        def search() -> Pools:
            remine(Encoder(student), place)
            return pools_of(Evidence.open(place), collection, rows, self.pool)

        def positives(chosen: np.ndarray, epoch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            drawn = [rows.draw(row, time) for row, time in zip(chosen.tolist(), epoch.tolist(), strict=True)]
            each = np.arange(len(drawn))
            codes = rows.anchor_code[rows.anchor[chosen]], rows.candidate_code[drawn]
            known = assemble(*codes, rows.lookup, drawn=each, of=each, in_batch=False)
            return np.array(drawn), known.weight.diagonal().copy()

        vectors = VectorScores(
            student, Cosine() if facts.similarity == "cosine" else Dot(), queries, documents, prompts, bf16
        )
        pairs = PairScores(teacher, queries, documents, bf16)
        game = Game(
            self,
            len(rows),
            positives,
            lambda row, document: vectors(rows.anchor[row], document),
            lambda row, document: pairs(rows.anchor[row], document),
            search,
            seed=seed,
            chunk=self.chunk,
        )
        phases = game.phases(*self.learners(student, teacher))
        curve, seconds = run_kept(phases, folder, log_every=self.log_every, checkpoints=self.checkpoints)
        for one in (student, teacher):
            one.eval()
        assert game.pools is not None
        counts = rows.counts | {"without_pool": int((game.pools.belief == 0).all(dim=1).sum())}
        trained = Trained(Path(out), seconds, phases.steps, self.batch_size * (1.0 + self.group), curve, counts)
        folder.finish(_Both(student, teacher), trained)
        return trained


class _Both:
    """Two models in one folder."""

    def __init__(self, retriever: Any, ranker: Any):
        self.retriever, self.ranker = retriever, ranker

    def save_pretrained(self, path: str) -> None:
        self.retriever.save_pretrained(path)
        self.ranker.save_pretrained(str(Path(path) / "ranker"))
