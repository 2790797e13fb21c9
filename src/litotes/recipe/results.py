"""What a run found: the figures of `results.json`, of the table and of the report, from the outcomes of its arms."""

from __future__ import annotations

import datetime
import os
import platform
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import litotes
from litotes.audit.significance import Interval, bootstrap_difference, bootstrap_mean, paired_t_interval, sign_flip_test
from litotes.audit.vetting_truth import share_suspicious, vetting_truth
from litotes.data.collection import Collection
from litotes.evidence import Evidence, describe, reason, scorer_of, source
from litotes.recipe.experiment import Experiment, Outcome
from litotes.recipe.schema import Recipe

ONE_SEED = "95 % paired bootstrap over queries, one seed"
BINS = 40
SHOWN = 4


def build_results(recipe: Recipe, recipe_toml: str, runs: list[tuple[Experiment, list[Outcome]]]) -> dict[str, Any]:
    """The results of a run under one seed or several, in the shape that `litotes.audit.results_schema` checks."""
    first, outcomes = runs[0]
    several = len(runs) > 1
    budgets = [experiment.budget() for experiment, _ in runs]
    notes = [
        f"seed {experiment.seed}: {budget.why}" if several else budget.why
        for (experiment, _), budget in zip(runs, budgets, strict=True)
        if budget.why
    ]
    if several:
        notes.append(f"intervals: {_label(len(runs))}; counts, vetting, curves and examples are of seed {first.seed}")
    else:
        notes.append(f"intervals: {ONE_SEED}; they say nothing of other seeds (--seeds 5 does)")
    baseline = _baseline(outcomes)
    if outcomes[baseline].arm.train:
        notes.append(f"no arm is untrained: changes are against the first, {outcomes[baseline].arm.title}")
    notes += [note for outcome in outcomes if (note := _short(first, outcome))]
    vetted = next((outcome for outcome in reversed(outcomes) if outcome.evidence and outcome.arm.vetters), None)
    results: dict[str, Any] = {
        "name": recipe.name,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "litotes": litotes.__version__,
        "seeds": [experiment.seed for experiment, _ in runs],
        "interval_label": _label(len(runs)),
        "collection": _collection(first.task, recipe, budgets[0].used),
        "recipe_toml": recipe_toml,
        "versions": {
            name: version(name) for name in ("torch", "sentence-transformers", "transformers", "pyarrow", "numpy")
        },
        "machine": _machine(),
        "fingerprints": {"collection": first.task.fingerprint(), "model": first.encoder.checksum},
        "notes": notes,
        "arms": [
            _arm(
                recipe,
                first,
                [run[i] for _, run in runs],
                None if i == baseline else [run[baseline] for _, run in runs],
            )
            for i in range(len(outcomes))
        ],
        "curves": {outcome.arm.name: outcome.curve for outcome in outcomes if outcome.curve},
        "examples": [],
        "vetting": None,
        "scores": None,
    }
    if vetted and vetted.evidence:
        evidence = Evidence.open(vetted.evidence).read()
        results["vetting"] = _vetting(evidence, first.task)
        results["scores"] = _scores(evidence)
        results["examples"] = _examples(evidence, first.task, recipe.report.examples)
    return results


def _label(seeds: int) -> str:
    return ONE_SEED if seeds == 1 else f"95 % paired t interval over {seeds} seeds"


def _baseline(outcomes: list[Outcome]) -> int:
    """The arm that the others are compared with: the first untrained one, else the first."""
    return next((i for i, outcome in enumerate(outcomes) if not outcome.arm.train), 0)


def _arm(
    recipe: Recipe, experiment: Experiment, mine: list[Outcome], baselines: list[Outcome] | None
) -> dict[str, Any]:
    """One arm under all seeds, `mine`, against the baseline under the same; `experiment` is that of the first seed."""
    outcome = mine[0]
    metrics: dict[str, dict[str, Any]] = {}
    for measure in outcome.evaluation.values:
        entry: dict[str, Any] = _estimate([o.evaluation.values[measure] for o in mine], recipe, None)
        entry["change"] = None
        if baselines is not None:
            differences = [o.evaluation.minus(b.evaluation, measure) for o, b in zip(mine, baselines, strict=True)]
            pairs = [
                (o.evaluation.values[measure], b.evaluation.values[measure])
                for o, b in zip(mine, baselines, strict=True)
            ]
            entry["change"] = _estimate(differences, recipe, pairs)
            entry["change"]["p"] = _p_value(differences, recipe)
        metrics[measure] = entry
    negatives, judged_false, suspicious = 0, None, None
    if outcome.evidence is not None:
        chosen = experiment.chosen(outcome.arm, outcome.evidence, outcome.anchors)
        summary = describe(chosen)
        negatives = summary.negatives
        if negatives:
            if recipe.vet.vetters:
                judged_false = float(experiment.judged_false(chosen)[chosen["sign"].to_numpy() < 0].mean())
            if experiment.task.related is not None:
                share = share_suspicious(chosen, experiment.task)
                suspicious = share.value if share.total else None
    seconds = {key: float(np.mean([o.seconds[key] for o in mine])) for key in outcome.seconds}
    return {
        "name": outcome.arm.name,
        "title": outcome.arm.title,
        "metrics": metrics,
        "seconds": seconds,
        "negatives": negatives,
        "judged_false": judged_false,
        "suspicious": suspicious,
        "steps": outcome.steps,
        "texts_per_step": outcome.texts_per_step,
    }


