"""The catalogue: every part by its short name, with its stage, its scale and its paper.

`parse("relative_margin(margin=0.05)")` builds a part from its spelling, `str(part)` spells it again; `why_not` says why
a spelling cannot be built, without loading a model or reading a file.
"""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass
from typing import Any, Literal

from litotes.spelling import Spelled
from litotes.spelling import parse as read

Stage = Literal["source", "vetter", "scorer", "memory", "batcher", "objective", "weigher", "temperature", "trainer"]
Scale = Literal["disk", "tensor"]


@dataclass(frozen=True)
class Entry:
    """One part.

    `target`: module:Class. `papers`: "title (arXiv id)". `claims`: names of claim checks on the board. `example`: a
    spelling that builds it, for parts that cannot be built from defaults.
    """

    name: str
    target: str
    stage: Stage
    scale: Scale
    summary: str
    papers: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    example: str = ""

    @property
    def spelling(self) -> str:
        """A spelling that builds the part."""
        return self.example or f"{self.name}()"

    def load(self) -> type:
        """The class itself; imports its room."""
        module, name = self.target.split(":")
        return getattr(importlib.import_module(module), name)

    @property
    def plugs_into(self) -> str:
        """Where the part can be used."""
        if self.stage == "batcher":
            return "recipe key train.batcher, `train_retriever(batcher=)`, any batch_sampler= of torch"
        if self.stage == "trainer":
            return "key trainer of a recipe's arm, `litotes train --trainer`, Python"
        if self.scale == "disk":
            key = {"source": "mine.sources", "vetter": "vet.vetters"}[self.stage]
            return (
                f"recipe key {key}, `litotes {'mine --source' if self.stage == 'source' else 'vet --vetter'}`, Python"
            )
        if self.stage == "weigher":
            return "`Reweighted`"
        return "recipe key train.objective, `Chain`, a sentence-transformers loss (litotes.integrations)"


NV_RETRIEVER = "NV-Retriever: Improving text embedding models with effective hard-negative mining (arXiv:2407.15831)"
GIST = "GISTEmbed: Guided In-sample Selection of Training Negatives for Text Embedding Fine-tuning (arXiv:2402.16829)"
CPC = "Representation Learning with Contrastive Predictive Coding (arXiv:1807.03748)"

GRADCACHE = "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup (arXiv:2101.06983)"
BM25 = "The Probabilistic Relevance Framework: BM25 and Beyond (doi:10.1561/1500000019)"
MARGIN_MSE = (
    "Improving Efficient Neural Ranking Models with Cross-Architecture Knowledge Distillation (arXiv:2010.02666)"
)
SUPCON = "Supervised Contrastive Learning (arXiv:2004.11362)"
FACENET = "FaceNet: A Unified Embedding for Face Recognition and Clustering (arXiv:1503.03832)"
MINHASH = "On the resemblance and containment of documents (doi:10.1109/SEQUEN.1997.666900)"
UNPG = (
    "Unified Negative Pair Generation toward Well-discriminative Feature Space for Face Recognition (arXiv:2203.11593)"
)
CWCL = "CWCL: Cross-Modal Transfer with Continuously Weighted Contrastive Loss (arXiv:2309.14580)"
DBPM = "Towards Enhancing Time Series Contrastive Learning: A Dynamic Bad Pair Mining Approach (ICLR 2024)"
MOCHI = "Hard Negative Mixing for Contrastive Learning (arXiv:2010.01028)"
MOCO = "Momentum Contrast for Unsupervised Visual Representation Learning (arXiv:1911.05722)"
SAMPLE4GEO = "Sample4Geo: Hard Negative Sampling For Cross-View Geo-Localisation (arXiv:2303.11851)"
VOCO = "Large-Scale 3D Medical Image Pre-training with Geometric Context Priors (arXiv:2410.09890)"
SPACE_2 = (
    "SPACE-2: Tree-Structured Semi-Supervised Contrastive Pre-training for Task-Oriented Dialog Understanding "
    "(arXiv:2209.06638)"
)
NORMFACE = "NormFace: L2 Hypersphere Embedding for Face Verification (arXiv:1704.06369)"
ARCFACE = "ArcFace: Additive Angular Margin Loss for Deep Face Recognition (arXiv:1801.07698)"
COSFACE = "CosFace: Large Margin Cosine Loss for Deep Face Recognition (arXiv:1801.09414)"
PFID = "Primate Face Identification in the Wild (arXiv:1907.02642)"
ASL = "A Benchmark and Asymmetrical-Similarity Learning for Practical Image Copy Detection (arXiv:2205.12358)"
RATIO_OF_VIEWS = "Learning Transferable Visual Models From Natural Language Supervision (arXiv:2103.00020)"

