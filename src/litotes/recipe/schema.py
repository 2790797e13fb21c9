"""The recipe: one TOML file is the whole experiment. Every key, its meaning, its range and its default stands here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from litotes import catalog

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


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
    test_queries: Positive | None = Field(None, description="use so many test queries; None = all")


class EncoderSection(Section):
    """The model that is trained, and that mines."""

    model: str = "all-MiniLM-L6-v2"
    query_prompt: str | None = None
    document_prompt: str | None = None
    max_length: Positive | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"


class MineSection(Section):
    """Where negatives come from."""

    sources: list[str] = Field(["dense(depth=100)"], description="spellings of disk-scale sources")


class VetSection(Section):
    """Which negatives to believe."""

    vetters: list[str] = Field(["relative_margin(margin=0.05)"], description="spellings of disk-scale vetters")


class TrainSection(Section):
    """How the model is pushed."""

    objective: str = Field("infonce(temperature=0.05)", description="spelling of an objective or chain(...)")
    negatives: Annotated[int, Field(ge=0)] = Field(2, description="believed negatives per anchor")
    pick: Literal["top", "random"] = Field("top", description="which of the believed negatives")
    epochs: Positive = 1
    batch_size: Annotated[int, Field(gt=1)] = 32
    lr: Annotated[float, Field(gt=0)] = Field(2e-5, description="learning rate at its peak")
    warmup: Share = Field(0.1, description="share of the steps over which the learning rate rises")
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    mini_batch_size: Positive | None = Field(None, description="gradient caching: encode so many texts at a time")


class EvaluateSection(Section):
    """What is measured on the test split."""

    measures: list[str] = ["nDCG@10", "MRR@10", "Recall@100", "MAP"]
    depth: Positive = Field(100, description="documents retrieved per query")
    resamples: Annotated[int, Field(ge=100)] = Field(10_000, description="bootstrap resamples of the queries")


class ReportSection(Section):
    """What the HTML report shows."""

    examples: Annotated[int, Field(ge=0)] = Field(60, description="training anchors to leaf through")


class Arm(Section):
    """One row of the table. What is not said is taken from the sections above; `train = false`: the model as it is."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    title: str
    train: bool = True
    sources: list[str] | None = None
    vetters: list[str] | None = None
    negatives: Annotated[int, Field(ge=0)] | None = None
    objective: str | None = None


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

    @model_validator(mode="after")
    def _one_baseline_and_distinct_names(self) -> Recipe:
        names = [arm.name for arm in self.arms]
        if len(set(names)) < len(names):
            raise ValueError(f"arms: names must differ, got {names}")
        return self

    def arm(self, name: str) -> Arm:
        """The arm of this name, with what it leaves open filled from the sections."""
        arm = next(arm for arm in self.arms if arm.name == name)
        filled: dict[str, Any] = {
            "sources": self.mine.sources,
            "vetters": self.vet.vetters,
            "negatives": self.train.negatives,
            "objective": self.train.objective,
        }
        return arm.model_copy(update={key: value for key, value in filled.items() if getattr(arm, key) is None})

    def parts(self) -> list[tuple[str, str, catalog.Stage, catalog.Scale]]:
        """Every part that is spelled: (where, spelling, stage, scale)."""
        listed: list[tuple[str, str, catalog.Stage, catalog.Scale]] = []
        listed += [(f"mine.sources[{i}]", s, "source", "disk") for i, s in enumerate(self.mine.sources)]
        listed += [(f"vet.vetters[{i}]", s, "vetter", "disk") for i, s in enumerate(self.vet.vetters)]
        listed.append(("train.objective", self.train.objective, "objective", "tensor"))
        for arm in self.arms:
            where = f"arms[{arm.name}]"
            listed += [(f"{where}.sources[{i}]", s, "source", "disk") for i, s in enumerate(arm.sources or [])]
            listed += [(f"{where}.vetters[{i}]", s, "vetter", "disk") for i, s in enumerate(arm.vetters or [])]
            if arm.objective is not None:
                listed.append((f"{where}.objective", arm.objective, "objective", "tensor"))
        return listed

    def problems(self) -> list[str]:
        """All parts that cannot be built, as `where: why`; no model is loaded, no collection read."""
        found = []
        for where, text, stage, scale in self.parts():
            why = catalog.why_not(text, stage=stage, scale=scale)
            if why:
                found.append(f"{where}: {why}")
        return found
