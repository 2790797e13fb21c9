"""Vectors on disk: each computed once, kept in shards with checksums, found again by the text they stand for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from litotes.atomic import atomic_path, read_json, remove_leftovers, sha256_file, write_json
from litotes.errors import BadInput

SHARD = 4096  # texts


def digest(text: str) -> bytes:
    """The name under which a store knows a text: SHA-256 of its UTF-8."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def digests(texts: Iterable[str]) -> np.ndarray:
    """The names of many texts, 32 bytes each: uint8 [n, 32]."""
    return _matrix(b"".join(map(digest, texts)))


class VectorStore:
    """A folder of shards: `vectors-00000.npy` float32 [n, D], `texts-00000.npy` uint8 [n, 32], and `manifest.json`.

    A shard is written once and never again. The manifest is written last, so that a shard is either in it, whole and
    with the SHA-256 of its files, or not there: a run that was killed leaves the finished shards as they were.

    In memory a text costs 16 bytes, whatever its length: the head of its name and the row of its vector. Names in
    full are compared in the mapped file.

    Args:
        folder: made when it is not there.
        settings: what the vectors depend on. A store made with other settings is refused.
    Raises:
        BadInput: the manifest is of another version or other settings, or a file is missing or damaged (it is named).
    """

    VERSION = 1

    def __init__(self, folder: str | Path, settings: dict[str, Any]):
        self.folder = Path(folder)
        self._manifest_path = self.folder / "manifest.json"
        self._settings = settings
        self._shards: list[dict[str, Any]] = []
        self._starts = [0]
        self._names: list[np.ndarray] = []  # per shard, memory-mapped
        self._index: tuple[np.ndarray, np.ndarray] | None = None  # heads ascending, and the row of each
        self._verified: set[str] = set()
        self.refresh()

    def __len__(self) -> int:
        return self._starts[-1]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone with the folder: other processes wait. What a killed run left half-written is removed first."""
        from filelock import FileLock

        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / ".lock"):
            remove_leftovers(self.folder)
            self.refresh()
            yield

    def refresh(self) -> None:
        """Read what other processes have added since."""
        if not self._manifest_path.exists():
            return
        manifest = read_json(self._manifest_path)
        if manifest.get("version") != self.VERSION:
            found = f"version {manifest.get('version')!r}"
            raise BadInput(found, f"version {self.VERSION}", file=self._manifest_path, field="version")
        if manifest["settings"] != self._settings:
            raise BadInput("other settings", "those of this encoder", file=self._manifest_path, field="settings")
        for shard in manifest["shards"][len(self._shards) :]:
            self._add(shard)

    def rows(self, digests: Sequence[bytes] | np.ndarray) -> np.ndarray:
        """Where the vectors of these texts are: int64 [n], -1 = not here.

        In:   names of texts, as a sequence of 32 bytes each or uint8 [n, 32].
        """
        names = _matrix(digests)
        heads, rows = self._heads()
        asked = _heads_of(names)
        place = np.searchsorted(heads, asked)
        found = np.full(len(names), -1, np.int64)
        waiting = np.arange(len(names))
        while True:  # one round, but for two names with the same head
            waiting = waiting[place[waiting] < len(heads)]
            waiting = waiting[heads[place[waiting]] == asked[waiting]]
            if not len(waiting):
                return found
            row = rows[place[waiting]]
            same = np.ones(len(row), bool)
            for shard, places in self._by_shard(row):
                stored = self._names[shard][row[places] - self._starts[shard]]
                same[places] = (stored == names[waiting[places]]).all(axis=1)
            found[waiting[same]] = row[same]
            waiting = waiting[~same]
            place[waiting] += 1

    def append(self, digests: Sequence[bytes] | np.ndarray, vectors: np.ndarray, batches: list[list[int]]) -> None:
        """Add one shard; call it inside `locked`.

        In:   digests of n new texts, vectors float32 [n, D], batches: the plan by which they were computed, as
              [texts, padded tokens of each] in order of computing.
        Raises:
            OSError: the disk is full or not writable; nothing of the shard stays, and all before it is as it was.
        """
        number = len(self._shards)
        names = {"vectors": f"vectors-{number:05d}.npy", "texts": f"texts-{number:05d}.npy"}
        arrays = {"vectors": vectors, "texts": _matrix(digests)}
        shard: dict[str, Any] = {"count": len(digests)}
        try:
            for kind, array in arrays.items():
                path = self.folder / names[kind]
                with atomic_path(path) as temporary, open(temporary, "wb") as file:
                    np.save(file, array)
                shard[kind] = {"file": names[kind], "sha256": sha256_file(path)}
            shard["batches"] = batches
            manifest = {"version": self.VERSION, "settings": self._settings, "shards": [*self._shards, shard]}
            write_json(self._manifest_path, manifest)
        except OSError:
            for name in names.values():
                (self.folder / name).unlink(missing_ok=True)
            raise
        self._verified |= set(names.values())
        self._add(shard)

    def shards_of(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Vectors of `rows`, shard by shard: (places in `rows` int64 [m], vectors float32 [m, D])."""
        for shard, places in self._by_shard(rows):
            yield places, self._checked(self._shards[shard]["vectors"])[rows[places] - self._starts[shard]]

    def _add(self, shard: dict[str, Any]) -> None:
        names = self._checked(shard["texts"])
        self._shards.append(shard)
        self._names.append(names)
        self._starts.append(len(self) + len(names))
        self._index = None

    def _heads(self) -> tuple[np.ndarray, np.ndarray]:
        if self._index is None:
            heads = np.concatenate([np.empty(0, np.uint64), *map(_heads_of, self._names)])
            rows = np.argsort(heads, kind="stable")
            self._index = heads[rows], rows
        return self._index

    def _by_shard(self, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """The shards that hold `rows`, and the places in `rows` of what each holds."""
        shard = np.searchsorted(self._starts, rows, side="right") - 1
        order = np.argsort(shard, kind="stable")
        bounds = np.searchsorted(shard[order], np.arange(len(self._shards) + 1))
        for number in np.unique(shard).tolist():
            yield number, order[bounds[number] : bounds[number + 1]]

    def _checked(self, entry: dict[str, str]) -> np.ndarray:
        """A file of the manifest, memory-mapped; its checksum is compared the first time it is read."""
        path = self.folder / entry["file"]
        if entry["file"] not in self._verified:
            if not path.exists():
                raise BadInput("no such file", "the file that the manifest names", file=path)
            found = sha256_file(path)
            if found != entry["sha256"]:
                raise BadInput(
                    f"SHA-256 {found}", f"{entry['sha256']} (the manifest's): the file is damaged", file=path
                )
            self._verified.add(entry["file"])
        return np.load(path, mmap_mode="r", allow_pickle=False)


def _matrix(digests: Sequence[bytes] | np.ndarray | bytes) -> np.ndarray:
    if isinstance(digests, np.ndarray):
        return digests
    return np.frombuffer(digests if isinstance(digests, bytes) else b"".join(digests), np.uint8).reshape(-1, 32)


def _heads_of(names: np.ndarray) -> np.ndarray:
    """The first 8 bytes of each name as a number."""
    return np.ascontiguousarray(names[:, :8]).view(np.uint64).ravel()
