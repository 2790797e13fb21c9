"""What a run leaves in `results.json`: the one shape that the report reads, checked key by key."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from litotes.errors import BadInput

LowHigh = Annotated[list[float], Field(min_length=2, max_length=2)]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0)]


class _Record(BaseModel):
    """No unknown keys (a misspelt one would be a section left out in silence), no NaN, no infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _Estimate(_Record):
    value: float
    interval: LowHigh | None = None

    @model_validator(mode="after")
    def _ordered(self) -> _Estimate:
        if self.interval and not self.interval[0] <= self.interval[1]:
            raise ValueError(f"interval must be [low, high], got {self.interval}")
        return self


class Change(_Estimate):
    """Difference against the baseline (the first untrained arm, if any); `p` of the paired randomisation test."""

    p: Share | None = None


class Metric(_Estimate):
    """One measure of one arm; `change` is null for the baseline."""

    change: Change | None = None


class Times(_Record):
    """Wall seconds per step of an arm; null = there was no such step."""

    train: Seconds | None = None
    evaluate: Seconds | None = None
    mine: Seconds | None = None
    total: Seconds | None = None


class Arm(_Record):
    """One way of training, and what came of it.

    `judged_false`: share of its negatives that the vetters of the recipe judge false. `suspicious`: share of them that
    the collection's own ground truth ties to the query.
    """

    name: str
    title: str
    metrics: Annotated[dict[str, Metric], Field(min_length=1)]
    seconds: Times = Times()
    negatives: Count = 0
    judged_false: Share | None = None
    suspicious: Share | None = None
    steps: Count = 0
    texts_per_step: Annotated[float, Field(ge=0)] | None = None


class Task(_Record):
    """The collection an experiment ran on, in numbers."""

    name: str
    documents: Count
    train_anchors: Count
    test_queries: Count
    note: str | None = None


class Machine(_Record):
    """Where it ran."""

    cpu: str
    cores: Count
    threads: Count


class PartCount(_Record):
    """How many candidates a vetter doubted."""

    part: str
    doubted: Count


class Relation(_Record):
    """Of the `pairs` of one relation in the ground truth, how many were rejected."""

    relation: str
    pairs: Count
    rejected: Count

    @model_validator(mode="after")
    def _part_of_the_whole(self) -> Relation:
        if self.rejected > self.pairs:
            raise ValueError(f"rejected must be <= pairs, got {self.rejected} of {self.pairs}")
        return self


class Truth(_Record):
    """Vetting against the collection's own ground truth. `base`: what rejecting at random would reach as precision."""

    base: Share | None = None
    precision: Share | None
    precision_interval: LowHigh | None = None
    recall: Share | None
    recall_interval: LowHigh | None = None
    by_relation: list[Relation] = []


class Vetting(_Record):
    """What the vetters did."""

    parts: list[PartCount]
    truth: Truth | None = None


class Scores(_Record):
    """Histograms of scores over common bins: n + 1 `edges`, n counts each."""

    edges: Annotated[list[float], Field(min_length=2)]
    positives: list[Count]
    kept: list[Count]
    rejected: list[Count]
    scorer: str | None = None

    @model_validator(mode="after")
    def _one_count_per_bin(self) -> Scores:
        if any(low >= high for low, high in zip(self.edges, self.edges[1:], strict=False)):
            raise ValueError("edges must rise")
        for name in ("positives", "kept", "rejected"):
            if len(getattr(self, name)) != len(self.edges) - 1:
                raise ValueError(f"{name} must have {len(self.edges) - 1} counts, got {len(getattr(self, name))}")
        return self


class Point(_Record):
    """Loss at a step."""

    step: Count
    loss: float


class Candidate(_Record):
    """A document beside a query: how alike a model finds the two, who brought it, why it was rejected."""

    text: str
    score: float | None = None
    source: str | None = None
    reason: str | None = None


class Example(_Record):
    """One query with what was found for it."""

    query: str
    query_id: str
    positives: list[Candidate] = []
    kept: list[Candidate] = []
    rejected: list[Candidate] = []


class Results(_Record):
    """One experiment: what was asked, what came out, what it ran on."""

    name: str
    created: str
    litotes: str
    seeds: list[int]
    arms: Annotated[list[Arm], Field(min_length=1)]
    headline: str | None = None
    interval_label: str = "95 % paired bootstrap over queries, one seed"
    collection: Task | None = None
    recipe_toml: str | None = None
    versions: dict[str, str] = {}
    machine: Machine | None = None
    fingerprints: dict[str, str] = {}
    notes: list[str] = []
    vetting: Vetting | None = None
    scores: Scores | None = None
    curves: dict[str, list[Point]] | None = None
    examples: list[Example] = []

    @model_validator(mode="after")
    def _arms_are_known_and_once(self) -> Results:
        names = [arm.name for arm in self.arms]
        if len(set(names)) < len(names):
            raise ValueError(f"arms must have different names, got {names}")
        if unknown := set(self.curves or {}) - set(names):
            raise ValueError(f"curves must be of the arms {names}, got {sorted(unknown)}")
        return self


def check_results(results: dict[str, Any]) -> Results:
    """The results, checked and frozen; sections that are not there have their empty values.

    Raises:
        BadInput: a key is missing, unknown or holds something else than it should. The key is named with its path,
            `arms.1.metrics.nDCG@10.value`; of several faults the first is shown and the others are counted.
    """
    try:
        return Results.model_validate(results, strict=False)
    except ValidationError as error:
        faults = error.errors()
        path = ".".join(str(step) for step in faults[0]["loc"])
        more = f" ({len(faults) - 1} more faults)" if len(faults) > 1 else ""
        found = "nothing" if faults[0]["type"] == "missing" else _brief(faults[0]["input"])
        expected = {"missing": "this key", "extra_forbidden": "no such key"}.get(faults[0]["type"], faults[0]["msg"])
        for prefix in ("Value error, ", "Input should be "):
            expected = expected.removeprefix(prefix)
        raise BadInput(found, expected + more, field=path or "results") from None


def _brief(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"
