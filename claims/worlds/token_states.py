"""Token states of a frozen encoder, kept in one array."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from litotes.data.models import load_model

ENCODER = "all-MiniLM-L6-v2"


@dataclass(frozen=True, eq=False)
class States:
    """`states` float16 [tokens, 384], texts end to end; text i has the rows offsets[i] to offsets[i + 1]."""

    states: Tensor
    offsets: np.ndarray

    def padded(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """States [B, T, 384] float32 and mask [B, T] float32 of these texts."""
        lengths = self.offsets[rows + 1] - self.offsets[rows]
        there = np.arange(lengths.max())[None, :] < lengths[:, None]
        place = np.where(there, self.offsets[rows][:, None] + np.arange(lengths.max()), 0)
        mask = torch.from_numpy(there).float()
        return self.states[torch.from_numpy(place)].float() * mask[:, :, None], mask


@torch.no_grad()
def states_of(texts: list[str], at_once: int = 256) -> States:
    """The last hidden states of all tokens of each text, the special ones too."""
    model = load_model(ENCODER, "cpu").eval()
    order = np.argsort([len(text) for text in texts], kind="stable")
    made: list[Tensor] = [torch.empty(0)] * len(texts)
    for start in range(0, len(texts), at_once):
        rows = order[start : start + at_once]
        features = model[0](model.preprocess([texts[row] for row in rows]))
        lengths = features["attention_mask"].sum(dim=1).tolist()
        for row, states, length in zip(rows, features["token_embeddings"], lengths, strict=True):
            made[row] = states[:length].half()
    offsets = np.r_[0, np.cumsum([len(each) for each in made])]
    return States(torch.cat(made), offsets)
