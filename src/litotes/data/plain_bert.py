"""Plain BERT encoders: which models are one, and how to read one without the libraries that can load any model.

Those libraries take three seconds and a quarter of a gigabyte to import. Most small encoders need none of what they
bring: a BERT, pooling, perhaps normalisation, a WordPiece tokenizer. What is read here is exactly that; a folder with
anything else in it, or anything unknown, is not read, and sentence-transformers loads it as before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LAYER = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "attention.output.LayerNorm",
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
)
_EMBEDDINGS = ("word_embeddings", "position_embeddings", "token_type_embeddings")
_POOLING = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
# settings of BERT that change nothing here: dropout is for training, the rest describes where the weights come from
_IDLE = {
    "_name_or_path", "architectures", "attention_probs_dropout_prob", "hidden_dropout_prob", "classifier_dropout",
    "gradient_checkpointing", "initializer_range", "transformers_version", "torch_dtype", "dtype", "use_cache",
    "id2label", "label2id", "bos_token_id", "eos_token_id", "directionality", "pooler_fc_size",
    "pooler_num_attention_heads", "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type", "num_labels",
    "tie_word_embeddings",
}  # fmt: skip
_SIZES = (
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_hidden_layers",
    "max_position_embeddings",
    "type_vocab_size",
    "vocab_size",
)
# what newer versions write beside a text model that gives one vector per token
_TEXT = {
    "transformer_task": "feature-extraction",
    "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
    "module_output_name": "token_embeddings",
}
_FIXED = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
}


@dataclass(frozen=True, eq=False)
class PlainBert:
    """All that the vectors of a plain BERT encoder depend on, and how it wants to be asked.

    Args:
        sizes: hidden_size, intermediate_size, num_attention_heads, num_hidden_layers, max_position_embeddings,
            type_vocab_size, vocab_size.
        epsilon: of the layer norms.
        weights: float32 tensors by their names in the checkpoint, without a leading "bert."; the pooler left out.
        tokenizer: the fast tokenizer as JSON, without padding and truncation.
        max_length: tokens a text is cut to, [CLS] and [SEP] included.
        pooling: "mean" (of all tokens) or "cls".
        normalize: the model itself scales its vectors to length 1.
        prompts, default_prompt: as the model brings them.
        similarity: what the model says: "cosine", "dot", "euclidean", ... or None.
    """

    sizes: dict[str, int]
    epsilon: float
    weights: dict[str, Any]
    tokenizer: dict[str, Any]
    max_length: int
    pooling: str
    normalize: bool
    prompts: dict[str, str]
    default_prompt: str | None
    similarity: str | None

    def checksum(self) -> str:
        """SHA-256 of weights, sizes, tokenizer, pooling and how long texts may be; prompts are not in it."""
        from tokenizers import Tokenizer

        # in the library's own spelling, whichever version wrote the file
        tokenizer = json.loads(Tokenizer.from_str(json.dumps(self.tokenizer)).to_str())
        about = {"sizes": self.sizes, "epsilon": self.epsilon, "tokenizer": tokenizer}
        about |= {"pooling": self.pooling, "normalize": self.normalize, "max_length": self.max_length}
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
        for name, tensor in sorted(self.weights.items()):
            digest.update(f"{name} {list(tensor.shape)}\n".encode())
            digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()


def read_plain_bert(folder: str | Path) -> PlainBert | None:
    """The plain BERT in a sentence-transformers folder; None if it holds anything else, however slight the difference.

    Known are: modules Transformer, Pooling (mean or first token, prompts included) and Normalize, in this order; a BERT
    with GELU and absolute positions, weights in one safetensors file; a WordPiece tokenizer as BERT's, cased or not.
    Adapters, remote code, quantised weights, other poolings and further files of settings are not.
    """
    folder = Path(folder)
    try:
        return _read(folder)
    except (OSError, KeyError, json.JSONDecodeError, TypeError):
        return None


def plain_bert_of(model: Any) -> PlainBert | None:
    """The same of a SentenceTransformer in memory; None if it is anything else. It is read, not changed.

    A folder, and the object that sentence-transformers loads from it, give the same checksum.
    """
    modules = list(model)
    kinds = [f"{type(module).__module__}.{type(module).__name__}" for module in modules]
    if not _known_modules(kinds) or getattr(model, "truncate_dim", None) is not None:
        return None
    network: Any = getattr(modules[0], "auto_model", None)
    tokenizer: Any = getattr(model, "tokenizer", None)
    if type(network).__name__ != "BertModel" or not hasattr(tokenizer, "backend_tokenizer"):
        return None
    config = json.loads(network.config.to_json_string())
    settings = modules[0].get_config_dict()
    weights = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    try:
        normalizer = json.loads(tokenizer.backend_tokenizer.to_str())["normalizer"] or {}
        said = {
            "do_lower_case": normalizer.get("lowercase"),
            "strip_accents": normalizer.get("strip_accents"),
            "tokenize_chinese_chars": normalizer.get("handle_chinese_chars"),
            "tokenizer_class": type(tokenizer).__name__,
            "padding_side": tokenizer.padding_side,
            "truncation_side": tokenizer.truncation_side,
        }
        settings = settings | {"max_seq_length": model.max_seq_length}
        if getattr(modules[0], "do_lower_case", False):
            return None
        return _described(
            config,
            settings,
            modules[1].get_config_dict(),
            {
                "prompts": model.prompts,
                "default_prompt_name": model.default_prompt_name,
                "similarity_fn_name": model.similarity_fn_name,
            },
            json.loads(tokenizer.backend_tokenizer.to_str()),
            said,
            lambda: weights,
            kinds,
        )
    except (KeyError, TypeError):
        return None


def _read(folder: Path) -> PlainBert | None:
    from safetensors.torch import load_file

    modules = _json(folder / "modules.json")
    kinds = [module["type"] for module in modules]
    if not _known_modules(kinds) or modules[0]["path"] != "" or (folder / "adapter_config.json").exists():
        return None
    return _described(
        _json(folder / "config.json"),
        _json(folder / "sentence_bert_config.json"),
        _json(folder / modules[1]["path"] / "config.json"),
        _json(folder / "config_sentence_transformers.json", {}),
        _json(folder / "tokenizer.json"),
        _json(folder / "tokenizer_config.json"),
        lambda: load_file(folder / "model.safetensors"),
        kinds,
    )


def _known_modules(kinds: list[str]) -> bool:
    names = [kind.rsplit(".", 1)[-1] for kind in kinds]
    ours = names in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])
    return ours and all(kind.startswith("sentence_transformers.") for kind in kinds)


def _described(
    config: dict[str, Any],
    settings: dict[str, Any],
    pooling: dict[str, Any],
    about: dict[str, Any],
    tokenizer: dict[str, Any],
    tokenizer_settings: dict[str, Any],
    load: Callable[[], dict[str, Any]],
    kinds: list[str],
) -> PlainBert | None:
    """The encoder that all these settings describe together, if each of them is known."""
    known = _plain(config) and all(settings[name] == value for name, value in _TEXT.items() if name in settings)
    known &= set(settings) <= {"max_seq_length", "do_lower_case", *_TEXT} and not settings.get("do_lower_case")
    known &= set(about) <= {"__version__", "prompts", "default_prompt_name", "similarity_fn_name", "model_type"}
    known &= about.get("model_type", "SentenceTransformer") == "SentenceTransformer"
    known &= about.get("similarity_fn_name") in (None, "cosine", "dot", "euclidean", "manhattan")
    way, plain = _pooling(dict(pooling), config["hidden_size"]), _tokenizer(tokenizer, tokenizer_settings)
    most = config["max_position_embeddings"]
    longest = settings.get("max_seq_length") or min(most, tokenizer_settings.get("model_max_length", most))
    if not known or way is None or plain is None or not 3 <= longest <= most:
        return None
    weights = _weights(load(), config)
    if weights is None:
        return None
    return PlainBert(
        sizes={name: config[name] for name in _SIZES},
        epsilon=config["layer_norm_eps"],
        weights=weights,
        tokenizer=plain,
        max_length=int(longest),
        pooling=way,
        normalize=kinds[-1].endswith(".Normalize"),
        prompts=dict(about.get("prompts") or {}),
        default_prompt=about.get("default_prompt_name"),
        similarity=about.get("similarity_fn_name"),
    )


def _plain(config: dict[str, Any]) -> bool:
    """Whether this configuration is a BERT of which every setting is known."""
    fixed = all(config.get(name, value) == value for name, value in _FIXED.items())
    unknown = set(config) - _IDLE - set(_SIZES) - set(_FIXED) - {"layer_norm_eps", "pad_token_id"}
    return fixed and config["model_type"] == "bert" and not unknown and config.get("pad_token_id", 0) == 0


def _pooling(config: dict[str, Any], width: int) -> str | None:
    """The one kind of pooling, if it is one of those known here."""
    sized = config.pop("word_embedding_dimension", None), config.pop("embedding_dimension", None)
    if any(size not in (None, width) for size in sized) or config.pop("include_prompt", True) is not True:
        return None
    if set(config) == {"pooling_mode"}:  # written by newer versions
        return config["pooling_mode"] if config["pooling_mode"] in _POOLING.values() else None
    chosen = [name for name, on in config.items() if on]
    if len(chosen) != 1 or any(not name.startswith("pooling_mode_") for name in config):
        return None
    return _POOLING.get(chosen[0])


def _tokenizer(tokenizer: dict[str, Any], config: dict[str, Any]) -> dict[str, Any] | None:
    """The fast tokenizer, if it is BERT's and its two files say the same."""
    normalizer, model = tokenizer["normalizer"] or {}, tokenizer["model"]
    special = [token["content"] for token in tokenizer["added_tokens"] if token["special"]]
    as_said = (
        config.get("do_lower_case", True) == normalizer.get("lowercase")
        and config.get("strip_accents") == normalizer.get("strip_accents")
        and config.get("tokenize_chinese_chars", True) == normalizer.get("handle_chinese_chars")
        and config.get("tokenizer_class", "BertTokenizer") in ("BertTokenizer", "BertTokenizerFast")
        and all(config.get(f"{name}_side", "right") == "right" for name in ("padding", "truncation"))
    )
    usual = (
        normalizer.get("type") == "BertNormalizer"
        and tokenizer["pre_tokenizer"] == {"type": "BertPreTokenizer"}
        and model.get("type", "WordPiece") == "WordPiece"
        and tokenizer["post_processor"]["type"] == "TemplateProcessing"
        and [next(iter(piece.values()))["id"] for piece in tokenizer["post_processor"]["single"]]
        == ["[CLS]", "A", "[SEP]"]
        and sorted(special) == ["[CLS]", "[MASK]", "[PAD]", "[SEP]", "[UNK]"] == sorted(
            token["content"] for token in tokenizer["added_tokens"]
        )
    )  # fmt: skip
    return tokenizer | {"padding": None, "truncation": None} if as_said and usual else None


