"""A static encoder distilled from a transformer: a vector per token, a text is their mean. Hundreds of times faster."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from litotes.progress import progress


def static_from(
    model: str | Path, folder: str | Path, *, smoothing: float | None = 1e-4, batch: int = 1024, device: str = "cpu"
) -> Path:
    """Distil `model` into a StaticEmbedding model in `folder`, which loads as any other model does.

    Every token of the vocabulary is run through the model alone, between the model's special tokens. Frequent tokens
    are then marked down, because a mean counts "the" as much as "turbine":

        vector(token) = v(token) * smoothing / (smoothing + p(token))
        p(token) = (1 / rank) / sum over all tokens of 1 / rank

    Ranks stand in for frequencies (Zipf's law), for vocabularies are ordered by frequency as a rule. Special tokens get
    0, so a text of unknown words becomes the zero vector. No network and no texts are needed.

    Cost: one forward pass over the vocabulary (30,522 tokens of a 6-layer model: about 20 seconds on two cores).

    Args:
        model: a folder or name, as `resolve_model` takes it; its tokenizer must be a fast one.
        folder: where the model goes; must not exist yet. It is whole or absent.
        smoothing: > 0; None = all tokens alike.
        batch: tokens at a time, >= 1.
        device: where the model runs, as torch spells it.
    Raises:
        ValueError: an argument is out of range, `folder` exists, or the tokenizer is no fast one.
        OSError: the model cannot be loaded.
    Source: A Simple but Tough-to-Beat Baseline for Sentence Embeddings (ICLR 2017), equation 3, without its common
        component; one forward pass per token as in model2vec.
    """
    if smoothing is not None and not (0 < smoothing < float("inf")):
        raise ValueError(f"static_from: smoothing must be > 0 and finite, or None, got {smoothing!r}")
    if not batch >= 1:
        raise ValueError(f"static_from: batch must be >= 1, got {batch!r}")
    folder = Path(folder)
    if folder.exists():
        raise ValueError(f"static_from: {str(folder)!r} exists already")
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    from litotes.data.models import load_model

    teacher = load_model(model, device).eval()
    rust = getattr(teacher.tokenizer, "backend_tokenizer", None)
    if rust is None:
        raise ValueError(f"static_from: {str(model)!r} has no fast tokenizer")
    vectors = _token_vectors(teacher, rust.get_vocab_size(), batch)
    if smoothing is not None:
        vectors *= (smoothing / (smoothing + _zipf(len(vectors))))[:, None].astype(np.float32)
    vectors[list(teacher.tokenizer.all_special_ids)] = 0
    rust = type(rust).from_str(rust.to_str())
    rust.no_truncation()
    student = SentenceTransformer(modules=[StaticEmbedding(rust, embedding_weights=vectors)], device="cpu")
    return _saved(student, folder)


def _token_vectors(teacher: Any, size: int, batch: int) -> np.ndarray:
    """The model's own vector of every token alone, float32 [V, D]."""
    import torch

    before, after = _around(teacher.tokenizer)
    parts = []
    with torch.inference_mode(), progress(total=size, what="distilling tokens", unit="tokens") as bar:
        for lo in range(0, size, batch):
            tokens = torch.arange(lo, min(lo + batch, size))
            ends = [torch.tensor(part, dtype=torch.long).expand(len(tokens), -1) for part in (before, after)]
            ids = torch.cat([ends[0], tokens[:, None], ends[1]], dim=1).to(teacher.device)
            features = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
            parts.append(teacher(features)["sentence_embedding"].float().cpu())
            bar.update(len(tokens))
    return torch.cat(parts).numpy()


def _around(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens that the model expects before and after a text."""
    bare, whole = tokenizer("a", add_special_tokens=False)["input_ids"], tokenizer("a")["input_ids"]
    for start in range(len(whole)):
        if whole[start : start + len(bare)] == bare:
            return whole[:start], whole[start + len(bare) :]
    raise ValueError("static_from: the tokenizer changes a text when it adds special tokens; cannot run a token alone")


def _zipf(size: int) -> np.ndarray:
    chance = 1 / np.arange(1, size + 1)
    return chance / chance.sum()


def _saved(student: Any, folder: Path) -> Path:
    temporary = folder.with_name(f"{folder.name}.{os.getpid()}.litotes-partial")
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        student.save(str(temporary))
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder
