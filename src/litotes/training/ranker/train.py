"""train_ranker: from a cross-encoder and signed evidence to a better one, on the sentence-transformers trainer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from litotes.data.collection import Collection
from litotes.evidence import Evidence
from litotes.training.run_folder import OBJECTIVE, RunFolder, Trained
from litotes.training.running import check_settings, parsed_objective, set_dropout, trained_by, trainer_arguments

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder
    from torch import nn


def train_ranker(
    model: CrossEncoder | str | Path,
    evidence: pa.Table | Evidence | str | Path,
    collection: Collection,
    *,
    objective: nn.Module | str = "infonce(temperature=1.0)",
    out: str | Path,
    epochs: float = 1,
    max_steps: int | None = None,
    batch_size: int = 16,
    n: int = 7,
    how: Literal["top", "random"] = "top",
    per: Literal["anchor", "pair"] = "anchor",
    learning_rate: float = 2e-5,
    warmup: float = 0.1,
    weight_decay: float = 0.01,
    dropout: float | None = None,
    seed: int = 0,
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    max_length: int | None = None,
    prompt: str | None = None,
    log_every: int = 10,
    checkpoints: int = 500,
    resume: bool = True,
) -> Trained:
    """Train a cross-encoder on groups of evidence: a query, one of its positives, and negatives that are believed.

    The objective sees raw scores [B, 1 + n] with the signs and the weights of the evidence, and its scores as
    `pairs["teacher"]`: "infonce(temperature=1.0)" is listwise cross-entropy, "pairwise_logistic()" RankNet, "hinge()" a
    margin, "margin_mse()" learns from a teacher (`litotes rescore` puts its scores into the evidence).

    Runs on CrossEncoderTrainer and promises what `train_retriever` promises: the order of batches depends on seed and
    epoch only; `out` appears in one rename, until then all lies in `<out>.partial`; Ctrl-C or SIGTERM ends the run
    behind a step and calling again goes on to the weights of an uninterrupted run, on the same machine with the same
    number of threads; other arguments for the same `out` are refused.

    Args:
        model: a CrossEncoder with one output (trained in place), its folder or name; also the folder or name of an
            encoder, which gets a new head, drawn by `seed`.
        evidence: a table, Evidence, or its path: all of it, doubted rows too (`TrainingRows`).
        objective: an objective or Chain of litotes that reads scores, or its spelling.
        out: folder for the trained model.
        epochs, max_steps: passes over the rows, > 0; max_steps, if given, counts instead.
        batch_size: groups per step and process, >= 1.
        n, how, per: negatives per group, which ones, and what a group is (`TrainingRows`). A group with fewer stays.
        learning_rate: > 0. warmup: share of the steps in [0, 1). weight_decay: >= 0.
        dropout: in [0, 1), for all dropout layers; None = as the model says.
        seed: of dropout, batches, positives, random negatives and a new head.
        precision: "bf16", "fp32", or "auto": bf16 where the hardware multiplies it.
        max_length: tokens that a pair is cut to, >= 1; None = the model's own.
        prompt: put before each pair; None = nothing.
        log_every, checkpoints: steps between entries of the curve, and between checkpoints (two are kept), >= 1.
        resume: False throws an unfinished run away.
    Raises:
        ValueError: an argument is out of range, the model has several outputs, the objective reads vectors, or
            `<out>.partial` belongs to a run with other arguments.
        FileExistsError: there is something else at `out`.
        FloatingPointError: the loss became infinite or no number.
        KeyboardInterrupt: the run was interrupted; it can be resumed.
    """
    check_settings(
        "train_ranker",
        epochs=epochs,
        max_steps=max_steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        warmup=warmup,
        weight_decay=weight_decay,
        dropout=dropout,
        precision=precision,
        log_every=log_every,
        checkpoints=checkpoints,
    )
    if max_length is not None and not (isinstance(max_length, int) and max_length >= 1):
        raise ValueError(f"train_ranker: max_length must be a whole number >= 1 or None, got {max_length!r}")
    import torch
    from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
    from transformers import PrinterCallback

    from litotes.data.fingerprint import model_checksum
    from litotes.data.inference import best_device, best_dtype
    from litotes.data.models import load_ranker
    from litotes.integrations.cross_encoder import GroupLoss
    from litotes.training.buckets import LengthBuckets
    from litotes.training.callbacks import Bar, Clock, Finite, Interruptible, KeepsObjective
    from litotes.training.groups import GroupCollator
    from litotes.training.rows import TrainingRows

    device = best_device()
    out = Path(out)
    student: Any = load_ranker(model, device, seed) if isinstance(model, (str, Path)) else model
    if max_length is not None:
        student.max_seq_length = max_length
    loss = GroupLoss(student, parsed_objective(objective))
    evidence = Evidence.open(evidence) if isinstance(evidence, (str, Path)) else evidence
    rows = TrainingRows.of(evidence, collection, n=n, how=how, per=per, seed=seed)
    bf16 = precision == "bf16" or (precision == "auto" and best_dtype(student, device) == "bfloat16")
    settings = {
        "kind": "ranker", "model": model_checksum(student), "rows": rows.checksum(), "objective": str(loss.chain),
        "prompt": prompt, "epochs": epochs, "max_steps": max_steps, "batch_size": batch_size,
        "learning_rate": learning_rate, "warmup": warmup, "weight_decay": weight_decay, "dropout": dropout,
        "seed": seed, "bf16": bf16, "per": per, "how": how, "max_length": student.max_seq_length,
    }  # fmt: skip
    folder = RunFolder(out, settings)
    finished = folder.finished()
    if finished is not None:
        return finished
    checkpoint = folder.open(resume)

    set_dropout(student, dropout)
    if device == "cpu":
        loss.add_module("model", LengthBuckets(student, gives="scores"))
    collator = GroupCollator(student.preprocess, rows, prompt)
    interruptible = Interruptible()
    trainer = CrossEncoderTrainer(
        model=student,
        args=trainer_arguments(CrossEncoderTrainingArguments, folder, device, log_every, checkpoints),
        train_dataset=rows.dataset(),
        loss=loss,
        data_collator=collator,  # type: ignore[arg-type]
        callbacks=[Clock(collator, loss), KeepsObjective(loss.chain), Finite(), Bar(), interruptible],
    )
    trainer.remove_callback(PrinterCallback)
    if checkpoint is not None:
        state = torch.load(checkpoint / OBJECTIVE, map_location=student.device, weights_only=True)
        loss.chain.load_state_dict(state)
    seconds = trained_by(trainer, student, device, checkpoint, interruptible)
    texts = collator.seen["pairs"] / max(collator.seen["batches"], 1)
    return folder.ended(trainer, student, seconds, texts, rows.counts)
