"""Draws that depend on a seed and an id alone: no order of rows and no cut into blocks can change them."""

from __future__ import annotations

import hashlib

import numpy as np

from litotes.data.anchors import Anchors

_ODD = np.uint64(0x9E3779B97F4A7C15)


def streams(anchors: Anchors, seed: int, what: str) -> np.ndarray:
    """One uint64 per anchor from (seed, what, anchor id): the start of its own stream of numbers."""
    ids = anchors.collection.queries["id"].take(anchors.query).to_pylist()
    salt = f"{seed}:{what}:".encode()
    digests = b"".join(hashlib.blake2b(salt + name.encode(), digest_size=8).digest() for name in ids)
    return np.frombuffer(digests, "<u8").astype(np.uint64)


def numbers(stream: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The number at `place` of each stream: uint64, evenly spread (splitmix64). The two broadcast."""
    with np.errstate(over="ignore"):
        x = stream + (place.astype(np.uint64) + np.uint64(1)) * _ODD
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def below(number: np.ndarray, bound: int) -> np.ndarray:
    """Whole numbers in [0, bound) from even uint64, int64. Uneven by less than bound / 2^64."""
    return (number % np.uint64(bound)).astype(np.int64)
