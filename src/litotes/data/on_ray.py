"""Encoding on Ray: workers compute shards of texts, the driver stores them in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from litotes.cluster import Call, Cluster
from litotes.data.encoder import Encoder, refuse_not_finite
from litotes.data.vector_store import SHARD
from litotes.progress import progress


class RayEncoder(Encoder):
    """An `Encoder` whose shards are computed by the workers of a cluster.

    Texts are cut into the same shards of 4,096, each worker plans its batches by the same rule with the same model and
    settings, and shards are stored in the order of the texts, whoever is ready first. So on the same kind of processor
    the stores are the local ones, byte for byte; they may be begun here and gone on with there. A worker that is lost
    costs the shards it had in hand, which others compute again.

    A worker that would not compute the same (another model under the path, other library versions) is refused.

    Cost: the model in every worker's memory and in this process; at most 4 shards per worker begun and not yet stored;
        on the network the texts, and 4 D bytes per text back.

    Args:
        encoder: what the workers do; its cache is this process's alone. A model given as a path or name is loaded by
            every worker from there, an object is sent to them.
        cluster: entered already.
    """

    def __init__(self, encoder: Encoder, cluster: Cluster):
        self.__dict__.update(encoder.__dict__)
        arguments = dict(encoder.arguments)
        if isinstance(arguments["model"], (str, Path)) and Path(arguments["model"]).exists():
            arguments["model"] = str(Path(arguments["model"]).resolve())  # workers need not start in the same folder
        self.crew = cluster.crew(partial(_ShardEncoder, arguments, encoder.checksum))

    def close(self) -> None:
        """Let the workers forget the model."""
        self.crew.close()

    def _computed(
        self, texts: Sequence[str], new: np.ndarray, kind: str
    ) -> Iterator[tuple[np.ndarray, np.ndarray, list[list[int]]]]:
        """Shards of the texts at positions `new`: (positions, vectors, plan), in order."""
        shards = [new[lo : lo + SHARD] for lo in range(0, len(new), SHARD)]
        if not shards:
            return
        calls = (Call("compute_shard", ([texts[position] for position in shard], kind)) for shard in shards)
        what = {"query": "queries", "document": "documents"}[kind]
        with progress(total=len(new), what=f"encoding {what} on {self.crew.workers} workers", unit="texts") as bar:

            def tick(number: int) -> None:
                bar.set_postfix({"up": self.crew.alive}, refresh=False)
                bar.update(len(shards[number]))

            for shard, (vectors, batches) in zip(shards, self.crew.map(calls, tick=tick), strict=True):
                refuse_not_finite(vectors, shard)
                yield shard, vectors, batches


class _ShardEncoder:
    """What a worker of a `RayEncoder` holds: the same encoder."""

    def __init__(self, arguments: dict[str, Any], checksum: str):
        self._encoder = Encoder(**arguments)
        if self._encoder.checksum != checksum:
            import socket

            raise ValueError(
                f"RayEncoder: a worker on {socket.gethostname()} would compute other vectors: found an encoder "
                f"{self._encoder.checksum[:12]}, expected {checksum[:12]} (another model, or other library versions)"
            )

    def compute_shard(self, texts: list[str], kind: str) -> tuple[np.ndarray, list[list[int]]]:
        return self._encoder.compute_shard(texts, kind)
