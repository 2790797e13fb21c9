"""`litotes run`: a recipe from start to report."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from litotes.atomic import write_json
from litotes.recipe.load import load_recipe


def run(
    path: str | Path, *, overrides: Iterable[str] = (), seeds: int = 1, runs: str | Path = "runs"
) -> dict[str, Any]:
    """Run the recipe at `path` into `runs/<name>`; the results, which also stand in its `results.json`.

    Finished steps of an earlier run with the same inputs are kept. The folder also gets `recipe.toml` (as read, with
    the overrides in a comment) and `report.html`.

    Args:
        overrides: `key.sub=value`, over the recipe's values.
        seeds: how many seeds, from the recipe's on; with more than one, intervals are over seeds.
    Raises:
        RecipeError: the recipe is wrong. ValueError: `seeds` < 1.
    """
    if not seeds >= 1:
        raise ValueError(f"run: seeds must be >= 1, got {seeds!r}")
    overrides = list(overrides)
    recipe = load_recipe(path, overrides)
    text = Path(path).read_text(encoding="utf-8") + "".join(f"\n# --set {override}" for override in overrides)

    from litotes.audit.report import write_report
    from litotes.audit.results_schema import check_results
    from litotes.recipe.experiment import Experiment
    from litotes.recipe.results import build_results

    folder = Path(runs) / recipe.name
    done = []
    for seed in range(recipe.seed, recipe.seed + seeds):
        experiment = Experiment(recipe, folder / f"seed-{seed}", seed)
        done.append((experiment, experiment.run()))
    results = build_results(recipe, text, done)
    check_results(results)
    (folder / "recipe.toml").write_text(text + "\n", encoding="utf-8")
    write_json(folder / "results.json", results)
    write_report(results, folder / "report.html")
    return results
