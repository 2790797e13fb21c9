"""Encoding of texts laid end to end: batches without padding, each computed by one thread, many side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from litotes.data.batch_plan import end_to_end_plan
from litotes.data.bert import EndToEnd
from litotes.data.inference import Start, Vectors
from litotes.data.packed import keep_few_products
from litotes.data.plain_bert import PlainBert
from litotes.data.pooling import PlainPooling, PoolingModules
from litotes.data.tokens import CoreTokenizer, TokenIds, Tokenizer

_SMALLEST = 128  # tokens; smaller products are slow


class Pooling(Protocol):
    """From hidden states float32 [T, D] of texts that begin at `starts` to their vectors float32 [n, width]."""

    width: int

    def __call__(self, hidden: Tensor, ids: np.ndarray, starts: np.ndarray, rest: dict[str, Any]) -> Tensor: ...


class EndToEndInference:
    """Shards of texts through an `EndToEnd` network and a pooling.

    Every batch is computed by one thread, and as many run side by side as torch has threads; so the bits of a vector do
    not depend on their number.

    Args:
        network: the transformer; its budget is that of the batches.
        tokenize: (texts, prompt, kind) -> `TokenIds`.
        pooling: what comes after the transformer.
        normalize: scale vectors to length 1.
    """

    def __init__(
        self,
        network: EndToEnd,
        tokenize: Callable[[Sequence[str], str, str], TokenIds],
        pooling: Pooling,
        normalize: bool,
    ):
        keep_few_products()
        self._network, self._tokenize, self._pooling, self._normalize = network, tokenize, pooling, normalize
        self.width = pooling.width

    @classmethod
    def of_plain(cls, plain: PlainBert, dtype: str, normalize: bool, budget: int) -> EndToEndInference:
        """A `PlainBert`, which is read, not kept."""
        network = EndToEnd(plain.weights, plain.sizes, plain.epsilon, dtype, budget)
        pooling = PlainPooling(plain.pooling, plain.normalize, plain.sizes["hidden_size"])
        return cls(network, CoreTokenizer(plain.tokenizer, plain.max_length), pooling, normalize)

    @classmethod
    def of_model(cls, model: Any, dtype: str, normalize: bool, budget: int) -> EndToEndInference:
        """A SentenceTransformer on the CPU that `best_layout` calls "end to end" and nobody else uses."""
        model.eval().requires_grad_(False)
        transformer: Any = model[0]
        network = EndToEnd.of(transformer.model, dtype, budget)
        transformer.model.to("meta")  # its weights are elsewhere now
        return cls(network, Tokenizer(model), PoolingModules(model), normalize)

    @contextmanager
    def working(self) -> Iterator[Start]:
        """Gives start(texts, prompt, kind, tick), which tokenises a shard, begins with it and returns finish().

        finish() gives the vectors float32 [n, D] of the shard and the plan by which they were computed ([texts, tokens
        of the longest], ...); it tells `tick` how many texts are done. More shards may be started before one is
        finished, from another thread too.
        """
        threads = torch.get_num_threads()
        pool = ThreadPoolExecutor(threads, "litotes-encode", torch.set_num_threads, (1,))
        try:
            yield partial(self._start, pool)
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)  # new threads of others take over what was said last

    def scratch_bytes(self, longest: int, shard: int) -> int:
        """What encoding needs at most beside the weights: batches at work, and shards on their way."""
        shards = 3 * shard * (4 * self.width + 16 * longest)
        states = 4 * self.width * max(self._network.budget, longest) * 2  # padded for a pooling that is not known
        return shards + torch.get_num_threads() * (self._network.scratch_bytes(longest) + states)

    def _start(
        self, pool: ThreadPoolExecutor, texts: Sequence[str], prompt: str, kind: str, tick: Callable[[int], object]
    ) -> Callable[[], Vectors]:
        tokens = self._tokenize(texts, prompt, kind)
        lengths = np.diff(tokens.starts)
        share = -(-int(lengths.sum()) // 8)  # few texts are split for the sake of threads, whatever their number
        plan = end_to_end_plan(lengths, min(self._network.budget, max(_SMALLEST, share)))
        vectors = np.empty((len(texts), self.width), np.float32)
        running = [pool.submit(self._batch, tokens, rows, vectors) for rows in reversed(plan)][::-1]

        def finish() -> Vectors:
            for rows, future in zip(plan, running, strict=True):
                future.result()
                tick(len(rows))
            return vectors, [[len(rows), int(lengths[rows].max())] for rows in plan]

        return finish

    def _batch(self, tokens: TokenIds, rows: np.ndarray, vectors: np.ndarray) -> None:
        with torch.inference_mode():
            ids, starts = tokens.of(rows)
            pooled = self._pooling(self._network(ids, starts), ids, starts, tokens.rest)
            vectors[rows] = (torch.nn.functional.normalize(pooled, dim=1) if self._normalize else pooled).numpy()
