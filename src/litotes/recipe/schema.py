"""The recipe: one TOML file is the whole experiment. Every key, its meaning, its range and its default stands here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from litotes import catalog


def _spells(stage: catalog.Stage, scale: catalog.Scale | None = None) -> Callable[[str], str]:
    """A check that a text spells a part of this stage and scale; no model is loaded, no collection read."""

    def check(text: str) -> str:
        why = catalog.why_not(text, stage=stage, scale=scale)
        if why:
            raise ValueError(why)
        return text

    return check


Positive = Annotated[int, Field(gt=0)]
SourcePart = Annotated[str, AfterValidator(_spells("source", "disk"))]
VetterPart = Annotated[str, AfterValidator(_spells("vetter", "disk"))]
ObjectivePart = Annotated[str, AfterValidator(_spells("objective", "tensor"))]
BatcherPart = Annotated[str, AfterValidator(_spells("batcher"))]


def _makes_a_retriever(text: str) -> str:
    """A check that a trainer's model can be evaluated as an encoder."""
    if getattr(catalog.parse(text, stage="trainer"), "makes", "retriever") != "retriever":
        raise ValueError(f"{text} trains a ranker, which a recipe cannot evaluate; `litotes train --trainer` runs it")
    return text


TrainerPart = Annotated[str, AfterValidator(_spells("trainer")), AfterValidator(_makes_a_retriever)]


class Section(BaseModel):
    """A table of the recipe: an unknown key is an error, values are not coerced in silence."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


class CollectionSection(Section):
    """What is searched. `source`: "wordnet", a folder in BEIR form, a file of pairs, or hf://owner/name."""

    source: str = "wordnet"
    documents: Positive | None = Field(None, description="wordnet only: how many synsets; None = all")
    field: Literal["text", "lemmas"] = Field("text", description="wordnet only: the document's text")
    train_split: str = "train"
    test_split: str = "test"
    train_anchors: Positive | None = Field(None, description="use so many training anchors; None = all")
    test_queries: Annotated[int, Field(gt=1)] | None = Field(None, description="use so many test queries; None = all")

    @model_validator(mode="after")
    def _fits_together(self) -> CollectionSection:
        if self.train_split == self.test_split:
            raise ValueError(f"train_split and test_split must differ, got {self.train_split!r} twice")
        if self.source != "wordnet" and (self.documents is not None or self.field != "text"):
            raise ValueError(f"documents and field are for source = 'wordnet' only, got source = {self.source!r}")
        return self


class EncoderSection(Section):
    """The model that is trained, and that mines."""

    model: str = "all-MiniLM-L6-v2"
    query_prompt: str | None = None
    document_prompt: str | None = None
    max_length: Positive | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"


class MineSection(Section):
    """Where negatives come from."""

    sources: list[SourcePart] = Field(["dense(depth=100)"], description="spellings of disk-scale sources")


class VetSection(Section):
    """Which negatives to believe."""

    vetters: list[VetterPart] = Field(["relative_margin(margin=0.05)"], description="spellings of disk-scale vetters")


class TrainSection(Section):
    """How the model is pushed."""

    objective: ObjectivePart = Field("infonce(temperature=0.05)", description="spelling of an objective or chain(...)")
    negatives: Annotated[int, Field(ge=0)] = Field(2, description="believed negatives per anchor")
    pick: Literal["top", "random"] = Field("top", description="which of the believed negatives")
    epochs: Positive = 1
    batch_size: Annotated[int, Field(gt=1)] = 32
    lr: Annotated[float, Field(gt=0)] = Field(2e-5, description="learning rate at its peak")
    warmup: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.1, description="share of the steps over which the learning rate rises"
    )
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    mini_batch_size: Positive | None = Field(None, description="gradient caching: encode so many texts at a time")
    batcher: BatcherPart | None = Field(None, description="spelling of a batcher: what meets in a batch")
    per: Literal["anchor", "pair", "triple"] = Field("anchor", description="what a training row is")
    refresh: Positive | Literal["auto"] | None = Field(
        None, description="mine anew every so many steps by the arm's sources and vetters; auto = a tenth of the work"
    )


