"""VoCo: a backbone that learned where crops lie knows organs better than one that learned to tell crops apart.

Arms: no training, SimCLR on the same number of encoded crops, VoCo, VoCo without its term between volumes, VoCo
without its regulariser. One start, one optimiser and the same steps in all. A step encodes 44 crops of 4 bodies: all
11 of each, or two views of half of them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from claims.worlds.phantoms import CELL, Bodies, around, augmented, make_bodies
from torch import Tensor, nn

from litotes.audit.claims import Claim
from litotes.batch import two_views
from litotes.chain import Chain
from litotes.objectives.contrastive.infonce import InfoNCE
from litotes.objectives.contrastive.voco import Voco, from_volumes
from litotes.scoring import ClippedCosine, Cosine
from litotes.sources.structured.grid_crops import GridCrops
from litotes.training.projector_pair import ProjectorPair

CLAIM = Claim(
    claim="Matching similarities to grid overlaps teaches organs better than telling crops apart, and than no training",
    metric="accuracy of a linear probe for the organ at a crop's centre, 10 labelled bodies",
    direction="higher",
    data="Generated phantoms of nine organs: 300 bodies without labels, 10 with, 100 for the test",
    minutes=2.0,
    beats=("baseline", "untrained"),
    paper="Large-Scale 3D Medical Image Pre-training with Geometric Context Priors (arXiv:2410.09890)",
)

UNLABELLED, LABELLED, TEST, STEPS, BATCH = 300, 10, 100, 400, 4
LEARNING_RATE = 3e-3  # of 3e-4, 1e-3, 3e-3 and 1e-2, the one that is best for SimCLR on seed 100
CUT = GridCrops(cell=CELL, grid=[3, 3], crops=2)
VOCO = {"treated": Voco(), "without_inter": Voco(inter_weight=0.0), "without_reg": Voco(reg_weight=0.0)}


class Backbone(nn.Module):
    """Four convolutions that halve the crop; the means of each one's output side by side: [N, 1, 16^3] -> [N, 148]."""

    widths = (12, 24, 40, 72)

    def __init__(self) -> None:
        super().__init__()
        into = (1, *self.widths[:-1])
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv3d(i, o, 3, 2, 1), nn.GroupNorm(4, o), nn.ReLU())
            for i, o in zip(into, self.widths, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        means = []
        for layer in self.layers:
            x = layer(x)
            means.append(x.mean(dim=(2, 3, 4)))
        return torch.cat(means, dim=1)


def run(seed: int) -> dict[str, float]:
    random = torch.Generator().manual_seed(seed)
    plain, labelled, test = (make_bodies(count, random) for count in (UNLABELLED, LABELLED, TEST))
    found = {"untrained": probe(start(seed)[0], labelled, test)}
    found["baseline"] = probe(simclr(plain, seed), labelled, test)
    for arm, objective in VOCO.items():
        backbone, head = voco(plain, objective, seed)
        found[arm] = probe(backbone, labelled, test)
        found[f"cell_{arm}"] = located(backbone, head, test, seed)
    return found


def start(seed: int) -> tuple[Backbone, ProjectorPair]:
    """Backbone and head of a seed, the same in every arm."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return Backbone(), ProjectorPair(sum(Backbone.widths), hidden=256, outputs=128)


def voco(bodies: Bodies, objective: Voco, seed: int) -> tuple[Backbone, ProjectorPair]:
    """VoCo on batches of four bodies."""
    backbone, head = start(seed)
    chain, random = Chain(ClippedCosine(), objective), torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW([*backbone.parameters(), *head.student.parameters()], LEARNING_RATE, foreach=True)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)  # of the dropout
        for _ in range(STEPS):
            drawn = torch.randint(len(bodies.volumes), (BATCH,), generator=random)
            cuts = [CUT.cut(volume, random) for volume in bodies.volumes[drawn]]
            crops = torch.cat([torch.cat([cut.crops, cut.bases]) for cut in cuts])
            features = backbone(augmented(crops, random))
            head.update()
            student, teacher = (f(features).unflatten(0, (BATCH, -1)) for f in (head, head.teach))
            n = CUT.crops
            labels = torch.stack([cut.labels for cut in cuts])
            batch = from_volumes(student[:, :n], student[:, n:], teacher[:, :n], teacher[:, n:], labels)
            _step(optimiser, chain(batch))
    return backbone, head


def simclr(bodies: Bodies, seed: int) -> Backbone:
    """Two augmented views of the same crops, told from those of all others."""
    backbone, head = start(seed)
    chain, random = Chain(Cosine(), InfoNCE(0.2)), torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW([*backbone.parameters(), *head.student.parameters()], LEARNING_RATE, foreach=True)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        for _ in range(STEPS):
            drawn = torch.randint(len(bodies.volumes), (BATCH,), generator=random)
            cuts = [CUT.cut(volume, random) for volume in bodies.volumes[drawn]]
            crops = torch.cat([torch.cat([cut.crops, cut.bases]) for cut in cuts])
            crops = crops[torch.randperm(len(crops), generator=random)[: len(crops) // 2]]
            both = torch.cat([augmented(crops, random), augmented(crops, random)])
            u, v = head(backbone(both)).chunk(2)
            _step(optimiser, chain(two_views(u, v)))
    return backbone


@torch.no_grad()
def located(backbone: Backbone, head: ProjectorPair, test: Bodies, seed: int) -> float:
    """How often the most similar base is the cell that a random crop overlaps most, in unseen bodies."""
    random, right = torch.Generator().manual_seed(seed), []
    backbone.eval(), head.eval()
    for volume in test.volumes:
        cut = CUT.cut(volume, random)
        z = F.normalize(head(backbone(torch.cat([cut.crops, cut.bases]))), dim=1)
        best = (z[: CUT.crops] @ z[CUT.crops :].T).argmax(dim=1)
        right.append((best == cut.labels.argmax(dim=1)).float().mean())
    return torch.stack(right).mean().item()


def probe(backbone: Backbone, labelled: Bodies, test: Bodies) -> float:
    """A linear classifier of organs over frozen features of crops around them: trained to the end, on few bodies."""
    with torch.no_grad():
        backbone.eval()
        features = [backbone(around(b.volumes, b.centres).flatten(0, 1)) for b in (labelled, test)]
    mean, deviation = features[0].mean(0), features[0].std(0) + 1e-6
    x, held = ((f - mean) / deviation for f in features)
    y, wanted = (torch.arange(9).repeat(count) for count in (LABELLED, TEST))
    weight = torch.zeros(x.shape[1], 9, requires_grad=True)
    bias = torch.zeros(9, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=100, line_search_fn="strong_wolfe")

    def cost() -> Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(x @ weight + bias, y) + 1e-3 * weight.square().sum()
        loss.backward()
        return loss

    optimiser.step(cost)
    return ((held @ weight + bias).argmax(dim=1) == wanted).float().mean().item()


def _step(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