def _p_value(differences: list[np.ndarray], recipe: Recipe) -> float:
    """Over queries by sign flips; over seeds by the t test, for 5 seeds have too few sign patterns."""
    if len(differences) == 1:
        return sign_flip_test(differences[0], resamples=recipe.evaluate.resamples, seed=recipe.seed)
    from scipy import stats

    means = np.array([d.mean() for d in differences])
    return float(stats.ttest_1samp(means, 0).pvalue) if np.ptp(means) else 1.0 - float(means[0] != 0)


def _short(experiment: Experiment, outcome: Outcome) -> str | None:
    """Anchors that train with fewer negatives than asked for are kept, and said."""
    asked = outcome.arm.negatives or 0
    if outcome.evidence is None or not asked:
        return None
    chosen = describe(experiment.chosen(outcome.arm, outcome.evidence, outcome.anchors))
    short = chosen.short(asked)
    return (
        f"{outcome.arm.title}: {short:,} of {chosen.anchors:,} anchors have fewer than {asked} believed negatives"
        if short
        else None
    )


def _estimate(
    values: list[np.ndarray], recipe: Recipe, pairs: list[tuple[np.ndarray, np.ndarray]] | None
) -> dict[str, Any]:
    """Value and interval of a mean: over the queries of one seed, or over seeds."""
    if len(values) > 1:
        made: Interval = paired_t_interval([float(v.mean()) for v in values])
    elif pairs:
        made = bootstrap_difference(*pairs[0], resamples=recipe.evaluate.resamples, seed=recipe.seed)
    else:
        made = bootstrap_mean(values[0], resamples=recipe.evaluate.resamples, seed=recipe.seed)
    return {"value": made.value, "interval": [made.low, made.high]}


def _collection(task: Collection, recipe: Recipe, anchors: int) -> dict[str, Any]:
    note = []
    if recipe.collection.source.split(":")[0] == "wordnet":
        note.append("WordNet 3.0 as a reverse dictionary: a definition asks for its entry.")
    if task.related is not None:
        names = sorted(task.related["relation"].unique().to_pylist())
        relations = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
        note.append(f"Suspicious: the collection's own relations ({relations}) tie a negative to the query.")
    return {
        "name": task.name,
        "documents": len(task.corpus),
        "train_anchors": anchors,
        "test_queries": len(task.qrels[recipe.collection.test_split]["query"].unique()),
        "note": " ".join(note) or None,
    }


def _machine() -> dict[str, Any]:
    import torch

    return {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
    }


def _vetting(evidence: pa.Table, task: Collection) -> dict[str, Any]:
    parts = [{"part": part, "doubted": count} for part, count in sorted(describe(evidence).parts.items())]
    if task.related is None:
        return {"parts": parts, "truth": None}
    truth = vetting_truth(evidence, task)
    relations = [
        {"relation": name, "pairs": share.total, "rejected": share.hits} for name, share in truth.relations.items()
    ]
    return {
        "parts": parts,
        "truth": {
            "base": truth.base.value if truth.base.total else None,
            "precision": truth.precision.value if truth.precision.total else None,
            "precision_interval": list(truth.precision.interval),
            "recall": truth.recall.value if truth.recall.total else None,
            "recall_interval": list(truth.recall.interval),
            "by_relation": relations,
        },
    }


def _scores(evidence: pa.Table) -> dict[str, Any] | None:
    score = evidence["score"].to_numpy()
    sign, weight = evidence["sign"].to_numpy(), evidence["weight"].to_numpy()
    there = np.isfinite(score)
    if not there.any():
        return None
    low, high = float(score[there].min()), float(score[there].max())
    edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
    groups = {"positives": sign > 0, "kept": (sign < 0) & (weight > 0), "rejected": (sign < 0) & (weight == 0)}
    counts = {name: np.histogram(score[there & group], edges)[0].tolist() for name, group in groups.items()}
    return {"edges": edges.tolist(), **counts, "scorer": (scorer_of(evidence) or {}).get("name", "")}


def _examples(evidence: pa.Table, task: Collection, number: int) -> list[dict[str, Any]]:
    """Anchors to leaf through, spread evenly over the order of ids; of each kind the best-scored few."""
    anchors = evidence["anchor"].unique().to_pylist()
    spread = np.unique(np.linspace(0, len(anchors) - 1, min(number, len(anchors))).astype(int))
    table = evidence.append_column("source", source(evidence)).append_column("reason", reason(evidence))
    documents = pa.array(task.document_texts())
    examples = []
    for anchor in [anchors[place] for place in spread]:
        rows = table.filter(pc.and_(pc.equal(table["anchor"], anchor), pc.not_equal(table["sign"], 0)))
        texts = documents.take(pa.array(task.document_rows(rows["candidate"]))).to_pylist()
        shown: dict[str, list[dict[str, Any]]] = {"positives": [], "kept": [], "rejected": []}
        for row, text in zip(rows.to_pylist(), texts, strict=True):
            place = "positives" if row["sign"] > 0 else "kept" if row["weight"] > 0 else "rejected"
            if len(shown[place]) < SHOWN:
                said = ("score",) if place == "positives" else ("score", "source", "reason")
                shown[place].append({"text": text, **{key: row[key] for key in said}})
        query = task.queries["text"][int(task.query_rows([anchor])[0])].as_py()
        examples.append({"query": query, "query_id": anchor, **shown})
    return examples
