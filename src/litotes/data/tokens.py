"""Texts to token ids in one call per shard, without padding and without a Python object per token."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

_ENDLESS = 10**9  # what tokenizers without a limit say


@dataclass(frozen=True, eq=False)
class TokenIds:
    """A shard of texts as token ids laid end to end: text i is `ids[starts[i] : starts[i + 1]]`.

    `rest` holds what the model's preprocessing says beside token ids; it is the same for every text.
    """

    ids: np.ndarray
    starts: np.ndarray
    rest: dict[str, Any]

    def of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(ids, starts) of the texts `rows`, in that order."""
        parts = [self.ids[self.starts[row] : self.starts[row + 1]] for row in rows.tolist()]
        return np.concatenate(parts), np.concatenate([[0], np.cumsum([len(part) for part in parts])])


class Tokenizer:
    """The tokenizer of a model at the speed of its Rust core, which works without Python's lock.

    Args:
        model: a SentenceTransformer for which `is_plain` is true; its tokenizer belongs to this object from then on.
    """

    def __init__(self, model: Any):
        self._model = model
        self._lock = threading.Lock()  # settings of the core are changed between calls
        self._rests: dict[tuple[str, str], dict[str, Any]] = {}

    def __call__(self, texts: Sequence[str], prompt: str, kind: str) -> TokenIds:
        with self._lock:
            key = (prompt, kind)
            if key not in self._rests:
                self._rests[key] = _rest(self._model, prompt)
            listed = _listed(self._model, [prompt + text for text in texts] if prompt else texts)
        return _laid_out(listed, self._rests[key])


class CoreTokenizer:
    """A tokenizer of the Rust core alone, as its JSON describes it.

    Args:
        tokenizer: the JSON, read.
        max_length: tokens a text is cut to, special tokens included.
    """

    def __init__(self, tokenizer: Mapping[str, Any], max_length: int):
        from tokenizers import Tokenizer as Core

        self._core = Core.from_str(json.dumps(tokenizer))
        self._core.no_padding()
        self._core.enable_truncation(max_length)

    def __call__(self, texts: Sequence[str], prompt: str, kind: str) -> TokenIds:
        return _laid_out(_encoded(self._core, [prompt + text for text in texts] if prompt else texts), {})


def is_plain(model: Any) -> bool:
    """Does the Rust core, asked directly, give what the model's own preprocessing gives, and nothing but token ids?

    Tried on texts with what tokenizers differ in: cases, accents, white space, unknown signs, special tokens, and
    more than fits.
    """
    tokenizer: Any = getattr(model, "tokenizer", None)
    if not getattr(tokenizer, "is_fast", False) or getattr(tokenizer, "padding_side", "right") != "right":
        return False
    words = min(int(tokenizer.model_max_length), _ENDLESS)
    long = "The end " * (words if words < 10_000 else 1)
    special = " ".join(map(str, tokenizer.all_special_tokens))
    texts = ["a", " Größe\u00a0of\tÉTÉ\n ﬁ 東京 ½ ", f"x {special} y", "Don't-stop, U.S.A. 3.14!", long, "\u200b☃ ?"]
    own = model.preprocess(texts)
    known = {"input_ids", "token_type_ids", "attention_mask", "modality"}
    if set(own) - known or own["attention_mask"].ndim != 2 or own.get("modality") != "text":
        return False
    if "token_type_ids" in own and bool((own["token_type_ids"] * own["attention_mask"]).any()):
        return False
    wanted = [row[mask.bool()].tolist() for row, mask in zip(own["input_ids"], own["attention_mask"], strict=True)]
    return _listed(model, texts) == wanted


def _listed(model: Any, texts: Sequence[str]) -> list[list[int]]:
    tokenizer = model.tokenizer
    core = tokenizer.backend_tokenizer
    core.no_padding()
    if tokenizer.model_max_length < _ENDLESS:
        core.enable_truncation(int(tokenizer.model_max_length), direction=tokenizer.truncation_side)
    else:
        core.no_truncation()
    return _encoded(core, texts)


def _encoded(core: Any, texts: Sequence[str]) -> list[list[int]]:
    encode: Callable[..., list[Any]] = getattr(core, "encode_batch_fast", core.encode_batch)  # without offsets
    return [encoding.ids for encoding in encode(list(texts))]


def _laid_out(listed: list[list[int]], rest: dict[str, Any]) -> TokenIds:
    lengths = np.fromiter(map(len, listed), np.int64, len(listed))
    ids = np.fromiter(chain.from_iterable(listed), np.int64, int(lengths.sum()))
    return TokenIds(ids, np.concatenate([[0], np.cumsum(lengths)]), rest)


def _rest(model: Any, prompt: str) -> dict[str, Any]:
    features = model.preprocess(["a"], prompt=prompt or None)
    return {name: value for name, value in features.items() if not hasattr(value, "shape")}
