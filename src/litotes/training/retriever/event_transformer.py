"""EventTransformer: a sentence-transformers model whose queries may carry texts about what is happening now."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from sentence_transformers.base.modules import InputModule, Transformer

from litotes.training.retriever.event import EventFusion

_CONFIG, _WEIGHTS = "event_config.json", "event.safetensors"
_EVENTS = "events."  # not "events_": a feature that ends in "_input_ids" is a column of texts to the trainer
_TOLD = _EVENTS + "told"


class EventTransformer(InputModule):
    """A transformer and `EventFusion` as the first, and often only, module of a SentenceTransformer.

        SentenceTransformer(modules=[EventTransformer(Transformer(name))])
        model.encode("election result ||| Polls closed in Utrecht on Sunday ||| Turnout is the highest since 1998")

    What stands before the first `mark` is the query, every piece behind one is an event text; query and events go
    through the same transformer by themselves, and meet in the fusion. Texts without a mark, documents above all, are
    plain: pooled and normalised by the same head. So collections, miners, `train_retriever` and encoders of litotes
    work as they are, and events reach a query by its text alone. Of the three losses of `EventLoss` only the first
    reads what comes out here.

    In:   texts. Out: features with `sentence_embedding` [B, dim], of length 1.
    Cost: two passes of the transformer where a batch has events, one where it has none.

    Args:
        transformer: the Transformer module, its width is that of the vectors.
        heads, gate, pool: of the fusion.
        mark: what parts the texts, not empty.
    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        transformer: Transformer,
        heads: int = 8,
        gate: float | Literal["learn"] = 1.0,
        pool: Literal["mean", "cls"] = "mean",
        mark: str = " ||| ",
    ):
        super().__init__()
        if not (isinstance(mark, str) and mark.strip()):
            raise ValueError(f"EventTransformer: mark must be a text that is not only white space, got {mark!r}")
        self.transformer = transformer
        self.fusion = EventFusion(transformer.get_embedding_dimension(), heads, gate, pool)
        self.heads, self.gate, self.pool, self.mark = heads, gate, pool, mark

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **kwargs: Any) -> dict[str, Any]:
        parts = [[piece.strip() for piece in str(text).split(self.mark.strip())] for text in inputs]
        features = dict(self.transformer.preprocess([piece[0] for piece in parts], prompt=prompt, **kwargs))
        told = [" ".join(filter(None, piece[1:])) for piece in parts]
        if any(told):
            events = self.transformer.preprocess(told)
            for name, value in events.items():
                if isinstance(value, torch.Tensor) and value.ndim == 2:
                    # a dimension more than queries have: nobody takes the padding of these for that of those
                    features[_EVENTS + name] = value[:, None, :]
            features[_TOLD] = torch.tensor([bool(text) for text in told])
        return features

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        own = {name: value for name, value in features.items() if not name.startswith(_EVENTS)}
        asked = self.transformer(own, **kwargs)
        query, mask = asked["token_embeddings"], asked["attention_mask"]
        event, told = query[:, :0], mask[:, :0]
        if _TOLD in features:
            sent = {name: value for name, value in features.items() if name.startswith(_EVENTS) and name != _TOLD}
            events = {name.removeprefix(_EVENTS): value[:, 0] for name, value in sent.items()}
            read = self.transformer(events, **kwargs)
            event, told = read["token_embeddings"], read["attention_mask"] * features[_TOLD][:, None]
        return asked | {"sentence_embedding": self.fusion(query, mask, event, told)[0]}

    @property
    def tokenizer(self) -> Any:  # type: ignore[override]
        """That of the transformer."""
        return self.transformer.tokenizer

    @property
    def max_seq_length(self) -> int | None:
        """Tokens of a query, and of its events together."""
        length: int | None = self.transformer.max_seq_length
        return length

    @max_seq_length.setter
    def max_seq_length(self, value: int | None) -> None:
        self.transformer.max_seq_length = value

    def get_embedding_dimension(self) -> int:
        """Length of a vector."""
        return self.fusion.dim

    def get_config_dict(self) -> dict[str, Any]:
        """The arguments of the constructor, without the transformer."""
        return {name: getattr(self, name) for name in ("heads", "gate", "pool", "mark")}

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """The transformer as it saves itself, the fusion beside it."""
        from safetensors.torch import save_file

        self.transformer.save(output_path, safe_serialization=safe_serialization)
        self.save_config(output_path, filename=_CONFIG)
        save_file(dict(self.fusion.state_dict()), Path(output_path) / _WEIGHTS)

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
    ) -> EventTransformer:
        """The module that `save` wrote."""
        from safetensors.torch import load_file

        hub: dict[str, Any] = {"token": token, "cache_folder": cache_folder, "revision": revision}
        hub |= {"subfolder": subfolder, "local_files_only": local_files_only}
        inner = Transformer.load(model_name_or_path, **hub, **kwargs)
        module = cls(inner, **cls.load_config(model_name_or_path, config_filename=_CONFIG, **hub))
        weights = cls.load_file_path(model_name_or_path, filename=_WEIGHTS, **hub)
        if weights is None:
            raise ValueError(f"EventTransformer: {model_name_or_path} must hold {_WEIGHTS}, there is none")
        module.fusion.load_state_dict(load_file(weights))
        return module