CTVIS = "CTVIS: Consistent Training for Online Video Instance Segmentation (arXiv:2307.12616)"
SIGLIP = "Sigmoid Loss for Language Image Pre-Training (arXiv:2303.15343)"
DEBIASED = "Debiased Contrastive Learning (arXiv:2007.00224)"
HARD_SAMPLES = "Contrastive Learning with Hard Negative Samples (arXiv:2010.04592)"

POT = "Provable Training for Graph Contrastive Learning (arXiv:2309.13944)"
RANKNET = "Learning to Rank using Gradient Descent (doi:10.1145/1102351.1102363)"
DRHARD = "Optimizing Dense Retrieval Model Training with Hard Negatives (arXiv:2104.08051)"
AR2 = "Adversarial Retriever-Ranker for dense text retrieval (arXiv:2110.03611)"
CET = "Hard Negatives or False Negatives: Correcting Pooling Bias in Training Neural Ranking Models (arXiv:2209.05072)"
PEG = "Towards Robust Text Retrieval with Progressive Learning (arXiv:2311.11691)"
NGAME = "NGAME: Negative Mining-aware Mini-batching for Extreme Classification (arXiv:2207.04452)"
TAS_BALANCED = "Efficiently Teaching an Effective Dense Retriever with Balanced Topic Aware Sampling (arXiv:2104.06967)"

NV_EMBED = "NV-Embed: Improved Techniques for Training LLMs as Generalist Embedding Models (arXiv:2405.17428)"
EVENTS = "Event-driven Real-time Retrieval in Web Search (arXiv:2312.00372)"

MM_EMBED = "MM-Embed: Universal Multimodal Retrieval with Multimodal LLMs (arXiv:2411.02571)"
SKILLS = "Design of Negative Sampling Strategies for Distantly Supervised Skill Extraction (arXiv:2209.05987)"

