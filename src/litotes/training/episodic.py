"""Episodes of prototypes: two modalities are contrasted, and each is grouped as the other one clusters."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from litotes.batch import SignedBatch, from_pairs
from litotes.chain import Chain
from litotes.objectives.combine import Symmetric
from litotes.objectives.contrastive.infonce import InfoNCE
from litotes.objectives.contrastive.soft_target import SoftTargetInfoNCE
from litotes.objectives.temperature import LearnedTemperature
from litotes.ops import unit
from litotes.scoring import Cosine, Dot
from litotes.sources.structured.prototypes import Prototypes
from litotes.training.learner import Learner, frozen
from litotes.training.phases import Phase, Phases, Turn


def prototype_batch(
    student: Tensor,
    centroids: Tensor,
    labels: Tensor,
    teacher: Tensor | None = None,
    teacher_temperature: float | None = 0.01,
    counts: Tensor | None = None,
) -> SignedBatch:
    """Students and the prototypes they may belong to, with a soft target from the teacher's own geometry:

        q = softmax(C_teacher[label] C_teacher^T / teacher_temperature)

    `Chain(Dot(), SoftTargetInfoNCE(T))` of it is the prototype loss. Centroids are not scaled to length 1: so a row of
    the teacher need not be the nearest to itself, and q need not peak at the label.

    In:   student [N, P]; centroids [k, P] in the student's space; labels int64 [N]; teacher [k, F], None = centroids.
    Out:  SignedBatch, candidates = centroids, all of sign +1, `pairs["target"]` = q. No gradient reaches centroids or
          target.
    Args:
        teacher_temperature: > 0; None = the target is the label alone. counts: int64 [k]; a prototype without samples
            gets sign 0. None = it is a zero row like any other.
    Raises:
        ValueError: an argument is out of range, or student and centroids differ in width.
    Source: ProtoCLIP: Prototypical Contrastive Language Image Pretraining (arXiv:2206.10996), equations 4 to 6.
    """
    if student.shape[1] != centroids.shape[1]:
        raise ValueError(
            f"prototype_batch: students of width {student.shape[1]} meet centroids of width {centroids.shape[1]}; "
            "a teacher of another width needs back translation"
        )
    if teacher_temperature is not None and not (teacher_temperature > 0 and math.isfinite(teacher_temperature)):
        raise ValueError(f"prototype_batch: teacher_temperature must be > 0 or None, got {teacher_temperature!r}")
    k = len(centroids)
    if teacher_temperature is None:
        target = torch.nn.functional.one_hot(labels, k).to(centroids.dtype)
    else:
        known = (centroids if teacher is None else teacher).detach()
        target = (known[labels] @ known.T / teacher_temperature).softmax(dim=1)
    sign = torch.ones(len(student), k, dtype=torch.int8, device=student.device)
    if counts is not None:
        sign = sign.masked_fill((counts == 0)[None, :], 0)
    weight = torch.ones(len(student), k, device=student.device)
    return SignedBatch(None, sign, weight, student, centroids.detach(), pairs={"target": target})


class PairedTowers(nn.Module):
    """Two towers, a head on each, and the temperatures of the two losses, trained with them.

    Heads read the towers' outputs as they are; towers are compared by cosine, heads by what they give, of length 1.

    Args:
        image, text: towers, input -> [N, E]. image_head, text_head: [N, E] -> [N, P].
        temperature: of both losses at the start; 1 / temperature stays in [1, 100].
    """

    def __init__(
        self, image: nn.Module, text: nn.Module, image_head: nn.Module, text_head: nn.Module, temperature: float = 0.07
    ):
        super().__init__()
        self.image, self.text, self.image_head, self.text_head = image, text, image_head, text_head
        self.clip_temperature = LearnedTemperature(temperature, 1.0, 100.0)
        self.proto_temperature = LearnedTemperature(temperature, 1.0, 100.0)

    def forward(self, image: Any, text: Any, locked: bool = False) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Outputs of the towers and projections of length 1: v_image, v_text, u_image, u_text.

        Args:
            locked: the image tower is at rest, in eval mode and without gradient.
        """
        if locked:
            with frozen(self.image):
                seen = self.image(image)
        else:
            seen = self.image(image)
        said = self.text(text)
        return seen, said, unit(self.image_head(seen)), unit(self.text_head(said))


