"""Scores of texts by two kinds of models in training, for groups of documents: float32 [B, M], with a graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from litotes.scoring import Scorer


class PairScores:
    """What a cross-encoder says of each query and its documents: raw logits, before any activation.

    Args:
        model: a sentence-transformers CrossEncoder with one output; its mode (train, eval) and gradient are the
            caller's.
        queries, documents: the texts that row numbers stand for.
        bfloat16: run the model under autocast.
    Raises:
        ValueError: the model has more than one output.
    """

    def __init__(self, model: Any, queries: Sequence[str], documents: Sequence[str], bfloat16: bool = False):
        if model.num_labels != 1:
            raise ValueError(f"PairScores: the model must have one output, got {model.num_labels}")
        self.model, self.queries, self.documents, self.bfloat16 = model, queries, documents, bfloat16

    def __call__(self, query: np.ndarray, document: np.ndarray) -> Tensor:
        """Logits [B, M] for rows of queries [B] and of documents [B, M]."""
        pairs = [(self.queries[q], self.documents[d]) for q, line in zip(query, document, strict=True) for d in line]
        features = _moved(self.model.preprocess(pairs), self.model.device)
        with torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.bfloat16):
            scores = self.model(features)["scores"]
        return scores.float().reshape(document.shape)


class VectorScores:
    """What a bi-encoder says of each query and its documents; a document that stands there twice is encoded once.

    Args:
        model: a SentenceTransformer; its mode (train, eval) and gradient are the caller's.
        scorer: compares vectors, `Dot()` or `Cosine()`.
        queries, documents: the texts that row numbers stand for.
        prompts: put before (queries, documents).
        bfloat16: run the model under autocast; vectors are compared in float32 either way.
    """

    def __init__(
        self,
        model: Any,
        scorer: Scorer,
        queries: Sequence[str],
        documents: Sequence[str],
        prompts: tuple[str, str] = ("", ""),
        bfloat16: bool = False,
    ):
        self.model, self.scorer, self.queries, self.documents = model, scorer, queries, documents
        self.prompts, self.bfloat16 = prompts, bfloat16

    def __call__(self, query: np.ndarray, document: np.ndarray) -> Tensor:
        """Scores [B, M] for rows of queries [B] and of documents [B, M]."""
        distinct, place = np.unique(document, return_inverse=True)
        anchors = self._encode([self.queries[q] for q in query], "query", self.prompts[0])
        vectors = self._encode([self.documents[d] for d in distinct], "document", self.prompts[1])
        own = vectors[torch.from_numpy(place.reshape(document.shape)).to(vectors.device)]
        return self.scorer.between(anchors[:, None, :], own)[:, 0, :]

    def _encode(self, texts: list[str], task: Literal["query", "document"], prompt: str) -> Tensor:
        routed = any("task" in getattr(module, "forward_kwargs", ()) for module in self.model)
        route = {"task": task} if routed else {}
        features = _moved({**self.model.preprocess(texts, prompt=prompt, **route), **route}, self.model.device)
        with torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.bfloat16):
            vectors = self.model(features)["sentence_embedding"]
        return vectors.float()


def load_cross_encoder(name: str | Path, device: str) -> Any:
    """The CrossEncoder that `name`, a folder or a name, means, on `device`."""
    from sentence_transformers import CrossEncoder

    from litotes.data.models import resolve_model

    return CrossEncoder(resolve_model(name), device=device)


def _moved(features: dict[str, Any], device: torch.device) -> dict[str, Any]:
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in features.items()}
