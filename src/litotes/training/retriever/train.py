"""train_retriever: from a model and signed evidence to a better model, on the sentence-transformers trainer."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from litotes.data.collection import Collection
from litotes.evidence import Evidence
from litotes.training.run_folder import OBJECTIVE, RunFolder, Trained
from litotes.training.running import check_settings, parsed_objective, set_dropout, trained_by, trainer_arguments

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import nn

    from litotes.training.refresh import Refresh
    from litotes.training.rows import TrainingRows


def train_retriever(
    model: SentenceTransformer | str | Path,
    evidence: pa.Table | Evidence | str | Path,
    collection: Collection,
    *,
    objective: nn.Module | str,
    out: str | Path,
    epochs: float = 1,
    max_steps: int | None = None,
    batch_size: int = 32,
    n: int = 1,
    how: Literal["top", "random"] = "top",
    per: Literal["anchor", "pair", "triple"] = "anchor",
    learning_rate: float = 2e-5,
    warmup: float = 0.1,
    weight_decay: float = 0.01,
    dropout: float | None = None,
    seed: int = 0,
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    mini_batch_size: int | None = None,
    guide: SentenceTransformer | str | None = None,
    others: Literal["silent", "pull"] = "silent",
    in_batch: bool = True,
    batcher: Any = None,
    refresh: Refresh | None = None,
    query_prompt: str | None = None,
    document_prompt: str | None = None,
    log_every: int = 10,
    checkpoints: int = 500,
    resume: bool = True,
) -> Trained:
    """Train a bi-encoder on evidence: every pair that meets in a batch is looked up, doubts on disk count.

    Runs on SentenceTransformerTrainer (its optimiser, schedule, logs, checkpoints, DDP under torchrun) with AdamW,
    linear warm-up and decay, gradients clipped at norm 1. The order of batches depends on seed and epoch only.

    Runs to the end or not at all: until then everything lies in `<out>.partial`, and `out` appears in one rename.
    Ctrl-C or SIGTERM ends the run behind the step it falls into, writes a checkpoint and raises KeyboardInterrupt;
    calling again with the same arguments goes on from the last whole checkpoint and gives, on the same machine with the
    same number of threads, the weights an uninterrupted run gives. A finished run is not repeated. Other arguments for
    the same `out` are refused.

    On a CPU texts of similar length are run together (`LengthBuckets`), and models of at most 256 tokens use attention
    without fusion, which is faster there both ways. "bf16" is autocast: weights, gradients of weights and optimiser
    stay float32.

    Args:
        model: a SentenceTransformer (trained in place), its folder or name.
        evidence: a table, Evidence, or its path: all of it, doubted rows too (`TrainingRows`).
        objective: a Chain or objective of litotes, or its spelling, "infonce(temperature=0.05)".
        out: folder for the trained model.
        epochs, max_steps: passes over the rows, > 0; max_steps, if given, counts instead.
        batch_size: rows per step and process, >= 1.
        n, how, per: negatives per row, which ones, and what a row is (`TrainingRows`).
        learning_rate: > 0. warmup: share of the steps in [0, 1). weight_decay: >= 0.
        dropout: in [0, 1), for all dropout layers; None = as the model says. 0 is a seventh faster on a CPU.
        seed: of dropout, batches, positives and random negatives.
        precision: "bf16", "fp32", or "auto": bf16 where the hardware multiplies it.
        mini_batch_size: texts encoded at a time with cached gradients: batches larger than memory; None = all.
        guide: a second model, for chains with a part that reads one.
        others, in_batch: see `litotes.assemble.assemble`.
        batcher: `Ngame(...)`, `TasBalanced(...)` or a spelling, "ngame()": what meets in a batch; None = an even draw.
            Gaps for `TasBalanced` are those of the evidence's scores and need per="triple".
        refresh: mine negatives anew during training; None = those of the evidence all along.
        query_prompt, document_prompt: put before texts; None = the model's own, "" = none.
        log_every, checkpoints: steps between entries of the curve, and between checkpoints (two are kept), >= 1.
        resume: False throws an unfinished run away.
    Raises:
        ValueError: an argument is out of range, or `<out>.partial` belongs to a run with other arguments.
        FileExistsError: there is something else at `out`.
        FloatingPointError: the loss became infinite or no number.
        KeyboardInterrupt: the run was interrupted; it can be resumed.
    """
    check_settings(
        "train_retriever",
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
    import torch
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from transformers import PrinterCallback

    from litotes.data.fingerprint import model_checksum
    from litotes.data.inference import best_device, best_dtype
    from litotes.data.models import load_model
    from litotes.integrations.sentence_transformers import Loss
    from litotes.training.buckets import LengthBuckets
    from litotes.training.callbacks import Bar, Clock, Finite, Interruptible, KeepsObjective
    from litotes.training.collator import EvidenceCollator, prompts_of
    from litotes.training.rows import TrainingRows

    device = best_device()
    out = Path(out)
    student = load_model(model, device) if isinstance(model, (str, Path)) else model
    chain = parsed_objective(objective)
    evidence = Evidence.open(evidence) if isinstance(evidence, (str, Path)) else evidence
    rows = TrainingRows.of(evidence, collection, n=n, how=how, per=per, seed=seed)
    prompts = prompts_of(student, query_prompt, document_prompt)
    part = _parsed_batcher(batcher)
    if per == "triple" and refresh is not None:
        raise ValueError("train_retriever: refresh gives rows other negatives; per='triple' is one row per negative")
    bf16 = precision == "bf16" or (precision == "auto" and best_dtype(student, device) == "bfloat16")
    settings = {
        "model": model_checksum(student), "rows": rows.checksum(), "objective": str(chain), "prompts": list(prompts),
        "epochs": epochs, "max_steps": max_steps, "batch_size": batch_size, "learning_rate": learning_rate,
        "warmup": warmup, "weight_decay": weight_decay, "dropout": dropout, "seed": seed, "bf16": bf16, "per": per,
        "how": how, "mini_batch_size": mini_batch_size, "guide": _guide_name(guide), "others": others,
        "in_batch": in_batch, "refresh": None if refresh is None else refresh.identity,
        "batcher": None if part is None else str(part),
    }  # fmt: skip
    folder = RunFolder(out, settings)
    finished = folder.finished()
    if finished is not None:
        return finished
    checkpoint = folder.open(resume)

    set_dropout(student, dropout)
    loss = Loss(student, chain, guide=guide, mini_batch_size=mini_batch_size, seed=seed)
    if device == "cpu":
        loss.add_module("model", LengthBuckets(student))
    tasks = ("query", "document") if any("task" in getattr(m, "forward_kwargs", ()) for m in student) else None
    collator = EvidenceCollator(
        student.preprocess,
        rows,
        prompts=prompts,
        tasks=tasks,
        in_batch=in_batch,
        others=others,
        texts=guide is not None,
    )
    interruptible = Interruptible()
    refreshing = [] if refresh is None else [refresh.over(collator, evidence, how=how)]
    dataset, meeting, fresh = _meeting(part, rows, per, student, prompts[0])
    callbacks = [
        Clock(collator, loss),
        *refreshing,
        *fresh,
        KeepsObjective(loss.chain),
        Finite(),
        Bar(),
        interruptible,
    ]
    trainer = SentenceTransformerTrainer(
        model=student,
        args=trainer_arguments(SentenceTransformerTrainingArguments, folder, device, log_every, checkpoints, **meeting),
        train_dataset=dataset,
        loss=loss,
        data_collator=collator,  # type: ignore[arg-type]
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)
    if checkpoint is not None:
        state = torch.load(checkpoint / OBJECTIVE, map_location=student.device, weights_only=True)
        loss.chain.load_state_dict(state)

    seconds = trained_by(trainer, student, device, checkpoint, interruptible)
    texts = (collator.seen["anchors"] + collator.seen["candidates"]) / max(collator.seen["batches"], 1)
    report = [entry for each in refreshing for entry in each.report]
    return folder.ended(trainer, student, seconds, texts, rows.counts, report)


def _parsed_batcher(batcher: Any) -> Any:
    if not isinstance(batcher, str):
        return batcher
    from litotes.catalog import parse

    return parse(batcher, stage="batcher")


def _meeting(
    part: Any, rows: TrainingRows, per: str, student: Any, prompt: str
) -> tuple[Any, dict[str, Any], list[Any]]:
    """The data set, the trainer's arguments and the callbacks by which a batcher says what meets."""
    if part is None:
        return rows.dataset(), {}, []
    from litotes.data.encoder import Encoder
    from litotes.training.batching import Batches, FreshBatches

    dataset = rows.dataset().add_column("anchor", rows.anchor.astype("int64"))
    known = {"gaps": rows.gaps()} if per == "triple" and "gaps" in inspect.signature(part.over).parameters else {}
    batches = Batches(part, dataset, anchor="anchor", **known)

    def encode(queries: Sequence[Any]) -> Any:
        return Encoder(student, query_prompt=prompt).encode([rows.query_texts[row] for row in queries], "query")

    return dataset, {"batch_sampler": batches}, [FreshBatches(batches, encode)]


def _guide_name(guide: Any) -> str | None:
    from litotes.data.fingerprint import model_checksum

    return guide if guide is None or isinstance(guide, str) else model_checksum(guide)
