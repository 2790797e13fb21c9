"""Chains that have a name: what joins parts of several rooms into one published loss."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from litotes.batch import Moment, SignedBatch
from litotes.chain import Chain
from litotes.objectives.base import Objective
from litotes.objectives.combine import Only, Sum, Symmetric
from litotes.objectives.contrastive.infonce import InfoNCE
from litotes.objectives.contrastive.soft_target import SoftTargetInfoNCE
from litotes.objectives.graph.pot import Compactness
from litotes.objectives.pairwise.hinge import Hinge
from litotes.objectives.pairwise.logistic import PairwiseLogistic
from litotes.objectives.pairwise.margin_mse import MarginMSE
from litotes.objectives.pairwise.sign_mse import SignMSE
from litotes.objectives.temperature import LearnedTemperature, Temperature
from litotes.scoring import Cosine, Dot, PositiveMargin
from litotes.sources.guide_scores import GuideScores
from litotes.sources.mixed.shared_pairs import SharedPairs
from litotes.sources.proxies import Proxies
from litotes.sources.same_side import SameSide
from litotes.sources.soft.continuous import ContinuousWeight
from litotes.sources.soft.tree import SetSimilarity, TreeSimilarity, overlaps
from litotes.vetting.gist import Gist
from litotes.vetting.whisker import Whisker


def gist_loss(
    temperature: Temperature = 0.01,
    margin: float = 0.0,
    strategy: Literal["absolute", "relative"] = "absolute",
    contrast_anchors: bool = True,
    contrast_positives: bool = True,
) -> Chain:
    """The loss of GISTEmbed: InfoNCE over all pairs of the batch that a guide does not take for positives.

        SameSide -> Cosine -> Gist -> InfoNCE

    The batch needs the features of a guide, `rows["guide"]` and `columns["guide"]`.

    Args:
        temperature: divides the cosines.
        margin, strategy: how far below its positive the line of a row lies, see `Gist`.
        contrast_anchors: anchors are negatives of each other.
        contrast_positives: positives are negatives of each other.
    Raises:
        ValueError: an argument is out of range.
    Source: GISTEmbed (arXiv:2402.16829), equation 6.
    """
    same_side = [SameSide(contrast_anchors, contrast_positives)] if contrast_anchors or contrast_positives else []
    return Chain(*same_side, Cosine(), Gist(margin, strategy), InfoNCE(temperature))


class Star(Chain):
    """The loss of STAR: each positive above the hard negatives of the whole batch and above the other positives.

        one mean        mean of log(1 + exp((s_n - s_p) / temperature)) over every pair of an anchor and a negative
        random_weight   random_weight * (mean over what other rows brought) + mean over what the row brought itself

    Scores are inner products. A few mined hard negatives alone can be pushed down while unseen documents rise; the
    columns of other rows stand for all documents and hold training in place, and they are scored anyway. Known
    positives of a row have sign 0 and take no part (`batch.signs`).

    In one mean the row's own hard negative is 1 of 2B - 1 pairs and matters by its size only; random_weight takes the
    two means apart.

    In:   SignedBatch with features; with random_weight `columns["of"]` says who brought a column (`from_pairs`).
    Out:  scalar >= 0.
    Cost: O(B C D).

    Args:
        random_weight: >= 0 and finite; None = one mean over all pairs.
        temperature: divides the scores. 1 suits raw inner products; 0.05 vectors of length 1.
    Raises:
        ValueError: an argument is out of range.
    Source: Optimizing Dense Retrieval Model Training with Hard Negatives (arXiv:2104.08051), section 4; the one mean is
        that of the released code, random_weight the weighted sum of the paper.
    """

    citation = """@inproceedings{zhan2021optimizing,
    title = {Optimizing Dense Retrieval Model Training with Hard Negatives},
    author = {Zhan, Jingtao and Mao, Jiaxin and Liu, Yiqun and Guo, Jiafeng and Zhang, Min and Ma, Shaoping},
    booktitle = {SIGIR},
    year = {2021}
}"""

    def __init__(self, random_weight: float | None = None, temperature: float = 1.0):
        if random_weight is not None and not (random_weight >= 0 and math.isfinite(random_weight)):
            raise ValueError(f"Star: random_weight must be >= 0 and finite or None, got {random_weight!r}")
        if not (temperature > 0 and math.isfinite(temperature)):
            raise ValueError(f"Star: temperature must be > 0 and finite, got {temperature!r}")
        pairs = PairwiseLogistic(temperature=temperature)
        if random_weight is None:
            super().__init__(Dot(), pairs)
        else:
            super().__init__(Dot(), Sum((random_weight, Only("foreign", pairs)), (1.0, Only("own", pairs))))
        self.random_weight, self.temperature = random_weight, float(temperature)


def ngame_loss(margin: float = 0.3, k: int = 10, weight_temperature: float | None = 0.1) -> Chain:
    """The loss of NGAME: a triplet margin over the k hardest in-batch negatives of each row, by cosine.

        Cosine -> Hinge(margin, k, weight_temperature, average="count")

    A batch of `Ngame` brings the hard negatives. Known positives of a row must have sign 0 (`assemble`, `signs`).

    Args:
        margin: >= 0, of cosines. k: negatives per row, >= 1.
        weight_temperature: of the softmax that emphasises the hardest, > 0; None = a plain mean.
    Raises:
        ValueError: an argument is out of range.
    Source: NGAME (arXiv:2207.04452), with the settings of the released first stage; the mean is over the slots that
        are there, where the released code divides by batch size times k (the same if every row has k negatives).
    """
    return Chain(Cosine(), Hinge(margin, k, weight_temperature, average="count"))


def dual_supervision(
    alpha: float = 0.75, inbatch: Literal["margin_mse", "kl"] = "margin_mse", guide: bool = False
) -> Chain:
    """The loss of TAS-Balanced: one teacher for the pair of a row, a second one for all that meets in the batch.

        L = MarginMSE over the row's own negatives + alpha (A + N) / 2
        A, N = MarginMSE over the positives, the negatives, that other rows brought

    Scores are inner products, which take on the scale of the teachers. The first teacher's scores are
    `pairs["teacher"]`, the second one's `pairs["teacher_inbatch"]`; or those of a guide (`GuideScores`), that the loss
    is given. "kl" is the listwise form: alpha times the cross-entropy with the softmax of the guide's scores over all
    columns (the divergence up to a constant).

    Args:
        alpha: >= 0 and finite. inbatch: "margin_mse" or "kl", which needs guide=True.
        guide: True = the in-batch teacher is a guide, asked in every step.
    Raises:
        ValueError: an argument is out of range.
    Source: Efficiently Teaching an Effective Dense Retriever with Balanced Topic Aware Sampling (arXiv:2104.06967),
        equations 5 to 7; the pairs of A and N are averaged over i != j, as in the released code.
    """
    if not (alpha >= 0 and math.isfinite(alpha)):
        raise ValueError(f"dual_supervision: alpha must be >= 0 and finite, got {alpha!r}")
    if inbatch not in ("margin_mse", "kl"):
        raise ValueError(f"dual_supervision: inbatch must be 'margin_mse' or 'kl', got {inbatch!r}")
    own = (1.0, Only("own", MarginMSE("teacher")))
    if inbatch == "kl":
        if not guide:
            raise ValueError("dual_supervision: inbatch='kl' needs guide=True")
        return Chain(GuideScores("target", share=True), Dot(), Sum(own, (alpha, SoftTargetInfoNCE(1.0))))
    teacher = MarginMSE("teacher_inbatch")
    both = [(alpha / 2, Only(part, teacher)) for part in ("foreign positives", "foreign negatives")]
    return Chain(*([GuideScores()] if guide else []), Dot(), Sum(own, *both))


def unpg(
    num_classes: int,
    dim: int,
    head: Literal["angular", "additive"] = "angular",
    temperature: Temperature = 1 / 64,
    margin: float = 0.5,
    whisker: float = 1.5,
    seed: int = 0,
) -> Chain:
    """The loss of UNPG: a margin softmax over classes whose denominator also holds the pairs inside the batch.

        Proxies, SharedPairs -> PositiveMargin(Cosine) -> Whisker -> InfoNCE

    In:   `from_classes(anchors, y)`.
    Args:
        num_classes, dim, seed: of the class vectors, which are parameters of the chain.
        head: "angular" (ArcFace) or "additive" (CosFace); margin: of it. temperature: 1 / 64 is the scale 64.
        whisker: outliers among the pairs are left out; inf = none are.
    Raises:
        ValueError: an argument is out of range.
    Source: UNPG (arXiv:2203.11593), equation 5; margins as in its table of heads.
    """
    scorer = PositiveMargin(Cosine(), head, margin)
    return Chain(Proxies(num_classes, dim, seed=seed), SharedPairs(), scorer, Whisker(whisker), InfoNCE(temperature))


def cwcl(
    temperature: Temperature = 0.07,
    backward_temperature: Temperature | None = None,
    sharpen: float = 1.0,
    floor: float = 0.0,
) -> Chain:
    """The loss of CWCL: from the frozen modality soft targets by its own similarities, from the other plain InfoNCE.

        ContinuousWeight -> Cosine -> SoftTargetInfoNCE + InfoNCE of the transpose

    In:   `from_pairs(frozen, trained)`: the frozen tower is the anchor side.
    Args:
        temperature: divides the cosines of both directions. backward_temperature: of the second alone; None = the same,
            also where it is learned.
        sharpen, floor: of the targets, see `ContinuousWeight`.
    Raises:
        ValueError: an argument is out of range.
    Source: CWCL (arXiv:2309.14580), equations 3 to 5; the two directions are added, not averaged.
    """
    backward = temperature if backward_temperature is None else backward_temperature
    both = Symmetric(SoftTargetInfoNCE(temperature), InfoNCE(backward), total="sum")
    return Chain(ContinuousWeight(sharpen, floor), Cosine(), both)


def bidirectional_ranking(
    margin: float = 0.2, annotation_weight: float = 0.5, hardest: bool = False, cosine: bool = True
) -> Chain:
    """The margin loss of image-text matching, from both sides: rows are images, columns are sentences.

        annotation_weight * Hinge over sentences  +  (1 - annotation_weight) * Hinge over images

    A weight of 1 trains to find sentences, 0 to find images: a constant added to a row (or a column) changes nothing
    there.

    Args:
        margin: >= 0; 0.1 to 0.2 suits cosines, 1 inner products. annotation_weight: in [0, 1].
        hardest: the hardest negative alone instead of the sum over all (VSE++). cosine: else inner products.
    Raises:
        ValueError: an argument is out of range.
    Source: Deep Learning Applied to Image and Text Matching (arXiv:1601.03478); the hinge form is that of its field.
    """
    hinge = Hinge(margin, k=1 if hardest else None, average="positive")
    return Chain(Cosine() if cosine else Dot(), Symmetric(hinge, share=1 - annotation_weight))


def normalized_softmax(
    num_classes: int, dim: int, temperature: Temperature = 0.05, subsample: int | None = None, seed: int = 0
) -> Chain:
    """Classification on the sphere: class vectors and embeddings of length 1, no bias.

        Proxies -> Cosine -> InfoNCE

    In:   `from_classes(anchors, y)`. Classes that were never seen are told apart by the angle between embeddings.
    Args:
        num_classes, dim, subsample, seed: of the class vectors. temperature: 0.05, or learned.
    Raises:
        ValueError: an argument is out of range.
    Source: Hyperspherical embedding for novel class classification (arXiv:2102.03243), equation 2.
    """
    return Chain(Proxies(num_classes, dim, subsample, seed), Cosine(), InfoNCE(temperature))


def masked_answer_contrast(similarity: Literal["dot", "cosine"] = "dot", temperature: Temperature = 1.0) -> Chain:
    """A masked copy of the right answer's input near to it, and far from the wrong answers to the same question.

        Dot -> InfoNCE

    In:   `choices(anchor, reps, target)`, candidates as own columns. Both sides learn.
    Args:
        similarity: inner products can win by growing norms; "cosine" cannot, and wants a temperature of 0.05 to 0.1.
        temperature: divides the scores.
    Raises:
        ValueError: an argument is out of range.
    Source: Self-supervised pre-training and contrastive representation learning for multiple-choice video QA
        (arXiv:2009.08043); the softmax over inner products is our reading.
    """
    if similarity not in ("dot", "cosine"):
        raise ValueError(f"masked_answer_contrast: similarity must be 'dot' or 'cosine', got {similarity!r}")
    return Chain(Dot() if similarity == "dot" else Cosine(), InfoNCE(temperature))


def ctvis_loss(embed_weight: float = 2.0, aux_weight: float = 3.0) -> Sum:
    """The loss of CTVIS: inner products by a contrast of all positives with all negatives, cosines held by their sign.

        embed_weight * log(1 + sum_p sum_n exp(a n - a p))  +  aux_weight * mean of (cos(a, x) - [x is positive])^2

    In:   items of `ConsistentItems`, or any batch with features.
    Args:
        embed_weight, aux_weight: >= 0 and finite.
    Raises:
        ValueError: an argument is out of range.
    Source: CTVIS: Consistent Training for Online Video Instance Segmentation (arXiv:2307.12616), equations 5 and 6.
    """
    contrast, angles = Chain(Dot(), InfoNCE(1.0, "joint")), Chain(Cosine(), SignMSE())
    return Sum((embed_weight, contrast), (aux_weight, angles))


def sample4geo_loss(temperature: Temperature | None = None, label_smoothing: float = 0.1) -> Chain:
    """The loss of Sample4Geo: InfoNCE from both sides with smoothed labels; batches bring the hardness.

        Cosine -> Symmetric(SoftTargetInfoNCE(label_smoothing))

    In:   `from_pairs(queries, references)`, of batches that `NeighbourBatches` makes.
    Args:
        temperature: divides the cosines; None = learned, from 0.07 on and without a bound.
        label_smoothing: share of the target that is spread evenly over the batch, in [0, 1).
    Raises:
        ValueError: an argument is out of range.
    Source: Sample4Geo (arXiv:2303.11851), section 3, with the smoothing of its released code.
    """
    divisor = LearnedTemperature(0.07, max_scale=None) if temperature is None else temperature
    return Chain(Cosine(), Symmetric(SoftTargetInfoNCE(divisor, label_smoothing)))


class Space2(Objective):
    """The loss of SPACE-2: a contrast in each view of a tree, in its own subspace, with overlaps as soft positives.

        for view v:  SoftTargetInfoNCE over cosines in subspace v, target F_v;     loss = mean over the views

    F_v is the Jaccard overlap of two trees in view v, and 1 for a text and its twin. Soft positives stay in each
    other's denominator. Texts without trees take part with supervised=False (F = 1 for the twin alone) in a batch of
    their own; the two losses are added.

    In:   `two_views(u, v)` of features [B, V, P] (`SubspaceHead`) from two passes with different dropout; supervised:
          `rows["tree"]` and `columns["tree"]` [2B, V, M] as `similarity.encode` makes them, those of both passes.
    Out:  scalar; `terms` has one more per view.
    Cost: O(V B^2 P).

    Args:
        similarity: whose views they are; None = `TreeSimilarity()`.
        temperature: divides the cosines. supervised: read trees.
    Raises:
        ValueError: an argument is out of range, or features and views differ in number.
    Source: SPACE-2 (arXiv:2209.06638), equations 4 to 7, with the reductions of the released code.
    """

    name_in_recipes = "space2"

    def __init__(
        self, similarity: SetSimilarity | None = None, temperature: Temperature = 0.07, supervised: bool = True
    ):
        super().__init__()
        self.similarity = TreeSimilarity() if similarity is None else similarity
        self.chain = Chain(Cosine(), SoftTargetInfoNCE(temperature))
        self.supervised = bool(supervised)
        self.needs = ("features", "tree") if supervised else ("features",)

    @property
    def temperature(self) -> Temperature:
        """What divides the cosines."""
        found: Temperature = self.chain.objective.temperature  # type: ignore[assignment]
        return found

    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        return self.terms(batch, now=now)["loss"]

    def terms(self, batch: SignedBatch, *, now: Moment | None = None) -> dict[str, Tensor]:
        """The loss, and that of each view by its name."""
        names = self.similarity.names
        anchors, candidates = batch.anchors, batch.candidates
        for side in (anchors, candidates):
            if side is None or side.ndim != 3 or side.shape[1] != len(names):
                got = None if side is None else list(side.shape)
                raise ValueError(f"Space2: features must be [n, {len(names)}, P], one vector per view, got {got}")
        assert anchors is not None and candidates is not None
        pairs = {name: value for name, value in batch.pairs.items() if name != "target"}
        target = [pairs] * len(names)
        if self.supervised:
            with torch.no_grad():
                found = overlaps(*self.similarity.trees(batch))[0].masked_fill((batch.sign > 0)[None], 1)
            target = [{**pairs, "target": of_view} for of_view in found]
        costs = [
            self.chain(
                batch.replace(scores=None, anchors=anchors[:, v], candidates=candidates[:, v], pairs=target[v]),
                now=now,
            )
            for v in range(len(names))
        ]
        return {"loss": torch.stack(costs).mean(), **dict(zip(names, costs, strict=True))}


def pot_loss(kappa: float = 0.4, temperature: Temperature = 0.7) -> Sum:
    """GRACE with provable training: contrast between two views of a graph, and nodes that stay compact.

        (1 - kappa) InfoNCE over both views' nodes  +  kappa mean of log(1 + exp(-score))

    In:   `two_views(u, v)` of projected embeddings, with `rows["compactness"]`, the scores of `NodeCompactness` of both
          views, one after the other, from the embeddings before projection.
    Args:
        kappa: in [0, 1]; 0.2 to 0.5 is usual. temperature: divides the cosines.
    Raises:
        ValueError: an argument is out of range.
    Source: Provable Training for Graph Contrastive Learning (arXiv:2309.13944), equation 12; GRACE (arXiv:2006.04131).
    """
    if not 0 <= kappa <= 1:
        raise ValueError(f"pot_loss: kappa must be in [0, 1], got {kappa!r}")
    return Sum((1 - kappa, Chain(Cosine(), InfoNCE(temperature))), (kappa, Compactness()))


def claps(temperature: Temperature = 0.1) -> Chain:
    """The contrast of CLAPS: a source finds its target among those of the batch and an imposter of its own.

        Cosine -> InfoNCE

    In:   either batch of `litotes.training.claps.pairs`; `Claps` joins both with the likelihood.
    Args:
        temperature: divides the cosines.
    Raises:
        ValueError: an argument is out of range.
    Source: Contrastive Learning with Adversarial Perturbations for Conditional Text Generation (arXiv:2012.07280),
        equations 6 and 10.
    """
    return Chain(Cosine(), InfoNCE(temperature))