class EpisodicProto:
    """Train paired towers in episodes: draw samples, cluster each modality, contrast pairs and classify prototypes.

        L = w_clip InfoNCE both ways + w_proto (P_image + P_text) / 2 + w_ext (E_image + E_text) / 2

    P_image matches images to the clusters of their texts, P_text the other way round. The modalities lie apart; so the
    centroid of a text cluster is translated to the mean of the images in it (back translation) and grouping does not
    force alignment. Clusters of an external teacher, of any width, enter the same way with hard targets.

    The first `warmup_episodes` and the last `lock_episodes` train the first term alone; in the locked ones the image
    tower is at rest. A sample keeps its label by its place in the episode, whatever batch it comes in; it may be drawn
    twice, and then is no negative of itself.

    Args:
        model: the towers. inputs: rows int64 [n] of the data set -> (image input, text input). size: of the data set.
        prototypes: how clusters are made; each episode and modality has its own seed.
        episodes, episode_size, batch_size: >= 1, batch_size <= episode_size; passes over an episode, >= 1.
        teacher: float [size, F] features of an external teacher, or None.
        weights: (w_clip, w_proto, w_ext), >= 0. teacher_temperature: see `prototype_batch`.
        back_translate: False = raw centroids of the other modality. mask_empty: leave prototypes without samples out.
        warmup_episodes, lock_episodes: >= 0. seed: of all draws.
    Raises:
        ValueError: an argument is out of range; in an episode, features are not finite or widths do not meet.
    Source: ProtoCLIP (arXiv:2206.10996) and its released code, for targets, switches and heads.
    """

    def __init__(
        self,
        model: PairedTowers,
        inputs: Callable[[Tensor], tuple[Any, Any]],
        size: int,
        prototypes: Prototypes,
        *,
        episodes: int,
        episode_size: int,
        batch_size: int,
        passes: int = 1,
        teacher: Tensor | None = None,
        weights: tuple[float, float, float] = (1.0, 1.0, 1.0),
        teacher_temperature: float | None = 0.01,
        back_translate: bool = True,
        mask_empty: bool = False,
        warmup_episodes: int = 1,
        lock_episodes: int = 2,
        seed: int = 0,
    ):
        for name, value in (("episodes", episodes), ("batch_size", batch_size), ("passes", passes)):
            if value < 1:
                raise ValueError(f"EpisodicProto: {name} must be >= 1, got {value!r}")
        if not max(batch_size, prototypes.k) <= episode_size:
            raise ValueError(f"EpisodicProto: episode_size must be >= batch_size and k, got {episode_size!r}")
        if warmup_episodes < 0 or lock_episodes < 0:
            raise ValueError("EpisodicProto: warmup_episodes and lock_episodes must be >= 0")
        if len(weights) != 3 or not all(w >= 0 and math.isfinite(w) for w in weights):
            raise ValueError(f"EpisodicProto: weights must be three numbers >= 0, got {weights!r}")
        if teacher is not None and len(teacher) != size:
            raise ValueError(f"EpisodicProto: teacher must have one row per sample ({size}), got {len(teacher)}")
        self.model, self.inputs, self.size, self.prototypes = model, inputs, size, prototypes
        self.episodes, self.episode_size, self.batch_size, self.passes = episodes, episode_size, batch_size, passes
        self.teacher, self.weights, self.teacher_temperature = teacher, weights, teacher_temperature
        self.back_translate, self.mask_empty = back_translate, mask_empty
        self.warmup_episodes, self.lock_episodes, self.seed = warmup_episodes, lock_episodes, seed
        self.episode: dict[str, Tensor] = {}
        self.clip = Chain(Cosine(), Symmetric(InfoNCE(model.clip_temperature)))
        self.proto = Chain(Dot(), SoftTargetInfoNCE(model.proto_temperature))

    @property
    def steps(self) -> int:
        """Steps of an episode; what is left of a pass behind its last whole batch is dropped."""
        return self.passes * (self.episode_size // self.batch_size)

    def phases(self, optimiser: torch.optim.Optimizer, *, warmup: float = 0.0, clip: float | None = None) -> Phases:
        """The run: an episode is a round, clusters are its refresh; stopped and gone on with as any `Phases`."""
        learner = Learner(self.model, optimiser, steps=self.steps * self.episodes, warmup=warmup, clip=clip)
        phase = Phase("train", self.steps, ("model",), self.costs)
        return Phases({"model": learner}, [phase], rounds=self.episodes, refresh=self, seed=self.seed)

    def plain(self, episode: int) -> bool:
        """The first term alone is trained."""
        return episode < self.warmup_episodes or self.locked(episode)

    def locked(self, episode: int) -> bool:
        """The image tower is at rest."""
        return episode >= self.episodes - self.lock_episodes

    def __call__(self, episode: int) -> None:
        """Draw the samples of an episode, with replacement, and cluster them."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + episode)
        self.episode = {"rows": torch.randint(self.size, (self.episode_size,), generator=generator)}
        if self.plain(episode):
            return
        with frozen(self.model):
            parts = [self.model(*self.inputs(rows))[2:] for rows in self.episode["rows"].split(self.batch_size)]
        image, text = (torch.cat(features) for features in zip(*parts, strict=True))
        seed = self.seed * 1_000_003 + 3 * episode
        made = [self._fit(features, seed + side) for side, features in enumerate((image, text))]
        (yi, ci), (yt, ct) = made
        student = {"image": ct, "text": ci}
        if self.back_translate:
            student = {"image": self._translated(yt, image, "image"), "text": self._translated(yi, text, "text")}
        self.episode |= {"image": student["image"], "image_teacher": ct, "image_labels": yt}
        self.episode |= {"text": student["text"], "text_teacher": ci, "text_labels": yi}
        if self.teacher is not None and self.weights[2]:
            ye, ce = self._fit(self.teacher[self.episode["rows"].to(self.teacher.device)], seed + 2)
            for name, features in (("image", image), ("text", text)):
                ours = self._translated(ye, features, f"{name}_external") if self.back_translate else ce
                self.episode[f"{name}_external"] = ours
                self.episode[f"{name}_external_labels"] = ye

    def costs(self, turn: Turn) -> dict[str, Tensor]:
        """The cost of a step of the present episode."""
        return {"model": self.cost(self.places(turn.round, turn.step), turn.round)}

    def places(self, episode: int, step: int) -> Tensor:
        """Places in the episode that a step trains on, int64 [batch_size]."""
        per_pass = self.episode_size // self.batch_size
        turn, within = divmod(step, per_pass)
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + episode) * 1_009 + turn)
        order = torch.randperm(self.episode_size, generator=generator)
        return order[within * self.batch_size : (within + 1) * self.batch_size]

    def cost(self, places: Tensor, episode: int) -> Tensor:
        """The loss over these places of the episode."""
        rows = self.episode["rows"][places]
        seen, said, ui, ut = self.model(*self.inputs(rows), locked=self.locked(episode))
        ids = rows.to(seen.device)
        clip, proto, external = self.weights
        loss: Tensor = clip * self.clip(from_pairs(seen, said, ids=(ids, ids)))
        if self.plain(episode):
            return loss
        students = (("image", ui), ("text", ut))
        if proto:
            loss = loss + proto * sum(self._term(name, u, places) for name, u in students) / 2
        if external and self.teacher is not None:
            loss = loss + external * sum(self._term(f"{name}_external", u, places) for name, u in students) / 2
        return loss

    def state_dict(self) -> dict[str, Tensor]:
        """Samples, labels and centroids of the present episode."""
        return dict(self.episode)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take up what `state_dict` gave."""
        self.episode = dict(state)

    def _term(self, name: str, student: Tensor, places: Tensor) -> Tensor:
        held = self.episode
        batch = prototype_batch(
            student,
            held[name],
            held[f"{name}_labels"][places.to(student.device)],
            held.get(f"{name}_teacher"),
            None if name.endswith("_external") else self.teacher_temperature,
            held.get(f"{name}_counts") if self.mask_empty else None,
        )
        loss: Tensor = self.proto(batch)
        return loss

    def _fit(self, features: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        made = Prototypes(
            self.prototypes.k, self.prototypes.iters, self.prototypes.restarts, self.prototypes.seed + seed
        )
        return made.fit(features)

    def _translated(self, labels: Tensor, features: Tensor, name: str) -> Tensor:
        centroids, counts = self.prototypes.back_translate(labels.to(features.device), features)
        self.episode[f"{name}_counts"] = counts
        return centroids
