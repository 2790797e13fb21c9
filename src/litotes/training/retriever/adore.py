"""DynamicNegatives: train the query side alone, against the documents that it ranks highest at this very step."""

from __future__ import annotations

import math
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import torch

from litotes.chain import Chain
from litotes.data.collection import Collection
from litotes.evidence import Evidence
from litotes.objectives.listwise.adore import Adore
from litotes.scoring import Cosine, Dot, NegL2
from litotes.search.definition import check_vectors
from litotes.spelling import spell
from litotes.training.retriever.current_top import CurrentTop, Known, QueryCollator
from litotes.training.retriever.two_sides import asymmetric, query_side
from litotes.training.rows import TrainingRows
from litotes.training.run_folder import OBJECTIVE, RunFolder, Trained
from litotes.training.running import check_settings, quick_attention, set_dropout, trainer_arguments

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

SCORERS = {"cosine": Cosine, "dot": Dot, "l2": NegL2}
VECTORS = "documents.npy"


@dataclass(frozen=True)
class DynamicNegatives:
    """ADORE: the document side is encoded once and frozen, the query side is trained on its current top ranks.

        q = encode(query)                          with gradient
        list = top_k documents for q, now          exact search with that same q; positives behind it if none is in it
        loss = adore(q . documents of the list)    `objectives.listwise.adore.Adore`

    Mined negatives go stale: the model pushes down what was listed once, while documents it never saw rise. Here the
    list is searched anew at every step and the index cannot go stale, for the documents never move: no text of the
    corpus is encoded again, in training or after it.

    In:   a bi-encoder; evidence, whose positives are the answers; a collection, whose whole corpus is searched. A
          document is +1 if evidence, or a judgement of `split`, calls it (or an exact copy of it) a positive, 0 if
          evidence says 0, else -1 with the belief evidence has in it: a vetter's doubts count, others are believed.
    Out:  `Trained`. Its folder holds an asymmetric model (a Router of sentence-transformers: the trained query side and
          the document side as it was) and `documents.npy`, float32 [N, D], the frozen vectors by row of the corpus.
          What the saved document side encodes equals them up to the rounding of another precision. The model given is
          left as it is. If both sides share weights, they do so no longer.
    Cost: encoding the corpus once; per step one forward and backward pass of the queries and one exact search,
          O(B N D). The vectors are a memory map.

    Runs on SentenceTransformerTrainer; checkpoints, Ctrl-C and going on are those of `train_retriever`: a resumed run
    gives the weights of an uninterrupted one.

    Args:
        top_k: documents searched per query and step, >= 1; what exceeds the corpus is cut.
        metric, metric_cut: of the objective: "rr", "ndcg" or "none"; ranks that count, or None for all.
        temperature: divides the scores, > 0. None = 0.05 where the model compares by cosine, else 1.
        epochs, max_steps: passes over the queries, > 0; max_steps, if given, counts instead.
        batch_size: queries per step and process, >= 1.
        learning_rate: > 0. warmup: share of the steps in [0, 1). weight_decay: >= 0.
        dropout: in [0, 1), for all dropout layers of the query side; None = as the model says.
        precision: of training, "bf16", "fp32" or "auto".
        query_prompt, document_prompt: put before texts; None = the model's own, "" = none.
        log_every, checkpoints: steps between entries of the curve, and between checkpoints, >= 1.
    Raises:
        ValueError: an argument is out of range, no query has a believed positive, the collection has judgements but no
            such split, or `<out>.partial` belongs to a run with other arguments.
        FileExistsError: there is something else at `out`.
        FloatingPointError: the loss became infinite or no number.
        KeyboardInterrupt: the run was interrupted; it can be resumed.
    Source: Optimizing Dense Retrieval Model Training with Hard Negatives (arXiv:2104.08051), section 5; defaults of the
        released code, but for warm-up (2,000 steps there) and the temperature of cosine models (none there).
    """

    top_k: int = 200
    metric: Literal["rr", "ndcg", "none"] = "rr"
    metric_cut: int | None = 200
    temperature: float | None = None
    epochs: float = 6.0
    max_steps: int | None = None
    batch_size: int = 32
    learning_rate: float = 5e-6
    warmup: float = 0.1
    weight_decay: float = 0.01
    dropout: float | None = None
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    query_prompt: str | None = None
    document_prompt: str | None = None
    log_every: int = 10
    checkpoints: int = 500

    def __post_init__(self) -> None:
        if not (isinstance(self.top_k, int) and self.top_k >= 1):
            raise ValueError(f"DynamicNegatives: top_k must be a whole number >= 1, got {self.top_k!r}")
        if self.temperature is not None and not (self.temperature > 0 and math.isfinite(self.temperature)):
            raise ValueError(f"DynamicNegatives: temperature must be > 0 and finite or None, got {self.temperature!r}")
        Adore(self.metric, self.metric_cut)
        check_settings(
            "DynamicNegatives",
            epochs=self.epochs,
            max_steps=self.max_steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            warmup=self.warmup,
            weight_decay=self.weight_decay,
            dropout=self.dropout,
            precision=self.precision,
            log_every=self.log_every,
            checkpoints=self.checkpoints,
        )

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
        documents: np.ndarray | None = None,
    ) -> Trained:
        """Train the query side of a model, or go on doing so.

        Args:
            model: a SentenceTransformer, its folder or name. One with routes for query and document starts from both.
            evidence: a table, Evidence, or its path: all of it, doubted rows too.
            out: folder for the result.
            split: whose judged positives are positives besides those of the evidence; a collection without judgements
                has none.
            seed: of dropout and the order of queries.
            resume: False throws an unfinished run away.
            documents: float32 [N, D], vectors of the corpus by row, of this model's document side; None = encode them.
        """
        from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
        from transformers import PrinterCallback

        from litotes.data.encoder import Encoder
        from litotes.data.fingerprint import model_checksum
        from litotes.data.inference import best_device, best_dtype
        from litotes.data.models import load_model
        from litotes.training.buckets import LengthBuckets
        from litotes.training.callbacks import Bar, Clock, Finite, Interruptible, KeepsObjective
        from litotes.training.collator import prompts_of

        device = best_device()
        base = load_model(model, device) if isinstance(model, (str, Path)) else model
        evidence = Evidence.open(evidence) if isinstance(evidence, (str, Path)) else evidence
        rows = TrainingRows.of(evidence, collection, n=0, seed=seed)
        known = Known.of(rows, split)
        encoder = Encoder(base, query_prompt=self.query_prompt, document_prompt=self.document_prompt, device=device)
        bf16 = self.precision == "bf16" or (self.precision == "auto" and best_dtype(base, device) == "bfloat16")
        settings = {
            "trainer": str(self), "model": model_checksum(base), "rows": rows.checksum(), "split": split, "seed": seed,
            "documents": None if documents is None else checked_documents(documents, collection, encoder.width),
            "similarity": encoder.similarity, "epochs": self.epochs, "max_steps": self.max_steps, "bf16": bf16,
            "batch_size": self.batch_size, "learning_rate": self.learning_rate, "warmup": self.warmup,
            "weight_decay": self.weight_decay, "collection": collection.fingerprint(),
        }  # fmt: skip
        folder = RunFolder(Path(out), settings)
        finished = folder.finished()
        if finished is not None:
            return finished
        checkpoint = folder.open(resume)
        frozen = _frozen(folder.partial / VECTORS, encoder, collection, documents)

        student = query_side(base)
        set_dropout(student, self.dropout)
        temperature = self.temperature or (0.05 if encoder.similarity == "cosine" else 1.0)
        chain = Chain(SCORERS[encoder.similarity](), Adore(self.metric, self.metric_cut, temperature))
        loss = CurrentTop(student, chain, frozen, known, self.top_k, encoder.similarity)
        if device == "cpu":
            loss.add_module("model", LengthBuckets(student))
        prompt, _ = prompts_of(base, self.query_prompt, self.document_prompt)
        collator = QueryCollator(student.preprocess, rows, prompt)
        interruptible = Interruptible()
        trainer = SentenceTransformerTrainer(
            model=student,
            args=trainer_arguments(
                SentenceTransformerTrainingArguments, folder, device, self.log_every, self.checkpoints
            ),
            train_dataset=rows.dataset(),
            loss=loss,
            data_collator=collator,  # type: ignore[arg-type]
            callbacks=[Clock(collator, loss), KeepsObjective(chain), Finite(), Bar(), interruptible],
        )
        trainer.remove_callback(PrinterCallback)
        if checkpoint is not None:
            chain.load_state_dict(torch.load(checkpoint / OBJECTIVE, map_location=student.device, weights_only=True))

        interruptible.take()
        begun = time.perf_counter()
        try:
            with quick_attention(student, device):
                trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        finally:
            interruptible.release()
            trainer.accelerator.unwrap_model(student, keep_fp32_wrapper=False)
        seconds = time.perf_counter() - begun
        if interruptible.interrupted is not None and trainer.state.global_step < trainer.state.max_steps:
            raise KeyboardInterrupt(f"training stopped after step {trainer.state.global_step}; call again to go on")

        curve = [{"step": e["step"], "loss": e["loss"]} for e in trainer.state.log_history if "loss" in e]
        texts = collator.seen["anchors"] / max(collator.seen["batches"], 1)
        trained = Trained(Path(out), seconds, trainer.state.global_step, texts, curve, rows.counts)
        if trainer.is_world_process_zero():
            folder.finish(_Result(asymmetric(student, base), folder.partial / VECTORS), trained)
        trainer.accelerator.wait_for_everyone()
        return trained

    def __str__(self) -> str:
        return spell(self)


