"""Texts to vectors, as fast as the machine allows, each text once in its life."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from litotes.atomic import atomic_path
from litotes.data.facts import ModelFacts
from litotes.data.fingerprint import library_versions, settings_checksum
from litotes.data.models import load_model, resolve_model
from litotes.data.plain_bert import read_plain_bert
from litotes.data.vector_store import SHARD, VectorStore, digest
from litotes.errors import BadInput
from litotes.memory import release_freed
from litotes.progress import progress

_KINDS = ("query", "document")


class Encoder:
    """A sentence-transformers model with everything settled that its vectors depend on.

    Texts are cut into shards of 4,096 in order of arrival, identical ones taken once; a shard is tokenised once,
    sorted by length and run in batches of a token budget. On a CPU, BERT, RoBERTa and XLM-RoBERTa encoders get their
    texts end to end, without padding, one batch per thread; every other model runs as its own code says. With a cache
    each shard is stored as it is finished, known texts are read instead of computed, and an interrupted run goes on
    where it stopped. The model's own pooling, dense and normalising modules are run in float32, whatever the precision
    of the transformer before them.

    The bits of a vector may depend on its batch (which is why a stored one is never computed again): about 1e-7 in
    float32 and 1e-3 in bfloat16, per component. A shard's batches depend on the shard, the budget and the model only,
    and end to end also the bits are the same with any number of threads.

    Args:
        model: a local folder, a hub name, "all-MiniLM-L6-v2", or a SentenceTransformer. An object is copied: it is
            neither moved nor cast, and training it further does not change this encoder.
        query_prompt, document_prompt: put before each text. None = what the model brings for that side; "" = none.
        max_length: tokens a text is cut to, >= 1. None = the model's own.
        tokens_per_batch: tokens in a batch, padding included, >= 1. None = 1,024 where texts lie end to end, else
            4,096 on a CPU and 65,536 on other devices.
        dtype: of the transformer: "auto" (bfloat16 where the hardware multiplies it), "float32", "bfloat16", "float16".
        normalize: scale vectors to length 1. None = where the similarity is cosine.
        similarity: "cosine", "dot" or "l2". None = what the model says, cosine if it says nothing.
        cache: folder for vector stores, one per key (see `checksum`). None = nothing is stored.
        device: as torch spells it. None = where the given object is, else CUDA if there is one, else the CPU.
    Raises:
        ValueError: an argument is out of range.
        OSError: the model cannot be loaded.
    """

    def __init__(
        self,
        model: Any,
        *,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        max_length: int | None = None,
        tokens_per_batch: int | None = None,
        dtype: str = "auto",
        normalize: bool | None = None,
        similarity: str | None = None,
        cache: str | Path | None = None,
        device: str | None = None,
    ):
        _check(max_length, tokens_per_batch, dtype, similarity)
        from litotes.data.inference import best_device

        named = isinstance(model, (str, Path))
        device = device or (best_device() if named else str(model.device))
        read = _read(model, dtype, max_length, device) if named else None
        if read is None:
            read = _loaded(model, dtype, max_length, device)
        facts, self.dtype, self.layout = read.facts, read.dtype, read.layout  # layout: "end to end" or "padded"
        self.name, self.products = facts.name, facts.products
        self.similarity = similarity or facts.similarity
        self.prompts = {
            "query": facts.prompt("query", query_prompt),
            "document": facts.prompt("document", document_prompt),
        }
        self.normalize = self.similarity == "cosine" if normalize is None else bool(normalize)
        padded = 4096 if device == "cpu" else 65536
        self.tokens_per_batch = tokens_per_batch or (1024 if self.layout == "end to end" else padded)
        self.cache = None if cache is None else Path(cache)
        # enough to make the same encoder elsewhere, with what was found out about this machine's settled
        self.arguments: dict[str, Any] = {
            "model": model,
            "query_prompt": query_prompt,
            "document_prompt": document_prompt,
            "max_length": max_length,
            "tokens_per_batch": self.tokens_per_batch,
            "dtype": self.dtype,
            "normalize": self.normalize,
            "similarity": self.similarity,
            "device": device,
        }
        self._settings = {
            "model": facts.checksum,
            "max_length": facts.max_length,
            "dtype": self.dtype,
            "normalize": self.normalize,
            "tokens_per_batch": self.tokens_per_batch,
            "layout": self.layout,
            "libraries": library_versions(),
        }
        self._tasks, self._longest = facts.asks_for_side, facts.longest
        self._inference = read.inference(self.normalize, self.tokens_per_batch)
        self.width = self._inference.width  # dimensions of a vector
        del read  # and with it the weights as they were read
        release_freed()

    @property
    def checksum(self) -> str:
        """SHA-256 of all that scores depend on: weights, tokenizer, settings, prompts, precision, libraries."""
        return settings_checksum(self._settings | {"prompts": self.prompts, "similarity": self.similarity})

    @property
    def scratch_bytes(self) -> int:
        """Bytes that encoding needs at most beside the weights, for texts of the greatest length: batches at work and
        three shards on their way, without the texts and the vectors that `encode` returns. Padded, it is an estimate.
        """
        return self._inference.scratch_bytes(self._longest, SHARD)

    def store(self, kind: str) -> VectorStore | None:
        """The store that holds this side's vectors; sides with one prompt share it. None without a cache.

        Raises:
            BadInput: a file of it is damaged (it is named).
        """
        if self.cache is None:
            return None
        settings = self._settings | {"prompt": self.prompts[kind], "side": kind if self._tasks else None}
        return VectorStore(self.cache / settings_checksum(settings), settings)

    def compute_shard(self, texts: Sequence[str], kind: str) -> tuple[np.ndarray, list[list[int]]]:
        """Vectors float32 [n, D] of one shard of texts, and the plan of its batches, as `VectorStore.append` wants.

        Nothing is looked up, stored or checked: it is the work that may be done elsewhere. `encode` of the same texts
        in the same shards gives the same bits on the same kind of processor.
        """
        with self._inference.working() as start:
            return start(texts, self.prompts[kind], kind, lambda done: None)()

    def encode(self, texts: Sequence[str], kind: str, out: str | Path | None = None) -> np.ndarray:
        """Vectors of texts, in their order.

        In:   texts, none empty; kind "query" or "document".
        Out:  float32 [N, D]; with `out`, a read-only memory map of that `.npy` file, which is whole or absent.
        Cost: memory O(N D) without `out`, else O(N) plus one shard (and the unique texts' names).
        Raises:
            BadInput: a text is empty or no text, or its vector is NaN or infinite (its position is named); or a stored
                file is damaged.
            OSError: the disk is full; no half file stays.
        """
        if kind not in _KINDS:
            raise ValueError(f"Encoder.encode: kind must be 'query' or 'document', got {kind!r}")
        if isinstance(texts, str):
            raise ValueError(f"Encoder.encode: texts must be a list of texts, got one text: {texts[:40]!r}")
        for position, text in enumerate(texts):
            if not isinstance(text, str) or not text.strip():
                found = f"{text!r} ({type(text).__name__})" if not isinstance(text, str) else "an empty text"
                raise BadInput(f"{found} at position {position}", "a text", field="texts")
        with ExitStack() as stack:
            return self._gathered(self._parts(texts, kind, stack), len(texts), out)

    def _parts(self, texts: Sequence[str], kind: str, stack: ExitStack) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All vectors, in parts: (positions in `texts`, vectors)."""
        store = self.store(kind)
        names = [digest(text) for text in texts]
        if store is None:
            first: dict[bytes, int] = {}
            unique = np.array([first.setdefault(name, len(first)) for name in names], np.int64)
            new = np.unique(unique, return_index=True)[1]
            order = np.argsort(unique, kind="stable")
            bounds = np.searchsorted(unique[order], np.arange(0, len(new) + SHARD, SHARD))
            for number, (_, vectors, _) in enumerate(self._computed(texts, new, kind)):
                positions = order[bounds[number] : bounds[number + 1]]
                yield positions, vectors[unique[positions] - number * SHARD]
            return
        if (store.rows(names) < 0).any():
            stack.enter_context(store.locked())
            unknown = dict[bytes, int]()
            for position in np.flatnonzero(store.rows(names) < 0).tolist():
                unknown.setdefault(names[position], position)
            for part, vectors, batches in self._computed(texts, np.array(list(unknown.values()), np.int64), kind):
                store.append([names[position] for position in part], vectors, batches)
            stack.close()
        yield from store.shards_of(store.rows(names))

    def _computed(
        self, texts: Sequence[str], new: np.ndarray, kind: str
    ) -> Iterator[tuple[np.ndarray, np.ndarray, list[list[int]]]]:
        """Shards of the texts at positions `new`: (positions, vectors, plan). The next is begun meanwhile."""
        shards = [new[lo : lo + SHARD] for lo in range(0, len(new), SHARD)]
        whats = {"query": "encoding queries", "document": "encoding documents"}
        if not shards:
            return
        with ExitStack() as stack:
            bar = stack.enter_context(progress(total=len(new), what=whats[kind], unit="texts"))
            start = stack.enter_context(self._inference.working())
            ahead = stack.enter_context(ThreadPoolExecutor(1))

            def begun(shard: np.ndarray) -> Any:
                return start([texts[position] for position in shard], self.prompts[kind], kind, bar.update)

            waiting = ahead.submit(begun, shards[0])
            for shard, following in zip(shards, [*shards[1:], None], strict=True):
                finish = waiting.result()
                if following is not None:
                    waiting = ahead.submit(begun, following)
                vectors, batches = finish()
                refuse_not_finite(vectors, shard)
                release_freed()
                yield shard, vectors, batches

    def _gathered(
        self, parts: Iterator[tuple[np.ndarray, np.ndarray]], count: int, out: str | Path | None
    ) -> np.ndarray:
        if out is None:
            return _filled(parts, count, self.width, lambda shape: np.empty(shape, np.float32))
        with atomic_path(out) as temporary:
            _filled(parts, count, self.width, lambda shape: _mapped(temporary, shape)).flush()  # type: ignore[attr-defined]
        return np.load(out, mmap_mode="r")


def refuse_not_finite(vectors: np.ndarray, positions: np.ndarray) -> None:
    """Refuse NaN and infinity among the vectors of the texts at these positions. Raises BadInput naming the first."""
    fine = np.isfinite(vectors).all(axis=1)
    if not fine.all():
        position = int(positions[np.flatnonzero(~fine)].min())
        found = f"NaN or infinity in the vector of the text at position {position}"
        raise BadInput(found, "finite numbers (try dtype='float32')", field="texts")


def _filled(parts: Iterator[tuple[np.ndarray, np.ndarray]], count: int, width: int, make: Any) -> np.ndarray:
    vectors = make((count, width))
    for positions, part in parts:
        vectors[positions] = part
    return vectors


def _mapped(path: Path, shape: tuple[int, int]) -> np.memmap:
    """A new `.npy` file of that shape whose blocks are all there: a full disk is an error now, not a crash later."""
    vectors = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    if hasattr(os, "posix_fallocate"):
        with open(path, "rb+") as file:
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
    return vectors


@dataclass(frozen=True)
class _Read:
    """A model whose facts, precision and layout are settled; `inference(normalize, tokens_per_batch)` takes it over."""

    facts: ModelFacts
    dtype: str
    layout: str
    inference: Callable[[bool, int], Any]


def _read(name: str | Path, dtype: str, max_length: int | None, device: str) -> _Read | None:
    """A plain BERT in a folder, without the libraries that read any model; None where that would not do."""
    from litotes.data.bert import gains
    from litotes.data.end_to_end import EndToEndInference
    from litotes.data.inference import fast_dtype

    dtype = fast_dtype(device) if dtype == "auto" else dtype
    place = Path(resolve_model(name))
    plain = read_plain_bert(place) if place.is_dir() else None
    if plain is None or not gains(plain.sizes, dtype, device):
        return None
    if max_length is not None:
        if not 3 <= max_length <= plain.sizes["max_position_embeddings"]:
            return None  # a matter for the library that knows what its tokenizer then does
        plain = replace(plain, max_length=max_length)
    facts = ModelFacts.of_plain(plain, str(name))
    return _Read(facts, dtype, "end to end", partial(EndToEndInference.of_plain, plain, dtype))


def _loaded(model: Any, dtype: str, max_length: int | None, device: str) -> _Read:
    """Any model of sentence-transformers, by its name or a copy of the object."""
    from litotes.data.end_to_end import EndToEndInference
    from litotes.data.inference import PaddedInference, best_dtype, best_layout

    named = isinstance(model, (str, Path))
    own = load_model(model, device) if named else copy.deepcopy(model)
    if max_length is not None:
        own.max_seq_length = max_length
    facts = ModelFacts.of_model(own, str(model) if named else _name(model))
    dtype = best_dtype(own, device) if dtype == "auto" else dtype
    layout = best_layout(own, dtype, device)
    if layout == "end to end":
        return _Read(facts, dtype, layout, partial(EndToEndInference.of_model, own, dtype))
    return _Read(facts, dtype, layout, partial(PaddedInference, own, dtype, device))


def _name(model: Any) -> str:
    config = getattr(model[0], "config", None)
    return Path(getattr(config, "_name_or_path", "") or type(model).__name__).name


def _check(max_length: int | None, tokens_per_batch: int | None, dtype: str, similarity: str | None) -> None:
    for name, value in (("max_length", max_length), ("tokens_per_batch", tokens_per_batch)):
        if value is not None and not (isinstance(value, int) and value >= 1):
            raise ValueError(f"Encoder: {name} must be a whole number >= 1 or None, got {value!r}")
    if dtype not in ("auto", "float32", "bfloat16", "float16"):
        raise ValueError(f"Encoder: dtype must be 'auto', 'float32', 'bfloat16' or 'float16', got {dtype!r}")
    if similarity not in (None, "cosine", "dot", "l2"):
        raise ValueError(f"Encoder: similarity must be 'cosine', 'dot' or 'l2', got {similarity!r}")
