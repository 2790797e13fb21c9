"""PairScorer: a cross-encoder with everything settled that its scores depend on."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import numpy as np

from litotes.data.fingerprint import library_versions, model_checksum, settings_checksum
from litotes.errors import BadInput

SIMILARITY = "cross-encoder"


class PairScorer:
    """Scores of pairs of texts, read together.

    Pairs are sorted by length and run in batches. The last bits of a score depend on the pairs that are asked together.

    Args:
        model: folder or name of a sentence-transformers CrossEncoder with one output, or the object.
        activation: "none" gives raw scores, whose differences a student can learn; "model" what the model itself puts
            behind them, as a rule a sigmoid, which saturates.
        prompt: put before each pair; None = nothing.
        max_length: tokens that a pair is cut to, >= 1; None = the model's own.
        dtype: "float32", "bfloat16" (autocast), or "auto": bfloat16 where the hardware multiplies it.
        batch_size: pairs in a batch, >= 1.
    Raises:
        ValueError: an argument is out of range, or the model has several outputs.
        OSError: the model cannot be loaded.
    """

    def __init__(
        self,
        model: Any,
        *,
        activation: Literal["none", "model"] = "none",
        prompt: str | None = None,
        max_length: int | None = None,
        dtype: str = "auto",
        batch_size: int = 32,
    ):
        if activation not in ("none", "model"):
            raise ValueError(f"PairScorer: activation must be 'none' or 'model', got {activation!r}")
        if dtype not in ("auto", "float32", "bfloat16"):
            raise ValueError(f"PairScorer: dtype must be 'auto', 'float32' or 'bfloat16', got {dtype!r}")
        for name, value in (("batch_size", batch_size), ("max_length", max_length)):
            if not (isinstance(value, int) and value >= 1) and not (name == "max_length" and value is None):
                raise ValueError(f"PairScorer: {name} must be a whole number >= 1, got {value!r}")
        from litotes.data.inference import best_device, best_dtype
        from litotes.data.models import load_ranker

        named = isinstance(model, (str, Path))
        self.model = load_ranker(model, best_device()) if named else model
        if self.model.num_labels != 1:
            raise ValueError(f"PairScorer: model must have one output, got {self.model.num_labels}")
        if max_length is not None:
            self.model.max_seq_length = max_length
        self.name = str(model) if named else type(model).__name__
        self.activation, self.prompt, self.batch_size = activation, prompt, batch_size
        self.dtype = best_dtype(self.model, self.model.device.type) if dtype == "auto" else dtype
        settings = {
            "model": model_checksum(self.model),
            "activation": "none" if activation == "none" else str(self.model.activation_fn),
            "prompt": prompt,
            "max_length": self.model.max_seq_length,
            "dtype": self.dtype,
            "batch_size": batch_size,
            "libraries": library_versions(),
        }
        self.about = {"name": self.name, "checksum": settings_checksum(settings), "similarity": SIMILARITY}

    def __call__(self, queries: Sequence[str], documents: Sequence[str]) -> np.ndarray:
        """Scores of aligned texts: float32 [P].

        Raises:
            BadInput: a score is NaN or infinite (the first such pair is named).
        """
        import torch

        if not len(queries):
            return np.empty(0, np.float32)
        low = self.dtype == "bfloat16"
        with torch.autocast(self.model.device.type, torch.bfloat16) if low else nullcontext():
            scores = self.model.predict(
                list(zip(queries, documents, strict=True)),
                prompt=self.prompt,
                batch_size=self.batch_size,
                activation_fn=torch.nn.Identity() if self.activation == "none" else None,
                show_progress_bar=False,
            )
        made = np.asarray(scores, np.float32)
        wild = np.flatnonzero(~np.isfinite(made))
        if len(wild):
            pair = f"{queries[wild[0]]!r}, {documents[wild[0]]!r}"
            raise BadInput(f"the score {made[wild[0]]} for the pair ({pair})", "a finite number", field="score")
        return made