ENTRIES: tuple[Entry, ...] = (
    # -- disk scale: sources
    Entry(
        "random", "litotes.sources.random:Random", "source", "disk", "documents drawn evenly, reproducibly per anchor"
    ),
    Entry(
        "dense",
        "litotes.sources.mined.dense:Mined",
        "source",
        "disk",
        "a rank window of exact dense search",
        (NV_RETRIEVER,),
    ),
    Entry("bm25", "litotes.sources.mined.bm25:Bm25", "source", "disk", "a rank window of BM25 search", (BM25,)),
    Entry(
        "mixture",
        "litotes.sources.mixture:Mixture",
        "source",
        "disk",
        "several sources with shares of one depth",
        example="mixture(parts=[bm25(), dense()], shares=[0.5, 0.5])",
    ),
    Entry(
        "stale",
        "litotes.sources.structured.stale:StaleNegatives",
        "source",
        "disk",
        "documents on the query's topic that are about another event or another time",
        (EVENTS,),
        ("event-retrieval", "event-retrieval-stale"),
    ),
    Entry(
        "attribute_aware",
        "litotes.sources.mined.attribute:AttributeAwareNegatives",
        "source",
        "disk",
        "documents of the wrong kind that outrank the answer, and of the right kind with the wrong content",
        (MM_EMBED,),
        ("mm-embed",),
    ),
    Entry(
        "taxonomy",
        "litotes.sources.structured.taxonomy:TaxonomyNegatives",
        "source",
        "disk",
        "texts of labels that are near in a taxonomy, in spelling or in meaning",
        (SKILLS,),
        ("skill-negatives",),
    ),
    # -- disk scale: vetters
    Entry(
        "relative_margin",
        "litotes.vetting.relative_margin:RelativeMargin",
        "vetter",
        "disk",
        "doubts what scores above a fraction under its positive",
        (NV_RETRIEVER,),
    ),
    Entry(
        "absolute_margin",
        "litotes.vetting.absolute_margin:AbsoluteMargin",
        "vetter",
        "disk",
        "doubts what scores less than a margin under its positive",
        (NV_RETRIEVER,),
    ),
    Entry(
        "score_window",
        "litotes.vetting.score_window:ScoreWindow",
        "vetter",
        "disk",
        "doubts scores outside a window",
        example="score_window(low=0.1, high=0.9)",
    ),
    Entry(
        "guide",
        "litotes.vetting.guide:Guide",
        "vetter",
        "disk",
        "doubts what a second encoder finds nearer than the positive",
        (GIST,),
        ("gist",),
        "guide(guide='all-MiniLM-L6-v2')",
    ),
    Entry(
        "cross_encoder",
        "litotes.vetting.cross_encoder:CrossEncoder",
        "vetter",
        "disk",
        "doubts what a cross-encoder scores near the positive",
        example="cross_encoder(model='cross-encoder/ms-marco-MiniLM-L6-v2')",
    ),
    Entry(
        "cet",
        "litotes.vetting.cet:Cet",
        "vetter",
        "disk",
        "believes a negative as far as a selection model finds that annotators were shown it",
        (CET,),
        ("cet",),
        "cet(selection='models/mine/selection')",
    ),
    Entry(
        "same_text",
        "litotes.vetting.same_text:SameText",
        "vetter",
        "disk",
        "doubts exact copies of a positive or the query",
    ),
    Entry(
        "near_duplicate",
        "litotes.vetting.near_duplicate:NearDuplicate",
        "vetter",
        "disk",
        "doubts near copies of a positive or the query",
        (MINHASH,),
    ),
    Entry(
        "same_group",
        "litotes.vetting.same_group:SameGroup",
        "vetter",
        "disk",
        "doubts candidates of a positive's group",
    ),
    Entry(
        "peer_line",
        "litotes.vetting.peer_line:PeerLine",
        "vetter",
        "disk",
        "margins as sentence-transformers and NeMo compute them",
        example="peer_line(rule=sum, margin=0.05)",
    ),
    # -- disk scale: batchers
    Entry(
        "ngame",
        "litotes.batching.ngame:Ngame",
        "batcher",
        "disk",
        "near points meet, in clusters that grow as training goes on",
        (NGAME,),
        ("ngame",),
    ),
    Entry(
        "tas_balanced",
        "litotes.batching.tas:TasBalanced",
        "batcher",
        "disk",
        "queries of one topic meet, with pairs drawn evenly over a teacher's gaps",
        (TAS_BALANCED,),
        ("tas-balanced",),
    ),
    Entry(
        "neighbour_batches",
        "litotes.batching.neighbours:NeighbourBatches",
        "batcher",
        "disk",
        "neighbours meet: on a map at first, in the model's own space later",
        (SAMPLE4GEO,),
        ("sample4geo",),
    ),
    # -- tensor scale: sources, vetters, scorers
    Entry(
        "guide_scores",
        "litotes.sources.guide_scores:GuideScores",
        "source",
        "tensor",
        "a guide's scores of every pair of the batch, as a teacher",
        (TAS_BALANCED,),
        ("tas-balanced",),
    ),
    Entry(
        "same_side",
        "litotes.sources.same_side:SameSide",
        "source",
        "tensor",
        "anchors against anchors, positives against positives",
        (GIST,),
    ),
    Entry(
        "gist",
        "litotes.vetting.gist:Gist",
        "vetter",
        "tensor",
        "doubts in-batch negatives that a guide finds nearer than the positive",
        (GIST,),
        ("gist",),
    ),
    Entry(
        "teacher_target",
        "litotes.sources.soft.teacher_target:TeacherTarget",
        "source",
        "tensor",
        "a teacher's scores as a distribution over candidates, to learn",
        ("Distilling the Knowledge in a Neural Network (arXiv:1503.02531)",),
    ),
    Entry("cosine", "litotes.scoring:Cosine", "scorer", "tensor", "cosine of the angle"),
    Entry("dot", "litotes.scoring:Dot", "scorer", "tensor", "inner product"),
    Entry("neg_l2", "litotes.scoring:NegL2", "scorer", "tensor", "minus the (squared) Euclidean distance"),
    Entry(
        "clipped_cosine", "litotes.scoring:ClippedCosine", "scorer", "tensor", "cosine, negative values clipped to 0"
    ),
    Entry(
        "posterior_kl",
        "litotes.scoring:PosteriorKL",
        "scorer",
        "tensor",
        "minus the divergence of class posteriors",
        (PFID,),
    ),
    Entry(
        "positive_margin",
        "litotes.scoring:PositiveMargin",
        "scorer",
        "tensor",
        "another scorer, its positives harder by a margin",
        (ARCFACE, COSFACE),
    ),
    Entry(
        "norm_asymmetric",
        "litotes.scoring:NormAsymmetric",
        "scorer",
        "tensor",
        "cosine, only towards candidates of a larger norm",
        (ASL,),
    ),
    Entry(
        "from_queue",
        "litotes.sources.memory.queue:FromQueue",
        "source",
        "tensor",
        "features of earlier steps as negatives of every row",
        (MOCO,),
        example="from_queue(queue=feature_queue(size=4096, dim=128))",
    ),
    Entry(
        "feature_queue",
        "litotes.sources.memory.queue:FeatureQueue",
        "memory",
        "tensor",
        "the last features that were pushed",
        (MOCO,),
        example="feature_queue(size=4096, dim=128)",
    ),
    Entry(
        "mochi",
        "litotes.sources.mixed.mochi:MoCHi",
        "source",
        "tensor",
        "harder negatives mixed from an anchor's hardest",
        (MOCHI,),
        ("mochi",),
    ),
    Entry(
        "shared_pairs",
        "litotes.sources.mixed.shared_pairs:SharedPairs",
        "source",
        "tensor",
        "pairs of different classes as negatives of every row",
        (UNPG,),
    ),
    Entry(
        "whisker",
        "litotes.vetting.whisker:Whisker",
        "vetter",
        "tensor",
        "doubts common negatives that are outliers",
        (UNPG,),
    ),
    Entry(
        "continuous_weight",
        "litotes.sources.soft.continuous:ContinuousWeight",
        "source",
        "tensor",
        "soft targets by similarity inside the frozen modality",
        (CWCL,),
    ),
    Entry(
        "norm_gate",
        "litotes.vetting.norm_gate:NormGate",
        "vetter",
        "tensor",
        "doubts pairs whose anchor is longer than its candidate",
        (ASL,),
    ),
    Entry(
        "pair_memory",
        "litotes.vetting.pair_memory:PairMemory",
        "weigher",
        "tensor",
        "believes pairs less whose past losses are unusual",
        (DBPM,),
        example="pair_memory(pairs=1000)",
    ),
    Entry(
        "grid_crops",
        "litotes.sources.structured.grid_crops:GridCrops",
        "source",
        "tensor",
        "soft targets by how far a crop overlaps the cells of a grid",
        (VOCO,),
        ("voco",),
    ),
    Entry(
        "tree_similarity",
        "litotes.sources.soft.tree:TreeSimilarity",
        "source",
        "tensor",
        "soft targets by the overlap of annotation trees, in ten views",
        (SPACE_2,),
        ("space-2",),
    ),
    Entry(
        "path_tree_similarity",
        "litotes.sources.soft.tree:PathTreeSimilarity",
        "source",
        "tensor",
        "soft targets by how far two paths from a root agree",
        (SPACE_2,),
        ("space-2",),
    ),
    Entry(
        "cross_rank",
        "litotes.sources.cross_rank:CrossRank",
        "source",
        "tensor",
        "candidates of all processes, with their gradients",
        (RATIO_OF_VIEWS,),
    ),
    Entry(
        "proxies",
        "litotes.sources.proxies:Proxies",
        "source",
        "tensor",
        "a trained vector per class as candidates",
        (NORMFACE,),
        example="proxies(num_classes=100, dim=64)",
    ),
    # -- tensor scale: objectives
    Entry(
        "chain",
        "litotes.chain:Chain",
        "objective",
        "tensor",
        "rounds of sources, a scorer and vetters, then one objective",
        example="chain(cosine(), gist(), infonce(temperature=0.01))",
    ),
    Entry(
        "infonce",
        "litotes.objectives.contrastive.infonce:InfoNCE",
        "objective",
        "tensor",
        "each positive above its field of weighted negatives",
        (CPC,),
    ),
    Entry(
        "soft_target_infonce",
        "litotes.objectives.contrastive.soft_target:SoftTargetInfoNCE",
        "objective",
        "tensor",
        "cross-entropy with soft targets over the candidates",
        (SUPCON,),
    ),
    Entry(
        "sigmoid_pairs",
        "litotes.objectives.contrastive.sigmoid:SigmoidPairs",
        "objective",
        "tensor",
        "SigLIP: every pair a question of its own, no softmax",
        (SIGLIP,),
    ),
    Entry(
        "debiased_infonce",
        "litotes.objectives.contrastive.debiased:DebiasedInfoNCE",
        "objective",
        "tensor",
        "InfoNCE less the positives hidden among its negatives; hard ones preferred",
        (DEBIASED, HARD_SAMPLES),
    ),
    Entry(
        "hinge",
        "litotes.objectives.pairwise.hinge:Hinge",
        "objective",
        "tensor",
        "triplet margin: positives a margin above believed negatives",
        (FACENET,),
    ),
    Entry(
        "margin_mse",
        "litotes.objectives.pairwise.margin_mse:MarginMSE",
        "objective",
        "tensor",
        "a teacher's gaps between positive and negatives",
        (MARGIN_MSE,),
    ),
    Entry(
        "sign_mse",
        "litotes.objectives.pairwise.sign_mse:SignMSE",
        "objective",
        "tensor",
        "positives to one score, negatives to another",
        (CTVIS,),
        ("ctvis",),
    ),
    Entry(
        "compactness",
        "litotes.objectives.graph.pot:Compactness",
        "objective",
        "tensor",
        "nodes of a graph that provably stay near their twin, whichever edges are dropped",
        (POT,),
        ("pot",),
    ),
    Entry(
        "posterior_pairs",
        "litotes.objectives.contrastive.posterior_pairs:PosteriorPairs",
        "objective",
        "tensor",
        "posteriors of one individual together, of two a divergence apart",
        (PFID,),
    ),
    Entry(
        "norm_ratio",
        "litotes.objectives.contrastive.norm_ratio:NormRatio",
        "objective",
        "tensor",
        "the more complete of two samples gets the longer vector",
        (ASL,),
    ),
    Entry(
        "voco",
        "litotes.objectives.contrastive.voco:Voco",
        "objective",
        "tensor",
        "similarities of a crop to a grid match its overlaps, within and between volumes",
        (VOCO,),
        ("voco",),
    ),
    Entry(
        "space2",
        "litotes.training.chains:Space2",
        "objective",
        "tensor",
        "a contrast per view of a tree, in subspaces, with overlaps as soft positives",
        (SPACE_2,),
        ("space-2",),
    ),
    Entry(
        "pairwise_logistic",
        "litotes.objectives.pairwise.logistic:PairwiseLogistic",
        "objective",
        "tensor",
        "RankNet: the logistic loss of every positive above every negative",
        (RANKNET,),
    ),
    Entry(
        "adore",
        "litotes.objectives.listwise.adore:Adore",
        "objective",
        "tensor",
        "pairs of a ranked list, each as hard as a swap would move the metric",
        (DRHARD,),
        ("star-adore",),
    ),
    Entry(
        "ar2",
        "litotes.objectives.listwise.ar2:Ar2",
        "objective",
        "tensor",
        "raises what fools a ranker, and stays near the ranker's own ranking",
        (AR2,),
        ("ar2",),
    ),
    Entry(
        "star",
        "litotes.training.chains:Star",
        "objective",
        "tensor",
        "hard negatives of the whole batch beside random ones, by inner product",
        (DRHARD,),
        ("star-adore",),
    ),
    Entry(
        "progressive_infonce",
        "litotes.objectives.contrastive.progressive:ProgressiveInfoNCE",
        "objective",
        "tensor",
        "InfoNCE that counts easy anchors more at first, difficult ones later",
        (PEG,),
        ("peg",),
    ),
    Entry(
        "reweighted",
        "litotes.objectives.reweighted:Reweighted",
        "objective",
        "tensor",
        "an objective whose anchors are weighed anew in every step",
        example="reweighted(objective=infonce(), weigher=by_difficulty())",
    ),
    Entry(
        "by_difficulty",
        "litotes.objectives.contrastive.progressive:ByDifficulty",
        "weigher",
        "tensor",
        "anchors count by how difficult their negatives are, as training goes on",
        (PEG,),
        ("peg",),
    ),
    Entry(
        "symmetric",
        "litotes.objectives.combine:Symmetric",
        "objective",
        "tensor",
        "an objective and the same from the candidates' side",
        (RATIO_OF_VIEWS,),
        example="symmetric(forward=infonce())",
    ),
    Entry(
        "sum",
        "litotes.objectives.combine:Sum",
        "objective",
        "tensor",
        "a weighted sum of objectives",
        example="sum([1.0, infonce()], [0.5, hinge()])",
    ),
    Entry(
        "only",
        "litotes.objectives.combine:Only",
        "objective",
        "tensor",
        "an objective on a part of the columns",
        example="only(part=own, objective=infonce())",
    ),
    Entry(
        "event_loss",
        "litotes.training.retriever.event:EventLoss",
        "objective",
        "tensor",
        "queries in the light of events, events, and both together, each by InfoNCE",
        (EVENTS,),
        ("event-retrieval", "event-retrieval-stale"),
    ),
    Entry(
        "cached",
        "litotes.objectives.cached:Cached",
        "objective",
        "tensor",
        "gradient caching: batches larger than memory",
        (GRADCACHE,),
        example="cached(chain=infonce())",
    ),
    Entry(
        "learned_temperature",
        "litotes.objectives.temperature:LearnedTemperature",
        "temperature",
        "tensor",
        "a trained temperature",
        (RATIO_OF_VIEWS,),
    ),
    Entry(
        "scheduled_temperature",
        "litotes.objectives.temperature:ScheduledTemperature",
        "temperature",
        "tensor",
        "a temperature that follows training",
        example="scheduled_temperature(start=0.1, end=0.02)",
    ),
    Entry(
        "dynamic_negatives",
        "litotes.training.retriever.adore:DynamicNegatives",
        "trainer",
        "disk",
        "trains the query side against what it ranks highest now, over frozen documents",
        (DRHARD,),
        ("star-adore",),
    ),
    Entry(
        "adversarial_retriever",
        "litotes.training.retriever.ar2:AdversarialRetriever",
        "trainer",
        "disk",
        "a retriever and a ranker train each other in turns, on what the retriever finds",
        (AR2,),
        ("ar2",),
        "adversarial_retriever(ranker='cross-encoder/ms-marco-MiniLM-L6-v2')",
    ),
    Entry(
        "coupled_ranker",
        "litotes.training.ranker.cet:CoupledRanker",
        "trainer",
        "disk",
        "a ranker and a model of who was shown to annotators weigh each other's negatives",
        (CET,),
        ("cet",),
    ),
    Entry(
        "two_stage",
        "litotes.training.two_stage:TwoStage",
        "trainer",
        "disk",
        "two stages that differ in data, negatives and learning rate",
        (NV_EMBED, EVENTS),
        ("nv-embed",),
    ),
)


