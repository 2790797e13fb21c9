"""Association over time: detections linked to tracks frame by frame, and how well the links follow the objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from litotes.ops import unit
from litotes.sources.memory.track import TrackMemory


class OnlineLinker:
    """Give the detections of each frame the ids of tracks, or new ones, from embeddings alone.

        bisoftmax   f = (softmax over tracks + softmax over detections) / 2 of the inner products with memories
        cosine      f = cosine

    In order of confidence each detection takes the free track of the largest f, if that is above `threshold`. Where
    several are above, a track counts as often as it was seen (frame_weight; those below count by the mean of these). A
    detection without a track starts one if its confidence is above `new_above`. A track that was not seen in more than
    `max_age` frames in a row is removed.

    Args:
        threshold: finite. max_age: >= 0 frames. new_above: finite. max_history: of the memory, >= 1 or None.
    Raises:
        ValueError: an argument is out of range.
    Source: CTVIS: Consistent Training for Online Video Instance Segmentation (arXiv:2307.12616), its inference.
    """

    def __init__(
        self,
        threshold: float = 0.3,
        metric: Literal["bisoftmax", "cosine"] = "bisoftmax",
        frame_weight: bool = True,
        max_age: int = 20,
        new_above: float = 0.01,
        max_history: int | None = 10,
    ):
        if metric not in ("bisoftmax", "cosine"):
            raise ValueError(f"OnlineLinker: metric must be 'bisoftmax' or 'cosine', got {metric!r}")
        if not (isinstance(max_age, int) and max_age >= 0):
            raise ValueError(f"OnlineLinker: max_age must be a whole number >= 0, got {max_age!r}")
        if not (np.isfinite(threshold) and np.isfinite(new_above)):
            raise ValueError(f"OnlineLinker: thresholds must be finite, got {threshold!r} and {new_above!r}")
        self.threshold, self.metric, self.frame_weight = float(threshold), metric, bool(frame_weight)
        self.max_age, self.new_above = max_age, float(new_above)
        self.memory = TrackMemory(max_history=max_history)
        self.reset()

    def reset(self) -> None:
        """Forget all tracks; ids begin at 0."""
        self.memory.reset()
        self._next = 0
        self._away: dict[int, int] = {}  # track -> frames since it was seen

    @torch.no_grad()
    def step(self, embeds: Tensor, scores: Tensor) -> Tensor:
        """One frame: ids int64 [N] of detections embeds [N, D] with confidences [N]; -1 = too unsure for a track."""
        alike, tracks, frames = self._alike(embeds)
        ids = torch.full((len(embeds),), -1, dtype=torch.int64)
        for row in scores.argsort(descending=True, stable=True).tolist():
            best = self._best(alike[row], frames)
            if best >= 0:
                ids[row] = tracks[best]
                alike[:, best] = 0
            elif float(scores[row]) > self.new_above:
                ids[row], self._next = self._next, self._next + 1
        taken = ids >= 0
        self._away = {track: away + 1 for track, away in self._away.items()} | {int(i): 0 for i in ids[taken]}
        self.memory.update(ids[taken].to(embeds.device), embeds[taken.to(embeds.device)])
        kept = {track for track, away in self._away.items() if away <= self.max_age}
        self._away = {track: self._away[track] for track in kept}
        known, _ = self.memory.state()
        self.memory.keep(torch.tensor([int(track) in kept for track in known], dtype=torch.bool, device=known.device))
        return ids

    def _alike(self, embeds: Tensor) -> tuple[np.ndarray, list[int], np.ndarray]:
        """f [N, K], the tracks' ids and in how many frames each was seen."""
        if not self._away:
            return np.zeros((len(embeds), 0)), [], np.zeros(0)
        ids, memory = self.memory.state()
        if self.metric == "cosine":
            alike = unit(embeds) @ unit(memory).T
        else:
            product = embeds @ memory.T
            alike = (product.softmax(dim=1) + product.softmax(dim=0)) / 2
        return alike.double().cpu().numpy(), ids.tolist(), self.memory.seen.double().cpu().numpy()

    def _best(self, alike: np.ndarray, frames: np.ndarray) -> int:
        """Place of the track to take, -1 = none."""
        if not len(alike):
            return -1
        above = alike > self.threshold
        if self.frame_weight and above.sum() > 1:
            alike = alike * np.where(above, frames, frames[above].mean())
        best = int(alike.argmax())
        return best if alike[best] > self.threshold else -1


class Association(NamedTuple):
    """`accuracy` in [0, 1], `switches` >= 0, and the number of `detections` of objects."""

    accuracy: float
    switches: int
    detections: int


def association(truth: Sequence[np.ndarray], given: Sequence[np.ndarray]) -> Association:
    """How well the given ids of a clip follow its objects.

        accuracy   share of the objects' detections whose id is the one matched to the object, objects and ids one to
                   one so that most agree: an id for every detection is no way to be right
        switches   detections of an object with another id than at its last detection

    In:   per frame int64 [N], the object of each detection (-1 = none) and the id it was given (-1 = none).
    Raises:
        ValueError: frames or detections differ in number.
    """
    from scipy.optimize import linear_sum_assignment

    if len(truth) != len(given) or any(len(a) != len(b) for a, b in zip(truth, given, strict=True)):
        raise ValueError("association: truth and given must have the same frames and detections")
    real = np.concatenate([np.asarray(frame) for frame in truth]) if len(truth) else np.zeros(0, np.int64)
    said = np.concatenate([np.asarray(frame) for frame in given]) if len(given) else np.zeros(0, np.int64)
    real, said = real[real >= 0], said[real >= 0]
    if not len(real):
        return Association(0.0, 0, 0)
    objects, row = np.unique(real, return_inverse=True)
    ids, column = np.unique(said, return_inverse=True)
    met = np.zeros((len(objects), len(ids)), np.int64)
    np.add.at(met, (row, column), ids[column] >= 0)  # no id agrees with nothing
    agreed = met[linear_sum_assignment(met, maximize=True)].sum()
    switches = sum(int((np.diff(said[real == thing]) != 0).sum()) for thing in objects)
    return Association(float(agreed) / len(real), switches, len(real))
