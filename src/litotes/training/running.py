"""What all runs on the trainers of sentence-transformers share: checked settings, arguments, attention, dropout."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from litotes.training.run_folder import RunFolder

if TYPE_CHECKING:
    from torch import nn

    from litotes.chain import Chain
    from litotes.training.callbacks import Interruptible

_SHORT = 256  # tokens; above it, attention that is not fused needs too much memory


def check_settings(
    name: str,
    *,
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
    """Refuse settings that are out of range. `name`: of the function that took them.

    Raises:
        ValueError: the argument, its range and its value are named.
    """

    def refuse(argument: str, expected: str, value: object) -> None:
        raise ValueError(f"{name}: {argument} must be {expected}, got {value!r}")

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
    for argument, value in whole.items():
        if not (isinstance(value, int) and value >= 1) and not (argument == "max_steps" and value is None):
            refuse(argument, "a whole number >= 1", value)


def trainer_arguments(kind: type, folder: RunFolder, device: str, log_every: int, checkpoints: int, **more: Any) -> Any:
    """Arguments of a trainer, of the class `kind`, from the settings of a run, and `more` of them."""
    given = folder.settings
    return kind(
        **more,
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


def parsed_objective(objective: nn.Module | str) -> Chain:
    """The chain of an objective, of a chain, or of the spelling of either."""
    from litotes.chain import Chain

    if isinstance(objective, str):
        from litotes.catalog import parse

        return parsed_objective(parse(objective))
    return objective if isinstance(objective, Chain) else Chain(objective)


def set_dropout(model: nn.Module, dropout: float | None) -> None:
    """Let all dropout layers draw with this probability; None = as they are."""
    import torch

    if dropout is not None:
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = dropout


def trained_by(trainer: Any, model: Any, device: str, checkpoint: Path | None, interruptible: Interruptible) -> float:
    """Let the trainer run, from the checkpoint if there is one; the seconds it took.

    Raises:
        KeyboardInterrupt: it was interrupted and has written a checkpoint.
    """
    interruptible.take()
    begun = time.perf_counter()
    try:
        with quick_attention(model, device):
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    finally:
        interruptible.release()
        for callback in trainer.callback_handler.callbacks:
            if hasattr(callback, "close"):
                callback.close()
        trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)  # autocast was for the run only
    if interruptible.interrupted is not None and trainer.state.global_step < trainer.state.max_steps:
        raise KeyboardInterrupt(f"training stopped after step {trainer.state.global_step}; call again to go on")
    return time.perf_counter() - begun


@contextmanager
def quick_attention(model: Any, device: str) -> Iterator[None]:
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
