"""remove_causal_mask: decoders whose tokens see the whole text, for a while or for good."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

DECODERS = (
    "cohere", "exaone4", "gemma", "gemma2", "gemma3_text", "gpt2", "gpt_neox", "granite", "llama", "ministral",
    "mistral", "mixtral", "nemotron", "olmo", "olmo2", "olmo3", "opt", "phi", "phi3", "qwen2", "qwen2_moe", "qwen3",
    "qwen3_moe", "smollm3", "stablelm", "starcoder2",
)  # fmt: skip
"""Architectures (`config.model_type`) for which this has been seen to do what it says."""

_UNSET = object()


@contextmanager
def remove_causal_mask(model: nn.Module) -> Iterator[nn.Module]:
    """Within the block every token of a decoder sees all tokens of its text, later ones too; padding stays hidden.

    A decoder's states know only what came before; a vector of the whole text is better made from states that know it
    all. Nothing is learnt here: a model needs training to make use of it, and the same way of masking in inference
    (`make_bidirectional`).

    The switch is where transformers (5.x) asks: `is_causal` of the configuration, from which the mask is built, and
    that of each attention module, because fused attention that is given no mask (no padding in the batch) asks the
    module. A layer with a sliding window keeps it, on both sides: tokens farther away than the window stay unseen.
    A mask [B, 1, T, T] handed to the model is obeyed as it is; so a causal one gives the causal model back.

    Args:
        model: a decoder of transformers, or anything that contains one: a SentenceTransformer, a wrapper.
    Raises:
        ValueError: there is no model of transformers inside, or one whose architecture is not in `DECODERS`.
    Source: NV-Embed (arXiv:2405.17428), section 3.1; the same in LLM2Vec (arXiv:2404.05961), section 2.1.
    """
    before = [(thing, vars(thing).get("is_causal", _UNSET)) for thing in _switches(model)]
    try:
        make_bidirectional(model)
        yield model
    finally:
        for thing, value in before:
            if value is _UNSET:
                delattr(thing, "is_causal")
            else:
                thing.is_causal = value


def make_bidirectional(model: nn.Module) -> nn.Module:
    """The model itself, without its causal mask from now on: `is_causal` is saved with its configuration.

    Arguments and Raises as in `remove_causal_mask`.
    """
    for thing in _switches(model):
        thing.is_causal = False
    return model


def _switches(model: nn.Module) -> list[Any]:
    """Everything with a say: the configurations of all decoders inside, and their attention modules."""
    from transformers import PreTrainedModel

    found: dict[int, Any] = {}
    for decoder in model.modules():
        if not isinstance(decoder, PreTrainedModel):
            continue
        kind = decoder.config.model_type
        if kind not in DECODERS:
            raise ValueError(f"remove_causal_mask: model must be one of {', '.join(DECODERS)}, got {kind!r}")
        found[id(decoder.config)] = decoder.config
        attention = (part for part in decoder.modules() if part is not decoder and hasattr(part, "is_causal"))
        found.update((id(part), part) for part in attention)
    if not found:
        raise ValueError(f"remove_causal_mask: model must hold a decoder of transformers, got {type(model).__name__}")
    return list(found.values())
