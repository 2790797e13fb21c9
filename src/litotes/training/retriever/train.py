"""train_retriever: from a model and signed evidence to a better model, on the sentence-transformers trainer."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from litotes.data.collection import Collection
from litotes.evidence import Evidence
from litotes.training.run_folder import OBJECTIVE, RunFolder, Trained

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import nn

_SHORT = 256  # tokens; above it, attention that is not fused needs too much memory


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
    per: Literal["anchor", "pair"] = "anchor",
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
        query_prompt, document_prompt: put before texts; None = the model's own, "" = none.
        log_every, checkpoints: steps between entries of the curve, and between checkpoints (two are kept), >= 1.
        resume: False throws an unfinished run away.
    Raises:
        ValueError: an argument is out of range, or `<out>.partial` belongs to a run with other arguments.
        FileExistsError: there is something else at `out`.
        FloatingPointError: the loss became infinite or no number.
        KeyboardInterrupt: the run was interrupted; it can be resumed.
    """
    _check(
        epochs, max_steps, batch_size, learning_rate, warmup, weight_decay, dropout, precision, log_every, checkpoints
    )
    import torch
    from sentence_transformers import SentenceTransformerTrainer
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
    chain = _parsed(objective)
    evidence = Evidence.open(evidence) if isinstance(evidence, (str, Path)) else evidence
    rows = TrainingRows.of(evidence, collection, n=n, how=how, per=per, seed=seed)
    prompts = prompts_of(student, query_prompt, document_prompt)
    bf16 = precision == "bf16" or (precision == "auto" and best_dtype(student, device) == "bfloat16")
    settings = {
        "model": model_checksum(student), "rows": rows.checksum(), "objective": str(chain), "prompts": list(prompts),
        "epochs": epochs, "max_steps": max_steps, "batch_size": batch_size, "learning_rate": learning_rate,
        "warmup": warmup, "weight_decay": weight_decay, "dropout": dropout, "seed": seed, "bf16": bf16, "per": per,
        "how": how, "mini_batch_size": mini_batch_size, "guide": _guide_name(guide), "others": others,
        "in_batch": in_batch,
    }  # fmt: skip
    folder = RunFolder(out, settings)
    finished = folder.finished()
    if finished is not None:
        return finished
    checkpoint = folder.open(resume)

    _set_dropout(student, dropout)
    loss = Loss(student, chain, guide=guide, mini_batch_size=mini_batch_size)
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
    callbacks = [Clock(collator, loss), KeepsObjective(loss.chain), Finite(), Bar(), interruptible]
    trainer = SentenceTransformerTrainer(
        model=student,
        args=_arguments(folder, device, log_every, checkpoints),
        train_dataset=rows.dataset(),
        loss=loss,
        data_collator=collator,  # type: ignore[arg-type]
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)
    if checkpoint is not None:
        state = torch.load(checkpoint / OBJECTIVE, map_location=student.device, weights_only=True)
        loss.chain.load_state_dict(state)

    interruptible.take()
    begun = time.perf_counter()
    try:
        with _quick_attention(student, device):
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    finally:
        interruptible.release()
        trainer.accelerator.unwrap_model(student, keep_fp32_wrapper=False)  # autocast was for the run only
    seconds = time.perf_counter() - begun
    if interruptible.interrupted is not None and trainer.state.global_step < trainer.state.max_steps:
        raise KeyboardInterrupt(f"training stopped after step {trainer.state.global_step}; call again to go on")

    curve = [{"step": e["step"], "loss": e["loss"]} for e in trainer.state.log_history if "loss" in e]
    texts = (collator.seen["anchors"] + collator.seen["candidates"]) / max(collator.seen["batches"], 1)
    trained = Trained(out, seconds, trainer.state.global_step, texts, curve, rows.counts)
    if trainer.is_world_process_zero():
        folder.finish(student, trained)
    trainer.accelerator.wait_for_everyone()
    return trained


def _arguments(folder: RunFolder, device: str, log_every: int, checkpoints: int) -> Any:
    from sentence_transformers import SentenceTransformerTrainingArguments

    given = folder.settings
    return SentenceTransformerTrainingArguments(
        output_dir=str(folder.partial),
        use_cpu=device == "cpu",
        bf16=given["bf16"],
        seed=given["seed"],
        data_seed=given["seed"],
        per_device_train_batch_size=given["batch_size"],
        num_train_epochs=given["epochs"],
        max_steps=given["max_steps"] or -1,
        learning_rate=given["learning_rate"],
        warmup_steps=given["warmup"],
        weight_decay=given["weight_decay"],
        optim="adamw_torch_fused",
        logging_steps=log_every,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=checkpoints,
        save_total_limit=2,
        dataloader_num_workers=0,
        dataloader_pin_memory=device != "cpu",
        report_to="none",
        disable_tqdm=True,
    )


def _check(
    epochs: float,
    max_steps: int | None,
    batch_size: int,
    learning_rate: float,
    warmup: float,
    weight_decay: float,
    dropout: float | None,
    precision: str,
    log_every: int,
    checkpoints: int,
) -> None:
    def refuse(name: str, expected: str, value: object) -> None:
        raise ValueError(f"train_retriever: {name} must be {expected}, got {value!r}")

    if not (epochs > 0 and math.isfinite(epochs)):
        refuse("epochs", "> 0 and finite", epochs)
    if not (learning_rate > 0 and math.isfinite(learning_rate)):
        refuse("learning_rate", "> 0 and finite", learning_rate)
    if not 0 <= warmup < 1:
        refuse("warmup", "in [0, 1)", warmup)
    if not (weight_decay >= 0 and math.isfinite(weight_decay)):
        refuse("weight_decay", ">= 0 and finite", weight_decay)
    if dropout is not None and not 0 <= dropout < 1:
        refuse("dropout", "in [0, 1) or None", dropout)
    if precision not in ("auto", "fp32", "bf16"):
        refuse("precision", "'auto', 'fp32' or 'bf16'", precision)
    whole = {"batch_size": batch_size, "log_every": log_every, "checkpoints": checkpoints, "max_steps": max_steps}
    for name, value in whole.items():
        if not (isinstance(value, int) and value >= 1) and not (name == "max_steps" and value is None):
            refuse(name, "a whole number >= 1", value)


def _parsed(objective: nn.Module | str) -> Any:
    from litotes.chain import Chain

    if isinstance(objective, str):
        from litotes.catalog import parse

        return _parsed(parse(objective))
    return objective if isinstance(objective, Chain) else Chain(objective)


def _guide_name(guide: Any) -> str | None:
    from litotes.data.fingerprint import model_checksum

    return guide if guide is None or isinstance(guide, str) else model_checksum(guide)


def _set_dropout(model: nn.Module, dropout: float | None) -> None:
    import torch

    if dropout is not None:
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = dropout


@contextmanager
def _quick_attention(model: Any, device: str) -> Iterator[None]:
    """On a CPU, attention as plain products: its fused form cannot draw dropout there and is slow backwards."""
    length = model.max_seq_length
    quick = device == "cpu" and length is not None and length <= _SHORT
    inner = [m for m in model.modules() if quick and hasattr(m, "set_attn_implementation") and hasattr(m, "config")]
    before = [module.config._attn_implementation for module in inner]
    for module in inner:
        module.set_attn_implementation("eager")
    try:
        yield
    finally:
        for module, name in zip(inner, before, strict=True):
            module.set_attn_implementation(name)