@dataclass(frozen=True)
class _Result:
    """What is saved: the model, and beside it the vectors of its documents."""

    model: Any
    vectors: Path

    def save_pretrained(self, path: str) -> None:
        self.model.save_pretrained(path)
        try:
            os.link(self.vectors, Path(path) / VECTORS)
        except OSError:  # a file system without links
            shutil.copyfile(self.vectors, Path(path) / VECTORS)


def checked_documents(documents: np.ndarray, collection: Collection, width: int) -> str:
    """The SHA-256 of given vectors. Raises ValueError where they do not fit corpus and model."""
    import hashlib

    check_vectors(documents, "documents")
    wanted = (len(collection.corpus), width)
    if documents.shape != wanted:
        raise ValueError(f"DynamicNegatives: documents must be {list(wanted)}, got {list(documents.shape)}")
    digest = hashlib.sha256()
    for start in range(0, len(documents), 16384):
        digest.update(np.ascontiguousarray(documents[start : start + 16384]).data)
    return digest.hexdigest()


def _frozen(path: Path, encoder: Any, collection: Collection, given: np.ndarray | None) -> np.ndarray:
    """The vectors of the corpus as a read-only memory map, made once per run."""
    from litotes.atomic import atomic_path

    if not path.exists():
        if given is None:
            encoder.encode(collection.document_texts(), "document", path)
        else:
            with atomic_path(path) as temporary, open(temporary, "wb") as file:
                np.save(file, np.ascontiguousarray(given))
    return np.load(path, mmap_mode="r")
