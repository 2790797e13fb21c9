"""LatentAttention: the pool of NV-Embed inside a model of sentence-transformers."""

from __future__ import annotations

from typing import Any

import torch
from sentence_transformers.base.modules import Module

from litotes.training.retriever.latent_pool import LatentAttentionPool, counted_tokens


class LatentAttention(Module):
    """`LatentAttentionPool` as the second module of a SentenceTransformer, in the place of its Pooling.

        SentenceTransformer(modules=[Transformer(name), LatentAttention(4096)])

    In:   features with `token_embeddings` [B, T, dim], `attention_mask` [B, T] and, where the text had a prompt,
          `prompt_length` (the number of its tokens).
    Out:  the features with `sentence_embedding` [B, dim].

    The whole model saves and loads like any other, where litotes is installed: litotes itself loads it by its folder;
    sentence-transformers asks for `trust_remote_code=True` wherever a module is not its own.

    Args:
        dim, latents, heads, head_dim, ff_mult, normalize, zero_init: of the pool.
        skip_prompt: the tokens of the prompt do not count (they are still read by the encoder).
    Raises:
        ValueError: an argument is out of range, or a text has no token beside its prompt.
    """

    def __init__(
        self,
        dim: int,
        latents: int = 512,
        heads: int = 8,
        head_dim: int | None = None,
        ff_mult: int = 4,
        normalize: bool = True,
        zero_init: bool = False,
        skip_prompt: bool = True,
    ):
        super().__init__()
        self.pool = LatentAttentionPool(dim, latents, heads, head_dim, ff_mult, normalize, zero_init)
        self.skip_prompt = bool(skip_prompt)

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        hidden = features["token_embeddings"]
        mask = features.get("attention_mask")
        mask = torch.ones(hidden.shape[:2], device=hidden.device) if mask is None else mask
        if self.skip_prompt and features.get("prompt_length") is not None:
            mask = counted_tokens(mask, features["prompt_length"])
        return features | {"sentence_embedding": self.pool(hidden, mask)}

    def get_embedding_dimension(self) -> int:
        """Length of a vector."""
        return self.pool.dim

    def get_config_dict(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        names = ("dim", "latents", "heads", "head_dim", "ff_mult", "normalize", "zero_init")
        return {name: getattr(self.pool, name) for name in names} | {"skip_prompt": self.skip_prompt}

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write arguments and weights into a folder."""
        self.save_config(output_path)
        self.save_torch_weights(output_path, safe_serialization=safe_serialization)

    @classmethod
    def load(
        cls,
        model_name_or_path: str,
        subfolder: str = "",
        token: bool | str | None = None,
        cache_folder: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        init_defaults: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> LatentAttention:
        """The module that `save` wrote."""
        hub: dict[str, Any] = {"token": token, "cache_folder": cache_folder, "revision": revision}
        hub |= {"subfolder": subfolder, "local_files_only": local_files_only}
        module = cls(**{**(init_defaults or {}), **cls.load_config(model_name_or_path, **hub)})
        cls.load_torch_weights(model_name_or_path, model=module, **hub)
        return module
