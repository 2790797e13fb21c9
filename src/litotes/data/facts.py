"""What an encoder must know of its model, whichever way the model was read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from litotes.data.fingerprint import model_checksum
from litotes.data.flops import products, products_of_bert
from litotes.data.plain_bert import PlainBert

_SIMILARITY = {"cosine": "cosine", "dot": "dot", "euclidean": "l2"}
_PROMPTS = {"query": ("query",), "document": ("document", "passage", "corpus")}


@dataclass(frozen=True)
class ModelFacts:
    """Facts of one model; equal for a folder and for the object that sentence-transformers loads from it.

    Args:
        name: for people.
        checksum: of all that the model computes with.
        max_length: tokens a text is cut to; None = the model does not say.
        prompts, default_prompt: as the model brings them.
        compares: "cosine", "dot", "euclidean", or what else the model says.
        asks_for_side: the model computes differently for queries and documents.
        products: multiplications per token and per two tokens, see `flops.products`.
    """

    name: str
    checksum: str
    max_length: int | None
    prompts: Mapping[str, str]
    default_prompt: str | None
    compares: str
    asks_for_side: bool
    products: tuple[int, int]

    @classmethod
    def of_plain(cls, plain: PlainBert, name: str) -> ModelFacts:
        """Of a `PlainBert`."""
        return cls(
            name=name,
            checksum=plain.checksum(),
            max_length=plain.max_length,
            prompts={"query": "", "document": ""} | plain.prompts,  # as sentence-transformers fills in
            default_prompt=plain.default_prompt,
            compares=plain.similarity or "cosine",
            asks_for_side=False,
            products=products_of_bert(plain.sizes),
        )

    @classmethod
    def of_model(cls, model: Any, name: str) -> ModelFacts:
        """Of a SentenceTransformer; it must be whole, that is, before `EndToEndInference` has taken it apart."""
        longest = model.max_seq_length or np.inf
        return cls(
            name=name,
            checksum=model_checksum(model),
            max_length=int(longest) if np.isfinite(longest) else None,
            prompts=dict(model.prompts),
            default_prompt=model.default_prompt_name,
            compares=model.similarity_fn_name,
            asks_for_side=any("task" in getattr(module, "forward_kwargs", ()) for module in model),
            products=products(model),
        )

    @property
    def longest(self) -> int:
        """Tokens of the longest text that the model takes; 512 where it does not say."""
        return self.max_length if self.max_length is not None and self.max_length < 10**6 else 512

    @property
    def similarity(self) -> str:
        """ "cosine", "dot" or "l2". Raises ValueError if the model compares in another way."""
        if self.compares not in _SIMILARITY:
            raise ValueError(
                f"Encoder: the model compares by {self.compares!r}; say similarity='cosine', 'dot' or 'l2'"
            )
        return _SIMILARITY[self.compares]

    def prompt(self, kind: str, given: str | None) -> str:
        """What is put before a text of that kind: what is given, else what the model brings for it or by default."""
        if given is not None:
            return given
        known = [name for name in _PROMPTS[kind] if name in self.prompts]
        return self.prompts.get(known[0] if known else self.default_prompt or "") or ""