def _weights(weights: dict[str, Any], config: dict[str, Any]) -> dict[str, Any] | None:
    """All tensors of the encoder in float32, if they are all there, of the right shapes, and nothing else is."""
    import torch

    weights = {name.removeprefix("bert."): tensor for name, tensor in weights.items()}
    weights = {
        name.replace(".gamma", ".weight").replace(".beta", ".bias"): tensor
        for name, tensor in weights.items()
        if not name.startswith("pooler.") and name != "embeddings.position_ids"
    }
    width, wide = config["hidden_size"], config["intermediate_size"]
    shapes: dict[str, list[int]] = {}
    rows = config["vocab_size"], config["max_position_embeddings"], config["type_vocab_size"]
    shapes |= {f"embeddings.{name}.weight": [n, width] for name, n in zip(_EMBEDDINGS, rows, strict=True)}
    shapes |= {f"embeddings.LayerNorm.{kind}": [width] for kind in ("weight", "bias")}
    for layer in range(config["num_hidden_layers"]):
        for part in _LAYER:
            out = wide if part == "intermediate.dense" else width
            into = wide if part == "output.dense" else width
            name = f"encoder.layer.{layer}.{part}"
            shapes[f"{name}.weight"] = [width] if part.endswith("LayerNorm") else [out, into]
            shapes[f"{name}.bias"] = [out]
    if {name: list(tensor.shape) for name, tensor in weights.items()} != shapes:
        return None
    if any(not tensor.is_floating_point() for tensor in weights.values()) or width % config["num_attention_heads"]:
        return None
    return {name: tensor.to(torch.float32) for name, tensor in weights.items()}


def _json(file: Path, otherwise: Any = None) -> Any:
    if otherwise is not None and not file.exists():
        return otherwise
    return json.loads(file.read_text(encoding="utf-8"))