def entries(stage: Stage | None = None, scale: Scale | None = None) -> list[Entry]:
    """The entries of a stage and a scale, in catalogue order."""
    return [entry for entry in ENTRIES if stage in (None, entry.stage) and scale in (None, entry.scale)]


def entry(name: str, *, stage: Stage | None = None, scale: Scale | None = None) -> Entry:
    """The entry of this name. Raises ValueError that names the nearest ones, of this stage and scale if given."""
    names = [entry.name for entry in ENTRIES]
    if name not in names:
        there = [entry.name for entry in entries(stage, scale)]
        raise ValueError(f"no part is called {name!r}; {nearest(name, there)}")
    return ENTRIES[names.index(name)]


def nearest(name: str, there: list[str]) -> str:
    """What an error says about a name that is not there: the nearest ones, or all."""
    import difflib

    near = difflib.get_close_matches(name, there, n=3)
    return f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(there) or 'none'}"


def call(name: str, kind: type) -> str:
    """How a part is called: its arguments with their defaults, as a spelling has them."""
    arguments = []
    there = list(inspect.signature(kind).parameters.values())
    if any(argument.kind is argument.VAR_KEYWORD for argument in there):
        there = []  # a torch module without a constructor of its own inherits (*args, **kwargs)
    for argument in there:
        if argument.kind is argument.VAR_POSITIONAL:
            arguments.append(f"{argument.name}, ...")
        elif argument.default is argument.empty:
            arguments.append(argument.name)
        else:
            arguments.append(f"{argument.name}={shown(argument.default)}")
    return f"{name}({', '.join(arguments)})"


