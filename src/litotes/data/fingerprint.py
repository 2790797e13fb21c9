"""What a model is, as a checksum: two models share it only if they give the same vectors."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from litotes.data.plain_bert import plain_bert_of

_SAYS_NOTHING = ("_name_or_path", "name_or_path", "transformers_version", "model_card_data")  # where from, not what


def model_checksum(model: Any) -> str:
    """SHA-256 over the modules of a SentenceTransformer: weights bit by bit, settings, tokenizer.

    The same for a folder, a hub name and an object in memory that hold the same model; never a matter of names. A plain
    BERT has the checksum of `PlainBert`, which needs no library to be read.
    """
    plain = plain_bert_of(model)
    if plain is not None:
        return plain.checksum()
    whole = hashlib.sha256()
    for number, module in enumerate(model):
        whole.update(_text({"number": number, "kind": f"{type(module).__module__}.{type(module).__qualname__}"}))
        settings = module.get_config_dict() if hasattr(module, "get_config_dict") else {}
        whole.update(_text(settings))
        config: Any = getattr(module, "config", None)
        if hasattr(config, "to_dict"):
            whole.update(_text({k: v for k, v in config.to_dict().items() if k not in _SAYS_NOTHING}))
        for name, tensor in sorted(module.state_dict().items()):
            whole.update(_text([name, str(tensor.dtype), list(tensor.shape)]))
            whole.update(_bytes(tensor))
        tokenizer = getattr(module, "tokenizer", None)
        if tokenizer is not None:
            whole.update(_tokenizer(tokenizer))
    whole.update(_text({"truncate": getattr(model, "truncate_dim", None)}))
    return whole.hexdigest()


def settings_checksum(settings: dict[str, Any]) -> str:
    """SHA-256 of settings that are texts, numbers, lists and None."""
    return hashlib.sha256(_text(settings)).hexdigest()


def library_versions() -> dict[str, str]:
    """Major versions of the libraries that compute vectors."""
    from importlib.metadata import version

    return {name: version(name).split(".")[0] for name in ("torch", "transformers", "sentence-transformers")}


def _tokenizer(tokenizer: Any) -> bytes:
    rust = getattr(tokenizer, "backend_tokenizer", tokenizer)
    parts: dict[str, Any] = {
        name: getattr(tokenizer, name, None) for name in ("padding_side", "truncation_side", "model_max_length")
    }
    if hasattr(rust, "to_str"):
        state = json.loads(rust.to_str())
        state.pop("padding", None)  # the last call's, and no part of the model
        state.pop("truncation", None)
        parts["rust"] = state
    else:
        parts["vocabulary"] = tokenizer.get_vocab() if hasattr(tokenizer, "get_vocab") else str(tokenizer)
    return _text(parts)


def _bytes(tensor: Any) -> Any:
    import torch

    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def _text(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=True, default=str).encode() + b"\n"
