"""Vectors on disk: each computed once, kept in shards with checksums, found again by the text they stand for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
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


class VectorStore:
    """A folder of shards: `vectors-00000.npy` float32 [n, D], `texts-00000.npy` uint8 [n, 32], and `manifest.json`.

    A shard is written once and never again. The manifest is written last, so that a shard is either in it, whole and
    with the SHA-256 of its files, or not there: a run that was killed leaves the finished shards as they were.

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
        self._row: dict[bytes, int] = {}
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
            known = self._checked(shard["texts"])
            self._row.update((row.tobytes(), len(self) + place) for place, row in enumerate(known))
            self._shards.append(shard)
            self._starts.append(len(self) + len(known))

    def rows(self, digests: Sequence[bytes]) -> np.ndarray:
        """Where the vectors of these texts are: int64 [n], -1 = not here."""
        return np.fromiter((self._row.get(name, -1) for name in digests), np.int64, len(digests))

    def append(self, digests: Sequence[bytes], vectors: np.ndarray, batches: list[list[int]]) -> None:
        """Add one shard; call it inside `locked`.

        In:   digests of n new texts, vectors float32 [n, D], batches: the plan by which they were computed, as
              [texts, padded tokens of each] in order of computing.
        Raises:
            OSError: the disk is full or not writable; nothing of the shard stays, and all before it is as it was.
        """
        number = len(self._shards)
        names = {"vectors": f"vectors-{number:05d}.npy", "texts": f"texts-{number:05d}.npy"}
        arrays = {"vectors": vectors, "texts": np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)}
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
        self._row.update((name, len(self) + place) for place, name in enumerate(digests))
        self._shards.append(shard)
        self._starts.append(len(self) + len(digests))

    def shards_of(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Vectors of `rows`, shard by shard: (places in `rows` int64 [m], vectors float32 [m, D])."""
        shard = np.searchsorted(self._starts, rows, side="right") - 1
        order = np.argsort(shard, kind="stable")
        bounds = np.searchsorted(shard[order], np.arange(len(self._shards) + 1))
        for number in np.unique(shard):
            places = order[bounds[number] : bounds[number + 1]]
            yield places, self._checked(self._shards[number]["vectors"])[rows[places] - self._starts[number]]

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