def shown(default: Any) -> str:
    """A default as one would write it: texts without quotes, lists in brackets."""
    if isinstance(default, (list, tuple)):
        return f"[{', '.join(map(shown, default))}]"
    return str(default)


def parse(text: str, *, stage: Stage | None = None, scale: Scale | None = None) -> Any:
    """Build the part that `text` spells, nested parts included.

    Args:
        stage, scale: refuse parts of another stage or scale.
    Raises:
        ValueError: unknown name or argument, a value out of range, the wrong stage or scale.
    """
    spelled = read(text)
    there = entry(spelled.name, stage=stage, scale=scale)
    if (stage and there.stage != stage) or (scale and there.scale != scale):
        wanted = " ".join(filter(None, (stage, f"at {scale} scale" if scale else None)))
        raise ValueError(f"{spelled.name} is a {there.stage} at {there.scale} scale, expected a {wanted}")
    return _build(spelled)


def why_not(text: str, *, stage: Stage | None = None, scale: Scale | None = None) -> str | None:
    """Why `parse` would refuse `text`, or None."""
    try:
        parse(text, stage=stage, scale=scale)
    except (ValueError, TypeError) as error:
        return str(error)
    return None


def _build(value: Any) -> Any:
    if isinstance(value, list):
        return [_build(item) for item in value]
    if not isinstance(value, Spelled):
        return value
    kind = entry(value.name).load()
    named = {name: _build(item) for name, item in value.arguments.items() if name != "*"}
    spread = [_build(item) for item in value.arguments.get("*", [])]
    signature = inspect.signature(kind)
    allowed = [name for name, p in signature.parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    for name in named:
        if name not in allowed:
            near = f"{nearest(name, allowed)} " if allowed else ""
            raise ValueError(f"{value.name} has no argument {name!r}; {near}It is called as {call(value.name, kind)}")
    try:
        return kind(*spread, **named)
    except TypeError as error:
        said = ", ".join([*map(str, spread), *(f"{name}={item!r}" for name, item in named.items())])
        usual = call(value.name, kind)
        raise ValueError(f"{value.name}({said}) cannot be built: {error}; it is called as {usual}") from None