class EvaluateSection(Section):
    """What is measured on the test split."""

    measures: list[str] = Field(["nDCG@10", "MRR@10", "Recall@100", "MAP"], min_length=1)
    depth: Positive = Field(100, description="documents retrieved per query")
    resamples: Annotated[int, Field(ge=100)] = Field(10_000, description="bootstrap resamples of the queries")

    @model_validator(mode="after")
    def _measures_can_be_taken(self) -> EvaluateSection:
        import ir_measures

        from litotes.audit.retrieval import title

        twice = [name for name, count in Counter(map(title, self.measures)).items() if count > 1]
        if twice:
            raise ValueError(f"measures must differ, got {twice[0]} twice")
        for name in self.measures:
            try:
                deepest = ir_measures.parse_measure(name).params.get("cutoff")
            except (NameError, ValueError, SyntaxError) as error:
                raise ValueError(f"{name!r} is no measure that ir_measures knows: {error}") from None
            if isinstance(deepest, int) and deepest > self.depth:
                raise ValueError(f"depth must be >= {deepest} for {name}, got {self.depth}")
        return self


class ReportSection(Section):
    """What the HTML report shows."""

    examples: Annotated[int, Field(ge=0)] = Field(60, description="training anchors to leaf through")


_HOW = ("negatives", "objective", "batcher")


class Arm(Section):
    """One row of the table. What is not said is taken from the sections above; `train = false`: the model as it is.

    `trainer`: spelling of a whole recipe of several phases, which trains by settings of its own on this arm's evidence.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    title: Annotated[str, Field(min_length=1)]
    train: bool = True
    sources: list[SourcePart] | None = None
    vetters: list[VetterPart] | None = None
    negatives: Annotated[int, Field(ge=0)] | None = None
    objective: ObjectivePart | None = None
    batcher: BatcherPart | None = None
    trainer: TrainerPart | None = None

    @model_validator(mode="after")
    def _says_nothing_that_is_not_used(self) -> Arm:
        said = [key for key in (*_HOW, "sources", "vetters", "trainer") if getattr(self, key) is not None]
        if not self.train and said:
            raise ValueError(f"an arm with train = false has no use for {', '.join(said)}")
        said = [key for key in _HOW if getattr(self, key) is not None]
        if self.trainer is not None and said:
            raise ValueError(f"a trainer has settings of its own: {', '.join(said)} would not be used")
        return self


ARMS = [
    Arm(name="zero-shot", title="zero-shot", train=False),
    Arm(name="in-batch", title="in-batch only", sources=[], vetters=[], negatives=0),
    Arm(name="random", title="random negatives", sources=["random(depth=2)"], vetters=[]),
    Arm(name="mined", title="mined negatives", vetters=[]),
    Arm(name="vetted", title="mined + vetted negatives"),
]


class Recipe(Section):
    """The whole experiment."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    seed: Annotated[int, Field(ge=0)] = 0
    minutes: Annotated[float, Field(gt=0)] | None = Field(
        None, description="time the run may take; projected to take longer, all arms shrink together"
    )
    collection: CollectionSection = CollectionSection()  # type: ignore[call-arg]
    encoder: EncoderSection = EncoderSection()
    mine: MineSection = MineSection()  # type: ignore[call-arg]
    vet: VetSection = VetSection()  # type: ignore[call-arg]
    train: TrainSection = TrainSection()  # type: ignore[call-arg]
    evaluate: EvaluateSection = EvaluateSection()  # type: ignore[call-arg]
    report: ReportSection = ReportSection()  # type: ignore[call-arg]
    arms: list[Arm] = Field(ARMS, min_length=1)

    @field_validator("arms")
    @classmethod
    def _distinct_names(cls, arms: list[Arm]) -> list[Arm]:
        names = [arm.name for arm in arms]
        if len(set(names)) < len(names):
            raise ValueError(f"names must differ, got {', '.join(names)}")
        return arms

    @model_validator(mode="after")
    def _minutes_can_be_kept(self) -> Recipe:
        own = [arm.name for arm in self.arms if arm.trainer is not None]
        if self.minutes is not None and own:
            raise ValueError(f"minutes cannot be kept by a trainer ({', '.join(own)}); leave them out")
        return self

    def arm(self, name: str) -> Arm:
        """The arm of this name, with what it leaves open filled from the sections."""
        arm = next(arm for arm in self.arms if arm.name == name)
        filled: dict[str, Any] = {
            "sources": self.mine.sources,
            "vetters": self.vet.vetters,
            "negatives": self.train.negatives,
            "objective": self.train.objective,
            "batcher": self.train.batcher,
        }
        if arm.trainer is not None:
            filled = {key: value for key, value in filled.items() if key not in _HOW}
        return arm.model_copy(update={key: value for key, value in filled.items() if getattr(arm, key) is None})
